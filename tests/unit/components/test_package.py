"""The components as a Pulumi package: the schema that other languages see, and what reaches a component from them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pulumi.errors import InputPropertiesError

from components.__main__ import COMPONENTS, Package
from components.routing import ServiceRoutingArgs
from components.site import EdgeInferenceSiteArgs


@pytest.fixture(scope="module")
def package() -> Package:
    return Package()


@pytest.fixture(scope="module")
def schema(package: Package) -> dict[str, Any]:
    return json.loads(str(package.schema))


def _texts(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    described = schema["resources"] | schema["types"]
    for name, each in described.items():
        yield name, each.get("description", "")
        for key in ("properties", "inputProperties"):
            for prop, value in each.get(key, {}).items():
                yield f"{name}.{prop}", value.get("description", "")


def test_every_component_and_every_property_is_described_without_the_sources_indentation(schema: dict[str, Any]) -> None:
    assert set(schema["resources"]) == {f"edge-inference:index:{each.__name__}" for each in COMPONENTS}
    assert [name for name, text in _texts(schema) if not text or "\n  " in text] == []


@pytest.mark.parametrize(
    ("name", "arguments"), [("EdgeInferenceSite", EdgeInferenceSiteArgs), ("ServiceRouting", ServiceRoutingArgs)]
)
def test_what_a_component_needs_is_required(schema: dict[str, Any], name: str, arguments: Any) -> None:
    component = schema["resources"][f"edge-inference:index:{name}"]
    words = [each.split("_") for each in arguments.__required_keys__]
    assert set(component["requiredInputs"]) == {first + "".join(map(str.capitalize, more)) for first, *more in words}
    assert len(component["inputProperties"]) == len(arguments.__annotations__)


def test_whole_numbers_reach_a_component_as_integers(package: Package) -> None:
    # Between engine and provider all numbers are floats.
    given: Any = {
        "zone": "us-west-2a", "replicas": 2.0, "vpcId": "vpc-1", "clientCidrs": ["10.0.0.0/8"], "sshCidrs": [],
        "sshPrivateKey": "", "hostKeySecret": "", "server": {"maxInputTokens": 3072.0}, "rollout": {"maxSlowdown": 1.5},
    }  # fmt: skip
    mapped = package.map_inputs(given, package._component_defs["EdgeInferenceSite"])  # pyright: ignore[reportPrivateUsage]
    assert (repr(mapped["replicas"]), repr(mapped["server"])) == ("2", "{'max_input_tokens': 3072}")
    assert mapped["rollout"] == {"max_slowdown": 1.5}


def test_what_a_component_refuses_is_told_by_its_words(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("a: give subnet_id")

    monkeypatch.setitem(package._components, "RegionNetwork", refuse)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(InputPropertiesError, match=r"^a: give subnet_id$"):
        package.construct("a", "edge-inference:index:RegionNetwork", {"region": "us-west-2"})
