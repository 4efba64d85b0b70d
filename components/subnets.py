"""The CIDR plan: which part of its Region's VPC a site's subnet gets, from the zone's name alone.

A subnet must not move when other zones come or go, so a position depends on nothing but the name. Leaves out IPv6: few Local
Zones have it (aws-facts 3.1).
"""

import hashlib
from collections.abc import Mapping
from ipaddress import IPv4Network

from components.zones import parse_zone

SUBNET_PREFIX_LENGTH = 24
_REGION_ZONE_POSITIONS = 16
"""The first positions belong to the Region's own zones, by letter; Local Zones share the others by a hash of their name."""
_HASH_SALT = 270
"""Searched for: with it no two of the zones that AWS lists today (2026-11) in one Region share a position."""


def planned_subnets(vpc: IPv4Network, zones: Mapping[str, str | None]) -> dict[str, IPv4Network]:
    """The subnet of every zone of one Region.

    `zones` maps each zone to the CIDR that config gives it, or None. ValueError, naming both zones, where two overlap; that
    is rare for zones that AWS adds later, and `subnetCidr` settles it.
    """
    plan: dict[str, IPv4Network] = {}
    for zone, given in zones.items():
        subnet = IPv4Network(given) if given else _position(vpc, zone)
        if not subnet.subnet_of(vpc):
            raise ValueError(f"{subnet} of {zone} is not inside the VPC's {vpc}")
        for other, taken in plan.items():
            if subnet.overlaps(taken):
                raise ValueError(f"{subnet} of {zone} overlaps {taken} of {other}")
        plan[zone] = subnet
    return plan


def _position(vpc: IPv4Network, zone: str) -> IPv4Network:
    positions = 1 << (SUBNET_PREFIX_LENGTH - vpc.prefixlen)
    if parse_zone(zone).is_local:
        digest = hashlib.sha256(f"{_HASH_SALT}/{zone}".encode()).digest()
        position = _REGION_ZONE_POSITIONS + int.from_bytes(digest[:8]) % (positions - _REGION_ZONE_POSITIONS)
    else:
        position = (ord(zone[-1]) - ord("a")) % _REGION_ZONE_POSITIONS
    first = int(vpc.network_address) + (position << (32 - SUBNET_PREFIX_LENGTH))
    return IPv4Network((first, SUBNET_PREFIX_LENGTH))
