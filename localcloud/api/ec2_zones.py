"""Zones in EC2's API: Local Zones beside moto's zones, opt-in, and what each zone offers.

moto knows ordinary zones only and ignores opt-in, zone groups and unknown filters.
"""

# moto is partly untyped, and its parts use each other's state:
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend, Zone
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from moto.ec2.responses import EC2Response

from geography.places import ZONE_GROUPS
from localcloud.api import zones

if TYPE_CHECKING:
    from collections.abc import Iterable

MOTO_ZONES = RegionsAndZonesBackend.zones


class LocalZone(Zone):
    """A Local Zone in the shape that moto serialises: attributes named like the API's members."""

    def __init__(self, name: str, group: zones.ZoneGroup) -> None:
        # AWS maps parents per account; the Region's first zone stands for "some zone".
        parent = MOTO_ZONES[group.region][0]
        region_id = parent.zone_id.rsplit("-", 1)[0]
        city = group.name.removeprefix(group.region + "-").replace("-", "")
        super().__init__(
            name=name,
            region_name=group.region,
            zone_id=f"{region_id}-{city}-az{ord(name[-1]) - ord('a') + 1}",
            zone_type="local-zone",
        )
        self.group_name = self.network_border_group = group.name
        self.group_long_name = ZONE_GROUPS[group.name].city
        self.zone_name = name
        self.parent_zone_name = parent.name
        self.parent_zone_id = parent.zone_id

    @property
    def opt_in_status(self) -> str:
        """Follows the account's opt-in of the zone's group."""
        return "opted-in" if self.group_name in zones.opted_in else "not-opted-in"


class OrdinaryZone(Zone):
    """A Region's own zone, with the members that moto leaves out."""

    def __init__(self, zone: Zone) -> None:
        super().__init__(zone.name, zone.region_name, zone.zone_id, zone.zone_type)
        self.group_name = f"{zone.region_name}-zg-1"
        self.network_border_group = zone.region_name
        self.opt_in_status = "opt-in-not-required"
        self.zone_name = zone.name


ZONES: dict[str, list[OrdinaryZone | LocalZone]] = {
    region: [
        *(OrdinaryZone(zone) for zone in moto_zones),
        *(LocalZone(name, group) for name, group in zones.GROUP_OF_ZONE.items() if group.region == region),
    ]
    for region, moto_zones in MOTO_ZONES.items()
}
# moto's create_subnet looks zones up in its own table by name; ours are checked before it does.
for _region, _zones in ZONES.items():
    MOTO_ZONES[_region] = list(_zones)

FILTERS = {
    "group-name": "group_name",
    "opt-in-status": "opt_in_status",
    "parent-zone-id": "parent_zone_id",
    "parent-zone-name": "parent_zone_name",
    "region-name": "region_name",
    "state": "state",
    "zone-id": "zone_id",
    "zone-name": "name",
    "zone-type": "zone_type",
}


def matches(value: str, patterns: Iterable[str]) -> bool:
    """EC2's filter match: any pattern, `*` and `?` are wildcards."""
    return any(fnmatchcase(value, pattern) for pattern in patterns)


def border_group(zone_name: str) -> str:
    """The network border group of a zone: its Local Zone group, else its Region."""
    group = zones.GROUP_OF_ZONE.get(zone_name)
    return group.name if group else zone_name[:-1]


class ZoneRules(EC2Backend):
    """Zones and offerings of one Region."""

    def describe_availability_zones(
        self,
        filters: dict[str, list[str]] | None = None,
        zone_names: list[str] | None = None,
        zone_ids: list[str] | None = None,
        all_zones: bool = False,  # noqa: FBT001, FBT002 (an addition to moto's signature)
    ) -> list[Any]:
        """Zones that the account may use, or all of the Region's with `all_zones`."""
        found = [zone for zone in ZONES.get(self.region_name, []) if all_zones or zone.opt_in_status != "not-opted-in"]
        for wanted, key in ((zone_names, "name"), (zone_ids, "zone_id")):
            if wanted:
                known = {getattr(zone, key) for zone in found}
                if unknown := [name for name in wanted if name not in known]:
                    raise EC2ClientError(
                        "InvalidParameterValue",
                        f"Invalid availability zone: [{', '.join(unknown)}]",
                    )
                found = [zone for zone in found if getattr(zone, key) in wanted]
        for name, patterns in (filters or {}).items():
            if name not in FILTERS:
                raise EC2ClientError("InvalidParameterValue", f"The filter '{name}' is invalid")
            found = [z for z in found if matches(getattr(z, FILTERS[name], ""), patterns)]
        return found

    def usable_zone(self, name: str) -> Any:
        """The zone if it is in this Region and open to the account; refuses as CreateSubnet does."""
        usable = self.describe_availability_zones()
        for zone in usable:
            if zone.name == name:
                return zone
        names = ", ".join(zone.name for zone in usable)
        raise EC2ClientError(
            "InvalidParameterValue",
            f"Value ({name}) for parameter availabilityZone is invalid. Subnets can currently "
            f"only be created in the following availability zones: {names}.",
        )

    def describe_instance_type_offerings(
        self, location_type: str | None = None, filters: dict[str, Any] | None = None
    ) -> list[Any]:
        """The table that moto has of the Region's own zones, and the Local Zones that are opted in.

        Whether AWS answers for a zone that is not opted in is not documented; it does not here.
        """
        kind = location_type or "region"
        offerings = list(INSTANCE_TYPE_OFFERINGS[kind].get(self.region_name, []))
        if kind.startswith("availability-zone"):
            offerings += [
                {
                    "InstanceType": instance_type,
                    "Location": zone.name if kind == "availability-zone" else zone.zone_id,
                    "LocationType": kind,
                }
                for zone in self.describe_availability_zones()
                if isinstance(zone, LocalZone)
                for instance_type in zones.GROUPS[zone.group_name].instance_types
            ]
        keys = {"location": "Location", "instance-type": "InstanceType"}
        for name, patterns in (filters or {}).items():
            if name not in keys:
                raise EC2ClientError("InvalidParameterValue", f"The filter '{name}' is invalid")
            offerings = [o for o in offerings if matches(o[keys[name]], patterns)]
        return offerings


class ZoneResponses(EC2Response):
    """Request parsing for the zone calls."""

    def describe_availability_zones(self) -> ActionResult:
        """Adds AllAvailabilityZones, which moto ignores."""
        self.error_on_dryrun()
        found = self.ec2_backend.describe_availability_zones(
            self._filters_from_querystring(),
            zone_names=self._get_param("ZoneNames", []),
            zone_ids=self._get_param("ZoneIds", []),
            all_zones=bool(self._get_param("AllAvailabilityZones", False)),  # noqa: FBT003
        )
        return ActionResult({"AvailabilityZones": found})

    def modify_availability_zone_group(self) -> ActionResult:
        """Opt in; opting out goes through AWS Support (botocore: "only valid value is opted-in")."""
        name, status = self._get_param("GroupName"), self._get_param("OptInStatus")
        group = zones.GROUPS.get(name)
        if group is None or group.region != self.region:
            raise EC2ClientError("InvalidParameterValue", f"The zone group '{name}' is invalid for {self.region}.")
        if status != "opted-in":
            raise EC2ClientError(
                "InvalidParameterValue",
                f"Value ({status}) for parameter optInStatus is invalid. The only valid value is "
                "opted-in; to opt out, contact AWS Support.",
            )
        zones.opted_in.add(name)
        return ActionResult({"Return": True})
