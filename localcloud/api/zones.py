"""Local Zones: which exist, where they are, and what they sell. Data only.

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

    `latitude` and `longitude` are the city's, in degrees. `instance_types` are the GPU types with
    a price in the AWS price list for the group; empty where no price is known. A price does not
    say which zone of the group sells it, so all of them do here.
    """

    name: str
    city: str
    latitude: float
    longitude: float
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
# The "-2" groups are not in the price data, so they offer no GPU here.
_GROUPS = (
    ZoneGroup(
        "us-west-2-lax-1",
        "Los Angeles",
        34.05,
        -118.24,
        (*ALL_G4DN, "g5.4xlarge", "g5.8xlarge"),
        ("gp2", "gp3", "io1", "st1", "sc1"),
        "ab",
    ),
    ZoneGroup("us-west-2-hnl-1", "Honolulu", 21.31, -157.86, MEDIUM),
    ZoneGroup("us-west-2-den-1", "Denver", 39.74, -104.99, MEDIUM),
    ZoneGroup("us-west-2-las-1", "Las Vegas", 36.17, -115.14),
    ZoneGroup("us-west-2-pdx-1", "Portland", 45.52, -122.68),
    ZoneGroup("us-west-2-phx-1", "Phoenix", 33.45, -112.07, MEDIUM),
    ZoneGroup("us-west-2-phx-2", "Phoenix", 33.45, -112.07, ()),
    ZoneGroup("us-west-2-sea-1", "Seattle", 47.61, -122.33),
    ZoneGroup("us-east-1-atl-1", "Atlanta", 33.75, -84.39),
    ZoneGroup("us-east-1-atl-2", "Atlanta", 33.75, -84.39, ()),
    ZoneGroup("us-east-1-bos-1", "Boston", 42.36, -71.06, MEDIUM),
    ZoneGroup("us-east-1-bue-1", "Buenos Aires", -34.60, -58.38, ()),
    ZoneGroup("us-east-1-chi-1", "Chicago", 41.88, -87.63, MEDIUM),
    ZoneGroup("us-east-1-chi-2", "Chicago", 41.88, -87.63, ()),
    ZoneGroup("us-east-1-dfw-1", "Dallas", 32.78, -96.80, MEDIUM),
    ZoneGroup("us-east-1-dfw-2", "Dallas", 32.78, -96.80, ()),
    ZoneGroup("us-east-1-iah-1", "Houston", 29.76, -95.37, MEDIUM),
    ZoneGroup("us-east-1-iah-2", "Houston", 29.76, -95.37, ()),
    ZoneGroup("us-east-1-lim-1", "Lima", -12.05, -77.04),
    ZoneGroup("us-east-1-mci-1", "Kansas City", 39.10, -94.58),
    ZoneGroup("us-east-1-mia-1", "Miami", 25.76, -80.19),
    ZoneGroup("us-east-1-mia-2", "Miami", 25.76, -80.19, ()),
    ZoneGroup("us-east-1-msp-1", "Minneapolis", 44.98, -93.27),
    ZoneGroup("us-east-1-nyc-1", "New York City", 40.71, -74.01, MEDIUM),
    ZoneGroup("us-east-1-nyc-2", "New York City", 40.71, -74.01, ()),
    ZoneGroup("us-east-1-phl-1", "Philadelphia", 39.95, -75.17, MEDIUM),
    ZoneGroup("us-east-1-qro-1", "Queretaro", 20.59, -100.39, MEDIUM),
    ZoneGroup("us-east-1-scl-1", "Santiago", -33.45, -70.67),
    ZoneGroup("af-south-1-los-1", "Lagos", 6.52, 3.38),
    ZoneGroup("ap-northeast-1-tpe-1", "Taipei", 25.03, 121.57),
    ZoneGroup("ap-south-1-ccu-1", "Kolkata", 22.57, 88.36),
    ZoneGroup("ap-south-1-del-1", "Delhi", 28.61, 77.21),
    ZoneGroup("ap-southeast-1-bkk-1", "Bangkok", 13.76, 100.50),
    ZoneGroup("ap-southeast-1-mnl-1", "Manila", 14.60, 120.98),
    ZoneGroup("ap-southeast-2-akl-1", "Auckland", -36.85, 174.76),
    ZoneGroup("ap-southeast-2-per-1", "Perth", -31.95, 115.86),
    ZoneGroup("eu-central-1-ham-1", "Hamburg", 53.55, 9.99),
    ZoneGroup("eu-central-1-ist-1", "Istanbul", 41.01, 28.98, ()),
    ZoneGroup("eu-central-1-waw-1", "Warsaw", 52.23, 21.01),
    ZoneGroup("eu-north-1-cph-1", "Copenhagen", 55.68, 12.57),
    ZoneGroup("eu-north-1-hel-1", "Helsinki", 60.17, 24.94),
    ZoneGroup("me-south-1-mct-1", "Muscat", 23.59, 58.41),
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
