"""The stack's outputs against docs/outputs.schema.json, and the schema's own strictness."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from component_helpers import checked_config, sites
from recorded_program import address_of, deploy

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "outputs.schema.json").read_text(encoding="utf-8"))
LAX = "us-west-2-lax-1a"


@cache
def _outputs(routed: bool) -> str:
    routing: dict[str, Any] = {} if routed else {"routing": {"policy": "none"}}
    chosen = [{"zone": "us-west-2a"}, {"zone": LAX, "replicas": 2}, *sites("us-east-1-bos-1a")]
    return json.dumps(deploy(checked_config(sites=chosen, **routing)).outputs)


def outputs(*, routed: bool = True) -> dict[str, Any]:
    """What `edge outputs --json` prints."""
    return json.loads(_outputs(routed))


def valid(value: object) -> bool:
    checker: Any = jsonschema.Draft202012Validator(SCHEMA)  # its own types know no plain JSON value
    return checker.is_valid(value)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("routed", [True, False])
def test_outputs_keep_the_contract(routed: bool) -> None:
    jsonschema.validate(outputs(routed=routed), SCHEMA)


def test_outputs_say_what_was_deployed() -> None:
    found = outputs()
    assert found["service_url"] == "http://llm.edge.acme.dev:8080"
    assert found["routing"] == {
        "policy": "latency",
        "domain": "llm.edge.acme.dev",
        "hosted_zone_id": "Z0HOSTED",
        "name_servers": None,
        "drained": [],
    }
    assert list(found["endpoint_urls"]) == list(found["sites"]) == ["us-west-2a", LAX, "us-east-1-bos-1a"]
    first, second = (address_of(f"{LAX}-{number}-address") for number in (1, 2))
    assert found["endpoint_urls"][LAX] == f"http://{first}:8080"
    assert found["sites"][LAX] == {
        "zone": LAX,
        "region": "us-west-2",
        "zone_group": "us-west-2-lax-1",
        "name": f"{LAX}.sites.llm.edge.acme.dev",
        "instance_type": "g4dn.2xlarge",
        "reserved": False,
        "engine": "tgi",
        "model": "meta-llama/Llama-3.2-3B-Instruct",
        "replicas": [
            {"address": first, "url": f"http://{first}:8080", "instance_id": f"id-of-{LAX}-1-host", "served": True},
            {"address": second, "url": f"http://{second}:8080", "instance_id": f"id-of-{LAX}-2-host", "served": True},
        ],
    }


def test_without_routing_there_is_no_name() -> None:
    found = outputs(routed=False)
    assert found["service_url"] is None
    assert found["routing"] is None
    assert {site["name"] for site in found["sites"].values()} == {None}
    assert found["endpoint_urls"] == outputs()["endpoint_urls"]


def paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in an object."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType] # JSON
            found += paths(inner, (*path, key))  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, list):
        for index, inner in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            found += paths(inner, (*path, index))  # pyright: ignore[reportUnknownArgumentType]
    return found


def holder(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


def test_every_value_is_described() -> None:
    """A number in the place of anything breaks the contract."""
    for path in paths(outputs()):
        wrong = copy.deepcopy(outputs())
        holder(wrong, path)[path[-1]] = 17
        assert not valid(wrong), path


def test_failed_replica_is_null_and_nothing_else_is() -> None:
    """What `edge outputs` prints after a deployment that failed in part."""
    may_be_null = {"service_url", "routing", "hosted_zone_id", "name_servers", "name", "address", "url", "instance_id"}
    for path in paths(outputs()):
        value = copy.deepcopy(outputs())
        holder(value, path)[path[-1]] = None
        assert valid(value) == (path[-1] in may_be_null or path[-2:-1] == ("endpoint_urls",)), path


def test_no_field_can_be_missing_or_added() -> None:
    for path in paths(outputs()):
        if isinstance(path[-1], int) or path[-2:-1] in {("endpoint_urls",), ("sites",)}:
            continue
        missing, added = copy.deepcopy(outputs()), copy.deepcopy(outputs())
        del holder(missing, path)[path[-1]]
        holder(added, path)["further"] = "x"
        # What the release before has deployed is without it.
        assert valid(missing) == (path[-1] in {"api_keys", "reserved"}), path
        assert not valid(added), path


@pytest.mark.parametrize("wrong", ["", "100.64.0.1:8080", "http://", "ftp://a.b:1", "http://a.b:8080/", "http://a b"])
def test_urls_are_urls(wrong: str) -> None:
    value = outputs()
    value["service_url"] = wrong
    assert not valid(value)
