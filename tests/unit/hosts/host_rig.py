"""Hosts in a world that a test makes up, and ways to reach them."""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent
from typing import Any, cast

import asyncssh
import boto3  # pyright: ignore[reportMissingTypeStubs]

from localcloud import client, hub
from localcloud.hosts.host import Settings
from localcloud.hosts.hosts import Hosts

IMAGE = "ghcr.io/huggingface/text-generation-inference:2.4.0"


def new_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")  # pyright: ignore[reportUnknownMemberType]


LOGIN, HOST_KEY = new_key(), new_key()
USER_DATA = (
    "#cloud-config\nssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n"
    + indent(HOST_KEY.export_private_key().decode(), "    ")
    + f"  ed25519_public: {HOST_KEY.export_public_key().decode()}"
)
_ADDRESSES = (f"127.{77 + os.getpid() % 100}.{n // 250}.{n % 250 + 1}" for n in itertools.count())


@dataclass(frozen=True)
class Instance:
    """An instance of a made-up world."""

    instance_id: str
    zone: str = "us-west-2a"
    state: str = "running"
    user_data: bytes = USER_DATA.encode()
    public_key: str | None = LOGIN.export_public_key().decode()
    addresses: tuple[str, ...] = field(default_factory=lambda: (next(_ADDRESSES),))
    stops: int = 0


@dataclass
class MadeUpWorld:
    """A world whose instances and refusal a test sets."""

    listed: dict[str, Instance] = field(default_factory=dict[str, Instance])
    reason: str | None = None

    def instances(self) -> list[Instance]:
        return list(self.listed.values())

    def refusal(self, address: str, port: int, source: str) -> str | None:  # noqa: ARG002
        return self.reason


class Rig:
    """Hosts that follow a made-up world."""

    def __init__(self, hosts: Hosts, world: MadeUpWorld) -> None:
        self.hosts, self.world = hosts, world

    async def put(self, *instances: Instance) -> None:
        """Set these instances and let the hosts follow."""
        for instance in instances:
            self.world.listed[instance.instance_id] = instance
        self.hosts.reconcile()

    async def until(self, condition: Any) -> None:
        """Wait until a condition on the hosts holds."""

        async def wait() -> None:
            while not condition():
                await self.hosts.changed.wait()

        await asyncio.wait_for(wait(), 10)

    async def opened(self, instance: Instance, port: int = 22) -> None:
        await self.until(lambda: (instance.addresses[0], port) in self.hosts.doorways)

    async def closed(self, instance: Instance, port: int = 22) -> None:
        await self.until(lambda: (instance.addresses[0], port) not in self.hosts.doorways)

    async def boot(self, name: str = "i-1", **options: Any) -> Instance:
        """Run an instance and wait until its host lets in."""
        instance = Instance(name, **options)
        await self.put(instance)
        await self.opened(instance)
        return instance

    def connect(self, instance: Instance, **options: Any) -> Any:
        """An SSH connection through the doorway; the host key is verified."""
        known: tuple[list[bytes], list[bytes], list[bytes]] = ([HOST_KEY.export_public_key()], [], [])
        options = {"username": "ec2-user", "client_keys": [LOGIN], "known_hosts": known, **options}
        return asyncssh.connect(instance.addresses[0], 20022, config=None, **options)

    async def run(self, instance: Instance, command: str, stdin: str = "", **options: Any) -> tuple[int | None, str, str]:
        """Run a command; its status, output and error output."""
        async with self.connect(instance, **options) as connection:
            done = await connection.run(command, input=stdin)
            return done.exit_status, str(done.stdout), str(done.stderr)

    async def good(self, instance: Instance, command: str, stdin: str = "") -> str:
        """Run a command that must succeed; its output."""
        status, out, err = await self.run(instance, command, stdin)
        assert status == 0, (command, out, err)
        return out.strip()

    async def serve(self, instance: Instance, *, port: int = 8080) -> None:
        """Start a model server on a host as the project's scripts do, and wait until it is let in to."""
        await self.good(instance, "systemctl enable --now docker && docker pull -q " + IMAGE)
        directory = self.hosts.hosts[instance.instance_id].root / "opt/edge-inference/model"
        write_model(directory)
        run = f"docker run -d --name server --restart unless-stopped --gpus all -p {port}:80"
        await self.good(instance, f'{run} -v "$EDGE_HOST_ROOT/opt/edge-inference/model:/model:ro" {IMAGE} --model-id /model')
        await self.opened(instance, port)


def write_model(directory: Path, name: str = "meta-llama/Llama-3.2-3B-Instruct") -> None:
    """The files that converge leaves on a host."""
    directory.mkdir(parents=True)
    for file, content in hub.files(name).items():
        (directory / file).write_text(json.dumps(content))


def launch(cloud: client.CloudStatus) -> str:
    """Everything a reachable instance needs; its address."""
    create = cast("Any", boto3).client
    ec2 = create("ec2", "us-west-2", **cloud.boto3_options)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone="us-west-2a")["Subnet"]["SubnetId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "127.0.0.0/8"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    ec2.import_key_pair(KeyName="k", PublicKeyMaterial=LOGIN.export_public_key())
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    disk = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeType": "gp3", "VolumeSize": 100}}
    instance = ec2.run_instances(
        ImageId=image, InstanceType="g4dn.2xlarge", MinCount=1, MaxCount=1, SubnetId=subnet, SecurityGroupIds=[group],
        KeyName="k", UserData=USER_DATA, BlockDeviceMappings=[disk],
    )["Instances"][0]["InstanceId"]  # fmt: skip
    address = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    return address["PublicIp"]


@asynccontextmanager
async def rig(directory: Path, hub_endpoint: str = "http://127.0.0.1:9/hub", **options: Any) -> AsyncGenerator[Rig]:
    """Hosts below a directory; boots and loads take no time. Without a Hub unless one is named."""
    world = MadeUpWorld()
    hosts = Hosts(directory / "world", world, settings=Settings(0, 0, 0, 0), **options)
    hosts.directory.mkdir()
    hosts.timing.first_token_ms = hosts.timing.token_ms = hosts.timing.prompt_token_ms = 0
    await hosts.open(hub_endpoint)
    try:
        yield Rig(hosts, world)
    finally:
        await hosts.close()
