"""Where a site could stand: every Local Zone group and parent Region, ranked by distance to users and by price.

Tables only, nobody is asked: round trips are estimates of geography's model, prices a dated snapshot. Whether a zone sells a type
to an account is `edge doctor`'s to find out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from automation.account.prices import DATED, SOURCE, priced_types
from automation.errors import UsageError
from geography.cities import CITIES, City, find_city, likeliest_cities
from geography.gpu_offers import no_gpu
from geography.latency import round_trip_ms
from geography.places import REGION_NAMES, REGIONS, ZONE_GROUPS, Place, distance_km

DEFAULT_TYPE = "g4dn.2xlarge"
SOURCES = {
    "round_trips_ms": "estimated from the great-circle distance (geography/latency.py), not measured",
    "dollars_per_hour": f"on-demand Linux list prices of {DATED}: {SOURCE}",
    "no_gpu": "said to sell no GPU: by whom and when (geography/gpu_offers.py)",
    "zone": "the group's zone a; a Region has more, and AWS says which of them sells the type: edge doctor ENV",
}
"""Where each number comes from."""


@dataclass(frozen=True)
class Candidate:
    """A zone group of Local Zones, or a Region's own zones, where a site could stand."""

    group: str
    """The zone group; of a Region's own zones, the Region."""
    place: str
    is_local: bool
    round_trips_ms: dict[str, float]
    """By the city that was asked for; estimated, but for those in `measured`."""
    distances_km: dict[str, int]
    dollars_per_hour: dict[str, float]
    """GPU types with a list price there; empty is unknown, unless `no_gpu` says that there are none."""
    no_gpu: str | None
    """By whom and when it was said that no GPU is sold there."""
    measured: tuple[str, ...] = ()
    """Cities whose round trip was measured."""

    @property
    def zone(self) -> str:
        """The first zone of it, as a site's config names it."""
        return f"{self.group}a"

    @property
    def nearest_ms(self) -> float:
        """Of the cities that were asked for, to the nearest; infinite where none was."""
        return min(self.round_trips_ms.values(), default=float("inf"))

    def may_sell(self, instance_type: str) -> bool:
        """Whether the type has a price there, or nobody says which types have one."""
        return instance_type in self.dollars_per_hour or not (self.dollars_per_hour or self.no_gpu)

    def described(self) -> dict[str, Any]:
        """As `edge zones --json` prints it."""
        return {"zone": self.zone, **asdict(self)}


def cities(names: Sequence[str]) -> list[City]:
    """Cities by name; UsageError for one that is not on the map."""
    return [city_named(name) for name in dict.fromkeys(names)]


def city_named(name: str) -> City:
    """One city; UsageError that says what was meant, where that can be guessed, else every name."""
    if city := find_city(name):
        return city
    meant = likeliest_cities(name)
    known = " or ".join(meant) if meant else f"one of {', '.join(sorted(CITIES))}"
    raise UsageError(f"no city '{name}' is on the map\n  -> {known}")


def candidates(near: Sequence[City], measured: Mapping[tuple[str, str], float] | None = None) -> list[Candidate]:
    """Every place, the nearest to any of the cities first, then the cheapest; without cities the cheapest first.

    `measured`: round trips in ms by city and zone group, in place of estimates.
    """

    def rank(each: Candidate) -> tuple[float, float, str]:
        return each.nearest_ms, each.dollars_per_hour.get(DEFAULT_TYPE, float("inf")), each.group

    return sorted((_with(each, measured or {}) for each in _all(near)), key=rank)


def _with(candidate: Candidate, measured: Mapping[tuple[str, str], float]) -> Candidate:
    trips = {city: measured[city, candidate.group] for city in candidate.round_trips_ms if (city, candidate.group) in measured}
    return replace(candidate, round_trips_ms=candidate.round_trips_ms | trips, measured=tuple(trips))


def _all(near: Sequence[City]) -> Iterator[Candidate]:
    for group, where in ZONE_GROUPS.items():
        yield _candidate(group, where.city, where.place, near, is_local=True)
    for region, place in REGIONS.items():
        yield _candidate(region, REGION_NAMES[region], place, near, is_local=False)


def _candidate(group: str, name: str, place: Place, near: Sequence[City], *, is_local: bool) -> Candidate:
    return Candidate(
        group,
        name,
        is_local,
        {city.name: round(round_trip_ms(city.place, place), 1) for city in near},
        {city.name: round(distance_km(city.place, place)) for city in near},
        priced_types(group),
        no_gpu(group),
    )
