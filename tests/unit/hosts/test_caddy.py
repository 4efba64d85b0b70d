"""The rendered config in the local cloud's Caddy and, where it is installed, in the real one: both must do the same.

A server that a test steps through is behind it, so that what arrives when is no matter of time.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import unquote

import pytest

from automation.account.keys import new_certificate
from components.proxy import ADMIN_SOCKET, DIRECTORY, Proxy, caddy_config, key_mark
from components.remote.usage import summed
from localcloud.hosts.caddy import Caddy
from localcloud.hosts.doorway import bound_socket
from localcloud.model_server.launcher import StartError

NAME = "us-west-2-lax-1a.sites.llm.acme.dev"
KEY = "c2VjcmV0.c2VjcmV0~c2Vj-cmV0"
PROXY = Proxy("caddy:2", NAME, port=443, tls=True, key_names=("mobile", "web"), health_path="/health")
ALLOWED = {"Authorization": f"Bearer {KEY}"}
WAIT_SECONDS = 20


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


@dataclass(frozen=True)
class Pair:
    """A certificate and its key in PEM."""

    certificate: str
    key: str


class Upstream(BaseHTTPRequestHandler):
    """Streams what a test puts into a queue; tells what it was asked, and when its client has gone."""

    protocol_version = "HTTP/1.1"
    parts: Queue[bytes]
    asked: Queue[tuple[str, str, dict[str, str], bytes]]
    gone: threading.Event

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.put((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        if self.path.startswith("/stream"):
            self._stream()
        else:
            self._answer()

    do_POST = do_GET  # noqa: N815 - the library's name

    def _answer(self) -> None:
        text = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while part := self.parts.get():
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.gone.set()

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - nothing of it is used
        pass


@dataclass
class Running:
    """A proxy that answers, and the server behind it."""

    proxy: Proxy
    port: int
    upstream: type[Upstream]
    pair: Pair
    log: Callable[[], str]
    reload: Callable[[Pair, str], None]
    """Gives the proxy another certificate and other keys, as remote/containers.py does."""

    def connect(self, *, name: str = NAME) -> http.client.HTTPConnection:
        if not self.proxy.tls:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        context = ssl.create_default_context(cadata=self.pair.certificate)
        connection = http.client.HTTPSConnection(name, self.port, timeout=WAIT_SECONDS, context=context)
        connection.sock = context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_SECONDS), server_hostname=name
        )
        return connection

    def ask(
        self, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = self.connect()
        connection.putrequest("POST" if body else "GET", path, skip_accept_encoding=True)
        for name, value in {**(headers or {}), **({"Content-Length": str(len(body))} if body else {})}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found


@contextmanager
def upstream() -> Generator[tuple[type[Upstream], int]]:
    class Handler(Upstream):
        parts, asked, gone = Queue[bytes](), Queue[tuple[str, str, dict[str, str], bytes]](), threading.Event()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Handler, server.server_port
    finally:
        Handler.parts.put(b"")
        server.shutdown()
        server.server_close()


def written(folder: Path, proxy: Proxy, pair: Pair, edit: Callable[[str], str] = str, keys: str = KEY) -> Path:
    """What stage-proxy.sh leaves on a host."""
    (folder / "certificate.pem").write_text(pair.certificate)
    (folder / "private-key.pem").write_text(pair.key)
    path, text = folder / "caddy.json", json.dumps(caddy_config(proxy))
    for number, key in enumerate(keys.split(), 1):
        text = text.replace(key_mark(number), key)
    path.write_text(edit(text))
    return path


Reload = Callable[[Pair, str], None]
Started = Callable[[Path, Proxy, Pair, int], "AbstractContextManager[tuple[int, Callable[[], str], Reload]]"]
"""Runs a proxy before the server at a port; its own port, its log, and how it is reloaded."""
RELOAD = ["caddy", "reload", "--force", "--config", f"{DIRECTORY}/caddy.json", "--address", f"unix/{ADMIN_SOCKET}"]


@contextmanager
def stand_in(folder: Path, proxy: Proxy, pair: Pair, server_port: int) -> Generator[tuple[int, Callable[[], str], Reload]]:
    written(folder, proxy, pair)
    ports, said = {proxy.server_port: server_port}, list[str]()
    caddy = Caddy(
        ["caddy", "run", "--config", f"{DIRECTORY}/caddy.json"],
        lambda path: folder / path.removeprefix(f"{DIRECTORY}/"),
        ports.get,
        said.append,
    )
    listener = bound_socket("127.0.0.1", 0)

    def reload(pair: Pair, keys: str) -> None:
        written(folder, proxy, pair, keys=keys)
        caddy.reload(RELOAD)

    loop, over, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def serve() -> None:
        async with caddy.running(listener):
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(WAIT_SECONDS)
        yield listener.getsockname()[1], lambda: "\n".join(said), reload
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@contextmanager
def real(folder: Path, proxy: Proxy, pair: Pair, server_port: int) -> Generator[tuple[int, Callable[[], str], Reload]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def on_this_machine(text: str) -> str:
        text = (
            text.replace(DIRECTORY, str(folder))
            .replace(ADMIN_SOCKET, str(folder / "admin.sock"))
            .replace(f'":{proxy.port}"', f'"127.0.0.1:{port}"')
        )
        return text.replace(f"127.0.0.1:{proxy.server_port}", f"127.0.0.1:{server_port}")

    path, log = written(folder, proxy, pair, on_this_machine), folder / "log"
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "XDG_CONFIG_HOME": str(folder / "config")}

    def reload(pair: Pair, keys: str) -> None:
        written(folder, proxy, pair, on_this_machine, keys)
        subprocess.run([on_this_machine(word) for word in RELOAD], env=environment, capture_output=True, check=True)

    with log.open("w") as output:
        process = subprocess.Popen(["caddy", "run", "--config", path], env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.02)
        yield port, log.read_text, reload
    finally:
        process.terminate()
        process.wait()


ENGINES: dict[str, Started] = {"local cloud": stand_in, "caddy": real}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "caddy" and not shutil.which("caddy"):
        pytest.skip("no caddy here: sudo tools/install_host_packages.sh installs it")
    return request.param


@contextmanager
def started(engine: str, folder: Path, proxy: Proxy = PROXY) -> Generator[Running]:
    pair = Pair(*new_certificate(["llm.acme.dev", "*.sites.llm.acme.dev"]))
    with upstream() as (handler, server_port), ENGINES[engine](folder, proxy, pair, server_port) as (port, log, reload):
        yield Running(proxy, port, handler, pair, log, reload)


@pytest.fixture
def running(engine: str, tmp_path: Path) -> Iterator[Running]:
    with started(engine, tmp_path) as running:
        yield running


def test_every_path_but_health_asks_for_the_key(running: Running) -> None:
    for path in ("/", "/info", "/metrics", "/v1/models", "/generate", "/healthz", "/health/", "/health/x", "/docs", "//health2"):
        status, headers, body = running.ask(path)
        assert status == 401, path
        assert (headers["content-type"], headers["www-authenticate"]) == ("application/json", "Bearer")
        assert json.loads(body)["error_type"] == "unauthorized"
    assert running.upstream.asked.empty(), "nothing of it reached the server"
    assert running.ask("/health")[::2] == (200, b"/health")


@pytest.mark.parametrize(
    "given",
    [
        KEY,
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY.upper()}",
        f"Basic {KEY}",
        "Bearer",
        "Bearer *",
        f"Bearer  {KEY}",
    ],
)
def test_another_key_is_none(running: Running, given: str) -> None:
    assert running.ask("/generate", {"Authorization": given})[0] == 401


def test_the_key_lets_in_and_goes_no_further(running: Running) -> None:
    status, _, body = running.ask("/generate?x=1", {**ALLOWED, "X-Other": "kept"}, body=b"prompt")
    assert (status, body) == (200, b"/generate?x=1")
    method, path, headers, sent = running.upstream.asked.get(timeout=WAIT_SECONDS)
    assert (method, path, sent) == ("POST", "/generate?x=1", b"prompt")
    assert headers["x-other"] == "kept"
    assert "authorization" not in headers


@pytest.mark.parametrize("path", ["/health", "/HEALTH", "/%68ealth", "/health?x=/../info"])
def test_whatever_spells_health_reaches_nothing_else(running: Running, path: str) -> None:
    status, _, body = running.ask(path)
    assert (status, unquote(body.decode().partition("?")[0])) == (200, "/health")


def test_health_as_a_way_round_the_key(running: Running) -> None:
    for path in ("/info/../health", "/health/../info", "/health%2F..%2Finfo", "/x/%2e%2e/health"):
        status, _, body = running.ask(path)
        assert status == 401 or body == b"/health", path


def test_the_first_event_is_there_before_the_second_is_made(running: Running) -> None:
    connection = running.connect()
    connection.request("POST", "/stream", b"{}", ALLOWED)
    running.upstream.parts.put(b"data: one\n\n")
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream"
    assert answer.read1() == b"data: one\n\n"
    running.upstream.parts.put(b"data: two\n\n")
    assert answer.read1() == b"data: two\n\n"
    running.upstream.parts.put(b"")
    assert answer.read() == b""


def test_headers_are_there_before_the_first_event(running: Running) -> None:
    connection = running.connect()
    connection.request("POST", "/stream", b"{}", ALLOWED)
    assert connection.getresponse().status == 200


def test_when_the_client_goes_the_server_learns_of_it(running: Running) -> None:
    """Else the GPU would generate for nobody."""
    connection = running.connect()
    connection.request("POST", "/stream", b"{}", ALLOWED)
    running.upstream.parts.put(b"data: one\n\n")
    answer = connection.getresponse()
    answer.read1()
    answer.close()
    connection.close()
    deadline = time.monotonic() + WAIT_SECONDS
    while not running.upstream.gone.is_set() and time.monotonic() < deadline:
        running.upstream.parts.put(b"data: on\n\n")
        time.sleep(0.02)
    assert running.upstream.gone.is_set()


def test_the_certificate_is_the_given_one(running: Running) -> None:
    connection = running.connect()
    assert isinstance(connection.sock, ssl.SSLSocket)
    shown = connection.sock.getpeercert(binary_form=True)
    assert shown == ssl.PEM_cert_to_DER_cert(running.pair.certificate)
    assert (connection.sock.version() or "") >= "TLSv1.2"


def test_clear_text_gets_nothing(running: Running) -> None:
    plain = http.client.HTTPConnection("127.0.0.1", running.port, timeout=WAIT_SECONDS)
    plain.request("GET", "/health")
    with suppress(http.client.HTTPException, OSError):
        assert plain.getresponse().status == 400
    assert running.upstream.asked.empty()


def test_a_key_without_tls(engine: str, tmp_path: Path) -> None:
    with started(engine, tmp_path, replace(PROXY, tls=False, port=8080)) as running:
        assert running.ask("/info")[0] == 401
        assert running.ask("/info", ALLOWED)[0] == 200
        assert running.ask("/health")[0] == 200


def test_tls_without_a_key(engine: str, tmp_path: Path) -> None:
    with started(engine, tmp_path, replace(PROXY, key_names=())) as running:
        assert running.ask("/info")[::2] == (200, b"/info")


def test_a_server_that_is_down_is_a_502_and_no_log_has_the_key(engine: str, tmp_path: Path) -> None:
    pair = Pair(*new_certificate(["*.sites.llm.acme.dev"]))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port_of_nobody = free.getsockname()[1]
    with ENGINES[engine](tmp_path, PROXY, pair, port_of_nobody) as (port, log, reload):
        running = Running(PROXY, port, Upstream, pair, log, reload)
        assert running.ask("/generate", ALLOWED)[0] == 502
        running.ask("/generate", {"Authorization": f"Bearer {KEY}x"})
        assert KEY not in log()
    holders = [path.name for path in tmp_path.rglob("*") if path.is_file() and KEY in path.read_text()]
    assert holders == ["caddy.json"], "Caddy keeps no copy of its own"


def in_log(running: Running, requests: int) -> dict[str, Any]:
    """By key, what the log has of so many requests; a line is written after the answer has gone."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        keys: dict[str, Any] = summed(running.log().splitlines(), 0.0)["keys"]
        if sum(each["requests"] for each in keys.values()) >= requests:
            return keys
        assert time.monotonic() < deadline, running.log()
        time.sleep(0.02)


def test_the_log_has_the_name_of_a_key_sizes_and_times_and_nothing_that_a_client_sent(running: Running) -> None:
    """Nor the door's questions, nor those of whoever is refused: they could fill it."""
    running.reload(running.pair, f"{KEY} {KEY[::-1]}")
    secret = "planted-in-a-path"  # noqa: S105 - opens nothing
    for key, count in ((KEY, 2), (KEY[::-1], 1), (KEY[1:], 3)):
        for _ in range(count):
            running.ask(f"/{secret}?key={secret}", {"Authorization": f"Bearer {key}", "X-Api-Key": secret, "Cookie": secret})
    running.ask("/health")
    keys = in_log(running, 3)
    sent = len(f"/{secret}?key={secret}")
    assert {name: (each["requests"], each["bytes"]) for name, each in keys.items()} == {"mobile": (2, 2 * sent), "web": (1, sent)}
    assert all(0 < each["seconds"] < WAIT_SECONDS for each in keys.values())
    assert not [each for each in (secret, KEY, KEY[::-1]) if each in running.log()]
    lines = [json.loads(line) for line in running.log().splitlines() if "user_id" in line]
    assert all(line.keys() == {"ts", "user_id", "duration", "size", "status"} for line in lines)


def test_without_keys_the_log_has_no_names(engine: str, tmp_path: Path) -> None:
    with started(engine, tmp_path, replace(PROXY, key_names=())) as running:
        running.ask("/info")
        running.ask("/health")
        assert {name: each["requests"] for name, each in in_log(running, 1).items()} == {"": 1}


def test_a_reload_shows_another_certificate_takes_other_keys_and_cuts_nothing(running: Running) -> None:
    connection = running.connect()
    connection.request("GET", "/stream", headers=ALLOWED)
    running.upstream.parts.put(b"one")
    answer = connection.getresponse()
    assert answer.read(3) == b"one"
    before, other = running.pair, Pair(*new_certificate([NAME]))
    running.reload(other, f"{KEY[::-1]} {KEY[1:]}")
    running.pair = other
    for key, status in ((KEY[::-1], 200), (KEY[1:], 200), (KEY, 401)):
        assert running.ask("/info", {"Authorization": f"Bearer {key}"})[0] == status
    running.upstream.parts.put(b"two")
    assert answer.read(3) == b"two", "the stream goes on"
    running.upstream.parts.put(b"")
    assert answer.read() == b""
    running.pair = before
    with pytest.raises(ssl.SSLCertVerificationError):
        running.ask("/health")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"dial_timeout"', '"dial_time"'),
        ('"persist": false', '"persist": true'),
        ('"listen": "unix//run', '"listen": "127.0.0.1'),
        ('"handler": "rewrite"', '"handler": "encode"'),
        ('"protocols": ["h1", "h2"]', '"protocols": ["h1", "h2", "h3"]'),
        ('"handler": "reverse_proxy"', '"handler": "reverse_proxy", "flush_interval": -1'),
    ],
)
def test_the_local_cloud_refuses_what_it_does_not_know(tmp_path: Path, old: str, new: str) -> None:
    path = written(tmp_path, PROXY, Pair(*new_certificate([NAME])))
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(StartError, match="does not know") as raised:
        Caddy(["caddy", "run", "--config", "/caddy.json"], lambda _: path, lambda _: None)
    assert raised.value.status == 1
    assert KEY not in str(raised.value)


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    path = written(tmp_path, PROXY, Pair("", ""))
    caddy = Caddy(["caddy", "run", "--config", "/caddy.json"], lambda name: tmp_path / Path(name).name, lambda _: None)

    async def run() -> None:
        async with caddy.running(bound_socket("127.0.0.1", 0)):
            pass

    with pytest.raises(StartError, match="loading certificates"):
        asyncio.run(run())
    assert path.exists()
