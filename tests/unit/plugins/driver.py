"""A plugin without an engine: requests as the engine sends them, and what comes back as plain data."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

import grpc
from pulumi.runtime.proto import engine_pb2, provider_pb2

from localcloud.plugins.base import Plugin
from localcloud.plugins.values import Properties, decode, encode


class AbortedError(Exception):
    """What a failed request raises here."""


@dataclass
class Context:
    """Stands in for gRPC's context."""

    metadata: tuple[tuple[str, bytes], ...] = ()

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        assert code == grpc.StatusCode.UNKNOWN
        raise AbortedError(details)

    def set_trailing_metadata(self, metadata: tuple[tuple[str, bytes], ...]) -> None:
        self.metadata = metadata


@dataclass
class Engine:
    """Keeps what plugins log."""

    lines: list[engine_pb2.LogRequest] = field(default_factory=list[engine_pb2.LogRequest])

    def Log(self, request: engine_pb2.LogRequest, timeout: float) -> None:  # noqa: N802
        del timeout
        self.lines.append(request)

    @property
    def texts(self) -> list[str]:
        return [line.message for line in self.lines]


def urn(token: str, name: str = "x") -> str:
    return f"urn:pulumi:stack::project::{token}::{name}"


class Driver:
    """Sends requests to a plugin for one resource type."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self.engine = Engine()
        plugin.engine = cast("Any", self.engine)
        self.context = Context()

    @property
    def grpc(self) -> Any:
        return self.context

    def check(self, token: str, news: Properties, olds: Properties | None = None) -> tuple[Properties, list[str]]:
        """Return checked inputs and the reasons of failures."""
        request = provider_pb2.CheckRequest(urn=urn(token), news=encode(news), olds=encode(olds or {}), randomSeed=os.urandom(32))
        response = self.plugin.Check(request, self.grpc)
        assert all(not failure.property for failure in response.failures), "the engine would print the value"
        return decode(response.inputs), [failure.reason for failure in response.failures]

    def diff(self, token: str, olds: Properties, news: Properties) -> provider_pb2.DiffResponse:
        request = provider_pb2.DiffRequest(urn=urn(token), old_inputs=encode(olds), news=encode(news))
        return self.plugin.Diff(request, self.grpc)

    def create(self, token: str, inputs: Properties, *, preview: bool = False, name: str = "x") -> tuple[str, Properties]:
        request = provider_pb2.CreateRequest(urn=urn(token, name), properties=encode(inputs), preview=preview)
        response = self.plugin.Create(request, self.grpc)
        return response.id, decode(response.properties)

    def made(self, token: str, inputs: Properties) -> tuple[str, Properties, Properties]:
        """Check and create; return id, checked inputs and state."""
        checked, problems = self.check(token, inputs)
        assert not problems
        resource_id, state = self.create(token, checked)
        return resource_id, checked, state

    def read(self, token: str, resource_id: str, state: Properties, inputs: Properties) -> tuple[str, Properties, Properties]:
        request = provider_pb2.ReadRequest(urn=urn(token), id=resource_id, properties=encode(state), inputs=encode(inputs))
        response = self.plugin.Read(request, self.grpc)
        return response.id, decode(response.properties), decode(response.inputs)

    def update(
        self, token: str, resource_id: str, state: Properties, olds: Properties, news: Properties, *, preview: bool = False
    ) -> Properties:
        request = provider_pb2.UpdateRequest(
            urn=urn(token),
            id=resource_id,
            olds=encode(state),
            old_inputs=encode(olds),
            news=encode(news),
            preview=preview,
        )
        return decode(self.plugin.Update(request, self.grpc).properties)

    def delete(self, token: str, resource_id: str, state: Properties) -> None:
        self.plugin.Delete(provider_pb2.DeleteRequest(urn=urn(token), id=resource_id, properties=encode(state)), self.grpc)

    def invoke(self, token: str, arguments: Properties) -> tuple[Properties, list[str]]:
        response = self.plugin.Invoke(provider_pb2.InvokeRequest(tok=token, args=encode(arguments)), self.grpc)
        return decode(getattr(response, "return")), [failure.reason for failure in response.failures]

    def configure(self, config: Properties) -> None:
        self.plugin.Configure(provider_pb2.ConfigureRequest(args=encode(config)), self.grpc)
