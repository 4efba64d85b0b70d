"""Elastic IP addresses: border groups, quota, refused orders."""

from __future__ import annotations

import ipaddress
from typing import Any

from localcloud.api import faults
from localcloud.api.images import HEALTH_CHECKER_CIDRS

from .conftest import Client, Site, refused


def test_addresses_are_unique_loopback_and_nobody_elses(client: Client, ec2: Any) -> None:
    faults.update({"quota_addresses": 200})
    found = [ec2.allocate_address()["PublicIp"] for _ in range(40)]
    found += [client("ec2", "us-east-1").allocate_address()["PublicIp"] for _ in range(10)]
    assert len(set(found)) == len(found)
    for address in found:
        first, second, _, last = (int(part) for part in address.split("."))
        assert first == 127
        assert 1 <= second <= 254
        assert 1 <= last <= 254
        assert not any(ipaddress.ip_address(address) in ipaddress.ip_network(c) for c in HEALTH_CHECKER_CIDRS)


def test_the_border_group_is_kept(ec2: Any) -> None:
    made = ec2.allocate_address(Domain="vpc", NetworkBorderGroup="us-west-2-lax-1")
    (address,) = ec2.describe_addresses(Filters=[{"Name": "network-border-group", "Values": ["us-west-2-lax-1"]}])["Addresses"]
    assert made["NetworkBorderGroup"] == address["NetworkBorderGroup"] == "us-west-2-lax-1"
    assert ec2.allocate_address()["NetworkBorderGroup"] == "us-west-2"


def test_a_border_group_must_be_open_to_the_account(ec2: Any) -> None:
    for group in ("us-west-2-den-1", "us-east-1-bos-1", "nowhere"):
        with refused("InvalidParameterValue", group):
            ec2.allocate_address(NetworkBorderGroup=group)


def test_the_quota_is_shared_by_region_and_zones(client: Client, ec2: Any) -> None:
    faults.update({"quota_addresses": 5})
    for group in ("us-west-2", "us-west-2", "us-west-2-lax-1", "us-west-2-hnl-1", "us-west-2"):
        ec2.allocate_address(NetworkBorderGroup=group)
    with refused("AddressLimitExceeded"):
        ec2.allocate_address(NetworkBorderGroup="us-west-2-lax-1")
    client("ec2", "us-east-1").allocate_address()


def test_association_needs_the_zones_border_group(ec2: Any, site: Site) -> None:
    instance = site.launch()
    for group in ("us-west-2", "us-west-2-lax-1"):
        address = ec2.allocate_address(NetworkBorderGroup=group)
        with refused("InvalidParameterCombination", "network border group us-west-2-hnl-1"):
            ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    address = site.address()
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    (found,) = ec2.describe_instances()["Reservations"][0]["Instances"]
    assert found["PublicIpAddress"] == address["PublicIp"]


def test_association_needs_an_internet_gateway(ec2: Any, site: Site) -> None:
    instance, address = site.launch(), site.address()
    ec2.detach_internet_gateway(InternetGatewayId=site.gateway, VpcId=site.vpc)
    with refused("Gateway.NotAttached", site.vpc):
        ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)


def test_release_only_after_disassociation(ec2: Any, site: Site) -> None:
    address = site.address()
    association = ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=site.launch())["AssociationId"]
    with refused("InvalidIPAddress.InUse", address["PublicIp"]):
        ec2.release_address(AllocationId=address["AllocationId"], NetworkBorderGroup="us-west-2-hnl-1")
    ec2.disassociate_address(AssociationId=association)
    with refused("InvalidAddress.NotFound"):
        ec2.release_address(AllocationId=address["AllocationId"], NetworkBorderGroup="us-west-2-lax-1")
    ec2.release_address(AllocationId=address["AllocationId"], NetworkBorderGroup="us-west-2-hnl-1")
    with refused("InvalidAllocationID.NotFound"):
        ec2.release_address(AllocationId=address["AllocationId"])


def test_an_address_moves_only_when_it_may(ec2: Any, site: Site) -> None:
    first, second, address = site.launch(), site.launch(), site.address()
    target = {"AllocationId": address["AllocationId"], "InstanceId": second}
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=first)
    with refused("Resource.AlreadyAssociated"):
        ec2.associate_address(**target, AllowReassociation=False)
    ec2.associate_address(**target, AllowReassociation=True)
    public = {
        instance["InstanceId"]: instance.get("PublicIpAddress")
        for reservation in ec2.describe_instances()["Reservations"]
        for instance in reservation["Instances"]
    }
    assert public == {first: None, second: address["PublicIp"]}


def test_a_new_address_replaces_the_old_one_of_an_instance(ec2: Any, site: Site) -> None:
    instance, old, new = site.launch(), site.address(), site.address()
    ec2.associate_address(AllocationId=old["AllocationId"], InstanceId=instance)
    ec2.associate_address(AllocationId=new["AllocationId"], InstanceId=instance, AllowReassociation=True)
    associated = [a for a in ec2.describe_addresses()["Addresses"] if "AssociationId" in a]
    assert [a["PublicIp"] for a in associated] == [new["PublicIp"]]


def test_termination_frees_the_address(ec2: Any, site: Site) -> None:
    instance, address = site.launch(), site.address()
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    ec2.terminate_instances(InstanceIds=[instance])
    ec2.terminate_instances(InstanceIds=[instance])  # AWS takes it twice
    (found,) = ec2.describe_addresses()["Addresses"]
    assert "AssociationId" not in found
    assert "InstanceId" not in found
    with refused("InvalidInstanceID"):
        ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    ec2.release_address(AllocationId=address["AllocationId"], NetworkBorderGroup=address["NetworkBorderGroup"])


def test_the_address_of_a_local_zone_is_found_by_its_border_group(ec2: Any, site: Site) -> None:
    address = site.address()
    with refused("InvalidAddress.NotFound"):
        ec2.release_address(AllocationId=address["AllocationId"])
    ec2.release_address(AllocationId=address["AllocationId"], NetworkBorderGroup=address["NetworkBorderGroup"])
    ec2.release_address(AllocationId=ec2.allocate_address(Domain="vpc")["AllocationId"])
