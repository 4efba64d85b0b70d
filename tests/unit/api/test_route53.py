"""Route 53's refusals and answers, against aws-facts 2 and 4."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud.api import faults

from .conftest import Client, Site, refused

NAME = "llm.edge.internal."


class Zone:
    """A hosted zone `edge.internal` and short hands for its records."""

    def __init__(self, route53: Any) -> None:
        self.route53 = route53
        zone = route53.create_hosted_zone(Name="edge.internal", CallerReference="one")
        self.id = zone["HostedZone"]["Id"].removeprefix("/hostedzone/")

    def change(self, *changes: tuple[str, dict[str, Any]]) -> None:
        batch = [{"Action": action, "ResourceRecordSet": record} for action, record in changes]
        self.route53.change_resource_record_sets(HostedZoneId=self.id, ChangeBatch={"Changes": batch})

    def create(self, *records: dict[str, Any]) -> None:
        self.change(*(("CREATE", record) for record in records))

    def records(self) -> list[dict[str, Any]]:
        """All but the apex's NS and SOA."""
        found = self.route53.list_resource_record_sets(HostedZoneId=self.id)
        return [r for r in found["ResourceRecordSets"] if r["Type"] not in {"NS", "SOA"}]

    def alias(self, target: str, name: str = NAME, **policy: Any) -> dict[str, Any]:
        return {
            "Name": name,
            "Type": "A",
            "AliasTarget": {
                "HostedZoneId": self.id,
                "DNSName": target,
                "EvaluateTargetHealth": True,
            },
            **policy,
        }


def a(name: str = NAME, address: str = "192.0.2.1", ttl: int = 60, **policy: Any) -> dict[str, Any]:
    record = {"Name": name, "Type": "A", "TTL": ttl, "ResourceRecords": [{"Value": address}]}
    return {**record, **policy}


def latency(region: str, identifier: str | None = None) -> dict[str, Any]:
    return a(Region=region, SetIdentifier=identifier or region)


def weighted(identifier: str, **more: Any) -> dict[str, Any]:
    return {**a(Weight=1, SetIdentifier=identifier), **more}


def near(identifier: str, **location: Any) -> dict[str, Any]:
    return a(GeoProximityLocation=location, SetIdentifier=identifier)


@pytest.fixture
def zone(client: Client) -> Zone:
    return Zone(client("route53", "us-east-1"))


def test_a_tree_of_aliases_reads_back_as_written(zone: Zone) -> None:
    leaf = weighted("0", Name="lax-1.us-west-2.llm.edge.internal.")
    group = zone.alias(
        leaf["Name"],
        "us-west-2.llm.edge.internal.",
        SetIdentifier="lax-1",
        GeoProximityLocation={"LocalZoneGroup": "us-west-2-lax-1", "Bias": 5},
    )
    region = zone.alias(group["Name"], SetIdentifier="us-west-2", Region="us-west-2")
    zone.create(leaf)
    zone.create(group)
    zone.create(region)
    found = {record["Name"]: record for record in zone.records()}
    assert found == {record["Name"]: record for record in (leaf, group, region)}


def test_one_latency_record_per_region(zone: Zone) -> None:
    zone.create(latency("us-west-2"), latency("us-east-1"))
    with refused("InvalidChangeBatch", "latency RRSet with the same name, type and region"):
        zone.create(latency("us-west-2", "again"))


def test_latency_knows_no_local_zone(zone: Zone) -> None:
    with refused("InvalidInput", "'us-west-2-lax-1'"):
        zone.create(latency("us-west-2-lax-1"))


@pytest.mark.parametrize(
    ("second", "match"),
    [
        (a(), "as other RRSets exist with the same name and type"),
        (weighted("w"), "as a non-weighted set exists"),
        (near("n", AWSRegion="us-west-2"), "as a non-geoproximity set exists"),
        (a(SetIdentifier="g", GeoLocation={"CountryCode": "*"}), "as a non-geolocation set"),
    ],
)
def test_policies_do_not_mix_under_one_name(zone: Zone, second: dict[str, Any], match: str) -> None:
    zone.create(latency("us-west-2"))
    with refused("InvalidChangeBatch", match):
        zone.create(second)


def test_a_simple_record_makes_room_within_one_batch(zone: Zone) -> None:
    zone.create(a())
    with refused("InvalidChangeBatch", "as a non-weighted set exists"):
        zone.create(weighted("w"))
    zone.change(("DELETE", a()), ("CREATE", weighted("w")))
    assert [record["SetIdentifier"] for record in zone.records()] == ["w"]


def test_weighted_records_share_one_ttl(zone: Zone) -> None:
    zone.create(weighted("0"), weighted("1"))
    with refused("InvalidChangeBatch", "weighted sets must contain the same TTL"):
        zone.change(("UPSERT", weighted("0", TTL=30)))
    zone.change(("UPSERT", weighted("0", TTL=30)), ("UPSERT", weighted("1", TTL=30)))


@pytest.mark.parametrize(
    ("record", "match"),
    [
        (a(Region="us-west-2"), "Missing field 'SetIdentifier'"),
        (a(SetIdentifier="x"), "but found none"),
        (a(SetIdentifier="x", Region="us-west-2", Weight=1), "but found more than one"),
        (weighted("x" * 129), "SetIdentifier"),
        (weighted("x", Weight=256), "Weight 256"),
        ({"Name": NAME, "Type": "A", "TTL": 60}, "Expected exactly one of"),
        (near("x", Bias=1), "exactly one of AWSRegion, LocalZoneGroup, Coordinates"),
        (near("x", AWSRegion="us-west-2", LocalZoneGroup="us-west-2-lax-1"), "exactly one of"),
        (near("x", AWSRegion="us-west-2-lax-1"), "us-west-2-lax-1"),
        (near("x", AWSRegion="us-west-2", Bias=100), "Bias 100"),
        (near("x", LocalZoneGroup="us-west-2-lax-1a"), "us-west-2-lax-1a"),
        (near("x", LocalZoneGroup="us-west-2-den-1"), "not an enabled Local Zone group"),
        (near("x", Coordinates={"Latitude": "34.052", "Longitude": "-118.24"}), "34.052"),
        (near("x", Coordinates={"Latitude": "91", "Longitude": "-118.24"}), "91"),
    ],
)
def test_records_that_are_wrong_by_themselves(zone: Zone, record: dict[str, Any], match: str) -> None:
    with refused("InvalidInput", match):
        zone.create(record)
    assert zone.records() == []


def test_geoproximity_places_differ(zone: Zone) -> None:
    zone.create(
        near("lax", LocalZoneGroup="us-west-2-lax-1"),
        near("pdx", AWSRegion="us-west-2", Bias=10),
        near("here", Coordinates={"Latitude": "34.05", "Longitude": "-118.24"}),
    )
    with refused("InvalidChangeBatch", "same name, type and location"):
        zone.create(near("other", LocalZoneGroup="us-west-2-lax-1", Bias=-10))


def test_an_alias_needs_a_target_in_the_zone(zone: Zone) -> None:
    with refused("InvalidChangeBatch", "but that target was not found"):
        zone.create(zone.alias("lax-1.llm.edge.internal."))
    with refused("InvalidChangeBatch", "does not lie within the target zone"):
        zone.create(zone.alias("elsewhere.internal."))
    leaf = weighted("0", Name="lax-1.llm.edge.internal.")
    zone.create(zone.alias(leaf["Name"]), leaf)


def test_an_alias_has_no_values_and_no_ttl(zone: Zone) -> None:
    zone.create(a("b.edge.internal."))
    with refused("InvalidInput", "found more than one"):
        zone.create(zone.alias("b.edge.internal.", TTL=60))
    zone.create(zone.alias("b.edge.internal."))
    (alias,) = (record for record in zone.records() if "AliasTarget" in record)
    assert "TTL" not in alias
    assert "ResourceRecords" not in alias


def test_a_target_may_go_before_its_alias(zone: Zone) -> None:
    """Nothing in Route 53's documentation refuses it."""
    zone.create(a("b.edge.internal."), zone.alias("b.edge.internal."))
    zone.change(("DELETE", a("b.edge.internal.")))


def test_a_batch_is_applied_whole_or_not_at_all(zone: Zone) -> None:
    with refused("InvalidChangeBatch", "not permitted in zone"):
        zone.create(a(), a("x.elsewhere.internal."))
    assert zone.records() == []


def test_create_of_what_exists_is_refused(zone: Zone) -> None:
    zone.create(a())
    with refused("InvalidChangeBatch", "but it already exists"):
        zone.create(a(address="192.0.2.9"))
    zone.create(weighted("0", Name="b.edge.internal."))
    with refused("InvalidChangeBatch", "set identifier='0'.* but it already exists"):
        zone.create(weighted("0", Name="b.edge.internal.", Weight=7))


def test_delete_must_match(zone: Zone) -> None:
    zone.create(a())
    with refused("InvalidChangeBatch", "values provided do not match"):
        zone.change(("DELETE", a(ttl=30)))
    zone.change(("DELETE", a(NAME.upper().rstrip("."))))
    with refused("InvalidChangeBatch", "but it was not found"):
        zone.change(("DELETE", a()))


def test_one_set_identifier_under_many_names(zone: Zone) -> None:
    names = [f"{city}.edge.internal." for city in ("lax", "hnl")]
    zone.create(*(weighted("0", Name=name) for name in names))
    zone.change(("DELETE", weighted("0", Name=names[0])))
    assert [record["Name"] for record in zone.records()] == [names[1]]


def test_values_and_cnames(zone: Zone) -> None:
    with refused("InvalidChangeBatch", "ARRDATAIllegalIPv4Address"):
        zone.create(a(address="lax-1"))
    zone.create(a())
    with refused("InvalidChangeBatch", "RRSet of type CNAME .* is not permitted"):
        zone.create({**a(address="b.internal."), "Type": "CNAME"})
    zone.create({**a("c.edge.internal.", address="b.internal."), "Type": "CNAME"})
    with refused("InvalidChangeBatch", "RRSet of type A with DNS name c.edge.internal. is not permitted"):
        zone.create(a("c.edge.internal."))


@pytest.mark.parametrize(
    ("name", "match"),
    [(f"{'x' * 64}.edge.internal", "DomainLabelTooLong"), (f"{'x.' * 128}edge.internal", "DomainNameTooLong"),
     ("x..edge.internal", "DomainLabelEmpty")],
)  # fmt: skip
def test_names_that_dns_cannot_carry(zone: Zone, name: str, match: str) -> None:
    with refused("InvalidChangeBatch", match):
        zone.create(a(name))


def test_records_are_listed_in_pages(zone: Zone, client: Client) -> None:
    zone.create(*(weighted(str(i)) for i in range(7)))
    pages = client("route53", "us-east-1").get_paginator("list_resource_record_sets")
    found = [
        (record["Type"], record.get("SetIdentifier"))
        for page in pages.paginate(HostedZoneId=zone.id, PaginationConfig={"PageSize": 2})
        for record in page["ResourceRecordSets"]
    ]
    assert found == [("NS", None), ("SOA", None), *(("A", str(i)) for i in range(7))]


def test_a_zone_with_records_stays(zone: Zone) -> None:
    zone.create(a())
    with refused("HostedZoneNotEmpty"):
        zone.route53.delete_hosted_zone(Id=zone.id)
    zone.change(("DELETE", a()))
    zone.route53.delete_hosted_zone(Id=zone.id)
    assert zone.route53.list_hosted_zones()["HostedZones"] == []


def test_zones_are_found_by_name(zone: Zone) -> None:
    (found,) = zone.route53.list_hosted_zones_by_name(DNSName="edge.internal")["HostedZones"]
    assert found["Id"] == f"/hostedzone/{zone.id}"
    assert zone.id.startswith("Z"), "as on AWS, and as the config wants it"
    assert zone.route53.get_hosted_zone(Id=zone.id)["HostedZone"]["Name"] == "edge.internal."
    with refused("HostedZoneAlreadyExists"):
        zone.route53.create_hosted_zone(Name="edge.internal", CallerReference="one")
    with refused("NoSuchHostedZone"):
        zone.route53.get_hosted_zone(Id="Z0123456789ABC")


def check(address: str, **config: Any) -> dict[str, Any]:
    return {
        "CallerReference": repr((address, config)),
        "HealthCheckConfig": {
            "Type": "HTTP",
            "IPAddress": address,
            "Port": 8080,
            "ResourcePath": "/health",
            "RequestInterval": 10,
            "FailureThreshold": 3,
            **config,
        },
    }


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "192.168.1.1", "127.9.9.9", "honolulu"])
def test_only_public_addresses_are_checked(zone: Zone, address: str) -> None:
    with refused("InvalidInput", address):
        zone.route53.create_health_check(**check(address))


def test_an_address_of_this_cloud_is_public(zone: Zone, ec2: Any) -> None:
    address = ec2.allocate_address()["PublicIp"]
    request = check(address, Regions=["us-east-1", "us-west-2", "eu-west-1"])
    made = zone.route53.create_health_check(**request)["HealthCheck"]
    for name, value in request["HealthCheckConfig"].items():
        assert made["HealthCheckConfig"][name] == value
    updated = zone.route53.update_health_check(HealthCheckId=made["Id"], FailureThreshold=5)
    assert updated["HealthCheck"]["HealthCheckConfig"]["FailureThreshold"] == 5
    assert set(updated["HealthCheck"]["HealthCheckConfig"]["Regions"]) == set(request["HealthCheckConfig"]["Regions"])
    assert updated["HealthCheck"]["HealthCheckVersion"] == 2
    with refused("HealthCheckAlreadyExists"):
        zone.route53.create_health_check(**request)


@pytest.mark.parametrize(
    "config",
    [
        {"RequestInterval": 20},
        {"Port": 65536},
        {"FailureThreshold": 10, "Regions": ["us-east-1", "us-west-2", "mars-1"]},
    ],
)
def test_health_checks_that_aws_refuses(zone: Zone, ec2: Any, config: dict[str, Any]) -> None:
    address = ec2.allocate_address()["PublicIp"]
    with refused("InvalidInput"):
        zone.route53.create_health_check(**check(address, **config))


def test_a_record_names_a_health_check_that_exists(zone: Zone, ec2: Any) -> None:
    missing = "01234567-0123-0123-0123-0123456789ab"
    with refused("NoSuchHealthCheck", missing):
        zone.create(a(HealthCheckId=missing))
    made = zone.route53.create_health_check(**check(ec2.allocate_address()["PublicIp"]))
    health_check = made["HealthCheck"]["Id"]
    zone.create(a(HealthCheckId=health_check))
    assert zone.records()[0]["HealthCheckId"] == health_check
    # AWS: "does not prevent you from deleting a health check even if [it] is associated".
    zone.route53.delete_health_check(HealthCheckId=health_check)
    with refused("NoSuchHealthCheck"):
        zone.route53.delete_health_check(HealthCheckId=health_check)


@pytest.mark.filterwarnings("ignore:.*does not match an error shape")
def test_throttling_refuses_changes_only(zone: Zone, site: Site) -> None:
    faults.update({"throttle_next": 2})
    assert zone.records() == []
    with refused("Throttling", "Rate exceeded"):
        zone.create(a())
    with refused("RequestLimitExceeded"):
        site.ec2.allocate_address()
    zone.create(a())


@pytest.mark.parametrize(
    ("location", "match"),
    [
        ({"ContinentCode": "XX"}, "ContinentCode 'XX'"),
        ({"CountryCode": "UK"}, "CountryCode 'UK'"),
        ({"CountryCode": "US", "SubdivisionCode": "ZZ"}, "SubdivisionCode 'ZZ'"),
        ({"CountryCode": "CA", "SubdivisionCode": "CA"}, "needs CountryCode US"),
        ({"SubdivisionCode": "HI"}, "needs CountryCode US"),
        ({"ContinentCode": "NA", "CountryCode": "US"}, "cannot be given with"),
    ],
)
def test_geolocations_that_route_53_does_not_know(zone: Zone, location: dict[str, str], match: str) -> None:
    with refused("InvalidInput", match):
        zone.create(a(GeoLocation=location, SetIdentifier="0"))


def test_geolocations_that_it_knows(zone: Zone) -> None:
    locations = [
        {"ContinentCode": "EU"},
        {"CountryCode": "GB"},
        {"CountryCode": "US", "SubdivisionCode": "HI"},
        {"CountryCode": "*"},
    ]
    zone.create(*(a(GeoLocation=location, SetIdentifier=str(number)) for number, location in enumerate(locations)))
    assert [record["GeoLocation"] for record in zone.records()] == locations
    with refused("InvalidChangeBatch", "same name, type and location"):
        zone.create(a(GeoLocation={"CountryCode": "*"}, SetIdentifier="9"))


def test_failover_needs_a_check_or_an_alias_for_its_primary(zone: Zone) -> None:
    with refused("InvalidChangeBatch", "A non-alias primary ResourceRecordSet must have an associated health check"):
        zone.create(a(Failover="PRIMARY", SetIdentifier="0"))
    target = a("target.edge.internal.")
    zone.create(target, a(Failover="SECONDARY", SetIdentifier="1"))
    zone.create(zone.alias(target["Name"], Failover="PRIMARY", SetIdentifier="0"))
    with refused("InvalidChangeBatch", "same name, type and location"):
        zone.create(a(Failover="SECONDARY", SetIdentifier="2"))
    with refused("InvalidInput", "PRIMARY, SECONDARY"):
        zone.create(a(Failover="TERTIARY", SetIdentifier="3"))


def test_what_the_dns_server_cannot_answer_is_refused(zone: Zone) -> None:
    with refused("InvalidInput", "no multivalue answer routing"):
        zone.create(a(MultiValueAnswer=True, SetIdentifier="0"))


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("plain", "InvalidCharacterString"),
        ('"a"b"', "InvalidCharacterString"),
        ('"open', "InvalidCharacterString"),
        (f'"{"x" * 256}"', "CharacterStringTooLong"),
    ],
)
def test_texts_are_quoted_strings_of_at_most_255_characters(zone: Zone, value: str, fault: str) -> None:
    with refused("InvalidChangeBatch", fault):
        zone.create({"Name": NAME, "Type": "TXT", "TTL": 60, "ResourceRecords": [{"Value": value}]})
    whole = [f'"{"x" * 255}" "y"', '"a \\"quoted\\" word"', '""']
    zone.create({"Name": NAME, "Type": "TXT", "TTL": 60, "ResourceRecords": [{"Value": each} for each in whole]})
    assert [each["Value"] for each in zone.records()[0]["ResourceRecords"]] == whole
