"""Capacity reservations keep what a launch then takes, count against the quota, and are refused without stock."""

# boto3 has no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from automation.account.reservations import (
    NoCapacityError,
    SilentError,
    Wanted,
    give_back,
    keep,
    left_by_earlier_runs,
    offered_types,
)
from localcloud.api import faults

from .conftest import Site, refused

ZONE, TYPE = "us-west-2-hnl-1a", "g4dn.2xlarge"


def reserve(ec2: Any, **more: Any) -> str:
    asked = {"InstanceType": TYPE, "InstancePlatform": "Linux/UNIX", "AvailabilityZone": ZONE, "InstanceCount": 1, **more}
    return ec2.create_capacity_reservation(**asked)["CapacityReservation"]["CapacityReservationId"]


def found(ec2: Any, **filters: str) -> list[dict[str, Any]]:
    wanted = [{"Name": name.replace("__", ":"), "Values": [value]} for name, value in filters.items()]
    return ec2.describe_capacity_reservations(Filters=wanted)["CapacityReservations"]


def test_a_reservation_is_what_was_asked_for(ec2: Any) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    tags = [{"ResourceType": "capacity-reservation", "Tags": [{"Key": "mine", "Value": "yes"}]}]
    made = reserve(ec2, EndDateType="limited", EndDate=end, TagSpecifications=tags)
    (one,) = found(ec2, tag__mine="yes", state="active")
    assert (one["CapacityReservationId"], one["EndDate"], one["InstanceMatchCriteria"]) == (made, end, "open")
    assert (one["TotalInstanceCount"], one["AvailableInstanceCount"]) == (1, 1)
    assert found(ec2, tag__mine="no") == []


def test_a_launch_takes_it_also_when_the_zone_has_nothing_else(ec2: Any, site: Site) -> None:
    made = reserve(ec2)
    faults.update({"no_capacity_zones": [ZONE]})
    first = site.launch()
    assert found(ec2)[0]["AvailableInstanceCount"] == 0
    with refused("InsufficientInstanceCapacity", ZONE):
        site.launch()
    ec2.terminate_instances(InstanceIds=[first])
    site.launch()
    ec2.cancel_capacity_reservation(CapacityReservationId=made)
    assert [each["State"] for each in found(ec2)] == ["cancelled"]
    with refused("InvalidCapacityReservationState", "cancelled"):
        ec2.cancel_capacity_reservation(CapacityReservationId=made)


def test_an_open_one_takes_in_what_runs_and_gives_it_back_its_place(ec2: Any, site: Site) -> None:
    running = site.launch()
    faults.update({"no_capacity_zones": [ZONE]})
    made = reserve(ec2)
    with refused("InsufficientInstanceCapacity", ZONE):
        reserve(ec2)
    assert found(ec2)[0]["AvailableInstanceCount"] == 0
    ec2.stop_instances(InstanceIds=[running])
    assert found(ec2)[0]["AvailableInstanceCount"] == 1
    ec2.start_instances(InstanceIds=[running])
    assert found(ec2)[0]["AvailableInstanceCount"] == 0
    ec2.cancel_capacity_reservation(CapacityReservationId=made)
    ec2.stop_instances(InstanceIds=[running])
    with refused("InsufficientInstanceCapacity", ZONE):
        ec2.start_instances(InstanceIds=[running])


def test_a_shortage_of_one_type_leaves_the_others(ec2: Any, site: Site) -> None:
    faults.update({"no_capacity_zones": [f"{ZONE}/{TYPE}"]})
    with refused("InsufficientInstanceCapacity", TYPE):
        reserve(ec2)
    reserve(ec2, InstanceType="g4dn.4xlarge")
    site.launch(InstanceType="g4dn.4xlarge")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"InstanceType": "g5.2xlarge"}, "Unsupported"),
        ({"InstanceType": "zz9.huge"}, "InvalidParameterValue"),
        ({"EndDateType": "limited"}, "InvalidParameterCombination"),
    ],
)
def test_refused(ec2: Any, asked: dict[str, Any], code: str) -> None:
    with refused(code, None):
        reserve(ec2, **asked)


def test_the_quota_counts_what_is_kept_once(ec2: Any, site: Site) -> None:
    faults.update({"quota_vcpus": 8})
    reserve(ec2)
    with refused("VcpuLimitExceeded", None):
        reserve(ec2)
    site.launch()
    with refused("VcpuLimitExceeded", None):
        site.launch()


def test_an_end_that_has_come_frees_it(ec2: Any, site: Site) -> None:
    reserve(ec2, EndDateType="limited", EndDate=datetime.now(UTC) - timedelta(seconds=1))
    assert [each["State"] for each in found(ec2)] == ["expired"]
    faults.update({"no_capacity_zones": [ZONE]})
    with refused("InsufficientInstanceCapacity", ZONE):
        site.launch()


def test_one_that_does_not_exist(ec2: Any) -> None:
    with refused("InvalidCapacityReservationId.NotFound", None):
        ec2.cancel_capacity_reservation(CapacityReservationId="cr-0123456789abcdef0")


def test_what_edge_asks_before_a_launch(ec2: Any, site: Site) -> None:
    """automation/account/reservations.py, by its own calls."""
    wanted = Wanted(ZONE, TYPE, 1)
    made = keep(ec2, wanted, {"deployment": "mine"})
    assert left_by_earlier_runs(ec2, ("tag", "none")) == []
    assert left_by_earlier_runs(ec2, ("deployment", "mine")) == [made]
    faults.update({"no_capacity_zones": [ZONE]})
    site.launch()
    assert give_back(ec2, made) is None
    assert left_by_earlier_runs(ec2, ("deployment", "mine")) == []
    # The host that runs would be taken into another one of its type.
    wanted = Wanted(ZONE, "g4dn.4xlarge", 1)
    with pytest.raises(NoCapacityError, match=ZONE):
        keep(ec2, wanted, {"deployment": "mine"})
    assert offered_types(ec2, ZONE) == ["g4dn.2xlarge", "g4dn.4xlarge"]
    faults.update({"no_capacity_zones": [], "quota_vcpus": 8})
    with pytest.raises(SilentError, match="vCPU"):
        keep(ec2, wanted, {"deployment": "mine"})
