"""Faults that tests and demonstrations switch on: shortages, throttling, quotas, hosts that hang.

One set per process, like moto's state. Validation is pydantic's; nothing is persisted.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Faults(BaseModel):
    """What goes wrong in this world, and the account's quotas.

    `quota_vcpus` is per Region and covers G and VT types; `quota_addresses` is per Region and shared with its Local Zones; AWS
    starts accounts at 0 and 5, this one was raised, so that local, dev and prod fit side by side. `no_capacity_zones` holds
    zones, or ZONE/TYPE. `throttle_next` counts down: that many changing EC2 and Route 53 calls are refused. The hosts read the
    others: they never boot, show the key of their first boot for as long as it is switched on, have no GPU driver, a full disk,
    no memory on the GPU, or a GPU on which TGI's usual attention does not run.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    no_capacity_zones: list[str] = Field(default_factory=list[str])
    throttle_next: int = Field(default=0, ge=0)
    quota_vcpus: int = Field(default=64, ge=0)
    quota_addresses: int = Field(default=16, ge=0)
    never_boot_zones: list[str] = Field(default_factory=list[str])
    first_boot_key_zones: list[str] = Field(default_factory=list[str])
    no_driver_zones: list[str] = Field(default_factory=list[str])
    full_disk_zones: list[str] = Field(default_factory=list[str])
    out_of_memory_zones: list[str] = Field(default_factory=list[str])
    no_flashinfer_zones: list[str] = Field(default_factory=list[str])
    deprecated_images: list[str] = Field(default_factory=list[str])


current = Faults()


def update(changes: dict[str, object]) -> None:
    """Set the named faults and leave the others; raises pydantic's ValidationError."""
    checked = Faults.model_validate({**current.model_dump(), **changes})
    for name in Faults.model_fields:
        setattr(current, name, getattr(checked, name))


def reset() -> None:
    """No faults, default quotas."""
    update(Faults().model_dump())


def take_throttle() -> bool:
    """Whether this changing call is to be throttled; counts it."""
    if current.throttle_next == 0:
        return False
    current.throttle_next -= 1
    return True
