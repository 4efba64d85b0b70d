"""What a plan tells of the replicas that change their server: in which order, for how long each is away, who takes its users.

Data only; sites/rollout_plan.py makes it. Leaves out hosts that are replaced or stopped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

Effect = Literal["restart", "reload", "none"]
"""What a change means for those that a replica serves: another server, a proxy that reloads, or nothing."""


@dataclass(frozen=True)
class Taker:
    """A site that takes users of a replica that is away."""

    zone: str
    farther_km: int | None
    """How much farther it is than their own site, on the map: an estimate, as the next. None where a place is unknown."""
    farther_ms: float | None
    """How much longer a round trip is, by the model of geography/latency.py."""


@dataclass(frozen=True)
class ReplicaChange:
    """One replica's turn."""

    key: str
    zone: str
    effect: Effect
    what: tuple[str, ...]
    """What changes, in the config's terms: `model A to B`, `image ...`."""
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    """How long its parts will take, about: drain, stop, load, judge, return; those that are known."""
    based_on: str | None = None
    """The replica whose last change took as long; None where no last run started a server, so that nobody knows its part."""
    takers: tuple[Taker, ...] = ()
    """Who takes its users meanwhile; its own zone for other replicas there. Nobody where it has no users or no protection."""
    unprotected: str | None = None
    """Why its users are not led elsewhere before it goes; None where they are, or where it has none."""

    @property
    def away_seconds(self) -> float | None:
        """From the moment that its users are led elsewhere until they are back, about; None where nobody can tell."""
        is_known = self.effect != "restart" or self.based_on is not None
        return round(sum(self.seconds.values()), 1) if is_known else None


@dataclass(frozen=True)
class RolloutPlan:
    """The order of a change; what waits for nobody (new replicas) is not in it."""

    waves: tuple[tuple[ReplicaChange, ...], ...]
    """Those of a wave change at once, each wave after the one before."""
    replicas: int
    """How many there are, with those that do not change."""
    at_once: int
    """How many may be away at once."""
    now: datetime
    credentials_expire: datetime | None = None
    """When the AWS credentials end; None where that is unknown."""

    @property
    def changes(self) -> tuple[ReplicaChange, ...]:
        """All turns, in order."""
        return tuple(each for wave in self.waves for each in wave)

    @property
    def seconds(self) -> float | None:
        """How long all of it takes, about; None where nobody can tell."""
        slowest = [[each.away_seconds for each in wave] for wave in self.waves]
        known = [[each for each in wave if each is not None] for wave in slowest]
        return round(sum(map(max, known)), 1) if slowest == known else None

    @property
    def outlasts_credentials(self) -> bool | None:
        """Whether the credentials end before it does; None where that is unknown."""
        if self.credentials_expire is None or self.seconds is None:
            return None
        return self.now + timedelta(seconds=self.seconds) > self.credentials_expire

    def described(self) -> dict[str, Any]:
        """As `edge plan --json` prints it."""
        return {
            "waves": [[_described(each) for each in wave] for wave in self.waves],
            "replicas": self.replicas,
            "at_once": self.at_once,
            "seconds": self.seconds,
            "credentials_expire": self.credentials_expire and self.credentials_expire.isoformat(),
            "outlasts_credentials": self.outlasts_credentials,
            "estimated": ["seconds", "away_seconds", "farther_km", "farther_ms"],
        }


def same_changes(plan: RolloutPlan) -> Iterator[tuple[tuple[str, ...], list[ReplicaChange]]]:
    """The turns by what changes: a run that stopped half-way leaves replicas with different ways to go."""
    by_what: dict[tuple[str, ...], list[ReplicaChange]] = {}
    for each in plan.changes:
        by_what.setdefault(each.what, []).append(each)
    yield from by_what.items()


def _described(change: ReplicaChange) -> dict[str, Any]:
    return {**asdict(change), "away_seconds": change.away_seconds}
