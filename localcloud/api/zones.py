"""Local Zones: which exist, and what they sell. Data only.

Snapshots of public AWS pages and price lists, 2026; AWS is asked at run time, this only answers
in its place. Left out on purpose: Wavelength Zones, and everything about ordinary zones, which
moto has.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL_G4DN = tuple(f"g4dn.{size}" for size in ("xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "metal"))
SMALL = ("g4dn.2xlarge",)
MEDIUM = ("g4dn.2xlarge", "g4dn.4xlarge")


@dataclass(frozen=True)
class ZoneGroup:
    """One Local Zone group; its name is also its network border group.

    `instance_types` are the GPU types with a price in the AWS price list for the group; empty
    where no price is known. A price does not say which zone of the group sells it, so all of
    them do here. Where the groups are, `geography.places` knows.
    """

    name: str
    instance_types: tuple[str, ...] = SMALL
    volume_types: tuple[str, ...] = ("gp2",)
    letters: str = "a"

    @property
    def region(self) -> str:
        """The parent Region: the group's name without its city and number."""
        return self.name.rsplit("-", 2)[0]

    @property
    def zones(self) -> tuple[str, ...]:
        """Zone names of the group."""
        return tuple(self.name + letter for letter in self.letters)


# Types: on-demand Linux prices per group, 2026-01. Volume types differ by zone and AWS publishes
# no table: gp2 is the one that all have; gp3 in Los Angeles is from memory, not confirmed.
# The "-2" groups are not in the price data, so they offer no GPU here; Hanoi, Athens and Istanbul sell none.
_GROUPS = (
    ZoneGroup("us-west-2-lax-1", (*ALL_G4DN, "g5.4xlarge", "g5.8xlarge"), ("gp2", "gp3", "io1", "st1", "sc1"), "ab"),
    ZoneGroup("us-west-2-hnl-1", MEDIUM),
    ZoneGroup("us-west-2-den-1", MEDIUM),
    ZoneGroup("us-west-2-las-1"),
    ZoneGroup("us-west-2-pdx-1"),
    ZoneGroup("us-west-2-phx-1", MEDIUM),
    ZoneGroup("us-west-2-phx-2", ()),
    ZoneGroup("us-west-2-sea-1"),
    ZoneGroup("us-east-1-atl-1"),
    ZoneGroup("us-east-1-atl-2", ()),
    ZoneGroup("us-east-1-bos-1", MEDIUM),
    ZoneGroup("us-east-1-bue-1", ()),
    ZoneGroup("us-east-1-chi-1", MEDIUM),
    ZoneGroup("us-east-1-chi-2", ()),
    ZoneGroup("us-east-1-dfw-1", MEDIUM),
    ZoneGroup("us-east-1-dfw-2", ()),
    ZoneGroup("us-east-1-iah-1", MEDIUM),
    ZoneGroup("us-east-1-iah-2", ()),
    ZoneGroup("us-east-1-lim-1"),
    ZoneGroup("us-east-1-mci-1"),
    ZoneGroup("us-east-1-mia-1"),
    ZoneGroup("us-east-1-mia-2", ()),
    ZoneGroup("us-east-1-msp-1"),
    ZoneGroup("us-east-1-nyc-1", MEDIUM),
    ZoneGroup("us-east-1-nyc-2", ()),
    ZoneGroup("us-east-1-phl-1", MEDIUM),
    ZoneGroup("us-east-1-qro-1", MEDIUM),
    ZoneGroup("us-east-1-scl-1"),
    ZoneGroup("af-south-1-los-1"),
    ZoneGroup("ap-northeast-1-tpe-1"),
    ZoneGroup("ap-south-1-ccu-1"),
    ZoneGroup("ap-south-1-del-1"),
    ZoneGroup("ap-southeast-1-bkk-1"),
    ZoneGroup("ap-southeast-1-han-1", ()),
    ZoneGroup("ap-southeast-1-mnl-1"),
    ZoneGroup("ap-southeast-2-akl-1"),
    ZoneGroup("ap-southeast-2-per-1"),
    ZoneGroup("eu-central-1-ath-1", ()),
    ZoneGroup("eu-central-1-ham-1"),
    ZoneGroup("eu-central-1-ist-1", ()),
    ZoneGroup("eu-central-1-waw-1"),
    ZoneGroup("eu-north-1-cph-1"),
    ZoneGroup("eu-north-1-hel-1"),
    ZoneGroup("me-south-1-mct-1"),
)

GROUPS = {group.name: group for group in _GROUPS}
GROUP_OF_ZONE = {zone: group for group in _GROUPS for zone in group.zones}

_OPTED_IN_AT_START = frozenset({"us-west-2-lax-1", "us-west-2-hnl-1"})
opted_in: set[str] = set(_OPTED_IN_AT_START)
"""Names of the zone groups that this world's account has opted in to."""


def reset() -> None:
    """Back to a fresh account: Los Angeles and Honolulu opted in, so that the demo runs."""
    opted_in.clear()
    opted_in.update(_OPTED_IN_AT_START)
