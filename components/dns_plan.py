"""The DNS plan: which health checks and records route users to the best healthy site, by Route 53's rules.

Pure, so that every rule of AWS is tested without AWS; routing.py creates what is planned. Geolocation and bias come with
their own issue. IPv6 is left out: few Local Zones have it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from components.zones import Zone

_LONGEST_SET_IDENTIFIER = 128
_REPLICA_WEIGHT = 100
RECORD_TTL_SECONDS = 60
"""The longest that Route 53 advises beside a health check. Fixed: the records of a weighted name must share one TTL, so that AWS
refuses to change them one after the other."""


@dataclass(frozen=True)
class Replica:
    """One GPU instance behind an address."""

    zone: Zone
    number: int
    """From 1, within its site."""

    @property
    def key(self) -> str:
        """Names it within the stack: `us-west-2-lax-1a-1`."""
        return f"{self.zone.name}-{self.number}"


@dataclass(frozen=True)
class Weighted:
    """Weighted routing: the share of a record among its name's."""

    weight: int


@dataclass(frozen=True)
class Latency:
    """Latency routing: the Region whose measured latency stands for the record."""

    region: str


@dataclass(frozen=True)
class Geoproximity:
    """Geoproximity routing: exactly one location, a Region or a Local Zone group."""

    kind: Literal["aws_region", "local_zone_group"]
    location: str


@dataclass(frozen=True)
class PlannedRecord:
    """One A record: the address of a replica, or an alias of another planned name."""

    key: str
    """Names the record within the plan, never by its place in a list."""
    name: str
    set_identifier: str
    routing: Weighted | Latency | Geoproximity
    replica: Replica | None = None
    """The replica whose address the record holds and whose health check it carries."""
    alias_of: str | None = None
    """The name that the record is an alias of; its target's health is evaluated."""


@dataclass(frozen=True)
class DnsPlan:
    """All records of a stack, targets before their aliases."""

    records: tuple[PlannedRecord, ...]
    site_names: dict[str, str]
    """The plain name of every zone's site."""


def plan_dns(policy: Literal["latency", "geoproximity"], domain: str, replicas: Sequence[Replica]) -> DnsPlan:
    """Plans the records for the replicas of all sites.

    `latency`: domain -> latency, one record per parent Region (AWS accepts only one per Region, and only Regions) -> alias of
    `<region>.<domain>`: geoproximity, one record per zone group -> alias of `<group>.<region>.<domain>`: weighted, one A
    record per replica. `geoproximity`: domain -> one flat geoproximity set over the same leaves. All levels exist also with
    one member: Route 53 refuses another policy under a name that has records. ValueError where AWS would refuse the plan.
    """
    groups = list({replica.zone.group: replica.zone for replica in replicas}.values())
    # The Region's own zones first: an alias waits for its first target, and they seldom lack capacity.
    groups.sort(key=lambda zone: zone.is_local)
    regions = list(dict.fromkeys(zone.region for zone in groups))
    records = [
        *_site_records(domain, replicas),
        *(_leaf(f"leaf-{replica.key}", _group_name(domain, replica.zone), replica) for replica in replicas),
    ]
    if policy == "latency":
        records += [_group_record(f"group-{zone.group}", f"{zone.region}.{domain}", domain, zone) for zone in groups]
        records += [
            PlannedRecord(f"region-{region}", domain, region, Latency(region), alias_of=f"{region}.{domain}")
            for region in regions
        ]
    else:
        records += [_group_record(f"flat-{zone.group}", domain, domain, zone) for zone in groups]
    plan = DnsPlan(tuple(records), {replica.zone.name: site_name(domain, replica.zone) for replica in replicas})
    _judge(plan)
    return plan


def _site_records(domain: str, replicas: Sequence[Replica]) -> Iterator[PlannedRecord]:
    """A plain name for each site, for benchmarks, debugging and TLS."""
    for replica in replicas:
        yield _leaf(f"site-{replica.key}", site_name(domain, replica.zone), replica)


def _leaf(key: str, name: str, replica: Replica) -> PlannedRecord:
    return PlannedRecord(key, name, replica.key, Weighted(_REPLICA_WEIGHT), replica=replica)


def _group_record(key: str, name: str, domain: str, zone: Zone) -> PlannedRecord:
    kind = "local_zone_group" if zone.is_local else "aws_region"
    return PlannedRecord(key, name, zone.group, Geoproximity(kind, zone.group), alias_of=_group_name(domain, zone))


def _group_name(domain: str, zone: Zone) -> str:
    return f"{zone.group_label}.{zone.region}.{domain}"


def site_name(domain: str, zone: Zone) -> str:
    """The plain name of a zone's site."""
    return f"{zone.name}.sites.{domain}"


def _judge(plan: DnsPlan) -> None:
    """Refuses what Route 53 refuses (aws-facts 2.1), each with the error that it prevents."""
    seen: set[tuple[str, str]] = set()
    latency_regions: set[tuple[str, str]] = set()
    locations: set[tuple[str, str]] = set()
    policies: dict[str, type] = {}
    names = {record.name for record in plan.records}
    for record in plan.records:
        if not 1 <= len(record.set_identifier) <= _LONGEST_SET_IDENTIFIER:
            raise ValueError(f"{record.name}: set identifier {record.set_identifier!r} is not 1 to 128 characters long")
        if not _is_new(seen, (record.name, record.set_identifier)):
            raise ValueError(f"{record.name}: set identifier {record.set_identifier} is there twice (InvalidChangeBatch)")
        if policies.setdefault(record.name, type(record.routing)) is not type(record.routing):
            raise ValueError(f"{record.name}: records of one name have one routing policy (InvalidChangeBatch)")
        if isinstance(record.routing, Latency) and not _is_new(latency_regions, (record.name, record.routing.region)):
            raise ValueError(f"{record.name}: a latency record of {record.routing.region} already exists (InvalidChangeBatch)")
        if isinstance(record.routing, Geoproximity) and not _is_new(locations, (record.name, record.routing.location)):
            raise ValueError(f"{record.name}: {record.routing.location} is there twice, and either would answer")
        if (record.replica is None) == (record.alias_of is None):
            raise ValueError(f"{record.name}: a record holds an address or is an alias")
        if record.alias_of is not None and record.alias_of not in names:
            raise ValueError(f"{record.name}: {record.alias_of}, its alias target, does not exist (InvalidChangeBatch)")


def _is_new(seen: set[tuple[str, str]], item: tuple[str, str]) -> bool:
    if item in seen:
        return False
    seen.add(item)
    return True
