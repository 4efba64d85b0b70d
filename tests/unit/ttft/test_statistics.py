"""Numbers from raw samples: exact where they are given, withheld where the sample is too small, honest about chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ttft_coverage import holds, session
from ttft import statistics
from ttft.summary import summarize

finite = st.floats(0.1, 1000)


@given(st.lists(finite, min_size=1, max_size=150))
def test_quantiles_are_those_of_the_raw_values(values: list[float]) -> None:
    found = statistics.quantiles(values)
    assert (found.samples, found.min, found.max) == (len(values), min(values), max(values))
    assert found.p50 == pytest.approx(np.median(values))
    assert (found.p95 is not None) == (len(values) >= 100)
    if found.p50 is not None and found.p50_low is not None and found.p50_high is not None:
        assert found.p50_low <= found.p50 + 1e-9
        assert found.p50_high >= found.p50 - 1e-9


def test_a_percentile_is_withheld_with_the_reason_until_the_sample_supports_it() -> None:
    few, many = statistics.quantiles(range(99)), statistics.quantiles(range(1000))
    assert few.p95 is None
    assert few.withheld == {"p95": "n too small: 99 of 100", "p99": "n too small: 99 of 1000"}
    assert many.p95 == pytest.approx(949.05)
    assert many.p99 == pytest.approx(989.01)
    assert many.withheld is None


def test_nothing_measured_is_no_number() -> None:
    assert statistics.quantiles([]).p50 is None
    assert statistics.share(0, 0) is None
    assert statistics.difference_of_medians({1: [1.0]}, {2: [1.0]}) is None


def test_the_interval_of_a_median_covers_it() -> None:
    """Of skewed values, from order statistics: no shape is assumed."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        found = statistics.quantiles(list(rng.exponential(1.0, 25)))
        hits += (found.p50_low or 0) <= np.log(2) <= (found.p50_high or 0)
    assert hits >= 279


def test_five_values_cannot_enclose_their_median() -> None:
    assert statistics.quantiles(range(5)).p50_low is None
    six = statistics.quantiles(range(6))
    assert (six.p50_low, six.p50_high) == (0, 5)


def test_a_share_has_a_wilson_interval() -> None:
    found = statistics.share(20, 20)
    assert found is not None
    assert (found.share, found.high) == (1.0, pytest.approx(1.0))
    assert found.low == pytest.approx(0.8389, abs=1e-4)


def test_drift_that_both_share_does_not_widen_the_difference() -> None:
    rng = np.random.default_rng(2)
    drift = np.linspace(0, 80, 40)
    a = {index: [60 + drift[index] + rng.normal(0, 1)] for index in range(40)}
    b = {index: [85 + drift[index] + rng.normal(0, 1)] for index in range(40)}
    found = statistics.difference_of_medians(a, b)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= -25 <= found.high
    assert found.high - found.low < 12
    assert found.is_shown


def test_a_difference_of_nothing_is_not_shown() -> None:
    rng = np.random.default_rng(3)
    found = statistics.difference_of_medians(*({index: [rng.normal(60, 5)] for index in range(50)} for _ in range(2)))
    assert found is not None
    assert not found.is_shown


def test_few_rounds_give_no_interval() -> None:
    found = statistics.difference_of_medians(*({index: [value] for index in range(9)} for value in (10.0, 30.0)))
    assert found is not None
    assert found == statistics.Difference(9, -20.0, None, None)
    assert not found.is_shown


def test_only_rounds_in_which_both_answered_count() -> None:
    a = {index: [10.0] for index in range(30)}
    b = {index: [30.0] for index in range(10, 40)}
    found = statistics.difference_of_medians(a, b)
    assert found is not None
    assert found.rounds == 20


@given(st.lists(st.lists(finite, min_size=1, max_size=4), min_size=1, max_size=6))
def test_rounds_may_have_any_number_of_samples(rounds: list[list[float]]) -> None:
    """Under concurrency some requests of a round fail: the median is that of all values there are."""
    a = dict(enumerate(rounds))
    found = statistics.difference_of_medians(a, {index: [0.0] for index in a})
    assert found is not None
    assert found.median == pytest.approx(np.median([value for values in rounds for value in values]))


def test_the_same_samples_give_the_same_interval() -> None:
    rng = np.random.default_rng(1)
    a, b = ({index: [rng.normal(mean, 3)] for index in range(30)} for mean in (50, 60))
    assert statistics.difference_of_medians(a, b) == statistics.difference_of_medians(a, b)


def test_drift_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(4)
    still = {index: [80 + rng.normal(0, 4)] for index in range(90)}
    moving = {index: [80 + index / 4 + rng.normal(0, 4)] for index in range(90)}
    found, noise = statistics.drift(moving), statistics.drift(still)
    assert found is not None
    assert found.drifted
    assert found.change == pytest.approx(15, abs=3)
    assert noise is not None
    assert not noise.drifted


def test_drift_is_not_asked_of_a_short_run() -> None:
    assert statistics.drift({index: [float(index)] for index in range(29)}) is None


def _covered(*, interleaved: bool) -> int:
    rng = np.random.default_rng(11)
    return sum(holds(summarize(session(rng, 30, interleaved=interleaved)).differences[0]) for _ in range(100))


def test_the_interval_holds_the_truth_in_93_of_100_interleaved_runs() -> None:
    assert _covered(interleaved=True) >= 93


def test_site_after_site_would_not_hold_it() -> None:
    """What random order in every round is for; and that the test above can fail."""
    assert _covered(interleaved=False) < 50
