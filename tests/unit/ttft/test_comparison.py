"""Two runs side by side: a change is claimed only where it is shown, and unlike runs are called unlike."""

import io

import made_up

from ttft import console
from ttft.comparison import compare
from ttft.results import Summary
from ttft.samples import Run
from ttft.summary import summarize


def faster(run: Run, name: str, by_ms: float) -> Summary:
    run.samples = [made_up.faster(each, by_ms) if each.target == name else each for each in run.samples]
    return summarize(run)


def test_a_change_is_claimed_where_the_intervals_leave_each_other_out() -> None:
    found = compare(summarize(made_up.run()), faster(made_up.run(seed=2), "Oregon", 20)).changes
    assert [(each.name, each.is_shown) for each in found] == [("Los Angeles", False), ("Oregon", True)]
    assert -21 < found[1].change_ms < -19


def test_what_is_in_one_run_only_is_named() -> None:
    found = compare(summarize(made_up.run()), summarize(made_up.run(connections=("cold",))))
    assert found.changes == ()
    assert found.only_before == ("Los Angeles (warm, 128 prompt tokens)", "Oregon (warm, 128 prompt tokens)")
    assert found.only_after[0] == "Los Angeles (cold, 128 prompt tokens)"


def test_simulated_is_not_compared_with_real() -> None:
    found = compare(summarize(made_up.run(simulated=("network",))), summarize(made_up.run()))
    assert found.warnings == ("simulated before: network; after: nothing. These numbers cannot be compared.",)


def test_another_set_up_drift_and_interruption_are_warned_about() -> None:
    later = made_up.run(rounds=90, drift_ms=60, tokens=8)
    later.setup["interrupted"] = True
    found = compare(summarize(made_up.run()), summarize(later)).warnings
    assert found == ("the set-up differs in 'output_tokens'.", "the run after was interrupted.", "the run after drifted.")


def test_the_table_says_faster_slower_or_not_shown() -> None:
    file = io.StringIO()
    console.show_comparison(compare(summarize(made_up.run()), faster(made_up.run(seed=2), "Oregon", 20)), file)
    text = file.getvalue()
    assert "faster" in text
    assert "not shown" in text
    assert max(map(len, text.splitlines())) <= 80
