"""Carries the questions of components/aws_facts.py to an AWS account with boto3: without a run, for `edge doctor`; and asks for
what only doctor wants to know, which images there are.

Reads only. Leaves out which questions are asked, and judging.
"""

# ruff: noqa: D102 - what each lookup asks is said by Lookups

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

from automation.errors import EdgeError
from components.aws_facts import (
    AwsFacts,
    Filters,
    HostedZoneFacts,
    InstanceTypeFacts,
    Lookups,
    NamedRecord,
    PrefixList,
    ZoneFacts,
    gather,
)
from components.settings import Validated
from components.tags import STACK_TAG

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
        return gather(validated, AccountLookups(client), pool.map)


class AccountLookups(Lookups):
    """The questions of components/aws_facts.py, as calls of boto3; what finds nothing, or more than one, is a LookupError."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._zones = cache(self._all_zones)

    def zone_names(self, region: str) -> Sequence[str]:
        return [each["ZoneName"] for each in self._zones(region)]

    def zone(self, region: str, name: str) -> ZoneFacts:
        zone = _only([each for each in self._zones(region) if each["ZoneName"] == name], "zone")
        return ZoneFacts(
            group=zone["GroupName"],
            border_group=zone["NetworkBorderGroup"],
            is_local=zone["ZoneType"] == "local-zone",
            opted_in=zone["OptInStatus"] != "not-opted-in",
        )

    def _all_zones(self, region: str) -> list[dict[str, Any]]:
        return self._ec2(region).describe_availability_zones(AllAvailabilityZones=True)["AvailabilityZones"]

    def instance_type(self, region: str, name: str) -> InstanceTypeFacts:
        found = _only(self._ec2(region).describe_instance_types(InstanceTypes=[name])["InstanceTypes"], "instance type")
        gpus = found.get("GpuInfo", {}).get("Gpus", [])
        return InstanceTypeFacts(
            vcpus=found["VCpuInfo"]["DefaultVCpus"],
            gpus=sum(gpu["Count"] for gpu in gpus),
            gpu_mib=max((gpu["MemoryInfo"]["SizeInMiB"] for gpu in gpus), default=0),
            gpu=next((gpu.get("Name", "") for gpu in gpus), ""),
            architectures=frozenset(found.get("ProcessorInfo", {}).get("SupportedArchitectures", ())),
        )

    def offering_zones(self, region: str, filters: Filters) -> frozenset[str]:
        pages = self._ec2(region).get_paginator("describe_instance_type_offerings")
        found = pages.paginate(LocationType="availability-zone", Filters=_filters(filters))
        return frozenset(each["Location"] for page in found for each in page["InstanceTypeOfferings"])

    def instances(self, region: str, filters: Filters, states: Sequence[str]) -> frozenset[str]:
        wanted = _filters({**filters, "instance-state-name": states})
        return frozenset(each["InstanceId"] for each in instances(self._ec2(region), wanted))

    def type_of_instance(self, region: str, instance_id: str) -> str:
        found = instances(self._ec2(region), _filters({"instance-id": [instance_id]}))
        return _only([*found], "instance")["InstanceType"]

    def addresses(self, region: str, filters: Filters) -> frozenset[str]:
        return frozenset(
            each["AllocationId"] for each in self._ec2(region).describe_addresses(Filters=_filters(filters))["Addresses"]
        )

    def quota(self, region: str, service: str, code: str) -> float:
        quotas = self._client("service-quotas", region)
        return float(quotas.get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]["Value"])

    def prefix_list(self, region: str, name: str) -> PrefixList:
        named = _filters({"prefix-list-name": [name]})
        found = _only(self._ec2(region).describe_managed_prefix_lists(Filters=named)["PrefixLists"], "prefix list")
        return PrefixList(found["PrefixListId"], found.get("MaxEntries"))

    def image(self, region: str, filters: Filters, *, include_deprecated: bool) -> str:
        asked = {"Filters": _filters(filters), "IncludeDeprecated": include_deprecated}
        return _only(self._ec2(region).describe_images(**asked)["Images"], "AMI")["ImageId"]

    def parameter(self, region: str, name: str) -> str:
        return str(self._client("ssm", region).get_parameter(Name=name)["Parameter"]["Value"])

    def hosted_zone_by_id(self, zone_id: str) -> HostedZoneFacts:
        return self._hosted_zone(self._route53.get_hosted_zone(Id=zone_id)["HostedZone"])

    def public_hosted_zone(self, name: str) -> HostedZoneFacts:
        pages = self._route53.get_paginator("list_hosted_zones").paginate()
        zones = [each for page in pages for each in page["HostedZones"]]
        public = [each for each in zones if each["Name"] == f"{name}." and not each.get("Config", {}).get("PrivateZone")]
        return self._hosted_zone(_only(public, "hosted zone"))

    def records(self, zone_id: str, name: str) -> Sequence[NamedRecord]:
        found = self._route53.list_resource_record_sets(HostedZoneId=zone_id, StartRecordName=name)["ResourceRecordSets"]
        return [
            NamedRecord(each["Type"], each.get("SetIdentifier", ""), each.get("AliasTarget", {}).get("DNSName", ""))
            for each in found
            if each["Name"].rstrip(".") == name
        ]

    def _hosted_zone(self, zone: dict[str, Any]) -> HostedZoneFacts:
        zone_id = zone["Id"].rpartition("/")[2]
        tags = self._route53.list_tags_for_resource(ResourceType="hostedzone", ResourceId=zone_id)["ResourceTagSet"]["Tags"]
        owner = next((tag["Value"] for tag in tags if tag["Key"] == STACK_TAG), None)
        return HostedZoneFacts(zone_id, zone["Name"].rstrip("."), bool(zone.get("Config", {}).get("PrivateZone")), owner)

    @property
    def _route53(self) -> Any:
        return self._client("route53", "us-east-1")

    def _ec2(self, region: str) -> Any:
        return self._client("ec2", region)


def instances(ec2: Any, filters: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The instances that match, as EC2 describes them."""
    for page in ec2.get_paginator("describe_instances").paginate(Filters=list(filters)):
        for reservation in page["Reservations"]:
            yield from reservation["Instances"]


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


def _only(found: Sequence[dict[str, Any]], what: str) -> dict[str, Any]:
    if not found:
        raise LookupError(f"no matching {what} found")
    if len(found) > 1:
        raise LookupError(f"multiple {what}s matched")
    return found[0]


def _filters(filters: Filters) -> list[dict[str, Any]]:
    return [{"Name": name, "Values": [*values]} for name, values in filters.items()]


def _answer(ask: Callable[[], _Answer]) -> _Answer | None:
    """What AWS answers, or None: refused, silent, or without what was asked for."""
    try:
        return ask()
    except (BotoCoreError, ClientError, LookupError):
        return None
