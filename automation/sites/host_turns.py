"""Hosts that a run stops, replaces or removes: which go together, and how each is drained before and seen to serve afterwards.

A host leaves by its own door, as for a change of its server, so that no record changes; a site that is removed leaves in the
same way. Leaves out the runs themselves (runs.py), and servers that change on hosts that stay: their order is the program's.
"""

import json
import shlex
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from automation.engine.advice import Commands
from automation.engine.outputs import outputs_by_urn
from automation.engine.results import inventory_of
from automation.errors import EdgeError, ProtectedError, UsageError
from automation.sites.host_keys import Keys
from automation.sites.hosts import Host, run, ssh
from automation.sites.repairs import deployed_replicas, reservations
from components.dns_plan import RECORD_TTL_SECONDS
from components.door import notice_seconds
from components.engines import BUSY_METRICS
from components.host_changes import (
    HOST_KEYS,
    OF_A_REGION,
    deployed_addresses,
    deployed_hosts,
    host_changes,
    planned_hosts,
    replaces,
)
from components.settings import Settings, StackConfig

if TYPE_CHECKING:
    from automation.sites.endpoints import Ports
    from automation.sites.resolution import Routes

_SCRIPT = 'cd "${EDGE_HOST_ROOT:-}/opt/edge-inference/releases" && "./$(ls -t | head -n 1)/leave.sh" "$1"'
"""The newest release's folder; a host of an earlier release has no such script, and is not protected."""
_MARK = '"${EDGE_HOST_ROOT:-}/run/edge-inference/at-once"'
_SSH_SECONDS = 60.0
_POLL_SECONDS = 1.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class Turn:
    """Hosts that are away together."""

    hosts: Mapping[str, str]
    """By replica, why, in words."""
    resources: tuple[str, ...]
    """URNs of all that goes with them and that a run for others must leave alone."""
    instances: tuple[str, ...]
    """URNs of those that the engine would not replace by itself: by request, or for another host key."""
    steps: tuple[str, ...] = ()
    """URNs of the steps on hosts that keep their instance: they run again, since nobody else sees whether the server that starts
    with the host serves.
    """


def host_turns(
    deployment: Mapping[str, Any],
    settings: Settings,
    asked: Sequence[str] = (),
    but: Collection[str] = (),
    site: str | None = None,
) -> list[Turn]:
    """The turns of a run, in the order of the config: at most `rollout.maxAway` hosts each; all of a site whose subnet changes. A
    changed VPC takes all of its Region, in no turn.

    `deployment`: the exported state. `asked`: replicas whose host is to be replaced by request. `but`: those that are gone or
    dead, and need no turn. `site`: the zone of the only site that is asked about.
    """
    changes = dict.fromkeys(asked, "asked for") | changed_hosts(deployment, settings)
    waiting = {
        key: why
        for key, why in changes.items()
        if key not in but and site in {None, key.rpartition("-")[0]} and not why.startswith(OF_A_REGION)
    }
    max_away = settings.rollout.away(sum(site.replicas for site in settings.sites))
    batches: list[list[str]] = []
    for key, reason in waiting.items():
        zone = key.rpartition("-")[0]
        together = "subnet " in reason and batches and batches[-1][0].rpartition("-")[0] == zone
        if together or (batches and len(batches[-1]) < max_away and len(batches) > 1):
            batches[-1].append(key)
        else:
            batches.append([key])
    replicas, kept = deployed_replicas(deployment), reservations(deployment)
    return [
        Turn(
            {key: waiting[key] for key in batch},
            tuple(
                urn
                for key in batch
                # A reservation for another type comes when its host's turn does.
                for urn in (*replicas[key].resources, *filter(None, [kept.get(key)]), *replicas[key].commands)
            ),
            tuple(replicas[key].resources[0] for key in batch if key in asked or HOST_KEYS in waiting[key]),
            tuple(urn for key in batch if not replaces(waiting[key]) for urn in replicas[key].commands),
        )
        for batch in batches
    ]


def changed_hosts(deployment: Mapping[str, Any], settings: Settings) -> dict[str, str]:
    """The replicas whose host a config stops or replaces, each with the reason."""
    return host_changes(deployed_hosts(outputs_by_urn(deployment)), planned_hosts(settings))


def refuse_protected(commands: Commands, deployment: Mapping[str, Any], going: Iterable[str]) -> None:
    """ProtectedError where the host of one of these replicas is protected, and could not be replaced or removed."""
    protected = set(inventory_of(deployment).protected)
    if held := [key for key in going if f"{key}-host" in protected]:
        zones = dict.fromkeys(key.rpartition("-")[0] for key in held)
        lines = "\n".join(f"  -> {commands.edge('unprotect')} {zone}" for zone in zones)
        gone = "must be replaced or removed, and is protected; nothing was changed"
        raise ProtectedError(f"{', '.join(held)} {gone}\n{lines}")


def chosen_hosts(deployment: Mapping[str, Any], chosen: Iterable[str]) -> list[str]:
    """The replicas that `ZONE` or `ZONE-N` name; UsageError for what is none."""
    known = deployed_replicas(deployment)
    found: list[str] = []
    for name in chosen:
        named = [key for key, each in known.items() if name in {key, each.zone}]
        if not named:
            raise UsageError(f"there is no host '{name}'\n  -> its hosts are {', '.join(known) or 'none'}")
        found += named
    return found


def removed_hosts(deployment: Mapping[str, Any], settings: Settings) -> list[str]:
    """The replicas that serve and that the config has no more."""
    planned = {replica.key for site in settings.sites for replica in site.all_replicas}
    return [key for key in serving(deployment) if key not in planned]


def serving(deployment: Mapping[str, Any]) -> dict[str, str]:
    """The addresses of the replicas that a run has finished; no other serves anybody."""
    finished = {key for key, each in deployed_replicas(deployment).items() if each.digest}
    return {key: address for key, address in deployed_addresses(outputs_by_urn(deployment)).items() if key in finished}


class Departures:
    """Sends hosts away from their users, and back. `deployment`: the state before the run; `keys`: by replica, those that are not
    the config's.
    """

    def __init__(  # noqa: PLR0913 - who is asked, and by what
        self,
        ports: "Ports",
        config: StackConfig,
        settings: Settings,
        deployment: Mapping[str, Any],
        say: Say,
        *,
        keys: Mapping[str, Keys] | None = None,
    ) -> None:
        self._ports, self._config, self._settings, self._say, self._keys = ports, config, settings, say, keys or {}
        self._addresses = serving(deployment)
        self._away: set[str] = set()

    def leave(self, going: Mapping[str, str]) -> None:
        """Returns when nobody is sent to these hosts any more and nothing runs there; says what is not protected, or cut."""
        hosts = {key: reason for key, reason in going.items() if key in self._addresses}
        others = self._addresses.keys() - hosts.keys() - self._away
        rollout, routing = self._settings.rollout, self._settings.routing
        if hosts and not others:
            self._say(f"not protected: no other replica is there to take the users of {', '.join(hosts)}")
        if not hosts or not others:
            return
        for key, reason in hosts.items():
            self._say(f"{key} ({reason}): leads its users elsewhere, then it is changed")
        notice = notice_seconds(routing.health_interval_seconds, routing.health_failure_threshold)
        spec = {
            "busy_metrics": BUSY_METRICS,
            "rollout": {
                "notice_seconds": notice,
                "ttl_seconds": RECORD_TTL_SECONDS,
                "drain_seconds": rollout.drain_seconds,
            },
        }
        longest = notice + RECORD_TTL_SECONDS + rollout.drain_seconds + _SSH_SECONDS
        self._away |= hosts.keys()
        with ThreadPoolExecutor(len(hosts)) as pool:
            told = {key: pool.submit(self._on_host, key, _SCRIPT, json.dumps(spec), longest) for key in hosts}
            for key, said in told.items():
                self._tell(key, said.result())

    def come_back(self) -> None:
        """Opens the doors of those that left and are there still, as after a run that broke off."""
        for key in self._away:
            self._on_host(key, _SCRIPT, "back", _SSH_SECONDS)
        self._away.clear()

    def are_back(self, hosts: Iterable[str], routes: "Callable[[], Routes] | None") -> None:
        """Returns when Route 53 counts them as healthy, in twice the time that it needs at most."""
        self._away -= set(hosts)
        addresses = {self._addresses[key] for key in hosts if key in self._addresses}
        routing = self._settings.routing
        longest = 2.0 * notice_seconds(routing.health_interval_seconds, routing.health_failure_threshold)
        deadline = time.monotonic() + longest
        while routes and (unseen := addresses - _healthy(routes())):
            if time.monotonic() > deadline:
                self._say(f"Route 53 does not call {', '.join(sorted(unseen))} healthy after {longest:.0f} s; going on")
                return
            time.sleep(_POLL_SECONDS)

    def mark_at_once(self, *, yes: bool) -> None:
        """Has all hosts change their servers without waiting for anything, as long as this holds."""
        script = f'mkdir -p "$(dirname {_MARK})" && touch {_MARK}' if yes else f"rm -f {_MARK}"
        with ThreadPoolExecutor(max(1, len(self._addresses))) as pool:
            for asked in [pool.submit(self._on_host, key, script, "", _SSH_SECONDS) for key in self._addresses]:
                asked.result()

    def _tell(self, key: str, said: str | None) -> None:
        lines = (said or "").strip().splitlines()
        outcome: dict[str, Any] = {}
        with suppress(ValueError, IndexError):
            outcome = json.loads(lines[-1])
        if not outcome:
            self._say(f"not protected: {key} does not take the order to lead its users elsewhere")
        elif not outcome["protected"]:
            self._say(f"not protected: no health checker has asked {key} in the last minutes")
        if outcome.get("cut"):
            self._say(f"{key}: {outcome['cut']} requests outlast rollout.drainSeconds and are cut")

    def _on_host(self, key: str, script: str, argument: str, seconds: float) -> str | None:
        zone, _, number = key.rpartition("-")
        words = f"sudo bash -c {shlex.quote(script)} edge {shlex.quote(argument)}"
        host = Host(zone, int(number), address=self._addresses[key], keys=self._keys.get(key, Keys()))
        try:
            with ssh(self._ports, host, self._config) as command:
                return run(command, words, seconds=seconds)
        except EdgeError:
            return None


def _healthy(routes: "Routes") -> set[str | None]:
    return {each.address for site in routes.sites for each in site.replicas if each.health and each.health.healthy}
