"""Users and candidates: who asks, and where a site could stand. From geography's tables, or a file of the caller's.

Left out: where users really are behind their resolvers, and stock. A candidate is a zone group that a public price list has.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any
from unicodedata import combining, normalize

from geography.gpu_offers import NO_GPU, price_table
from geography.places import REGION_NAMES, REGIONS, ZONE_GROUPS, Place, country_of

_CITIES_FILE = Path(__file__).resolve().parents[1] / "geography" / "cities.csv"
_MOST_LATITUDE, _MOST_LONGITUDE = 90, 180


class PlacementError(ValueError):
    """What was asked cannot be answered; the text says what to change."""


@dataclass(frozen=True)
class User:
    """Some people in one place."""

    name: str
    place: Place
    weight: float
    """How many they are; only the proportion counts."""
    country: str | None = None
    us_state: str | None = None
    continent: str | None = None

    @property
    def label(self) -> str:
        """`Portland, US-OR`."""
        code = "-".join(filter(None, (self.country, self.us_state)))
        return f"{self.name}, {code}" if code else self.name


@dataclass(frozen=True)
class Candidate:
    """A zone group, or a Region's own zones, where a site could stand."""

    group: str
    city: str
    place: Place
    country: str
    is_local: bool
    instance_type: str
    dollars_per_hour: float | None
    """None: no public list has the type there; whether it is sold is unknown."""

    @property
    def zone(self) -> str:
        """The first zone of it, as a site's config names it."""
        return f"{self.group}a"


@dataclass(frozen=True)
class Candidates:
    """Where a site could stand, and what was left out."""

    able: tuple[Candidate, ...]
    no_gpu: tuple[str, ...]
    """Zone groups that were said to sell no GPU."""
    unknown: tuple[str, ...]
    """Those where no public list has one of the types, and nobody said that there is none."""


@cache
def world_cities() -> tuple[User, ...]:
    """The world's largest cities, the largest first."""
    with _CITIES_FILE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return tuple(
            User(
                row["name"],
                Place(float(row["latitude"]), float(row["longitude"])),
                float(row["population"]),
                row["country"],
                row["us_state"] or None,
                row["continent"],
            )
            for row in rows
        )


def cities_as_of() -> str:
    """What the table of cities says of itself: source and day."""
    with _CITIES_FILE.open(encoding="utf-8") as file:
        source, day = (next(file).removeprefix("# ").strip() for _ in range(2))
    return f"{source} As of {day.removeprefix('as_of: ')}"


def users_of(codes: Sequence[str]) -> list[User]:
    """The cities of countries (`CA`) and US states (`US-CA`), by population; PlacementError for a code that has none."""
    wanted = [code.strip().upper() for code in codes if code.strip()]
    found = [user for user in world_cities() if _codes(user) & set(wanted)]
    missing = [code for code in wanted if not any(code in _codes(user) for user in found)]
    if missing:
        raise PlacementError(
            f"none of the 5,000 largest cities is in '{missing[0]}'\n  -> ISO 3166-1, or a US state: US,CA,US-HI"
        )
    return found


def _codes(user: User) -> set[str]:
    return {user.country or "", f"{user.country}-{user.us_state}"}


def users_from(path: Path) -> list[User]:
    """Users from a CSV file: `city` (and `country`) or `latitude` and `longitude`, and `weight`. PlacementError says the line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PlacementError(f"{path} cannot be read: {error}") from error
    found = [_user(row, f"{path.name}, row {number}") for number, row in enumerate(rows, 1)]
    if not sum(user.weight for user in found):
        raise PlacementError(
            f"{path}: nobody is in it\n  -> a first line such as city,country,weight or latitude,longitude,weight"
        )
    return [user for user in found if user.weight]


def _user(row: dict[str, Any], where: str) -> User:
    # More cells than the first line has names come as a list.
    cell = {key.strip().lower(): (value or "").strip() for key, value in row.items() if isinstance(value, str | None)}
    weight = _number(cell.get("weight") or "1", f"{where}: weight", float("inf"))
    if weight < 0:
        raise PlacementError(f"{where}: weight is below 0")
    if cell.get("latitude") and cell.get("longitude"):
        place = Place(
            _number(cell["latitude"], f"{where}: latitude", _MOST_LATITUDE),
            _number(cell["longitude"], f"{where}: longitude", _MOST_LONGITUDE),
        )
        codes = (cell.get("country", "").upper() or None, cell.get("us_state", "").upper() or None)
        return User(cell.get("city") or f"{place.latitude:g} {place.longitude:g}", place, weight, *codes)
    if not cell.get("city"):
        raise PlacementError(
            f"{where}: neither city nor latitude and longitude\n  -> city,country,weight or latitude,longitude,weight"
        )
    known = _find(cell["city"], cell.get("country", ""), where)
    return User(known.name, known.place, weight, known.country, known.us_state, known.continent)


def _number(text: str, where: str, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) <= most or number in (float("inf"), float("-inf")):
        raise PlacementError(f"{where} '{text}' is no number" + ("" if most == float("inf") else f" from -{most:g} to {most:g}"))
    return number


def _find(name: str, country: str, where: str) -> User:
    """The largest city of that name."""
    by_name = _by_name()
    found = [user for user in by_name.get(plain(name), ()) if country.upper() in {"", *_codes(user)}]
    if not found:
        near = [by_name[each][0].label for each in get_close_matches(plain(name), by_name, 2)]
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise PlacementError(f"{where}: '{name}' is none of the 5,000 largest cities\n  -> {hint}or latitude and longitude")
    return found[0]


@cache
def _by_name() -> dict[str, list[User]]:
    found: dict[str, list[User]] = {}
    for user in world_cities():
        found.setdefault(plain(user.name), []).append(user)
    return found


def plain(name: str) -> str:
    """A name without case, accents and a word `City`."""
    letters = "".join(letter for letter in normalize("NFKD", name) if not combining(letter)).casefold().strip()
    return letters.removesuffix(" city")


def candidates(
    types: Sequence[str],
    *,
    only: Iterable[str] = (),
    without: Iterable[str] = (),
    with_unknown: bool = False,
) -> Candidates:
    """Where a site of the first of the types that is sold there could stand.

    `only` and `without` name zone groups, Regions (with their Local Zones) or countries. A candidate whose price no list has
    counts only `with_unknown`.
    """
    only, without = _places(only), _places(without)
    able: list[Candidate] = []
    unknown: list[str] = []
    no_gpu: list[str] = []
    for group, (city, place) in _everywhere().items():
        words = {group, group.rsplit("-", 2)[0] if group in ZONE_GROUPS else group, country_of(group)}
        if (only and not words & only) or words & without:
            continue
        prices = price_table().dollars_per_hour.get(group, {})
        sold = next((kind for kind in types if kind in prices), None)
        if group in NO_GPU:
            no_gpu.append(group)
        elif sold is None and not with_unknown:
            unknown.append(group)
        else:
            kind = sold or types[0]
            able.append(Candidate(group, city, place, country_of(group), group in ZONE_GROUPS, kind, prices.get(kind)))
    return Candidates(tuple(able), tuple(no_gpu), tuple(unknown))


def _places(words: Iterable[str]) -> set[str]:
    """What `only` and `without` name; PlacementError for what is nowhere."""
    found: set[str] = set()
    for word in words:
        place = word.strip()
        group = place[:-1] if place[:-1] in ZONE_GROUPS else place
        if group in ZONE_GROUPS or group in REGIONS:
            found.add(group)
        elif place.upper() in {country_of(each) for each in _everywhere()}:
            found.add(place.upper())
        else:
            raise PlacementError(
                f"'{place}' is no zone group, Region or country with one\n  -> us-west-2-lax-1, eu-central-1 or DE"
            )
    return found


def _everywhere() -> dict[str, tuple[str, Place]]:
    groups = {name: (group.city, group.place) for name, group in ZONE_GROUPS.items()}
    return {**groups, **{name: (REGION_NAMES[name], place) for name, place in REGIONS.items()}}
