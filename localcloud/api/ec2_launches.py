"""Launches, and what they need: the requests that AWS refuses and moto takes.

Launch templates are left to moto unchecked, and of spot only that AWS counts it against a quota of its own: the project uses
neither.
"""

# moto is partly untyped, and its parts use each other's state:
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import base64
from collections import Counter
from fnmatch import fnmatchcase
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from moto import settings
from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError, InvalidKeyPairFormatError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.key_pairs import KeyPair
from moto.ec2.responses import EC2Response
from moto.ec2.utils import filter_dict_attribute_mapping

from localcloud.api import faults
from localcloud.api.ec2_reservations import ReservationRules
from localcloud.api.ec2_volumes import VolumeRules, refuse_settings

# moto's own checks, off by default. The one for instance types compares with the Region's
# offerings and does not tell unknown from not offered: ours does.
settings.ENABLE_AMI_VALIDATION = True
settings.ENABLE_KEYPAIR_VALIDATION = True
filter_dict_attribute_mapping["instance-lifecycle"] = "lifecycle"  # a filter that moto lacks

USER_DATA_BYTES = 16 * 1024


def vcpus(instance_type: str) -> int:
    """Default vCPUs of an instance type."""
    return INSTANCE_TYPES[instance_type]["VCpuInfo"]["DefaultVCpus"]


def counts_against_gpu_quota(instance_type: str) -> bool:
    """Whether the type is in the bucket of quota L-DB2E81BA, "G and VT instances"."""
    return instance_type.startswith(("g", "vt"))


STOPS: Counter[str] = Counter()
"""How often each instance was stopped."""


class LaunchRules(VolumeRules, ReservationRules):
    """Instances of one Region."""

    def run_instances(
        self,
        image_id: str,
        count: int,
        user_data: Any,
        security_group_names: list[str],
        **kwargs: Any,
    ) -> Any:
        """Launch only what the zone offers, within the quota, while there is capacity."""
        instance_type = kwargs["instance_type"]
        _refuse_unknown(instance_type)
        subnet = kept = None
        if kwargs["subnet_id"]:
            subnet = self.get_subnet(kwargs["subnet_id"])
            self._refuse_foreign_groups(subnet, kwargs["security_group_ids"])
            self._refuse_placement(subnet.availability_zone, instance_type)
            kept = self.open_reservation(subnet.availability_zone, instance_type)
        if subnet and kept is None:
            self._refuse_without_capacity(subnet.availability_zone, instance_type)
        if kept is None and not kwargs.get("instance_market_options"):
            self._refuse_over_quota([instance_type] * count)
        reservation = super().run_instances(image_id, count, user_data, security_group_names, **kwargs)
        for instance in reservation.instances:
            self.set_speeds(instance, kwargs["block_device_mappings"])
            instance.capacity_reservation_id = kept.id if kept else None
            if not kwargs["nics"]:
                # AWS deletes the interface that it made for the launch; moto would leave it.
                instance.nics[0].delete_on_termination = True
        return reservation

    def start_instances(self, instance_ids: list[str]) -> Any:
        """As at a launch: where it is refused, the instances stay stopped."""
        stopped = [instance for instance in self.get_multi_instances_by_id(instance_ids) if instance.state == "stopped"]
        counted: list[str] = []
        for instance in stopped:
            zone = instance.nics[0].subnet.availability_zone
            self._refuse_placement(zone, instance.instance_type)
            kept = self.open_reservation(zone, instance.instance_type)
            if kept is None:
                self._refuse_without_capacity(zone, instance.instance_type)
                counted += [instance.instance_type] if instance.lifecycle != "spot" else []
            instance.capacity_reservation_id = kept.id if kept else None  # pyright: ignore[reportAttributeAccessIssue] - ours
        self._refuse_over_quota(counted)
        return super().start_instances(instance_ids)

    def modify_instance_attribute(self, instance_id: str, key: str, value: Any) -> Any:
        """Another type only while the instance is stopped; whether it may run is judged at its start."""
        if key == "instance_type":
            _refuse_unknown(value)
            if self.get_instance(instance_id).state != "stopped":
                raise EC2ClientError("IncorrectInstanceState", f"The instance '{instance_id}' is not in the 'stopped' state.")
        return super().modify_instance_attribute(instance_id, key, value)

    def stop_instances(self, instance_ids: list[str]) -> Any:
        """Count them, so that the host sees a stop that is over before it looks."""
        stopped = super().stop_instances(instance_ids)
        STOPS.update(instance_ids)
        return stopped

    def all_reservations(self, filters: Any = None) -> Any:
        """AWS's filters take * and ?; moto compares an instance type to the letter."""
        patterns = (filters or {}).get("instance-type")
        if patterns:
            matching = [name for name in INSTANCE_TYPES if any(fnmatchcase(name, pattern) for pattern in patterns)]
            filters = {**filters, "instance-type": matching}
        return super().all_reservations(filters=filters)

    def _refuse_foreign_groups(self, subnet: Any, group_ids: list[str]) -> None:
        for group_id in group_ids:
            group = self.get_security_group_from_id(group_id)
            if group and group.vpc_id != subnet.vpc_id:
                raise EC2ClientError(
                    "InvalidParameter",
                    f"Security group {group_id} and subnet {subnet.id} belong to different networks.",
                )

    def _refuse_placement(self, zone: str, instance_type: str) -> None:
        offered = self.describe_instance_type_offerings("availability-zone", {"instance-type": [instance_type]})
        places = sorted(offering["Location"] for offering in offered)
        if zone not in places:
            raise EC2ClientError(
                "Unsupported",
                f"Your requested instance type ({instance_type}) is not supported in your "
                f"requested Availability Zone ({zone}). Please retry your request by not "
                f"specifying an Availability Zone or choosing {', '.join(places)}.",
            )

    def _refuse_without_capacity(self, zone: str, instance_type: str) -> None:
        if {zone, f"{zone}/{instance_type}"} & set(faults.current.no_capacity_zones):
            raise EC2ClientError(
                "InsufficientInstanceCapacity",
                f"We currently do not have sufficient {instance_type} capacity in the "
                f"Availability Zone you requested ({zone}). Our system will be working on "
                "provisioning additional capacity.",
            )

    def refuse_launches(self, zone: str, instance_types: list[str]) -> None:
        """As at a launch: what the zone does not offer or have, and what the quota does not allow."""
        for each in instance_types:
            _refuse_unknown(each)
            self._refuse_placement(zone, each)
            self._refuse_without_capacity(zone, each)
        self._refuse_over_quota(instance_types)

    def _refuse_over_quota(self, instance_types: list[str]) -> None:
        wanted = sum(vcpus(each) for each in instance_types if counts_against_gpu_quota(each))
        running = sum(
            vcpus(instance.instance_type)
            for instance in self.all_instances()
            if instance.state in {"pending", "running"}
            and instance.lifecycle != "spot"
            and counts_against_gpu_quota(instance.instance_type)
        )
        running += sum(vcpus(each) for each in self.unused_types() if counts_against_gpu_quota(each))
        limit = faults.current.quota_vcpus
        if wanted and running + wanted > limit:
            raise EC2ClientError(
                "VcpuLimitExceeded",
                f"You have requested more vCPU capacity than your current vCPU limit of {limit} "
                "allows for the instance bucket that the specified instance type belongs to. "
                "Please visit http://aws.amazon.com/contact-us/ec2-request to request an "
                "adjustment to this limit.",
            )

    def volumes_to_launch(self, image_id: str, zone: str, requested: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Block device mappings after AWS merged the image's with the request's.

        Raises for a volume that the zone cannot have or that the snapshot does not fit into.
        """
        image = self.describe_images(ami_ids=[image_id])[0]
        merged = {device["DeviceName"]: dict(device) for device in image.block_device_mappings}
        for device in requested:
            base = merged.get(device["DeviceName"], {})
            ebs = {**base.get("Ebs", {}), **device.get("Ebs", {})}
            merged[device["DeviceName"]] = {**device, "Ebs": ebs}
        for device in merged.values():
            refuse_settings(device["Ebs"], zone)
            snapshot_id = device["Ebs"].get("SnapshotId")
            needed = self.get_snapshot(snapshot_id).volume_size if snapshot_id else 1
            if int(device["Ebs"].get("VolumeSize", needed)) < needed:
                raise EC2ClientError(
                    "InvalidBlockDeviceMapping",
                    f"Volume of size {device['Ebs']['VolumeSize']}GB is smaller than snapshot "
                    f"'{snapshot_id}', expect size >= {needed}GB",
                )
        return list(merged.values())

    def import_key_pair(self, key_name: str, public_key_material: bytes, tags: dict[str, str]) -> KeyPair:
        """Here moto fails on key types that it does not know."""
        try:
            return super().import_key_pair(key_name, public_key_material, tags)
        except UnsupportedAlgorithm:
            raise InvalidKeyPairFormatError from None

    def modify_instance_metadata_options(self, instance_id: str, **options: Any) -> Any:
        """Keep the options that the request leaves out; moto resets them to its defaults."""
        before = self.get_instance(instance_id).metadata_options
        kept: dict[str, Any] = {
            "http_tokens": before.http_tokens,
            "hop_limit": before.http_put_response_hop_limit,
            "http_endpoint": before.http_endpoint,
            "http_protocol": before.http_protocol_ipv6,
            "metadata_tags": before.instance_metadata_tags,
        }
        given = {name: value for name, value in options.items() if value is not None}
        return super().modify_instance_metadata_options(instance_id, **{**kept, **given})


def _refuse_unknown(instance_type: str) -> None:
    if instance_type not in INSTANCE_TYPES:
        raise EC2ClientError("InvalidParameterValue", f"Invalid value '{instance_type}' for InstanceType.")


class LaunchResponses(EC2Response):
    """Request parsing for the instance calls."""

    def run_instances(self) -> ActionResult:
        """A repeated client token answers with the first launch, or refuses another request."""
        user_data = self._get_param("UserData") or ""
        if len(base64.b64decode(user_data)) > USER_DATA_BYTES:
            raise EC2ClientError("InvalidParameterValue", f"User data is limited to {USER_DATA_BYTES} bytes")
        token = self._get_param("ClientToken")
        launches: dict[str, tuple[str, ActionResult]] = self.ec2_backend.launches
        request = repr(self.params)
        if token in launches:
            before, result = launches[token]
            if before != request:
                raise EC2ClientError(
                    "IdempotentParameterMismatch",
                    "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
                )
            return result
        result = super().run_instances()
        if token:
            launches[token] = (request, result)
        return result

    def _parse_block_device_mapping(self) -> list[dict[str, Any]]:
        image_id, subnet_id = self._get_param("ImageId"), self._get_param("SubnetId")
        if image_id and subnet_id:
            self.params["BlockDeviceMappings"] = self.ec2_backend.volumes_to_launch(
                image_id,
                self.ec2_backend.get_subnet(subnet_id).availability_zone,
                self._get_param("BlockDeviceMappings", []),
            )
        mappings = super()._parse_block_device_mapping()
        for mapping, device in zip(mappings, self._get_param("BlockDeviceMappings", []), strict=True):
            mapping["Ebs"]["Throughput"] = device.get("Ebs", {}).get("Throughput")  # which moto leaves out
        return mappings

    def terminate_instances(self) -> ActionResult:
        """Without moto's notice to auto scaling and load balancing, which are not here."""
        ids = self._get_param("InstanceIds", [])
        self.error_on_dryrun()
        return ActionResult(
            {
                "TerminatingInstances": [
                    {
                        "InstanceId": instance.id,
                        "CurrentState": {"Code": 32, "Name": "shutting-down"},
                        "PreviousState": before,
                    }
                    for instance, before in self.ec2_backend.terminate_instances(ids)
                ]
            }
        )
