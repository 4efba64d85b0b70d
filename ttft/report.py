"""One self-contained HTML page of a run: works without scripts and network, on a phone, in the dark, and on paper.

Makes the page's geometry (shares of an axis in percent) from a summary; report.html.jinja draws it. Leaves out every
judgement: those are the summary's. Without raw samples (a run read from its summary) it leaves out distributions and timeline.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from ttft import statistics, words
from ttft.samples import Connection, Failure, Run, Sample

if TYPE_CHECKING:
    from ttft.results import Difference, Summary, Sweep, TargetResult

_JITTER_SEED = 7
_KINDS = {
    "lag": "send lag",
    "connecting": "connecting",
    "network": "network",
    "generation": "generation",
    "unsplit": "not split",
}
"""What segments of bars are called."""
_SET_UP = {
    "servers": "What answered",
    "started": "Begun",
    "rounds": "Rounds, each of which asks every target",
    "connections": "Connections",
    "prompt_tokens": "Prompt, in tokens",
    "output_tokens": "Answer, in tokens",
    "load": "Load",
    "requests_per_turn": "Requests of a user in a turn",
    "gap_seconds": "Pause between requests, in seconds",
    "seed": "Seed of the random order",
    "timeouts": "Given up after",
    "certificates": "Certificates",
    "prompts": "Prompts",
    "versions": "Measured with",
    "dialect": "Interface",
    "clock": "Whose clock",
    "simulated": "Simulated",
}
"""What parts of the set-up are called; others go by their own names."""


@dataclass(frozen=True)
class Axis:
    """A stretch of numbers that is drawn from 0 to 100 percent."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Where a value stands, in percent, kept inside."""
        return round(min(max((value - self.low) / (self.high - self.low), 0.0), 1.0) * 100, 3)


@dataclass(frozen=True)
class Segment:
    """One piece of a stacked bar."""

    kind: str
    ms: float
    percent: float


@dataclass(frozen=True)
class Bar:
    """One target's median TTFT and what it is made of."""

    result: "TargetResult"
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Bars:
    """The bars of one city and kind of connection."""

    connection: Connection
    rows: tuple[Bar, ...]
    kinds: tuple[str, ...]
    """Kinds of segments that occur, in their order."""
    axis: Axis
    limit: float | None
    """Where the SLO stands, in percent."""


@dataclass(frozen=True)
class Dots:
    """One target's samples as the dots of an SVG path, in percent of both axes."""

    result: "TargetResult"
    colour: int
    path: str
    failures: str
    median: float | None
    beyond: int
    """Samples past the axis' end, drawn at its edge."""


@dataclass(frozen=True)
class Cloud:
    """The samples of one city and kind of connection, spread over their values or over time."""

    connection: Connection
    rows: tuple[Dots, ...]
    x: Axis
    y: Axis | None = None


@dataclass(frozen=True)
class Line:
    """What the nearest site saves against another, over prompt lengths."""

    sweep: "Sweep"
    sentence: str
    colour: int
    path: str
    dots: str


@dataclass(frozen=True)
class SweepChart:
    """The share of TTFT that the nearest site of a city saves, over prompt lengths."""

    connection: Connection
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, int], ...]
    y: Axis
    threshold: float
    """The share that is negligible, in percent of the axis."""


@dataclass(frozen=True)
class Gain:
    """A difference turned to what the sooner site saves, for large type."""

    difference: "Difference"
    sentence: str
    sooner: str | None
    later: str
    ms: float
    low: float | None
    high: float | None
    network: float | None
    generation: float | None


@dataclass(frozen=True)
class City:
    """One section of the page."""

    name: str | None
    anchor: str
    gains: tuple[Gain, ...]
    bars: tuple[Bars, ...]
    results: "tuple[TargetResult, ...]"
    """At the shortest prompt, as everything but the sweep."""
    distributions: tuple[Cloud, ...]
    timelines: tuple[Cloud, ...]
    sweeps: tuple[SweepChart, ...]


def write_report(summary: "Summary", run: Run | None, path: Path) -> None:
    """Writes the page. Without `run` it has no distributions and no timeline, and says so."""
    path.write_text(page(summary, run), encoding="utf-8")


def page(summary: "Summary", run: Run | None = None) -> str:
    """The page's text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ttft", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(ms=_ms, signed=words.signed, plain=words.plain, percent=_percent)
    cities = tuple(_cities(summary, run))
    return environment.get_template("report.html.jinja").render(
        summary=summary,
        cities=cities,
        has_raw=run is not None,
        kinds=_KINDS,
        failures=words.failures(summary.targets),
        lengths=sorted({each.prompt_tokens for each in summary.targets}),
        support=statistics.SUPPORT,
        headline=_headline(cities),
        setup=list(_set_up(summary.setup, [each.name for each in summary.targets])),
    )


def _cities(summary: "Summary", run: Run | None) -> Iterator[City]:
    shortest = min((each.prompt_tokens for each in summary.targets), default=0)
    at_shortest = [each for each in summary.targets if each.prompt_tokens == shortest]
    highest = max((each.ttft_ms.p50_high or each.ttft_ms.p50 or 0 for each in at_shortest), default=0)
    axis = _axis(0, highest or 1)
    colours = {site: index for index, site in enumerate(dict.fromkeys(each.site for each in summary.targets))}
    for number, (name, results) in enumerate(words.by_city(summary.targets)):
        connections: tuple[Connection, ...] = tuple(dict.fromkeys(each.connection for each in results))
        shown: dict[Connection, list[TargetResult]] = {
            each: [result for result in results if (result.connection, result.prompt_tokens) == (each, shortest)]
            for each in connections
        }
        yield City(
            name=name,
            anchor=f"city-{number + 1}",
            gains=tuple(_gains(summary, name, shortest)),
            bars=tuple(_bars(each, shown[each], axis, summary.slo.limit_ms if summary.slo else None) for each in connections),
            results=tuple(result for each in connections for result in shown[each]),
            distributions=tuple(_distribution(each, shown[each], run, colours) for each in connections) if run else (),
            timelines=tuple(_timeline(each, shown[each], run, colours) for each in connections) if run else (),
            sweeps=tuple(_sweep_charts(summary, name, colours)),
        )


def _gains(summary: "Summary", city: str | None, prompt_tokens: int) -> Iterator[Gain]:
    """The first site of each kind of connection against every other, as the headlines have it."""
    told = {headline.text for headline in summary.headlines if headline.city == city}
    found = [each for each in summary.differences if each.city == city and each.prompt_tokens == prompt_tokens]
    for each in sorted(found, key=lambda each: (each.connection == "cold", words.telling(each))):
        sentence = words.difference(each, summary.simulated)
        if sentence not in told:
            continue
        sign = -1 if each.sooner == "a" else 1
        low, high = (
            (None, None) if each.low_ms is None or each.high_ms is None else sorted((sign * each.low_ms, sign * each.high_ms))
        )
        yield Gain(
            difference=each,
            sentence=sentence,
            sooner=None if each.sooner is None else each.a_site if each.sooner == "a" else each.b_site,
            later=each.b_site if sign < 0 else each.a_site,
            ms=sign * each.median_ms,
            low=low,
            high=high,
            network=each.network and sign * each.network.median_ms,
            generation=each.generation and sign * each.generation.median_ms,
        )


def _bars(connection: Connection, results: "Sequence[TargetResult]", axis: Axis, limit_ms: float | None) -> Bars:
    limit = axis.at(limit_ms) if limit_ms is not None and limit_ms <= axis.high else None
    rows = tuple(Bar(each, tuple(_segments(each, axis))) for each in results)
    occurring = {segment.kind for row in rows for segment in row.segments}
    return Bars(connection, rows, tuple(kind for kind in _KINDS if kind in occurring), axis, limit)


def _segments(result: "TargetResult", axis: Axis) -> Iterator[Segment]:
    """Send lag, connection, network, generation; the last ends where the median TTFT does, since medians need not add up."""
    total, network = result.ttft_ms.p50, result.network_ms.p50
    if total is None:
        return
    if network is None:
        yield Segment("unsplit", total, axis.at(total))
        return
    connecting = min(sum(result.parts_ms.get(part, 0.0) for part in ("dns", "tcp", "tls")), network)
    lag = min(result.send_lag_ms.p50 or 0.0, max(total - network, 0.0))
    parts = {"lag": lag, "connecting": connecting, "network": network - connecting, "generation": total - network - lag}
    for kind, ms in parts.items():
        if ms > 0:
            yield Segment(kind, ms, axis.at(ms))


def _samples_of(result: "TargetResult", run: Run) -> list[Sample]:
    key = (result.name, result.connection, result.prompt_tokens)
    return [each for each in run.samples if (each.target, each.connection, each.prompt_label) == key]


def _failures_of(result: "TargetResult", run: Run) -> list[Failure]:
    key = (result.name, result.connection, result.prompt_tokens)
    return [each for each in run.failures if (each.target, each.connection, each.prompt_label) == key]


def _distribution(connection: Connection, results: "Sequence[TargetResult]", run: Run, colours: dict[str, int]) -> Cloud:
    """Every sample as a dot over its TTFT; the axis ends past the 99th percentile, so that one outlier does not squeeze it."""
    by_target = {result.name: [each.ttft_ms for each in _samples_of(result, run)] for result in results}
    values = [value for each in by_target.values() for value in each] or [0.0, 1.0]
    axis = _axis(min(values), float(np.quantile(values, 0.99)))
    jitter = np.random.default_rng(_JITTER_SEED)
    rows = [
        Dots(
            result=result,
            colour=colours[result.site],
            path=_dots([(axis.at(value), 15 + 70 * float(jitter.random())) for value in by_target[result.name]]),
            failures="",
            median=None if result.ttft_ms.p50 is None else axis.at(result.ttft_ms.p50),
            beyond=sum(value > axis.high for value in by_target[result.name]),
        )
        for result in results
    ]
    return Cloud(connection, tuple(rows), axis)


def _timeline(connection: Connection, results: "Sequence[TargetResult]", run: Run, colours: dict[str, int]) -> Cloud:
    """TTFT over the run, a row for each site on the same scale; failures as marks at the top."""
    samples = {result.name: _samples_of(result, run) for result in results}
    failures = {result.name: _failures_of(result, run) for result in results}
    values = [each.ttft_ms for group in samples.values() for each in group] or [0.0, 1.0]
    ends = [each.started_ms for each in (*run.samples, *run.failures)]
    x = _axis(0, max([*ends, 1.0]) / 1000)
    y = _axis(min(values), float(np.quantile(values, 0.99)), wanted=2)
    rows = [
        Dots(
            result=result,
            colour=colours[result.site],
            path=_dots([(x.at(each.started_ms / 1000), 100 - y.at(each.ttft_ms)) for each in samples[result.name]]),
            failures="".join(f"M{x.at(each.started_ms / 1000)} 0v18" for each in failures[result.name]),
            median=None if result.ttft_ms.p50 is None else 100 - y.at(result.ttft_ms.p50),
            beyond=sum(each.ttft_ms > y.high for each in samples[result.name]),
        )
        for result in results
    ]
    return Cloud(connection, tuple(rows), x, y)


def _sweep_charts(summary: "Summary", city: str | None, colours: dict[str, int]) -> Iterator[SweepChart]:
    found = [each for each in summary.sweeps if each.city == city]
    connections: tuple[Connection, ...] = tuple(dict.fromkeys(each.connection for each in found))
    for connection in connections:
        sweeps = [each for each in found if each.connection == connection]
        places = _places(sorted({point.prompt_tokens for each in sweeps for point in each.points}))
        shares = [point.share * 100 for each in sweeps for point in each.points]
        threshold = sweeps[0].negligible_share * 100
        y = _axis(min(0.0, *shares), max(*shares, threshold * 1.5))
        lines = [
            Line(each, words.sweep(each), colours[each.farther], _path(points), _dots(points))
            for each in sweeps
            for points in [[(places[point.prompt_tokens], 100 - y.at(point.share * 100)) for point in each.points]]
        ]
        yield SweepChart(
            connection, tuple(lines), tuple((place, length) for length, place in places.items()), y, 100 - y.at(threshold)
        )


def _places(lengths: Sequence[int]) -> dict[int, float]:
    """Where prompt lengths stand, in percent: on a logarithmic axis, as they grow by factors."""
    logs = np.log([max(each, 1) for each in lengths])
    span = float(logs[-1] - logs[0]) or 1.0
    return {length: round(float(5 + 90 * (log - logs[0]) / span), 3) for length, log in zip(lengths, logs, strict=True)}


def _axis(low: float, high: float, wanted: int = 5) -> Axis:
    """An axis with about so many round ticks that holds both values."""
    span = max(high - low, 1e-6) * 1.06
    raw = span / wanted
    step = next(
        step
        for power in (10.0 ** math.floor(math.log10(raw)),)
        for step in (power, 2 * power, 5 * power, 10 * power)
        if step >= raw
    )
    first = math.floor(low / step) * step
    count = math.ceil((high * 1.02 - first) / step)
    ticks = tuple(round(first + step * index, 6) for index in range(max(count, 1) + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def _dots(points: Sequence[tuple[float, float]]) -> str:
    """A path of dots: lines without length, which round caps make visible whatever the figure's stretch."""
    return "".join(f"M{x:.2f} {y:.2f}h0" for x, y in points)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)


def _headline(cities: Sequence[City]) -> str:
    """The answer in one line, its number first."""
    firsts = [city.gains[0] for city in cities if city.gains]
    shown = [gain for gain in firsts if gain.sooner]
    if not firsts:
        return "Nothing to compare" if any(city.results for city in cities) else "Nothing was measured"
    if not shown:
        return "No difference is shown" if len(firsts) > 1 else f"No difference is shown: {_sites(firsts[0])}"
    if len(cities) == 1:
        return f"{_ms(shown[0].ms)} ms sooner: {shown[0].sooner} than {shown[0].later}"
    least, most = (_ms(limit(gain.ms for gain in shown)) for limit in (min, max))
    span = f"{least} to {most}" if least != most else least
    where = "of each city" if len(shown) == len(cities) else f"in {len(shown)} of {len(cities)} cities"
    return f"{span} ms sooner from the best site {where}"


def _sites(gain: Gain) -> str:
    return f"{gain.difference.a_site} and {gain.difference.b_site}"


def _set_up(setup: Mapping[str, object], targets: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The set-up in words: a line for each thing, and what is alike for all targets once. Conventions have their own section."""
    for key, value in sorted(setup.items(), key=lambda item: item[0] != "servers"):
        if key in {"conventions", "notes", "interrupted"}:
            continue
        name = _SET_UP.get(key, key.replace("_", " "))
        by_target = cast("dict[str, object]", value) if isinstance(value, dict) else {}
        if by_target and set(by_target) <= set(targets):
            for text, names in _alike(by_target).items():
                yield name, text if len(names) == len(set(targets)) else f"{text} ({', '.join(names)})"
        else:
            yield name, _told(by_target or cast("object", value))


def _alike(by_target: Mapping[str, object]) -> dict[str, list[str]]:
    """What is told, with the targets of which it is."""
    found: dict[str, list[str]] = {}
    for target, value in by_target.items():
        found.setdefault(_told(value) or "unknown", []).append(target)
    return found


def _told(value: object) -> str:
    """A value in words; of several named ones those that are known."""
    if isinstance(value, dict):
        told = {key: _told(inner) for key, inner in cast("dict[str, object]", value).items()}
        return ", ".join(f"{key.replace('_', ' ')} {text}" for key, text in told.items() if text not in ("unknown", ""))
    if isinstance(value, list):
        return ", ".join(map(_told, cast("list[object]", value)))
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "unknown"}[value]
    return str(value)


def _ms(number: float | None) -> str:
    return "—" if number is None else words.plain(number)


def _percent(number: float) -> str:
    return f"{words.plain(number * 100)} %"
