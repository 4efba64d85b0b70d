"""Asks AWS to keep a zone's GPUs for a launch that follows, and gives them back: On-Demand Capacity Reservations, with boto3.

They are `open`: a launch takes one without naming it, and its host is bound to nothing when the reservation is given back (a
host that names one cannot be started again without it). Leaves out which hosts are launched: sites/capacity.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

from components.aws_facts import GPU_FAMILIES

NO_CAPACITY = "InsufficientInstanceCapacity"
_LONGEST = timedelta(hours=1)
"""AWS takes back by itself what a killed `edge` left, within an hour after that."""


class NoCapacityError(Exception):
    """The zone has none of these instances now; AWS's own words."""


class SilentError(Exception):
    """AWS did not say whether the zone has them, such as without the permission to ask."""


@dataclass(frozen=True)
class Wanted:
    """Instances that are about to be launched in a zone."""

    zone: str
    instance_type: str
    count: int


def keep(ec2: Any, wanted: Wanted, tags: Mapping[str, str]) -> str:
    """The id of what AWS now keeps. The SDK asks five times within about ten seconds; then NoCapacityError."""
    try:
        answer = ec2.create_capacity_reservation(
            AvailabilityZone=wanted.zone,
            InstanceType=wanted.instance_type,
            InstancePlatform="Linux/UNIX",
            InstanceCount=wanted.count,
            InstanceMatchCriteria="open",
            EndDateType="limited",
            EndDate=datetime.now(UTC) + _LONGEST,
            TagSpecifications=[
                {"ResourceType": "capacity-reservation", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            ],
        )
    except ClientError as error:
        found = cast("Any", error).response["Error"]
        raise (NoCapacityError if found["Code"] == NO_CAPACITY else SilentError)(str(found.get("Message") or error)) from error
    except BotoCoreError as error:
        raise SilentError(str(error)) from error
    return str(answer["CapacityReservation"]["CapacityReservationId"])


def give_back(ec2: Any, reservation_id: str) -> str | None:
    """What keeps a reservation from being given back; None where nothing does. Hosts that were launched into it run on."""
    try:
        ec2.cancel_capacity_reservation(CapacityReservationId=reservation_id)
    except (BotoCoreError, ClientError) as error:
        return str(error)
    return None


def left_by_earlier_runs(ec2: Any, tag: tuple[str, str]) -> list[str]:
    """Ids of what runs of a deployment have kept and not given back, since they were killed; none where AWS does not say. What a
    config keeps (`sites[].reserve`) has no end, and is none of them.
    """
    filters = [{"Name": f"tag:{tag[0]}", "Values": [tag[1]]}, {"Name": "state", "Values": ["active"]}]
    try:
        pages = ec2.get_paginator("describe_capacity_reservations").paginate(Filters=filters)
        found = [each for page in pages for each in page["CapacityReservations"]]
    except (BotoCoreError, ClientError):
        return []
    return [each["CapacityReservationId"] for each in found if each["EndDateType"] == "limited"]


def offered_types(ec2: Any, zone: str) -> list[str]:
    """The GPU types that a zone offers; none where AWS does not say."""
    filters = [{"Name": "location", "Values": [zone]}, {"Name": "instance-type", "Values": list(GPU_FAMILIES)}]
    try:
        pages = ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="availability-zone", Filters=filters)
        return sorted(each["InstanceType"] for page in pages for each in page["InstanceTypeOfferings"])
    except (BotoCoreError, ClientError):
        return []
