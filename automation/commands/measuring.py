"""`edge zones --measure`, `--measured` of `zones` and `resolve`: writing and reading files of round trips.

Left out: the measuring itself (automation/account/round_trips.py) and what the files look like (placement/measured.py).
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from automation.account.candidates import city_named
from automation.commands.terminal import say, short_path
from automation.errors import UsageError
from automation.paths import LOCAL_DIRECTORY
from geography.cities import City


def measured(near: Sequence[str], via: str | None, output: Path | None) -> tuple[str, Path]:
    """Measures from this machine, which stands in the only city of `near`, or from a host; the city's name and the file."""
    from automation.account.round_trips import measure, public_targets

    city, host = _vantage(near, via)
    path = output or LOCAL_DIRECTORY / "reports" / f"round-trips-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    targets = public_targets(say)
    say(f"Timing TCP handshakes with {len(targets)} Regions and Local Zones, from {host or 'this machine'} ({city.name})")
    found = measure(targets, city, via=host)
    path.write_text(json.dumps(found.described(), indent=2) + "\n", encoding="utf-8")
    for group, why in found.silent.items():
        say(f"  {group}: {why}")
    say(f"Measured {len(found.times_ms)}; written: {short_path(path)}")
    return city.name, path


def _vantage(near: Sequence[str], via: str | None) -> tuple[City, str | None]:
    if via is None:
        if len(near) != 1:
            raise UsageError("where this machine stands is not said\n  -> edge zones --near CITY --measure")
        return city_named(near[0]), None
    name, _, host = via.partition("=")
    if not (name and host) or host.startswith("-") or any(letter.isspace() for letter in host):
        raise UsageError(f"--via {via!r} is no city and host\n  -> --via Honolulu=ubuntu@ADDRESS")
    return city_named(name), host


def round_trips(paths: Sequence[Path], cities: Sequence[City]) -> tuple[dict[tuple[str, str], float], list[str]]:
    """Measured round trips in ms by city and zone group, and what they are."""
    if not paths:
        return {}, []
    from placement.measured import NEAR_KM, measured_round_trips
    from placement.world import PlacementError, User

    labels = {(user := User(city.name, city.place, 1.0, city.country, city.us_state)).label: user for city in cities}
    try:
        found = measured_round_trips(paths, list(labels.values()))
    except PlacementError as error:
        raise UsageError(str(error)) from error
    if not found:
        files, names = " and ".join(path.name for path in paths), [city.name for city in cities]
        if not names:
            raise UsageError(f"whose round trips of {files} to take is not said\n  -> --near the city that it was measured from")
        raise UsageError(
            f"nothing in {files} was measured within {NEAR_KM:.0f} km of {' or '.join(names)}\n"
            f"  -> edge zones --near '{names[0]}' --measure   # from there"
        )
    trips = {(labels[label].name, group): trip.median_ms for (label, group), trip in found.items()}
    return trips, sorted({trip.source for trip in found.values()})
