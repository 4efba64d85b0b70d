"""What AWS says about a stack's config before the first resource: zones, offers, quotas, addresses, names.

`judge` is pure; `aws_facts.py` asks. Where AWS does not answer, the program says unknown and goes on. What has no API at all is
left out: EBS volume types by zone and the stock of GPUs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from components.certificates import expires_soon
from components.models import ModelFacts, fit_problem, limit_problem
from components.problems import Problem
from components.settings import (
    PROJECT,
    AccessSettings,
    HostSettings,
    RoutingSettings,
    ServerSettings,
    Settings,
    SiteSettings,
    Validated,
)

DEFAULT_RULES_PER_GROUP = 60
"""Inbound rules of a security group where the account's quota L-0EA8095F is not known."""

AMI_PARAMETER = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
"""Driver, Docker and the NVIDIA container toolkit, no framework: enough for a container (aws-facts 3.6)."""

GPU_FAMILIES = ["g*", "vt*"]
"""The instance families that quota L-DB2E81BA counts."""

HEALTH_CHECKERS_WEIGHT = 25
"""How many rules the health checkers' prefix list counts as (aws-facts 2.1); AWS shows no size of its own lists."""

_SET_ROUTING = f"pulumi config set --path {PROJECT}:routing"


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


@dataclass(frozen=True)
class RegionFacts:
    """What AWS says about one parent Region; None is unknown."""

    zones: Mapping[str, ZoneFacts]
    """The zones that exist, of those that were asked for."""
    similar_zones: tuple[str, ...] = ()
    """Names of all zones of the Region."""
    types: Mapping[str, InstanceTypeFacts | None] = field(default_factory=dict[str, InstanceTypeFacts | None])
    """None: AWS knows no such type in this Region."""
    offered: Mapping[str, frozenset[str] | None] = field(default_factory=dict[str, frozenset[str] | None])
    """By instance type, the zones that offer it; None: AWS did not say."""
    vcpu_quota: float | None = None
    vcpus_used: int | None = None
    """By running GPU instances that are not the stack's own planned ones."""
    address_quota: float | None = None
    addresses_used: int | None = None
    """By addresses that are not the stack's own planned ones."""
    rules_per_group: float | None = None
    health_checkers: str | None = None
    """Id of the Route 53 health checkers' prefix list."""
    health_checkers_weight: int = 0
    """How many rules the list counts as."""
    ami: str | None = None
    """The AMI to launch: the pinned one, else the newest Deep Learning AMI; None where AWS knows none."""


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
    """Why the hosted zone could not be found."""
    foreign_records: tuple[str, ...] = ()
    """Address records of the service's name that this program does not make, such as `CNAME`."""


def judge(validated: Validated, facts: AwsFacts, model: ModelFacts) -> list[Problem]:
    """Everything that AWS would refuse of this config, and the model that does not fit; of a config with other problems, as
    far as its parts are well-formed.
    """
    problems = [
        problem
        for index, site in validated.sites.items()
        for problem in _site_problems(index, site, facts.regions[site.parsed_zone.region])
    ]
    for region, sites in validated.regions.items():
        region_facts = facts.regions[region]
        problems += _quota_problems(region, sites, region_facts)
        problems += _ami_problems(validated.host, region, region_facts)
        if validated.access and validated.routing:
            problems += _rule_problems(validated.access, validated.routing, region, region_facts)
    if validated.server:
        problems += _fit_problems(validated, validated.server, facts, model)
    if validated.routing and validated.routing.is_on:
        problems += _name_problems(validated.routing, validated.stack, facts)
    return problems


def warnings(settings: Settings, facts: AwsFacts) -> Iterator[str]:
    """What is not wrong but should be known."""
    if "0.0.0.0/0" in settings.access.client_cidrs:
        yield f"{PROJECT}:access.clientCidrs holds 0.0.0.0/0: everyone on the internet may use the GPUs"
    secrets = settings.secrets
    if secrets.api_key and not settings.endpoint.tls:
        yield f"{PROJECT}:apiKey travels in clear with every request, since {PROJECT}:endpoint.tls is false"
    if settings.endpoint.tls and secrets.tls_certificate:
        end = expires_soon(secrets.tls_certificate.get_secret_value(), datetime.now(UTC))
        if end:
            yield f"{PROJECT}:tlsCertificate expires on {end:%Y-%m-%d}; the sites answer nobody from then on"
    for region, region_facts in facts.regions.items():
        unknown = {
            "the vCPU quota for G and VT instances (L-DB2E81BA)": region_facts.vcpu_quota,
            "the Elastic IP quota (L-0263D0A3)": region_facts.address_quota,
            "the number of vCPUs in use": region_facts.vcpus_used,
            "the number of Elastic IPs in use": region_facts.addresses_used,
        }
        for what, value in unknown.items():
            if value is None:
                yield f"{what} of {region} is unknown: AWS did not answer; a launch may be refused"
        for instance_type, zones in region_facts.offered.items():
            if zones is None:
                yield f"whether {region}'s zones offer {instance_type} is unknown: AWS did not answer; a launch may be refused"


def _site_problems(index: int, site: SiteSettings, facts: RegionFacts) -> Iterator[Problem]:
    path = f"{PROJECT}:sites[{index}]"
    zone = facts.zones.get(site.zone)
    if zone is None:
        known = ", ".join(sorted(name for name in facts.similar_zones)) or "none that this account can see"
        yield Problem(
            f"{path}.zone",
            f'"{site.zone}"',
            f"AWS knows no such zone in {site.parsed_zone.region}; it has {known}",
            f"pulumi config set --path '{path}.zone' ZONE",
        )
        return
    if not zone.opted_in and not site.opt_in:
        yield Problem(
            f"{path}.zone",
            f'"{site.zone}"',
            f"the account is not opted in to the zone group {zone.group}",
            f"aws ec2 modify-availability-zone-group --region {site.parsed_zone.region} --group-name {zone.group} "
            f"--opt-in-status opted-in\npulumi config set --path '{path}.optIn' true   # or let the program do it",
        )
    instance_type = facts.types.get(site.instance_type)
    if instance_type is None:
        yield Problem(
            f"{path}.instanceType",
            f'"{site.instance_type}"',
            f"AWS knows no such instance type in {site.parsed_zone.region}",
            f"pulumi config set --path '{path}.instanceType' g4dn.2xlarge",
        )
    elif not instance_type.gpus:
        yield Problem(
            f"{path}.instanceType",
            f'"{site.instance_type}"',
            "has no GPU, and the model is served from one",
            f"pulumi config set --path '{path}.instanceType' g4dn.2xlarge",
        )
    elif zone.opted_in and not _may_be_offered(site.instance_type, site.zone, facts):
        offering = ", ".join(sorted(name for name, zones in facts.offered.items() if zones and site.zone in zones))
        hint = f"; of the types in this config it offers {offering}" if offering else ""
        yield Problem(
            f"{path}.instanceType",
            f'"{site.instance_type}"',
            f"is not offered in {site.zone}{hint}",
            f"aws ec2 describe-instance-type-offerings --region {site.parsed_zone.region} --location-type availability-zone "
            f"--filters Name=location,Values={site.zone}   # lists what is",
        )


def _may_be_offered(instance_type: str, zone: str, facts: RegionFacts) -> bool:
    zones = facts.offered.get(instance_type)
    return zones is None or zone in zones


def _quota_problems(region: str, sites: list[SiteSettings], facts: RegionFacts) -> Iterator[Problem]:
    types = [(site, facts.types.get(site.instance_type)) for site in sites]
    vcpus = sum(site.replicas * known.vcpus for site, known in types if known)
    if facts.vcpu_quota is not None and vcpus + (facts.vcpus_used or 0) > facts.vcpu_quota:
        yield _quota_problem(
            region, f"{vcpus} vCPUs", facts.vcpus_used, facts.vcpu_quota,
            "Running On-Demand G and VT instances", "ec2", "L-DB2E81BA", vcpus + (facts.vcpus_used or 0),
        )  # fmt: skip
    addresses = sum(site.replicas for site in sites)
    if facts.address_quota is not None and addresses + (facts.addresses_used or 0) > facts.address_quota:
        yield _quota_problem(
            region, f"{addresses} Elastic IP addresses", facts.addresses_used, facts.address_quota,
            "EC2-VPC Elastic IPs", "ec2", "L-0263D0A3", addresses + (facts.addresses_used or 0),
        )  # fmt: skip


def _quota_problem(  # noqa: PLR0913, PLR0917 - the parts of one sentence
    region: str, needs: str, used: int | None, quota: float, name: str, service: str, code: str, wanted: int
) -> Problem:
    return Problem(
        f"{PROJECT}:sites",
        None,
        f"the sites of {region} need {needs}; the account uses {used or 0} otherwise and its quota '{name}' is {quota:g} "
        "(Local Zones count towards their Region)",
        f"aws service-quotas request-service-quota-increase --region {region} --service-code {service} "
        f"--quota-code {code} --desired-value {wanted}",
    )


def _ami_problems(host: HostSettings | None, region: str, facts: RegionFacts) -> Iterator[Problem]:
    if facts.ami is not None or not facts.zones:
        return
    pinned = host.amis.get(region) if host else None
    yield Problem(
        f"{PROJECT}:host.amis.{region}",
        f'"{pinned}"' if pinned else None,
        f"AWS knows no {'such AMI' if pinned else 'Deep Learning AMI under its public parameter'} in this Region",
        f"pulumi config set --path edge-inference:host.amis.{region} ami-...",
    )


def _fit_problems(validated: Validated, server: ServerSettings, facts: AwsFacts, model: ModelFacts) -> Iterator[Problem]:
    for site in {site.instance_type: site for site in validated.sites.values()}.values():
        known = facts.regions[site.parsed_zone.region].types.get(site.instance_type)
        if known and known.gpus:
            judged = [judge(server, model, site.instance_type, known.gpu_mib) for judge in (fit_problem, limit_problem)]
            yield from filter(None, judged)


def smallest_gpu_mib(settings: Settings, facts: AwsFacts) -> int | None:
    """Memory of the smallest GPU that any site has, in MiB; None where AWS does not say."""
    types = [facts.regions[site.parsed_zone.region].types.get(site.instance_type) for site in settings.sites]
    return min((known.gpu_mib for known in types if known and known.gpus), default=None)


def _name_problems(routing: RoutingSettings, stack: str, facts: AwsFacts) -> Iterator[Problem]:
    """The hosted zone is there, or free to be created; and the name belongs to nobody else (else InvalidChangeBatch)."""
    problem = (_new_zone_problem if routing.create_hosted_zone else _zone_problem)(routing, stack, facts)
    if problem:
        yield problem
    if facts.foreign_records:
        yield Problem(
            f"{PROJECT}:routing.domain",
            f'"{routing.domain}"',
            f"has records that this program does not make: {', '.join(facts.foreign_records)}; Route 53 refuses one beside them",
            f"{_SET_ROUTING}.domain A-NAME-OF-ITS-OWN\n"
            f"{_SET_ROUTING}.policy none && pulumi up -s {stack}   # or, where an earlier version made them in this stack;\n"
            f"{_SET_ROUTING}.policy {routing.policy} && pulumi up -s {stack}   # between the two the name does not answer",
        )


def _zone_problem(routing: RoutingSettings, _stack: str, facts: AwsFacts) -> Problem | None:
    key, value = ("hostedZone", routing.hosted_zone) if routing.hosted_zone else ("hostedZoneId", routing.hosted_zone_id)
    path, found, zone = f"{PROJECT}:routing.{key}", f'"{value}"', facts.hosted_zone
    if zone is None:
        return Problem(
            path,
            found,
            f"no public hosted zone {'of this name' if routing.hosted_zone else 'with this id'} in the account: "
            f"{facts.hosted_zone_trouble}",
            f"{_SET_ROUTING}.createHostedZone true\n"
            f"aws route53 list-hosted-zones && {_SET_ROUTING}.hostedZoneId Z...   # or, where there are several of one name",
        )
    if zone.is_private:
        return Problem(
            path,
            found,
            f"{zone.name} is a private zone, which the internet does not see",
            f"{_SET_ROUTING}.hostedZone YOUR.DOMAIN",
        )
    if routing.domain != zone.name and not str(routing.domain).endswith(f".{zone.name}"):
        return Problem(
            path, found, f"is {zone.name}, in which the domain {routing.domain} does not lie",
            f"{_SET_ROUTING}.domain llm.{zone.name}",
        )  # fmt: skip
    return None


def _new_zone_problem(routing: RoutingSettings, stack: str, facts: AwsFacts) -> Problem | None:
    """A second zone of one name would be created without a word, and nobody would ask it."""
    if facts.hosted_zone is None or facts.hosted_zone.stack == stack:
        return None
    return Problem(
        f"{PROJECT}:routing.createHostedZone",
        "true",
        f"the account has a public hosted zone {routing.hosted_zone} already ({facts.hosted_zone.id}), and resolvers ask only "
        "the one that its parent domain delegates to",
        f"{_SET_ROUTING}.createHostedZone false",
    )


def _rule_problems(access: AccessSettings, routing: RoutingSettings, region: str, facts: RegionFacts) -> Iterator[Problem]:
    checkers = facts.health_checkers_weight if routing.is_on else 0
    if routing.is_on and facts.health_checkers is None and facts.zones:
        yield Problem(
            f"{PROJECT}:routing.policy",
            f'"{routing.policy}"',
            f"AWS shows no prefix list com.amazonaws.{region}.route53-healthchecks; Route 53 could not check the sites",
            "pulumi config set --path edge-inference:routing.policy none",
        )
    quota = facts.rules_per_group or DEFAULT_RULES_PER_GROUP
    clients, ssh = len(access.client_cidrs), len(access.ssh_cidrs)
    if clients + ssh + checkers > quota:
        yield Problem(
            f"{PROJECT}:access.clientCidrs",
            f"{clients} networks",
            f"a security group takes {quota:g} inbound rules in {region}; {ssh} for SSH and {checkers} for Route 53's health "
            f"checkers leave room for {max(int(quota) - ssh - checkers, 0)} client networks",
            f"aws service-quotas request-service-quota-increase --region {region} --service-code vpc "
            f"--quota-code L-0EA8095F --desired-value {clients + ssh + checkers}   # or merge networks",
        )
