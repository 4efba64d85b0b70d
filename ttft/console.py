"""What a person sees in the terminal: a live table while a run measures, and the result at its end.

On standard error while it runs, so that standard output is the result alone. Without a terminal: plain lines, no colours.
"""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ttft import words
from ttft.samples import Failure, Sample, Target

if TYPE_CHECKING:
    from ttft.comparison import Comparison
    from ttft.results import Summary, TargetResult

_WIDTH = 80
"""Of plain output, and at most of tables."""
_NAMES_SHOWN = 4
_REFRESH_SECONDS = 0.25
_LINE_EVERY_SECONDS = 10.0


class Progress:
    """Shows samples and failures as they come; call it with each, between requests. A context manager."""

    def __init__(self, targets: Sequence[Target], requests: int, file: TextIO | None = None) -> None:
        self._targets = targets
        self._requests = requests
        """How many there will be in all."""
        self._ttft_ms: defaultdict[str, list[float]] = defaultdict(list)
        self._failures: Counter[str] = Counter()
        self._last: dict[str, Sample | Failure] = {}
        self._console = Console(file=file or sys.stderr, highlight=False)
        # No thread of its own that draws: it would take time from a request that is being measured.
        self._live = Live(console=self._console, get_renderable=self.table, auto_refresh=False, transient=True)
        self._next = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def __call__(self, made: Sample | Failure) -> None:
        """One request is done."""
        self._last[made.target] = made
        if isinstance(made, Sample):
            self._ttft_ms[made.target].append(made.ttft_ms)
        else:
            self._failures[made.target] += 1
        if (now := time.monotonic()) < self._next:
            return
        if self._console.is_terminal:
            self._live.refresh()
            self._next = now + _REFRESH_SECONDS
        else:
            if self._next:
                self._console.print(self._line(), soft_wrap=True)
            self._next = now + _LINE_EVERY_SECONDS

    def _line(self) -> str:
        done = sum(map(len, self._ttft_ms.values()))
        failed = self._failures.total()
        return f"{done + failed} of {self._requests} requests{f', {failed} failed' if failed else ''}"

    def table(self) -> Table:
        """The last value and the median so far of every target, all kinds of requests together."""
        table = Table(box=None, pad_edge=False, width=min(_WIDTH, self._console.width), title=self._line(), title_justify="left")
        table.add_column("target", ratio=1, no_wrap=True)
        for heading in ("requests", "failed", "last ms", "median ms"):
            table.add_column(heading, justify="right")
        for target in self._targets:
            values, last = self._ttft_ms[target.name], self._last.get(target.name)
            table.add_row(
                target.name,
                str(len(values)),
                Text(str(self._failures[target.name] or ""), style="red"),
                last.kind if isinstance(last, Failure) else f"{last.ttft_ms:.1f}" if last else "",
                f"{median(values):.1f}" if values else "",
            )
        return table


def show(summary: "Summary", file: TextIO | None = None) -> None:
    """Prints the result: a table for each city, the answer in sentences, what to know."""
    console = Console(file=file or sys.stdout, highlight=False, width=None if (file or sys.stdout).isatty() else _WIDTH)
    width = min(console.width, _WIDTH)
    for city, results in words.by_city(summary.targets):
        what = f" ({' and '.join(summary.simulated.parts)} simulated)" if summary.simulated.parts else ""
        console.print(Text(f"\nTTFT in ms{f' for {words.client(city)}' if city else ''}{what}", style="bold"))
        console.print(_results(results, summary, width))
        console.print()
        for headline in summary.headlines:
            if headline.city == city:
                console.print(Text(headline.text, style="bold"), width=width)
    console.print()
    if summary.slo:
        kept = Text("SLO kept", style="green") if summary.slo.met else Text("SLO missed", style="red")
        missed = f"; missed by {', '.join(summary.slo.missed_by)}" if summary.slo.missed_by else ""
        asked = f": {summary.slo.needed_share * 100:g} % within {summary.slo.limit_ms:g} ms, of every target{missed}."
        console.print(kept.append(asked, style="default"), width=width)
    for note in (*summary.notes, *([summary.statement] if summary.simulated.parts else [])):
        console.print(Text(f"- {note}"), width=width)
    for each in words.failures(summary.targets):
        failed = f"failed: {each.name}, {each.count} of {each.requests} x {each.kind}: {each.message}"
        console.print(Text(failed, style="red"), width=width)


def _results(results: "Sequence[TargetResult]", summary: "Summary", width: int) -> Table:
    lengths = {each.prompt_tokens for each in results}
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), width=width)
    table.add_column("", ratio=1, no_wrap=True)
    for heading in ("", *(["prompt"] if len(lengths) > 1 else []), "n", "failed", "p50", "p95", "p99", "network", "gen."):
        table.add_column(heading, justify="right", no_wrap=True)
    budget = f"of {summary.budget.left_ms[0]:g}"
    table.add_column("< SLO" if summary.slo else f"left\n{budget}", justify="right", no_wrap=True)
    for each in sorted(results, key=lambda each: (each.prompt_tokens, each.connection == "cold")):
        left = "" if each.budget_left_ms is None else words.plain(each.budget_left_ms[0])
        table.add_row(
            each.site,
            each.connection,
            *([str(each.prompt_tokens)] if len(lengths) > 1 else []),
            str(each.samples),
            Text(str(each.errors or "-"), style="red" if each.errors else ""),
            *(
                _cell(number)
                for number in (each.ttft_ms.p50, each.ttft_ms.p95, each.ttft_ms.p99, each.network_ms.p50, each.generation_ms.p50)
            ),
            (f"{each.under_slo.share * 100:.0f} %" if each.under_slo else "-") if summary.slo else left,
        )
    return table


def _cell(number: float | None) -> str:
    return "-" if number is None else f"{number:.1f}"


def show_comparison(comparison: "Comparison", file: TextIO | None = None) -> None:
    """Prints how the medians of two runs differ."""
    console = Console(file=file or sys.stdout, highlight=False, width=None if (file or sys.stdout).isatty() else _WIDTH)
    width = min(console.width, _WIDTH)
    table = Table(box=None, pad_edge=False, width=width)
    table.add_column("median TTFT in ms", ratio=1)
    for heading in ("", "prompt", "before", "after", "change"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for each in comparison.changes:
        words_of = ("faster" if each.change_ms < 0 else "slower") if each.is_shown else "not shown"
        row = each.name, each.connection, str(each.prompt_tokens), _cell(each.before_ms), _cell(each.after_ms)
        table.add_row(*row, words.signed(each.change_ms), words_of)
    console.print(table)
    console.print("\nNot shown: the 95 % intervals of the two medians overlap. The runs are not paired.", width=width)
    for title, names in (("Only before", comparison.only_before), ("Only after", comparison.only_after)):
        if names:
            more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            console.print(f"{title}: {', '.join(names[:_NAMES_SHOWN])}{more}", width=width)
    for warning in comparison.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"), width=width)
