"""Machine images and the public SSM parameters that name them; managed prefix lists.

Only the two Deep Learning AMIs that the project offers exist here, in every Region, and the
Route 53 health checkers' prefix list. moto has none of them, and knows no deprecation.
"""

# moto is partly untyped, and its parts use each other's state:
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models import EC2Backend
from moto.ec2.models.amis import Ami
from moto.ec2.responses import EC2Response
from moto.ssm.models import Parameter, SimpleSystemManagerBackend

from localcloud.api import faults

RELEASED = datetime(2026, 11, 13, tzinfo=UTC)
DLAMI_OWNER = "898082745236"
ROOT_GIB = 75
PARAMETER = "/aws/service/deeplearning/ami/x86_64/{kind}/latest/ami-id"
# kind in the parameter's name -> image name, root device
IMAGES = {
    "base-oss-nvidia-driver-gpu-amazon-linux-2023": (
        "Deep Learning Base OSS Nvidia Driver GPU AMI (Amazon Linux 2023) 20261113",
        "/dev/xvda",
    ),
    "base-oss-nvidia-driver-gpu-ubuntu-22.04": (
        "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) 20261113",
        "/dev/sda1",
    ),
}

HEALTH_CHECKER_CIDRS = tuple(f"127.255.{block}.0/24" for block in range(16))
"""Where this cloud's Route 53 health checkers connect from, worldwide; listed in every Region."""
PREFIX_LIST_WEIGHT = 25
"""Rules that a reference to the health checkers' list counts for, against the group's quota."""


def ami_id(region: str, kind: str) -> str:
    """The image's id: differs by Region, the same in every world."""
    return "ami-" + sha256(f"{region}/{kind}".encode()).hexdigest()[:17]


class DeepLearningAmi(Ami):
    """An AMI whose root snapshot has the size and volume type of the real one: 75 GiB, gp3."""

    def __init__(self, backend: Any, kind: str) -> None:
        name, root_device = IMAGES[kind]
        super().__init__(
            backend,
            ami_id(backend.region_name, kind),
            name=name,
            description=name,
            owner_id=DLAMI_OWNER,
            owner_alias="amazon",
            public=True,
            virtualization_type="hvm",
            architecture="x86_64",
            creation_date=RELEASED,
            image_location=f"amazon/{name}",
            hypervisor="xen",
            root_device_type="ebs",
            root_device_name=root_device,
            region_name=backend.region_name + "a",
        )
        self.ebs_snapshot.volume.size = ROOT_GIB

    @property
    def deprecation_time(self) -> str | None:
        """When its owner deprecated it, if ever; for a public AMI that is two years after its release at the latest."""
        return RELEASED.isoformat() if self.id in faults.current.deprecated_images else None

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        """The root device as DescribeImages shows it."""
        return [
            {
                "DeviceName": self.root_device_name,
                "Ebs": {
                    "SnapshotId": self.ebs_snapshot.id,
                    "VolumeSize": ROOT_GIB,
                    "DeleteOnTermination": True,
                    "VolumeType": "gp3",
                    "Encrypted": False,
                },
            }
        ]


class ImageData(EC2Backend):
    """Images and prefix lists of one Region."""

    def _load_amis(self) -> None:
        for kind in IMAGES:
            image: Any = DeepLearningAmi(self, kind)
            self.amis[image.id] = image

    def create_default_pls(self) -> None:
        """The lists that moto has, and the health checkers'. AWS reports no max entries for its own lists."""
        super().create_default_pls()
        self._create_aws_managed_prefix_list(
            name=f"com.amazonaws.{self.region_name}.route53-healthchecks",
            address_family="IPv4",
            entries=[{"Cidr": cidr, "Description": "default"} for cidr in HEALTH_CHECKER_CIDRS],
        )


class ImageResponses(EC2Response):
    """Request parsing for the image calls."""

    def describe_images(self) -> ActionResult:
        """Others' deprecated images are shown only where they are asked for, or named (botocore: IncludeDeprecated)."""
        answer: Any = super().describe_images()
        if not self._get_param("ImageIds", []) and not self._get_param("IncludeDeprecated", False):  # noqa: FBT003
            answer.result["Images"] = [each for each in answer.result["Images"] if not getattr(each, "deprecation_time", None)]
        return answer


class SsmBackend(SimpleSystemManagerBackend):
    """SSM with the public parameters that resolve to the images above."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        for kind in IMAGES:
            name = PARAMETER.format(kind=kind)
            parameter: Any = Parameter(
                account_id=account_id,
                name=name,
                value=ami_id(region_name, kind),
                parameter_type="String",
                description=None,
                allowed_pattern=None,
                keyid=None,
                last_modified_date=RELEASED,
                version=1,
                data_type="text",
            )
            self._parameters[name].append(parameter)
