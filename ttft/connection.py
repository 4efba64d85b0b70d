"""One user's HTTP connection to one endpoint, through requests, with the clock on every step of it.

Leaves out proxies, redirects, cookies and content encodings: each would stand between the clock and the server.
"""

from __future__ import annotations

import functools
import http.client
import re
import socket
import ssl
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import requests
import urllib3
import urllib3.connection
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from ttft.receiver import READ_BYTES, Arrivals, Clock, TimedOut, ask_for_timestamps, now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_TCP_INFO_RTT_OFFSET, _TCP_INFO_MIN_RTT_OFFSET = 68, 148
"""linux/tcp.h: tcpi_rtt and tcpi_min_rtt, microseconds."""
_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"(?<=\r\nContent-Length: )\d+")


@dataclass
class Marks:
    """When each step of one request ended, in seconds of `now`. On a warm connection the first four are equal."""

    started: float
    resolved: float
    connected: float
    secured: float
    opened: bool
    """This request opened its connection."""
    writing: float = 0.0
    written: float = 0.0
    headers: float = 0.0


def unchunked(data: bytes) -> tuple[bytes, bytes, bool]:
    """Payload of the complete chunks at the head of the data, what is left of it, and whether the last chunk came.

    Trailers are not looked at: the model servers send none. Raises ValueError for what is no chunk.
    """
    payload, at = b"", 0
    while (line_end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:line_end].partition(b";")[0], 16)
        end = line_end + 2 + size
        if size and not at and len(data) == end + 2:  # one chunk and no more: nearly always
            return data[line_end + 2 : end], b"", False
        if len(data) < end + 2:
            break
        if not size:
            return payload, b"", True
        payload += data[line_end + 2 : end]
        at = end + 2
    return payload, data[at:], False


class _Answer(http.client.HTTPResponse):
    """http.client's, quick with the head of a usual stream: the email package, which reads heads else, takes long for one."""

    def begin(self) -> None:
        """Read status and headers. Raises what http.client raises."""
        head, end, _ = self.fp.peek().partition(_HEAD_END)
        usual = head.lower()
        is_usual = usual.startswith(b"http/1.1 200 ") and b"\r\ntransfer-encoding: chunked" in usual
        if not end or not is_usual or b"\r\nconnection: close" in usual:
            super().begin()
            return
        self.fp.read(len(head) + len(end))
        self.headers = self.msg = http.client.HTTPMessage()
        for line in head.decode("iso-8859-1").split("\r\n")[1:]:
            name, _, value = line.partition(":")
            self.headers.add_header(name, value.strip())
        self.code = self.status = http.client.OK
        self.version, self.reason, self.chunked, self.chunk_left, self.will_close = 11, "", True, None, False


class _Connection(urllib3.connection.HTTPConnection):
    """Marks resolution, TCP, writing and headers.

    For https, urllib3 connects before `request`: what connecting marked stays until the first request takes it.
    """

    def __init__(self, *args: Any, dial: tuple[str | None, int | None] = (None, None), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dial = dial
        self._opening: Marks | None = None
        self._held: list[bytes] | None = None
        self.marks = Marks(0.0, 0.0, 0.0, 0.0, opened=False)
        self.answer: http.client.HTTPResponse | None = None
        self.arrivals: Arrivals | None = None
        self.head = b""
        """Of the newest request that requests made."""

    def _new_conn(self) -> socket.socket:
        begin = now()
        host, port = self._dial[0] or self._dns_host, self._dial[1] or self.port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        resolved = now()
        sock = self._first_that_connects([str(address[0]) for *_, address in found], port)
        connected = now()
        ask_for_timestamps(sock)
        self._opening = Marks(begin, resolved, connected, connected, opened=True)
        return sock

    def _first_that_connects(self, addresses: list[str], port: int) -> socket.socket:
        timeout = cast("float", self.timeout)
        for address in addresses:
            try:
                return create_connection((address, port), timeout, self.source_address, self.socket_options)
            except OSError as error:
                if address == addresses[-1]:
                    if isinstance(error, TimedOut):
                        raise ConnectTimeoutError(self, f"no connection to {address}:{port} within {timeout:g} s") from error
                    raise NewConnectionError(self, f"{address}:{port}: {error}") from error
        raise NewConnectionError(self, "the name has no address")

    def connect(self) -> None:
        """Connect; whatever goes wrong in a handshake but for TLS itself is a connection that could not be made."""
        try:
            super().connect()
        except TimedOut as error:
            raise ConnectTimeoutError(self, f"no TLS handshake within {self.timeout:g} s") from error
        except ConnectionError as error:
            raise NewConnectionError(self, f"the TLS handshake broke: {error}") from error
        if self._opening:
            self._opening.secured = now()

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send head and body in one write, and start the clock of a warm request right before it."""
        if self.sock is None:
            self.connect()
        self._held = []
        try:
            super().request(*args, **kwargs)
        finally:
            whole, self._held = b"".join(self._held), None
        self.head = whole[: whole.index(_HEAD_END) + len(_HEAD_END)]
        self._write(whole)

    def repeat(self, head: bytes, body: bytes, wait_seconds: float) -> None:
        """A request whose head an earlier one had, over the open connection: without what requests and urllib3 keep books of."""
        self.timeout = wait_seconds
        self._write(_LENGTH.sub(b"%d" % len(body), head, count=1) + body)
        answer = self.response_class(self.sock, method="POST")
        answer.begin()
        self._mark_headers()
        if answer.will_close:
            self.close()

    def _write(self, whole: bytes) -> None:
        """At once, not after the look for room that a socket with a timeout takes first, and another thread's turn with it."""
        sock = cast("socket.socket", self.sock)
        sock.settimeout(0)
        marks, self._opening = self._opening, None
        begin = now()
        self.marks = marks or Marks(begin, begin, begin, begin, opened=False)
        self.marks.writing = begin
        sent = 0
        with suppress(BlockingIOError, ssl.SSLWantWriteError):
            sent = sock.send(whole)
        if sent < len(whole):
            sock.settimeout(cast("float", self.timeout))
            sock.sendall(whole[sent:])
        self.marks.written = now()

    def send(self, data: Any) -> None:
        if self._held is None:
            super().send(data)
        else:
            self._held.append(data)

    def response_class(  # pyright: ignore[reportIncompatibleVariableOverride] - called, never subclassed
        self, *args: Any, **kwargs: Any
    ) -> http.client.HTTPResponse:
        """What http.client makes its answers with; here it stays at hand, to be read without urllib3 in between."""
        self.arrivals = Arrivals(cast("socket.socket", self.sock), cast("float", self.timeout))
        self.answer = _Answer(self.arrivals, *args[1:], **kwargs)  # pyright: ignore[reportArgumentType] - a file is all it wants of a socket
        return self.answer

    def getresponse(self) -> Any:
        response = super().getresponse()
        self._mark_headers()
        return response

    def _mark_headers(self) -> None:
        self.marks.headers = cast("Arrivals", self.arrivals).arrived
        self.marks.written = min(self.marks.written, self.marks.headers)  # an answer can be quicker than this thread


class _TlsConnection(_Connection, urllib3.connection.HTTPSConnection):  # pyright: ignore[reportIncompatibleVariableOverride]
    """The same over TLS."""


class _Adapter(HTTPAdapter):
    """Requests' way to the connections above; certificates are read once, not for every connection."""

    def __init__(self, access: Access, source_address: str | None, dial: tuple[str | None, int | None]) -> None:
        self._access = access
        self._source_address = (source_address, 0) if source_address else None
        self._dial = dial
        self._newest: _Connection | None = None
        self._one: Any = None
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:  # noqa: FBT001, FBT002
        super().init_poolmanager(connections, maxsize, block, source_address=self._source_address, **pool_kwargs)

        def pool(kind: Any, connection: type[_Connection], *args: Any, **kwargs: Any) -> Any:
            made = kind(*args, **kwargs)
            made.ConnectionCls = functools.partial(self._connection, connection)
            return made

        makers: dict[str, Any] = {
            "http": functools.partial(pool, urllib3.HTTPConnectionPool, _Connection),
            "https": functools.partial(pool, urllib3.HTTPSConnectionPool, _TlsConnection),
        }
        self.poolmanager.pool_classes_by_scheme = makers

    def _connection(self, kind: type[_Connection], *args: Any, **kwargs: Any) -> _Connection:
        self._newest = kind(*args, dial=self._dial, **kwargs)
        return self._newest

    def kept(self) -> _Connection | None:
        """The connection, if it is open still."""
        return self._newest if self._newest and self._newest.sock and self._newest.is_connected else None

    def abort(self) -> None:
        """Shut the newest connection down, whoever reads from it."""
        sock = cast("socket.socket | None", self._newest and self._newest.sock)
        if sock:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._access.trust} if host["scheme"] == "https" else {}

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """The one pool: an adapter has one endpoint, so it is found once."""
        self._one = self._one or super().get_connection_with_tls_context(request, verify, proxies, cert)
        return self._one

    def close(self) -> None:
        self._one = None
        super().close()

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the context verifies."""

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        """Without the cookies, which cost more than all the rest."""
        response = requests.Response()
        response.status_code, response.headers, response.raw = resp.status, CaseInsensitiveDict(resp.headers), resp
        response.url, response.reason, response.request = req.url, resp.reason, req
        return response


@dataclass(frozen=True)
class Access:
    """How to get in: key, trust, patience. The key never shows in the object's text."""

    trust: ssl.SSLContext
    connect_timeout_seconds: float
    api_key: str | None = None

    def __repr__(self) -> str:
        return "Access(...)"

    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        key = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "ttft", **key}

    def hide(self, text: str) -> str:
        """A text from elsewhere, without the key that it might repeat."""
        return text.replace(self.api_key, "***") if self.api_key else text


def trusted(*, ca_file: Path | None = None, verify: bool = True) -> ssl.SSLContext:
    """Who may vouch for a server: requests' own set of authorities, those of a PEM file, or anybody."""
    context = ssl.create_default_context(cafile=ca_file or DEFAULT_CA_BUNDLE_PATH)
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Stream:
    """An answer whose headers have come, as bytes of the wire."""

    def __init__(self, connection: _Connection, release: Callable[[], None] = lambda: None) -> None:
        self.marks = connection.marks
        self.ended = False
        self._release = release
        self._arrivals = cast("Arrivals", connection.arrivals)
        self._answer = cast("http.client.HTTPResponse", connection.answer)
        self._chunked = bool(self._answer.chunked)
        self._read_ahead = True
        self._frame = b""

    @property
    def status(self) -> int:
        """Of the answer."""
        return self._answer.status

    @property
    def content_type(self) -> str:
        """Of the answer, empty where it names none."""
        return self._answer.getheader("content-type", "")

    def text(self) -> str:
        """The whole body, of an answer that is no stream."""
        return self._answer.read().decode(errors="replace")

    @property
    def clock(self) -> Clock:
        """Whose clock the arrivals are on: of the kernel's packets, or of this program's reads."""
        return self._arrivals.clock

    def read(self) -> list[tuple[float, bytes]]:
        """When and what came, in reads; an empty one where the server closed. Raises OSError, TimedOut among them."""
        if self._chunked and not self._read_ahead:
            return self._arrivals.take()
        self._read_ahead = False  # the first read empties what http.client has read together with the headers
        received = self._answer.fp.read1(READ_BYTES) if self._chunked else self._answer.read1(READ_BYTES)
        return [(self._arrivals.arrived, received)]

    def payload(self, received: bytes) -> bytes:
        """The body in these bytes; sets `ended` with its last. Raises ValueError for what is no HTTP chunk."""
        if self._chunked:
            received, self._frame, self.ended = unchunked(self._frame + received)
        else:
            self.ended = self._answer.isclosed() or not received
        if self.ended:
            self._answer.close()
            self._release()
        return received

    def give_up_at(self, moment: float) -> None:
        """Let reading give up then, in seconds of `now`."""
        self._arrivals.give_up_at = moment

    def tcp_round_trip_ms(self) -> tuple[float | None, float | None]:
        """Linux' TCP_INFO: smoothed and smallest round-trip time in milliseconds; None elsewhere or once closed."""
        try:
            information = self._arrivals.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_MIN_RTT_OFFSET + 4)
            smoothed: int = struct.unpack_from("=I", information, _TCP_INFO_RTT_OFFSET)[0]
            smallest: int = struct.unpack_from("=I", information, _TCP_INFO_MIN_RTT_OFFSET)[0]
        except (OSError, AttributeError, struct.error):
            return None, None
        return smoothed / 1000, smallest / 1000


class Client:
    """One user: at most one connection, kept between requests until `close`."""

    def __init__(
        self, url: str, access: Access, source_address: str | None = None, dial: tuple[str | None, int | None] = (None, None)
    ) -> None:
        self._url = url.rstrip("/")
        self._access = access
        self._headers: CaseInsensitiveDict[str | bytes] = CaseInsensitiveDict(access.headers())
        self._adapter = _Adapter(access, source_address, dial)
        self._heads: dict[str, bytes] = {}
        self.clock: Clock | None = None
        """Which the newest answer's arrivals were read from: the kernel's, of packets, or this program's, of reads."""

    def _send(self, method: str, route: str, body: bytes | None, wait_seconds: float) -> requests.Response:
        request = requests.PreparedRequest()
        request.method, request.url, request.body, request.headers = method, self._url + route, body, self._headers.copy()
        if body is not None:
            request.headers["Content-Length"] = str(len(body))
        return self._adapter.send(request, stream=True, timeout=(self._access.connect_timeout_seconds, wait_seconds))

    def stream(self, route: str, body: bytes, wait_seconds: float) -> Stream:
        """Post; returns when the headers have come, within `wait_seconds`. Raises errors of requests, http.client and OSError."""
        connection = self._adapter.kept()
        if connection and route in self._heads:
            connection.repeat(self._heads[route], body, wait_seconds)
            stream = Stream(connection)
        else:
            response = self._send("POST", route, body, wait_seconds).raw
            connection = cast("_Connection", response.connection)
            self._heads[route] = connection.head
            stream = Stream(connection, response.release_conn)
        self.clock = stream.clock
        return stream

    def ask(self, method: str, route: str, body: bytes | None = None, wait_seconds: float = 20.0) -> requests.Response:
        """A whole answer, whatever its status. Raises requests' errors."""
        response = self._send(method, route, body, wait_seconds)
        _ = response.content
        return response

    def hide(self, text: str) -> str:
        """A text from elsewhere, without the key that it might repeat."""
        return self._access.hide(text)

    def abort(self) -> None:
        """Break off whatever another thread waits for on this connection. Safe when nothing is under way."""
        self._adapter.abort()

    def close(self) -> None:
        """Drop the connection: the next request opens one."""
        self._adapter.close()
