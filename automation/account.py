"""Asks an AWS account, with boto3, for the facts that components/preflight.py judges: what components/aws_facts.py asks through
the engine's provider, but without a run.

Reads only. Nothing here decides anything; what AWS does not answer stays None, which is unknown.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

from automation.errors import EdgeError
from components.dns_plan import Replica, service_targets
from components.preflight import (
    AMI_PARAMETER,
    GPU_FAMILIES,
    HEALTH_CHECKERS_WEIGHT,
    AwsFacts,
    HostedZoneFacts,
    InstanceTypeFacts,
    RegionFacts,
    ZoneFacts,
)
from components.settings import HostSettings, RoutingSettings, SiteSettings, Validated
from components.tags import REPLICA_TAG, STACK_TAG

_RUNNING = ["pending", "running"]
_DATE = re.compile(r"\b(?:20\d{6}(?:\.\d+)?|20\d\d-\d\d-\d\d)$")
"""How names of AMIs that are built again and again end, such as AWS's Deep Learning AMIs."""

Client = Callable[[str, str], Any]
"""Makes a boto3 client of a service in a Region."""
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Image:
    """An AMI."""

    id: str
    name: str
    created: datetime
    owner: str
    """The account that made it."""

    @property
    def days_old(self) -> int:
        """Whole days since it was made."""
        return (datetime.now(UTC) - self.created).days


def caller(client: Client) -> tuple[str, str]:
    """Account and ARN of the credentials at hand; EdgeError where AWS does not say."""
    try:
        found = client("sts", "us-east-1").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        raise EdgeError(f"AWS does not say whose credentials these are: {error}\n  -> aws sts get-caller-identity") from error
    return str(found["Account"]), str(found["Arn"])


def ask_account(validated: Validated, client: Client) -> AwsFacts:
    """What AWS says about the well-formed parts of a config."""
    with ThreadPoolExecutor(8) as pool:
        asked = {region: pool.submit(_region, region, sites, validated, client) for region, sites in validated.regions.items()}
        regions = {region: each.result() for region, each in asked.items()}
    routing = validated.routing
    if routing is None or not routing.is_on:
        return AwsFacts(regions)
    route53 = client("route53", next(iter(regions), "us-east-1"))
    try:
        zone = _hosted_zone(routing, route53)
    except (BotoCoreError, ClientError, LookupError) as error:
        return AwsFacts(regions, hosted_zone_trouble=str(error))
    return AwsFacts(regions, zone, foreign_records=_foreign_records(route53, zone.id, str(routing.domain)))


def image(client: Client, region: str, image_id: str) -> Image | None:
    """An AMI's name and date; None where AWS does not say."""
    found = _answer(lambda: client("ec2", region).describe_images(ImageIds=[image_id])["Images"][0])
    return None if found is None else _image(found)


def newest_of_kind(client: Client, region: str, one: Image) -> Image | None:
    """The newest AMI of the same owner whose name differs in its date alone: it may be the given one. None where the name
    has no date, or AWS does not say.
    """
    kind, dates = _DATE.subn("*", one.name)
    if not dates:
        return None
    named = [{"Name": "name", "Values": [kind]}, {"Name": "state", "Values": ["available"]}]
    # By owner: anyone may publish an image under another's name.
    found = _answer(lambda: client("ec2", region).describe_images(Owners=[one.owner], Filters=named)["Images"])
    same = [each for each in map(_image, found or []) if _DATE.sub("*", each.name) == kind]
    return max(same, key=lambda each: each.created, default=None)


def _image(found: dict[str, Any]) -> Image:
    created = datetime.fromisoformat(found["CreationDate"])
    made = created if created.tzinfo else created.replace(tzinfo=UTC)
    return Image(found["ImageId"], str(found.get("Name", "")), made, str(found.get("OwnerId", "")))


def _region(region: str, sites: Sequence[SiteSettings], validated: Validated, client: Client) -> RegionFacts:
    ec2, quotas = client("ec2", region), client("service-quotas", region)
    known = _answer(lambda: ec2.describe_availability_zones(AllAvailabilityZones=True)["AvailabilityZones"])
    if known is None:
        return RegionFacts(zones={})
    types = {name: _type_facts(ec2, name) for name in {site.instance_type for site in sites}}
    own = _own_filters(validated.stack, sites)
    checkers = _prefix_list(ec2, region) if validated.routing is None or validated.routing.is_on else None
    return RegionFacts(
        zones={zone["ZoneName"]: _zone_facts(zone) for zone in known if zone["ZoneName"] in {site.zone for site in sites}},
        similar_zones=tuple(zone["ZoneName"] for zone in known),
        types=types,
        offered={name: _offering_zones(ec2, name) for name, facts in types.items() if facts},
        vcpu_quota=_quota(quotas, "ec2", "L-DB2E81BA"),
        vcpus_used=_answer(lambda: _vcpus_of_others(ec2, own)),
        address_quota=_quota(quotas, "ec2", "L-0263D0A3"),
        addresses_used=_answer(lambda: _addresses_of_others(ec2, own)),
        rules_per_group=_quota(quotas, "vpc", "L-0EA8095F"),
        health_checkers=checkers["PrefixListId"] if checkers else None,
        health_checkers_weight=(checkers.get("MaxEntries") or HEALTH_CHECKERS_WEIGHT) if checkers else 0,
        ami=_ami(client, region, validated.host),
    )


def _zone_facts(zone: dict[str, Any]) -> ZoneFacts:
    return ZoneFacts(
        group=zone["GroupName"],
        border_group=zone["NetworkBorderGroup"],
        is_local=zone["ZoneType"] == "local-zone",
        opted_in=zone["OptInStatus"] != "not-opted-in",
    )


def _type_facts(ec2: Any, name: str) -> InstanceTypeFacts | None:
    answer = _answer(lambda: ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0])
    if answer is None:
        return None
    gpus = answer.get("GpuInfo", {}).get("Gpus", [])
    return InstanceTypeFacts(
        vcpus=answer["VCpuInfo"]["DefaultVCpus"],
        gpus=sum(gpu["Count"] for gpu in gpus),
        gpu_mib=max((gpu["MemoryInfo"]["SizeInMiB"] for gpu in gpus), default=0),
    )


def _offering_zones(ec2: Any, name: str) -> frozenset[str] | None:
    filters = [{"Name": "instance-type", "Values": [name]}]
    found = _answer(
        lambda: ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=filters)["InstanceTypeOfferings"]
    )
    return None if found is None else frozenset(each["Location"] for each in found)


def _own_filters(stack: str, sites: Sequence[SiteSettings]) -> list[dict[str, Any]]:
    keys = [Replica(site.parsed_zone, number).key for site in sites for number in range(1, site.replicas + 1)]
    return [{"Name": f"tag:{STACK_TAG}", "Values": [stack]}, {"Name": f"tag:{REPLICA_TAG}", "Values": keys}]


def _vcpus_of_others(ec2: Any, own: list[dict[str, Any]]) -> int:
    """VCPUs of the Region's running G and VT instances, without those of this stack's planned replicas."""
    of_family = [{"Name": "instance-type", "Values": GPU_FAMILIES}, {"Name": "instance-state-name", "Values": _RUNNING}]
    mine = {each["InstanceId"] for each in instances(ec2, [*of_family, *own])}
    types = [each["InstanceType"] for each in instances(ec2, of_family) if each["InstanceId"] not in mine]
    if not types:
        return 0
    described = ec2.describe_instance_types(InstanceTypes=sorted(set(types)))["InstanceTypes"]
    vcpus = {each["InstanceType"]: each["VCpuInfo"]["DefaultVCpus"] for each in described}
    return sum(vcpus[name] for name in types)


def instances(ec2: Any, filters: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The instances that match, as EC2 describes them."""
    for page in ec2.get_paginator("describe_instances").paginate(Filters=list(filters)):
        for reservation in page["Reservations"]:
            yield from reservation["Instances"]


def _addresses_of_others(ec2: Any, own: list[dict[str, Any]]) -> int:
    everyone = {each["AllocationId"] for each in ec2.describe_addresses()["Addresses"]}
    return len(everyone - {each["AllocationId"] for each in ec2.describe_addresses(Filters=own)["Addresses"]})


def _prefix_list(ec2: Any, region: str) -> dict[str, Any] | None:
    filters = [{"Name": "prefix-list-name", "Values": [f"com.amazonaws.{region}.route53-healthchecks"]}]
    return _answer(lambda: ec2.describe_managed_prefix_lists(Filters=filters)["PrefixLists"][0])


def _quota(quotas: Any, service: str, code: str) -> float | None:
    return _answer(lambda: float(quotas.get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]["Value"]))


def _ami(client: Client, region: str, host: HostSettings | None) -> str | None:
    pinned = host.amis.get(region) if host else None
    if pinned:
        return pinned if image(client, region, pinned) else None
    return newest_ami(client, region)


def newest_ami(client: Client, region: str) -> str | None:
    """The newest Deep Learning AMI of a Region; None where AWS does not say."""
    return _answer(lambda: str(client("ssm", region).get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]))


def _hosted_zone(routing: RoutingSettings, route53: Any) -> HostedZoneFacts:
    if routing.hosted_zone_id:
        zone = route53.get_hosted_zone(Id=routing.hosted_zone_id)["HostedZone"]
    else:
        named = route53.list_hosted_zones_by_name(DNSName=routing.hosted_zone)["HostedZones"]
        public = [
            zone for zone in named if zone["Name"] == f"{routing.hosted_zone}." and not zone.get("Config", {}).get("PrivateZone")
        ]
        if len(public) != 1:
            raise LookupError(f"{len(public)} hosted zones match" if public else "no matching hosted zone found")
        zone = public[0]
    zone_id = zone["Id"].rpartition("/")[2]
    tags = route53.list_tags_for_resource(ResourceType="hostedzone", ResourceId=zone_id)["ResourceTagSet"]["Tags"]
    owner = next((tag["Value"] for tag in tags if tag["Key"] == STACK_TAG), None)
    return HostedZoneFacts(zone_id, zone["Name"].rstrip("."), bool(zone.get("Config", {}).get("PrivateZone")), owner)


def _foreign_records(route53: Any, zone_id: str, domain: str) -> tuple[str, ...]:
    """The address records of a name other than this program's one alias; none also where AWS does not say."""
    found = _answer(lambda: route53.list_resource_record_sets(HostedZoneId=zone_id, StartRecordName=domain)["ResourceRecordSets"])
    foreign: set[str] = set()
    records: list[dict[str, Any]] = found or []
    for record in records:
        target = record.get("AliasTarget", {}).get("DNSName", "").rstrip(".")
        is_ours = record["Type"] == "A" and "SetIdentifier" not in record and target in service_targets(domain)
        if record["Name"].rstrip(".") == domain and record["Type"] in {"A", "AAAA", "CNAME"} and not is_ours:
            foreign.add(f"{record['Type']}{' with a routing policy' if 'SetIdentifier' in record else ''}")
    return tuple(sorted(foreign))


def _answer(ask: Callable[[], _Answer]) -> _Answer | None:
    """What AWS answers, or None: refused, silent, or without what was asked for."""
    try:
        return ask()
    except (BotoCoreError, ClientError, LookupError):
        return None
