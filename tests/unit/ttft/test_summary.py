"""The JSON summary: the contract of the issue, its schema, and what the numbers in it are made of."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import made_up
import pytest

from ttft.results import Summary, summary_schema
from ttft.samples import Run, ServerView
from ttft.summary import Judgement, summarize

SCHEMA = Path(__file__).resolve().parents[3] / "docs" / "ttft-summary.schema.json"


def as_json(run: Run, judgement: Judgement | None = None) -> dict[str, Any]:
    return json.loads(summarize(run, judgement).model_dump_json())


def test_schema_in_the_documents_is_that_of_the_code() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == summary_schema(), ".venv/bin/python tools/generate_docs.py"


def full_run() -> Run:
    cities, sites = ("Los Angeles", "Honolulu", "Seattle"), ("Los Angeles", "Oregon", "Honolulu")
    run = made_up.run(
        made_up.targets(cities, sites), connections=("warm", "cold"), prompts=(128, 2048), rounds=12, simulated=("network",)
    )
    run.failures.append(made_up.failure(run.targets[0].name, kind="stalled"))
    run.server_views.append(ServerView(run.targets[0].name, 12, 48.0, None))
    return run


def empty_run() -> Run:
    return Run(setup={}, targets=made_up.targets())


@pytest.mark.parametrize("make", [made_up.run, full_run, empty_run])
def test_summaries_keep_to_their_schema(make: Callable[[], Run]) -> None:
    run = make()
    value = as_json(run, Judgement(slo_ms=100, device_ms=80))
    jsonschema.validate(value, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert Summary.model_validate_json(json.dumps(value)) == summarize(run, Judgement(slo_ms=100, device_ms=80))


def test_the_contract_of_the_issue() -> None:
    value = as_json(made_up.run(connections=("warm", "cold")))
    for target in value["targets"]:
        assert target["url"].startswith("http://192.0.2.")
        assert target["connection"] in {"warm", "cold"}
        assert (target["samples"], target["errors"], target["cpu_ms_per_request"]) == (40, 0, 1.2)
        parts = target["network_ms"]["p50"] + target["generation_ms"]["p50"]
        assert target["ttft_ms"]["p50"] == pytest.approx(parts, abs=1)
    warm, cold = value["differences"]
    for difference in (warm, cold):
        assert (difference["a"], difference["b"]) == ("http://192.0.2.1:8080", "http://192.0.2.2:8080")
        assert difference["low_ms"] <= difference["median_ms"] <= difference["high_ms"]
    assert warm["median_ms"] == pytest.approx(-26, abs=1)
    assert cold["median_ms"] == pytest.approx(-52, abs=1)


def test_sites_are_compared_within_a_city_only() -> None:
    summary = summarize(full_run())
    assert len(summary.differences) == 3 * 3 * 2 * 2
    for difference in summary.differences:
        assert difference.a_name.endswith(f" from {difference.city}")
        assert difference.b_name.endswith(f" from {difference.city}")
        assert difference.simulated == ("network",)


def test_errors_are_counted_by_kind_and_never_samples() -> None:
    run = made_up.run(rounds=20)
    run.failures += [made_up.failure("Oregon", kind=kind) for kind in ("stalled", "stalled", "http")]
    oregon = summarize(run, Judgement(slo_ms=1000)).targets[1]
    assert (oregon.samples, oregon.errors, oregon.failures) == (20, 3, {"stalled": 2, "http": 1})
    assert oregon.under_slo is not None
    assert (oregon.under_slo.count, oregon.under_slo.of) == (20, 23)


@pytest.mark.parametrize(("slo_ms", "share", "met"), [(75, 0.95, False), (300, 0.95, True), (75, 0.5, False), (62, 0.0, True)])
def test_slo_holds_for_every_target_or_is_missed(slo_ms: float, share: float, *, met: bool) -> None:
    slo = summarize(made_up.run(), Judgement(slo_ms=slo_ms, slo_share=share)).slo
    assert slo is not None
    assert slo.met is met
    assert met or slo.missed_by == ("Oregon",)


def test_a_target_without_an_answer_misses_every_slo() -> None:
    run = made_up.run(made_up.targets(sites=("Oregon",)))
    run.targets.append(made_up.targets()[0])
    run.failures.append(made_up.failure("Los Angeles"))
    slo = summarize(run, Judgement(slo_ms=500)).slo
    assert slo is not None
    assert slo.missed_by == ("Los Angeles",)


def test_the_budget_is_what_the_device_leaves_of_a_conversation() -> None:
    summary = summarize(made_up.run(), Judgement(device_ms=120))
    assert summary.budget.left_ms == (80, 380)
    near, far = summary.targets
    assert near.budget_left_ms == pytest.approx((80 - (near.ttft_ms.p50 or 0), 380 - (near.ttft_ms.p50 or 0)))
    assert far.budget_left_ms is not None
    assert far.budget_left_ms[0] < 0


def test_a_server_that_says_it_is_simulated_marks_every_number() -> None:
    run = made_up.run()
    run.setup["servers"] = {"Oregon": {"engine": "tgi", "simulated": True}}
    summary = summarize(run)
    assert summary.simulated.parts == ("model",)
    assert {each.simulated for each in (*summary.targets, *summary.differences)} == {("model",)}
    assert summary.headlines[0].text.startswith("With a simulated model")


def test_a_sweep_finds_where_the_nearer_site_no_longer_matters() -> None:
    (sweep,) = summarize(made_up.run(prompts=(128, 512, 2048))).sweeps
    assert (sweep.nearer, sweep.farther) == ("Los Angeles", "Oregon")
    assert [point.matters for point in sweep.points] == [True, True, False]
    assert (sweep.matters_up_to_tokens, sweep.break_even_tokens) == (512, 2048)
    last = sweep.points[-1]
    assert last.gain_ms == pytest.approx(26, abs=2)
    assert last.gain_low_ms is not None
    assert last.gain_high_ms is not None
    assert last.gain_low_ms <= last.gain_ms <= last.gain_high_ms
    assert last.why_not == "less than 10 % of TTFT"


def test_a_sweep_without_break_even_says_so() -> None:
    summary = summarize(made_up.run(prompts=(16, 32)))
    assert summary.sweeps[0].break_even_tokens is None
    assert any("at every measured prompt length, up to 32 tokens" in note for note in summary.notes)


def test_a_gain_that_only_comes_back_at_longer_prompts_is_no_break_even() -> None:
    """Break-even is from where on it never matters again, not the first length at which it does not."""
    run = made_up.run(prompts=(128, 512, 2048))
    run.samples = [
        replace(each, ttft_ms=each.ttft_ms + 400) if (each.target, each.prompt_label) == ("Oregon", 2048) else each
        for each in run.samples
    ]
    (sweep,) = summarize(run).sweeps
    assert (sweep.matters_up_to_tokens, sweep.break_even_tokens) == (2048, None)


def test_output_rate_and_time_between_tokens() -> None:
    run = Run(
        setup={}, targets=made_up.targets(sites=("Oregon",)), samples=[made_up.sample("Oregon", round=n) for n in range(10)]
    )
    (target,) = summarize(run).targets
    assert target.output_tokens_per_second.p50 == pytest.approx(50)
    assert target.inter_token_ms.p50 == pytest.approx(20)


def test_interrupted_runs_say_so() -> None:
    run = made_up.run(rounds=3)
    run.setup["interrupted"] = True
    summary = summarize(run)
    assert summary.interrupted
    assert summary.rounds_done == 3
    assert summary.notes[0].startswith("The run was interrupted")
