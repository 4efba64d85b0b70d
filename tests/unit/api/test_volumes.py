"""Volumes: what ModifyVolume refuses, and what they are said to have."""

# boto3 has no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from localcloud.api import ec2_volumes

from .conftest import Site, refused, root


class Clock:
    """Stands for the volumes' clock."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 29)  # noqa: DTZ001 - as moto keeps times

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: int) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ec2_volumes, "now", clock)
    return clock


@pytest.fixture
def volume(ec2: Any, site: Site) -> str:
    """A root volume of 100 GiB, gp2, in Honolulu."""
    site.launch()
    return ec2.describe_volumes()["Volumes"][0]["VolumeId"]


def shown(ec2: Any) -> tuple[object, ...]:
    (volume,) = ec2.describe_volumes()["Volumes"]
    return tuple(volume.get(key) for key in ("Size", "VolumeType", "Iops", "Throughput"))


def state(ec2: Any, volume: str) -> str:
    (modification,) = ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"]
    return modification["ModificationState"]


def test_a_volume_grows(ec2: Any, volume: str, clock: Clock) -> None:
    assert shown(ec2) == (100, "gp2", 300, None)
    told = ec2.modify_volume(VolumeId=volume, Size=200)["VolumeModification"]
    for name, before, after in (("Size", 100, 200), ("VolumeType", "gp2", "gp2"), ("Iops", 300, 600)):
        assert (told[f"Original{name}"], told[f"Target{name}"]) == (before, after)
    assert state(ec2, volume) == "optimizing"
    assert shown(ec2) == (200, "gp2", 600, None)
    clock.pass_(hours=6)
    assert state(ec2, volume) == "completed"


@pytest.mark.parametrize(
    ("change", "code", "match"),
    [
        ({"Size": 99}, "InvalidParameterValue", "cannot be smaller than existing size"),
        ({"VolumeType": "gp3"}, "UnknownVolumeType", "'gp3'.* us-west-2-hnl-1a"),
        ({"Iops": 4000}, "InvalidParameterCombination", "iops is not supported for gp2"),
    ],
)
def test_a_change_that_is_refused(ec2: Any, volume: str, change: dict[str, Any], code: str, match: str) -> None:
    with refused(code, match):
        ec2.modify_volume(VolumeId=volume, **change)
    assert shown(ec2) == (100, "gp2", 300, None)
    assert ec2.describe_volumes_modifications()["VolumesModifications"] == []


def test_one_change_after_the_other_and_four_a_day(ec2: Any, volume: str, clock: Clock) -> None:
    for size in (101, 102, 103, 104):
        ec2.modify_volume(VolumeId=volume, Size=size)
        with refused("IncorrectModificationState", "OPTIMIZING"):
            ec2.modify_volume(VolumeId=volume, Size=size + 1)
        clock.pass_(hours=4)
    with refused("VolumeModificationRateExceeded", "maximum modification rate"):
        ec2.modify_volume(VolumeId=volume, Size=105)
    clock.pass_(hours=8)
    ec2.modify_volume(VolumeId=volume, Size=105)


def test_a_type_has_its_own_speed(ec2: Any, ami: str, clock: Clock) -> None:
    site = Site(ec2, ami, "us-west-2a")
    site.launch(BlockDeviceMappings=[root(VolumeType="gp3", VolumeSize=80, Iops=5000, Throughput=500)])
    assert shown(ec2) == (80, "gp3", 5000, 500)
    (volume,) = ec2.describe_volumes()["Volumes"]
    ec2.modify_volume(VolumeId=volume["VolumeId"], VolumeType="gp2")
    assert shown(ec2) == (80, "gp2", 240, None)
    clock.pass_(hours=1)
    ec2.modify_volume(VolumeId=volume["VolumeId"], VolumeType="gp3")
    assert shown(ec2) == (80, "gp3", 3000, 125)
