"""What a change of servers will mean for users, before it is made: order, time away, who takes over, what is not protected.

Pure: from a preview's changes, the exported state and the checked settings. Takes every replica that served for healthy, and a
site's users to be where it is. Leaves out hosts that are replaced or stopped, and new replicas, which wait for nobody.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from automation.engine.results import ResourceChange
from automation.engine.rollout import Effect, ReplicaChange, RolloutPlan
from automation.sites.takeover import Users
from automation.sites.transactions import compared, json_object, transaction_in
from components.dns_plan import RECORD_TTL_SECONDS
from components.door import notice_seconds
from components.rollout import last_to_go, order, served_replicas, waves
from components.settings import Settings

_COMMAND, _CHECK = "command:remote:Command", "aws:route53/healthCheck:HealthCheck"
_READY = "-ready"
_CHANGED_SERVER = ("stop", "load", "judge")
"""The parts that a change of servers has whoever is led away; in a run that changed none, the second is missing."""


def plan_rollout(
    changes: Iterable[ResourceChange],
    deployment: Mapping[str, Any],
    settings: Settings,
    now: datetime,
    credentials_expire: datetime | None = None,
) -> RolloutPlan | None:
    """What happens to the replicas that served; None where no last step of theirs is run again on the host that it knows."""
    texts = changed_steps(changes)
    state = _State(deployment)
    ordered = waves_of(settings, state.served)
    users = Users(settings, state.served & {*order(settings), *last_to_go(state.served, settings)})
    found: list[tuple[ReplicaChange, ...]] = []
    for wave in ordered:
        turns = {key: _Turn(key, texts[key], settings, state) for key in wave if key in texts}
        away = {key for key, turn in turns.items() if turn.effect == "restart"}
        if turns:
            found.append(tuple(turn.told(users, away) for turn in turns.values()))
    replicas = sum(site.replicas for site in settings.sites)
    return RolloutPlan(tuple(found), replicas, settings.rollout.away(replicas), now, credentials_expire) if found else None


def changed_steps(changes: Iterable[ResourceChange]) -> dict[str, tuple[str, str]]:
    """By replica, the text of its last step before and after, where another one is to be run on the same host."""
    found: dict[str, tuple[str, str]] = {}
    for each in changes:
        is_last_step = each.kind == "Command" and each.name.endswith(_READY) and each.operation == "update"
        if not is_last_step or "create" not in each.values:
            continue
        old, new = map(str, each.values["create"])
        if old.partition("\n")[0] == new.partition("\n")[0]:
            found[each.name.removesuffix(_READY)] = old, new
    return found


def waves_of(settings: Settings, served: Iterable[str]) -> list[list[str]]:
    """The order in which the replicas that served would change."""
    known, all_replicas = frozenset(served), order(settings)
    return waves([key for key in all_replicas if key in known], settings.rollout.away(len(all_replicas)))


def waves_in(deployment: Mapping[str, Any], settings: Settings) -> list[list[str]]:
    """The same of an exported state."""
    return waves_of(settings, _State(deployment).served)


class _State:
    """What an exported state knows of the replicas."""

    def __init__(self, deployment: Mapping[str, Any]) -> None:
        resources = cast("list[dict[str, Any]]", deployment.get("resources") or [])
        named = {(str(each["type"]), str(each["urn"]).rpartition("::")[2]): each for each in resources if not each.get("delete")}
        self._outputs = {key: cast("dict[str, Any]", each.get("outputs") or {}) for key, each in named.items()}
        self.served = served_replicas(str(each["urn"]) for each in named.values())

    def outcome(self, key: str) -> dict[str, Any]:
        """What came of a replica's last step (remote/serve.py); nothing where it did not say."""
        *_, last = ["", *str(self._outputs.get((_COMMAND, f"{key}{_READY}"), {}).get("stdout", "")).splitlines()]
        return json_object(last)

    def loads(self) -> dict[str, dict[str, float]]:
        """How long each part of the last change took, of the replicas that started a server in it."""
        seconds = {key: cast("dict[str, float]", self.outcome(key).get("seconds") or {}) for key in sorted(self.served)}
        return {key: parts for key, parts in seconds.items() if all(part in parts for part in _CHANGED_SERVER)}

    def asks_door(self, key: str, port: object) -> bool:
        """Whether a health check asks a replica's door."""
        return port is not None and self._outputs.get((_CHECK, f"routing-health-{key}"), {}).get("port") == port


class _Turn:
    """What one replica's last step will do."""

    def __init__(self, key: str, texts: tuple[str, str], settings: Settings, state: _State) -> None:
        self.key, self._settings, self._state = key, settings, state
        self._old, self._new = (transaction_in(text) for text in texts)
        self.effect: Effect
        self.effect, self._what = compared(*texts)

    def told(self, users: Users, away: set[str]) -> ReplicaChange:
        """The turn, in a wave in which these replicas are away."""
        zone = self.key.rpartition("-")[0]
        if self.effect != "restart":
            return ReplicaChange(self.key, zone, self.effect, self._what)
        takers, problem = users.takers(zone, away), self._nobody_asks()
        seconds, based_on = self._seconds(is_led_away=problem is None)
        if problem is None and not takers and zone not in self._settings.drained:
            problem = "no other replica would get its users"
        return ReplicaChange(self.key, zone, self.effect, self._what, seconds, based_on, () if problem else takers, problem)

    def _nobody_asks(self) -> str | None:
        """Why closing its door would lead nobody away."""
        if len({*order(self._settings), *self._state.served}) == 1:
            return "it is the only replica, and changes at once"
        if not self._settings.is_routed:
            return "no name leads its users elsewhere (routing.policy is none)"
        door: Mapping[str, Any] = self._old["door"] if self._old else {}
        return None if self._state.asks_door(self.key, door.get("port")) else "no health check asks its door before this run"

    def _seconds(self, *, is_led_away: bool) -> tuple[dict[str, float], str | None]:
        """How long each part takes, as far as it is known, and of which replica that of the server is."""
        known = self._state.loads()
        source = self.key if self.key in known else max(known, key=lambda key: sum(known[key].values()), default=None)
        own = {part: known[source][part] for part in _CHANGED_SERVER} if source else {}
        before, after = self._led_away(source) if is_led_away else (0.0, 0.0)
        return {"drain": before, **own, "return": after}, source

    def _led_away(self, source: str | None) -> tuple[float, float]:
        """How long users take to leave and to come back: as the last time, where they were led away then, else by the rules."""
        old, new = (each["rollout"]["notice_seconds"] if each else None for each in (self._old, self._new))
        last = self._state.outcome(source) if source else {}
        if last.get("protected") and old == new:
            return float(last["seconds"]["drain"]), float(last["seconds"]["return"])
        routing = self._settings.routing
        notice = notice_seconds(routing.health_interval_seconds, routing.health_failure_threshold)
        return float(notice + RECORD_TTL_SECONDS), float(notice)
