"""The DNS plan: which health checks and records route users to the best healthy site, by Route 53's rules.

Pure, so that every rule of AWS is tested without AWS; routing.py creates what is planned. IPv6 is left out: a zone without it
(Honolulu) would lose every dual-stack user to a farther site that has it, since clients try AAAA records first.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from components.zones import Zone, is_region, is_zone_group, parse_zone

_Item = TypeVar("_Item")
Policy = Literal["latency", "geoproximity", "geolocation"]

LARGEST_BIAS = 99
"""Of the API's model; the SDK's text says 90 (aws-facts 1)."""
RECORD_TTL_SECONDS = 60
"""The longest that Route 53 advises beside a health check. Fixed: the records of a weighted name must share one TTL, so that AWS
refuses to change them one after the other."""
_LONGEST_SET_IDENTIFIER = 128
_LONGEST_NAME, _LONGEST_LABEL = 253, 63
_LARGEST_WEIGHT = 255
_REPLICA_WEIGHT = 100


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
    """Weighted routing: the share of a record among its name's; 0 only where no other is healthy."""

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
    bias: int = 0
    """-99 to 99: draws users from farther away, or fewer."""


@dataclass(frozen=True)
class Geolocation:
    """Geolocation routing: exactly one of a continent, a country and a US state; country `*` is everyone else."""

    continent: str | None = None
    country: str | None = None
    us_state: str | None = None

    @property
    def label(self) -> str:
        """Names it among all: continent NA is not country NA."""
        if self == EVERYWHERE_ELSE:
            return "default"
        kinds = {"continent": self.continent, "country": self.country, "us-state": self.us_state}
        return "-".join(f"{kind}-{code}" for kind, code in kinds.items() if code)


EVERYWHERE_ELSE = Geolocation(country="*")


def places(
    default: str, continents: Mapping[str, str], countries: Mapping[str, str], us_states: Mapping[str, str]
) -> dict[Geolocation, Zone]:
    """The zone that serves each place, from the names of zones."""
    zones = {
        EVERYWHERE_ELSE: default,
        **{Geolocation(continent=code): zone for code, zone in continents.items()},
        **{Geolocation(country=code): zone for code, zone in countries.items()},
        **{Geolocation(us_state=code): zone for code, zone in us_states.items()},
    }
    return {place: parse_zone(zone) for place, zone in zones.items()}


@dataclass(frozen=True)
class PlannedRecord:
    """One A record: the address of a replica, or an alias of another planned name."""

    key: str
    """Names the record within the plan, never by its place in a list."""
    name: str
    set_identifier: str | None
    """Tells it from the others of its name; None for a name's only record."""
    routing: Weighted | Latency | Geoproximity | Geolocation | None
    replica: Replica | None = None
    """The replica whose address the record holds and whose health check it carries."""
    alias_of: str | None = None
    """The name that the record is an alias of; its target's health is evaluated."""


@dataclass(frozen=True)
class RoutingChoices:
    """What the config says about routing."""

    policy: Policy
    domain: str
    bias: Mapping[str, int] = field(default_factory=dict[str, int])
    """By Local Zone group or Region."""
    places: Mapping[Geolocation, Zone] = field(default_factory=dict[Geolocation, Zone])
    """For `geolocation`: which zone serves whom, EVERYWHERE_ELSE included."""
    drained: frozenset[str] = frozenset()
    """Zones that get no users by the service's name."""


@dataclass(frozen=True)
class DnsPlan:
    """All records of a stack, targets before their aliases."""

    records: tuple[PlannedRecord, ...]
    site_names: dict[str, str]
    """The plain name of every zone's site."""


def plan_dns(choices: RoutingChoices, replicas: Sequence[Replica]) -> DnsPlan:
    """Plans the records for the replicas of all sites: the domain, an alias of `<policy>.<domain>`, and what lies below that.

    `latency`: one record per parent Region (AWS accepts only one per Region, and only Regions) -> alias of `<region>.<domain>`:
    geoproximity, one record per zone group -> alias of `<group>.<region>.<domain>`: weighted, one A record per replica.
    `geoproximity`: one flat set over the same leaves. `geolocation`: one record per place -> alias of
    `<zone>.geolocation.<domain>`: the zone's site and, while that is not healthy, the flat set.

    All levels exist also with one member: Route 53 refuses another policy under a name that has records. The domain itself is
    one plain alias, so that another policy is one change of one record. A drained site keeps its plain name alone.
    ValueError where AWS would refuse the plan, or the name would lead nowhere.
    """
    routed = [replica for replica in replicas if replica.zone.name not in choices.drained]
    if not routed:
        raise ValueError(f"{choices.domain}: no site is left that is not drained; the name would not answer")
    domain, top = choices.domain, f"{choices.policy}.{choices.domain}"
    groups = list({replica.zone.group: replica.zone for replica in routed}.values())
    # The Region's own zones first: an alias waits for its first target, and they seldom lack capacity.
    groups.sort(key=lambda zone: zone.is_local)
    below = {"latency": _latency_records, "geoproximity": _flat_records, "geolocation": _geolocation_records}
    plan = DnsPlan(
        (
            *(_leaf(f"site-{replica.key}", site_name(domain, replica.zone), replica) for replica in replicas),
            *(_leaf(f"leaf-{replica.key}", _group_name(domain, replica.zone), replica) for replica in routed),
            *below[choices.policy](choices, groups),
            PlannedRecord("service", domain, None, None, alias_of=top),
        ),
        {replica.zone.name: site_name(domain, replica.zone) for replica in replicas},
    )
    _judge(plan)
    return plan


def site_name(domain: str, zone: Zone) -> str:
    """The plain name of a zone's site: for benchmarks, debugging and TLS."""
    return f"{zone.name}.sites.{domain}"


def certificate_names(domain: str) -> tuple[str, str]:
    """What a certificate for a service needs: its name and, as a wildcard, the plain names of all sites that it may ever have."""
    return domain, f"*.sites.{domain}"


def service_targets(domain: str) -> frozenset[str]:
    """The names of which the domain's own record can be an alias."""
    policies: tuple[Policy, ...] = ("latency", "geoproximity", "geolocation")
    return frozenset(f"{policy}.{domain}" for policy in policies)


def possible_names(domain: str, zones: Iterable[Zone]) -> frozenset[str]:
    """Every name that a plan for these zones can hold, by whatever policy."""
    own = (
        (site_name(domain, zone), _group_name(domain, zone), f"{zone.region}.{domain}", _mapped_name(domain, zone))
        for zone in zones
    )
    return frozenset({domain, *service_targets(domain)}.union(*own))


def _latency_records(choices: RoutingChoices, groups: Sequence[Zone]) -> Iterator[PlannedRecord]:
    domain = choices.domain
    for zone in groups:
        yield _group_record(f"group-{zone.group}", f"{zone.region}.{domain}", choices, zone)
    for region in dict.fromkeys(zone.region for zone in groups):
        yield PlannedRecord(f"region-{region}", f"latency.{domain}", region, Latency(region), alias_of=f"{region}.{domain}")


def _flat_records(choices: RoutingChoices, groups: Sequence[Zone]) -> Iterator[PlannedRecord]:
    for zone in groups:
        yield _group_record(f"flat-{zone.group}", f"geoproximity.{choices.domain}", choices, zone)


def _geolocation_records(choices: RoutingChoices, groups: Sequence[Zone]) -> Iterator[PlannedRecord]:
    yield from _flat_records(choices, groups)
    domain = choices.domain
    for zone in {zone.name: zone for zone in choices.places.values()}.values():
        name, key = _mapped_name(domain, zone), f"mapped-{zone.name}"
        # Weight 0 and not failover's SECONDARY: what Route 53 answers from it alone, as in a drained site, is documented.
        yield PlannedRecord(f"{key}-nearest", name, "nearest", Weighted(0), alias_of=f"geoproximity.{domain}")
        if zone.name not in choices.drained:
            yield PlannedRecord(key, name, zone.name, Weighted(_REPLICA_WEIGHT), alias_of=site_name(domain, zone))
    for place, zone in choices.places.items():
        alias_of = _mapped_name(domain, zone)
        yield PlannedRecord(f"place-{place.label}", f"geolocation.{domain}", place.label, place, alias_of=alias_of)


def _leaf(key: str, name: str, replica: Replica) -> PlannedRecord:
    return PlannedRecord(key, name, replica.key, Weighted(_REPLICA_WEIGHT), replica=replica)


def _group_record(key: str, name: str, choices: RoutingChoices, zone: Zone) -> PlannedRecord:
    location = Geoproximity("local_zone_group" if zone.is_local else "aws_region", zone.group, choices.bias.get(zone.group, 0))
    return PlannedRecord(key, name, zone.group, location, alias_of=_group_name(choices.domain, zone))


def _group_name(domain: str, zone: Zone) -> str:
    return f"{zone.group_label}.{zone.region}.{domain}"


def _mapped_name(domain: str, zone: Zone) -> str:
    return f"{zone.name}.geolocation.{domain}"


def _judge(plan: DnsPlan) -> None:
    """Refuses what Route 53 refuses (aws-facts 2.1), each with the error that it prevents."""
    seen: set[tuple[str, str | None]] = set()
    places: set[tuple[str, Latency | Geoproximity | Geolocation]] = set()
    policies: dict[str, type] = {}
    names = {record.name for record in plan.records}
    for record in plan.records:
        _judge_form(record)
        if not _is_new(seen, (record.name, record.set_identifier)):
            raise ValueError(f"{record.name}: set identifier {record.set_identifier} is there twice (InvalidChangeBatch)")
        if policies.setdefault(record.name, type(record.routing)) is not type(record.routing):
            raise ValueError(f"{record.name}: records of one name have one routing policy (InvalidChangeBatch)")
        routing = replace(record.routing, bias=0) if isinstance(record.routing, Geoproximity) else record.routing
        if isinstance(routing, Latency | Geoproximity | Geolocation) and not _is_new(places, (record.name, routing)):
            raise ValueError(f"{record.name}: a record of {routing} already exists (InvalidChangeBatch)")
        if record.alias_of is not None and record.alias_of not in names:
            raise ValueError(f"{record.name}: {record.alias_of}, its alias target, does not exist (InvalidChangeBatch)")
    for name, policy in policies.items():
        if policy is Geolocation and (name, EVERYWHERE_ELSE) not in places:
            raise ValueError(f"{name}: no default record; places without one of their own would get no answer (NODATA)")


def _judge_form(record: PlannedRecord) -> None:
    """Refuses what is wrong with a record by itself (InvalidInput)."""
    labels = record.name.split(".")
    if len(record.name) > _LONGEST_NAME or not all(0 < len(label) <= _LONGEST_LABEL for label in labels):
        raise ValueError(f"{record.name}: no DNS name: 253 characters at most, 63 a label (InvalidDomainName)")
    if record.routing is None and record.set_identifier is not None:
        raise ValueError(f"{record.name}: a set identifier needs a routing policy (InvalidInput)")
    if record.routing is not None and not 1 <= len(record.set_identifier or "") <= _LONGEST_SET_IDENTIFIER:
        raise ValueError(
            f"{record.name}: set identifier {record.set_identifier!r} is not 1 to 128 characters long (InvalidInput)"
        )
    if (record.replica is None) == (record.alias_of is None):
        raise ValueError(f"{record.name}: a record holds an address or is an alias (InvalidInput)")
    match record.routing:
        case Weighted(weight) if not 0 <= weight <= _LARGEST_WEIGHT:
            raise ValueError(f"{record.name}: weight {weight} is not between 0 and 255 (InvalidInput)")
        case Latency(region) if not is_region(region):
            raise ValueError(f"{record.name}: latency records know Regions only, not {region} (InvalidInput)")
        case Geoproximity(kind, location) if not (is_region if kind == "aws_region" else is_zone_group)(location):
            raise ValueError(f"{record.name}: {location} is no {kind} (InvalidInput)")
        case Geoproximity(bias=bias) if not -LARGEST_BIAS <= bias <= LARGEST_BIAS:
            raise ValueError(f"{record.name}: bias {bias} is not between -99 and 99 (InvalidInput)")
        case Geolocation(continent, country, us_state) if [continent, country, us_state].count(None) != 2:  # noqa: PLR2004
            raise ValueError(f"{record.name}: a place is one of continent, country and US state (InvalidInput)")
        case _:
            pass


def _is_new(seen: set[_Item], item: _Item) -> bool:
    if item in seen:
        return False
    seen.add(item)
    return True
