"""The provider plugins under the real engine, with programs of their own: what the engine makes of their answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from localcloud.plugins.install import install

if TYPE_CHECKING:
    from support import World

pytestmark = pytest.mark.engine

PLANTED = "planted-secret-text"
NETWORK = """\
import os
import pulumi
import pulumi_aws as aws

tags = {"Name": os.environ.get("TAG", "one"), "plugin-test": "yes"}
vpc = aws.ec2.Vpc("vpc", cidr_block="10.9.0.0/16", enable_dns_hostnames=True, tags=tags)
subnet = aws.ec2.Subnet(
    "subnet", vpc_id=vpc.id, cidr_block=os.environ.get("CIDR", "10.9.0.0/24"), availability_zone="us-west-2-lax-1a", tags=tags
)
gateway = aws.ec2.InternetGateway("gateway", vpc_id=vpc.id, tags=tags)
table = aws.ec2.RouteTable("table", vpc_id=vpc.id, tags=tags)
aws.ec2.Route("route", route_table_id=table.id, destination_cidr_block="0.0.0.0/0", gateway_id=gateway.id)
aws.ec2.RouteTableAssociation("association", route_table_id=table.id, subnet_id=subnet.id)
group = aws.ec2.SecurityGroup("group", vpc_id=vpc.id, tags=tags)
aws.vpc.SecurityGroupIngressRule(
    "ingress", security_group_id=group.id, ip_protocol="tcp", from_port=22, to_port=22, cidr_ipv4="93.184.216.0/24", tags=tags
)
aws.vpc.SecurityGroupEgressRule("egress", security_group_id=group.id, ip_protocol="-1", cidr_ipv4="0.0.0.0/0", tags=tags)
zone = aws.get_availability_zone(name="us-west-2-lax-1a")
ami = aws.ssm.get_parameter(
    name="/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
)
instance = aws.ec2.Instance(
    "instance",
    ami=ami.insecure_value,
    instance_type="g4dn.2xlarge",
    subnet_id=subnet.id,
    vpc_security_group_ids=[group.id],
    user_data=pulumi.Output.secret("#!/bin/sh\\n# planted-secret-text " + os.environ.get("DATA", "")),
    metadata_options={"http_tokens": "required", "http_put_response_hop_limit": 1},
    root_block_device={"volume_type": "gp2", "volume_size": 100, "encrypted": True},
    tags=tags,
    volume_tags=tags,
)
after_gateway = pulumi.ResourceOptions(depends_on=[gateway])
eip = aws.ec2.Eip("eip", domain="vpc", network_border_group=zone.network_border_group, tags=tags, opts=after_gateway)
aws.ec2.EipAssociation("address", allocation_id=eip.id, instance_id=instance.id)
pulumi.export("ip", eip.public_ip)
pulumi.export("user_data", instance.user_data)
"""


class Program:
    """A stack of a small program on the shared local cloud, driven by plain `pulumi`."""

    def __init__(self, binary: Path, world: World, folder: Path, name: str) -> None:
        home, state, self.directory = folder / "home", folder / "state", folder / name
        for made in (state, self.directory):
            made.mkdir(exist_ok=True)
        install(home, Path(sys.executable))
        self.world = world
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
            "PATH": f"{binary.parent}{os.pathsep}{os.environ['PATH']}",
            "PULUMI_HOME": str(home),
            "PULUMI_BACKEND_URL": f"file://{state}",
            "PULUMI_CONFIG_PASSPHRASE": "x",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            **world.status.variables,
        }
        (self.directory / "Pulumi.yaml").write_text(f"name: {name}\nruntime: python\n")
        (self.directory / "Pulumi.test.yaml").write_text("config:\n  aws:region: us-west-2\n")
        self.pulumi("stack", "init", "test")

    def write(self, text: str) -> None:
        (self.directory / "__main__.py").write_text(text)

    def pulumi(self, *arguments: str, check: bool = True, **environment: str) -> str:
        """Runs a command and returns all it says."""
        ran = subprocess.run(
            ["pulumi", "--non-interactive", "--color=never", *arguments],
            cwd=self.directory,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert not check or ran.returncode == 0, ran.stdout
        return ran.stdout

    def up(self, *arguments: str, check: bool = True, **environment: str) -> str:
        return self.pulumi("up", "--yes", "--skip-preview", "--stack=test", *arguments, check=check, **environment)

    def steps(self, *arguments: str, **environment: str) -> dict[str, str]:
        """What a preview would do, by resource, without what stays the same."""
        told = json.loads(self.pulumi("preview", "--json", "--stack=test", *arguments, check=True, **environment))
        steps = {step["urn"].rpartition("::")[2]: step["op"] for step in told["steps"]}
        return {name: kind for name, kind in steps.items() if kind not in {"same", "refresh"}}

    def state(self) -> dict[str, dict[str, Any]]:
        text = self.pulumi("stack", "export", "--stack=test")
        assert PLANTED not in text
        return {each["urn"].rpartition("::")[2]: each for each in json.loads(text)["deployment"].get("resources", [])}


@pytest.fixture
def network(pulumi_binary: Path, world: World, tmp_path: Path) -> Program:
    program = Program(pulumi_binary, world, tmp_path, "network")
    program.write(NETWORK)
    return program


def test_a_network_lives_drifts_is_mended_and_leaves_nothing_behind(network: Program) -> None:
    before = network.world.inventory()
    assert PLANTED not in network.up()
    assert network.steps("--refresh") == {}, "reality is as the program says, and a second run has nothing to do"
    changed = network.steps(TAG="two", DATA="two")
    assert set(changed.values()) == {"update"}
    assert changed.keys() >= {"vpc", "subnet", "instance", "eip"}
    replaced = network.steps(CIDR="10.9.1.0/24")
    assert replaced.keys() == {"subnet", "instance", "association", "address"}
    assert "update" not in replaced.values()

    ec2, state = network.world.aws("ec2"), network.state()
    assert "ciphertext" in state["instance"]["outputs"]["userData"]
    vpc, table = state["vpc"]["id"], state["table"]["id"]
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": "drifted"}])
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    told = network.up("--refresh")
    assert "1 created" in told
    assert "1 updated" in told
    assert {"Key": "Name", "Value": "one"} in ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Tags"]
    assert len(ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]) == 2

    network.pulumi("destroy", "--yes", "--skip-preview", "--stack=test")
    assert network.world.inventory() == before


WRONG = {
    "misspelt": ("aws:ec2/vpc:Vpc", {"cidrBlok": "10.0.0.0/16"}, "cidrBlok is not a property here; did you mean cidrBlock?"),
    "mistyped": ("aws:ec2/eip:Eip", {"tags": {"a": {"b": PLANTED}}}, 'tags["a"] must be a string, not an object'),
    "missing": ("aws:ec2/subnet:Subnet", {"cidrBlock": "10.0.0.0/24"}, "vpcId is required, but missing"),
    "output": ("aws:ec2/eip:Eip", {"publicIp": PLANTED}, "publicIp is an output of the resource and cannot be set"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_inputs_are_refused_before_anything_exists(pulumi_binary: Path, world: World, tmp_path: Path, name: str) -> None:
    token, inputs, expected = WRONG[name]
    program = Program(pulumi_binary, world, tmp_path, "wrong")
    before = world.inventory()
    program.write(
        "import pulumi\n"
        f"inputs = {{key: pulumi.Output.secret(value) for key, value in {inputs!r}.items()}}\n"
        f"pulumi.CustomResource({token!r}, {name!r}, inputs)\n"
    )
    told = program.up(check=False)
    assert f"error: {token} resource '{name}' has a problem: {expected}" in told
    assert PLANTED not in told
    assert "Traceback" not in told
    assert world.inventory() == before


def test_errors_of_aws_are_one_line(pulumi_binary: Path, world: World, tmp_path: Path) -> None:
    program = Program(pulumi_binary, world, tmp_path, "refused")
    program.write("import pulumi_aws as aws\naws.ec2.Vpc('vpc', cidr_block='10.0.0.0/8')\n")
    told = program.up(check=False)
    assert "error: CreateVpc: InvalidVpc.Range: The CIDR '10.0.0.0/8' is invalid." in told
    assert "Traceback" not in told
    program.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
    told = program.up(check=False)
    # Newer engines (3.274) put "bad provider state for resource" before it.
    assert "the local cloud at http://127.0.0.1:1 does not answer: start it with `edge cloud start`" in told
