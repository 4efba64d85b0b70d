"""Subnets, security groups and the destroy orders that AWS refuses."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Client, Site, refused


@pytest.mark.parametrize("zone", ["us-west-2-den-1a", "us-east-1a", "us-west-2-lax-1z"])
def test_a_subnet_needs_a_zone_that_is_open(ec2: Any, zone: str) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    with refused("InvalidParameterValue", rf"Value \({zone}\) for parameter availabilityZone"):
        ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24", AvailabilityZone=zone)


def test_a_subnets_range_lies_in_the_vpc_and_overlaps_none(ec2: Any, site: Site) -> None:
    with refused("InvalidSubnet.Range"):
        ec2.create_subnet(VpcId=site.vpc, CidrBlock="10.9.0.0/24", AvailabilityZone="us-west-2a")
    with refused("InvalidSubnet.Conflict"):
        ec2.create_subnet(VpcId=site.vpc, CidrBlock="10.0.0.0/25", AvailabilityZone="us-west-2a")


def test_a_subnet_is_not_public_by_itself(ec2: Any, site: Site) -> None:
    (subnet,) = ec2.describe_subnets(SubnetIds=[site.subnet])["Subnets"]
    assert subnet["AvailabilityZoneId"] == "usw2-hnl1-az1"
    assert not subnet["MapPublicIpOnLaunch"]
    assert not subnet["DefaultForAz"]


def test_without_a_zone_a_subnet_lies_in_the_region(ec2: Any) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    by_id = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZoneId="usw2-lax1-az2")
    unnamed = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")
    assert by_id["Subnet"]["AvailabilityZone"] == "us-west-2-lax-1b"
    assert unnamed["Subnet"]["AvailabilityZone"] == "us-west-2a"


def test_a_route_needs_the_vpcs_own_gateway(ec2: Any, site: Site) -> None:
    loose = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    with refused("InvalidParameterValue", "belong to different networks"):
        ec2.create_route(RouteTableId=site.route_table, DestinationCidrBlock="1.0.0.0/8", GatewayId=loose)


def test_a_subnet_has_one_route_table(ec2: Any, site: Site) -> None:
    other = ec2.create_route_table(VpcId=site.vpc)["RouteTable"]["RouteTableId"]
    with refused("Resource.AlreadyAssociated"):
        ec2.associate_route_table(RouteTableId=other, SubnetId=site.subnet)


def test_what_is_in_use_is_not_destroyed(ec2: Any, site: Site) -> None:
    instance, address = site.launch(), site.address()
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    with refused("DependencyViolation", "mapped public address"):
        ec2.detach_internet_gateway(InternetGatewayId=site.gateway, VpcId=site.vpc)
    with refused("DependencyViolation", site.gateway):
        ec2.delete_internet_gateway(InternetGatewayId=site.gateway)
    with refused("DependencyViolation", site.route_table):
        ec2.delete_route_table(RouteTableId=site.route_table)
    with refused("DependencyViolation", site.subnet):
        ec2.delete_subnet(SubnetId=site.subnet)
    with refused("DependencyViolation", site.group):
        ec2.delete_security_group(GroupId=site.group)
    with refused("DependencyViolation", site.vpc):
        ec2.delete_vpc(VpcId=site.vpc)


def test_the_right_order_leaves_nothing(ec2: Any, site: Site) -> None:
    instance, address = site.launch(), site.address()
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    ec2.terminate_instances(InstanceIds=[instance])
    ec2.release_address(AllocationId=address["AllocationId"], NetworkBorderGroup=address["NetworkBorderGroup"])
    with refused("DependencyViolation", site.vpc):
        ec2.delete_vpc(VpcId=site.vpc)
    ec2.disassociate_route_table(AssociationId=site.association)
    ec2.delete_route_table(RouteTableId=site.route_table)
    ec2.delete_subnet(SubnetId=site.subnet)
    with refused("DependencyViolation", site.vpc):
        ec2.delete_vpc(VpcId=site.vpc)
    ec2.delete_security_group(GroupId=site.group)
    ec2.detach_internet_gateway(InternetGatewayId=site.gateway, VpcId=site.vpc)
    ec2.delete_internet_gateway(InternetGatewayId=site.gateway)
    ec2.delete_vpc(VpcId=site.vpc)
    assert everything(ec2) == []


def everything(ec2: Any) -> list[Any]:
    """All that describe calls list, except terminated instances, which AWS shows for an hour."""
    return [
        *ec2.describe_vpcs()["Vpcs"],
        *ec2.describe_subnets()["Subnets"],
        *ec2.describe_internet_gateways()["InternetGateways"],
        *ec2.describe_route_tables()["RouteTables"],
        *ec2.describe_security_groups()["SecurityGroups"],
        *ec2.describe_security_group_rules()["SecurityGroupRules"],
        *ec2.describe_network_interfaces()["NetworkInterfaces"],
        *ec2.describe_network_acls()["NetworkAcls"],
        *ec2.describe_addresses()["Addresses"],
        *ec2.describe_volumes()["Volumes"],
        *ec2.describe_key_pairs()["KeyPairs"],
    ]


def test_a_fresh_world_is_empty_in_every_region(client: Client) -> None:
    for region in ("us-west-2", "us-east-1", "eu-central-1"):
        assert everything(client("ec2", region)) == []


def test_a_subnet_takes_its_route_table_association_along(ec2: Any, site: Site) -> None:
    ec2.delete_subnet(SubnetId=site.subnet)
    ec2.delete_route_table(RouteTableId=site.route_table)


def test_a_group_that_another_names_stays(ec2: Any, site: Site) -> None:
    other = ec2.create_security_group(GroupName="b", Description="b", VpcId=site.vpc)["GroupId"]
    site.admit(80, UserIdGroupPairs=[{"GroupId": other}])
    with refused("DependencyViolation", other):
        ec2.delete_security_group(GroupId=other)


def test_the_default_group_goes_with_its_vpc_only(ec2: Any, site: Site) -> None:
    (default,) = ec2.describe_security_groups(
        Filters=[
            {"Name": "vpc-id", "Values": [site.vpc]},
            {"Name": "group-name", "Values": ["default"]},
        ]
    )["SecurityGroups"]
    with refused("CannotDelete"):
        ec2.delete_security_group(GroupId=default["GroupId"])


def checkers(ec2: Any, region: str = "us-west-2") -> str:
    name = f"com.amazonaws.{region}.route53-healthchecks"
    (found,) = ec2.describe_managed_prefix_lists(Filters=[{"Name": "prefix-list-name", "Values": [name]}])["PrefixLists"]
    assert found["OwnerId"] == "AWS"
    return found["PrefixListId"]


def test_every_region_has_the_health_checkers_list(client: Client) -> None:
    for region in ("us-west-2", "us-east-1", "eu-central-1"):
        ec2 = client("ec2", region)
        entries = ec2.get_managed_prefix_list_entries(PrefixListId=checkers(ec2, region))
        assert len(entries["Entries"]) > 1


def ranges(count: int) -> list[dict[str, str]]:
    return [{"CidrIp": f"127.1.{i}.0/24", "Description": f"office {i}"} for i in range(count)]


def test_a_prefix_list_weighs_25_rules(ec2: Any, site: Site) -> None:
    site.admit(8080, PrefixListIds=[{"PrefixListId": checkers(ec2)}])
    site.admit(8080, IpRanges=ranges(35))
    with refused("RulesPerSecurityGroupLimitExceeded"):
        site.admit(22, IpRanges=ranges(1))


def test_a_prefix_list_does_not_fit_beside_36_rules(ec2: Any, site: Site) -> None:
    site.admit(8080, IpRanges=ranges(36))
    with refused("RulesPerSecurityGroupLimitExceeded"):
        site.admit(8080, PrefixListIds=[{"PrefixListId": checkers(ec2)}])
    rule = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "IpRanges": ranges(59)}
    ec2.authorize_security_group_egress(GroupId=site.group, IpPermissions=[rule])


def test_rules_keep_their_description_and_are_not_repeated(ec2: Any, site: Site) -> None:
    lists = [{"PrefixListId": checkers(ec2), "Description": "Route 53 health checkers"}]
    site.admit(8080, PrefixListIds=lists)
    site.admit(8080, IpRanges=ranges(1))
    rules = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [site.group]}])["SecurityGroupRules"]
    texts = {rule.get("Description") for rule in rules if not rule["IsEgress"]}
    assert texts == {"Route 53 health checkers", "office 0"}
    for source in ({"PrefixListIds": lists}, {"IpRanges": ranges(1)}):
        with refused("InvalidPermission.Duplicate"):
            site.admit(8080, **source)


def test_an_unknown_prefix_list_is_refused(site: Site) -> None:
    with refused("InvalidPrefixListID.NotFound"):
        site.admit(8080, PrefixListIds=[{"PrefixListId": "pl-0123456789abcdef0"}])


def test_a_key_pair_is_imported_once(ec2: Any) -> None:
    from .conftest import PUBLIC_KEY

    ec2.import_key_pair(KeyName="deployer", PublicKeyMaterial=PUBLIC_KEY)
    with refused("InvalidKeyPair.Duplicate"):
        ec2.import_key_pair(KeyName="deployer", PublicKeyMaterial=PUBLIC_KEY)
    with refused("InvalidKeyPair.Format"):
        ec2.import_key_pair(KeyName="other", PublicKeyMaterial=b"no key")


def test_a_replaced_group_no_longer_guards_the_instance(ec2: Any, site: Site) -> None:
    instance = site.launch()
    new = ec2.create_security_group(GroupName="b", Description="b", VpcId=site.vpc)["GroupId"]
    ec2.modify_instance_attribute(InstanceId=instance, Groups=[new])
    ec2.delete_security_group(GroupId=site.group)


def test_groups_of_an_interface_are_the_instances(ec2: Any, site: Site) -> None:
    site.launch()
    other = ec2.create_security_group(GroupName="other", Description="other", VpcId=site.vpc)["GroupId"]
    (interface,) = ec2.describe_network_interfaces()["NetworkInterfaces"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface["NetworkInterfaceId"], Groups=[other])
    (instance,) = ec2.describe_instances()["Reservations"][0]["Instances"]
    assert [group["GroupId"] for group in instance["SecurityGroups"]] == [other]
    assert [group["GroupId"] for group in instance["NetworkInterfaces"][0]["Groups"]] == [other]


def test_an_interface_without_an_address_has_no_association(ec2: Any, site: Site) -> None:
    instance = site.launch()
    assert "Association" not in ec2.describe_instances()["Reservations"][0]["Instances"][0]["NetworkInterfaces"][0]
    address = site.address()
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    (interface,) = ec2.describe_instances()["Reservations"][0]["Instances"][0]["NetworkInterfaces"]
    assert interface["Association"]["PublicIp"] == address["PublicIp"]
