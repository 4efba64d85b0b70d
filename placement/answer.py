"""The answer to a question of placement: the frontier, the chosen set, and what follows from it. Every figure with its source.

Left out: words and pictures (automation/commands, page.py).
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from components.dns_plan import EVERYWHERE_ELSE, Geolocation, Policy
from geography.gpu_offers import age_words, price_table
from placement.exact import HOURS_PER_MONTH, Program, Solution
from placement.mending import WORTH_TELLING, Mend, mends
from placement.question import ROUND_TRIPS, Question
from placement.reckoning import Chosen, Reckoning
from placement.world import Candidate, PlacementError

Help = Literal["routing", "site", "connection", "distance", "model"]
"""What would serve users in time: another bias or policy; one of the candidates; a connection that is kept; a zone nearer than
any candidate; a faster server, since even next door it would be too late."""
RANGE = 0.3
"""By how much round trips may be wrong, either way."""
ESTIMATED = "estimated from the great-circle distance (geography/latency.py), not measured"
_NOTHING = 1e-9


@dataclass(frozen=True)
class Point:
    """The best set of at most so many sites."""

    most_sites: int
    groups: tuple[str, ...]
    share: float
    """Of the users, who are inside the limit."""
    p50_ms: float
    p95_ms: float
    dollars_per_month: float | None
    """None: of one of them the price is unknown."""
    dollars_per_percent: float | None
    """What each further per cent of the users costs a month, against the point before; None for the first, and where unknown."""
    gap_percent: float
    """No such set serves more than this many per cent of the users beyond it; 0 is proven."""


@dataclass(frozen=True)
class ChosenSite:
    """One site of the chosen set."""

    zone: str
    group: str
    city: str
    instance_type: str
    dollars_per_month: float | None
    serves: float
    """Share of all users who get it."""
    serves_inside: float
    """Share of all users who get it and are inside the limit."""
    p50_ms: float | None
    without_it: float
    """Share of all users inside the limit while it is down and Route 53 leads its users on."""


@dataclass(frozen=True)
class Outside:
    """Users who are not served in time, and what would help them."""

    help: Help
    country: str
    share: float
    best_ms: float
    """The least time to first token that any candidate, or for `model` any place, would give one of them."""


@dataclass(frozen=True)
class Served:
    """A user, and what they get."""

    user: int
    """Number of the user in the question."""
    group: str
    round_trip_ms: float
    is_measured: bool
    ttft_ms: float
    is_inside: bool


@dataclass(frozen=True)
class Answer:
    """Where the sites should stand."""

    question: Question
    made_at: str
    frontier: tuple[Point, ...]
    is_reached: bool
    """Whether the chosen set serves the wanted share in time."""
    share: float
    gap_percent: float
    sites: tuple[ChosenSite, ...]
    share_range: tuple[float, float]
    """Of the users inside the limit, if all round trips are 30 % longer, and 30 % shorter."""
    outside: tuple[Outside, ...]
    mends: tuple[Mend, ...]
    mapping: dict[Geolocation, str]
    """For `geolocation`: the zone of each place."""
    served: tuple[Served, ...]
    sources: dict[str, str]
    seconds: float

    @property
    def dollars_per_month(self) -> float | None:
        """Of the chosen set; None where one price is unknown."""
        return _sum([site.dollars_per_month for site in self.sites])

    def described(self) -> dict[str, Any]:
        """As `edge place --json` prints it."""
        question = self.question
        told = {
            "users": len(question.users),
            "candidates": [candidate.group for candidate in question.candidates],
            "slo_ms": question.slo_ms,
            "wanted_share": question.share,
            "connection": question.connection,
            "round_trips_before_the_first_token": ROUND_TRIPS[question.connection],
            "policy": question.policy,
            "generation_ms": dict(question.generation.by_type_ms),
        }
        chosen = {
            "reached": self.is_reached,
            "share": self.share,
            "share_if_round_trips_are_30_percent_longer": self.share_range[0],
            "share_if_round_trips_are_30_percent_shorter": self.share_range[1],
            "dollars_per_month": self.dollars_per_month,
            "gap_percent": self.gap_percent,
            "sites": [asdict(site) for site in self.sites],
            "geolocation": {place.label: zone for place, zone in self.mapping.items()},
        }
        users = [
            {"name": question.users[each.user].label, **{key: value for key, value in asdict(each).items() if key != "user"}}
            for each in self.served
        ]
        return {
            "made_at": self.made_at,
            "question": told,
            "frontier": [asdict(point) for point in self.frontier],
            "chosen": chosen,
            "outside": [asdict(each) for each in self.outside],
            "mends": [asdict(each) for each in self.mends],
            "users": users,
            "sources": self.sources,
            "seconds": round(self.seconds, 2),
        }


def place(question: Question) -> Answer:
    """Answers a question of placement. PlacementError where there is nothing to choose; ImportError without scipy."""
    start = time.monotonic()
    reckoning = Reckoning(question)
    program = Program(reckoning)
    solutions = _solutions(program, question, start + question.seconds)
    if not any(solution.sites for solution in solutions):
        raise PlacementError(_why_none(reckoning))
    frontier = _frontier(reckoning, solutions)
    number = _choice(question, frontier)
    sites = solutions[number].sites
    chosen = reckoning.assigned(sites)
    share = reckoning.share_inside(chosen)
    mapped = reckoning.mapped(sites) if question.policy == "geolocation" else {}
    return Answer(
        question,
        f"{datetime.now(UTC):%Y-%m-%d}",
        frontier,
        share >= question.share - _NOTHING,
        share,
        solutions[number].gap_percent,
        tuple(_sites(reckoning, sites, chosen)),
        _range(reckoning, chosen),
        tuple(_outside(reckoning, sites, chosen)),
        (*mends(reckoning, sites), *_elsewhere(question, share, len(solutions))),
        {place: question.candidates[site].zone for place, site in mapped.items()},
        tuple(_served(reckoning, chosen)),
        _sources(reckoning),
        time.monotonic() - start,
    )


def _elsewhere(question: Question, share: float, most: int) -> Iterator[Mend]:
    """Where the policy `latency` keeps users from a site that is near: what as many sites would serve by distance alone."""
    if question.policy != "latency" or share >= question.share:
        return
    reckoning = Reckoning(replace(question, policy="geoproximity"))
    found = Program(reckoning).best(most, question.seconds / 6)
    other = reckoning.share_of(found.sites)
    if other - share >= WORTH_TELLING:
        groups = ", ".join(question.candidates[site].group for site in found.sites)
        yield Mend("sites", f"geoproximity and {groups}", other)


def _solutions(program: Program, question: Question, end: float) -> list[Solution]:
    """The best sets of 1, 2, 3 … sites, as far as more sites serve more users."""
    found: list[Solution] = []
    most = min(question.sites or question.most_sites, len(question.candidates))
    for sites in range(1, most + 1):
        # Sets of many sites take the longest: the time left is shared evenly among them.
        seconds = (end - time.monotonic()) / (most - sites + 1)
        solution = program.best(sites, seconds, found[-1].sites if found else ())
        found.append(solution)
        if program.is_all(solution.sites):
            break
    return found


def _why_none(reckoning: Reckoning) -> str:
    question = reckoning.question
    if question.dollars_per_month is not None:
        return (
            f"no set of sites for ${question.dollars_per_month:.0f} a month serves anybody within {question.slo_ms:g} ms\n"
            "  -> a larger --budget, or a later limit: --ttft"
        )
    generation, best = float(reckoning.generation.min()), float(reckoning.ttft().min())
    return (
        f"nobody can be served within {question.slo_ms:g} ms: the server alone takes {generation:.0f} ms, and with the network "
        f"{best:.0f} ms in the best place of all\n  -> a later limit (--ttft), shorter prompts (--prompt), or a faster --type"
    )


def _frontier(reckoning: Reckoning, solutions: Sequence[Solution]) -> tuple[Point, ...]:
    points: list[Point] = []
    for most, solution in enumerate(solutions, 1):
        if not solution.sites or (most > 1 and solution.sites == solutions[most - 2].sites):
            continue
        chosen = reckoning.assigned(solution.sites)
        share = reckoning.share_inside(chosen)
        candidates = [reckoning.question.candidates[site] for site in solution.sites]
        dollars = _sum([_monthly(candidate) for candidate in candidates])
        before = points[-1] if points else None
        more = share - before.share if before else 0.0
        price = None
        if before and before.dollars_per_month is not None and dollars is not None and more > _NOTHING:
            price = (dollars - before.dollars_per_month) / (100 * more)
        p50, p95 = reckoning.quantiles(chosen, (0.5, 0.95))
        groups = tuple(candidate.group for candidate in candidates)
        points.append(Point(most, groups, share, p50, p95, dollars, price, solution.gap_percent))
    return tuple(points)


def _choice(question: Question, frontier: Sequence[Point]) -> int:
    """The number of the solution to take: as many sites as are wanted, else the fewest that reach the share, else the best."""
    if question.sites is None:
        for point in frontier:
            if point.share >= question.share - _NOTHING:
                return point.most_sites - 1
        best = max(point.share for point in frontier)
        return next(point.most_sites - 1 for point in frontier if point.share >= best - _NOTHING)
    return frontier[-1].most_sites - 1


def _monthly(candidate: Candidate) -> float | None:
    return None if candidate.dollars_per_hour is None else candidate.dollars_per_hour * HOURS_PER_MONTH


def _sum(dollars: Sequence[float | None]) -> float | None:
    known = [each for each in dollars if each is not None]
    return sum(known) if len(known) == len(dollars) else None


def _sites(reckoning: Reckoning, sites: Sequence[int], chosen: Chosen) -> Iterator[ChosenSite]:
    rows = np.arange(len(chosen))
    inside = reckoning.inside[rows, chosen]
    for site in sites:
        candidate = reckoning.question.candidates[site]
        gets = chosen == site
        yield ChosenSite(
            candidate.zone,
            candidate.group,
            candidate.city,
            candidate.instance_type,
            _monthly(candidate),
            float(reckoning.weights[gets].sum()),
            float(reckoning.weights[gets & inside].sum()),
            reckoning.quantiles(chosen, (0.5,), gets)[0] if gets.any() else None,
            reckoning.share_inside(_without(reckoning, sites, site, chosen)) if len(sites) > 1 else 0.0,
        )


def _without(reckoning: Reckoning, sites: Sequence[int], down: int, chosen: Chosen) -> Chosen:
    """Who gets which site while one is down: its users the next in Route 53's order, the others theirs."""
    left = [site for site in sites if site != down]
    return np.where(chosen == down, reckoning.assigned(left, reckoning.ranks), chosen)


def losses(answer: Answer) -> dict[str, list[str]]:
    """By the group of each chosen site, whose group each user gets while it is down."""
    reckoning = Reckoning(answer.question)
    numbers = {candidate.group: number for number, candidate in enumerate(answer.question.candidates)}
    sites = [numbers[site.group] for site in answer.sites]
    chosen = reckoning.assigned(sites)
    if len(sites) == 1:
        return {}
    found: dict[str, list[str]] = {}
    for site in answer.sites:
        gets = _without(reckoning, sites, numbers[site.group], chosen)
        found[site.group] = [answer.question.candidates[int(each)].group for each in gets]
    return found


def _range(reckoning: Reckoning, chosen: Chosen) -> tuple[float, float]:
    return reckoning.share_inside(chosen, 1 + RANGE), reckoning.share_inside(chosen, 1 - RANGE)


def _outside(reckoning: Reckoning, sites: Sequence[int], chosen: Chosen) -> Iterator[Outside]:
    """By what would help and by country, the largest first."""
    question, times = reckoning.question, reckoning.ttft()
    best, among = times.min(axis=1), times[:, list(sites)].min(axis=1)
    warm = (reckoning.round_trips + reckoning.generation).min(axis=1)
    next_door = float(reckoning.generation.min()) + ROUND_TRIPS[question.connection] * float(reckoning.round_trips.min())
    found: defaultdict[tuple[Help, str], float] = defaultdict(float)
    least: dict[tuple[Help, str], float] = {}
    for row in np.flatnonzero(~reckoning.inside[np.arange(len(chosen)), chosen]):
        limit = question.slo_ms
        if among[row] <= limit:
            kind: Help = "routing"
        elif best[row] <= limit:
            kind = "site"
        elif next_door > limit:
            kind = "model"
        else:
            kind = "connection" if warm[row] <= limit else "distance"
        key = (kind, question.users[row].country or "?")
        found[key] += float(reckoning.weights[row])
        least[key] = min(least.get(key, np.inf), next_door if kind == "model" else float(best[row]))
    for key, share in sorted(found.items(), key=lambda item: -item[1]):
        yield Outside(*key, share, least[key])


def _served(reckoning: Reckoning, chosen: Chosen) -> Iterator[Served]:
    times = reckoning.ttft()
    for row in range(len(chosen)):
        site = int(chosen[row])
        yield Served(
            row,
            reckoning.question.candidates[site].group,
            round(float(reckoning.round_trips[row, site]), 1),
            bool(reckoning.is_measured[row, site]),
            round(float(times[row, site]), 1),
            bool(reckoning.inside[row, site]),
        )


def _sources(reckoning: Reckoning) -> dict[str, str]:
    question, prices = reckoning.question, price_table()
    used = sorted({each.source for each in question.measured.values()})
    measured = reckoning.is_measured.any(axis=1)
    share = 100 * float(reckoning.weights[measured].sum())
    trips = f"{ESTIMATED}; but measured for {share:.1f} % of the users: {'; '.join(used)}" if measured.any() else ESTIMATED
    return {
        "round_trips_ms": trips,
        "generation_ms": question.generation.source,
        "dollars": f"on-demand Linux list prices of {prices.as_of}{age_words(prices.as_of)}: {prices.source}",
        "users": question.users_source,
        "order": _ORDER[question.policy],
    }


_ORDER: dict[Policy, str] = {
    "latency": "the records that components/dns_plan.py plans; AWS's table of latency between networks and Regions is not "
    "public, and distance stands for it",
    "geoproximity": "the records that components/dns_plan.py plans, by distance",
    "geolocation": "a table of countries and US states, made here so that most users are inside the limit",
}


def table_of_places(mapping: dict[Geolocation, str]) -> dict[str, Any]:
    """The zone of each place as a stack file's `routing.geolocation` has it; places with the default's zone are left out."""
    default = mapping[EVERYWHERE_ELSE]
    others = {place: zone for place, zone in mapping.items() if zone != default}
    countries = {place.country: zone for place, zone in others.items() if place.country}
    us_states = {place.us_state: zone for place, zone in others.items() if place.us_state}
    found: dict[str, Any] = {"default": default}
    return found | {key: table for key, table in (("countries", countries), ("usStates", us_states)) if table}
