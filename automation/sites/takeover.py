"""Who takes the users of a site while replicas are away: Route 53's rules over the planned records, on a map.

Pure. Takes a site's users to be where it is; distances and round trips are estimates of geography's model. What Route 53 really
answers at this moment is asked by resolution.py.
"""

from collections.abc import Collection
from typing import cast

from automation.engine.rollout import Taker
from components.dns_plan import (
    DnsPlan,
    Geoproximity,
    Latency,
    PlannedRecord,
    Policy,
    Replica,
    RoutingChoices,
    Weighted,
    places,
    plan_dns,
)
from components.settings import Settings
from components.zones import Zone, parse_zone
from geography.latency import round_trip_ms
from geography.places import REGIONS, ZONE_GROUPS, Place, distance_km


class Users:
    """The users of every site, who are led elsewhere while its replicas are away. `served`: the replicas that serve meanwhile,
    also those that the config has no more.
    """

    def __init__(self, settings: Settings, served: frozenset[str]) -> None:
        self._settings, self._served = settings, served
        self._plan = dns_plan(settings, served)

    def takers(self, zone: str, away: Collection[str]) -> tuple[Taker, ...]:
        """The sites to which those who stand where a zone's site is are then sent, its own too; none where it has no users, and
        where no replica is left.
        """
        place = _place(parse_zone(zone))
        if self._plan is None or place is None or zone in self._settings.drained:
            return ()
        got = Answers(self._plan, self._served.difference(away)).of(self._first_name(self._plan, zone), place)
        return tuple(_taker(place, each) for each in sorted({replica.rpartition("-")[0] for replica in got}))

    def _first_name(self, plan: DnsPlan, zone: str) -> str:
        """The name at which those who get this site are: for geolocation the zone's own, where places are mapped to it."""
        routing = self._settings.routing
        own = f"{zone}.geolocation.{routing.domain}"
        if routing.policy == "geolocation":
            return own if any(record.name == own for record in plan.records) else f"geoproximity.{routing.domain}"
        return f"{routing.policy}.{routing.domain}"


def dns_plan(settings: Settings, served: Collection[str] = ()) -> DnsPlan | None:
    """The records of a config, and of what else serves meanwhile; None where users are not routed by a name."""
    routing, given = settings.routing, settings.routing.geolocation
    if not routing.is_on or not routing.domain:
        return None
    mapped = places(given.default, given.continents, given.countries, given.us_states) if given else {}
    choices = RoutingChoices(cast("Policy", routing.policy), routing.domain, routing.bias, mapped, frozenset(settings.drained))
    planned = {replica.key: replica for site in settings.sites for replica in site.all_replicas}
    others = sorted(set(served) - planned.keys())
    leaving = [Replica(parse_zone(zone), int(number)) for zone, _, number in (key.rpartition("-") for key in others)]
    return plan_dns(choices, [*planned.values(), *leaving])


class Answers:
    """What Route 53 answers by a plan's records while these replicas are healthy; distance stands for measured latency."""

    def __init__(self, plan: DnsPlan, healthy: frozenset[str]) -> None:
        self._records: dict[str, list[PlannedRecord]] = {}
        for record in plan.records:
            self._records.setdefault(record.name, []).append(record)
        self._healthy = healthy

    def of(self, name: str, place: Place) -> frozenset[str]:
        """The replicas that somebody at a place may get of a name; none where none is healthy: then Route 53 takes any."""
        healthy = [(record, got) for record in self._records.get(name, ()) if (got := self._behind(record, place))]
        if not healthy:
            return frozenset()
        weighted = [got for record, got in healthy if isinstance(record.routing, Weighted)]
        if weighted:
            chosen = [got for record, got in healthy if record.routing != Weighted(0)] or weighted
            return frozenset(replica for got in chosen for replica in got)
        return min(healthy, key=lambda each: _rank(each[0], place))[1]

    def _behind(self, record: PlannedRecord, place: Place) -> frozenset[str]:
        if record.alias_of:
            return self.of(record.alias_of, place)
        return frozenset({record.replica.key} if record.replica else ()) & self._healthy


def _rank(record: PlannedRecord, place: Place) -> float:
    """How far a record is; AWS documents of a bias the direction only, the formula is the usual one."""
    match record.routing:
        case Latency(region):
            return _distance(place, REGIONS.get(region))
        case Geoproximity(kind, location, bias):
            group = ZONE_GROUPS.get(location)
            where = (group and group.place) if kind == "local_zone_group" else REGIONS.get(location)
            share = bias / 100
            return _distance(place, where) * (1 - share) if share > 0 else _distance(place, where) / (1 + share)
        case _:
            return 0.0


def _distance(one: Place, other: Place | None) -> float:
    return distance_km(one, other) if other else float("inf")


def _place(zone: Zone) -> Place | None:
    group = ZONE_GROUPS.get(zone.group)
    return group.place if group else REGIONS.get(zone.group)


def _taker(place: Place, zone: str) -> Taker:
    other = _place(parse_zone(zone))
    if other is None:
        return Taker(zone, None, None)
    return Taker(zone, round(distance_km(place, other)), round(round_trip_ms(place, other) - round_trip_ms(place, place), 1))
