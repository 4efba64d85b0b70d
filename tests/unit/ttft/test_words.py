"""Sentences: they claim no more than the interval does, and say in themselves what is simulated."""

from dataclasses import replace

import made_up
import pytest

from ttft import words
from ttft.results import Simulated
from ttft.samples import Run
from ttft.summary import summarize


def headline(run: Run) -> str:
    (found,) = summarize(run).headlines
    return found.text


def test_the_headline_says_how_much_sooner_and_why() -> None:
    text = headline(made_up.run(made_up.targets(("Los Angeles",)), rounds=100))
    assert text.startswith("Los Angeles answers a Los Angeles client 2")
    assert " ms sooner than Oregon over warm connections, 95 % interval 2" in text
    assert "; network 26." in text or "; network 25." in text
    assert "simulated" not in text


@pytest.mark.parametrize(
    ("simulated", "opening"),
    [
        (("network", "model"), "On a simulated network with a simulated model, Los Angeles answers"),
        (("network",), "On a simulated network, Los Angeles answers"),
        (("model",), "With a simulated model, Los Angeles answers"),
    ],
)
def test_what_is_simulated_stands_in_the_same_sentence(simulated: tuple[str, ...], opening: str) -> None:
    assert headline(made_up.run(simulated=simulated)).startswith(opening)


def test_which_one_is_named_first_does_not_matter() -> None:
    forth = made_up.targets(sites=("Los Angeles", "Oregon"))
    back = made_up.targets(sites=("Oregon", "Los Angeles"))
    for targets in (forth, back):
        assert headline(made_up.run(targets)).startswith("Los Angeles answers 2")


def test_no_difference_is_claimed_where_the_interval_includes_0() -> None:
    run = made_up.run(made_up.targets(("Seattle",), ("Los Angeles", "Oregon")), rounds=40)
    for index, sample in enumerate(run.samples):
        run.samples[index] = made_up.sample(sample.target, round=sample.round, ttft_ms=60 + index % 7)
    text = headline(run)
    assert text.startswith("No difference is shown between Los Angeles and Oregon for a Seattle client")
    assert "includes 0" in text
    assert "sooner" not in text


def test_too_few_rounds_claim_nothing() -> None:
    text = headline(made_up.run(rounds=5))
    assert text.startswith("5 rounds are too few to compare Los Angeles with Oregon")
    assert "sooner" not in text


def test_parts_that_rest_on_different_grounds_are_not_told_apart() -> None:
    run = made_up.run(rounds=20)
    run.samples = [
        replace(each, split="tcp_rtt") if each.target == "Oregon" else each  # held its headers back
        for each in run.samples
    ]
    summary = summarize(run)
    assert "network and generation could not be told apart" in summary.headlines[0].text
    assert summary.differences[0].network is None
    assert any(note.startswith("Oregon held its headers back in 20 of 20") for note in summary.notes)


def test_one_target_is_told_alone() -> None:
    text = headline(made_up.run(made_up.targets(sites=("Oregon",))))
    assert text.startswith("Oregon answers after 8")
    assert "median of 40; network 35." in text or "median of 40; network 34." in text


def test_a_dead_target_is_named_with_its_reason() -> None:
    run = made_up.run(made_up.targets(sites=("Oregon",)))
    run.targets.append(made_up.targets()[0])
    run.failures += [made_up.failure("Los Angeles") for _ in range(40)]
    texts = [each.text for each in summarize(run).headlines]
    assert texts[0].startswith("Oregon answers after")
    assert texts[1].startswith("Los Angeles gave no first token over warm connections (40 connect): connection refused")


def test_every_city_and_kind_of_connection_has_its_sentence() -> None:
    run = made_up.run(
        made_up.targets(("Los Angeles", "Honolulu"), ("Los Angeles", "Honolulu")), connections=("warm", "cold"), rounds=12
    )
    found = summarize(run).headlines
    assert [(each.city, each.connection) for each in found] == [
        ("Los Angeles", "warm"), ("Honolulu", "warm"), ("Los Angeles", "cold"), ("Honolulu", "cold"),
    ]  # fmt: skip
    assert found[1].text.startswith("Honolulu answers a Honolulu client")


def test_drift_and_loopback_are_told() -> None:
    drifted = summarize(made_up.run(rounds=90, drift_ms=60)).notes
    assert any(note.startswith("The run drifted: Los Angeles (warm") for note in drifted)
    run = made_up.run(made_up.targets(sites=("Oregon",)))
    run.targets[0] = replace(run.targets[0], url="http://127.0.0.1:8080")
    assert any("no network distance" in note for note in summarize(run).notes)


def test_statement_says_that_simulated_numbers_are_no_gain() -> None:
    assert "not what a deployment gains" in words.statement(Simulated(network=True, model=False))
    assert words.statement(Simulated(network=True, model=True)).startswith("The network and model were simulated")


@pytest.mark.parametrize(("number", "text"), [(1.26, "+1.3"), (-0.04, "0.0"), (-2.0, "\N{MINUS SIGN}2.0")])
def test_signed_numbers(number: float, text: str) -> None:
    assert words.signed(number) == text
