"""Where Route 53's order costs users their limit: the bias or the policy that would mend it, with the same sites.

Left out: biases of two sites at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from components.dns_plan import Policy
from components.zones import parse_zone
from placement.order import ranks
from placement.reckoning import Reckoning

BIASES = (-75, -50, -25, -10, 10, 25, 50, 75)
WORTH_TELLING = 0.0005
"""A share of users below this is not worth a change."""
POLICIES: tuple[Policy, ...] = ("latency", "geoproximity", "geolocation")


@dataclass(frozen=True)
class Mend:
    """A change of routing, and how many users are inside the limit with it."""

    kind: Literal["bias", "policy", "sites"]
    change: str
    """`geoproximity`, `us-west-2-lax-1: -25`, or `geoproximity and us-west-2-lax-1, us-west-1`: other sites."""
    share: float

    def __str__(self) -> str:
        how = f"routing.bias {{{self.change}}}" if self.kind == "bias" else f"routing.policy {self.change}"
        return f"{'With' if self.kind == 'sites' else 'With the same sites and'} {how}: {self.share:.1%} inside"


def mends(reckoning: Reckoning, sites: Sequence[int]) -> Iterator[Mend]:
    """The best bias and the better policies, the best first; none where the order costs nobody anything worth telling."""
    now = reckoning.share_of(sites)
    fastest = np.array(sites)[np.argmin(reckoning.ttft()[:, list(sites)], axis=1)]
    if len(sites) < 2 or reckoning.share_inside(fastest) - now < WORTH_TELLING:  # noqa: PLR2004
        return
    found = [*_policies(reckoning, sites), *_biases(reckoning, sites)]
    better = sorted((mend for mend in found if mend.share - now >= WORTH_TELLING), key=lambda mend: -mend.share)
    for kind in ("policy", "bias"):
        yield from [mend for mend in better if mend.kind == kind][: 2 if kind == "policy" else 1]


def _policies(reckoning: Reckoning, sites: Sequence[int]) -> Iterator[Mend]:
    few = tuple(reckoning.question.candidates[site] for site in sites)
    for policy in POLICIES:
        if policy != reckoning.question.policy:
            other = Reckoning(replace(reckoning.question, candidates=few, policy=policy))
            yield Mend("policy", policy, other.share_of(range(len(few))))


def _biases(reckoning: Reckoning, sites: Sequence[int]) -> Iterator[Mend]:
    """One site's; a table of places has none."""
    if reckoning.question.policy == "geolocation":
        return
    few = [parse_zone(reckoning.question.candidates[site].zone) for site in sites]
    chosen = np.array(sites)
    for zone in few:
        for bias in BIASES:
            order = ranks(reckoning.question.policy, few, reckoning.distances, {zone.group: bias})
            share = reckoning.share_inside(chosen[np.argmin(order, axis=1)])
            yield Mend("bias", f"{zone.group}: {bias}", share)
