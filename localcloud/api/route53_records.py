"""What Route 53 demands of records: pure rules over the API's own dictionaries.

Sources: botocore's route53 model, aws-facts 2.1, and error texts quoted in public issue trackers.
Left out: values of other types than A and TXT; CIDR and multivalue answer routing are refused. Whether AWS refuses a second
geoproximity record at one location is not documented; it is refused here as it is for geolocation.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

import dns.name
from moto.core.utils import get_service_model
from moto.route53.exceptions import InvalidInput

from geography import codes
from localcloud.api import zones

if TYPE_CHECKING:
    from collections.abc import Iterable

RecordSet = dict[str, Any]
Key = tuple[str, str, str]

_MODEL: Any = get_service_model("route53")
TYPES: list[str] = _MODEL.shape_for("RRType").enum
REGIONS: list[str] = _MODEL.shape_for("ResourceRecordSetRegion").enum
_FAILOVERS: list[str] = _MODEL.shape_for("ResourceRecordSetFailover").enum
_LATITUDE = re.compile(_MODEL.shape_for("Latitude").metadata["pattern"])
_LONGITUDE = re.compile(_MODEL.shape_for("Longitude").metadata["pattern"])

POLICIES = {
    "Weight": "weighted",
    "Region": "latency",
    "Failover": "failover",
    "GeoLocation": "geolocation",
    "MultiValueAnswer": "multivalue answer",
    "GeoProximityLocation": "geoproximity",
}
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_LONGEST_STRING = 255
_NAME_FAULTS: dict[type[Exception], str] = {
    dns.name.EmptyLabel: "DomainLabelEmpty (Domain label is empty)",
    dns.name.LabelTooLong: "DomainLabelTooLong (Domain label is too long)",
    dns.name.NameTooLong: "DomainNameTooLong (Domain name is too long)",
}


def absolute(name: str) -> str:
    """A domain name as Route 53 keeps it: lower case, with a trailing dot."""
    return name.lower().rstrip(".") + "."


def normalised(record: RecordSet) -> RecordSet:
    """The record as Route 53 stores and returns it."""
    record = {name: value for name, value in record.items() if value not in (None, [], {})}
    record["Name"] = absolute(record["Name"])
    if alias := record.get("AliasTarget"):
        zone_id = alias["HostedZoneId"].removeprefix("/hostedzone/")
        record["AliasTarget"] = {
            "HostedZoneId": zone_id,
            "DNSName": absolute(alias["DNSName"]),
            "EvaluateTargetHealth": alias["EvaluateTargetHealth"],
        }
    return record


def key(record: RecordSet) -> Key:
    """What identifies a record within its zone."""
    return record["Name"], record["Type"], record.get("SetIdentifier", "")


def policy(record: RecordSet) -> str | None:
    """The member that makes the record's routing policy; None for a simple record."""
    return next((member for member in POLICIES if member in record), None)


def describe(record: RecordSet) -> str:
    """The record in the words of Route 53's conflicts."""
    text = f"RRSet with DNS name {record['Name']}, type {record['Type']}"
    identifier = record.get("SetIdentifier")
    return f"{text}, SetIdentifier {identifier}" if identifier else text


def check_form(action: str, record: RecordSet) -> None:
    """Refuse (InvalidInput) a record that is wrong by itself, whatever else the zone holds."""
    where = (
        f"in Change with [Action={action}, Name={record['Name']}, Type={record['Type']}, "
        f"SetIdentifier={record.get('SetIdentifier', 'null')}]"
    )
    plain = "TTL" in record and "ResourceRecords" in record
    either = "TTL" in record or "ResourceRecords" in record
    if plain == ("AliasTarget" in record) or either != plain:
        found = "none" if not plain and not either else "more than one"
        raise InvalidInput(
            "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and "
            f"ResourceRecords], or TrafficPolicyInstanceId], but found {found} {where}"
        )
    chosen = [member for member in POLICIES if member in record]
    if len(chosen) > 1 or (not chosen and "SetIdentifier" in record):
        raise InvalidInput(
            f"Invalid request: Expected exactly one of [{', '.join(POLICIES)}], but found "
            f"{'more than one' if chosen else 'none'} {where}"
        )
    if chosen and not 1 <= len(record.get("SetIdentifier", "")) <= 128:  # noqa: PLR2004 (model)
        raise InvalidInput(f"Invalid request: Missing field 'SetIdentifier' {where}")
    if "AliasTarget" in record and record["Type"] in {"NS", "SOA"}:
        raise InvalidInput(f"Invalid request: an alias cannot be of type {record['Type']} {where}")
    _check_policy(record)


def _check_policy(record: RecordSet) -> None:
    if not 0 <= record.get("Weight", 0) <= 255:  # noqa: PLR2004 (model)
        raise InvalidInput(f"Weight {record['Weight']} is not between 0 and 255.")
    if "Region" in record:
        _check_region(record["Region"])
    if record.get("Failover", "PRIMARY") not in _FAILOVERS:
        raise InvalidInput(f"Failover '{record['Failover']}' is not one of {', '.join(_FAILOVERS)}.")
    if "MultiValueAnswer" in record:
        raise InvalidInput("The local cloud has no multivalue answer routing.")
    if location := record.get("GeoProximityLocation"):
        _check_location(location)
    if location := record.get("GeoLocation"):
        _check_geolocation(location)


def _check_region(region: str) -> None:
    if region not in REGIONS:
        raise InvalidInput(
            f"1 validation error detected: Value '{region}' at 'region' failed to satisfy "
            f"constraint: Member must satisfy enum value set: [{', '.join(REGIONS)}]"
        )


def _check_location(location: dict[str, Any]) -> None:
    kinds = [k for k in ("AWSRegion", "LocalZoneGroup", "Coordinates") if k in location]
    if len(kinds) != 1:
        raise InvalidInput(
            "GeoProximityLocation needs exactly one of AWSRegion, LocalZoneGroup, Coordinates; "
            f"found {', '.join(kinds) or 'none'}."
        )
    if not -99 <= location.get("Bias", 0) <= 99:  # noqa: PLR2004 (model)
        raise InvalidInput(f"Bias {location['Bias']} is not between -99 and 99.")
    if "AWSRegion" in location:
        _check_region(location["AWSRegion"])
    elif "LocalZoneGroup" in location:
        # "must be enabled first" (Dev Guide, geoproximity); the code is not documented.
        group = location["LocalZoneGroup"]
        if group not in zones.opted_in:
            raise InvalidInput(f"LocalZoneGroup '{group}' is not an enabled Local Zone group.")
    else:
        _check_coordinates(location["Coordinates"])


def _check_geolocation(location: dict[str, str]) -> None:
    """A continent, a country (or `*`, the default), or a state of the US."""
    known = {"ContinentCode": codes.CONTINENTS, "CountryCode": {*codes.COUNTRIES, "*"}, "SubdivisionCode": codes.US_STATES}
    for name, value in location.items():
        if value not in known[name]:
            raise InvalidInput(f"{name} '{value}' is not a location that Route 53 supports.")
    if "ContinentCode" in location and len(location) > 1:
        raise InvalidInput("ContinentCode cannot be given with CountryCode or SubdivisionCode.")
    if "SubdivisionCode" in location and location.get("CountryCode") != "US":
        raise InvalidInput("SubdivisionCode needs CountryCode US.")


def _check_coordinates(coordinates: dict[str, str]) -> None:
    for name, pattern, limit in (("Latitude", _LATITUDE, 90), ("Longitude", _LONGITUDE, 180)):
        value = coordinates[name]
        if not pattern.fullmatch(value) or abs(float(value)) > limit:
            raise InvalidInput(f"{name} '{value}' is not a number within ±{limit} with at most 2 decimals.")


def conflicts(record: RecordSet, others: Iterable[RecordSet], zone_name: str) -> list[str]:
    """Why Route 53 does not accept a record beside the zone's others (InvalidChangeBatch)."""
    same_name = [other for other in others if other["Name"] == record["Name"]]
    problems = [*_name_problems(record["Name"]), *_value_problems(record)]
    if record.get("Failover") == "PRIMARY" and not record.get("AliasTarget") and not record.get("HealthCheckId"):
        problems.append("A non-alias primary ResourceRecordSet must have an associated health check.")
    if any((record["Type"] == "CNAME") != (other["Type"] == "CNAME") for other in same_name):
        problems.append(
            f"RRSet of type {record['Type']} with DNS name {record['Name']} is not permitted as it conflicts "
            f"with other records with the same DNS name in zone {zone_name}"
        )
    siblings = [other for other in same_name if other["Type"] == record["Type"] and key(other) != key(record)]
    return problems + list(dict.fromkeys(problem for other in siblings if (problem := _clash(record, other))))


def _name_problems(name: str) -> list[str]:
    try:
        dns.name.from_text(name)
    except tuple(_NAME_FAULTS) as error:
        return [f"FATAL problem: {_NAME_FAULTS[type(error)]} encountered with '{name}'"]
    return []


def _value_problems(record: RecordSet) -> list[str]:
    fault = {"A": _address_fault, "TXT": _text_fault}.get(record["Type"])
    values = [str(each["Value"]) for each in record.get("ResourceRecords", [])] if fault else []
    return [
        f"Invalid Resource Record: 'FATAL problem: {found} encountered with '{value}''"
        for value in values
        if fault and (found := fault(value))
    ]


def _address_fault(value: str) -> str | None:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        return "ARRDATAIllegalIPv4Address (Value is not a valid IPv4 address)"
    return None


def _text_fault(value: str) -> str | None:
    """Quoted strings of at most 255 characters each, with blanks between them."""
    if not re.fullmatch(rf"{_QUOTED}(\s+{_QUOTED})*", value):
        return "InvalidCharacterString (Value should be enclosed in quotation marks)"
    if any(len(re.sub(r"\\(\d{3}|.)", "x", each)) - 2 > _LONGEST_STRING for each in re.findall(_QUOTED, value)):
        return "CharacterStringTooLong (Value is too long)"
    return None


def _clash(record: RecordSet, other: RecordSet) -> str | None:
    """The conflict of two records of one name and type, if any."""
    member = policy(record)
    refused = f"{describe(record)} cannot be created"
    if member is None:
        return f"{refused} as other RRSets exist with the same name and type."
    name = POLICIES[member]
    if member != policy(other):
        return f"{refused} as a non-{name} set exists with the same name and type."
    if member == "Weight" and record.get("TTL") != other.get("TTL"):
        return f"{refused} as weighted sets must contain the same TTL."
    if member == "Region" and record["Region"] == other["Region"]:
        return (
            f"{describe(record)}, and Region Name={record['Region']} cannot be created because a "
            "latency RRSet with the same name, type and region already exists."
        )
    if member in {"GeoLocation", "GeoProximityLocation", "Failover"} and _place(record[member]) == _place(other[member]):
        return f"{refused} because a {name} RRSet with the same name, type and location already exists."
    return None


def _place(location: Any) -> Any:
    """What must differ between records of one policy: everything but the bias."""
    if isinstance(location, str):
        return location
    unbiased: dict[str, Any] = {**location, "Bias": None}
    return unbiased
