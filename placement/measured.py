"""Round trips that were measured: files of `edge zones --measure` and summaries of `edge bench`.

Left out: guessing from one city to the next. A measurement counts for users within NEAR_KM of where it was made, for no others.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from components.zones import parse_zone
from geography.cities import find_city
from geography.gpu_offers import age_words
from geography.places import Place, distance_km
from placement.question import MeasuredRoundTrip
from placement.world import PlacementError, User, plain

FORMAT = "edge round trips 1"
NEAR_KM = 50.0


def measured_round_trips(paths: Sequence[Path], users: Sequence[User]) -> dict[tuple[str, str], MeasuredRoundTrip]:
    """By the user's label and the zone group, from all files; a later file replaces an earlier one."""
    found: dict[tuple[str, str], MeasuredRoundTrip] = {}
    for path in paths:
        for where, group, trip in _rows(path):
            for user in users:
                is_there = (
                    distance_km(user.place, where) <= NEAR_KM if isinstance(where, Place) else plain(user.name) == plain(where)
                )
                if is_there:
                    found[user.label, group] = trip
    return found


def _rows(path: Path) -> Iterator[tuple[Place | str, str, MeasuredRoundTrip]]:
    """Where it was measured (a place, or a city's name), the zone group, and the round trip."""
    try:
        told: Any = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(told, dict) and told.get("format") == FORMAT:  # pyright: ignore[reportUnknownMemberType]
            yield from _measured(told, path)
        else:
            yield from _benchmarked(told, path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, PlacementError):
            raise
        raise PlacementError(
            f"{path} is neither a file of `edge zones --measure` nor a summary of `edge bench`: {error}\n"
            "  -> edge zones --near CITY --measure --output FILE"
        ) from error


def _measured(told: Any, path: Path) -> Iterator[tuple[Place, str, MeasuredRoundTrip]]:
    where = Place(float(told["from"]["latitude"]), float(told["from"]["longitude"]))
    source = f"TCP round trips of {_day(told['measured_at'])} from {told['from']['name']} ({path.name})"
    for group, trip in told["round_trips"].items():
        yield where, str(group), MeasuredRoundTrip(float(trip["median_ms"]), source)


def _benchmarked(told: Any, path: Path) -> Iterator[tuple[Place | str, str, MeasuredRoundTrip]]:
    day = _day(told["setup"]["started"])
    for target in told["targets"]:
        if target["city"] and target["rtt_ms"] is not None:
            simulated = ", SIMULATED" if "network" in target["simulated"] else ""
            source = f"kernel's round trips of `ttft`, {day} ({path.name}){simulated}"
            city = find_city(target["city"])
            # `edge bench` names its targets by zone: `us-west-2a`, or `us-west-2a from Honolulu`.
            group = parse_zone(str(target["name"]).partition(" ")[0]).group
            yield city.place if city else str(target["city"]), group, MeasuredRoundTrip(float(target["rtt_ms"]), source)


def _day(moment: object) -> str:
    """The day of a time as it stands in a file, and that it is long ago where it is."""
    day = str(moment)[:10]
    return f"{day}{age_words(day)}"
