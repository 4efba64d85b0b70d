"""Caddy, as far as this project configures it: ends TLS, looks at path and Authorization, hands on to a server, unbuffered, and
writes down who was let in.

A config with anything else in it is refused as an error, so that what runs here and what the product renders cannot drift apart.
Left out on purpose: HTTP/2, and every word of Caddy's config that components/proxy.py does not write.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Literal

import h11
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from localcloud.model_server.launcher import StartError
from localcloud.serving import serving

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from starlette.types import Message, Receive, Scope, Send

_READ_BYTES = 65536
_NAME, _IS_LOGGED = "caddy.name", "caddy.is_logged"
"""Of a request, in its scope."""
_HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _KeepAlive(_Part):
    enabled: Literal[False]


class _Transport(_Part):
    protocol: Literal["http"]
    dial_timeout: str
    keep_alive: _KeepAlive


class _Upstream(_Part):
    dial: Annotated[str, Field(pattern=r"^127\.0\.0\.1:\d+$")]


class _Deletion(_Part):
    delete: list[str]


class _RequestHeaders(_Part):
    request: _Deletion


class _ReverseProxy(_Part):
    handler: Literal["reverse_proxy"]
    upstreams: Annotated[list[_Upstream], Field(min_length=1, max_length=1)]
    headers: _RequestHeaders
    transport: _Transport


class _Rewrite(_Part):
    handler: Literal["rewrite"]
    uri: str


class _Named(_Part):
    """Has the request named so in the log."""

    handler: Literal["map"]
    source: Literal[""]
    destinations: tuple[Literal["{http.auth.user.id}"]]
    defaults: tuple[str]


class _NotLogged(_Part):
    handler: Literal["vars"]
    skip_log: Literal[True]
    log_skip: Literal[True]


class _StaticResponse(_Part):
    handler: Literal["static_response"]
    status_code: int
    headers: dict[str, list[str]]
    body: str


class _Match(_Part):
    path: list[str] | None = None
    header: dict[str, list[str]] | None = None

    def takes(self, request: Request) -> bool:
        """Whether a request matches: paths by any spelling of their letters, headers exactly."""
        by_path = self.path is None or request.url.path.lower() in {path.lower() for path in self.path}
        return by_path and all(
            any(value in wanted for value in request.headers.getlist(name)) for name, wanted in (self.header or {}).items()
        )


class _Route(_Part):
    match: list[_Match] | None = None
    handle: list[Annotated[_ReverseProxy | _Rewrite | _StaticResponse | _Named | _NotLogged, Field(discriminator="handler")]]
    terminal: bool = False


class _NoHttps(_Part):
    disable: Literal[True]


class _EmptyPolicy(_Part):
    pass


class _HttpServer(_Part):
    listen: Annotated[list[Annotated[str, Field(pattern=r"^:\d+$")]], Field(min_length=1, max_length=1)]
    protocols: list[Literal["h1", "h2"]]
    automatic_https: _NoHttps
    read_header_timeout: str
    idle_timeout: str
    logs: _EmptyPolicy
    tls_connection_policies: Annotated[list[_EmptyPolicy], Field(min_length=1, max_length=1)] | None = None
    routes: list[_Route]


class _Http(_Part):
    servers: Annotated[dict[str, _HttpServer], Field(min_length=1, max_length=1)]


class _Pair(_Part):
    certificate: str
    key: str


class _Certificates(_Part):
    load_files: Annotated[list[_Pair], Field(min_length=1, max_length=1)]


class _Tls(_Part):
    certificates: _Certificates


class _Apps(_Part):
    http: _Http
    tls: _Tls | None = None


class _NoCopy(_Part):
    persist: Literal[False]


class _NoAdmin(_Part):
    disabled: Literal[True]
    config: _NoCopy


class _Admin(_Part):
    listen: Annotated[str, Field(pattern=r"^unix//")]
    config: _NoCopy


class _Deleted(_Part):
    filter: Literal["delete"]


class _Line(_Part):
    format: Literal["json"]
    level_key: Literal[""]
    name_key: Literal[""]
    message_key: Literal[""]


class _Filter(_Part):
    format: Literal["filter"]
    wrap: _Line
    fields: dict[Literal["request", "resp_headers", "bytes_read"], _Deleted]


class _ToStdout(_Part):
    output: Literal["stdout"]


class _AccessLog(_Part):
    writer: _ToStdout
    encoder: _Filter
    include: tuple[Literal["http.log.access"]]


class _OtherLog(_Part):
    exclude: tuple[Literal["http.log.access"]]


class _Logs(_Part):
    default: _OtherLog
    access: _AccessLog


class _Logging(_Part):
    logs: _Logs


class _Config(_Part):
    admin: _NoAdmin | _Admin
    logging: _Logging
    apps: _Apps


def is_caddy(image: str) -> bool:
    """Whether an image (without tag or digest) is Caddy's."""
    return image.rpartition("/")[2] == "caddy"


class Caddy:
    """`caddy run --config FILE` in a container; `outside` finds a container's path on this machine, `say` writes to its log."""

    def __init__(
        self,
        arguments: list[str],
        outside: Callable[[str], Path | None],
        upstream: Callable[[int], int | None],
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._say = say
        match arguments:
            case ["caddy", "run", "--config", path]:
                self._outside, self._upstream = outside, upstream
            case _:
                raise StartError(1, f"Error: the local cloud knows `caddy run --config FILE` only, not {arguments}")
        self._context: ssl.SSLContext | None = None
        self._config = self._read(path)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.listen[0].removeprefix(":"))

    @property
    def _server(self) -> _HttpServer:
        (server,) = self._config.apps.http.servers.values()
        return server

    def reload(self, arguments: list[str]) -> None:
        """`caddy reload --force --config FILE --address unix/SOCKET`; no connection is cut. StartError where it is refused."""
        match arguments:
            case ["caddy", "reload", "--force", "--config", path, "--address", socket] if socket == getattr(
                self._config.admin, "listen", None
            ):
                fresh = self._read(path)
            case _:
                raise StartError(1, f"Error: sending configuration to instance: no admin endpoint as {arguments} wants it")
        if self._context:
            self._load_certificate(self._context, fresh.apps.tls)
        self._config = fresh

    def _read(self, path: str) -> _Config:
        try:
            return TypeAdapter(_Config).validate_python(json.loads(self._file(path).read_text()))
        except ValidationError as error:
            # The places alone: the values may be secrets.
            places = ", ".join(".".join(map(str, each["loc"])) for each in error.errors())
            raise StartError(1, f"Error: loading initial config: the local cloud's Caddy does not know: {places}") from error
        except (OSError, ValueError) as error:
            raise StartError(1, f"Error: reading config from file: {path}: {type(error).__name__}") from error

    def _file(self, path: str) -> Path:
        found = self._outside(path)
        if found is None:
            raise StartError(1, f"Error: open {path}: no such file or directory")
        return found

    @asynccontextmanager
    async def running(self, listener: socket.socket) -> AsyncGenerator[None]:
        """Serve on the bound socket."""
        async with serving(self._application, listener, self._tls_context()):
            yield

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, size, status = time.monotonic(), 0, 0

        async def counted(message: Message) -> None:
            nonlocal size, status
            size += len(message.get("body", b""))
            status = message.get("status", status)
            await send(message)

        request = Request(scope, receive)
        try:
            response = await self._answer(request)
            await response(scope, receive, counted)
        finally:
            if scope.get(_IS_LOGGED, True):
                facts = {"duration": round(time.monotonic() - began, 9), "size": size, "status": status}
                self._say(json.dumps({"ts": time.time(), "user_id": scope.get(_NAME, ""), **facts}))

    def _tls_context(self) -> ssl.SSLContext | None:
        if self._server.tls_connection_policies is None or self._config.apps.tls is None:
            return None
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._load_certificate(self._context, self._config.apps.tls)
        return self._context

    def _load_certificate(self, context: ssl.SSLContext, tls: _Tls | None) -> None:
        """For connections from now on."""
        if tls is None:
            raise StartError(1, "Error: the local cloud's Caddy keeps TLS when it reloads")
        (pair,) = tls.certificates.load_files
        try:
            context.load_cert_chain(self._file(pair.certificate), self._file(pair.key))
        except (OSError, ssl.SSLError) as error:
            raise StartError(1, "Error: loading certificates: tls: failed to find or match certificate and key") from error

    async def _answer(self, request: Request) -> Response:
        for route in self._server.routes:
            if route.match is None or any(match.takes(request) for match in route.match):
                return await self._handle(route, request)
        return Response(status_code=200)

    async def _handle(self, route: _Route, request: Request) -> Response:
        path, query = request.scope["raw_path"].decode(), f"?{request.url.query}" if request.url.query else ""
        for handler in route.handle:
            if isinstance(handler, _Rewrite):
                path = handler.uri
            elif isinstance(handler, _Named):
                request.scope[_NAME] = handler.defaults[0]
            elif isinstance(handler, _NotLogged):
                request.scope[_IS_LOGGED] = False
            elif isinstance(handler, _StaticResponse):
                return Response(handler.body, handler.status_code, {name: values[0] for name, values in handler.headers.items()})
            else:
                return await self._forward(handler, request, path + query)
        return Response(status_code=200)

    async def _forward(self, handler: _ReverseProxy, request: Request, target: str) -> Response:
        port = self._upstream(int(handler.upstreams[0].dial.rpartition(":")[2]))
        dropped = {*_HOP_BY_HOP, *(name.lower().encode() for name in handler.headers.request.delete)}
        body = await request.body()
        headers = [(name, value) for name, value in request.headers.raw if name not in dropped | {b"content-length"}]
        headers += [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
        try:
            if port is None:
                raise ConnectionRefusedError
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            connection = h11.Connection(h11.CLIENT)
            for event in (
                h11.Request(method=request.method, target=target, headers=headers),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                writer.write(connection.send(event) or b"")
            answer = await _next_event(connection, reader)
            if not isinstance(answer, h11.Response):
                raise ConnectionResetError
        except (OSError, h11.ProtocolError):
            return Response(status_code=502)
        response = StreamingResponse(_body(connection, reader, writer), answer.status_code)
        response.raw_headers = [(name, value) for name, value in answer.headers if name not in _HOP_BY_HOP]
        return response


async def _next_event(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Event | type[h11.PAUSED]:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(_READ_BYTES))
    return event  # type: ignore[return-value]


async def _body(connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AsyncGenerator[bytes]:
    """Each part of the answer as it comes. When the client goes, this ends, and so does the connection to the server."""
    try:
        while isinstance(event := await _next_event(connection, reader), h11.Data):
            yield bytes(event.data)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
