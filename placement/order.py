"""In which order Route 53 would answer each user with the candidates: read from the records that components/dns_plan.py plans.

For `latency` and `geoproximity` that order does not depend on which candidates become sites: a user gets the first that is one. A
Region's measured latency is AWS's own and not public; distance stands for it, as on the local cloud.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from components.dns_plan import Geoproximity, Latency, PlannedRecord, Policy, Replica, RoutingChoices, plan_dns
from components.zones import Zone
from geography.places import REGIONS, ZONE_GROUPS, Place, biased_km, distance_km
from placement.world import User

Ranks = NDArray[np.int64]
_DOMAIN = "llm.example.com"


class Distances:
    """Kilometres from every user to any place, each place reckoned once."""

    def __init__(self, users: Sequence[User]) -> None:
        self._users = [user.place for user in users]
        self._found: dict[Place, NDArray[np.float64]] = {}

    def to(self, place: Place) -> NDArray[np.float64]:
        """From each user."""
        if place not in self._found:
            # geography's own function: what ties there must tie here.
            self._found[place] = np.array([distance_km(user, place) for user in self._users])
        return self._found[place]


def ranks(policy: Policy, zones: Sequence[Zone], distances: Distances, bias: Mapping[str, int] | None = None) -> Ranks:
    """For each user, a number for each zone: Route 53 answers with the site that has the smallest.

    For `geolocation` it is the order in which a mapped site that is not healthy is replaced.
    """
    flat: Policy = "latency" if policy == "latency" else "geoproximity"
    plan = plan_dns(RoutingChoices(flat, _DOMAIN, bias=bias or {}), [Replica(zone, 1) for zone in zones])
    below: defaultdict[str, list[PlannedRecord]] = defaultdict(list)
    for record in sorted(plan.records, key=lambda record: record.set_identifier or ""):
        below[record.name].append(record)
    found = _walk(_DOMAIN, below, distances)
    return np.stack([found[zone.name] for zone in zones], axis=1)


def _walk(name: str, below: Mapping[str, Sequence[PlannedRecord]], distances: Distances) -> dict[str, Ranks]:
    """By zone below a name, its rank for each user."""
    wanted = np.stack([_distance(record, distances) for record in below[name]])
    # Stable: of two at the same distance, the first by its set identifier.
    order = np.argsort(wanted, axis=0, kind="stable")
    position = np.empty_like(order)
    np.put_along_axis(position, order, np.arange(len(order))[:, None], axis=0)
    parts: list[dict[str, Ranks]] = []
    for record in below[name]:
        leaf = {record.replica.zone.name: np.zeros(wanted.shape[1], dtype=np.int64)} if record.replica else {}
        parts.append(leaf or _walk(str(record.alias_of), below, distances))
    width = 1 + max(int(rank.max()) for part in parts for rank in part.values())
    return {zone: place * width + rank for place, part in zip(position, parts, strict=True) for zone, rank in part.items()}


def _distance(record: PlannedRecord, distances: Distances) -> NDArray[np.float64]:
    """What the record's policy goes by: the least answers."""
    match record.routing:
        case Latency(region):
            return distances.to(REGIONS[region])
        case Geoproximity(kind, location, bias):
            place = REGIONS[location] if kind == "aws_region" else ZONE_GROUPS[location].place
            return biased_km(distances.to(place), bias)
        case _:
            return np.zeros_like(distances.to(REGIONS["us-east-1"]))
