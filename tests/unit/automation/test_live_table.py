"""The live table: fits 80 columns, plain ASCII, and says in words what its colours say."""

import io

import pytest
from rich.console import Console

from automation.commands import live_table
from automation.commands.live_table import LiveTable, clock
from automation.engine.events import Diagnostic, Interrupted, LaunchWaits, SiteProgress

ZONES = {"us-west-2a": 1, "us-west-2-lax-1a": 1, "us-west-2-hnl-1a": 2}


def console(*, terminal: bool = True) -> Console:
    return Console(file=io.StringIO(), width=80, height=24, force_terminal=terminal, color_system=None)


def shown(table: LiveTable) -> list[str]:
    """The table's lines as they are now."""
    written = console(terminal=False)
    written.print(table.render())
    assert isinstance(written.file, io.StringIO)
    return [line.rstrip() for line in written.file.getvalue().splitlines()]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as its only item."""
    time = [100.0]
    monkeypatch.setattr(live_table.time, "monotonic", lambda: time[0])
    return time


def test_a_row_for_each_site_from_the_beginning(now: list[float]) -> None:
    lines = shown(LiveTable(console(), ZONES))
    now[0] += 1
    assert lines[0].split() == ["site", "network", "host", "image", "model", "healthy", "routed"]
    assert [line.split()[0] for line in lines[1:4]] == list(ZONES)
    assert all(line.split()[1:] == ["-"] * 6 for line in lines[1:4])


def test_a_stage_shows_what_it_does_and_for_how_long(now: list[float]) -> None:
    table = LiveTable(console(), ZONES)
    table.on_event(SiteProgress(seconds=1, zone="us-west-2a", stage="network", state="working"))
    now[0] += 12
    assert "> 12 s" in shown(table)[1]
    table.on_event(SiteProgress(seconds=13, zone="us-west-2a", stage="network", state="done"))
    now[0] += 100
    assert "ok 12 s" in shown(table)[1]
    table.on_event(SiteProgress(seconds=1, zone="us-west-2a", stage="host", state="failed"))
    table.on_event(SiteProgress(seconds=1, zone="us-west-2-hnl-1a", stage="host", state="unchanged"))
    assert "FAILED" in shown(table)[1]
    assert "same" in shown(table)[3]
    table.on_event(SiteProgress(seconds=0, zone="us-west-2-lax-1a", stage="healthy", state="before"))
    assert shown(table)[2].split() == ["us-west-2-lax-1a", "-", "-", "-", "-", "before", "-"]
    table.on_event(SiteProgress(seconds=112, zone="us-west-2-lax-1a", stage="healthy", state="working"))
    assert "> 0 s" in shown(table)[2]


def test_it_fits_the_screen_and_is_ascii_whatever_comes(now: list[float]) -> None:
    table = LiveTable(console(), ZONES)
    table.on_event(Diagnostic(seconds=1, severity="info", text="x" * 300, resource="us-west-2-lax-1a-1-image"))
    for stage in live_table.STAGES:
        table.on_event(SiteProgress(seconds=1, zone="us-west-2-lax-1a", stage=stage, state="working"))
    now[0] += 99 * 60
    lines = shown(table)
    assert max(map(len, lines)) <= 80
    assert "\n".join(lines[:4]).isascii()
    assert "us-west-2-lax-1a" in lines[2]
    assert lines[2].count("> 99:00") == 6


def test_what_was_at_work_in_the_end_is_said_to_be_stopped() -> None:
    with LiveTable(console(), ZONES) as table:
        table.on_event(SiteProgress(seconds=1, zone="us-west-2a", stage="image", state="working"))
    assert "stopped" in shown(table)[1]


def test_what_a_person_must_see_stands_above() -> None:
    out = console()
    with LiveTable(out, ZONES) as table:
        table.on_event(
            LaunchWaits(seconds=60, zone="z", resource="z-1-host", waited_seconds=60, reason=None, text="z-1-host waits")
        )
        table.on_event(Interrupted(seconds=61, times=1, at_work=("z-1-image",)))
        table.on_event(Diagnostic(seconds=62, severity="warning", text="the quota is unknown"))
        table.on_event(Diagnostic(seconds=62, severity="error", text="no capacity\nmore", resource="z-1-host"))
        assert "Ctrl-C again cuts" in "\n".join(shown(table))
    assert isinstance(out.file, io.StringIO)
    text = out.file.getvalue()
    for words in ("z-1-host waits", "finishing z-1-image", "warning: the quota is unknown", "failed: z-1-host: no capacity"):
        assert words in text


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (99.4, "99 s"), (245, "4:05"), (100 * 60, "1 h"), (7200, "2 h")])
def test_lengths_of_time_are_short(seconds: float, words: str) -> None:
    assert clock(seconds) == words


def test_control_characters_of_the_engines_texts_are_shown_escaped() -> None:
    out = console(terminal=False)
    with LiveTable(out, ZONES) as table:
        table.on_event(Diagnostic(seconds=1.0, severity="warning", text="AWS says a\x1b[31mb\x9b"))
    assert isinstance(out.file, io.StringIO)
    told = out.file.getvalue()
    assert "\x1b[31m" not in told
    assert "\x9b" not in told
    assert "a\\x1b[31mb" in told
