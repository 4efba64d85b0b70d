"""GetSchema of both plugins, asked as the engine asks: a schema that holds together, of what is served and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from localcloud.plugins.aws import AwsPlugin
from localcloud.plugins.base import Plugin
from localcloud.plugins.command import CommandPlugin

PLUGINS: dict[str, type[AwsPlugin | CommandPlugin]] = {"aws": AwsPlugin, "command": CommandPlugin}
BUILT_IN = {"pulumi.json#/Any", "pulumi.json#/Asset", "pulumi.json#/Archive"}


@pytest.fixture(scope="module", params=["aws", "command"])
def asked(request: pytest.FixtureRequest) -> Iterator[tuple[Plugin, provider_pb2_grpc.ResourceProviderStub]]:
    """A plugin, and the same one as a process of its own that answers gRPC."""
    module = str(request.param)
    command = [sys.executable, "-m", f"localcloud.plugins.{module}", "127.0.0.1:1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        with grpc.insecure_channel(f"127.0.0.1:{int(process.stdout.readline())}") as channel:
            yield PLUGINS[module]("127.0.0.1:1"), provider_pb2_grpc.ResourceProviderStub(channel)
        process.terminate()


def _answer(stub: Any, version: int = 0) -> dict[str, Any]:
    return json.loads(stub.GetSchema(provider_pb2.GetSchemaRequest(version=version)).schema)


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            if key == "$ref":
                yield str(inner)  # pyright: ignore[reportUnknownArgumentType]
            yield from _references(inner)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, list):
        for inner in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _references(inner)  # pyright: ignore[reportUnknownArgumentType]


def test_the_schema_has_what_is_served_and_holds_together(
    asked: tuple[Plugin, provider_pb2_grpc.ResourceProviderStub],
) -> None:
    plugin, stub = asked
    schema = _answer(stub)
    assert schema["version"] == plugin.version
    assert schema["resources"].keys() == plugin.resources.keys()
    assert schema["functions"].keys() == plugin.functions.keys()
    for token, resource in schema["resources"].items():
        assert token.startswith(f"{schema['name']}:")
        assert set(resource["requiredInputs"]) <= resource["inputProperties"].keys() <= resource["properties"].keys()
        supported = plugin.resources[token].supported
        assert supported is None or set(resource["inputProperties"]) <= supported
    references = set(_references(schema))
    assert references - BUILT_IN == {f"#/types/{token}" for token in schema["types"]}


def test_another_version_of_schemas_is_refused(asked: tuple[Plugin, provider_pb2_grpc.ResourceProviderStub]) -> None:
    _, stub = asked
    with pytest.raises(grpc.RpcError, match="unsupported schema version 1"):
        _answer(stub, version=1)


def test_types_are_those_of_the_sdk() -> None:
    plugin = AwsPlugin("127.0.0.1:1")
    schema = json.loads(plugin.GetSchema(provider_pb2.GetSchemaRequest(), None).schema)  # pyright: ignore[reportArgumentType]
    instance = schema["resources"]["aws:ec2/instance:Instance"]
    disk = "aws:ec2/InstanceRootBlockDevice:InstanceRootBlockDevice"
    assert instance["inputProperties"]["rootBlockDevice"] == {"$ref": f"#/types/{disk}"}
    assert schema["types"][disk]["properties"]["volumeSize"] == {"type": "integer"}
    assert instance["inputProperties"]["tags"] == {"type": "object", "additionalProperties": {"type": "string"}}
    assert "publicIp" not in instance["inputProperties"]
    assert instance["properties"]["publicIp"] == {"type": "string"}
    image = schema["functions"]["aws:ec2/getAmi:getAmi"]
    assert image["inputs"]["properties"]["owners"] == {"type": "array", "items": {"type": "string"}}
    assert image["outputs"]["properties"]["architecture"] == {"type": "string"}
    assert schema["provider"]["inputProperties"].keys() >= {"region", "maxRetries"}
