"""Prometheus text for the engines' metrics that a client can check itself against.

Left out on purpose: metrics of batching and memory that a simulation would have to invent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field

DURATION_BUCKETS = [0.0001 * 1.5**n for n in range(77)]  # router/src/server.rs at v2.4.0


@dataclass
class _Histogram:
    bounds: list[float]
    counts: list[int] = field(default_factory=list[int])
    total: float = 0.0
    count: int = 0

    def observe(self, value: float) -> None:
        self.counts = self.counts or [0] * len(self.bounds)
        self.total += value
        self.count += 1
        place = bisect_left(self.bounds, value)
        if place < len(self.bounds):
            self.counts[place] += 1

    def lines(self, name: str, labels: str) -> list[str]:
        lead = f"{labels}," if labels else ""
        lines: list[str] = []
        cumulated = 0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            cumulated += count
            lines.append(f'{name}_bucket{{{lead}le="{bound:g}"}} {cumulated}')
        lines.append(f'{name}_bucket{{{lead}le="+Inf"}} {self.count}')
        braces = f"{{{labels}}}" if labels else ""
        return [*lines, f"{name}_sum{braces} {self.total!r}", f"{name}_count{braces} {self.count}"]


class Metrics:
    """Counters, gauges and histograms; a metric appears with its first value, as in TGI."""

    def __init__(self, max_tokens: int = 4096) -> None:
        token_bounds = [max_tokens / 100 * (n + 1) for n in range(100)]
        self._counters: dict[tuple[str, str], float] = defaultdict(float)
        self._gauges: dict[tuple[str, str], float] = {}
        self._histograms: dict[tuple[str, str], _Histogram] = {}
        self._token_bounds = token_bounds

    @property
    def has_counted(self) -> bool:
        """Whether anything was counted yet."""
        return bool(self._counters)

    def count(self, name: str, labels: str = "", by: float = 1) -> None:
        """Increment a counter; `labels` as in the text format, e.g. `err="overloaded"`."""
        self._counters[name, labels] += by

    def set(self, name: str, value: float, labels: str = "") -> None:
        """Set a gauge."""
        self._gauges[name, labels] = value

    def observe(self, name: str, value: float, labels: str = "") -> None:
        """Record a value of a histogram: seconds where the name ends in _duration, else tokens."""
        key = (name, labels)
        if key not in self._histograms:
            duration = name.endswith("_duration")
            self._histograms[key] = _Histogram(DURATION_BUCKETS if duration else self._token_bounds)
        self._histograms[key].observe(value)

    def render(self) -> str:
        """Everything in Prometheus' text format."""
        families: dict[tuple[str, str], list[str]] = defaultdict(list)
        for (name, labels), value in self._counters.items():
            families[name, "counter"].append(f"{name}{{{labels}}} {value:g}" if labels else f"{name} {value:g}")
        for (name, labels), value in self._gauges.items():
            families[name, "gauge"].append(f"{name}{{{labels}}} {value:g}" if labels else f"{name} {value:g}")
        for (name, labels), histogram in self._histograms.items():
            families[name, "histogram"] += histogram.lines(name, labels)
        blocks = ["\n".join([f"# TYPE {name} {kind}", *lines]) for (name, kind), lines in sorted(families.items())]
        return "\n\n".join(blocks) + "\n\n"
