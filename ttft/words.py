"""The answer in sentences: a difference only with an interval that leaves 0 out, what is simulated in the same sentence.

Leaves out how sentences are shown: console.py and report.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import groupby
from typing import cast
from urllib.parse import urlsplit

from ttft import statistics
from ttft.results import Difference, Headline, Part, Simulated, Sweep, TargetResult


def headlines(
    targets: "Sequence[TargetResult]", differences: "Sequence[Difference]", simulated: "Simulated"
) -> "tuple[Headline, ...]":
    """For each city and kind of connection, at the shortest prompt: the first site to answer against every other."""
    shortest = min((each.prompt_tokens for each in targets), default=0)
    groups: dict[tuple[str | None, str], list[TargetResult]] = {}
    for each in targets:
        if each.prompt_tokens == shortest:
            groups.setdefault((each.city, each.connection), []).append(each)
    return tuple(
        Headline(city=group[0].city, connection=group[0].connection, text=text)
        for group in groups.values()
        for text in _of_group(group, differences, simulated)
    )


def _of_group(group: "Sequence[TargetResult]", differences: "Sequence[Difference]", simulated: "Simulated") -> Iterator[str]:
    answering = sorted((each for each in group if each.ttft_ms.p50 is not None), key=lambda each: each.ttft_ms.p50 or 0.0)
    if len(answering) == 1:
        yield alone(answering[0], simulated)
    elif answering:
        first = answering[0]
        found = [
            each
            for each in differences
            if first.name in (each.a_name, each.b_name)
            and (each.connection, each.prompt_tokens) == (first.connection, first.prompt_tokens)
        ]
        yield from (difference(each, simulated) for each in sorted(found, key=telling))
    yield from (no_answer(each) for each in group if each.ttft_ms.p50 is None)


def _rounds(number: int) -> str:
    return "1 round is" if number == 1 else f"{number} rounds are"


def difference(found: "Difference", simulated: "Simulated") -> str:
    """How much sooner one site answers than the other, and why; or that no difference is shown."""
    who = f" {client(found.city)}" if found.city else ""
    over = f"over {found.connection} connections"
    low, high = found.low_ms, found.high_ms
    if low is None or high is None:
        sites = sorted([found.a_site, found.b_site], reverse=found.median_ms > 0)
        return _sentence(
            simulated,
            f"{_rounds(found.rounds)} too few to compare {sites[0]} with {sites[1]}{' for' if who else ''}{who} {over}: "
            f"medians {abs(found.median_ms):.1f} ms apart, an interval needs {statistics.FEWEST_ROUNDS} rounds",
        )
    if found.sooner is None:
        return _sentence(
            simulated,
            f"no difference is shown between {found.a_site} and {found.b_site}{' for' if who else ''}{who} {over}: "
            f"{signed(found.median_ms)} ms, 95 % interval {signed(low)} to {signed(high)} includes 0",
        )
    # From a minus b to what the sooner one saves.
    sign = -1 if found.sooner == "a" else 1
    sooner, later = (found.a_site, found.b_site) if found.sooner == "a" else (found.b_site, found.a_site)
    low, high = sorted((sign * low, sign * high))
    return _sentence(
        simulated,
        f"{sooner} answers{who} {sign * found.median_ms:.1f} ms sooner than {later} {over}, "
        f"95 % interval {low:.1f}–{high:.1f}; {_parts(found.network, found.generation, sign)}",  # noqa: RUF001
    )


def telling(found: "Difference") -> tuple[bool, float]:
    """Sorts differences: those that are shown first, and the closest rival before those far behind."""
    return found.sooner is None, abs(found.median_ms)


def alone(target: "TargetResult", simulated: "Simulated") -> str:
    """What a single target's median is made of."""
    who = f" {client(target.city)}" if target.city else ""
    network, generation = target.network_ms.p50, target.generation_ms.p50
    made_of = "not split" if network is None or generation is None else f"network {network:.1f}, generation {generation:.1f}"
    return _sentence(
        simulated,
        f"{target.site} answers{who} after {target.ttft_ms.p50 or 0:.1f} ms over {target.connection} connections, "
        f"median of {target.samples}; {made_of}",
    )


def no_answer(target: "TargetResult") -> str:
    """That a target gave no sample, and why."""
    if not target.errors:
        return f"{target.site} was not measured over {target.connection} connections."
    kinds = ", ".join(f"{count} {kind}" for kind, count in target.failures.items())
    message = next(iter(target.messages.values()), "")
    return f"{target.site} gave no first token over {target.connection} connections ({kinds}): {message}"


def sweep(found: "Sweep") -> str:
    """From which prompt length on the nearer site no longer matters."""
    lead = f"{found.nearer}'s lead over {found.farther}"
    where = f"{f' for {client(found.city)}' if found.city else ''} over {found.connection} connections"
    rule = f"{found.negligible_share * 100:.0f} % of TTFT"
    of = f" ({' and '.join(found.simulated)} simulated)" if found.simulated else ""
    if found.break_even_tokens is None:
        return (
            f"{lead}{where}{of} is more than {rule} at every measured prompt length, up to {found.matters_up_to_tokens} tokens."
        )
    reason = next(point.why_not for point in found.points if point.prompt_tokens == found.break_even_tokens)
    if found.matters_up_to_tokens is None:
        return f"{lead}{where}{of} does not matter at any measured prompt length ({reason} at {found.break_even_tokens} tokens)."
    return (
        f"{lead}{where}{of} matters up to {found.matters_up_to_tokens} prompt tokens and no longer from "
        f"{found.break_even_tokens} on ({reason}); break-even lies between."
    )


def statement(simulated: "Simulated") -> str:
    """What was simulated, and what a real run needs."""
    if not simulated.parts:
        return "Neither network nor model was stated to be simulated."
    what = " and ".join(simulated.parts)
    return (
        f"The {what} {'were' if len(simulated.parts) > 1 else 'was'} simulated: these numbers show the measurement at work, "
        "not what a deployment gains. A real run needs real sites, measured from where their users are."
    )


def notes(setup: Mapping[str, object], targets: "Sequence[TargetResult]", sweeps: "Sequence[Sweep]") -> tuple[str, ...]:
    """What a reader must know beside the numbers: sweep, drift, held-back headers, loopback, what the measuring side noted."""
    return (
        *(["The run was interrupted: what is here was measured before."] if setup.get("interrupted") else []),
        *(sweep(each) for each in sweeps),
        *_drifts(targets),
        *_splits(targets),
        *_loopback(targets),
        *(str(note) for note in cast("Sequence[object]", setup.get("notes", ()))),
    )


def _drifts(targets: "Sequence[TargetResult]") -> Iterator[str]:
    for each in targets:
        if each.drift and each.drift.drifted:
            yield (
                f"The run drifted: {_where(each)} took {signed(each.drift.change)} ms in its last third (99 % interval "
                f"{signed(each.drift.low)} to {signed(each.drift.high)}). Differences are paired by round and bear it; "
                "single medians do not."
            )


def _splits(targets: "Sequence[TargetResult]") -> Iterator[str]:
    for name, cells in _by_name(targets).items():
        answers = sum(each.samples for each in cells)
        by_rtt, none = (sum(each.split.get(split, 0) for each in cells) for split in ("tcp_rtt", "none"))
        if by_rtt:
            yield (
                f"{name} held its headers back in {by_rtt} of {answers} answers: their network share is TCP's round trip, "
                "and connection set-up where there was one."
            )
        if none:
            yield f"{name}: {none} of {answers} answers could not be split into network and generation."


def _loopback(targets: "Sequence[TargetResult]") -> Iterator[str]:
    if targets and all(_is_loopback(each.url) and "network" not in each.simulated for each in targets):
        yield "All targets are on this machine's loopback: no network distance is in these numbers."


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _where(target: "TargetResult") -> str:
    return f"{target.name} ({target.connection}, {target.prompt_tokens} prompt tokens)"


def _parts(network: "Part | None", generation: "Part | None", sign: int) -> str:
    if network is None or generation is None:
        return "network and generation could not be told apart"
    return f"network {plain(sign * network.median_ms)}, generation {plain(sign * generation.median_ms)}"


def _sentence(simulated: "Simulated", text: str) -> str:
    """The sentence, opened by what of it is simulated."""
    if simulated.network:
        return f"On a simulated network{' with a simulated model' if simulated.model else ''}, {text}."
    return f"With a simulated model, {text}." if simulated.model else f"{text[0].upper()}{text[1:]}."


def client(city: str) -> str:
    """The users of a city."""
    return f"{_a(city)} client"


def _a(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def signed(number: float) -> str:
    """A number with its sign, a true minus, and no negative zero."""
    rounded = round(number, 1) + 0.0
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "\N{MINUS SIGN}")


def plain(number: float) -> str:
    """The same without a plus."""
    return signed(number).lstrip("+")


@dataclass(frozen=True)
class Failed:
    """One kind of failure of one target, over all kinds of connections and prompt lengths."""

    name: str
    kind: str
    count: int
    requests: int
    """Of this target, those that succeeded included."""
    message: str
    """The first."""


def failures(targets: "Sequence[TargetResult]") -> list[Failed]:
    """What failed, by target and kind."""
    found: list[Failed] = []
    for name, cells in _by_name(targets).items():
        requests = sum(each.samples + each.errors for each in cells)
        for kind in dict.fromkeys(kind for each in cells for kind in each.failures):
            message = next(each.messages[kind] for each in cells if kind in each.messages)
            found.append(Failed(name, kind, sum(each.failures.get(kind, 0) for each in cells), requests, message))
    return found


def _by_name(targets: "Sequence[TargetResult]") -> "dict[str, list[TargetResult]]":
    cells: dict[str, list[TargetResult]] = {}
    for each in targets:
        cells.setdefault(each.name, []).append(each)
    return cells


def by_city(targets: "Sequence[TargetResult]") -> "list[tuple[str | None, list[TargetResult]]]":
    """Targets grouped by the city of their clients, in the order of their first appearance."""
    order = list(dict.fromkeys(each.city for each in targets))
    ranked = sorted(targets, key=lambda each: order.index(each.city))
    return [(city, list(group)) for city, group in groupby(ranked, key=lambda each: each.city)]
