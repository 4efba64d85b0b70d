"""Which record Route 53 answers with: its documented routing and health rules, over the API's own dictionaries.

Sources: the Developer Guide ("How Route 53 chooses records when health checking is configured", "Complex configurations", a
page per routing policy) and botocore's model. Left out: wildcards, delegation, multivalue and IP-based routing.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from math import inf
from typing import Any, Literal

from geography.cities import CITIES, City, city_of
from geography.latency import round_trip_ms
from geography.places import REGIONS, ZONE_GROUPS, Place, biased_km, distance_km

RecordSet = Mapping[str, Any]
Key = tuple[str, str, str]
"""Name, type and set identifier (may be empty) of a record."""

UNPLACED = CITIES["Portland"].place
"""Where latency and geoproximity routing put a client whose place is unknown. A choice: AWS says nothing of it."""


@dataclass(frozen=True)
class Answer:
    """What the name server says to one question."""

    code: Literal["NOERROR", "NXDOMAIN"]
    kind: str = ""
    """The type of the answer's records: the one asked for, or CNAME. Empty where there are none."""
    values: tuple[str, ...] = ()
    ttl_seconds: int = 0
    path: tuple[Key, ...] = ()
    """The records that were chosen, from the name asked for down to the one that holds the values."""
    by_place: bool = False
    """Whether the client's place had a part in it."""


def answer(  # noqa: PLR0913 - a question's parts, and the world it is asked in
    records: Iterable[RecordSet],
    is_healthy: Callable[[str], bool],
    client: City | None,
    name: str,
    kind: str,
    *,
    chance: random.Random | None = None,
) -> Answer:
    """Answer the question for `name` (lower case, dot at the end) and `kind` from one hosted zone's records.

    `is_healthy` judges a health check by its id. `client` is None where nobody knows the asker's place. `chance` draws among
    weighted records. Raises RecursionError where aliases go in a circle.
    """
    return _Question(records, is_healthy, client, chance or random.Random()).resolve(name, kind)  # noqa: S311


class _Question:
    """One question to one hosted zone."""

    def __init__(
        self, records: Iterable[RecordSet], is_healthy: Callable[[str], bool], client: City | None, chance: random.Random
    ) -> None:
        self.groups: defaultdict[tuple[str, str], list[RecordSet]] = defaultdict(list)
        for record in records:
            self.groups[record["Name"], record["Type"]].append(record)
        self.is_healthy, self.client, self.chance = is_healthy, client, chance
        self.has_healthy = cache(self._has_healthy)

    def resolve(self, name: str, kind: str) -> Answer:
        group = self.groups.get((name, kind)) or self.groups.get((name, "CNAME"))
        if group is None:
            # A name that only has names below it exists too (RFC 8020).
            exists = any(other == name or other.endswith(f".{name}") for other, _ in self.groups)
            return Answer("NOERROR" if exists else "NXDOMAIN")
        path: list[Key] = []
        by_place = False
        while chosen := self._choose(group):
            if key(chosen) in path:
                raise RecursionError(f"the aliases of {name} go in a circle")
            path.append(key(chosen))
            by_place |= any(member in chosen for member in _BY_PLACE)
            alias = chosen.get("AliasTarget")
            if alias is None:
                values = tuple(each["Value"] for each in chosen["ResourceRecords"])
                return Answer("NOERROR", chosen["Type"], values, chosen["TTL"], tuple(path), by_place)
            group = self.groups.get((alias["DNSName"], chosen["Type"]), [])
        # No geolocation record for this place and no default one: "no answer".
        return Answer("NOERROR", path=tuple(path), by_place=True)

    def _choose(self, group: Sequence[RecordSet]) -> RecordSet | None:
        """The record of a name and type that answers; None where none is for the client's place."""
        able = [record for record in group if "GeoLocation" not in record or _match(record, self.client) is not None]
        # All unhealthy counts as all healthy, among those for this place.
        candidates = [record for record in able if self._is_healthy(record)] or able
        if not candidates:
            return None
        if "Weight" in candidates[0]:
            weights = [record["Weight"] for record in candidates]
            # Weight 0 is used when nothing else is healthy; all 0 means equal shares.
            return self.chance.choices(candidates, weights if any(weights) else None)[0]
        return min(candidates, key=lambda record: (_rank(record, self.client), key(record)))

    def _is_healthy(self, record: RecordSet) -> bool:
        check, alias = record.get("HealthCheckId"), record.get("AliasTarget")
        if check and not self.is_healthy(check):
            return False
        return not (alias and alias["EvaluateTargetHealth"]) or self.has_healthy(alias["DNSName"], record["Type"])

    def _has_healthy(self, name: str, kind: str) -> bool:
        """A group is healthy when one of its records is, whatever its weight or place."""
        return any(self._is_healthy(record) for record in self.groups.get((name, kind), []))


def client_in(network: IPv4Network | IPv6Network) -> City | None:
    """The city that a whole network stands in; None where it is in none, in several, or IPv6, which no city here has."""
    if isinstance(network, IPv6Network):
        return None
    city = city_of(network.network_address)
    return city if city_of(network.broadcast_address) is city else None


def key(record: RecordSet) -> Key:
    """What identifies a record within its hosted zone."""
    return record["Name"], record["Type"], record.get("SetIdentifier", "")


def _match(record: RecordSet, client: City | None) -> float | None:
    """How wide a geolocation record is, from 0, a US state, to 3, the default; None where it is not for the client."""
    location = record["GeoLocation"]
    if location.get("CountryCode") == "*":
        return 3
    if client is None:
        return None
    places: list[dict[str, str | None]] = [
        {"CountryCode": client.country, "SubdivisionCode": client.us_state},
        {"CountryCode": client.country},
        {"ContinentCode": client.continent},
    ]
    return places.index(location) if location in places else None


def _latency_ms(record: RecordSet, client: City | None) -> float:
    """The delay model's round trip to the Region, which stands in for AWS's table of measurements."""
    region = REGIONS.get(record["Region"])
    return round_trip_ms(_place(client), region) if region else inf


def _biased_km(record: RecordSet, client: City | None) -> float:
    """The distance to the record's location, bent by its bias."""
    location = record["GeoProximityLocation"]
    place = _location(location)
    return inf if place is None else biased_km(distance_km(_place(client), place), location.get("Bias", 0))


def _location(location: Mapping[str, Any]) -> Place | None:
    if coordinates := location.get("Coordinates"):
        return Place(float(coordinates["Latitude"]), float(coordinates["Longitude"]))
    if "LocalZoneGroup" in location:
        return ZONE_GROUPS[location["LocalZoneGroup"]].place
    return REGIONS.get(location["AWSRegion"])


def _place(client: City | None) -> Place:
    return client.place if client else UNPLACED


_BY_PLACE = ("Region", "GeoProximityLocation", "GeoLocation")
_RANKS: dict[str, Callable[[RecordSet, City | None], float | None]] = {
    "Region": _latency_ms,
    "GeoProximityLocation": _biased_km,
    "GeoLocation": _match,
    "Failover": lambda record, _client: record["Failover"] == "SECONDARY",
}
"""By the member that makes a record's policy: what is least for the record that answers."""


def _rank(record: RecordSet, client: City | None) -> float:
    return next((rank(record, client) or 0 for member, rank in _RANKS.items() if member in record), 0)
