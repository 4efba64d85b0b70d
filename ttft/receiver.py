"""One thread that receives for all users, and the kernel's word for when each packet came.

Threads that each wake for every token fight over the interpreter: that costs CPU time and delays their clocks. Linux keeps when a
packet came (SO_TIMESTAMPNS), so one thread may look a little later, at several streams together; elsewhere it looks at once and
reads its own clock. Needs epoll or kqueue. Leaves out what the bytes mean.
"""

from __future__ import annotations

import functools
import io
import math
import selectors
import socket
import ssl
import struct
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, List, Literal, Tuple  # noqa: UP035 - Python 3.9 evaluates _Read

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

now = time.perf_counter
"""Seconds; on Linux the machine's monotonic clock."""
TimedOut = socket.timeout
"""TimeoutError, but on Python 3.9 a class of its own."""
Clock = Literal["kernel", "user space"]

READ_BYTES = 16384
_QUIET_SECONDS = 1.0
"""After a pause of this length there is time to look at what came, and a keep-alive comment must not pass for a token."""
_TICK_SECONDS = 0.002
"""Packets of one stream that come within this time may share the time of the last, where several streams are open."""
_LAST_CHUNK = b"0\r\n\r\n"
_SO_TIMESTAMPNS = 35
"""linux/socket.h; Python has no name for it before 3.14."""
_STAMP = struct.Struct("@ll")
_STAMP_BYTES = socket.CMSG_SPACE(_STAMP.size)
_AT_ONCE_SECONDS = 50e-6
_Ancillary = List[Tuple[int, int, bytes]]  # noqa: UP006
_Read = Tuple[float, float, _Ancillary, bytes]  # noqa: UP006
"""When this program read it, the kernel's clock less `now`, what the kernel says of it, and what it is."""


class Arrivals(io.RawIOBase):
    """The answer to one request as it comes: every read with its time. http.client reads from it as from a socket."""

    def __init__(self, sock: socket.socket, patience_seconds: float) -> None:
        self.give_up_at = now() + patience_seconds
        self.arrived = now()
        """When what was read last came, in seconds of `now`."""
        self.clock: Clock = "user space"
        self.descriptor = sock.fileno()
        self.worth_a_look = threading.Semaphore(0)
        self.sock = sock
        self._held = sock.makefile("rb", buffering=0)  # keeps the socket open where the connection ends with the answer
        self._reads: deque[_Read] = deque()
        self._error: OSError | None = None
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._is_chunked: bool | None = None

    def take(self) -> list[tuple[float, bytes]]:
        """When and what has come, at least one read; an empty one where the server closed.

        Waits for what may be the end, for a pause, or for `give_up_at`. Raises OSError, TimedOut among them.
        """
        if not self._reads:
            self._wait()
        return [self._next() for _ in range(len(self._reads))]

    def _next(self) -> tuple[float, bytes]:
        looked, difference_seconds, ancillary, data = self._reads.popleft()
        came = _stamp_seconds(ancillary) - difference_seconds if ancillary else looked
        self.arrived = max(self.arrived, min(came, looked))  # also where somebody has set the clock meanwhile
        return self.arrived, data

    def _wait(self) -> None:
        if self._error:
            raise self._error
        self.sock.settimeout(0)
        receiver().add(self)
        try:
            while True:
                looks = self.worth_a_look.acquire(timeout=max(0.0, min(_QUIET_SECONDS, self.give_up_at - now())))
                late = now() >= self.give_up_at
                if self._reads and (looks or late or now() - self._reads[-1][0] >= _QUIET_SECONDS):
                    return
                if self._error:
                    raise self._error
                if late:
                    raise TimedOut
        finally:
            receiver().remove(self)

    def receive(self, difference_seconds: float) -> bool:
        """Take what is there, in the receiver's thread; whether somebody should look at it now."""
        try:
            if self._is_tls:  # reads by itself, so that a look at its next packet has to tell the time
                ancillary = _peek(self.sock)
                data = self.sock.recv(READ_BYTES)
            else:
                data, ancillary, _, _ = self.sock.recvmsg(READ_BYTES, _STAMP_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError as error:
            self._error = error
            return True
        self._reads.append((now(), difference_seconds, ancillary, data))
        if self._is_chunked is None:
            self._is_chunked = b"chunked" in data.lower()
            self.clock = "kernel" if ancillary else "user space"
        return not self._is_chunked or data[-len(_LAST_CHUNK) :] == _LAST_CHUNK or not data

    def makefile(self, *_args: Any) -> io.BufferedReader:
        """The way in which http.client asks a socket for a file."""
        return io.BufferedReader(self, READ_BYTES)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """The next read, or the part of it for which there is room."""
        view = memoryview(buffer)
        if not self._reads:
            self._wait()
        came, data = self._next()
        if len(data) > len(view):
            self._reads.appendleft((came, 0.0, [], data[len(view) :]))
        view[: len(data)] = data[: len(view)]
        return min(len(data), len(view))

    def close(self) -> None:
        """Let go of the socket."""
        self._held.close()
        super().close()


def ask_for_timestamps(sock: socket.socket) -> None:
    """Let the kernel keep when packets came; without effect where it does not know how."""
    if sys.platform == "linux":
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def next_arrival(sock: socket.socket) -> float:
    """Wait until there is something to read, and tell when it came, in seconds of `now`."""
    ancillary = _peek(sock)
    return min(now(), _stamp_seconds(ancillary) - _difference_seconds()) if ancillary else now()


def _peek(sock: socket.socket) -> _Ancillary:
    return socket.socket.recvmsg(sock, 1, _STAMP_BYTES, socket.MSG_PEEK)[1]


def _stamp_seconds(ancillary: _Ancillary) -> float:
    seconds, nanoseconds = _STAMP.unpack(ancillary[0][2])
    return seconds + nanoseconds * 1e-9


def _difference_seconds() -> float:
    """The kernel's clock less `now`; taken again where something came between the two looks."""
    difference_seconds, taken_seconds = 0.0, math.inf
    while taken_seconds > _AT_ONCE_SECONDS:
        begin = now()
        difference_seconds = time.time() - begin
        taken_seconds = now() - begin
    return difference_seconds


class Receiver:
    """Receives for any number of threads."""

    def __init__(self) -> None:
        self.cpu_seconds = 0.0
        """CPU time of its thread up to now."""
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="receiver", daemon=True).start()

    def add(self, arrivals: Arrivals) -> None:
        """Receive for it, until there is something worth a look."""
        with self._lock:
            self._selector.register(arrivals.descriptor, selectors.EVENT_READ, arrivals)

    def remove(self, arrivals: Arrivals) -> None:
        """No longer; the other thread may have been quicker, and the descriptor may be another's by now."""
        with self._lock:
            key = self._selector.get_map().get(arrivals.descriptor)
            if key and key.data is arrivals:
                self._selector.unregister(arrivals.descriptor)

    def _run(self) -> None:
        while True:
            ready = self._selector.select()
            difference_seconds = _difference_seconds()
            may_rest = len(self._selector.get_map()) > 1
            for key, _ in ready:
                arrivals: Arrivals = key.data
                if arrivals.receive(difference_seconds):
                    self.remove(arrivals)
                    arrivals.worth_a_look.release()
                may_rest = may_rest and arrivals.clock == "kernel"
            self.cpu_seconds = time.thread_time()
            if may_rest:
                time.sleep(_TICK_SECONDS)


@functools.cache
def receiver() -> Receiver:
    """The one of this process."""
    return Receiver()
