"""One self-contained page: a map of users, sites and catchments, the cost curve beside it, and what each figure rests on.

A few lines of its own script show who goes where while a site is down. Left out: everything that needs a network.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from math import cos, radians, sqrt
from pathlib import Path
from typing import Any, cast

from geography.places import Place

_LAND = Path(__file__).resolve().parents[1] / "geography" / "land.json"
_WIDTH = 1000.0
_SMALLEST, _LARGEST = 1.6, 15.0
"""Radii of users' dots on a map 1000 wide."""
_MARGIN_DEGREES = 5.0
_NARROWEST, _WIDEST = 1.3, 2.1
"""Width over height of the map."""
COLOURS = 10
"""As many as the page's style has; sites beyond share them."""


@dataclass(frozen=True)
class Dot:
    """A user on the map."""

    name: str
    place: Place
    weight: float
    site: int
    """Number of the site that they get, from 0."""
    is_late: bool = False
    """Whether their first token comes after the limit."""
    words: str = ""
    next_site: int | None = None
    """Who serves them while that site is down; None where nobody knows, or nobody is left."""
    next_is_late: bool = False


@dataclass(frozen=True)
class Marker:
    """A site on the map, and its row in the table."""

    zone: str
    city: str
    place: Place | None
    cells: tuple[str, ...]
    if_down: str = ""
    """What a click says."""


@dataclass(frozen=True)
class Curve:
    """Cost against users inside: a point for each number of sites."""

    points: tuple[tuple[int, float, float], ...]
    """Sites, dollars a month, share inside."""
    chosen_sites: int
    wanted_share: float


@dataclass(frozen=True)
class Page:
    """What a page shows."""

    title: str
    summary: str
    header: tuple[str, ...]
    """Of the table of sites, after the zone and its city."""
    markers: tuple[Marker, ...]
    dots: tuple[Dot, ...]
    notes: tuple[str, ...]
    sources: dict[str, str]
    limit_words: str = ""
    """What a late user's ring means; empty where there is no limit."""
    curve: Curve | None = None
    frontier: tuple[tuple[str, ...], ...] = ()
    frontier_header: tuple[str, ...] = ()
    made: str = ""
    """What made it, and when."""
    warnings: tuple[str, ...] = field(default=())


def render(page: Page) -> str:
    """The page, as one file of HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    frame = _Frame([dot.place for dot in page.dots] + [marker.place for marker in page.markers if marker.place])
    heaviest = max((dot.weight for dot in page.dots), default=1.0)
    # The light ones on top, or nobody sees them.
    dots = [_dot(dot, frame, heaviest) for dot in sorted(page.dots, key=lambda dot: -dot.weight)]
    markers: list[dict[str, Any]] = [
        {"number": number, "colour": number % COLOURS, "marker": marker} for number, marker in enumerate(page.markers)
    ]
    for each in markers:
        if place := each["marker"].place:
            each["x"], each["y"] = frame.point(place)
    text = environment.get_template("page.html.jinja").render(
        page=page,
        width=_WIDTH,
        height=round(frame.height),
        land=frame.land(),
        attribution=_land()["attribution"],
        dots=dots,
        markers=markers,
        curve=_curve(page.curve) if page.curve else None,
        colours=range(COLOURS),
        has_losses=any(marker.if_down for marker in page.markers),
    )
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


def _dot(dot: Dot, frame: "_Frame", heaviest: float) -> dict[str, Any]:
    x, y = frame.point(dot.place)
    radius = _SMALLEST + (_LARGEST - _SMALLEST) * sqrt(dot.weight / heaviest)
    return {"x": x, "y": y, "r": round(radius, 1), "dot": dot, "colour": dot.site % COLOURS}


class _Frame:
    """A part of the world, equirectangular, as wide as its middle latitude is."""

    def __init__(self, places: Sequence[Place]) -> None:
        south, north = min(each.latitude for each in places), max(each.latitude for each in places)
        west, east = min(each.longitude for each in places), max(each.longitude for each in places)
        self._squeeze = cos(radians((south + north) / 2))
        south, north = south - _MARGIN_DEGREES, north + _MARGIN_DEGREES
        west, east = west - _MARGIN_DEGREES / self._squeeze, east + _MARGIN_DEGREES / self._squeeze
        shape = (east - west) * self._squeeze / (north - south)
        if shape < _NARROWEST:
            more = (_NARROWEST / shape - 1) * (east - west) / 2
            west, east = west - more, east + more
        elif shape > _WIDEST:
            more = (shape / _WIDEST - 1) * (north - south) / 2
            south, north = south - more, north + more
        self._west, self._north, self._scale = west, north, _WIDTH / ((east - west) * self._squeeze)
        self.height = (north - south) * self._scale

    def point(self, place: Place) -> tuple[float, float]:
        return self._at(place.longitude, place.latitude)

    def _at(self, longitude: float, latitude: float) -> tuple[float, float]:
        return round((longitude - self._west) * self._squeeze * self._scale, 1), round((self._north - latitude) * self._scale, 1)

    def land(self) -> str:
        """The coasts that are in the frame, as one path."""
        parts: list[str] = []
        for ring in cast("list[list[float]]", _land()["rings"]):
            for turn in (-360, 0, 360):  # a ring may go on beyond 180 degrees
                points = [self._at(east + turn, north) for east, north in zip(ring[::2], ring[1::2], strict=True)]
                if any(0 <= x <= _WIDTH for x, _ in points) and any(0 <= y <= self.height for _, y in points):
                    parts.append("M" + "L".join(f"{x:g} {y:g}" for x, y in points) + "Z")
        return "".join(parts)


@cache
def _land() -> dict[str, Any]:
    return json.loads(_LAND.read_text(encoding="utf-8"))


_CURVE_WIDTH, _CURVE_HEIGHT = 460.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 16.0, 14.0, 40.0


def _curve(curve: Curve) -> dict[str, Any]:
    """The curve's points and axes on its own drawing."""
    most = max(dollars for _, dollars, _ in curve.points) * 1.06
    low = min([share for *_, share in curve.points] + [curve.wanted_share])
    floor = max(0.0, (int(low * 10) - (1 if low * 10 % 1 < 0.2 else 0)) / 10)  # noqa: PLR2004 - room below the lowest point

    def x(dollars: float) -> float:
        return round(_LEFT + dollars / most * (_CURVE_WIDTH - _LEFT - _RIGHT), 1)

    def y(share: float) -> float:
        return round(_TOP + (1 - share) / (1 - floor) * (_CURVE_HEIGHT - _TOP - _BOTTOM), 1)

    step = next(step for step in (250, 500, 1000, 2000, 2500, 5000, 10000, 25000, 10**6) if most / step <= 6)  # noqa: PLR2004
    tenths = range(round(floor * 10), 11)
    shares = [tenth / 10 for tenth in tenths if len(tenths) <= 6 or tenth % 2 == 0]  # noqa: PLR2004
    points = [
        {"x": x(dollars), "y": y(share), "sites": sites, "is_chosen": sites == curve.chosen_sites}
        for sites, dollars, share in curve.points
    ]
    return {
        "width": _CURVE_WIDTH,
        "height": _CURVE_HEIGHT,
        "left": _LEFT,
        "right": _CURVE_WIDTH - _RIGHT,
        "bottom": _CURVE_HEIGHT - _BOTTOM,
        "points": points,
        "line": " ".join(f"{point['x']},{point['y']}" for point in points),
        "wanted": y(curve.wanted_share),
        "wanted_words": f"{curve.wanted_share:.0%} wanted",
        "x_ticks": [(x(dollars), f"${dollars:,}") for dollars in range(0, int(most), step)],
        "y_ticks": [(y(share), f"{share:.0%}") for share in shares],
    }
