"""The terminal: a live table where there is one, plain lines where not, and everything within 80 columns."""

import io

import made_up
import pytest
from rich.console import Console

from ttft import console
from ttft.summary import Judgement, summarize


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(file: io.StringIO, **changes: object) -> str:
    places = ("Los Angeles", "Honolulu")
    run = made_up.run(made_up.targets(places, places), connections=("warm", "cold"), prompts=(128, 2048), rounds=12)
    run.failures.append(made_up.failure(run.targets[0].name, kind="stalled", message="no token for 10 s"))
    console.show(summarize(run, Judgement(**changes)), file)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("slo", [None, 100.0])
def test_without_a_terminal_the_result_is_plain_and_80_columns_wide(slo: float | None) -> None:
    text = shown(io.StringIO(), slo_ms=slo)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text, "nothing is cut off"


def test_the_answer_stands_below_its_city() -> None:
    text = " ".join(shown(io.StringIO()).split())
    table, answer = text.index("TTFT in ms for a Honolulu client"), text.index("Honolulu answers a Honolulu client 6")
    assert text.index("Los Angeles answers a Los Angeles client 6") < table < answer
    assert "failed: Los Angeles from Los Angeles, 1 of 49 x stalled: no token for 10 s" in text


def test_the_slo_is_answered() -> None:
    text = " ".join(shown(io.StringIO(), slo_ms=100.0).split())
    assert "SLO missed: 95 % within 100 ms, of every target; missed by" in text


def test_what_is_simulated_stands_above_the_numbers() -> None:
    file = io.StringIO()
    console.show(summarize(made_up.run(simulated=("network", "model"))), file)
    assert "TTFT in ms (network and model simulated)" in file.getvalue()


def test_names_with_brackets_are_shown_as_they_are() -> None:
    run = made_up.run(made_up.targets(sites=("Oregon",)))
    run.failures.append(made_up.failure("Oregon", message="[bold]no[/bold] :smile:"))
    file = io.StringIO()
    console.show(summarize(run), file)
    assert "[bold]no[/bold] :smile:" in file.getvalue()


def test_progress_is_a_live_table_on_a_terminal() -> None:
    file = Terminal()
    with console.Progress(made_up.targets(), 80, file) as progress:
        progress(made_up.sample("Oregon", ttft_ms=87.5))
        progress(made_up.failure("Los Angeles", kind="stalled"))
    assert "\x1b[" in file.getvalue()
    plain = Console(file=io.StringIO(), width=80, record=True)
    plain.print(progress.table())
    text = plain.export_text()
    assert "2 of 80 requests, 1 failed" in text
    assert "87.5" in text
    assert "stalled" in text


def test_progress_without_a_terminal_is_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    file = io.StringIO()
    with console.Progress(made_up.targets(), 80, file) as progress:
        for _ in range(8):
            progress(made_up.sample("Oregon"))
    assert file.getvalue().splitlines() == ["4 of 80 requests", "7 of 80 requests"]
