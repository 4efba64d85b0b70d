"""What the rest of the local cloud sees: instances, and who reaches an address."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from localcloud.api import world

from .conftest import PUBLIC_KEY, Client, Site

CLIENT = "127.0.0.1"


@pytest.fixture
def reachable(ec2: Any, site: Site) -> tuple[Site, str, str]:
    """A site whose port 22 is open to the client; its instance and address."""
    ec2.import_key_pair(KeyName="deployer", PublicKeyMaterial=PUBLIC_KEY)
    instance = site.launch(KeyName="deployer", UserData="#cloud-config\nssh_deletekeys: true\n")
    address = site.address()
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    site.admit(22, IpRanges=[{"CidrIp": "127.0.0.0/16"}])
    return site, instance, address["PublicIp"]


def test_an_instance_as_its_host_needs_it(reachable: tuple[Site, str, str]) -> None:
    _, instance, address = reachable
    (view,) = world.instances()
    assert view.instance_id == instance
    assert (view.region, view.zone, view.state) == ("us-west-2", "us-west-2-hnl-1a", "running")
    assert view.user_data == b"#cloud-config\nssh_deletekeys: true\n"
    assert view.public_key is not None
    assert view.public_key.startswith(PUBLIC_KEY.decode())
    assert view.addresses == (address,)


def test_a_stop_is_counted_though_it_is_over(ec2: Any, reachable: tuple[Site, str, str]) -> None:
    ids = [reachable[1]]
    assert world.instances()[0].stops == 0
    ec2.stop_instances(InstanceIds=ids)
    ec2.start_instances(InstanceIds=ids)
    (view,) = world.instances()
    assert (view.state, view.stops) == ("running", 1)


def test_terminated_instances_are_gone(ec2: Any, reachable: tuple[Site, str, str]) -> None:
    ec2.terminate_instances(InstanceIds=[reachable[1]])
    assert world.instances() == []
    assert "not associated" in (world.refusal(reachable[2], 22, CLIENT) or "")


def test_instances_of_all_regions(client: Client, site: Site) -> None:
    site.launch()
    east = client("ec2", "us-east-1")
    Site(east, east.describe_images()["Images"][0]["ImageId"], "us-east-1a").launch()
    assert {view.region for view in world.instances()} == {"us-west-2", "us-east-1"}


def test_an_admitted_source_gets_through(reachable: tuple[Site, str, str]) -> None:
    address = reachable[2]
    assert world.refusal(address, 22, CLIENT) is None
    assert "no inbound rule" in (world.refusal(address, 23, CLIENT) or "")
    assert "no inbound rule" in (world.refusal(address, 22, "127.1.0.1") or "")
    assert "not an Elastic IP" in (world.refusal("127.9.9.9", 22, CLIENT) or "")


def test_health_checkers_are_admitted_by_their_list(ec2: Any, reachable: tuple[Site, str, str]) -> None:
    site, _, address = reachable
    lists = ec2.describe_managed_prefix_lists(
        Filters=[{"Name": "prefix-list-name", "Values": ["com.amazonaws.us-west-2.route53-healthchecks"]}]
    )["PrefixLists"]
    site.admit(8080, PrefixListIds=[{"PrefixListId": lists[0]["PrefixListId"]}])
    assert world.refusal(address, 8080, "127.255.3.17") is None
    assert "no inbound rule" in (world.refusal(address, 8080, CLIENT) or "")


def test_all_traffic_rules_admit_every_port(ec2: Any, reachable: tuple[Site, str, str]) -> None:
    site, _, address = reachable
    ec2.authorize_security_group_ingress(
        GroupId=site.group,
        IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "127.77.0.0/16"}]}],
    )
    assert world.refusal(address, 9, "127.77.1.1") is None


def test_a_closed_way_is_named(ec2: Any, reachable: tuple[Site, str, str]) -> None:
    site, instance, address = reachable
    ec2.stop_instances(InstanceIds=[instance])
    assert "stopped, not running" in (world.refusal(address, 22, CLIENT) or "")
    ec2.start_instances(InstanceIds=[instance])
    ec2.disassociate_route_table(AssociationId=site.association)
    assert "no route" in (world.refusal(address, 22, CLIENT) or "")
    ec2.associate_route_table(RouteTableId=site.route_table, SubnetId=site.subnet)
    assert world.refusal(address, 22, CLIENT) is None
    ec2.delete_route(RouteTableId=site.route_table, DestinationCidrBlock="0.0.0.0/0")
    assert "no route" in (world.refusal(address, 22, CLIENT) or "")


def test_what_is_known_is_told_while_the_api_works(reachable: tuple[Site, str, str]) -> None:
    address = reachable[2]
    world.refusal(address, 22, CLIENT)
    with ThreadPoolExecutor() as others, world.lock:
        assert others.submit(world.refusal, address, 22, CLIENT).result(timeout=10) is None


def test_a_change_is_seen_by_the_next_connection(ec2: Any, reachable: tuple[Site, str, str]) -> None:
    site, _, address = reachable
    assert world.refusal(address, 22, CLIENT) is None
    ec2.revoke_security_group_ingress(
        GroupId=site.group,
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "127.0.0.0/16"}]}],
    )
    assert "no inbound rule" in (world.refusal(address, 22, CLIENT) or "")
