"""The planner's records as Route 53's API has them, for sites of the table by hand."""

from collections.abc import Iterable
from typing import Any

from resolution_table import GEOLOCATION_CONTINENTS, GEOLOCATION_COUNTRIES, GEOLOCATION_DEFAULT, GEOLOCATION_US_STATES, ZONES

from components.dns_plan import (
    EVERYWHERE_ELSE,
    Geolocation,
    Geoproximity,
    Latency,
    PlannedRecord,
    Policy,
    Replica,
    RoutingChoices,
    Weighted,
    plan_dns,
)
from components.zones import parse_zone

DOMAIN = "llm.edge.internal"
PLACES: dict[Geolocation, str] = {
    EVERYWHERE_ELSE: GEOLOCATION_DEFAULT,
    **{Geolocation(continent=code): site for code, site in GEOLOCATION_CONTINENTS.items()},
    **{Geolocation(country=code): site for code, site in GEOLOCATION_COUNTRIES.items()},
    **{Geolocation(us_state=code): site for code, site in GEOLOCATION_US_STATES.items()},
}


def planned(policy: Policy, sites: Iterable[str], drained: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The planner's records as Route 53's API has them; a site's address is its name here, and its health check too."""
    zones = {site: parse_zone(ZONES[site]) for site in sites}
    choices = RoutingChoices(
        policy,
        DOMAIN,
        places={place: zones[site] for place, site in PLACES.items()} if policy == "geolocation" else {},
        drained=frozenset(zones[site].name for site in drained),
    )
    names = {zone.name: site for site, zone in zones.items()}
    plan = plan_dns(choices, [Replica(zone, number) for zone in zones.values() for number in (1, 2)])
    return [as_api(record, names) for record in plan.records]


def as_api(record: PlannedRecord, names: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {"Name": f"{record.name}.", "Type": "A"}
    if record.set_identifier is not None:
        found["SetIdentifier"] = record.set_identifier
    if record.replica:
        site = names[record.replica.zone.name]
        found |= {"TTL": 60, "ResourceRecords": [{"Value": site}], "HealthCheckId": site}
    else:
        found["AliasTarget"] = {"DNSName": f"{record.alias_of}.", "EvaluateTargetHealth": True, "HostedZoneId": "Z1"}
    match record.routing:
        case Weighted(weight):
            found["Weight"] = weight
        case Latency(region):
            found["Region"] = region
        case Geoproximity(kind, location, bias):
            member = "AWSRegion" if kind == "aws_region" else "LocalZoneGroup"
            found["GeoProximityLocation"] = {member: location, "Bias": bias}
        case Geolocation(continent, country, us_state):
            codes = {"ContinentCode": continent, "CountryCode": "US" if us_state else country, "SubdivisionCode": us_state}
            found["GeoLocation"] = {name: code for name, code in codes.items() if code}
        case None:
            pass
    return found
