"""What `edge resolve` and `edge routes` say: read from a Route 53 that answers by the local cloud's rules."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs]
from planned_records import DOMAIN, planned
from resolution_table import ZONES

from automation import cli
from automation.commands.routes_page import routes_page
from automation.environment import Environment
from automation.errors import EdgeError, UsageError
from automation.sites.resolution import Client, Routes, locate
from components.dns_plan import Policy
from components.zones import parse_zone
from geography.cities import CITIES, find_city
from localcloud.dns import rules
from localcloud.dns.rules import client_in
from placement.measured import FORMAT

WEST = ("ORE", "LAX", "HNL")


class FakeRoute53:
    """One hosted zone; a record's value and health check are its site's name in the table."""

    def __init__(self, records: Iterable[dict[str, Any]]) -> None:
        self.records = list(records)
        self.failing: dict[str, int] = {}
        """How many of a site's 16 checkers fail."""
        self.silent = False

    def get_paginator(self, _: str) -> "FakeRoute53":
        return self

    def paginate(self, **options: str) -> Iterator[dict[str, Any]]:
        if self.silent:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListResourceRecordSets")
        ordered = sorted(self.records, key=lambda record: record["Name"].rstrip(".").split(".")[::-1])
        first = next(n for n, record in enumerate(ordered) if record["Name"] == f"{options['StartRecordName']}.")
        yield {"ResourceRecordSets": ordered[first : first + 2]}
        yield {"ResourceRecordSets": ordered[first + 2 :]}

    def get_health_check_status(self, **options: str) -> dict[str, Any]:
        failing = self.failing.get(options["HealthCheckId"])
        if failing is None:
            return {"HealthCheckObservations": []}
        texts = ["Failure: Connection refused"] * failing + ["Success: HTTP Status Code 200, OK"] * (16 - failing)
        return {"HealthCheckObservations": [{"StatusReport": {"Status": text}} for text in texts]}

    def test_dns_answer(self, **options: str) -> dict[str, Any]:
        client = client_in(IPv4Network(options["ResolverIP"]))
        dead = {site for site, failing in self.failing.items() if failing > 13}
        answer = rules.answer(self.records, lambda check: check not in dead, client, f"{options['RecordName']}.", "A")
        return {"RecordData": list(answer.values), "ResponseCode": answer.code}


def outputs(policy: Policy, sites: Iterable[str], drained: Iterable[str] = ()) -> dict[str, Any]:
    described = {
        zone.name: {
            "zone": zone.name,
            "region": zone.region,
            "zone_group": zone.group,
            "replicas": [{"address": site, "url": f"http://{site}:8080", "instance_id": "i-1"}],
        }
        for site, zone in ((site, parse_zone(ZONES[site])) for site in sites)
    }
    routing = {"policy": policy, "domain": DOMAIN, "hosted_zone_id": "Z1", "drained": [ZONES[site] for site in drained]}
    return {"routing": routing, "sites": described}


def made(policy: Policy, sites: Iterable[str], drained: Iterable[str] = ()) -> tuple[FakeRoute53, Callable[[], Routes]]:
    others: list[dict[str, Any]] = [
        {"Name": f"{name}.edge.internal.", "Type": "A", "TTL": 5, "ResourceRecords": []} for name in ("llm-2", "zoo")
    ]
    text: dict[str, Any] = {"Name": f"{DOMAIN}.", "Type": "TXT", "TTL": 5, "ResourceRecords": [{"Value": "x"}]}
    route53 = FakeRoute53([*planned(policy, sites, drained), *others, text])
    given = outputs(policy, sites, drained)
    return route53, lambda: Routes("local", given, route53, on_local_cloud=True)


def local(origin: str) -> Client:
    return locate(origin, "local", on_local_cloud=True)


def test_the_path_leads_through_the_tree_to_the_address() -> None:
    _, routes = made("latency", WEST)
    said = json.loads(json.dumps(routes().resolve(local("honolulu")).described()))
    assert said["client"] == {"name": "Honolulu", "address": "127.200.2.1", "city": "Honolulu"}
    assert (said["zone"], said["address"], said["url"]) == (ZONES["HNL"], "HNL", "http://HNL:8080")
    assert [(record["name"].removesuffix(DOMAIN), record["policy"], record["choice"]) for record in said["path"]] == [
        ("", "simple", ""),
        ("latency.", "latency", "us-west-2"),
        ("us-west-2.", "geoproximity", "us-west-2-hnl-1"),
        ("hnl-1.us-west-2.", "weighted", "100"),
    ]
    assert [each["zone"] for each in said["candidates"]] == [ZONES["HNL"], ZONES["LAX"], ZONES["ORE"]]
    # Honolulu to Los Angeles is 4113 km by published tables.
    assert said["candidates"][1]["distance_km"] == pytest.approx(4113, rel=0.01)
    assert set(said["estimated"]) == {"distance_km", "round_trip_ms"}


@pytest.mark.parametrize(("city", "choice"), [("Honolulu", "US-HI"), ("Boston", "NA"), ("Toronto", "CA"), ("Tokyo", "default")])
def test_a_geolocation_path_goes_by_the_narrowest_place(city: str, choice: str) -> None:
    _, routes = made("geolocation", (*WEST, "FRA", "WAW"))
    found = routes().resolve(local(city))
    assert [record.choice for record in found.path if record.policy == "geolocation"] == [choice]
    assert found.path[-2].choice == "100"


def test_a_dead_mapped_site_is_replaced_by_way_of_weight_zero() -> None:
    route53, routes = made("geolocation", (*WEST, "FRA", "WAW"))
    route53.failing = {"HNL": 16}
    found = routes().resolve(local("Honolulu"))
    assert found.zone == ZONES["LAX"]
    assert [record.choice for record in found.path][1:4] == ["US-HI", "0", "us-west-2-lax-1"]
    assert {each.zone: each.healthy for each in found.candidates}[ZONES["HNL"]] is False


def test_only_what_is_certain_is_said_of_a_client_without_a_place() -> None:
    _, routes = made("geolocation", (*WEST, "FRA", "WAW"))
    found = routes().resolve(local("127.0.0.1"))
    assert found.client.city is None
    assert [record.policy for record in found.path] == ["simple"]
    assert all(each.distance_km is None for each in found.candidates)
    _, routes = made("latency", WEST)
    # The two replicas share one address here, so either may have answered.
    assert [record.policy for record in routes().resolve(local("127.0.0.1")).path] == ["simple", "latency", "geoproximity"]


@pytest.mark.parametrize(("failing", "healthy"), [(0, True), (13, True), (14, False), (16, False)])
def test_more_than_18_percent_of_the_checkers_make_it_healthy(failing: int, healthy: bool) -> None:
    route53, routes = made("latency", WEST)
    route53.failing = {"LAX": failing}
    found = {site.zone: site.healthy for site in routes().sites}
    assert found == {ZONES["ORE"]: True, ZONES["LAX"]: healthy, ZONES["HNL"]: True}


def test_a_drained_site_is_still_watched() -> None:
    route53, routes = made("latency", WEST, drained=["LAX"])
    route53.failing = {"LAX": 16}
    [lax] = [each for each in routes().resolve(local("Los Angeles")).candidates if each.zone == ZONES["LAX"]]
    assert (lax.drained, lax.healthy) == (True, False)


def test_records_of_other_names_are_none_of_its_business() -> None:
    _, routes = made("latency", WEST)
    assert all(record.name == DOMAIN or record.name.endswith(f".{DOMAIN}") for record in routes().records)
    assert len(routes().records) == len(planned("latency", WEST))


@pytest.mark.parametrize(
    ("origin", "said"),
    [("Honolulo", "-> Honolulu$"), ("sao paolo", "-> São Paulo$"), ("xyzzy", "-> one of Amsterdam, ")],
)
def test_an_unknown_city_is_answered_with_the_nearest_names(origin: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        local(origin)


def test_a_city_on_aws_needs_a_public_network() -> None:
    assert locate("honolulu", "prod", on_local_cloud=False).address == "128.171.0.1"
    assert locate("128.171.3.4", "prod", on_local_cloud=False).city is find_city("Honolulu")
    with pytest.raises(UsageError, match=r"AWS places a client by its real address.*\n  -> edge resolve prod --from ADDRESS"):
        locate("Lima", "prod", on_local_cloud=False)


def test_who_routes_nobody_is_told_so() -> None:
    before_routing_was_recorded: dict[str, Any] = {"sites": {}}
    for given in (before_routing_was_recorded | {"routing": None}, before_routing_was_recorded):
        with pytest.raises(EdgeError, match=r"there is no routing: .*\n  -> edge outputs dev"):
            Routes("dev", given, FakeRoute53([]), on_local_cloud=False)


def test_an_answer_that_is_no_site_is_explained() -> None:
    route53, routes = made("latency", WEST)
    for record in route53.records:
        record["ResourceRecords"] = [{"Value": "192.0.2.9"}]
    with pytest.raises(EdgeError, match=r"answers 192\.0\.2\.9, which is no site"):
        routes().resolve(local("Tokyo"))


def test_what_aws_refuses_is_one_text() -> None:
    route53, routes = made("latency", WEST)
    route53.silent = True
    with pytest.raises(EdgeError, match=r"AccessDenied[\s\S]*-> needed: route53:ListResourceRecordSets"):
        routes()


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs `edge` on given routes; what it printed."""

    def run(routes: Routes, *arguments: str) -> str:
        return _run(monkeypatch, capsys, 0, routes, *arguments)[0]

    return run


@pytest.fixture
def edge_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The same for a mistake of the user's; what was said of it."""

    def run(routes: Routes, *arguments: str) -> str:
        return _run(monkeypatch, capsys, 2, routes, *arguments)[1]

    return run


def _run(
    patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, routes: Routes, *arguments: str
) -> tuple[str, str]:
    def given(environment: Environment) -> Routes:
        del environment
        return routes

    patch.setattr(Environment, "routes", given)
    patch.setattr("sys.argv", ["edge", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code or 0) == code
    said = capsys.readouterr()
    return said.out, said.err


def test_resolve_explains_in_lines_that_fit(edge: Callable[..., str]) -> None:
    route53, routes = made("latency", WEST)
    route53.failing = {"HNL": 16, "LAX": 0}
    text = edge(routes(), "resolve", "local", "--from", "Honolulu")
    assert text.startswith("Honolulu (127.200.2.1) gets us-west-2-lax-1a\n  http://LAX:8080\n")
    assert "* us-west-2-lax-1a" in text
    assert "one says: Failure: Connection refused" in text
    assert "estimated" in text
    assert max(map(len, text.splitlines())) <= 80


def test_measured_round_trips_take_the_place_of_estimates(edge: Callable[..., str], tmp_path: Path) -> None:
    _, routes = made("latency", WEST)
    path = tmp_path / "trips.json"
    told = {
        "format": FORMAT,
        "measured_at": "2026-11-30T09:00:00+00:00",
        "from": {"name": "Honolulu", "latitude": 21.3, "longitude": -157.86},
        "round_trips": {"us-west-2": {"median_ms": 61.5}},
    }
    path.write_text(json.dumps(told))
    words = ("resolve", "local", "--from", "Honolulu", "--measured", str(path))
    text = edge(routes(), *words)
    assert [line.split()[-3:-1] for line in text.splitlines() if " km " in line] == [
        ["~5.0", "ms"],
        ["~65.6", "ms"],
        ["61.5", "ms"],
    ]
    assert max(map(len, text.splitlines())) <= 80
    found = json.loads(edge(routes(), *words, "--json"))
    assert {each["zone"]: each["is_measured"] for each in found["candidates"]} == {
        ZONES["HNL"]: False,
        ZONES["LAX"]: False,
        ZONES["ORE"]: True,
    }
    assert found["measured_by"] == ["TCP round trips of 2026-11-30 from Honolulu (trips.json)"]


@pytest.mark.parametrize(
    ("origin", "words"), [("Tokyo", "was measured within 50 km of Tokyo"), ("10.9.8.7", "--measured needs a city")]
)
def test_what_was_measured_elsewhere_is_not_taken(
    origin: str, words: str, edge_fails: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "trips.json"
    told = {
        "format": FORMAT,
        "measured_at": "2026-11-30",
        "from": {"name": "x", "latitude": 0, "longitude": 0},
        "round_trips": {},
    }
    path.write_text(json.dumps(told))
    assert words in edge_fails(made("latency", WEST)[1](), "resolve", "local", "--from", origin, "--measured", str(path))


def test_routes_prints_tree_and_matrix_in_80_columns(edge: Callable[..., str]) -> None:
    sites = (*WEST, "TYO", "TPE", "FRA", "WAW")
    for policy in ("latency", "geoproximity", "geolocation"):
        route53, routes = made(policy, sites)
        route53.failing = dict.fromkeys(sites, 0)
        text = edge(routes(), "routes", "local")
        assert max(map(len, text.splitlines())) <= 80
        assert text.count("*") == len(CITIES) + 1, "one mark for each city, and the legend"
        assert "not\nmeasured" in text
        for site in sites:
            assert f"-> {site}" in text


def test_routes_as_json(edge: Callable[..., str]) -> None:
    _, routes = made("latency", WEST)
    found = json.loads(edge(routes(), "routes", "local", "--json"))
    [honolulu] = [each for each in found["cities"] if each["city"] == "Honolulu"]
    assert honolulu["zone"] == ZONES["HNL"]
    assert min(honolulu["round_trip_ms"], key=honolulu["round_trip_ms"].get) == ZONES["HNL"]
    assert found["estimated"] == ["round_trip_ms"]


@pytest.mark.parametrize("policy", ["latency", "geoproximity", "geolocation"])
def test_the_page_says_who_gets_which_site_and_who_serves_them_while_it_is_down(policy: Policy) -> None:
    sites = (*WEST, "FRA", "WAW")
    route53, routes = made(policy, sites, drained=["WAW"] if policy == "latency" else ())
    got = [(client, routes().zone_for(client)) for client in routes().clients()]
    text = routes_page("local", routes(), got, on_local_cloud=True)
    assert "a simulated Route 53" in text
    zones = [site.zone for site in routes().sites]
    drawn = re.findall(r'data-s="(\d+)" data-n="(\d+)"><title>([^:]+):', text)
    assert {(name, zones[int(site)]) for site, _, name in drawn} == {(client.name, zone) for client, zone in got}
    for down in ("ORE", "LAX", "FRA"):
        route53.failing = {down: 16}
        for site, following, name in drawn:
            if zones[int(site)] == ZONES[down]:
                assert routes().zone_for(local(name)) == zones[int(following)], name
