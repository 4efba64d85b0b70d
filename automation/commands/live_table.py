"""The live table of a run on a terminal: a row for each site, a column for each stage, the time that goes by.

Plain ASCII that fits 80 columns; colour only says again what the words say. Lines that a person must see stand above it.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from automation.commands.progress import is_shown, notice
from automation.commands.waves import Waves
from automation.engine.causes import same_cause
from automation.engine.events import STAGES, Diagnostic, Event, Interrupted, LaunchWaits, SiteProgress, Stage, StageState
from components.problems import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

_ZONE_WIDTH, _STAGE_WIDTH = 18, 8
_STYLES: dict[StageState, str] = {
    "waiting": "dim",
    "before": "dim",
    "working": "yellow",
    "done": "green",
    "unchanged": "dim",
    "failed": "bold red",
}


@dataclass
class _Cell:
    """A stage of a site."""

    state: StageState = "waiting"
    begun: float = 0.0
    ended: float = 0.0

    def shown(self, now: float, *, is_over: bool) -> Text:
        words = {
            "waiting": "-",
            "before": "before",
            "working": "stopped" if is_over else f"> {clock(now - self.begun)}",
            "done": f"ok {clock(self.ended - self.begun)}",
            "unchanged": "same",
            "failed": "FAILED",
        }
        return Text(words[self.state], style=_STYLES[self.state])


class LiveTable:
    """Shows a run's events as a table; use it as a context manager."""

    def __init__(self, console: Console, zones: Mapping[str, int]) -> None:
        self._lock, self._waves, self._wave = threading.Lock(), Waves(), ""
        self._cells = {zone: {stage: _Cell() for stage in STAGES} for zone in zones}
        self._latest, self._hint = "the engine starts; config and AWS are checked", "Ctrl-C finishes the steps at work and stops"
        self._causes: set[str] = set()
        self._begun = time.monotonic()
        self._ended: float | None = None
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=4, redirect_stdout=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = time.monotonic()
        self._live.stop()

    def on_event(self, event: Event) -> None:
        """Takes one event."""
        if line := self._waves.take(event):
            self._wave = line
        if isinstance(event, SiteProgress):
            with self._lock:
                self._note(event.zone, event.stage, event.state)
        elif isinstance(event, LaunchWaits | Interrupted):
            if isinstance(event, Interrupted):
                self._hint = "stopping" if event.times > 1 else "stopping; Ctrl-C again cuts the steps at work off"
            self._above("\n".join(notice(event)), "bold yellow")
        elif isinstance(event, Diagnostic) and is_shown(event):
            words = event.text.strip().splitlines()[-1]
            if event.severity == "info":
                self._latest = f"{event.resource}: {words}" if event.resource else words
            elif event.severity == "warning":
                self._above(f"warning: {event.text.strip()}", "yellow")
            else:
                self._tell_failure(event)

    def _tell_failure(self, event: Diagnostic) -> None:
        """Each cause once: the rows show which sites have it, and the end of the run names them."""
        if (cause := same_cause(event.text)) not in self._causes:
            self._causes.add(cause)
            first = next((line for line in event.text.splitlines() if line.strip(": \t")), "")
            self._above(f"failed: {event.resource + ': ' if event.resource else ''}{first.strip()}", "bold red")

    def render(self) -> "RenderableType":
        """The table as it is now."""
        now = self._ended or time.monotonic()
        table = Table(box=None, padding=(0, 1, 0, 0), show_edge=False)
        table.add_column("site", width=_ZONE_WIDTH, no_wrap=True)
        for stage in STAGES:
            table.add_column(stage, width=_STAGE_WIDTH, no_wrap=True)
        with self._lock:
            for zone, cells in self._cells.items():
                table.add_row(zone, *(cells[stage].shown(now, is_over=bool(self._ended)) for stage in STAGES))
        if self._ended:
            return table
        below = {self._wave: "", self._latest: "dim", f"{clock(now - self._begun)}  {self._hint}": "dim"}
        lines = (Text(printable(line), style=style, no_wrap=True, overflow="ellipsis") for line, style in below.items() if line)
        return Group(table, *lines)

    def _note(self, zone: str, stage: Stage, state: StageState) -> None:
        cell = self._cells.setdefault(zone, {each: _Cell() for each in STAGES})[stage]
        now = time.monotonic()
        if state == "working" and not cell.begun:
            cell.begun = now
        cell.state, cell.ended = state, now
        if state != "before":
            cell.begun = cell.begun or now

    def _above(self, text: str, style: str) -> None:
        self._live.console.print(Text(printable(text), style=style))


def clock(seconds: float) -> str:
    """A length of time in at most six characters: `12 s`, `4:05`, `1 h`."""
    if seconds < 100:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 100 else f"{minutes // 60} h"  # noqa: PLR2004
