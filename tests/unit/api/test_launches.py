"""RunInstances refuses what AWS refuses."""

# boto3 has no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.api import faults

from .conftest import PUBLIC_KEY, Client, Site, refused, root


def test_a_launch_is_what_was_asked_for(ec2: Any, site: Site) -> None:
    ec2.import_key_pair(KeyName="deployer", PublicKeyMaterial=PUBLIC_KEY)
    site.launch(
        KeyName="deployer",
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        BlockDeviceMappings=[root(VolumeType="gp2", VolumeSize=100, Encrypted=True)],
        TagSpecifications=[{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": "edge"}]} for kind in ("instance", "volume")],
    )
    (instance,) = ec2.describe_instances()["Reservations"][0]["Instances"]
    (volume,) = ec2.describe_volumes()["Volumes"]
    assert instance["Placement"]["AvailabilityZone"] == "us-west-2-hnl-1a"
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert "PublicIpAddress" not in instance
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (100, "gp2", True)
    assert instance["Tags"] == volume["Tags"] == [{"Key": "Name", "Value": "edge"}]


@pytest.mark.parametrize(
    ("options", "code", "match"),
    [
        ({"InstanceType": "g5.2xlarge"}, "Unsupported", "choosing us-west-2a, us-west-2b"),
        ({"InstanceType": "zz9.huge"}, "InvalidParameterValue", "zz9.huge"),
        ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound", "ami-0123456789abcdef0"),
        ({"KeyName": "missing"}, "InvalidKeyPair.NotFound", "missing"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound", None),
        ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound", None),
        ({"BlockDeviceMappings": []}, "UnknownVolumeType", "'gp3'.* us-west-2-hnl-1a"),
        (
            {"BlockDeviceMappings": [root(VolumeType="gp2", VolumeSize=50)]},
            "InvalidBlockDeviceMapping",
            "expect size >= 75GB",
        ),
        (
            {"BlockDeviceMappings": [root(VolumeType="gp2", Iops=4000)]},
            "InvalidParameterCombination",
            "iops is not supported for gp2",
        ),
        ({"UserData": "x" * (16 * 1024 + 1)}, "InvalidParameterValue", "limited to 16384"),
    ],
)
def test_refused(site: Site, options: dict[str, Any], code: str, match: str | None) -> None:
    with refused(code, match):
        site.launch(**options)
    assert site.ec2.describe_instances()["Reservations"] == []
    assert site.ec2.describe_volumes()["Volumes"] == []


def test_the_image_decides_what_the_request_leaves_out(ec2: Any, ami: str) -> None:
    site = Site(ec2, ami, "us-west-2a")
    site.launch(BlockDeviceMappings=[])
    (volume,) = ec2.describe_volumes()["Volumes"]
    assert (volume["Size"], volume["VolumeType"]) == (75, "gp3")
    (instance,) = ec2.describe_instances()["Reservations"][0]["Instances"]
    assert instance["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"]


def test_a_security_group_of_another_vpc_is_refused(ec2: Any, ami: str, site: Site) -> None:
    other = Site(ec2, ami, "us-west-2a", cidr="10.1.0.0/16")
    with refused("InvalidParameter", "belong to different networks"):
        site.launch(SecurityGroupIds=[other.group])


def test_the_vcpu_quota_is_the_regions(ec2: Any, ami: str, site: Site) -> None:
    faults.update({"quota_vcpus": 16})
    other = Site(ec2, ami, "us-west-2a", cidr="10.1.0.0/16")
    first = site.launch()
    other.launch()
    with refused("VcpuLimitExceeded", "current vCPU limit of 16"):
        other.launch()
    other.launch(InstanceType="t3.micro")
    ec2.terminate_instances(InstanceIds=[first])
    other.launch()


def test_the_quota_of_one_region_leaves_the_others_alone(client: Client, ami: str, site: Site) -> None:
    faults.update({"quota_vcpus": 8})
    site.launch()
    with refused("VcpuLimitExceeded"):
        site.launch()
    east = client("ec2", "us-east-1")
    image = east.describe_images(Filters=[{"Name": "name", "Values": ["*Amazon Linux 2023*"]}])
    assert image["Images"][0]["ImageId"] != ami
    Site(east, image["Images"][0]["ImageId"], "us-east-1a").launch()


def test_a_zone_without_capacity(site: Site) -> None:
    faults.update({"no_capacity_zones": ["us-west-2-hnl-1a"]})
    with refused("InsufficientInstanceCapacity", "us-west-2-hnl-1a"):
        site.launch()


def test_a_client_token_launches_once(ec2: Any, site: Site) -> None:
    first = site.launch(ClientToken="token")
    assert site.launch(ClientToken="token") == first
    assert len(ec2.describe_instances()["Reservations"]) == 1
    with refused("IdempotentParameterMismatch"):
        site.launch(ClientToken="token", InstanceType="g4dn.4xlarge")


def test_metadata_options_keep_what_an_update_leaves_out(ec2: Any, site: Site) -> None:
    instance = site.launch(MetadataOptions={"HttpTokens": "optional", "HttpPutResponseHopLimit": 2})
    options = ec2.modify_instance_metadata_options(InstanceId=instance, HttpTokens="required")
    assert options["InstanceMetadataOptions"]["HttpTokens"] == "required"
    assert options["InstanceMetadataOptions"]["HttpPutResponseHopLimit"] == 2


def test_the_parameter_names_an_image_that_exists(ec2: Any, ami: str) -> None:
    (image,) = ec2.describe_images(ImageIds=[ami])["Images"]
    (device,) = image["BlockDeviceMappings"]
    assert image["RootDeviceName"] == device["DeviceName"] == "/dev/xvda"
    assert (device["Ebs"]["VolumeSize"], device["Ebs"]["VolumeType"]) == (75, "gp3")
    assert image["OwnerId"] == "898082745236"
    assert ec2.describe_images(Owners=["amazon"])["Images"]
    assert ec2.describe_images(Owners=["self"])["Images"] == []


def test_launches_at_once_do_not_overrun_the_quota(site: Site) -> None:
    faults.update({"quota_vcpus": 16})

    def launch(_: int) -> str:
        try:
            return site.launch()[:2]
        except ClientError as error:
            return str(error.response["Error"]["Code"])  # pyright: ignore[reportUnknownArgumentType]

    with ThreadPoolExecutor(6) as pool:
        assert Counter(pool.map(launch, range(6))) == {"i-": 2, "VcpuLimitExceeded": 4}


def test_another_type_is_judged_when_the_instance_starts(ec2: Any, site: Site) -> None:
    instance = site.launch()
    with refused("IncorrectInstanceState", "not in the 'stopped' state"):
        ec2.modify_instance_attribute(InstanceId=instance, InstanceType={"Value": "g4dn.4xlarge"})
    ec2.stop_instances(InstanceIds=[instance])
    with refused("InvalidParameterValue", "zz9.huge"):
        ec2.modify_instance_attribute(InstanceId=instance, InstanceType={"Value": "zz9.huge"})
    ec2.modify_instance_attribute(InstanceId=instance, InstanceType={"Value": "g5.2xlarge"})
    with refused("Unsupported", "choosing us-west-2a, us-west-2b"):
        ec2.start_instances(InstanceIds=[instance])
    assert _state(ec2, instance) == "stopped"
    ec2.modify_instance_attribute(InstanceId=instance, InstanceType={"Value": "g4dn.4xlarge"})
    faults.update({"quota_vcpus": 8})
    with refused("VcpuLimitExceeded"):
        ec2.start_instances(InstanceIds=[instance])
    assert _state(ec2, instance) == "stopped"
    faults.update({"quota_vcpus": 16})
    ec2.start_instances(InstanceIds=[instance])
    ec2.start_instances(InstanceIds=[instance])  # one that runs already
    assert _state(ec2, instance) == "running"


def _state(ec2: Any, instance: str) -> str:
    return ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]["Name"]
