"""TestDNSAnswer and GetHealthCheckStatus: one question through the API, answered by the DNS server's own rules."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud.api import health, route53_state

from .conftest import Client, refused

NAME = "llm.edge.internal"
HONOLULU, LOS_ANGELES, LONDON = "128.171.1.1", "164.67.1.1", "155.198.1.1"


class Asker:
    """A hosted zone with one name whose sites are Honolulu (checked) and Los Angeles, by geoproximity."""

    def __init__(self, route53: Any, address: str) -> None:
        self.route53 = route53
        created = route53.create_hosted_zone(Name="Edge.internal", CallerReference="one")
        self.zone_id = created["HostedZone"]["Id"].removeprefix("/hostedzone/")
        self.name_servers = created["DelegationSet"]["NameServers"]
        config = {"Type": "TCP", "IPAddress": address, "Port": 8080}
        self.check = route53.create_health_check(CallerReference="a", HealthCheckConfig=config)["HealthCheck"]["Id"]
        for group, value in (("us-west-2-hnl-1", "192.0.2.1"), ("us-west-2-lax-1", "192.0.2.2")):
            record: dict[str, Any] = {
                "Name": NAME,
                "Type": "A",
                "TTL": 60,
                "ResourceRecords": [{"Value": value}],
                "SetIdentifier": group,
            }
            record["GeoProximityLocation"] = {"LocalZoneGroup": group}
            if group == "us-west-2-hnl-1":
                record["HealthCheckId"] = self.check
            batch = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
            route53.change_resource_record_sets(HostedZoneId=self.zone_id, ChangeBatch=batch)

    def ask(self, name: str = NAME, kind: str = "A", **where: str) -> dict[str, Any]:
        found = self.route53.test_dns_answer(HostedZoneId=self.zone_id, RecordName=name, RecordType=kind, **where)
        del found["ResponseMetadata"]
        return found

    def value(self, **where: str) -> list[str]:
        return self.ask(**where)["RecordData"]

    def results(self, *passed: bool) -> None:
        """As many results in a row from every checker."""
        for checker in health.CHECKERS:
            for each in passed:
                health.observe(self.check, checker, 3, passed=each, reason="a test says so")


@pytest.fixture
def asker(client: Client, ec2: Any) -> Asker:
    address = ec2.allocate_address(Domain="vpc")["PublicIp"]
    return Asker(client("route53", "us-east-1"), address)


def test_the_answer_has_the_shape_of_the_real_one(asker: Asker) -> None:
    assert asker.ask(EDNS0ClientSubnetIP=HONOLULU) == {
        "Nameserver": asker.name_servers[0],
        "RecordName": NAME,
        "RecordType": "A",
        "RecordData": ["192.0.2.1"],
        "ResponseCode": "NOERROR",
        "Protocol": "UDP",
    }


def test_the_client_is_where_its_subnet_is_else_its_resolver_else_virginia(asker: Asker) -> None:
    assert asker.value(ResolverIP=HONOLULU) == ["192.0.2.1"]
    assert asker.value(ResolverIP=HONOLULU, EDNS0ClientSubnetIP=LOS_ANGELES) == ["192.0.2.2"]
    assert asker.value(EDNS0ClientSubnetIP="127.200.2.9") == ["192.0.2.1"], "a local client of Honolulu"
    assert asker.value() == ["192.0.2.2"]
    assert asker.value(EDNS0ClientSubnetIP="2001:db8::1") == ["192.0.2.2"], "unknown: as from Portland"


def test_a_mask_too_short_to_place_a_client(asker: Asker) -> None:
    assert asker.value(EDNS0ClientSubnetIP=HONOLULU, EDNS0ClientSubnetMask="16") == ["192.0.2.1"]
    assert asker.value(EDNS0ClientSubnetIP=HONOLULU, EDNS0ClientSubnetMask="8") == ["192.0.2.2"], "unknown: as from Portland"


def test_names_and_types_that_are_not_there(asker: Asker) -> None:
    found = [asker.ask(name, kind) for name, kind in (("no.edge.internal", "A"), (NAME, "AAAA"), ("example.com", "A"))]
    assert [each["ResponseCode"] for each in found] == ["NXDOMAIN", "NOERROR", "REFUSED"]
    assert [each["RecordData"] for each in found] == [[], [], []]
    assert asker.ask(NAME.upper() + ".")["RecordName"] == NAME.upper() + ".", "as it was asked"
    assert asker.ask("edge.internal", "NS")["RecordData"] == [f"{server}." for server in asker.name_servers]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "XYZ"},
        {"ResolverIP": "somewhere"},
        {"EDNS0ClientSubnetIP": HONOLULU, "EDNS0ClientSubnetMask": "33"},
        {"EDNS0ClientSubnetMask": "24"},
    ],
)
def test_questions_that_aws_refuses(asker: Asker, wrong: dict[str, str]) -> None:
    with refused("InvalidInput"):
        asker.ask(**wrong)


def test_zones_that_cannot_be_asked(asker: Asker, client: Client) -> None:
    asker.zone_id = "Z00000000000000000000"
    with refused("NoSuchHostedZone"):
        asker.ask()
    private = client("route53", "us-east-1").create_hosted_zone(
        Name="edge.internal",
        CallerReference="two",
        HostedZoneConfig={"PrivateZone": True},
        VPC={"VPCId": "vpc-1", "VPCRegion": "us-west-2"},
    )
    asker.zone_id = private["HostedZone"]["Id"].removeprefix("/hostedzone/")
    with refused("InvalidInput", "public hosted zones"):
        asker.ask()


def test_the_next_answer_follows_the_health_at_once(asker: Asker) -> None:
    asker.results(False, False)
    assert asker.value(ResolverIP=HONOLULU) == ["192.0.2.1"], "two failures of three"
    asker.results(False)
    assert asker.value(ResolverIP=HONOLULU) == ["192.0.2.2"]
    asker.results(True, True)
    assert asker.value(ResolverIP=HONOLULU) == ["192.0.2.2"], "two successes of three"
    asker.results(True)
    assert asker.value(ResolverIP=HONOLULU) == ["192.0.2.1"]


def test_failures_count_in_a_row(asker: Asker) -> None:
    asker.results(False, True, False, False)
    assert asker.value(ResolverIP=HONOLULU) == ["192.0.2.1"]


def test_more_than_18_percent_of_the_checkers_make_an_endpoint_healthy(asker: Asker) -> None:
    asker.results(False, False, False)
    first = list(health.CHECKERS)[:3]
    for count, expected in ((2, ["192.0.2.2"]), (3, ["192.0.2.1"])):  # 12.5 and 18.75 %
        for checker in first[:count]:
            for _ in range(3):
                health.observe(asker.check, checker, 3, passed=True, reason="a test says so")
        assert asker.value(ResolverIP=HONOLULU) == expected


def test_only_the_checks_regions_are_asked(asker: Asker) -> None:
    chosen = ["us-east-1", "us-west-1", "us-west-2"]
    asker.route53.update_health_check(HealthCheckId=asker.check, Regions=chosen)
    for checker, region in health.CHECKERS.items():
        for _ in range(3):
            health.observe(asker.check, checker, 3, passed=region not in chosen, reason="a test says so")
    assert asker.value(ResolverIP=HONOLULU) == ["192.0.2.2"]


def test_disabled_counts_as_healthy_and_inverted_turns_the_verdict(asker: Asker) -> None:
    asker.results(False, False, False)
    asker.route53.update_health_check(HealthCheckId=asker.check, Disabled=True)
    assert asker.value(ResolverIP=HONOLULU) == ["192.0.2.1"]
    asker.route53.update_health_check(HealthCheckId=asker.check, Inverted=True)
    assert asker.value(ResolverIP=HONOLULU) == ["192.0.2.2"], "disabled and inverted: taken out by hand"
    asker.route53.update_health_check(HealthCheckId=asker.check, Disabled=False)
    assert asker.value(ResolverIP=HONOLULU) == ["192.0.2.2"], "nothing is known of it any more, and inverted"
    asker.results(False, False, False)
    assert asker.value(ResolverIP=HONOLULU) == ["192.0.2.1"]


def test_a_check_deleted_under_its_record_counts_as_healthy(asker: Asker) -> None:
    asker.results(False, False, False)
    asker.route53.delete_health_check(HealthCheckId=asker.check)
    assert asker.value(ResolverIP=HONOLULU) == ["192.0.2.1"]
    with refused("NoSuchHealthCheck"):
        asker.route53.get_health_check_status(HealthCheckId=asker.check)


def test_what_no_checker_here_looks_at_is_refused(asker: Asker, ec2: Any) -> None:
    address = ec2.allocate_address(Domain="vpc")["PublicIp"]
    configs: list[dict[str, Any]] = [
        {"Type": "CALCULATED", "ChildHealthChecks": [asker.check], "HealthThreshold": 1},
        {"Type": "HTTP_STR_MATCH", "IPAddress": address, "SearchString": "ok"},
        {"Type": "HTTP", "FullyQualifiedDomainName": "llm.edge.internal"},
    ]
    for number, config in enumerate(configs):
        with refused("InvalidInput", "HTTP, HTTPS, TCP at an IPAddress"):
            asker.route53.create_health_check(CallerReference=f"c{number}", HealthCheckConfig=config)


def test_checkers_look_at_every_check_that_is_not_disabled(asker: Asker, ec2: Any) -> None:
    (tcp,) = route53_state.endpoints()
    assert (tcp.health_check_id, tcp.kind, tcp.port, tcp.interval_seconds) == (asker.check, "TCP", 8080, 30)
    assert len(tcp.checkers) == 16
    config = {"Type": "HTTPS", "IPAddress": ec2.allocate_address(Domain="vpc")["PublicIp"], "RequestInterval": 10}
    config |= {"Regions": ["us-east-1", "us-west-1", "us-west-2"], "EnableSNI": True, "FullyQualifiedDomainName": NAME}
    asker.route53.create_health_check(CallerReference="b", HealthCheckConfig=config)
    asker.route53.update_health_check(HealthCheckId=asker.check, Disabled=True)
    (https,) = route53_state.endpoints()
    assert (https.kind, https.port, https.path, https.host, https.sni) == ("HTTPS", 443, "/", NAME, True)
    assert (https.interval_seconds, len(https.checkers)) == (10, 6)
    route53_state.observe(asker.check, "127.255.0.1", passed=False, reason="a probe that was under way")
    assert asker.route53.get_health_check_status(HealthCheckId=asker.check)["HealthCheckObservations"] == []


def test_the_dns_server_sees_public_zones_only(asker: Asker, client: Client) -> None:
    client("route53", "us-east-1").create_hosted_zone(
        Name="private.internal", CallerReference="two", HostedZoneConfig={"PrivateZone": True}
    )
    (zone,) = route53_state.hosted_zones()
    assert zone.name == "edge.internal."
    assert {record["Type"] for record in zone.records} == {"NS", "SOA", "A"}
    asker.results(False, False, False)
    assert not route53_state.is_healthy(asker.check)


def test_the_status_is_each_checkers_last_result(asker: Asker) -> None:
    def status() -> list[dict[str, Any]]:
        return asker.route53.get_health_check_status(HealthCheckId=asker.check)["HealthCheckObservations"]

    assert status() == [], "nothing is known of a new check"
    asker.results(True, False)
    found = status()
    assert len(found) == len(health.CHECKERS) == 16
    assert {each["Region"] for each in found} == set(health.CHECKER_REGIONS)
    assert {each["StatusReport"]["Status"] for each in found} == {"Failure: a test says so"}
    assert found[0]["IPAddress"] == "127.255.0.1"
    assert found[0]["StatusReport"]["CheckedTime"].tzinfo is not None
