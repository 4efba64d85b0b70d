"""Outputs after a run in which resources failed: what the state still knows is told, and what served is not made up."""

import copy
from typing import Any

import pytest

from automation.engine.outputs import in_order, told_outputs

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
LAX = "us-west-2-lax-1a"


def outputs(replica: dict[str, Any], **routing: Any) -> dict[str, Any]:
    return {"endpoint_urls": {LAX: replica.get("url")}, "sites": {LAX: {"replicas": [replica]}}, "routing": routing or None}


def resource(kind: str, name: str, **outputs: Any) -> dict[str, Any]:
    return {"urn": f"urn:pulumi:prod::edge-inference::{kind}::{name}", "type": kind, "id": f"id-of-{name}", "outputs": outputs}


STATE = [
    resource("aws:ec2/eip:Eip", f"{LAX}-1-address", publicIp="192.0.2.7"),
    resource("aws:ec2/instance:Instance", f"{LAX}-1-host"),
    resource("aws:route53/zone:Zone", "routing-zone", zoneId="Z1", nameServers=["ns-1.example.org"]),
]
FAILED = {"address": UNKNOWN, "url": UNKNOWN, "instance_id": UNKNOWN, "served": UNKNOWN}


def told(values: dict[str, Any], *resources: dict[str, Any]) -> dict[str, Any]:
    return told_outputs(values, {"resources": list(resources)}, lambda address: f"http://{address}:8080")


def test_what_a_failed_run_left_unknown_is_read_from_the_state() -> None:
    found = told(outputs(dict(FAILED)), *STATE)
    (replica,) = found["sites"][LAX]["replicas"]
    url = "http://192.0.2.7:8080"
    assert replica == {"address": "192.0.2.7", "url": url, "instance_id": f"id-of-{LAX}-1-host", "served": False}
    assert found["endpoint_urls"] == {LAX: url}


def test_what_nobody_has_made_is_none() -> None:
    found = told(outputs(dict(FAILED)))
    assert found["sites"][LAX]["replicas"] == [{"address": None, "url": None, "instance_id": None, "served": False}]
    assert found["endpoint_urls"] == {LAX: None}


def test_what_is_only_still_to_be_deleted_is_not_told() -> None:
    old = [{**each, "delete": True} for each in STATE]
    assert told(outputs(dict(FAILED)), *old) == told(outputs(dict(FAILED)))


def test_a_created_hosted_zone_is_known_by_the_state() -> None:
    routing = told(outputs(dict(FAILED), hosted_zone_id=UNKNOWN, name_servers=UNKNOWN), *STATE)["routing"]
    assert routing == {"hosted_zone_id": "Z1", "name_servers": ["ns-1.example.org"]}


def test_what_the_run_has_told_stands() -> None:
    values = outputs({"address": "192.0.2.1", "url": "https://a", "instance_id": "i-1", "served": True})
    assert told(copy.deepcopy(values), *STATE) == values


@pytest.mark.parametrize(("url", "served"), [("http://192.0.2.7:8080", True), (UNKNOWN, False)])
def test_an_older_release_recorded_urls_of_what_served_only(url: str, served: bool) -> None:
    (replica,) = told(outputs({"address": UNKNOWN, "url": url, "instance_id": "i-1"}), *STATE)["sites"][LAX]["replicas"]
    assert replica["served"] is served


def test_sites_stand_as_in_the_config_and_what_it_has_no_more_comes_last() -> None:
    """The engine's own order is that of the alphabet; status, cost, routes and resolve all tell sites in the config's."""
    outputs = {"sites": {"a": 1, "b": 2, "c": 3}, "endpoint_urls": {"a": "x", "b": "y", "c": "z"}, "service_url": None}
    found = in_order(outputs, ["c", "new", "a"])
    assert [*found["sites"]] == [*found["endpoint_urls"]] == ["c", "a", "b"]
    assert found == outputs
