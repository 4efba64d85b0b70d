"""The way between a client's city and a host: how long it is, and a line on which it takes that long.

Distances and the delay model are `geography`'s. Left out on purpose: loss, jitter, bandwidth, slow start.
"""

from __future__ import annotations

from collections import deque
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, Protocol

from geography.cities import CITIES, CLIENT_NETWORK, City, city_of, local_network
from geography.latency import round_trip_ms
from geography.places import REGIONS, ZONE_GROUPS, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

WINDOW_BYTES = 1 << 20
"""What is under way on a line before its sender waits. Linux grows its windows to a few MiB; prompts and tokens fill neither."""


def place_of_zone(zone: str) -> Place | None:
    """Where a zone is: its Local Zone group's city, or its Region's; None where the tables do not know it."""
    group = zone[:-1]
    return ZONE_GROUPS[group].place if group in ZONE_GROUPS else REGIONS.get(group)


def round_trip_seconds(source: str, zone: str) -> float:
    """The round trip between a client's address and a zone: 0 where the address stands for no city, or the zone is not known."""
    address = IPv4Address(source)
    city = city_of(address) if address in CLIENT_NETWORK else None
    place = place_of_zone(zone)
    return round_trip_ms(city.place, place) / 1000 if city and place else 0.0


def described(zones: Iterable[str]) -> dict[str, Any]:
    """What GET network tells: for each city the address that stands for it and the round trip to each of these zones, in ms."""
    places = {zone: place for zone in sorted(set(zones)) if (place := place_of_zone(zone))}

    def trips(city: City) -> dict[str, float]:
        return {zone: round(round_trip_ms(city.place, place), 1) for zone, place in places.items()}

    return {
        "simulated": True,
        "cities": {
            name: {"address": str(local_network(city)[1]), "network": str(local_network(city)), "round_trip_ms": trips(city)}
            for name, city in CITIES.items()
        },
    }


class Clock(Protocol):
    """The part of an event loop that a line needs."""

    def time(self) -> float:
        """Seconds from any moment on."""
        ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> object:
        """Call back once it is `when`."""
        ...


class Line:
    """One direction of a connection: what is put in is done in order, `seconds` later, and never while the line is held.

    What is put in before `opens_at` counts as put in then: the connection is not set up yet.
    """

    def __init__(self, seconds: float, opens_at: float, clock: Clock, set_full: Callable[[bool], None]) -> None:
        self.seconds, self.opens_at = seconds, opens_at
        self._clock, self._set_full = clock, set_full
        self._under_way: deque[tuple[float, int, Callable[[], object]]] = deque()
        self.under_way_bytes = 0
        self.held = False
        self._full = self._timed = False

    def put(self, action: Callable[[], object], size: int = 0) -> None:
        """Do something at the other end, later; `size` counts against the window."""
        self._under_way.append((max(self._clock.time(), self.opens_at) + self.seconds, size, action))
        self._count(size)
        self._wait()

    def hold(self) -> None:
        """Deliver nothing until released: the other end cannot take more."""
        self.held = True

    def release(self) -> None:
        """Deliver again, at once what is due."""
        self.held = False
        self._deliver()

    def drop(self) -> None:
        """Forget what is under way: there is no other end any more."""
        self._under_way.clear()
        self._count(-self.under_way_bytes)

    def _deliver(self) -> None:
        while self._under_way and not self.held and self._under_way[0][0] <= self._clock.time():
            _, size, action = self._under_way.popleft()
            self._count(-size)
            action()
        self._wait()

    def _wait(self) -> None:
        if self._under_way and not self.held and not self._timed:
            self._timed = True
            self._clock.call_at(self._under_way[0][0], self._due)

    def _due(self) -> None:
        self._timed = False
        self._deliver()

    def _count(self, size: int) -> None:
        """Tell the sender when the window becomes full, and when half of it is free again."""
        self.under_way_bytes += size
        if self.under_way_bytes >= WINDOW_BYTES and not self._full:
            self._full = True
            self._set_full(True)  # noqa: FBT003
        elif self.under_way_bytes <= WINDOW_BYTES // 2 and self._full:
            self._full = False
            self._set_full(False)  # noqa: FBT003
