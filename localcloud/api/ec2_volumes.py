"""EBS volumes: which types a zone has, how fast each is, which changes AWS refuses.

moto takes every change at once, and knows no speed but the one asked for. Left out: how long a change really takes.
"""

# moto is partly untyped, and its parts use each other's state:
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import elastic_block_store

from localcloud.api import zones
from localcloud.api.ec2_zones import ZoneRules

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

REGION_VOLUME_TYPES = ("gp2", "gp3", "io1", "io2", "st1", "sc1", "standard")
_OPTIMIZING = timedelta(seconds=30)
"""How long a change goes on after the volume has its new size; on AWS minutes to hours."""
_DAY, _MOST_A_DAY = timedelta(hours=24), 4

now: Callable[[], datetime] = utcnow
"""The volumes' clock."""


class Modification(elastic_block_store.VolumeModification):
    """A change that goes on for a while, and tells also what stays."""

    def __init__(self, volume: Any, **targets: Any) -> None:
        for name in ("size", "volume_type", "iops", "throughput"):
            setattr(self, f"original_{name}", getattr(volume, name))
        super().__init__(volume, **targets)
        self.start_time = now()

    @property
    def modification_state(self) -> str:
        """AWS's: the volume is as wanted from `optimizing` on."""
        return "optimizing" if now() < self.start_time + _OPTIMIZING else "completed"

    @property
    def progress(self) -> int:
        """In percent."""
        return 100 if self.modification_state == "completed" else 0


elastic_block_store.VolumeModification = Modification


class VolumeRules(ZoneRules):
    """Volumes of one Region."""

    def create_volume(self, size: int, zone_name: str, *args: Any, **options: Any) -> Any:
        """With the speed of its type."""
        volume: Any = super().create_volume(size, zone_name, *args, **options)
        _set_speed(volume, options)
        return volume

    def set_speeds(self, instance: Any, mappings: list[dict[str, Any]]) -> None:
        """Give a new instance's volumes the speed that was asked for; moto forgets it at a launch."""
        for mapping in mappings:
            device = instance.block_device_mapping.get(mapping["DeviceName"])
            if device:
                ebs = mapping["Ebs"]
                _set_speed(self.get_volume(device.volume_id), {"iops": ebs.get("Iops"), "throughput": ebs.get("Throughput")})

    def modify_volume(self, volume_id: str, target_size: int | None = None, *args: Any) -> Any:
        """Only a larger size, what the zone has, after the change before is completed, four times a day."""
        volume: Any = self.get_volume(volume_id)
        target_type, iops, throughput = (*args, None, None, None)[:3]
        wanted = {"VolumeType": target_type or volume.volume_type, "Iops": iops, "Throughput": throughput}
        refuse_settings(wanted, volume.zone.name)
        if target_size and int(target_size) < volume.size:
            raise EC2ClientError("InvalidParameterValue", "New size cannot be smaller than existing size")
        _refuse_another(volume)
        super().modify_volume(volume_id, int(target_size) if target_size else None, *args)
        if target_type:
            volume.iops = volume.throughput = None
        _set_speed(volume, {"iops": iops or volume.iops, "throughput": throughput or volume.throughput})
        modification = volume.modifications[-1]
        for name in ("size", "volume_type", "iops", "throughput"):
            setattr(modification, f"target_{name}", getattr(volume, name))
        return volume

    def describe_volumes_modifications(self, volume_ids: list[str] | None = None, filters: Any = None) -> list[Any]:
        """The latest change of each volume."""
        found = super().describe_volumes_modifications(volume_ids, filters)
        return [each for each in found if each is each.volume.modifications[-1]]


def _refuse_another(volume: Any) -> None:
    """The words are of public issue trackers; the limit of four is documented (Amazon EBS, request modifications)."""
    changes = volume.modifications
    if changes and changes[-1].modification_state == "optimizing":
        text = f"Cannot modify volume {volume.id} currently in modification state OPTIMIZING"
        raise EC2ClientError("IncorrectModificationState", text)
    if sum(each.start_time > now() - _DAY for each in changes) >= _MOST_A_DAY:
        text = f"You've reached the maximum modification rate per volume limit: {_MOST_A_DAY} in 24 hours."
        raise EC2ClientError("VolumeModificationRateExceeded", text)


def _set_speed(volume: Any, wanted: dict[str, Any]) -> None:
    """IOPS and MiB/s of the volume's type, and what is wanted where the type takes it."""
    match volume.volume_type:
        case "gp3":
            volume.iops, volume.throughput = int(wanted.get("iops") or 3000), int(wanted.get("throughput") or 125)
        case "io1" | "io2":
            volume.iops, volume.throughput = int(wanted.get("iops") or volume.iops), None
        case "gp2" | None:
            volume.iops, volume.throughput = max(100, min(3 * int(volume.size), 16000)), None
        case _:
            volume.iops = volume.throughput = None


def refuse_settings(ebs: dict[str, Any], zone: str) -> None:
    """Refuse a type that the zone lacks, and settings that the type lacks.

    The rules are documented (EBS in Local Zones, AllocateVolume's iops and throughput); the code
    for a type that a zone lacks is the documented one for unsupported types, not observed.
    """
    group = zones.GROUP_OF_ZONE.get(zone)
    types = group.volume_types if group else REGION_VOLUME_TYPES
    volume_type = ebs.get("VolumeType", "gp2")
    if volume_type not in types:
        raise EC2ClientError(
            "UnknownVolumeType",
            f"Unsupported volume type '{volume_type}' for volume creation in {zone}. The "
            f"supported volume types are: {', '.join(types)}.",
        )
    for setting, allowed in (("Iops", {"gp3", "io1", "io2"}), ("Throughput", {"gp3"})):
        if ebs.get(setting) and volume_type not in allowed:
            raise EC2ClientError(
                "InvalidParameterCombination",
                f"The parameter {setting.lower()} is not supported for {volume_type} volumes.",
            )
