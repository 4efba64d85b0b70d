"""What is asked: users, candidates, the limit for TTFT, and where each time comes from. Data, with its arithmetic.

Left out: queues. A generation time is that of one request at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from components.dns_plan import Policy
from placement.world import Candidate, User

Connection = Literal["warm", "cold", "cold-tls"]
ROUND_TRIPS: dict[Connection, int] = {"warm": 1, "cold": 2, "cold-tls": 3}
"""Before the first token: the request itself; TCP's handshake; TLS 1.3's."""


@dataclass(frozen=True)
class Generation:
    """How long a server takes from the request to the first token, by instance type, without the network."""

    by_type_ms: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class MeasuredRoundTrip:
    """A round trip between a city and a zone group, as it was measured."""

    median_ms: float
    source: str


@dataclass(frozen=True)
class Question:
    """A question of placement."""

    users: tuple[User, ...]
    candidates: tuple[Candidate, ...]
    generation: Generation
    slo_ms: float = 200.0
    share: float = 0.95
    """Of the users, who are to be inside the limit."""
    connection: Connection = "warm"
    policy: Policy = "latency"
    most_sites: int = 10
    """How far the frontier goes."""
    sites: int | None = None
    """How many to choose; None: the fewest that reach the share."""
    dollars_per_month: float | None = None
    """The most that all sites may cost."""
    measured: Mapping[tuple[str, str], MeasuredRoundTrip] = field(default_factory=dict[tuple[str, str], MeasuredRoundTrip])
    """By the user's label and the zone group; where there is none, the model's."""
    users_source: str = "as told"
    seconds: float = 60.0
    """How long all searching may take; then the best so far is taken, and its gap told."""
