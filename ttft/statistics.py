"""Numbers from raw samples: quantiles, shares, drift, and the difference between two targets with its interval.

Works on plain arrays and knows no targets. Leaves out the words (words.py) and what belongs to what (summary.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
SUPPORT = {"p95": 100, "p99": 1000}
"""Samples from which a percentile is given: below, the 95 % interval of p95 covers .79 (n = 30), that of p99 .66 (n = 100)."""
FEWEST_ROUNDS = 10
"""Rounds from which a difference gets an interval; benchmarks/ttft_coverage.py measures its coverage there."""
RESAMPLES = 2000
_SEED = 7
"""The resampling is repeatable: the same samples always give the same interval."""
_DRIFT_CONFIDENCE = 0.99
"""Drift is asked of every target and connection, so that a chance finding must be rarer than 1 in 20."""
_DRIFT_SHARE = 0.05
"""A change of less than this share of the median is no drift worth a word."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Quantiles:
    """Of one set of values; None where the set does not support the number, and `withheld` says why."""

    samples: int
    min: float | None = None
    mean: float | None = None
    p50: float | None = None
    p50_low: float | None = None
    """95 % interval of the median, from order statistics; independent samples assumed."""
    p50_high: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None
    withheld: dict[str, str] | None = None


@dataclass(frozen=True)
class Share:
    """How many of how many, with the Wilson interval."""

    count: int
    of: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Median of a minus median of b, over the rounds in which both answered."""

    rounds: int
    median: float
    low: float | None
    """None: fewer rounds than FEWEST_ROUNDS."""
    high: float | None

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves 0 out, so that a difference may be claimed."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Drift:
    """Median of the run's last third minus that of its first third, with its 99 % interval."""

    change: float
    low: float
    high: float
    drifted: bool


def quantiles(values: Sequence[float]) -> Quantiles:
    """Exact quantiles (linear between neighbours) of raw values, in the values' unit."""
    count = len(values)
    if not count:
        return Quantiles(samples=0, withheld=dict.fromkeys(("p50", *SUPPORT), "no samples"))
    array = np.asarray(values, dtype=np.float64)
    low, high = _median_interval(array)
    given = {name: float(np.quantile(array, int(name[1:]) / 100)) if count >= least else None for name, least in SUPPORT.items()}
    withheld = {name: f"n too small: {count} of {least}" for name, least in SUPPORT.items() if count < least}
    return Quantiles(
        samples=count,
        min=float(array.min()),
        mean=float(array.mean()),
        p50=float(np.median(array)),
        p50_low=low,
        p50_high=high,
        p95=given["p95"],
        p99=given["p99"],
        max=float(array.max()),
        withheld=withheld or None,
    )


def share(count: int, of: int) -> Share | None:
    """A share with its 95 % Wilson interval; None of nothing."""
    if not of:
        return None
    interval = stats.binomtest(count, of).proportion_ci(CONFIDENCE, method="wilson")
    return Share(count, of, count / of, float(interval.low), float(interval.high))


def difference_of_medians(a: Mapping[int, Sequence[float]], b: Mapping[int, Sequence[float]]) -> Difference | None:
    """How the medians of two targets differ (a minus b), given their values by round; None without a common round.

    Whole rounds are resampled, with all values of both targets in them (a paired bootstrap, percentile method): what moves
    both targets of a round together, such as drift, then cancels. serving-facts: coverage .96-.98 interleaved.
    """
    rounds = sorted(a.keys() & b.keys())
    if not rounds:
        return None
    tables = _table(a, rounds), _table(b, rounds)

    def statistic(drawn: NDArray[np.int64], axis: int = -1) -> Floats:
        del axis  # always the last: the data is one row of rounds
        first, second = (_medians(table[drawn].reshape(*drawn.shape[:-1], -1)) for table in tables)
        return first - second

    index = np.arange(len(rounds))
    median = float(statistic(index))
    if len(rounds) < FEWEST_ROUNDS:
        return Difference(len(rounds), median, None, None)
    low, high = _bootstrap((index,), statistic, CONFIDENCE)
    return Difference(len(rounds), median, low, high)


def drift(values_by_round: Mapping[int, Sequence[float]]) -> Drift | None:
    """Whether values moved between the first and the last third of the rounds; None where a third has under FEWEST_ROUNDS."""
    rounds = sorted(values_by_round)
    third = len(rounds) // 3
    if third < FEWEST_ROUNDS:
        return None
    medians = np.array([np.median(values_by_round[each]) for each in rounds])
    first, last = medians[:third], medians[-third:]

    def statistic(later: Floats, earlier: Floats, axis: int = -1) -> Floats:
        return np.median(later, axis=axis) - np.median(earlier, axis=axis)

    change = float(statistic(last, first))
    low, high = _bootstrap((last, first), statistic, _DRIFT_CONFIDENCE)
    matters = abs(change) >= _DRIFT_SHARE * float(np.median(medians))
    return Drift(change, low, high, drifted=matters and (low > 0 or high < 0))


def _median_interval(values: Floats) -> tuple[float | None, float | None]:
    """Two of the values that enclose the true median with 95 %; none do below 6 values. (stats.quantile_test is slower.)"""
    rank = int(stats.binom.ppf((1 - CONFIDENCE) / 2, len(values), 0.5))
    if rank == 0:
        return None, None
    ordered = np.sort(values)
    return float(ordered[rank - 1]), float(ordered[-rank])


def _bootstrap(data: tuple[NDArray[Any], ...], statistic: Any, confidence: float) -> tuple[float, float]:
    """Percentile interval. BCa, SciPy's default, leans on a jackknife that is not valid for medians."""
    result = stats.bootstrap(
        data,
        statistic,
        n_resamples=RESAMPLES,
        batch=max(1, 4_000_000 // len(data[0])),
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _table(values: Mapping[int, Sequence[float]], rounds: Sequence[int]) -> Floats:
    """One row a round, filled up with NaN where a round has fewer values than others."""
    width = max(len(values[each]) for each in rounds)
    table = np.full((len(rounds), width), np.nan)
    for row, each in enumerate(rounds):
        table[row, : len(values[each])] = values[each]
    return table


def _medians(values: Floats) -> Floats:
    """Median along the last axis, NaN left out. np.nanmedian does the same, a hundred times slower on many short rows."""
    missing = np.isnan(values)
    if not missing.any():
        return np.median(values, axis=-1)
    ordered = np.sort(values, axis=-1)  # NaN last
    count = np.sum(~missing, axis=-1, keepdims=True)
    middle = np.concatenate([(count - 1) // 2, count // 2], axis=-1)
    return np.take_along_axis(ordered, middle, axis=-1).mean(axis=-1)
