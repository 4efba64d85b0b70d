"""What AWS has of a deployment and its state does not: decided here from facts, without asking anybody.

*Ours* is what carries the deployment's id, what hangs on such objects, health checks on our addresses, and A records of a planned
name that lead to what is ours. Everything else is never listed, let alone touched. orphan_search.py asks AWS, sweep.py removes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from automation.account.prices import instance_price
from automation.tables import table
from components.dns_plan import possible_names
from components.zones import Zone, parse_zone

Kind = Literal[
    "record",
    "health check",
    "hosted zone",
    "address association",
    "instance",
    "capacity reservation",
    "address",
    "volume",
    "network interface",
    "security group rule",
    "route",
    "route table association",
    "subnet",
    "security group",
    "route table",
    "key pair",
    "internet gateway",
    "VPC",
]
"""In the order in which AWS lets go of them."""
_ORDER: tuple[str, ...] = Kind.__args__  # pyright: ignore[reportAttributeAccessIssue] - a Literal has them
_OF_A_TYPE = {"instance", "capacity reservation"}
"""What costs as much as an instance of its type; a reservation, as long as no instance uses it."""
ADDRESS_DOLLARS_PER_HOUR = 0.005
"""AWS's price of every public IPv4 address, in use or not, since February 2024."""


@dataclass(frozen=True)
class Thing:
    """An object that AWS has."""

    kind: Kind
    id: str
    """As AWS names it; of a record its name, type and set identifier."""
    region: str = ""
    """Empty for Route 53's, which has none."""
    zone: str = ""
    """The zone that it is in, where it is in one."""
    deployment: str | None = None
    """The deployment's id that it is tagged with."""
    on: frozenset[str] = frozenset()
    """Ids of what it hangs on."""
    goes_with_it: bool = True
    """Whether it goes by itself when one of them is removed."""
    instance_type: str = ""
    address: str = ""
    """Public address: an address's own, or the one that a health check asks."""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False, repr=False)
    """What only its removal needs."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Names it among all."""
        return self.kind, self.region, self.id

    @property
    def dollars_per_hour(self) -> float | None:
        """Its list price; None where it costs nothing by the hour, or nobody knows."""
        if self.kind == "address":
            return ADDRESS_DOLLARS_PER_HOUR
        return instance_price(self.zone, self.instance_type) if self.kind in _OF_A_TYPE else None

    @property
    def price(self) -> str:
        """Its price in words; empty where it costs nothing by the hour."""
        if self.kind not in {*_OF_A_TYPE, "address"}:
            return ""
        dollars = self.dollars_per_hour
        return f"${dollars:.3f} per hour" if dollars is not None else "price unknown"


@dataclass(frozen=True)
class Record:
    """An A record of a hosted zone."""

    hosted_zone_id: str
    name: str
    set_identifier: str
    health_check_id: str | None
    alias_of: str | None
    raw: Mapping[str, Any] = field(compare=False, repr=False)
    """As Route 53 lists it, which is how it wants to be told what to delete."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Names it among all."""
        return self.hosted_zone_id, self.name, self.set_identifier


@dataclass(frozen=True)
class Facts:
    """What AWS has: tagged things and what hangs on them, health checks, A records."""

    things: tuple[Thing, ...] = ()
    checks: tuple[Thing, ...] = ()
    """All health checks of the account that ask an address."""
    records: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Known:
    """What a state holds."""

    ids: frozenset[str]
    records: frozenset[tuple[str, str, str]]


@dataclass(frozen=True)
class Scope:
    """What is a deployment's own, and where to look for it."""

    deployment: str
    """Its id."""
    regions: frozenset[str]
    zones: frozenset[str]
    domains: frozenset[str] = frozenset()
    hosted_zone_ids: frozenset[str] = frozenset()
    hosted_zone_names: frozenset[str] = frozenset()


def deployment_id(deployment: Mapping[str, Any]) -> str | None:
    """The id that an exported deployment (`pulumi stack export`) keeps; None in an empty one and in an older release's."""
    for each in _resources(deployment):
        if each["type"] == "pulumi:index:Stash" and str(each["urn"]).endswith("::deployment"):
            return cast("str | None", _outputs(each).get("output"))
    return None


def known_to(deployment: Mapping[str, Any]) -> Known:
    """What an exported deployment holds, also of what is yet to be deleted; what was begun and not finished has no id."""
    ids: set[str] = set()
    records: set[tuple[str, str, str]] = set()
    for each in _resources(deployment):
        outputs = _outputs(each)
        if each["type"] == "aws:route53/record:Record":
            if outputs.get("type") == "A":
                zone, name = str(outputs.get("zoneId")), str(outputs.get("name"))
                records.add((zone, name.rstrip("."), str(outputs.get("setIdentifier") or "")))
        elif each["type"] == "aws:ec2/route:Route":
            ids.add(route_id(str(outputs.get("routeTableId")), str(outputs.get("destinationCidrBlock"))))
        elif each.get("id"):
            ids |= {str(each["id"]), str(outputs.get("keyPairId", ""))}
    return Known(frozenset(ids), frozenset(records))


def route_id(table_id: str, destination: str) -> str:
    """AWS has no ids for routes; a table's destination is one's name."""
    return f"{table_id} {destination}"


def scope_of(
    deployment: Mapping[str, Any],
    *,
    zones: Iterable[str],
    domain: str | None,
    hosted_zone: str | None,
    hosted_zone_id: str | None,
) -> Scope | None:
    """What to look for, by a state and by what the config names; None where the state has no id."""
    found = deployment_id(deployment)
    if found is None:
        return None
    resources = _resources(deployment)
    outputs = [_outputs(each) for each in resources]
    of_stack = [_outputs(each) for each in resources if each["type"] == "pulumi:pulumi:Stack"]
    routing: dict[str, Any] = of_stack[0].get("routing") or {} if of_stack else {}
    parsed = _parsed({*zones, *(str(each["availabilityZone"]) for each in outputs if each.get("availabilityZone"))})
    zone_ids = {str(each["zoneId"]) for each in outputs if each.get("zoneId")} | {hosted_zone_id, routing.get("hosted_zone_id")}
    return Scope(
        found,
        frozenset({zone.region for zone in parsed} | {str(each["region"]) for each in outputs if each.get("region")}),
        frozenset(zone.name for zone in parsed),
        frozenset(each for each in (domain, routing.get("domain")) if each),
        frozenset(each for each in zone_ids if each),
        frozenset({hosted_zone} if hosted_zone else ()),
    )


def orphans(scope: Scope, known: Known, facts: Facts) -> tuple[Thing, ...]:
    """Everything that is the deployment's own and not in its state, in the order in which to remove it.

    What goes with another orphan (its association, its routes, its root volume) is not listed beside it.
    """
    tagged = {each.id for each in facts.things if each.deployment == scope.deployment}
    candidates = [
        each for each in facts.things if each.deployment == scope.deployment or (each.on & tagged and not each.deployment)
    ]
    unknown = [each for each in candidates if each.id not in known.ids]
    gone = {each.id for each in unknown}
    found = [each for each in unknown if not (each.goes_with_it and each.on & gone)]

    addresses = {each.address for each in facts.things if each.kind == "address" and each.deployment == scope.deployment}
    mine = [
        each
        for each in facts.checks
        if each.deployment == scope.deployment or (each.deployment is None and each.address in addresses)
    ]
    found += [each for each in mine if each.id not in known.ids]
    checks = {each.id for each in mine} | known.ids
    zones = scope.zones | {each.zone for each in facts.things if each.deployment == scope.deployment}
    found += _orphaned_records(_names(scope, zones), checks, known, facts.records)
    return in_order(found)


def in_order(found: Iterable[Thing]) -> tuple[Thing, ...]:
    """In the order in which AWS lets go of them."""
    return tuple(sorted(found, key=lambda each: (_ORDER.index(each.kind), each.region, each.zone, each.id)))


def described(found: Sequence[Thing]) -> list[dict[str, Any]]:
    """As `--json` prints them."""
    return [
        {"kind": each.kind, "id": each.id, "region": each.region, "zone": each.zone, "dollars_per_hour": each.dollars_per_hour}
        for each in found
    ]


def listed(found: Sequence[Thing]) -> list[str]:
    """Lines for a person: kind, id, zone or Region, and price."""
    rows = [(each.kind, each.id, each.zone or each.region or "-", each.price) for each in found]
    return table(("kind", "id", "zone", "price"), rows, margin="  ")


def _names(scope: Scope, zones: Iterable[str]) -> frozenset[str]:
    parsed = _parsed(zones)
    return frozenset[str]().union(*(possible_names(domain, parsed) for domain in scope.domains))


def _orphaned_records(names: frozenset[str], checks: set[str], known: Known, records: Sequence[Record]) -> Iterator[Thing]:
    """A record of a planned name with our health check; or an alias of a planned name in its own zone, as long as nothing below
    that is another's: names alone do not tell two stacks with one domain apart.
    """

    def is_ours(record: Record, depth: int = 0) -> bool:
        if record.key in known.records:
            return True
        if record.name not in names or depth > len(names):
            return False
        if record.alias_of is None:
            return record.health_check_id in checks
        below = [each for each in records if (each.hosted_zone_id, each.name) == (record.hosted_zone_id, record.alias_of)]
        return record.alias_of in names and all(is_ours(each, depth + 1) for each in below)

    for each in records:
        if each.key not in known.records and is_ours(each):
            name = f"{each.name} A {each.set_identifier}".rstrip()
            yield Thing("record", name, details={"hosted_zone_id": each.hosted_zone_id, "record": each.raw})


def _parsed(zones: Iterable[str]) -> list[Zone]:
    """Zones by name, without what is none."""
    found: list[Zone] = []
    for name in sorted(set(zones)):
        try:
            found.append(parse_zone(name))
        except ValueError:
            continue
    return found


def _resources(deployment: Mapping[str, Any]) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", deployment.get("resources") or [])


def _outputs(resource: Mapping[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", resource.get("outputs") or {})
