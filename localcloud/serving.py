"""HTTP servers on one event loop, with bounds: the API, the model servers and Caddy are served by this.

uvicorn's own Server is left out: it wants the process's signals and a tick of its own.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING

import uvicorn
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from localcloud.bounds import Places, room

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncGenerator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

NEVER_SECONDS = 24 * 3600
"""For servers that leave idle connections open, as TGI and Caddy do longer than anything here lasts."""

LONGEST_BODY_BYTES = 4 * 2**20
"""Twice TGI's own limit, which its stand-in tells in TGI's words."""
_HEAD_SECONDS = 30.0
"""Within which a connection's first request must have come, all but its body."""
_BODY_SECONDS = 60.0
_TLS_SECONDS = 10.0
_BACKLOG = 4096
"""Connections that the kernel keeps while the loop is busy: with fewer, a crowd makes others' connections wait a second."""


@cache
def places() -> Places:
    """Those of all servers of this process, but those that have their own."""
    return Places(room().in_all)


class _Protocol(H11Protocol):
    """Takes a place for its connection, and lets the application say when that is earned if it `decides`."""

    def __init__(self, config: uvicorn.Config, state: ServerState, taken: Places, *, decides: bool) -> None:
        super().__init__(config, state, {"admit": self._admit})
        self._places, self._decides = taken, decides
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] - as uvicorn has it
        super().connection_made(transport)
        source = str((transport.get_extra_info("peername") or ("",))[0])
        if not self._places.enter(self, source, transport.abort):
            transport.abort()
            return
        self._deadline = self.loop.call_later(_HEAD_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._places.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._deadline and self.cycle:
            self._deadline.cancel()
            self._deadline = None
            if not self._decides:
                self._admit()

    def _admit(self) -> None:
        self._places.spoke(self)


def admit(scope: Scope) -> None:
    """The connection of this request keeps its place: for servers that decide."""
    scope["state"]["admit"]()


def bounded(receive: Receive, longest_bytes: int = LONGEST_BODY_BYTES) -> Receive:
    """The same request; HTTPException where its body is longer (413) or takes too long (408)."""
    received_bytes, is_whole = 0, False
    begun = asyncio.get_running_loop().time()

    async def counted() -> Message:
        nonlocal received_bytes, is_whole
        try:
            async with asyncio.timeout_at(None if is_whole else begun + _BODY_SECONDS):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(408) from error
        received_bytes += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if received_bytes > longest_bytes:
            raise HTTPException(413, "length limit exceeded")
        return message

    return counted


@asynccontextmanager
async def serving(
    app: ASGIApp,
    listener: socket.socket,
    tls: ssl.SSLContext | None = None,
    *,
    idle_seconds: int = NEVER_SECONDS,
    own_places: Places | None = None,
) -> AsyncGenerator[None]:
    """Serve an app on a bound socket inside the running loop; leaving cuts every connection.

    A kept connection is closed when no request has come for `idle_seconds`.
    With `own_places`, the app says who is admitted (`admit`) and bounds its bodies; else whoever makes a request is, and its body
    is bounded.
    """
    config = uvicorn.Config(
        app if own_places else _with_bounded_bodies(app),
        interface="asgi3",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=idle_seconds,
    )
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Protocol(config, state, own_places or places(), decides=own_places is not None),
        sock=listener,
        ssl=tls,
        ssl_handshake_timeout=_TLS_SECONDS if tls else None,
        backlog=_BACKLOG,
    )
    try:
        yield
    finally:
        server.close()
        for connection in list(state.connections):
            transport = connection.transport
            if transport:
                transport.abort()
        for task in list(state.tasks):
            task.cancel()


def _with_bounded_bodies(app: ASGIApp) -> ASGIApp:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, bounded(receive), send)
        except HTTPException as error:  # of an app that is not Starlette's, which answers it itself
            await PlainTextResponse(error.detail, error.status_code, {"connection": "close"})(scope, receive, send)

    return application
