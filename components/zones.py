"""Zone names: what a name alone says about a zone, its group and its parent Region.

Leaves out what only AWS knows (does the zone exist, is its group opted in, its network border group): preflight.py asks.
"""

import re
from dataclasses import dataclass
from typing import Literal

_REGION = r"(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)"
_REGION_ZONE = re.compile(rf"{_REGION}(?P<letter>[a-z])")
_ZONE_GROUP = re.compile(rf"{_REGION}-[a-z]{{3}}-\d+")
_LOCAL_ZONE = re.compile(rf"{_REGION}-(?P<city>[a-z]{{3}}-\d+)(?P<letter>[a-z])")


@dataclass(frozen=True)
class Zone:
    """A zone's name, taken apart."""

    name: str
    """`us-west-2-lax-1a`, or `us-west-2a` for a zone of the Region itself."""
    region: str
    """The parent Region, `us-west-2`."""
    group: str
    """The zone group, `us-west-2-lax-1`; for a zone of the Region the Region's name, since those zones are routed as one."""
    is_local: bool
    """True for a Local Zone, False for a zone of the parent Region."""

    @property
    def group_label(self) -> str:
        """The group as a DNS label below its Region: `lax-1`, or `region` for the Region's own zones."""
        return self.group.removeprefix(f"{self.region}-") if self.is_local else "region"

    @property
    def volume_type(self) -> Literal["gp2", "gp3"]:
        """The EBS type that every zone of this kind has: gp3 is not in all Local Zones (aws-facts 3.4)."""
        return "gp2" if self.is_local else "gp3"


def parse_zone(name: str) -> Zone:
    """Takes a zone's name apart; ValueError where no Region zone and no Local Zone is named like this.

    The form is AWS's: a Local Zone is `<region>-<city>-<number><letter>`, its group the same without the letter
    (aws-facts 3.1). Wavelength Zones (`...-wlz-1`) have carrier addresses and are left out on purpose.
    """
    if match := _LOCAL_ZONE.fullmatch(name):
        region = match["region"]
        return Zone(name, region, f"{region}-{match['city']}", is_local=True)
    if match := _REGION_ZONE.fullmatch(name):
        return Zone(name, match["region"], match["region"], is_local=False)
    raise ValueError(
        "not the name of a zone: a Local Zone is written like us-west-2-lax-1a, a zone of the parent Region like us-west-2a"
    )


def short_names(zone: str) -> tuple[str, ...]:
    """What a zone may be called where its environment has no other of that name: `lax` and `lax-1a`; of a Region's own zone the
    Region.
    """
    if match := _LOCAL_ZONE.fullmatch(zone):
        return match["city"].partition("-")[0], f"{match['city']}{match['letter']}"
    match = _REGION_ZONE.fullmatch(zone)
    return (match["region"],) if match else ()


def is_region(name: str) -> bool:
    """Whether a Region is named like this."""
    return re.fullmatch(_REGION, name) is not None


def is_zone_group(name: str) -> bool:
    """Whether a group of Local Zones is named like this."""
    return _ZONE_GROUP.fullmatch(name) is not None
