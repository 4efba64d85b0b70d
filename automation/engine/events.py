"""What a run tells of itself: small typed events of our own, so that no caller has to know the engine's wire format.

The engine's own words stay in the run's log. Every event is redacted before anyone sees it.
"""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Stage = Literal["network", "host", "image", "model", "healthy", "routed"]
StageState = Literal["waiting", "before", "working", "done", "unchanged", "failed"]
"""`before`: made by an earlier run, and this one has not come to it yet."""
STAGES: tuple[Stage, ...] = ("network", "host", "image", "model", "healthy", "routed")
"""What a site goes through until users reach it, in order."""

CUT_OFF_SECONDS = 20.0
"""How long an engine that was asked twice to stop may take, before it is killed."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened `seconds` after the run began."""

    seconds: float


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource that a step is about."""

    name: str
    type: str
    """Pulumi's type token, such as `aws:ec2/instance:Instance`."""
    urn: str

    @property
    def kind(self) -> str:
        """The last word of the type, such as `Instance`."""
        return self.type.rpartition(":")[2]


@dataclass(frozen=True, kw_only=True)
class ResourceStarted(Event):
    """A step begins; in a plan: would be done. `operation` is the engine's: create, update, delete, replace, same, ...; or
    forget, for an opt-in that leaves the state and that AWS keeps.
    """

    resource: Resource
    operation: str
    differs: tuple[str, ...] = ()
    """Names of the inputs that differ."""
    is_real: bool = True
    """False for components and providers, which only stand for others, and for steps that change nothing."""


@dataclass(frozen=True, kw_only=True)
class ResourceDone(ResourceStarted):
    """A step ended well after `took_seconds`."""

    took_seconds: float


@dataclass(frozen=True, kw_only=True)
class ResourceFailed(ResourceStarted):
    """A step failed after `took_seconds`; why, a Diagnostic tells."""

    took_seconds: float


@dataclass(frozen=True, kw_only=True)
class Diagnostic(Event):
    """Words of the engine, of the program, or of a command on a host."""

    severity: Literal["info", "warning", "error"]
    text: str
    resource: str | None = None
    """Name of the resource that it is about."""


@dataclass(frozen=True, kw_only=True)
class SiteProgress(Event):
    """A stage of a site has come to another state."""

    zone: str
    stage: Stage
    state: StageState


@dataclass(frozen=True, kw_only=True)
class LaunchWaits(Event):
    """An instance was asked for long ago, and AWS has not launched it."""

    zone: str
    resource: str
    waited_seconds: float
    reason: str | None
    """AWS's own word for it where the plugin told; None: it is silent, which mostly means a zone without capacity."""
    text: str
    """All of it in words, with what can be done."""


@dataclass(frozen=True, kw_only=True)
class Interrupted(Event):
    """The run was asked to stop: once, and steps at work are finished; twice, and they are cut off."""

    times: int
    at_work: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RolloutOrder(Event):
    """In which order the replicas that served may change; whether one changes at all shows when its turn comes."""

    waves: tuple[tuple[str, ...], ...]
    """Keys of replicas; those of a wave change at once."""
    replicas: int
    """How many there are, with those that are in no wave."""


OnEvent = Callable[[Event], None]
"""Is called from a thread of the run, one event at a time."""


def as_json(event: Event) -> dict[str, Any]:
    """An event as a JSON object; `event` is its class in snake case."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    described = dataclasses.asdict(event)
    return {"event": name, **described, "seconds": round(event.seconds, 3)}
