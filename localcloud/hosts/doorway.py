"""Doorways: TCP listeners on the hosts' public addresses, spliced to the services behind them.

Whether a connection is let through, and how far its client is, is asked when it arrives. Left out on purpose: UDP, and a
handshake that takes its time: the kernel answers it, so the first bytes are held one round trip longer instead.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count

from localcloud.bounds import Places, room
from localcloud.hosts.distance import Line
from localcloud.log import REFUSED

log = logging.getLogger("localcloud")
refused_log = logging.getLogger(REFUSED)

Refusal = Callable[[str, int, str], str | None]

_FIRST_UNPRIVILEGED_PORT = 1024
_LOW_PORTS = "EDGE_CLOUD_LOW_PORTS"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_READ_BYTES = 1 << 18
_BACKLOG = 4096
"""Connections that the kernel keeps while the loop is busy: with fewer, a crowd makes others' connections wait a second."""
_TURN = 16
"""So many connections are accepted before everything else has its turn."""


class _End:
    """One end of a spliced connection: what arrives here is sent from the other end.

    On bare sockets: asyncio's transports take turns of the loop to set up a connection, which 0.1 ms and more are spent on.
    """

    def __init__(self, connection: socket.socket, open_ends: set[_End], places: Places | None = None) -> None:
        self.connection = connection
        self._places = places
        """Where this end has a place."""
        self._is_silent = places is not None
        self.other: _End = self
        """Itself as long as it is not spliced."""
        self.line: Line | None = None
        """To the other end; None where the client is no distance away."""
        self.is_reading = False
        self.is_closed = False
        self.unsent = bytearray()
        self._has_ended = self._may_end = False
        self._loop = asyncio.get_running_loop()
        self._open_ends = open_ends
        open_ends.add(self)

    def splice(self, other: _End) -> None:
        """Begin to read, for the other end."""
        self.other = other
        self.set_full(False)

    def set_full(self, full: bool) -> None:  # noqa: FBT001 - called with a state
        """Read no more while the line to the other end is full, or the other end cannot send."""
        if full and self.is_reading:
            self._loop.remove_reader(self.connection)
        elif not full and not self.is_reading and not self._has_ended and not self.is_closed:
            self._loop.add_reader(self.connection, self._read)
        else:
            return
        self.is_reading = not full

    def _read(self) -> None:
        try:
            data = self.connection.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._lose()
            return
        if data:
            if self._is_silent and self._places:
                self._is_silent = False
                self._places.spoke(self)
            self._forward(partial(self.other.send, data), len(data))
            return
        self.set_full(True)
        self._has_ended = True
        self._forward(self.other.end)
        self._close_if_done()

    def _forward(self, action: Callable[[], None], size: int = 0) -> None:
        if self.line:
            self.line.put(action, size)
        else:
            action()

    def send(self, data: bytes) -> None:
        """Send what came at the other end, which waits where that takes time."""
        if self.is_closed:
            return
        if not self.unsent:
            data = data[self._sent(data) :]
            if not data or self.is_closed:
                return
            self._loop.add_writer(self.connection, self._send_more)
            self.other.wait()
        self.unsent += data

    def _send_more(self) -> None:
        del self.unsent[: self._sent(self.unsent)]
        if self.unsent or self.is_closed:
            return
        self._loop.remove_writer(self.connection)
        self.other.go_on()
        if self._may_end:
            self.end()

    def _sent(self, data: bytes | bytearray) -> int:
        try:
            return self.connection.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._lose()
            return 0

    def wait(self) -> None:
        """Let nothing more come to the other end: it cannot send."""
        if self.line:
            self.line.hold()
        else:
            self.set_full(True)

    def go_on(self) -> None:
        """Let it come again."""
        if self.line:
            self.line.release()
        else:
            self.set_full(False)

    def end(self) -> None:
        """The other end has got all there is: half close here once all is sent."""
        self._may_end = True
        if not self.unsent and not self.is_closed:
            with suppress(OSError):  # reset in this moment, of which the next read tells
                self.connection.shutdown(socket.SHUT_WR)
            self._close_if_done()

    def _close_if_done(self) -> None:
        if self._has_ended and self._may_end and not self.unsent:
            self.close()

    def _lose(self) -> None:
        """Reset here: so is the other, after what is under way to it."""
        self.close()
        if self.other.line:
            self.other.line.drop()
        self._forward(self.other.reset)

    def reset(self) -> None:
        """Close with a TCP reset, as a refused or cut connection ends."""
        if not self.is_closed:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.close()

    def cut(self) -> None:
        """Reset both ends: the connection has to give way to another."""
        self.reset()
        self.other.reset()

    def close(self) -> None:
        """Be done with this end."""
        if not self.is_closed:
            self.set_full(True)
            self._loop.remove_writer(self.connection)
            self.is_closed = True
            self.connection.close()
            self._open_ends.discard(self)
            if self._places:
                self._places.leave(self)


def unprivileged(port: int) -> int:
    """The port on this machine that stands for `port`: those below 1024 cannot be bound, unless it is said that they can."""
    return port if port >= _FIRST_UNPRIVILEGED_PORT or os.environ.get(_LOW_PORTS) else 20000 + port


def _tcp_socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setblocking(False)  # noqa: FBT003
    return made


def bound_socket(address: str, port: int) -> socket.socket:
    """A TCP socket, bound but not listening: it refuses connections until someone serves on it.

    What it accepts inherits TCP_NODELAY, without which the first token waits for the acknowledgement of the headers.
    """
    bound = _tcp_socket()
    try:
        if port:  # or else two sockets that do not listen yet may be given the same free port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
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
        self.places = Places(room().of_port, room().of_source)
        self.open_ends: set[_End] = set()
        self._listener = bound_socket(address, unprivileged(port))
        self._serving: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Accept connections from now on (the port is already bound)."""
        self._listener.listen(_BACKLOG)
        self._serving = asyncio.ensure_future(self._serve())

    async def _serve(self) -> None:
        for number in count(1):
            if number % _TURN == 0:  # accepting takes no turn of the loop as long as there is someone to accept
                await asyncio.sleep(0)
            try:
                connection, (source, _) = await asyncio.get_running_loop().sock_accept(self._listener)
            except OSError as error:  # out of file descriptors
                log.warning("%s:%s cannot accept: %s", self.address, self.port, error)
                await asyncio.sleep(1)
                continue
            outside = _End(connection, self.open_ends, self.places)
            try:
                reason = await self._let_in(outside, source)
            except Exception:
                log.exception("%s -> %s:%s could not be let in", source, self.address, self.port)
                outside.reset()
                continue
            if reason:
                refused_log.info("refused %s -> %s:%s: %s", source, self.address, self.port, reason)
                outside.reset()

    async def _let_in(self, outside: _End, source: str) -> str | None:
        """Splice a connection to the service; why it is not let in."""
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        if reason := self.refusal(self.address, self.port, source):
            return reason
        if not self.places.enter(outside, source, outside.cut):
            return f"{self.places.taken} connections stand there already"
        round_trip = self.round_trip_seconds(source)
        try:
            inside = _End(_tcp_socket(), self.open_ends)
        except OSError as error:
            return str(error)
        service = "127.0.0.1", self.inside_port
        try:
            # on loopback the connection stands when this returns, and the second try says so without a turn of the loop
            inside.connection.connect_ex(service)
            await loop.sock_connect(inside.connection, service)
        except OSError:
            inside.close()
            return "nothing listens there any more"
        if outside.is_closed:  # it had to give way
            inside.close()
            return None
        if round_trip:
            # the client's half of the handshake takes one round trip, its last packet half of one more to the service
            outside.line = Line(round_trip / 2, arrived + round_trip, loop, outside.set_full)
            inside.line = Line(round_trip / 2, arrived + round_trip * 1.5, loop, inside.set_full)
        outside.splice(inside)
        inside.splice(outside)
        return None

    def close(self) -> None:
        """Stop listening and cut what is connected, as when an address goes away."""
        if self._serving:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._serving.cancel()
            self._serving = None
        self._listener.close()
        for end in list(self.open_ends):
            end.reset()
