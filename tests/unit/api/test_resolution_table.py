"""The table by hand against the code: the planner's records, answered by the local cloud's rules of Route 53, and by its API."""

from collections.abc import Iterable
from typing import Any

import pytest
from planned_records import DOMAIN, planned
from resolution_table import FLAT, GEOLOCATION, PROD, TWO_REGIONS, ZONES, cells

from components.dns_plan import Policy
from components.zones import parse_zone
from geography.cities import CITIES, local_network
from localcloud.api import health
from localcloud.dns import rules

from .conftest import Client

WEST, EAST_ASIA, EUROPE = ("ORE", "LAX", "HNL"), ("TYO", "TPE"), ("FRA", "WAW")


def site_for(records: list[dict[str, Any]], city: str, down: Iterable[str]) -> str:
    dead = set(down)
    answer = rules.answer(records, lambda check: check not in dead, CITIES[city], f"{DOMAIN}.", "A")
    assert answer.code == "NOERROR"
    return answer.values[0]


TOPOLOGIES: dict[str, tuple[Policy, tuple[str, ...], str]] = {
    "prod": ("latency", WEST, PROD),
    "two Regions": ("latency", WEST + EAST_ASIA, TWO_REGIONS),
    "flat": ("geoproximity", WEST + EAST_ASIA, FLAT),
    "geolocation": ("geolocation", WEST + EUROPE, GEOLOCATION),
}


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_city_gets_the_site_that_the_table_says(topology: str) -> None:
    policy, sites, table = TOPOLOGIES[topology]
    records = planned(policy, sites)
    wrong = [
        f"{city}, {f'without {down}' if down else 'all up'}: {got}, and not {expected}"
        for city, down, expected in cells(table)
        if (got := site_for(records, city, [down] if down else [])) != expected
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_drained_site_is_replaced_as_a_dead_one_is(topology: str) -> None:
    policy, sites, table = TOPOLOGIES[topology]
    for drained in sites:
        records = planned(policy, sites, [drained])
        for city, down, expected in cells(table):
            if down == drained:
                assert site_for(records, city, []) == expected, f"{city} without {drained}"


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_last_site_gets_everybody(topology: str) -> None:
    policy, sites, _ = TOPOLOGIES[topology]
    records = planned(policy, sites)
    for last in sites:
        assert {site_for(records, city, set(sites) - {last}) for city in CITIES} == {last}


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_all_dead_counts_as_all_alive(topology: str) -> None:
    policy, sites, table = TOPOLOGIES[topology]
    records = planned(policy, sites)
    for city, down, expected in cells(table):
        if down is None:
            assert site_for(records, city, sites) == expected, city


def test_the_table_is_as_large_as_it_should_be() -> None:
    for _, _, table in TOPOLOGIES.values():
        cities = {city for city, _, _ in cells(table)}
        assert len(cities) >= 25
        assert len({CITIES[city].continent for city in cities}) >= 5


class LiveZone:
    """The records of a topology in a hosted zone of the API, a health check for each site."""

    def __init__(self, client: Client, policy: Policy, sites: Iterable[str]) -> None:
        for zone in (parse_zone(ZONES[site]) for site in sites):
            if zone.is_local:
                ec2 = client("ec2", zone.region)
                ec2.modify_availability_zone_group(GroupName=zone.group, OptInStatus="opted-in")
        ec2, self.route53 = client("ec2"), client("route53", "us-east-1")
        self.addresses = {site: ec2.allocate_address(Domain="vpc")["PublicIp"] for site in sites}
        self.sites = {address: site for site, address in self.addresses.items()}
        self.checks = {site: self._check(site) for site in sites}
        created = self.route53.create_hosted_zone(Name="edge.internal", CallerReference="table")
        self.zone_id = created["HostedZone"]["Id"].removeprefix("/hostedzone/")
        changes = [{"Action": "CREATE", "ResourceRecordSet": self._own(record)} for record in planned(policy, sites)]
        self.route53.change_resource_record_sets(HostedZoneId=self.zone_id, ChangeBatch={"Changes": changes})

    def _check(self, site: str) -> str:
        config = {"Type": "HTTP", "IPAddress": self.addresses[site], "Port": 8080, "ResourcePath": "/health"}
        return self.route53.create_health_check(CallerReference=site, HealthCheckConfig=config)["HealthCheck"]["Id"]

    def _own(self, record: dict[str, Any]) -> dict[str, Any]:
        if "AliasTarget" in record:
            return record | {"AliasTarget": record["AliasTarget"] | {"HostedZoneId": self.zone_id}}
        site = record["HealthCheckId"]
        return record | {"ResourceRecords": [{"Value": self.addresses[site]}], "HealthCheckId": self.checks[site]}

    def report(self, site: str, *, passed: bool) -> None:
        """All checkers say so, as often as the threshold wants."""
        for checker in health.CHECKERS:
            for _ in range(3):
                health.observe(self.checks[site], checker, 3, passed=passed, reason="a test says so")

    def site_for(self, city: str) -> str:
        answer = self.route53.test_dns_answer(
            HostedZoneId=self.zone_id,
            RecordName=DOMAIN,
            RecordType="A",
            ResolverIP=str(local_network(CITIES[city]).network_address + 9),
        )
        return self.sites[answer["RecordData"][0]]


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_route_53_accepts_the_records_and_answers_as_the_table_says(topology: str, client: Client) -> None:
    policy, sites, table = TOPOLOGIES[topology]
    zone = LiveZone(client, policy, sites)
    for down in (None, sites[0]):
        if down:
            zone.report(down, passed=False)
        for city, without, expected in cells(table):
            if without == down:
                assert zone.site_for(city) == expected, f"{city} without {down}"
