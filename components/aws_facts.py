"""What AWS is asked about a stack's config, and what it says: the one place for both.

`gather` asks through Lookups: the program through the engine's provider (provider_lookups.py), `edge doctor` with boto3
(automation/account/questions.py). These only carry questions and answers; which are asked, and how they count, stands here.
Nothing here judges: preflight.py does. What has no API at all is left out: EBS volume types by zone and the stock of GPUs.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from components.defaults import AMI_PARAMETER
from components.dns_plan import Replica, service_targets
from components.settings import HostSettings, SiteSettings, Validated
from components.tags import REPLICA_TAG, STACK_TAG

GPU_FAMILIES = ("g*", "vt*")
"""The instance families that quota L-DB2E81BA counts."""

HEALTH_CHECKERS_WEIGHT = 25
"""How many rules the health checkers' prefix list counts as (aws-facts 2.1); AWS shows no size of its own lists."""

_RUNNING = ("pending", "running")
_ANSWERED = re.compile(
    r"InvalidInstanceType|ParameterNotFound|NoSuchHostedZone|no matching |multiple .* matched|no results|couldn't find resource"
    r"|invalid AWS Region"
)
"""What an error says where AWS did answer: there is none, or there are several. The first are AWS's own codes, the others the
words of the AWS provider for an empty answer."""
_DENIED = re.compile(r"not authorized to perform: (?P<action>[\w-]+:\w+)")
_OPERATION = re.compile(r"(?:operation error [\w ]+: |when calling the )(?P<action>\w+)")
"""Names what was called, as the SDKs of Go and Python do."""
_WRAPPED = re.compile(r"^\s*\* |^(?:invoke of \S+ failed: |invocation of \S+ returned an error: )+|\s*\(\)$")
"""What Pulumi puts around a lookup's error."""
_Answer = TypeVar("_Answer")

Filters = Mapping[str, Sequence[str]]
"""EC2's filters: values by name."""


@dataclass(frozen=True)
class ZoneFacts:
    """A zone as AWS describes it."""

    group: str
    border_group: str
    """The network border group that an address for this zone must carry."""
    is_local: bool
    opted_in: bool


@dataclass(frozen=True)
class InstanceTypeFacts:
    """An instance type as AWS describes it."""

    vcpus: int
    gpus: int
    gpu_mib: int
    """Memory of one GPU in MiB."""
    gpu: str = ""
    """The GPU's name, such as T4; empty where there is none, or AWS does not say."""
    architectures: frozenset[str] = frozenset()
    """Of its processors, such as x86_64; empty where AWS does not say."""


@dataclass(frozen=True)
class RegionFacts:
    """What AWS says about one parent Region. None is: AWS has none, or did not say; `unknown` tells which."""

    zones: Mapping[str, ZoneFacts]
    """The zones that exist, of those that were asked for."""
    similar_zones: tuple[str, ...] = ()
    """Names of all zones of the Region, sorted."""
    types: Mapping[str, InstanceTypeFacts | None] = field(default_factory=dict[str, InstanceTypeFacts | None])
    offered: Mapping[str, frozenset[str] | None] = field(default_factory=dict[str, frozenset[str] | None])
    """By instance type, the zones that offer it."""
    silent_zones: frozenset[str] = frozenset()
    """Zones of groups that are not opted in, of which AWS names no offer of any type: then it says nothing about them before."""
    vcpu_quota: float | None = None
    vcpus_used: int | None = None
    """By running On-Demand GPU instances that are not the stack's own planned ones."""
    address_quota: float | None = None
    addresses_used: int | None = None
    """By addresses that are not the stack's own planned ones."""
    rules_per_group: float | None = None
    health_checkers: str | None = None
    """Id of the Route 53 health checkers' prefix list."""
    health_checkers_weight: int = 0
    """How many rules the list counts as."""
    ami: str | None = None
    """The AMI to launch: the pinned one, else the newest Deep Learning AMI."""
    unknown: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why AWS did not say what it was asked: by field, `zones`, or with the type's name behind it, `types g4dn.2xlarge`."""


@dataclass(frozen=True)
class HostedZoneFacts:
    """A hosted zone as AWS describes it."""

    id: str
    name: str
    is_private: bool = False
    stack: str | None = None
    """The stack that created it."""


@dataclass(frozen=True)
class AwsFacts:
    """What AWS says."""

    regions: Mapping[str, RegionFacts]
    hosted_zone: HostedZoneFacts | None = None
    hosted_zone_trouble: str | None = None
    """Why there is no such hosted zone, or not one alone; in AWS's words."""
    foreign_records: tuple[str, ...] = ()
    """Address records of the service's name that this program does not make, such as `CNAME`."""
    unknown: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why AWS did not say what it was asked: by field, `hosted_zone` or `foreign_records`."""


@dataclass(frozen=True)
class PrefixList:
    """A managed prefix list."""

    id: str
    max_entries: int | None


@dataclass(frozen=True)
class NamedRecord:
    """A record set of a hosted zone, as far as it is asked for."""

    type: str
    set_identifier: str
    alias_target: str


class Lookups(Protocol):
    """Carries single questions to AWS. Each raises an exception with AWS's words where there is no answer, or none of what
    was asked for.
    """

    def zone_names(self, region: str) -> Sequence[str]:
        """All zones of a Region, those too that the account is not opted in to."""
        ...

    def zone(self, region: str, name: str) -> ZoneFacts:
        """A zone, opted in or not."""
        ...

    def instance_type(self, region: str, name: str) -> InstanceTypeFacts:
        """An instance type."""
        ...

    def offering_zones(self, region: str, filters: Filters) -> frozenset[str]:
        """The zones that have offers which match."""
        ...

    def instances(self, region: str, filters: Filters, states: Sequence[str]) -> frozenset[str]:
        """Ids of the instances in these states that match."""
        ...

    def type_of_instance(self, region: str, instance_id: str) -> str:
        """An instance's type."""
        ...

    def addresses(self, region: str, filters: Filters) -> frozenset[str]:
        """Allocation ids of the Elastic IPs that match."""
        ...

    def quota(self, region: str, service: str, code: str) -> float:
        """The account's value of a quota."""
        ...

    def prefix_list(self, region: str, name: str) -> PrefixList:
        """A managed prefix list."""
        ...

    def image(self, region: str, filters: Filters, *, include_deprecated: bool) -> str:
        """The id of the one AMI that matches."""
        ...

    def parameter(self, region: str, name: str) -> str:
        """The value of a public SSM parameter."""
        ...

    def hosted_zone_by_id(self, zone_id: str) -> HostedZoneFacts:
        """A hosted zone."""
        ...

    def public_hosted_zone(self, name: str) -> HostedZoneFacts:
        """The one public hosted zone of a name."""
        ...

    def records(self, zone_id: str, name: str) -> Sequence[NamedRecord]:
        """The record sets of a name."""
        ...


class _Asked:
    """Asks, and keeps why there was no answer."""

    def __init__(self) -> None:
        self.unknown: dict[str, str] = {}
        self.trouble: dict[str, str] = {}
        """What AWS said where there is none of what was asked for."""

    def answer(self, what: str, ask: Callable[[], _Answer]) -> _Answer | None:
        """What AWS answers; None where it has none, or (then it stands in `unknown`) did not say."""
        try:
            return ask()
        # The provider's lookups raise bare Exceptions. A missing permission must not keep a stack from being deployed.
        except Exception as error:
            text = str(error)
            (self.trouble if _ANSWERED.search(text) else self.unknown)[what] = because(text)
            return None


def because(error: str) -> str:
    """The reason in an error's text: the missing permission with its action where it is that, else AWS's own last words."""
    denied = _DENIED.search(error)
    if denied is None and re.search("Unauthorized|AccessDenied", error):
        denied = _OPERATION.search(error)
    if denied:
        return f"the credentials lack the permission {denied['action']}"
    lines = [_WRAPPED.sub("", line).strip() for line in error.splitlines()]
    return next((line for line in reversed(lines) if line), "AWS did not answer")


def gather(
    validated: Validated, aws: Lookups, each: Callable[[Callable[[str], RegionFacts], Iterable[str]], Iterable[RegionFacts]] = map
) -> AwsFacts:
    """All that AWS can say about the well-formed parts of a config. `each` maps over the Regions, one by one or at once."""
    names = list(validated.regions)
    regions = dict(zip(names, each(lambda region: _region(region, validated, aws), names), strict=True))
    routing = validated.routing
    if routing is None or not routing.is_on:
        return AwsFacts(regions)
    asked, zone_id, name = _Asked(), routing.hosted_zone_id, str(routing.hosted_zone)
    zone = asked.answer("hosted_zone", lambda: aws.hosted_zone_by_id(zone_id) if zone_id else aws.public_hosted_zone(name))
    domain = str(routing.domain)
    records = asked.answer("foreign_records", lambda: aws.records(zone.id, domain)) if zone else None
    return AwsFacts(regions, zone, asked.trouble.get("hosted_zone"), _foreign(records or (), domain), asked.unknown)


def planned_replicas(sites: Sequence[SiteSettings]) -> list[Replica]:
    """Every replica that a config asks for."""
    return [Replica(site.parsed_zone, number) for site in sites for number in range(1, site.replicas + 1)]


def _region(region: str, validated: Validated, aws: Lookups) -> RegionFacts:
    sites, asked = validated.regions[region], _Asked()
    names = asked.answer("zones", lambda: aws.zone_names(region))
    if names is None:
        return RegionFacts(zones={}, unknown=asked.unknown)
    zones = {
        site.zone: asked.answer("zones", lambda zone=site.zone: aws.zone(region, zone)) for site in sites if site.zone in names
    }
    types = {
        name: asked.answer(f"types {name}", lambda name=name: aws.instance_type(region, name))
        for name in sorted({name for site in sites for name in site.types})
    }
    closed = frozenset(name for name, zone in zones.items() if zone and not zone.opted_in)
    talkative = asked.answer("silent_zones", lambda: aws.offering_zones(region, {"location": sorted(closed)})) if closed else None
    is_routed = validated.routing is None or validated.routing.is_on
    checkers = asked.answer("health_checkers", lambda: aws.prefix_list(region, checkers_list(region))) if is_routed else None
    own = {f"tag:{STACK_TAG}": [validated.stack], f"tag:{REPLICA_TAG}": [replica.key for replica in planned_replicas(sites)]}
    return RegionFacts(
        zones={name: zone for name, zone in zones.items() if zone},
        similar_zones=tuple(sorted(names)),
        types=types,
        offered={
            name: asked.answer(f"offered {name}", lambda name=name: aws.offering_zones(region, {"instance-type": [name]}))
            for name, facts in types.items()
            if facts or f"types {name}" in asked.unknown
        },
        silent_zones=closed - (talkative or frozenset()),
        vcpu_quota=asked.answer("vcpu_quota", lambda: aws.quota(region, "ec2", "L-DB2E81BA")),
        vcpus_used=asked.answer("vcpus_used", lambda: _vcpus_of_others(region, own, aws)),
        address_quota=asked.answer("address_quota", lambda: aws.quota(region, "ec2", "L-0263D0A3")),
        addresses_used=asked.answer("addresses_used", lambda: len(aws.addresses(region, {}) - aws.addresses(region, own))),
        rules_per_group=asked.answer("rules_per_group", lambda: aws.quota(region, "vpc", "L-0EA8095F")),
        health_checkers=checkers.id if checkers else None,
        health_checkers_weight=(checkers.max_entries or HEALTH_CHECKERS_WEIGHT) if checkers else 0,
        ami=asked.answer("ami", lambda: _ami(region, validated.host, aws)),
        unknown=asked.unknown,
    )


def checkers_list(region: str) -> str:
    """The name of the prefix list of Route 53's health checkers."""
    return f"com.amazonaws.{region}.route53-healthchecks"


def _vcpus_of_others(region: str, own: Filters, aws: Lookups) -> int:
    """VCPUs of the Region's running G and VT instances, without those of this stack's planned replicas, and without spot
    instances, which have a quota of their own (L-3819A6DF).
    """
    counted = {"instance-type": GPU_FAMILIES}
    found = aws.instances(region, counted, _RUNNING)
    for left_out in ({"instance-lifecycle": ["spot"]}, own):
        found -= aws.instances(region, {**counted, **left_out}, _RUNNING) if found else frozenset()
    types = [aws.type_of_instance(region, instance_id) for instance_id in found]
    vcpus = {name: aws.instance_type(region, name).vcpus for name in set(types)}
    return sum(vcpus[name] for name in types)


def _ami(region: str, host: HostSettings | None, aws: Lookups) -> str:
    pinned = host.amis.get(region) if host else None
    if pinned is None:
        return aws.parameter(region, AMI_PARAMETER)
    # AWS hides others' deprecated AMIs from such a query, and launches them all the same.
    return aws.image(region, {"image-id": [pinned]}, include_deprecated=True)


def _foreign(records: Iterable[NamedRecord], domain: str) -> tuple[str, ...]:
    """The address records of a name other than this program's one alias."""
    found: set[str] = set()
    for record in records:
        target = record.alias_target.removesuffix(".")
        is_ours = record.type == "A" and not record.set_identifier and target in service_targets(domain)
        if record.type in {"A", "AAAA", "CNAME"} and not is_ours:
            found.add(f"{record.type}{' with a routing policy' if record.set_identifier else ''}")
    return tuple(sorted(found))
