"""On-Demand Capacity Reservations: capacity that is kept while nobody uses it, and launches into it.

AWS's rules as its guide has them: an open one takes in what runs already. That such a reservation needs no further stock is not
documented, and held for so. Left out: blocks, future dates, groups, sharing.
"""

# moto is partly untyped, and its parts use each other's state:
# pyright: reportAttributeAccessIssue=false
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.responses import EC2Response
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, EC2_RESOURCE_TO_PREFIX, random_id

EC2_RESOURCE_TO_PREFIX["capacity-reservation"] = "cr"
EC2_PREFIX_TO_RESOURCE["cr"] = "capacity-reservation"
_USING = {"pending", "running"}


class Reservation(TaggedEC2Resource):
    """Capacity for so many instances of a type in a zone."""

    def __init__(self, backend: Any, given: dict[str, Any]) -> None:
        self.ec2_backend, self.given = backend, given
        self.id = random_id(prefix="cr")
        self.is_cancelled = False
        self.created = datetime.now(UTC)

    @property
    def state(self) -> str:
        """Active until it is cancelled or its end has come."""
        end = self.given["EndDate"]
        return "cancelled" if self.is_cancelled else "expired" if end and datetime.now(UTC) >= end else "active"

    @property
    def free(self) -> int:
        """How many more instances find room in it."""
        if self.state != "active":
            return 0
        used = [each for each in self.ec2_backend.all_instances() if _reservation_of(each) == self.id]
        return int(self.given["InstanceCount"]) - sum(each.state in _USING for each in used)

    def matching(self) -> list[Any]:
        """The On-Demand instances that run and could run in it, but for those that run in another."""
        others = {each.id for each in self.ec2_backend.reservations_of_capacity.values() if each.state == "active"}
        return [
            each
            for each in self.ec2_backend.all_instances()
            if each.state in _USING
            and each.lifecycle != "spot"
            and each.nics
            and self.takes(each.nics[0].subnet.availability_zone, each.instance_type)
            and _reservation_of(each) not in others
        ]

    def takes(self, zone: str, instance_type: str) -> bool:
        """Whether such an instance may run in it."""
        return (self.given["AvailabilityZone"], self.given["InstanceType"]) == (zone, instance_type)

    def described(self) -> dict[str, Any]:
        """As AWS lists it."""
        return {
            **{name: value for name, value in self.given.items() if value is not None and name != "InstanceCount"},
            "CapacityReservationId": self.id,
            "CapacityReservationArn": f"arn:aws:ec2:{self.ec2_backend.region_name}:{self.ec2_backend.account_id}:"
            f"capacity-reservation/{self.id}",
            "OwnerId": self.ec2_backend.account_id,
            "State": self.state,
            "TotalInstanceCount": int(self.given["InstanceCount"]),
            "AvailableInstanceCount": self.free,
            "CreateDate": self.created,
            "Tags": [{"Key": tag["key"], "Value": tag["value"]} for tag in self.get_tags()],
        }


def _reservation_of(instance: Any) -> str | None:
    return getattr(instance, "capacity_reservation_id", None)


class ReservationRules:
    """Reservations of one Region."""

    reservations_of_capacity: dict[str, Reservation]

    def reservation(self, reservation_id: str) -> Reservation:
        """One by its id."""
        found = self.reservations_of_capacity.get(reservation_id)
        if found is None:
            message = f"The capacity reservation ID '{reservation_id}' does not exist"
            raise EC2ClientError("InvalidCapacityReservationId.NotFound", message)
        return found

    def open_reservation(self, zone: str, instance_type: str) -> Reservation | None:
        """One with room that takes such an instance without being named."""
        return next(
            (
                each
                for each in self.reservations_of_capacity.values()
                if each.given["InstanceMatchCriteria"] == "open" and each.takes(zone, instance_type) and each.free > 0
            ),
            None,
        )

    def unused_types(self) -> list[str]:
        """The type of each instance that is paid for and not there: quotas count it."""
        kept = self.reservations_of_capacity.values()
        return [each.given["InstanceType"] for each in kept for _ in range(each.free)]


class ReservationResponses(EC2Response):
    """Request parsing for the calls about reservations."""

    def create_capacity_reservation(self) -> ActionResult:
        """Refused where the zone has no stock, as a launch is."""
        end, kind = self._get_param("EndDate"), self._get_param("EndDateType", "unlimited")
        if (kind == "limited") != bool(end):
            raise EC2ClientError("InvalidParameterCombination", "EndDate goes with EndDateType limited, and with no other.")
        given: dict[str, Any] = {
            "AvailabilityZone": self._get_param("AvailabilityZone"),
            "InstanceType": self._get_param("InstanceType"),
            "InstanceCount": self._get_param("InstanceCount"),
            "InstancePlatform": self._get_param("InstancePlatform"),
            "Tenancy": self._get_param("Tenancy", "default"),
            "InstanceMatchCriteria": self._get_param("InstanceMatchCriteria", "open"),
            "EbsOptimized": self._get_param("EbsOptimized", False),  # noqa: FBT003 - moto's signature
            "EphemeralStorage": self._get_param("EphemeralStorage", False),  # noqa: FBT003
            "EndDateType": kind,
            "EndDate": _time(end),
        }
        made, count = Reservation(self.ec2_backend, given), int(given["InstanceCount"])
        running = made.matching()[:count] if given["InstanceMatchCriteria"] == "open" else []
        self.ec2_backend.refuse_launches(given["AvailabilityZone"], [given["InstanceType"]] * (count - len(running)))
        self.ec2_backend.reservations_of_capacity[made.id] = made
        for instance in running:
            instance.capacity_reservation_id = made.id
        made.add_tags(self._parse_tag_specification().get("capacity-reservation", {}))
        return ActionResult({"CapacityReservation": made.described()})

    def cancel_capacity_reservation(self) -> ActionResult:
        """What runs in it runs on."""
        found = self.ec2_backend.reservation(self._get_param("CapacityReservationId"))
        if found.state != "active":
            message = f"The capacity reservation is in state '{found.state}'."
            raise EC2ClientError("InvalidCapacityReservationState", message)
        found.is_cancelled = True
        return ActionResult({"Return": True})

    def describe_capacity_reservations(self) -> ActionResult:
        """By id, state and tags; cancelled ones are listed for a while."""
        ids = self._get_param("CapacityReservationIds", [])
        found = [self.ec2_backend.reservation(each).described() for each in ids]
        found = found or [each.described() for each in self.ec2_backend.reservations_of_capacity.values()]
        filters = {each["Name"]: each["Values"] for each in self._get_param("Filters", [])}
        return ActionResult({"CapacityReservations": [each for each in found if _fits(each, filters)]})


def _fits(described: dict[str, Any], filters: dict[str, list[str]]) -> bool:
    tags = {f"tag:{tag['Key']}": tag["Value"] for tag in described["Tags"]}
    values = {"state": described["State"], "availability-zone": described["AvailabilityZone"], **tags}
    if unknown := [name for name in filters if name not in values and not name.startswith("tag:")]:
        raise EC2ClientError("InvalidParameterValue", f"The filter '{unknown[0]}' is invalid")
    return all(values.get(name) in wanted for name, wanted in filters.items())


def _time(given: Any) -> datetime | None:
    if given is None or isinstance(given, datetime):
        return given.replace(tzinfo=UTC) if given and given.tzinfo is None else given
    return datetime.fromisoformat(re.sub(r"Z$", "+00:00", str(given)))
