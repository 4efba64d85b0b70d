"""The question whether a replica serves, against real sockets: its answers, the key that it carries, and who is asked instead."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from automation.account.keys import new_certificate
from automation.sites import serving
from automation.sites.serving import Asker, Replica, replicas
from components.settings import StackConfig

KEY = "a-key-of-the-endpoint"
SITES = json.dumps([{"zone": "us-west-2a"}])


class Ports:
    on_local_cloud = True

    def port_of(self, address: str, port: int) -> int:
        del address
        return port


@dataclass
class Server:
    """A server whose health and tokens a test decides."""

    url: str = ""
    health: int = 200
    token: int = 200
    key: str | None = None
    """The only one that it takes; any other gets 401."""
    asked: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])


NAME = "us-west-2a.sites.llm.acme.dev"
CERTIFICATE, PRIVATE_KEY = new_certificate(["llm.acme.dev", "*.sites.llm.acme.dev"])
OTHER_CERTIFICATE, _ = new_certificate(["llm.acme.dev", "*.sites.llm.acme.dev"])


@pytest.fixture
def server() -> Iterator[Server]:
    with serving_http() as told:
        yield told


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[Server]:
    """The same behind TLS, by the name of its certificate."""
    (tmp_path / "both.pem").write_text(CERTIFICATE + PRIVATE_KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    with serving_http(context) as told:
        yield told


@contextmanager
def serving_http(context: ssl.SSLContext | None = None) -> Generator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append((self.path, self.headers["Authorization"]))
            is_known = told.key is None or self.headers["Authorization"] == f"Bearer {told.key}"
            self.send_response(told.health if self.path == "/health" else told.token if is_known else 401)
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - the base's name

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the base's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        if context:
            http.socket = context.wrap_socket(http.socket, server_side=True)
        thread = Thread(target=http.serve_forever)
        thread.start()
        told.url = f"https://{NAME}:{http.server_port}" if context else f"http://127.0.0.1:{http.server_port}"
        yield told
        http.shutdown()
        thread.join()


def asker(*, clients: Sequence[str] = ("127.0.0.0/8",), **values: str) -> Asker:
    access = {"clientCidrs": list(clients), "sshCidrs": ["127.0.0.1/32"]}
    config = {"sites": SITES, "access": json.dumps(access), **values}
    return Asker(Ports(), StackConfig("prod", {f"edge-inference:{key}": value for key, value in config.items()}, frozenset()))


def replica(url: str | None) -> Replica:
    return Replica("us-west-2a", 1, "127.0.0.1" if url else None, url)


def test_one_that_generates_serves_and_is_asked_with_the_key(server: Server) -> None:
    answer = asker(apiKey=f"{KEY}\n").ask(replica(server.url))
    assert answer.serves
    assert not answer.on_host
    assert server.asked == [("/health", None), ("/v1/completions", f"Bearer {KEY}")]


@pytest.mark.parametrize(
    ("health", "token", "words"),
    [(503, 200, "/health answers 503"), (200, 500, "/health answers 200, and /v1/completions answers 500")],
)
def test_one_that_is_unwell_is_dead_and_was_reached(server: Server, health: int, token: int, words: str) -> None:
    server.health, server.token = health, token
    answer = asker().ask(replica(server.url))
    assert (answer.state, answer.finding, answer.reached) == ("dead", words, True)


@pytest.mark.parametrize(
    ("certificate", "key", "state", "words"),
    [
        (CERTIFICATE, KEY, "serves", "healthy, and it generates"),
        (CERTIFICATE, f"{KEY}-of-before", "refused", "it does not take the config's apiKey (401)"),
        (OTHER_CERTIFICATE, KEY, "refused", "does not show the config's certificate"),
    ],
)
def test_with_key_and_tls_one_serves_only_with_those_of_the_config(
    tls_server: Server, certificate: str, key: str, state: str, words: str
) -> None:
    tls_server.key = KEY
    answer = asker(apiKey=key, tlsCertificate=certificate).ask(replica(tls_server.url))
    assert (answer.state, words in answer.finding) == (state, True), answer.finding
    assert KEY not in answer.finding
    if certificate != CERTIFICATE:
        assert tls_server.asked == [], "the key goes to nobody else"


def test_a_certificate_that_a_public_ca_has_signed_will_do_until_the_next_up_brings_the_configs(
    tls_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "public.pem").write_text(CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "public.pem"))
    assert asker(tlsCertificate=OTHER_CERTIFICATE).ask(replica(tls_server.url)).serves


def test_one_that_nobody_listens_for_is_dead() -> None:
    answer = asker().ask(replica("http://127.0.0.1:1"))
    assert (answer.state, answer.reached) == ("dead", False)
    assert "Connection refused" in answer.finding
    assert asker().ask(replica(None)).finding == "it has no address yet"


@pytest.mark.parametrize(
    ("said", "state", "words"),
    [
        ("200\n200\n", "serves", "healthy, and it generates, asked on the host: this machine may not call it"),
        ("503\n503\n", "dead", "/health answers 503, asked on the host: this machine may not call it"),
        ("200\n000\n", "slow", "no token in time"),
        (None, "dead", "its host does not answer over SSH"),
    ],
)
def test_where_this_machine_may_not_call_the_host_is_asked(
    monkeypatch: pytest.MonkeyPatch, said: str | None, state: str, words: str
) -> None:
    sent: list[str] = []

    @contextmanager
    def ssh(*_: object) -> Generator[list[str]]:
        yield ["ssh"]

    def run(command: list[str], remote: str, **options: Any) -> str | None:
        assert KEY not in f"{command} {remote}", "everyone on the host can read a command line"
        sent.append(options["sent"])
        return said

    monkeypatch.setattr(serving, "ssh", ssh)
    monkeypatch.setattr(serving, "run", run)
    answer = asker(clients=["192.0.2.0/24"], apiKey=KEY).ask(replica("http://127.0.0.1:1"))
    assert answer.state == state
    assert words in answer.finding
    assert sent == [f"{KEY}\n"]


def test_the_question_on_the_host_ends_well_whatever_answers(server: Server) -> None:
    """A dead server is told from a host that takes no commands. The key is on no command line."""
    script = serving._ON_HOST  # pyright: ignore[reportPrivateUsage] - it runs on hosts

    def asked(port: str) -> list[str]:
        words = ["bash", "-c", script, "ask", "no-container", port, f"http://{NAME}:{port}", "5", "5", "{}"]
        return subprocess.run(words, input=f"{KEY}\n", capture_output=True, text=True, check=True).stdout.split()

    server.key = KEY
    assert asked(server.url.rpartition(":")[2]) == ["200", "200"]
    assert asked("1") == ["000", "000"]


def test_all_are_asked_and_a_dead_one_again_until_its_time_is_over(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_PAUSE_SECONDS", 0.0)
    server.health = 503
    outputs: dict[str, Any] = {
        "sites": {"us-west-2a": {"replicas": [{"address": "127.0.0.1", "url": server.url}, {"address": None, "url": None}]}}
    }
    assert [each.key for each in replicas(outputs)] == ["us-west-2a-1", "us-west-2a-2"]
    answers = asker().ask_all(replicas(outputs), patience={"us-west-2a-1": 0.2})
    assert [answer.state for answer in answers.values()] == ["dead", "dead"]
    assert len(server.asked) > 1
