"""The order of a rollout: which replicas change their server together, and who waits for whom.

A rollout is nothing but the dependencies of the hosts' last steps: one fails, and those that wait for it are not touched. Only
replicas that served before are in it, so that first deployments do not queue; hosts and all other steps never wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi

from components.running_state import resource_outputs

_LAST_STEP = "-ready"
"""Of a host's steps the only one that takes a serving server away (host_steps.py)."""
_COMMAND = "command:remote:Command"


def waves(replicas: Sequence[str], max_away: int) -> list[list[str]]:
    """The replicas in the order of their change, those of a wave at once: the canary alone, then `max_away` each."""
    rest = [list(replicas[start : start + max_away]) for start in range(1, len(replicas), max_away)]
    return [list(replicas[:1]), *rest] if replicas else []


def served_before() -> frozenset[str]:
    """The keys of the replicas whose last step is in the running stack's state: each has served at some time."""
    steps = {urn.rpartition("::")[2] for urn in resource_outputs() if f"{_COMMAND}::" in urn}
    return frozenset(step.removesuffix(_LAST_STEP) for step in steps if step.endswith(_LAST_STEP))


@dataclass
class Rollout:
    """Makes each last step wait for those of the waves before. The steps must be registered in the order of the waves."""

    waves: list[list[str]]
    _steps: dict[str, pulumi.Resource] = field(default_factory=dict[str, pulumi.Resource])

    def in_order(self, step: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        """A transformation of everything below a site: of its replicas' last steps it changes what they depend on."""
        key = step.name.removesuffix(_LAST_STEP)
        place = next((number for number, wave in enumerate(self.waves) if key in wave), None)
        if step.type_ != _COMMAND or key == step.name or place is None:
            return None
        self._steps[key] = step.resource
        earlier = [self._steps[each] for wave in self.waves[:place] for each in wave]
        step.opts.depends_on = [*_listed(step.opts.depends_on), *earlier]
        return pulumi.ResourceTransformationResult(step.props, step.opts)


def _listed(depends_on: object) -> list[pulumi.Resource]:
    if depends_on is None:
        return []
    if isinstance(depends_on, pulumi.Resource):
        return [depends_on]
    if not isinstance(depends_on, list):
        raise TypeError(f"the last step depends on {type(depends_on).__name__}, not on a list of resources")
    return depends_on  # type: ignore[return-value] # as components/server.py gives it
