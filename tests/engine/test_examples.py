"""The documented programs that use single components, run by plain `pulumi`: they serve, change nothing again, leave nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support import tokens
from test_plugins import Program

from automation.account.keys import new_deployer_key, new_host_key_secret
from automation.paths import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support import World

pytestmark = pytest.mark.engine

TOKEN = "hf_example_token"  # noqa: S105


def vpc_of_ones_own(world: World) -> dict[str, str]:
    """A VPC that somebody else made, with a subnet in Los Angeles that leads to the internet."""
    ec2 = world.aws("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.200.0.0/16")["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.200.1.0/24", AvailabilityZone="us-west-2-lax-1a")["Subnet"]["SubnetId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    return {"vpcId": vpc, "subnetId": subnet}


def hosted_zone(world: World) -> dict[str, str]:
    zone = world.aws("route53").create_hosted_zone(Name="example.internal", CallerReference="examples")["HostedZone"]["Id"]
    return {"domain": "llm.example.internal", "hostedZoneId": zone.rpartition("/")[2]}


@pytest.fixture
def program(pulumi_binary: Path, world: World, tmp_path: Path, request: pytest.FixtureRequest) -> Program:
    """The example that is the test's parameter."""
    made = Program(pulumi_binary, world, tmp_path, request.param)
    made.environment["PYTHONPATH"] = str(PROJECT_ROOT)
    made.write((PROJECT_ROOT / "docs" / "examples" / f"{request.param}.py").read_text())
    return made


@pytest.mark.parametrize(
    ("program", "given", "replicas"), [("one_site", vpc_of_ones_own, 1), ("one_name", hosted_zone, 3)], indirect=["program"]
)
def test_an_example_serves_and_goes(
    program: Program, world: World, given: Callable[[World], dict[str, str]], replicas: int
) -> None:
    config = given(world)
    before = world.inventory()
    key = new_deployer_key()
    secrets = {"sshPrivateKey": key, "hostKeySecret": new_host_key_secret(), "huggingFaceToken": TOKEN}
    for name, value in {**config, "callers": "127.0.0.0/8", "deployer": "127.0.0.1/32"}.items():
        program.pulumi("config", "set", "--stack=test", name, value)
    for name, value in secrets.items():
        program.pulumi("config", "set", "--stack=test", "--secret", name, "--", value)

    said = program.up()
    urls = json.loads(program.pulumi("stack", "output", "urls", "--json", "--stack=test"))
    assert len(urls) == replicas
    assert all(tokens(url) for url in urls)
    state = json.dumps(program.state())
    for secret in (key.splitlines()[2], secrets["hostKeySecret"], TOKEN):
        assert secret not in said
        assert secret not in state
    assert program.steps() == {}, "a second run has nothing to do"
    program.pulumi("destroy", "--yes", "--skip-preview", "--stack=test")
    assert world.inventory() == before
