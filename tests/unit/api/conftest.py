"""One API server for all of these tests, a fresh world for each."""

# boto3 makes its clients from data, so they have no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from localcloud import keys
from localcloud.api.server import ApiServer, reset_world

AMI_PARAMETER = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
PUBLIC_KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKEafmmCwmIjttenooWbm37tfm9ZdVVnS2DrrgoXMmKA"

Client = Callable[..., Any]


@pytest.fixture(scope="session")
def api() -> Iterator[ApiServer]:
    """The running server."""
    server = ApiServer(keys.make())
    server.start()
    yield server
    server.stop()


def options(api: ApiServer) -> dict[str, str]:
    """What boto3 takes to make a client of a server."""
    return {
        "endpoint_url": f"http://127.0.0.1:{api.port}",
        "aws_access_key_id": api.keys.access_key_id,
        "aws_secret_access_key": api.keys.secret_access_key,
    }


@pytest.fixture(scope="session")
def client(api: ApiServer) -> Client:
    """`client(service, region)`: a boto3 client of the server that does not retry."""

    @cache
    def make(service: str, region: str = "us-west-2") -> Any:
        return boto3.client(
            service,
            region_name=region,
            **options(api),
            config=Config(retries={"total_max_attempts": 1}),
        )

    return make


@pytest.fixture(autouse=True)
def fresh_world() -> None:
    """Forget what the test before left."""
    reset_world()


@pytest.fixture
def ec2(client: Client) -> Any:
    """EC2 of us-west-2."""
    return client("ec2")


@pytest.fixture
def control(api: ApiServer) -> Callable[..., tuple[int, dict[str, Any]]]:
    """`control(method, path, **body)`: the control interface; returns status and JSON."""

    def call(method: str, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        connection = HTTPConnection("127.0.0.1", api.port)
        headers = {"Authorization": f"Bearer {api.keys.control_token}"}
        connection.request(method, f"/_localcloud/{path}", json.dumps(body) if body else None, headers)
        with connection.getresponse() as response:
            return response.status, json.load(response)

    return call


def refused(code: str, match: str | None = None) -> AbstractContextManager[object]:
    """Expect AWS's error code, and a pattern in its message."""

    def has_code(error: ClientError) -> bool:
        return error.response["Error"]["Code"] == code

    return pytest.raises(ClientError, match=match, check=has_code)


@dataclass
class Site:
    """A network with a subnet in one zone, ready to launch into."""

    ec2: Any
    ami: str
    zone: str
    cidr: str = "10.0.0.0/16"
    vpc: str = field(init=False)
    gateway: str = field(init=False)
    route_table: str = field(init=False)
    association: str = field(init=False)
    subnet: str = field(init=False)
    group: str = field(init=False)

    def __post_init__(self) -> None:
        ec2 = self.ec2
        self.vpc = ec2.create_vpc(CidrBlock=self.cidr)["Vpc"]["VpcId"]
        self.gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)
        self.route_table = ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(
            RouteTableId=self.route_table,
            DestinationCidrBlock="0.0.0.0/0",
            GatewayId=self.gateway,
        )
        self.subnet = ec2.create_subnet(VpcId=self.vpc, CidrBlock=self.cidr.replace("/16", "/24"), AvailabilityZone=self.zone)[
            "Subnet"
        ]["SubnetId"]
        self.association = ec2.associate_route_table(RouteTableId=self.route_table, SubnetId=self.subnet)["AssociationId"]
        self.group = ec2.create_security_group(GroupName="site", Description="site", VpcId=self.vpc)["GroupId"]

    def launch(self, **options: Any) -> str:
        """Start one g4dn.2xlarge with a gp2 root of 100 GiB, or what `options` say; its id."""
        request = {
            "ImageId": self.ami,
            "InstanceType": "g4dn.2xlarge",
            "SubnetId": self.subnet,
            "SecurityGroupIds": [self.group],
            "MinCount": 1,
            "MaxCount": 1,
            "BlockDeviceMappings": [root(VolumeType="gp2", VolumeSize=100)],
            **options,
        }
        return self.ec2.run_instances(**request)["Instances"][0]["InstanceId"]

    def address(self) -> dict[str, str]:
        """An address in the zone's border group."""
        group = self.ec2.describe_availability_zones(ZoneNames=[self.zone])
        name = group["AvailabilityZones"][0]["NetworkBorderGroup"]
        return self.ec2.allocate_address(Domain="vpc", NetworkBorderGroup=name)

    def admit(self, port: int, **source: Any) -> None:
        """Add an inbound rule, `IpRanges=` or `PrefixListIds=`."""
        rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **source}
        self.ec2.authorize_security_group_ingress(GroupId=self.group, IpPermissions=[rule])


def root(**ebs: Any) -> dict[str, Any]:
    """A mapping for the image's root device."""
    return {"DeviceName": "/dev/xvda", "Ebs": ebs}


@pytest.fixture
def ami(client: Client) -> str:
    """The Deep Learning AMI of us-west-2."""
    return client("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]


@pytest.fixture
def site(ec2: Any, ami: str) -> Site:
    """A site in Honolulu."""
    return Site(ec2, ami, "us-west-2-hnl-1a")
