"""What AWS says about a stack's config before the first resource: zones, offers, quotas, addresses, names.

`judge` is pure; `aws_facts.py` asks. What AWS did not say is unknown, because of this or that: a warning, and a refusal only
where the program cannot go on without it; never what a missing permission might be mistaken for.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from components.aws_facts import HEALTH_CHECKERS_WEIGHT, AwsFacts, InstanceTypeFacts, RegionFacts, ZoneFacts, checkers_list
from components.certificates import expires_soon
from components.defaults import INSTANCE_TYPE
from components.gpu_memory import fit_problem, limit_problem
from components.model_support import support_problems
from components.models import ModelFacts
from components.problems import Problem
from components.remedies import ENVIRONMENT, set_line, unset_line
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
_AMI_ARCHITECTURE = "x86_64"
"""Of the Deep Learning AMI (defaults.AMI_PARAMETER) and of the engines' images."""

ASKED_OF_REGIONS = {
    "zones": "which zones there are",
    "types": "what {} has",
    "offered": "which zones offer {}",
    "silent_zones": "what zones offer to which the account is not opted in",
    "vcpu_quota": "the vCPU quota for G and VT instances (L-DB2E81BA)",
    "vcpus_used": "the number of vCPUs in use",
    "address_quota": "the Elastic IP quota (L-0263D0A3)",
    "addresses_used": "the number of Elastic IPs in use",
    "rules_per_group": f"the quota of rules per security group (L-0EA8095F; {DEFAULT_RULES_PER_GROUP} are assumed)",
    "health_checkers": "the prefix list of Route 53's health checkers",
    "ami": "the AMI",
}
"""What stands unknown in RegionFacts, in words; {} is the instance type."""
ASKED_OF_ACCOUNT = {"hosted_zone": "the hosted zone", "foreign_records": "what records of others stand at the service's name"}

_LOOK = "aws sts get-caller-identity   # who asks; docs/operations/iam-policy.json holds all permissions that are needed"


_UP = f"edge up {ENVIRONMENT}"


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
        if "zones" in region_facts.unknown:
            problems.append(_unknown_zones(region, sites, region_facts))
        problems += _quota_problems(region, sites, region_facts)
        problems += _ami_problems(validated.host, region, region_facts)
        if validated.routing and validated.routing.is_on:
            problems += _checker_problems(validated.routing, region, region_facts)
        if validated.access:
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
    if secrets.all_api_keys and not settings.endpoint.tls:
        yield f"{PROJECT}:apiKey travels in clear with every request, since {PROJECT}:endpoint.tls is false"
    if settings.endpoint.tls and secrets.tls_certificate:
        end = expires_soon(secrets.tls_certificate.get_secret_value(), datetime.now(UTC))
        if end:
            renew = f"edge certificate {settings.stack}"
            yield f"{PROJECT}:tlsCertificate expires on {end:%Y-%m-%d}; the sites answer nobody from then on: {renew}"
    yield from _opt_in_warnings(settings, facts)
    for region, region_facts in facts.regions.items():
        for asked, because in region_facts.unknown.items():
            what, _, instance_type = asked.partition(" ")
            yield f"{region}: {ASKED_OF_REGIONS[what].format(instance_type)}: unknown, because {because}; a launch may be refused"
    for asked, because in facts.unknown.items():
        yield f"{ASKED_OF_ACCOUNT[asked]}: unknown, because {because}; Route 53 may refuse records"


def _opt_in_warnings(settings: Settings, facts: AwsFacts) -> Iterator[str]:
    opted_in_now = {
        zone.group: site.parsed_zone.region
        for site in settings.sites
        if (zone := facts.regions[site.parsed_zone.region].zones.get(site.zone)) and site.opt_in and not zone.opted_in
    }
    for group, region in opted_in_now.items():
        yield (
            f"{region}: this deployment opts the account in to the zone group {group}. It cannot be undone here: the opt-in "
            "stays after destroy, and only AWS Support takes it back"
        )


def _site_problems(index: int, site: SiteSettings, facts: RegionFacts) -> Iterator[Problem]:
    path = f"{PROJECT}:sites[{index}]"
    zone = facts.zones.get(site.zone)
    if zone is None:
        if "zones" not in facts.unknown:
            known = ", ".join(sorted(facts.similar_zones)) or "none that this account can see"
            yield Problem(
                f"{path}.zone",
                f'"{site.zone}"',
                f"AWS knows no such zone in {site.parsed_zone.region}; it has {known}",
                set_line(f"{path}.zone", "ZONE"),
            )
        return
    if not zone.opted_in and not site.opt_in:
        yield Problem(
            f"{path}.zone",
            f'"{site.zone}"',
            f"the account is not opted in to the zone group {zone.group}",
            f"aws ec2 modify-availability-zone-group --region {site.parsed_zone.region} --group-name {zone.group} "
            "--opt-in-status opted-in   # for good: only AWS Support takes it back\n"
            f"{set_line(f'{path}.optIn', 'true')}   # or let the program do it",
        )
    yield from _type_problems(path, site, zone, facts)


def _typed_paths(path: str, site: SiteSettings) -> Iterator[tuple[str, str, str]]:
    """Key path, instance type, and the line that puts another there or takes it away, for each type that a site may have."""
    for key, name in site.type_keys.items():
        is_only = len(site.types) == 1
        where = f"{path}.{key}"
        yield where, name, set_line(where, INSTANCE_TYPE) if is_only else unset_line(where)


def _type_problems(path: str, site: SiteSettings, zone: ZoneFacts, facts: RegionFacts) -> Iterator[Problem]:
    for key, name, mend in _typed_paths(path, site):
        known, asked = facts.types.get(name), f'"{name}"'
        if known is None and f"types {name}" not in facts.unknown:
            yield Problem(key, asked, f"AWS knows no such instance type in {site.parsed_zone.region}", mend)
        elif known and (reason := _unfit(known)):
            yield Problem(key, asked, reason, mend)
        elif not zone.opted_in and (site.zone in facts.silent_zones or facts.offered.get(name) is None):
            if site.opt_in is True:
                yield _blind_opt_in(path, site, zone)
                return
        elif not _may_be_offered(name, site.zone, facts):
            offering = ", ".join(sorted(each for each, zones in facts.offered.items() if zones and site.zone in zones))
            hint = f"; of the types in this config it offers {offering}" if offering else ""
            look = (
                f"aws ec2 describe-instance-type-offerings --region {site.parsed_zone.region} --location-type availability-zone "
                f"--filters Name=location,Values={site.zone}   # lists what is"
            )
            yield Problem(key, asked, f"is not offered in {site.zone}{hint}", f"{mend}\n{look}")


def _unfit(known: InstanceTypeFacts) -> str | None:
    """Why a type can serve no model."""
    if not known.gpus:
        return "has no GPU, and the model is served from one"
    if known.architectures and _AMI_ARCHITECTURE not in known.architectures:
        return f"has {', '.join(sorted(known.architectures))} processors, and AMI and engine images are for {_AMI_ARCHITECTURE}"
    if known.gpu.startswith("Radeon"):
        return f"has an AMD GPU ({known.gpu}), and the engines' images need one of NVIDIA"
    return None


def _blind_opt_in(path: str, site: SiteSettings, zone: ZoneFacts) -> Problem:
    return Problem(
        f"{path}.optIn",
        "true",
        f"whether {site.zone} offers {site.instance_type} is unknown: AWS does not say before the opt-in to {zone.group}, which "
        "cannot be undone",
        f"{set_line(f'{path}.optIn', 'anyway')}   # for good; `edge zones` tells whether AWS had a price for it there",
    )


def _unknown_zones(region: str, sites: list[SiteSettings], facts: RegionFacts) -> Problem:
    return Problem(
        f"{PROJECT}:sites",
        ", ".join(site.zone for site in sites),
        f"which zones {region} has is unknown, because {facts.unknown['zones']}; without it no address can be had in them",
        _LOOK,
    )


def _may_be_offered(instance_type: str, zone: str, facts: RegionFacts) -> bool:
    zones = facts.offered.get(instance_type)
    return zones is None or zone in zones


def _quota_problems(region: str, sites: list[SiteSettings], facts: RegionFacts) -> Iterator[Problem]:
    vcpus = sum(_vcpus(site, site.instance_type, facts) for site in sites)
    if problem := _vcpu_problem(region, vcpus, f"the sites of {region}", facts):
        yield problem
    else:
        for site in sites:
            for name in site.types[1:]:
                instead = vcpus - _vcpus(site, site.instance_type, facts) + _vcpus(site, name, facts)
                whose = f"with {name} in {site.zone}, the sites of {region}"
                if problem := _vcpu_problem(region, instead, whose, facts):
                    yield problem
    addresses = sum(site.replicas for site in sites)
    if facts.address_quota is not None and addresses + (facts.addresses_used or 0) > facts.address_quota:
        yield _quota_problem(
            region, f"the sites of {region}", f"{addresses} Elastic IP addresses", facts.addresses_used, facts.address_quota,
            "EC2-VPC Elastic IPs", "ec2", "L-0263D0A3", addresses + (facts.addresses_used or 0),
        )  # fmt: skip


def _vcpus(site: SiteSettings, instance_type: str, facts: RegionFacts) -> int:
    known = facts.types.get(instance_type)
    return site.replicas * known.vcpus if known else 0


def _vcpu_problem(region: str, vcpus: int, whose: str, facts: RegionFacts) -> Problem | None:
    wanted = vcpus + (facts.vcpus_used or 0)
    if facts.vcpu_quota is None or wanted <= facts.vcpu_quota:
        return None
    return _quota_problem(
        region, whose, f"{vcpus} vCPUs", facts.vcpus_used, facts.vcpu_quota,
        "Running On-Demand G and VT instances", "ec2", "L-DB2E81BA", wanted,
    )  # fmt: skip


def _quota_problem(  # noqa: PLR0913, PLR0917 - the parts of one sentence
    region: str, whose: str, needs: str, used: int | None, quota: float, name: str, service: str, code: str, wanted: int
) -> Problem:
    return Problem(
        f"{PROJECT}:sites",
        None,
        f"{whose} need {needs}; the account uses {used or 0} otherwise and its quota '{name}' is {quota:g} "
        "(Local Zones count towards their Region)",
        f"aws service-quotas request-service-quota-increase --region {region} --service-code {service} "
        f"--quota-code {code} --desired-value {wanted}",
    )


def _ami_problems(host: HostSettings | None, region: str, facts: RegionFacts) -> Iterator[Problem]:
    if facts.ami is not None or not facts.zones:
        return
    pinned = host.amis.get(region) if host else None
    if "ami" in facts.unknown:
        if not pinned:
            yield Problem(
                f"{PROJECT}:host.amis.{region}",
                None,
                f"the newest Deep Learning AMI of this Region is unknown, because {facts.unknown['ami']}",
                f"{_LOOK}\n{set_line(f'host.amis.{region}', 'AMI')}   # or name one: ami-...",
            )
        return
    yield Problem(
        f"{PROJECT}:host.amis.{region}",
        f'"{pinned}"' if pinned else None,
        f"AWS knows no {'such AMI' if pinned else 'Deep Learning AMI under its public parameter'} in this Region",
        f"{set_line(f'host.amis.{region}', 'AMI')}   # ami-...",
    )


def _fit_problems(validated: Validated, server: ServerSettings, facts: AwsFacts, model: ModelFacts) -> Iterator[Problem]:
    """The model against each type, once: the types in use first, whose problems are the model's."""
    judged: set[str] = set()
    for site in validated.sites.values():
        if site.instance_type not in judged:
            judged.add(site.instance_type)
            yield from _model_problems(site, site.instance_type, server, facts, model)
    for index, site in validated.sites.items():
        for key, name, mend in list(_typed_paths(f"{PROJECT}:sites[{index}]", site))[1:]:
            if name in judged:
                continue
            for problem in _model_problems(site, name, server, facts, model):
                yield Problem(key, f'"{name}"', f"{server.model} {problem.reason}", mend)


def _model_problems(
    site: SiteSettings, name: str, server: ServerSettings, facts: AwsFacts, model: ModelFacts
) -> Iterator[Problem]:
    known = facts.regions[site.parsed_zone.region].types.get(name)
    if known is None or _unfit(known):
        return
    yield from support_problems(server, model, name, known.gpu)
    problem = fit_problem(server, model, name, known.gpu_mib, known.gpus) or limit_problem(server, model, name, known.gpu_mib)
    if problem:
        yield problem


def gpus_in_use(settings: Settings, facts: AwsFacts) -> dict[str, str]:
    """The GPU of each instance type in use, as far as AWS says."""
    types = {site.instance_type: facts.regions[site.parsed_zone.region].types.get(site.instance_type) for site in settings.sites}
    return {name: known.gpu for name, known in types.items() if known}


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
            f"{set_line('routing.domain', 'A-NAME-OF-ITS-OWN')}\n"
            f"{set_line('routing.policy', 'none')} && {_UP}   # or, where an earlier version made them in this stack;\n"
            f"{set_line('routing.policy', routing.policy)} && {_UP}   # between the two the name does not answer",
        )


def _zone_problem(routing: RoutingSettings, _stack: str, facts: AwsFacts) -> Problem | None:
    key, value = ("hostedZone", routing.hosted_zone) if routing.hosted_zone else ("hostedZoneId", routing.hosted_zone_id)
    path, found, zone = f"{PROJECT}:routing.{key}", f'"{value}"', facts.hosted_zone
    if "hosted_zone" in facts.unknown:
        return Problem(path, found, f"whether the account has it is unknown, because {facts.unknown['hosted_zone']}", _LOOK)
    if zone is None:
        return Problem(
            path,
            found,
            f"no public hosted zone {'of this name' if routing.hosted_zone else 'with this id'} in the account: "
            f"{facts.hosted_zone_trouble}",
            _zone_fix(routing),
        )
    if zone.is_private:
        return Problem(
            path,
            found,
            f"{zone.name} is a private zone, which the internet does not see",
            _zone_fix(routing),
        )
    if routing.domain != zone.name and not str(routing.domain).endswith(f".{zone.name}"):
        return Problem(
            path, found, f"is {zone.name}, in which the domain {routing.domain} does not lie",
            set_line("routing.domain", f"llm.{zone.name}"),
        )  # fmt: skip
    return None


def _zone_fix(routing: RoutingSettings) -> str:
    """The line that leads to a public hosted zone: a new one of the name, or another id."""
    if routing.hosted_zone:
        return f"{set_line('routing.createHostedZone', 'true')}   # makes one of this name"
    return f"{set_line('routing.hostedZoneId', 'ZONE_ID')}   # of one of these: aws route53 list-hosted-zones"


def _new_zone_problem(routing: RoutingSettings, stack: str, facts: AwsFacts) -> Problem | None:
    """A second zone of one name would be created without a word, and nobody would ask it."""
    if facts.hosted_zone is None or facts.hosted_zone.stack == stack:
        return None
    return Problem(
        f"{PROJECT}:routing.createHostedZone",
        "true",
        f"the account has a public hosted zone {routing.hosted_zone} already ({facts.hosted_zone.id}), and resolvers ask only "
        "the one that its parent domain delegates to",
        set_line("routing.createHostedZone", "false"),
    )


def _checker_problems(routing: RoutingSettings, region: str, facts: RegionFacts) -> Iterator[Problem]:
    if facts.health_checkers is not None or not facts.zones:
        return
    name, because = checkers_list(region), facts.unknown.get("health_checkers")
    found = f"the prefix list {name} is unknown, because {because}" if because else f"AWS shows no prefix list {name}"
    yield Problem(
        f"{PROJECT}:routing.policy",
        f'"{routing.policy}"',
        f"{found}; Route 53 could not check the sites",
        f"{_LOOK + chr(10) if because else ''}{set_line('routing.policy', 'none')}",
    )


def _rule_problems(
    access: AccessSettings, routing: RoutingSettings | None, region: str, facts: RegionFacts | None
) -> Iterator[Problem]:
    """More networks than fit; without `routing`, which has problems of its own, users are expected to be led by a name."""
    is_routed = routing is None or routing.is_on
    checkers = (facts.health_checkers_weight if facts else HEALTH_CHECKERS_WEIGHT) if is_routed else 0
    quota = (facts.rules_per_group if facts else None) or DEFAULT_RULES_PER_GROUP
    clients, ssh = len(access.client_cidrs), len(access.ssh_cidrs)
    if clients + ssh + checkers > quota:
        yield Problem(
            f"{PROJECT}:access.clientCidrs",
            f"{clients} networks",
            f"a security group takes {quota:g} inbound rules in {region}{'' if facts else ', unless AWS was asked for more'}; "
            f"{ssh} for SSH and {checkers} for Route 53's health "
            f"checkers leave room for {max(int(quota) - ssh - checkers, 0)} client networks",
            f"aws service-quotas request-service-quota-increase --region {region} --service-code vpc "
            f"--quota-code L-0EA8095F --desired-value {clients + ssh + checkers}   # or merge networks",
        )


def crowded(validated: Validated) -> list[Problem]:
    """More networks than AWS takes of an account that has not asked for more: told beside other problems, before AWS is asked."""
    if not validated.access:
        return []
    access, routing = validated.access, validated.routing
    return [each for region in validated.regions for each in _rule_problems(access, routing, region, None)]
