"""The order of a rollout: which replicas change their server together, and who waits for whom.

A host's last step is registered when those of the waves before have ended; where one failed, it depends on that, so that the
engine leaves it out. Only replicas that served before are in the order, so that first deployments do not queue; hosts and all
other steps never wait. No order stays in the state: a run of chosen resources fails where its order differs from the state's.
"""

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

import pulumi

from components.host_changes import HostFacts, deployed_addresses, deployed_hosts
from components.listeners import Listener, silent
from components.running_state import resource_outputs
from components.settings import Settings

MODE_VARIABLE = "EDGE_INFERENCE_ROLLOUT"
"""By which `edge up` tells the program of a rollout what it does about hosts itself, or that there shall be no order."""
_LAST_STEP = "-ready"
"""Of a host's steps the only one that takes a serving server away (host_steps.py)."""
_COMMAND = "command:remote:Command"
SECOND_LOOK_SECONDS = 3.0
"""After which a replica that did not answer is asked once more."""


class Mode(Enum):
    """What the run is asked to do about the replicas that serve."""

    PLAIN = ""
    """Servers change in order; hosts that must be stopped or replaced go together."""
    HOSTS_IN_TURN = "hosts-in-turn"
    """The same, by a caller that hands hosts over one after another."""
    ALL_AT_ONCE = "all-at-once"
    """No order, and nothing is protected."""


def order(settings: Settings) -> list[str]:
    """All replicas of a config in the order of their change: drained sites first, nobody misses them; then as in `sites`."""
    sites = sorted(settings.sites, key=lambda site: site.zone not in settings.drained)
    return [replica.key for site in sites for replica in site.all_replicas]


def waves(replicas: Sequence[str], max_away: int) -> list[list[str]]:
    """The replicas in the order of their change, those of a wave at once: the canary alone, then `max_away` each."""
    rest = [list(replicas[start : start + max_away]) for start in range(1, len(replicas), max_away)]
    return [list(replicas[:1]), *rest] if replicas else []


def planned_waves(replicas: Sequence[str], max_away: int, dead: Collection[str] = ()) -> list[list[str]]:
    """The same, behind those that do not serve anyway: nobody misses them, and no other goes while they are away."""
    first = [each for each in replicas if each in dead]
    rest = waves([each for each in replicas if each not in dead], max_away)
    return [first, *rest] if first else rest


def last_to_go(served: Collection[str], settings: Settings) -> list[str]:
    """Replicas that served and that the config has no more, where at most one other that served stays: they serve on until that
    one has changed, or until what takes their place is there.
    """
    planned = set(order(settings))
    removed = sorted(set(served) - planned)
    return removed if len(planned.intersection(served)) <= 1 else []


@dataclass(frozen=True)
class Before:
    """What the running stack's state says of the replicas before this run."""

    served: frozenset[str] = frozenset()
    """Keys of the replicas whose last step is in the state: each has served at some time."""
    addresses: Mapping[str, str] = field(default_factory=dict[str, str])
    """Their public addresses, by key."""
    hosts: Mapping[str, HostFacts] = field(default_factory=dict[str, HostFacts])
    """What each host of the state is made from."""
    texts: Mapping[str, str] = field(default_factory=dict[str, str])
    """The texts of their last steps, by key."""


def before() -> Before:
    """Asks the state."""
    state = resource_outputs()
    served = served_replicas(state)
    addresses = {key: each for key, each in deployed_addresses(state).items() if key in served}
    named = {
        urn.rpartition("::")[2].removesuffix(_LAST_STEP): outputs for urn, outputs in state.items() if f"{_COMMAND}::" in urn
    }
    texts = {key: str(named[key].get("create")) for key in served}
    return Before(served, addresses, deployed_hosts(state), texts)


def served_replicas(urns: Iterable[str]) -> frozenset[str]:
    """The replicas whose last step is among a state's URNs: each has served at some time."""
    names = (urn.rpartition("::")[2] for urn in urns if f"{_COMMAND}::" in urn)
    return frozenset(name.removesuffix(_LAST_STEP) for name in names if name.endswith(_LAST_STEP))


_ALONE = re.compile(r'"is_alone":(?:true|false)')


def only_where_it_means_more(texts: Mapping[str, str]) -> pulumi.ResourceTransformation:
    """A transformation of last steps: each keeps the state's text where the new one differs in nothing but whether the replica is
    alone. That matters while a server changes, and is no reason to run a step again.
    """

    def keep(step: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        before = texts.get(step.name.removesuffix(_LAST_STEP))
        if step.type_ != _COMMAND or not step.name.endswith(_LAST_STEP) or before is None:
            return None
        text = pulumi.Output.from_input(cast("Mapping[str, pulumi.Input[str]]", step.props)["create"])
        props = {**cast("Mapping[str, Any]", step.props), "create": text.apply(lambda new: _settled(before, new))}
        return pulumi.ResourceTransformationResult(cast("Any", props), step.opts)

    return keep


def _settled(before: str, text: str) -> str:
    return before if _ALONE.sub("", before) == _ALONE.sub("", text) else text


class Rollout:
    """Makes each last step wait for those of the waves before, and refuses it while another replica is dead.

    `order`: the replicas that served before. `dead`: those of them that do not answer. `listeners`: where to ask those that
    should serve, before each step. Images, weights and files are fetched everywhere before the first server is taken away; a
    replica where that fails is in no wave, and keeps its server.
    """

    def __init__(
        self,
        order: Sequence[str],
        max_away: int,
        *,
        dead: Collection[str] = (),
        listeners: Mapping[str, Listener] | None = None,
    ) -> None:
        self._order, self._max_away, self._dead = order, max_away, dead
        self._listeners = listeners or {}
        self._waves = planned_waves(order, max_away, dead)
        # The SDK's own threads may all be waiting for steps that wait for this hook.
        self._asking = ThreadPoolExecutor(1)
        self._steps: dict[str, pulumi.Resource] = {}
        self._prepared: dict[str, list[pulumi.Resource]] = {}
        self._hooks = None
        if len(self._listeners) > 1:
            self._hooks = pulumi.ResourceHookBinding(before_update=[pulumi.ResourceHook("no-other-is-dead", self._refuse)])

    def in_order(self, step: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        """A transformation of everything below a site: of its replicas' last steps it changes what they depend on."""
        key = step.name.removesuffix(_LAST_STEP)
        if step.type_ != _COMMAND or key == step.name or key not in self._order:
            return None
        self._steps[key] = step.resource
        self._prepared[key] = _listed(step.opts.depends_on)
        step.opts.depends_on = pulumi.Output.from_input(self._waits_for(key))
        step.opts.hooks = self._hooks
        return pulumi.ResourceTransformationResult(step.props, step.opts)

    async def _waits_for(self, key: str) -> list[pulumi.Resource]:
        """Returns when it is the replica's turn: its own steps before, and those last steps of the waves before that failed."""
        own = self._prepared[key]
        if pulumi.runtime.is_dry_run():
            return own
        known = [each for each in self._order if each in self._prepared]
        fetched = await asyncio.gather(*(_went_well(self._prepared[each]) for each in known))
        there = [each for each, is_there in zip(known, fetched, strict=True) if is_there]
        self._waves = planned_waves(there, self._max_away, self._dead)
        place = next((number for number, wave in enumerate(self._waves) if key in wave), 0)
        earlier = [self._steps[each] for wave in self._waves[:place] for each in wave]
        return [*own, *[each for each in earlier if not await _went_well([each])]]

    async def _refuse(self, step: pulumi.ResourceHookArgs) -> None:
        """Ends a step before it begins: a server may not go while another replica, but for those of its own wave, is dead."""
        key = step.name.removesuffix(_LAST_STEP)
        mine = [each for wave in self._waves if key in wave for each in wave]
        asked = {each: where for each, where in self._listeners.items() if each == key or each not in mine}
        loop = asyncio.get_running_loop()
        dead = await loop.run_in_executor(self._asking, silent, asked)
        if dead and key not in dead:
            await asyncio.sleep(SECOND_LOOK_SECONDS)
            dead = await loop.run_in_executor(self._asking, silent, asked)
        if dead and key not in dead:
            stack = pulumi.get_stack()
            raise RuntimeError(
                f"{key} keeps its server for now: {', '.join(sorted(dead))} does not answer, and one more would be away\n"
                f"  -> edge up {stack}   # mends it first; edge drain {stack} ZONE takes it out; edge up {stack} --all-at-once"
            )


async def _went_well(commands: Sequence[pulumi.Resource]) -> bool:
    """Returns when they have ended. What a command prints stays unknown where it failed or was left out."""
    outputs = [cast("pulumi.Output[str]", cast("Any", each).stdout) for each in commands]
    return all([await each.is_known() for each in outputs])


def _listed(depends_on: object) -> list[pulumi.Resource]:
    listed: list[object] = cast("list[object]", depends_on) if isinstance(depends_on, list) else [depends_on]
    if not all(isinstance(each, pulumi.Resource) for each in listed):
        raise TypeError(f"the last step depends on {depends_on!r}, not on resources")
    return cast("list[pulumi.Resource]", listed)
