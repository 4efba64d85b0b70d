"""The best set of sites, by a mixed-integer program (scipy's HiGHS): no set of as many sites serves more users in time.

The objective is the users inside the limit, in percent, where each user gets the site that Route 53 would answer; a dollar an
hour weighs TIE_PERCENT, so that of equal sets the cheapest wins. Left out: everything that follows from the choice.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placement.reckoning import Reckoning

if TYPE_CHECKING:
    from scipy.optimize import LinearConstraint

TIE_PERCENT = 1e-4
"""What a dollar an hour weighs against users: too little to cost any that a map can tell apart."""
UNKNOWN_DOLLARS = 100.0
"""What an unknown price counts for in ties: the last choice."""
HOURS_PER_MONTH = 730
_NOBODY, _HALF = 1e-9, 0.5


@dataclass(frozen=True)
class Solution:
    """A set of sites, and how sure it is that none is better."""

    sites: tuple[int, ...]
    gap_percent: float
    """No set serves more than this many per cent of the users beyond it; 0 where that is proven to the solver's tolerance."""


@dataclass(frozen=True)
class _Pattern:
    """Users who see the candidates alike: runs of those inside their limit, each with the candidates that must not be sites."""

    good: tuple[int, ...]
    """Bit masks of candidates, one for each run."""
    before: tuple[int, ...]
    """All candidates that come before the run in the order."""


class Program:
    """A question as a mixed-integer program, for any number of sites."""

    def __init__(self, reckoning: Reckoning) -> None:
        self._reckoning, self._candidates = reckoning, reckoning.question.candidates
        self._dollars = np.array([each.dollars_per_hour or UNKNOWN_DOLLARS for each in self._candidates])
        budget = reckoning.question.dollars_per_month
        self._budget = None if budget is None else budget / HOURS_PER_MONTH

    def best(self, most: int, seconds: float, at_least: Sequence[int] = ()) -> Solution:
        """The best set of at most so many sites; after `seconds` the best so far, which is not worse than the set `at_least`."""
        from scipy.optimize import Bounds, milp

        objective, fixed = self._rows
        sites = len(self._candidates)
        rows = [fixed, self._limit(np.ones(sites), most)]
        if self._budget is not None:
            rows.append(self._limit(self._dollars, self._budget))
        result: Any = milp(
            -objective,
            integrality=np.array([1] * sites + [0] * (len(objective) - sites)),
            bounds=Bounds(np.zeros(len(objective)), np.ones(len(objective))),
            constraints=rows,
            options={"time_limit": max(seconds, 0.1), "mip_rel_gap": 1e-7},
        )
        found = () if result.x is None else tuple(map(int, np.flatnonzero(result.x[:sites] > _HALF)))
        if self.worth(at_least) > self.worth(found):
            found = tuple(at_least)
        bound = min(100 * self._reachable, np.inf if result.mip_dual_bound is None else -float(result.mip_dual_bound))
        gap = max(0.0, bound - self.worth(found))
        return Solution(found, 0.0 if result.status == 0 else gap)

    def worth(self, sites: Sequence[int]) -> float:
        """The objective, reckoned anew from the sites alone."""
        return 100 * self._reckoning.share_of(sites) - TIE_PERCENT * float(self._dollars[list(sites)].sum())

    def is_all(self, sites: Sequence[int]) -> bool:
        """Whether the sites serve everybody in time whom any candidate could: more sites would serve nobody more."""
        return bool(sites) and self._reckoning.share_of(sites) >= self._reachable - _NOBODY

    @cached_property
    def _reachable(self) -> float:
        """Share of the users who are inside their limit with any candidate at all."""
        return float(self._reckoning.weights @ self._reckoning.inside.any(axis=1))

    def _limit(self, factors: NDArray[np.float64], most: float) -> "LinearConstraint":
        from scipy.optimize import LinearConstraint
        from scipy.sparse import csr_array

        row = np.concatenate([factors, np.zeros(len(self._rows[0]) - len(factors))])
        return LinearConstraint(csr_array(row[None, :]), -np.inf, most)

    @cached_property
    def _rows(self) -> "tuple[NDArray[np.float64], LinearConstraint]":
        """The objective and the rows that hold for any number of sites."""
        build = _Rows(len(self._candidates))
        build.worth[: len(self._candidates)] = [-TIE_PERCENT * dollars for dollars in self._dollars]
        if self._reckoning.question.policy == "geolocation":
            self._add_places(build)
        else:
            self._add_patterns(build)
        return build.finished()

    def _add_places(self, build: "_Rows") -> None:
        """Each place is mapped to one site."""
        for shares in self._reckoning.inside_by_place():
            able = np.flatnonzero(shares > 0)
            mapped = {int(site): build.variable(100 * float(shares[site])) for site in able}
            for site, variable in mapped.items():
                build.row({variable: 1, site: -1}, 0)
            if len(mapped) > 1:
                build.row(dict.fromkeys(mapped.values(), 1), 1)

    def _add_patterns(self, build: "_Rows") -> None:
        """Each user is served by the first site of their order: a run of good ones counts while nothing before it is a site."""
        closed: dict[int, int] = {}
        for pattern, weight in self._patterns.items():
            served: list[int] = []
            for good, before in zip(pattern.good, pattern.before, strict=True):
                variable = build.variable(100 * weight)
                served.append(variable)
                build.row({variable: 1, **dict.fromkeys(_bits(good), -1)}, 0)
                if not before:
                    continue
                if before not in closed:
                    closed[before] = build.variable(0)
                    for site in _bits(before):
                        build.row({closed[before]: 1, site: 1}, 1)
                build.row({variable: 1, closed[before]: -1}, 0)
            if len(served) > 1:
                build.row(dict.fromkeys(served, 1), 1)

    @cached_property
    def _patterns(self) -> dict[_Pattern, float]:
        """By pattern, the share of users; those whom no candidate serves in time are in none."""
        reckoning = self._reckoning
        order = np.argsort(reckoning.ranks, axis=1)
        flags = np.take_along_axis(reckoning.inside, order, axis=1)
        found: defaultdict[_Pattern, float] = defaultdict(float)
        for sites, good, weight in zip(order.tolist(), flags.tolist(), reckoning.weights.tolist(), strict=True):
            if any(good):
                found[_pattern(sites, good)] += weight
        return found


def _pattern(sites: Sequence[int], good: Sequence[bool]) -> _Pattern:
    runs: list[int] = []
    before: list[int] = []
    seen, was_good = 0, False
    for site, is_good in zip(sites, good, strict=True):
        if is_good and not was_good:
            runs.append(0)
            before.append(seen)
        if is_good:
            runs[-1] |= 1 << site
        seen |= 1 << site
        was_good = is_good
    return _Pattern(tuple(runs), tuple(before))


def _bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


class _Rows:
    """Variables and `<=` rows, as they are added."""

    def __init__(self, sites: int) -> None:
        self.worth: list[float] = [0.0] * sites
        self._values: list[float] = []
        self._columns: list[int] = []
        self._starts = [0]
        self._most: list[float] = []

    def variable(self, worth: float) -> int:
        self.worth.append(worth)
        return len(self.worth) - 1

    def row(self, factors: dict[int, int], most: float) -> None:
        self._columns.extend(factors)
        self._values.extend(factors.values())
        self._starts.append(len(self._columns))
        self._most.append(most)

    def finished(self) -> "tuple[NDArray[np.float64], LinearConstraint]":
        from scipy.optimize import LinearConstraint
        from scipy.sparse import csr_array

        shape = (len(self._most), len(self.worth))
        matrix: Any = csr_array((self._values, self._columns, self._starts), shape=shape, dtype=float)
        return np.array(self.worth), LinearConstraint(matrix, -np.inf, np.array(self._most))
