"""What Route 53's health checkers have found: their last results, and the verdict by them.

Written by `localcloud.health_checkers`, read by the API and by DNS; under `world.lock`. Left out on purpose: history.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from localcloud.api.images import HEALTH_CHECKER_CIDRS

CHECKER_REGIONS = (
    "us-east-1",
    "us-west-1",
    "us-west-2",
    "eu-west-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "sa-east-1",
)
CHECKERS = {
    cidr.replace(".0/24", ".1"): CHECKER_REGIONS[number % len(CHECKER_REGIONS)]
    for number, cidr in enumerate(HEALTH_CHECKER_CIDRS)
}
"""Each checker's source address and Region: two in every Region."""
_ENOUGH = 0.18
"""An endpoint is healthy when more than this share of its checkers say so (Developer Guide, determining the health)."""


@dataclass(frozen=True)
class Observation:
    """One checker's view of one endpoint."""

    healthy: bool
    """Its opinion, which changes after as many unlike results in a row as the check's failure threshold."""
    unlike: int
    """How many results in a row were unlike its opinion."""
    status: str
    """Its last result, in the API's words: begins with `Success` or `Failure`."""
    checked: datetime


observations: defaultdict[str, dict[str, Observation]] = defaultdict(dict)
"""By health check and by checker's address."""


def observe(health_check_id: str, checker: str, threshold: int, *, passed: bool, reason: str) -> None:
    """Take down a checker's result. Before its first one, a checker counts as one that says healthy."""
    before = observations[health_check_id].get(checker)
    healthy = before.healthy if before else True
    unlike = 0 if passed == healthy else (before.unlike if before else 0) + 1
    if unlike >= threshold:
        healthy, unlike = passed, 0
    status = f"{'Success' if passed else 'Failure'}: {reason}"
    observations[health_check_id][checker] = Observation(healthy, unlike, status, datetime.now(UTC))


def checkers(regions: Collection[str] | None) -> list[str]:
    """The checkers of some Regions, or all."""
    return [address for address, region in CHECKERS.items() if region in (regions or CHECKER_REGIONS)]


def is_healthy(health_check_id: str, regions: Collection[str] | None) -> bool:
    """Whether more than 18 % of the checkers, of those Regions or all, say so."""
    found = observations[health_check_id]
    opinions = [checker not in found or found[checker].healthy for checker in checkers(regions)]
    return sum(opinions) > _ENOUGH * len(opinions)


def forget(health_check_id: str) -> None:
    """Drop what was found of one check."""
    observations.pop(health_check_id, None)


def reset() -> None:
    """Nothing was ever checked."""
    observations.clear()
