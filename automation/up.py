"""What `up` does within its run: hosts that are stopped or replaced go in turns, the engine does the rest, all must serve.

One run of the engine where no host goes; else one for everything but them, and one for each turn. Leaves out the run's own frame
(runs.py) and how a host leaves and comes back (sites/host_turns.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from automation.engine.deployed import Deployed, config_of
from automation.engine.outputs import recorded_outputs, told_outputs
from automation.engine.results import inventory_of
from automation.engine.run import Run
from automation.errors import ProtectedError, UsageError
from components.rollout import MODE_VARIABLE, Mode
from components.settings import Settings, StackConfig, validate

_ID, _RELEASE = "**::deployment", "**::release"
_NETWORK_PARTS = ("vpc", "gateway", "routes", "internet", "opt-in-*")
"""What components/network.py makes, behind its Region's name."""
ROUTING_TARGETS = ["**::routing", "**::routing-*", _ID]
"""URNs of the routing component and all that it makes (components/build.py names it), also of what is yet to be made; and of
the deployment's id, which all of it is tagged with, and which a state of an older release does not have."""


@dataclass(frozen=True)
class UpOptions:
    """What one `up` is asked beside the config."""

    site: str | None = None
    """The zone of the only site that is brought up to the config; None: all."""
    replace_hosts: tuple[str, ...] = ()
    """`ZONE` or `ZONE-N` of hosts that are replaced though nothing in the config says so."""
    all_at_once: bool = False
    """Whether nothing waits for anything, and nobody is led elsewhere before."""


class Up:
    """One `up`; made within its run."""

    def __init__(self, deployed: Deployed, run: Run, options: UpOptions) -> None:
        self._deployed, self._run, self._options = deployed, run, options
        self._has_sites = bool(inventory_of(run.stack.deployment).sites)

    @property
    def _deployment(self) -> Mapping[str, Any]:
        """The state as it was before the engine began, without what was found to be gone."""
        return self._run.stack.deployment

    def deploy(self) -> Mapping[str, Any]:
        """Everything; the outputs. DeploymentFailedError where a replica does not serve in the end."""
        self._refuse_unknown_site()
        _set_mode(self._run, Mode.ALL_AT_ONCE if self._options.all_at_once else Mode.HOSTS_IN_TURN)
        try:
            if not self._has_sites:
                return self._engine()
            again, settings = self._mend(), validate(self._config).settings
            if settings is None:
                # What is malformed, the program judges.
                return self._engine(again)
            self._tell_order(settings)
            if self._options.all_at_once:
                return self._all_at_once(settings, again)
            return self._in_turns(settings, again)
        finally:
            _set_mode(self._run, Mode.PLAIN)

    @cached_property
    def _config(self) -> StackConfig:
        return config_of(self._run.stack)

    def _in_turns(self, settings: Settings, again: Sequence[str]) -> Mapping[str, Any]:
        from automation.sites.host_turns import chosen_hosts, host_turns

        asked = chosen_hosts(self._deployment, self._options.replace_hosts)
        turns = [
            turn
            for turn in host_turns(self._deployment, settings, asked, but=_replicas_of(again))
            if self._options.site in {None, *(key.rpartition("-")[0] for key in turn.hosts)}
        ]
        self._refuse_protected([key for turn in turns for key in turn.hosts])
        departures = self._departures(settings)
        removed = {} if self._options.site else dict.fromkeys(departures.removed(), "removed from `sites`")
        try:
            if removed and settings.is_routed:
                departures.leave(removed)
            outputs = self._engine(again, later=[urn for turn in turns for urn in turn.resources])
            for number, turn in enumerate(turns, 1):
                departures.leave(turn.hosts)
                later = [urn for each in turns[number:] for urn in each.resources]
                outputs = self._engine(turn.instances, later=later)
                departures.are_back(turn.hosts, self._routes(outputs) if settings.is_routed else None)
        except BaseException:
            departures.come_back()
            raise
        return outputs

    def _all_at_once(self, settings: Settings, again: Sequence[str]) -> Mapping[str, Any]:
        from automation.sites.host_turns import chosen_hosts, host_turns

        asked = chosen_hosts(self._deployment, self._options.replace_hosts)
        turns = host_turns(self._deployment, settings, asked)
        self._refuse_protected([key for turn in turns for key in turn.hosts])
        departures = self._departures(settings)
        departures.mark_at_once(yes=True)
        try:
            return self._engine([*again, *(urn for turn in turns for urn in turn.instances)])
        finally:
            departures.mark_at_once(yes=False)

    def _tell_order(self, settings: Settings) -> None:
        from automation.sites.rollout_plan import served_replicas, waves_of

        waves = waves_of(settings, served_replicas(self._deployment))
        self._run.watch.tell_order(waves, sum(site.replicas for site in settings.sites))

    def _engine(self, again: Sequence[str] = (), *, later: Sequence[str] = ()) -> Mapping[str, Any]:
        """One run of the engine, but for what comes later; then every replica must serve. The outputs."""
        from automation.sites.closing import require_serving

        run = self._run
        targets = self._targets() if self._options.site else None
        run.watch.next_part()
        run.stack.up(continue_on_error=True, replace=[*again] or None, exclude=[*later] or None, target=targets, **run.listening)
        outputs = told_outputs(run.watch.outputs or run.stack.read_outputs(), {}, self._deployed.endpoint_url)
        if outputs.get("sites"):
            require_serving(self._deployed, self._asked(outputs), self._config, tuple(run.watch.resources), run.watch.warn)
        return outputs

    def _asked(self, outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The outputs of the sites that this run is answerable for."""
        if self._options.site is None:
            return outputs
        return {**outputs, "sites": {zone: site for zone, site in outputs["sites"].items() if zone == self._options.site}}

    def _targets(self) -> list[str]:
        from components.zones import parse_zone

        zone = str(self._options.site)
        region = parse_zone(zone).region
        network = [f"**::{region}", *(f"**::{region}-{part}" for part in _NETWORK_PARTS)]
        return [f"**::{zone}", f"**::{zone}-*", *network, *ROUTING_TARGETS, _RELEASE]

    def _departures(self, settings: Settings) -> Any:
        from automation.sites.host_turns import Departures, with_the_hosts_key

        outputs = told_outputs(recorded_outputs(self._deployment), self._deployment, self._deployed.endpoint_url)
        config = with_the_hosts_key(self._config, settings, self._run.stack)
        return Departures(self._deployed, config, settings, outputs, self._run.watch.warn)

    def _routes(self, outputs: Mapping[str, Any]) -> Any:
        """What asks Route 53 how it sees the sites."""
        from automation.sites.resolution import Routes

        region = next(iter(outputs["sites"].values()))["region"]
        client, local = self._deployed.aws_client("route53", region), self._deployed.on_local_cloud
        return lambda: Routes(self._deployed.arguments, outputs, client, on_local_cloud=local)

    def _mend(self) -> list[str]:
        """What is gone, stopped or dead is mended, or handed to the engine: the URNs of the commands that it must do again."""
        from automation.sites.repairs import mend

        run = self._run
        planned = self._deployed.planned_replicas()
        chosen = {zone: number for zone, number in planned.items() if self._options.site in {None, zone}}
        return mend(
            run.stack,
            told_outputs(recorded_outputs(self._deployment), self._deployment, self._deployed.endpoint_url),
            chosen,
            config=self._config,
            client=self._deployed.aws_client,
            ports=self._deployed,
            say=run.watch.warn,
            log=run.log.write,
        )

    def _refuse_unknown_site(self) -> None:
        zones = self._deployed.planned_replicas()
        if self._options.site and zones and self._options.site not in zones:
            raise UsageError(f"`sites` has none in '{self._options.site}'\n  -> its zones are {', '.join(zones)}")

    def _refuse_protected(self, hosts: Sequence[str]) -> None:
        protected = set(inventory_of(self._deployment).protected)
        if held := [key for key in hosts if f"{key}-host" in protected]:
            zones = dict.fromkeys(key.rpartition("-")[0] for key in held)
            lines = "\n".join(f"  -> {self._deployed.commands.edge('unprotect')} {zone}" for zone in zones)
            raise ProtectedError(f"{', '.join(held)} must be stopped or replaced, and is protected; nothing was changed\n{lines}")


def tell_host_turns(run: Run) -> None:
    """Before a plan: says which hosts `up` stops or replaces, one turn after another."""
    from automation.sites.host_turns import host_turns

    _set_mode(run, Mode.HOSTS_IN_TURN)
    settings = validate(config_of(run.stack)).settings if inventory_of(run.stack.deployment).sites else None
    for turn in host_turns(run.stack.deployment, settings) if settings else ():
        told = ", ".join(f"{key} ({reason})" for key, reason in turn.hosts.items())
        run.watch.warn(f"is drained, then stopped or replaced, in its turn: {told}")


def _set_mode(run: Run, mode: Mode) -> None:
    """Tells the program what it need not do, or say."""
    workspace = run.stack.workspace
    workspace.env_vars = {**workspace.env_vars, MODE_VARIABLE: mode.value}


def _replicas_of(urns: Sequence[str]) -> set[str]:
    """The replicas whose steps these are."""
    return {urn.rpartition("::")[2].rpartition("-")[0] for urn in urns}
