"""`edge bench`: which targets there are, where clients stand, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from automation.environment import Environment
from automation.errors import NothingDeployedError, UsageError
from automation.sites.bench import Clients, Vantage, bench_plan, vantage
from automation.sites.serving import Answer
from ttft.schedule import Plan

ZONES = {"us-west-2-lax-1a": "us-west-2-lax-1", "us-west-2-hnl-1a": "us-west-2-hnl-1", "us-west-2a": "us-west-2"}


def described(zone: str, group: str, *, url: str | None) -> dict[str, Any]:
    return {"zone": zone, "region": "us-west-2", "zone_group": group, "replicas": [{"address": "127.9.0.1", "url": url}]}


@dataclass
class FakeEnvironment:
    """What a bench asks of an environment."""

    on_local_cloud: bool = True
    name: str = "local"
    arguments: str = "local"
    urls: dict[str, str | None] | None = None

    def outputs(self) -> dict[str, Any]:
        urls = self.urls or dict.fromkeys(ZONES, "http://127.9.0.1:8080")
        return {"sites": {zone: described(zone, ZONES.get(zone, zone[:-1]), url=url) for zone, url in urls.items()}}

    def serving(self, outputs: dict[str, Any]) -> dict[str, Answer]:
        return {
            f"{zone}-1": Answer("serves" if site["replicas"][0]["url"] else "dead", "") for zone, site in outputs["sites"].items()
        }

    def config_value(self, key: str) -> str | None:
        return {"edge-inference:apiKey": "an-api-key-of-the-stack", "edge-inference:apiKeys": None}[key]

    def port_of(self, address: str, port: int) -> int:
        assert address == "127.9.0.1"
        return port if port >= 1024 else 20000 + port


def planned(environment: FakeEnvironment, clients: Clients = Clients()) -> Plan:  # noqa: B008 - frozen
    return bench_plan(cast("Environment", environment), Plan(targets=()), clients)


def test_on_the_local_cloud_every_sites_city_measures_every_site() -> None:
    plan = planned(FakeEnvironment())
    assert {(each.city, each.site) for each in plan.targets} == {
        (city, site) for city in ("Los Angeles", "Honolulu", "Portland") for site in ("Los Angeles", "Honolulu", "Oregon")
    }
    assert plan.simulated_network
    assert plan.api_key == "an-api-key-of-the-stack"
    assert "an-api-key" not in repr(plan)


def test_clients_of_a_city_call_from_its_own_network() -> None:
    plan = planned(FakeEnvironment(), Clients(cities=("honolulu", "São Paulo")))
    sources = {each.city: each.source_address for each in plan.targets}
    assert sources.keys() == {"Honolulu", "São Paulo"}
    assert len(set(sources.values())) == 2
    assert all(str(source).startswith("127.200.") for source in sources.values())


def test_a_name_and_a_port_that_this_machine_does_not_know_are_replaced_for_the_connection_only() -> None:
    plan = planned(FakeEnvironment(urls={"us-west-2-lax-1a": "https://site.llm.acme.dev"}))
    (target,) = plan.targets
    assert (target.url, target.connect_address, target.connect_port) == ("https://site.llm.acme.dev", "127.9.0.1", 20443)


def test_on_aws_targets_are_called_as_a_user_calls_them() -> None:
    plan = planned(FakeEnvironment(on_local_cloud=False, name="prod"))
    assert [each.name for each in plan.targets] == list(ZONES)
    assert not any(each.source_address or each.connect_address for each in plan.targets)
    assert plan.simulated_network is None
    assert plan.verify


def test_sites_that_do_not_serve_are_left_out() -> None:
    plan = planned(FakeEnvironment(on_local_cloud=False, urls={**dict.fromkeys(ZONES), "us-west-2a": "http://127.9.0.1:8080"}))
    assert [each.name for each in plan.targets] == ["us-west-2a"]
    with pytest.raises(NothingDeployedError, match="no site of 'local' serves"):
        planned(FakeEnvironment(urls=dict.fromkeys(ZONES)))


def test_two_zones_of_one_city_are_told_apart() -> None:
    urls: dict[str, str | None] = {"us-west-2-lax-1a": "http://127.9.0.1:8080", "us-west-2-lax-1b": "http://127.9.0.1:8081"}
    plan = planned(FakeEnvironment(on_local_cloud=False, urls=urls))
    assert [each.site for each in plan.targets] == ["Los Angeles (us-west-2-lax-1a)", "Los Angeles (us-west-2-lax-1b)"]


@pytest.mark.parametrize(
    ("environment", "clients", "message"),
    [
        (FakeEnvironment(), Clients(via=(Vantage("ubuntu@host", "Honolulu"),)), "--from CITY"),
        (FakeEnvironment(on_local_cloud=False), Clients(cities=("Honolulu",)), "--via CITY=USER@HOST"),
        (FakeEnvironment(), Clients(cities=("Atlantis",)), "no city 'Atlantis' is on the map"),
    ],
)
def test_clients_who_cannot_stand_there(environment: FakeEnvironment, clients: Clients, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        planned(environment, clients)


def test_a_vantage_host_may_have_a_city() -> None:
    assert vantage("Honolulu=ubuntu@host") == Vantage("ubuntu@host", "Honolulu")
    assert vantage("ubuntu@host") == Vantage("ubuntu@host", "host")


@pytest.mark.parametrize("text", ["", "Honolulu=", "-v", "X=-v", "a b"])
def test_what_is_no_vantage_host(text: str) -> None:
    with pytest.raises(UsageError, match="is no host"):
        vantage(text)
