"""Zones, opt-in and offerings, against aws-facts 3 and 4."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud.api import zones

from .conftest import Client, refused


def names(ec2: Any, **options: Any) -> set[str]:
    found = ec2.describe_availability_zones(**options)["AvailabilityZones"]
    return {zone["ZoneName"] for zone in found}


def where(**filters: str) -> list[dict[str, Any]]:
    return [{"Name": n.replace("_", "-"), "Values": [v]} for n, v in filters.items()]


def test_only_usable_zones_are_listed_unless_all_are_asked_for(ec2: Any) -> None:
    usable = names(ec2)
    assert {"us-west-2a", "us-west-2-lax-1a", "us-west-2-lax-1b", "us-west-2-hnl-1a"} <= usable
    assert "us-west-2-den-1a" not in usable
    everything = names(ec2, AllAvailabilityZones=True)
    assert usable < everything
    assert "us-west-2-den-1a" in everything
    assert not any(name.startswith("us-east-1") for name in everything)


def test_a_local_zone_has_group_border_group_and_parent(ec2: Any) -> None:
    (zone,) = ec2.describe_availability_zones(ZoneNames=["us-west-2-lax-1b"])["AvailabilityZones"]
    assert zone["GroupName"] == zone["NetworkBorderGroup"] == "us-west-2-lax-1"
    assert zone["OptInStatus"] == "opted-in"
    assert zone["ZoneType"] == "local-zone"
    assert zone["ZoneId"] == "usw2-lax1-az2"
    assert zone["ParentZoneName"] == "us-west-2a"
    assert zone["ParentZoneId"] == "usw2-az2"
    assert zone["RegionName"] == "us-west-2"


def test_an_ordinary_zone_needs_no_opt_in(ec2: Any) -> None:
    (zone,) = ec2.describe_availability_zones(ZoneNames=["us-west-2a"])["AvailabilityZones"]
    assert zone["OptInStatus"] == "opt-in-not-required"
    assert zone["NetworkBorderGroup"] == "us-west-2"
    assert zone["GroupName"] == "us-west-2-zg-1"
    assert "ParentZoneName" not in zone


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (where(group_name="us-west-2-lax-1"), {"us-west-2-lax-1a", "us-west-2-lax-1b"}),
        (where(zone_name="us-west-2-hnl-1a"), {"us-west-2-hnl-1a"}),
        (
            where(zone_type="local-zone", opt_in_status="opted-in"),
            {"us-west-2-lax-1a", "us-west-2-lax-1b", "us-west-2-hnl-1a"},
        ),
        (where(opt_in_status="not-opted-in", zone_name="us-west-2-d*"), {"us-west-2-den-1a"}),
    ],
)
def test_filters(ec2: Any, filters: list[dict[str, Any]], expected: set[str]) -> None:
    assert names(ec2, AllAvailabilityZones=True, Filters=filters) == expected


def test_unknown_filters_and_zones_are_refused(ec2: Any) -> None:
    with refused("InvalidParameterValue", "filter 'colour' is invalid"):
        names(ec2, Filters=where(colour="red"))
    with refused("InvalidParameterValue", r"Invalid availability zone: \[us-west-2z\]"):
        names(ec2, ZoneNames=["us-west-2z"])
    with refused("InvalidParameterValue", "us-west-2-den-1a"):
        names(ec2, ZoneNames=["us-west-2-den-1a"])


def test_opting_in_opens_the_zones_of_a_group(ec2: Any) -> None:
    group = {"GroupName": "us-west-2-den-1", "OptInStatus": "opted-in"}
    assert ec2.modify_availability_zone_group(**group)["Return"] is True
    assert "us-west-2-den-1a" in names(ec2)


def test_opting_out_and_foreign_groups_are_refused(ec2: Any) -> None:
    with refused("InvalidParameterValue", "only valid value is opted-in"):
        ec2.modify_availability_zone_group(GroupName="us-west-2-lax-1", OptInStatus="not-opted-in")
    for group in ("us-east-1-bos-1", "us-west-2-zg-1", "nowhere"):
        with refused("InvalidParameterValue", group):
            ec2.modify_availability_zone_group(GroupName=group, OptInStatus="opted-in")


def offered(ec2: Any, location: str) -> set[str]:
    found = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=where(location=location))[
        "InstanceTypeOfferings"
    ]
    return {offering["InstanceType"] for offering in found}


def test_offerings_by_zone(ec2: Any) -> None:
    assert offered(ec2, "us-west-2-hnl-1a") == {"g4dn.2xlarge", "g4dn.4xlarge"}
    assert "g5.4xlarge" in offered(ec2, "us-west-2-lax-1b")
    assert "g5.2xlarge" not in offered(ec2, "us-west-2-lax-1b")
    assert {"g4dn.2xlarge", "g5.2xlarge", "g6.2xlarge"} <= offered(ec2, "us-west-2a")
    assert "g4dn.2xlarge" not in offered(ec2, "us-west-2d")


def test_a_zone_that_is_not_opted_in_offers_nothing(ec2: Any) -> None:
    assert offered(ec2, "us-west-2-den-1a") == set()
    zones.opted_in.add("us-west-2-den-1")
    assert "g4dn.2xlarge" in offered(ec2, "us-west-2-den-1a")


def test_an_instance_type_says_what_its_gpu_is(ec2: Any) -> None:
    (found,) = ec2.describe_instance_types(InstanceTypes=["g4dn.2xlarge"])["InstanceTypes"]
    assert found["VCpuInfo"]["DefaultVCpus"] == 8
    (gpu,) = found["GpuInfo"]["Gpus"]
    assert (gpu["Name"], gpu["Count"], gpu["MemoryInfo"]["SizeInMiB"]) == ("T4", 1, 16384)


def test_every_group_lies_in_a_region_that_has_zones(client: Client) -> None:
    for region in {group.region for group in zones.GROUPS.values()}:
        everything = names(client("ec2", region), AllAvailabilityZones=True)
        ours = {z for z, group in zones.GROUP_OF_ZONE.items() if group.region == region}
        assert ours < everything
