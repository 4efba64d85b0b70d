"""The server itself: services, quotas, the control interface, change notices, one world."""

# boto3 makes its clients from data, so they have no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import socket
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from localcloud import keys
from localcloud.api import faults
from localcloud.api.server import ApiServer

from .conftest import Client, options, refused


def test_identity(client: Client) -> None:
    assert client("sts").get_caller_identity()["Account"] == "123456789012"


@pytest.mark.parametrize(
    ("service", "code", "value"),
    [("ec2", "L-DB2E81BA", 64), ("ec2", "L-0263D0A3", 16), ("vpc", "L-0EA8095F", 60)],
)
def test_quotas(client: Client, service: str, code: str, value: float) -> None:
    quota = client("service-quotas").get_service_quota(ServiceCode=service, QuotaCode=code)
    assert quota["Quota"]["Value"] == value
    assert quota["Quota"]["QuotaCode"] == code


def test_quotas_follow_the_faults(client: Client) -> None:
    faults.update({"quota_vcpus": 0})
    quota = client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-DB2E81BA")
    assert quota["Quota"]["Value"] == 0
    with refused("NoSuchResourceException"):
        client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-0")


def test_parameters_name_images_of_their_region(client: Client) -> None:
    kinds = ("amazon-linux-2023", "ubuntu-22.04")
    found = set[str]()
    for region in ("us-west-2", "eu-central-1"):
        for kind in kinds:
            path = f"/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-{kind}"
            value = client("ssm", region).get_parameter(Name=f"{path}/latest/ami-id")
            image = value["Parameter"]["Value"]
            (described,) = client("ec2", region).describe_images(ImageIds=[image])["Images"]
            assert described["State"] == "available"
            found.add(image)
    assert len(found) == 4
    with refused("ParameterNotFound"):
        client("ssm").get_parameter(Name="/aws/service/deeplearning/ami/arm64/x/latest/ami-id")


def test_control_of_faults(control: Any) -> None:
    status, shown = control("PUT", "faults", quota_vcpus=8, no_capacity_zones=["us-west-2a"])
    assert status == 200
    assert (shown["quota_vcpus"], shown["no_capacity_zones"]) == (8, ["us-west-2a"])
    assert control("GET", "faults") == (200, shown)
    assert shown["quota_addresses"] == 16


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("faults", {"quota_vcpu": 8}),
        ("faults", {"throttle_next": -1}),
        ("zone-groups", {"name": "nowhere", "opt_in_status": "opted-in"}),
        ("zone-groups", {"name": "us-west-2-lax-1", "opt_in_status": "maybe"}),
        ("hosted-zones", {"nam": "edge.internal"}),
    ],
)
def test_control_refuses_nonsense(control: Any, path: str, body: dict[str, Any]) -> None:
    status, answer = control("PUT", path, **body)
    assert status == 400
    assert answer["error"]
    assert faults.current == faults.Faults()


def test_control_makes_a_hosted_zone_once(control: Any, client: Client) -> None:
    first = control("PUT", "hosted-zones", name="edge.internal")
    assert control("PUT", "hosted-zones", name="edge.internal.") == first
    (zone,) = client("route53", "us-east-1").list_hosted_zones()["HostedZones"]
    assert zone["Id"] == f"/hostedzone/{first[1]['id']}"
    assert not zone["Config"]["PrivateZone"]


def test_control_opts_in_and_out(control: Any, ec2: Any) -> None:
    def status() -> str:
        (zone,) = ec2.describe_availability_zones(AllAvailabilityZones=True, ZoneNames=["us-west-2-lax-1a"])["AvailabilityZones"]
        return zone["OptInStatus"]

    for wanted in ("not-opted-in", "opted-in"):
        control("PUT", "zone-groups", name="us-west-2-lax-1", opt_in_status=wanted)
        assert status() == wanted


def test_unknown_control_paths_are_not_found(control: Any) -> None:
    assert control("GET", "nothing")[0] == 404


def test_an_unknown_service_is_named(api: ApiServer) -> None:
    s3 = boto3.client("s3", region_name="us-west-2", **options(api))
    with pytest.raises(ClientError, match="501"):
        s3.list_buckets()


def test_what_moto_lacks_is_an_aws_error(ec2: Any) -> None:
    with refused("InternalError", "describe_spot_placement_scores|has not been implemented"):
        ec2.get_spot_placement_scores(TargetCapacity=1)


def test_changes_are_announced_and_other_control_is_handed_on() -> None:
    changes: list[str] = []
    calls: list[tuple[str, str, dict[str, object], str]] = []

    def control(method: str, path: str, body: dict[str, object], authorization: str) -> tuple[int, dict[str, object]]:
        calls.append((method, path, body, authorization))
        return 200, {"seen": True}

    server = ApiServer(keys.make(), on_change=lambda: changes.append("change"), control=control)
    server.start()
    try:
        ec2 = boto3.client(
            "ec2",
            region_name="us-west-2",
            **options(server),
        )
        ec2.describe_vpcs()
        assert changes == []
        ec2.create_vpc(CidrBlock="10.0.0.0/16")
        assert changes == ["change"]
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            path = f"/_localcloud/hub/{server.keys.hub_token}/api/models/a/b"
            request = f"GET {path} HTTP/1.1\r\nHost: localhost:{server.port}\r\nAuthorization: Bearer x\r\n\r\n"
            connection.sendall(request.encode())
            assert b'{"seen":true}' in connection.makefile("rb").read()
        assert calls == [("GET", "hub/api/models/a/b", {}, "Bearer x")]
    finally:
        server.stop()


def test_a_port_in_use_is_an_error(api: ApiServer) -> None:
    with pytest.raises(OSError, match="in use"):
        ApiServer(keys.make(), api.port)
