"""Doorways: TCP listeners on the hosts' public addresses, spliced to the services behind them.

Whether a connection is let through, and how far its client is, is asked when it arrives. Left out on purpose: UDP, and a
handshake that takes its time: the kernel answers it, so the first bytes are held one round trip longer instead.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import cast

from localcloud.hosts.distance import Line

log = logging.getLogger("localcloud")

Refusal = Callable[[str, int, str], str | None]

_FIRST_UNPRIVILEGED_PORT = 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _Side(asyncio.Protocol):
    """One half of a spliced connection: what arrives here is written to the other half."""

    transport: asyncio.Transport
    other: _Side | None = None
    line: Line | None = None
    """To the other half; None where the client is no distance away."""
    has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; both halves are stream transports."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Forward what came."""
        if self.line and self.other:
            self.line.put(partial(self.other.transport.write, data), len(data))
        elif self.other:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Forward the half close; the other direction stays open until it ends too."""
        self.has_ended = True
        if self.other:
            self._forward(self.other.end)
        return True

    def end(self) -> None:
        """The other half has sent all: half close towards here, or close where nothing more comes from here either."""
        if self.has_ended:
            self.transport.close()
            return
        with suppress(OSError):  # reset in this moment, of which connection_lost tells
            self.transport.write_eof()

    def pause_writing(self) -> None:
        """Let nothing more come from the other half while this one cannot be written."""
        if self.other and self.other.line:
            self.other.line.hold()
        elif self.other:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Let it come from the other half again."""
        if self.other and self.other.line:
            self.other.line.release()
        elif self.other:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other half as this one ended: in order, or with a reset."""
        if not self.other:
            return
        if self.other.line:
            self.other.line.drop()
        self._forward(partial(reset, self.other.transport) if exc else self.other.transport.close)

    def _forward(self, action: Callable[[], None]) -> None:
        if self.line:
            self.line.put(action)
        else:
            action()

    def set_full(self, full: bool) -> None:  # noqa: FBT001 - called with a state
        """Read no more while the line to the other half is full."""
        if full:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()


class _Outside(_Side):
    """The client's half."""

    def __init__(self, doorway: Doorway) -> None:
        super().__init__()
        self.doorway = doorway

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the connection through to the service, or reset it."""
        super().connection_made(transport)
        self.arrived = asyncio.get_running_loop().time()
        self.transport.pause_reading()
        source: str = transport.get_extra_info("peername")[0]
        reason = self.doorway.refusal(self.doorway.address, self.doorway.port, source)
        if reason:
            self.doorway.refuse(self.transport, source, reason)
            return
        self.doorway.outsides.add(self)
        self.connecting = asyncio.ensure_future(self._connect(source))

    async def _connect(self, source: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, inside = await loop.create_connection(_Side, "127.0.0.1", self.doorway.inside_port)
        except OSError:
            self.doorway.refuse(self.transport, source, "nothing listens there any more")
            return
        if self.transport.is_closing():
            inside.transport.abort()
            return
        self.other, inside.other = inside, self
        if round_trip := self.doorway.round_trip_seconds(source):
            # the client's half of the handshake takes one round trip, its last packet half of one more to the service
            self.line = Line(round_trip / 2, self.arrived + round_trip, loop, self.set_full)
            inside.line = Line(round_trip / 2, self.arrived + round_trip * 1.5, loop, inside.set_full)
        self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.doorway.outsides.discard(self)
        super().connection_lost(exc)


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with a TCP reset, as a refused or cut one ends."""
    raw = transport.get_extra_info("socket")
    if raw is not None and not transport.is_closing():
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


def unprivileged(port: int) -> int:
    """The port on this machine that stands for `port`: those below 1024 cannot be bound."""
    return port if port >= _FIRST_UNPRIVILEGED_PORT else 20000 + port


def bound_socket(address: str, port: int) -> socket.socket:
    """A TCP socket, bound but not listening: it refuses connections until someone serves on it.

    What it accepts inherits TCP_NODELAY, which asyncio sets by itself only on sockets whose protocol
    is named; without it the first token waits for the acknowledgement of the headers.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if port:  # or else two sockets that do not listen yet may be given the same free port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.bind((address, port))
        bound.setblocking(False)  # noqa: FBT003
    except OSError:
        bound.close()
        raise
    return bound


class Doorway:
    """A listener for connections meant for `address`:`port`, spliced to 127.0.0.1:`inside_port`.

    `round_trip_seconds` says how far away a source is; 0 is here.
    """

    def __init__(
        self,
        address: str,
        port: int,
        inside_port: int,
        refusal: Refusal,
        round_trip_seconds: Callable[[str], float] = lambda _source: 0.0,
    ) -> None:
        self.address, self.port, self.inside_port = address, port, inside_port
        self.refusal, self.round_trip_seconds = refusal, round_trip_seconds
        self.outsides: set[_Outside] = set()
        self._listener = bound_socket(address, unprivileged(port))
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Accept connections from now on (the port is already bound)."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Outside(self), sock=self._listener, backlog=256)

    def refuse(self, transport: asyncio.Transport, source: str, reason: str) -> None:
        """Reset a connection and say why in the cloud's log."""
        log.info("refused %s -> %s:%s: %s", source, self.address, self.port, reason)
        reset(transport)

    def close(self) -> None:
        """Stop listening and cut what is connected, as when an address goes away."""
        if self._server:
            self._server.close()
        self._listener.close()
        for outside in list(self.outsides):
            for side in (outside, outside.other):
                if side:
                    reset(side.transport)
