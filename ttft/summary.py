"""Makes the summary of a run: every number with its set-up, as it is written to JSON and shown on console and page.

Numbers come from statistics.py, sentences from words.py, what both fill in is in results.py. Leaves out raw samples: those are in
the raw file (files.py).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import cast

from ttft import statistics, words
from ttft.results import Budget, Difference, Part, Simulated, Slo, Summary, Sweep, SweepPoint, TargetResult
from ttft.samples import Connection, Failure, Run, Sample, Target

CONVERSATION_MS = (200.0, 500.0)
"""What a person takes for a natural pause before an answer; device, network and model share it (AWS ML blog 2025-03-04)."""
NEGLIGIBLE_SHARE = 0.10
"""A nearer site no longer matters where it saves less than this share of the farther site's TTFT."""
CONVENTIONS = {
    "ttft": "from the start of the request (open loop: from its intended start) to the arrival of the first real token",
    "differences": "median of a minus median of b: negative where a answers sooner; 95 % interval, rounds resampled in pairs",
    "percentiles": "p95 from 100 samples, p99 from 1000, else withheld; the median's interval is from order statistics",
    "errors": "never samples; under an SLO they count as missed",
}


@dataclass(frozen=True)
class Judgement:
    """What results are held against."""

    slo_ms: float | None = None
    slo_share: float = 0.95
    device_ms: float = 0.0


@dataclass(frozen=True)
class _Cell:
    """Everything of one target, connection and prompt length."""

    target: Target
    connection: Connection
    prompt_tokens: int
    samples: tuple[Sample, ...]
    failures: tuple[Failure, ...]

    @property
    def group(self) -> tuple[str | None, Connection, int]:
        """Cells of one group are compared with each other."""
        return self.target.city, self.connection, self.prompt_tokens

    def by_round(self, value: Callable[[Sample], float | None]) -> dict[int, list[float]]:
        """Values by round; samples without one are left out."""
        rounds: defaultdict[int, list[float]] = defaultdict(list)
        for sample in self.samples:
            if (number := value(sample)) is not None:
                rounds[sample.round].append(number)
        return rounds


def summarize(run: Run, judgement: Judgement | None = None) -> Summary:
    """Every number that the run supports."""
    judgement = judgement or Judgement()
    simulated = simulated_of(run.setup)
    cells = _cells(run)
    targets = tuple(_target_result(cell, run, judgement, simulated) for cell in cells)
    differences = tuple(_differences(cells, simulated))
    sweeps = tuple(_sweeps(targets, differences))
    stated = {key: str(value) for key, value in _mapping(run.setup.get("conventions")).items()}
    return Summary(
        headlines=words.headlines(targets, differences, simulated),
        simulated=simulated,
        statement=words.statement(simulated),
        interrupted=bool(run.setup.get("interrupted")),
        rounds_done=len({sample.round for sample in run.samples}),
        setup=json.loads(json.dumps(run.setup, default=str)),
        conventions={**CONVENTIONS, **stated},
        targets=targets,
        differences=differences,
        sweeps=sweeps,
        slo=_slo(targets, judgement),
        budget=_budget(judgement.device_ms),
        server_views=tuple(run.server_views),
        notes=words.notes(run.setup, targets, sweeps),
    )


def simulated_of(setup: Mapping[str, object]) -> Simulated:
    """What the set-up says is simulated; a model counts as simulated as soon as one server's is."""
    stated = _mapping(setup.get("simulated"))
    servers = _mapping(setup.get("servers"))
    any_server = any(_mapping(server).get("simulated") for server in servers.values())
    return Simulated(network=bool(stated.get("network")), model=bool(stated.get("model")) or any_server)


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def _cells(run: Run) -> list[_Cell]:
    """Targets in their order, warm before cold, short prompts before long; all points of the run for each, also empty ones."""
    samples: defaultdict[tuple[str, Connection, int], list[Sample]] = defaultdict(list)
    failures: defaultdict[tuple[str, Connection, int], list[Failure]] = defaultdict(list)
    for sample in run.samples:
        samples[sample.target, sample.connection, sample.prompt_label].append(sample)
    for failure in run.failures:
        failures[failure.target, failure.connection, failure.prompt_label].append(failure)
    points = sorted({key[1:] for key in (*samples, *failures)}, key=lambda point: (point[1], point[0] == "cold"))
    return [
        _Cell(target, *point, tuple(samples[target.name, *point]), tuple(failures[target.name, *point]))
        for point in points
        for target in run.targets
    ]


def _target_result(cell: _Cell, run: Run, judgement: Judgement, simulated: Simulated) -> TargetResult:
    samples, failures, target = cell.samples, cell.failures, cell.target
    ttft = statistics.quantiles([sample.ttft_ms for sample in samples])
    counted = [sample.prompt_tokens for sample in samples if sample.prompt_tokens is not None]
    rtts = [sample.rtt_ms for sample in samples if sample.rtt_ms is not None]
    gaps = [_gaps(sample) for sample in samples if len(sample.token_ms) > 1]
    budget = _budget(judgement.device_ms).left_ms
    return TargetResult(
        name=target.name,
        site=target.site or target.name,
        city=target.city,
        url=target.url,
        connection=cell.connection,
        prompt_tokens=cell.prompt_tokens,
        counted_prompt_tokens=_median(counted),
        simulated=simulated.parts,
        samples=len(samples),
        errors=len(failures),
        failures=dict(Counter(failure.kind for failure in failures).most_common()),
        messages={failure.kind: failure.message for failure in reversed(failures)},
        ttft_ms=ttft,
        network_ms=statistics.quantiles([sample.network_ms for sample in samples if sample.network_ms is not None]),
        generation_ms=statistics.quantiles([sample.generation_ms for sample in samples if sample.generation_ms is not None]),
        parts_ms=_parts(samples),
        split=dict(Counter(sample.split for sample in samples)),
        rtt_ms=_median(rtts),
        inter_token_ms=statistics.quantiles([_median(each) or 0.0 for each in gaps]),
        output_tokens_per_second=statistics.quantiles([len(each) / sum(each) * 1000 for each in gaps if sum(each) > 0]),
        total_ms=statistics.quantiles([sample.total_ms for sample in samples]),
        send_lag_ms=statistics.quantiles([sample.send_lag_ms for sample in samples]),
        cpu_ms_per_request=run.cpu_ms_per_request.get(target.name),
        under_slo=None
        if judgement.slo_ms is None
        else statistics.share(sum(sample.ttft_ms <= judgement.slo_ms for sample in samples), len(samples) + len(failures)),
        budget_left_ms=None if ttft.p50 is None else (budget[0] - ttft.p50, budget[1] - ttft.p50),
        drift=statistics.drift(cell.by_round(lambda sample: sample.ttft_ms)),
    )


def _parts(samples: Sequence[Sample]) -> dict[str, float]:
    parts = ("dns", "tcp", "tls", "write", "headers", "first_event")
    medians = {part: _median([float(getattr(sample, f"{part}_ms")) for sample in samples]) for part in parts}
    return {part: median for part, median in medians.items() if median is not None}


def _gaps(sample: Sample) -> list[float]:
    return [later - earlier for earlier, later in zip(sample.token_ms, sample.token_ms[1:], strict=False)]


def _median(values: Sequence[float]) -> float | None:
    return statistics.quantiles(values).p50 if values else None


def _differences(cells: Sequence[_Cell], simulated: Simulated) -> Iterator[Difference]:
    for a, b in combinations(cells, 2):
        if a.group != b.group:
            continue
        found = statistics.difference_of_medians(a.by_round(_ttft), b.by_round(_ttft))
        if found is None:
            continue
        yield Difference(
            a=a.target.url,
            b=b.target.url,
            a_name=a.target.name,
            b_name=b.target.name,
            a_site=a.target.site or a.target.name,
            b_site=b.target.site or b.target.name,
            city=a.target.city,
            connection=a.connection,
            prompt_tokens=a.prompt_tokens,
            simulated=simulated.parts,
            rounds=found.rounds,
            median_ms=found.median,
            low_ms=found.low,
            high_ms=found.high,
            sooner=None if not found.is_shown else "a" if found.median < 0 else "b",
            network=_part(a, b, lambda sample: sample.network_ms),
            generation=_part(a, b, lambda sample: sample.generation_ms),
        )


def _ttft(sample: Sample) -> float:
    return sample.ttft_ms


def _part(a: _Cell, b: _Cell, value: Callable[[Sample], float | None]) -> Part | None:
    """None unless all requests of both could be split, and on the same ground: else the parts are not comparable."""
    splits = {sample.split for sample in (*a.samples, *b.samples)}
    if len(splits) != 1 or "none" in splits:
        return None
    found = statistics.difference_of_medians(a.by_round(value), b.by_round(value))
    return found and Part(median_ms=found.median, low_ms=found.low, high_ms=found.high)


def _sweeps(targets: Sequence[TargetResult], differences: Sequence[Difference]) -> Iterator[Sweep]:
    """For each city and connection: the site that is ahead at the shortest prompt against every other."""
    medians: dict[tuple[str, Connection, int], float | None] = {
        (each.name, each.connection, each.prompt_tokens): each.ttft_ms.p50 for each in targets
    }
    pairs: defaultdict[tuple[str, str, Connection], list[Difference]] = defaultdict(list)
    for each in differences:
        pairs[each.a_name, each.b_name, each.connection].append(each)
    ahead: dict[tuple[str | None, Connection], str] = {}
    for each in sorted(targets, key=lambda each: (each.prompt_tokens, each.ttft_ms.p50 or float("inf"))):
        ahead.setdefault((each.city, each.connection), each.name)
    for found in pairs.values():
        first = found[0]
        nearest = ahead[first.city, first.connection]
        if len(found) < 2 or nearest not in (first.a_name, first.b_name):  # noqa: PLR2004
            continue
        points = tuple(_point(each, medians, a_is_nearer=first.a_name == nearest) for each in found)
        mattering = [index for index, point in enumerate(points) if point.matters]
        beyond = mattering[-1] + 1 if mattering else 0
        nearer, farther = (first.a_site, first.b_site) if first.a_name == nearest else (first.b_site, first.a_site)
        yield Sweep(
            city=first.city,
            connection=first.connection,
            nearer=nearer,
            farther=farther,
            simulated=first.simulated,
            points=points,
            negligible_share=NEGLIGIBLE_SHARE,
            break_even_tokens=points[beyond].prompt_tokens if beyond < len(points) else None,
            matters_up_to_tokens=points[beyond - 1].prompt_tokens if beyond else None,
        )


def _point(found: Difference, medians: Mapping[tuple[str, Connection, int], float | None], *, a_is_nearer: bool) -> SweepPoint:
    a, b = (medians[name, found.connection, found.prompt_tokens] or 0.0 for name in (found.a_name, found.b_name))
    nearer, farther = (a, b) if a_is_nearer else (b, a)
    # a minus b is turned into what the nearer site saves.
    bounds = (found.low_ms, found.high_ms) if not a_is_nearer else (_negated(found.high_ms), _negated(found.low_ms))
    gain = -found.median_ms if a_is_nearer else found.median_ms
    share = gain / farther if farther else 0.0
    why_not = None
    if found.sooner != ("a" if a_is_nearer else "b"):
        why_not = "too few rounds" if found.low_ms is None else "no gain shown" if found.sooner is None else "it is later"
    elif share < NEGLIGIBLE_SHARE:
        why_not = f"less than {NEGLIGIBLE_SHARE * 100:.0f} % of TTFT"
    return SweepPoint(
        prompt_tokens=found.prompt_tokens,
        nearer_ms=nearer,
        farther_ms=farther,
        gain_ms=gain,
        gain_low_ms=bounds[0],
        gain_high_ms=bounds[1],
        share=share,
        matters=why_not is None,
        why_not=why_not,
    )


def _negated(value: float | None) -> float | None:
    return None if value is None else -value


def _slo(targets: Sequence[TargetResult], judgement: Judgement) -> Slo | None:
    if judgement.slo_ms is None:
        return None
    missed = tuple(
        dict.fromkeys(each.name for each in targets if each.under_slo is None or each.under_slo.share < judgement.slo_share)
    )
    return Slo(limit_ms=judgement.slo_ms, needed_share=judgement.slo_share, met=bool(targets) and not missed, missed_by=missed)


def _budget(device_ms: float) -> Budget:
    shorter, longer = CONVERSATION_MS
    return Budget(conversation_ms=CONVERSATION_MS, device_ms=device_ms, left_ms=(shorter - device_ms, longer - device_ms))
