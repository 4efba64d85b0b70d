from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ttft.connection import Access, Client, now, trusted
from ttft.dialects import DIALECTS, DialectName
from ttft.measure import Order, Patience, headers_held_back, measure, settle_splits, with_split
from ttft.samples import Connection, ErrorKind, Failure, Sample
from ttft.selftest_server import SelftestServer

KEY = "planted-key-0123456789"


def ask(
    url: str,
    *,
    dialect: DialectName = "tgi",
    connection: Connection = "cold",
    ca_file: Path | None = None,
    intended: float | None = None,
    user: Client | None = None,
    tokens: int = 4,
) -> Sample | Failure:
    body = json.dumps(DIALECTS[dialect].body("a b c", "selftest", tokens)).encode()
    order = Order("here", connection, 3, 4, body, intended)
    user = user or Client(url, Access(trusted(ca_file=ca_file), 0.3, KEY))
    return measure(user, DIALECTS[dialect], order, Patience(0.3, 0.3), now())


def url_of(server: SelftestServer, path: str = "") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def sample(of: Sample | Failure) -> Sample:
    assert isinstance(of, Sample), of
    return of


def failure(of: Sample | Failure, kind: ErrorKind) -> Failure:
    assert isinstance(of, Failure), of
    assert of.kind == kind, of
    assert KEY not in of.message
    return of


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("path", ["", "/role-opener", "/comment", "/split", "/merged", "/held-back", "/closing"])
def test_every_shape_of_stream_gives_its_tokens(server: SelftestServer, dialect: DialectName, path: str) -> None:
    made = sample(ask(url_of(server, path), dialect=dialect))
    assert len(made.token_ms) == 4
    assert made.prompt_tokens == 4
    assert (made.target, made.connection, made.round, made.prompt_label) == ("here", "cold", 3, 4)
    assert list(made.token_ms) == sorted(made.token_ms)
    assert made.ttft_ms == made.token_ms[0] >= 5.0
    assert made.total_ms == made.token_ms[-1]


def test_the_parts_are_the_whole(server: SelftestServer) -> None:
    made = with_split(sample(ask(url_of(server))), "headers")
    assert made.network_ms is not None
    assert made.generation_ms is not None
    assert made.network_ms + made.generation_ms == pytest.approx(made.ttft_ms)
    steps = made.dns_ms + made.tcp_ms + made.tls_ms + made.write_ms + made.headers_ms + made.first_event_ms
    assert steps <= made.ttft_ms + 1e-6


def test_a_warm_request_has_nothing_to_connect(server: SelftestServer) -> None:
    user = Client(url_of(server), Access(trusted(), 0.3))
    made = sample(ask("", user=user, connection="warm"))
    assert (made.dns_ms, made.tcp_ms, made.tls_ms) == (0.0, 0.0, 0.0)
    assert len(server.truth.came) == 2  # the first opened the connection, and counted for nothing


def test_a_dropped_connection_is_no_warm_sample(server: SelftestServer) -> None:
    user = Client(url_of(server), Access(trusted(), 0.3))
    sample(ask("", user=user, connection="warm"))
    user.close()
    assert sample(ask("", user=user, connection="warm")).tcp_ms == 0.0
    assert len(server.truth.came) == 4


def test_a_server_that_keeps_nothing_has_no_warm_samples(server: SelftestServer) -> None:
    failure(ask(url_of(server, "/closing"), connection="warm"), "not_kept")


def test_lag_is_charged(server: SelftestServer) -> None:
    made = sample(ask(url_of(server), intended=now() - 1.0))
    assert made.send_lag_ms >= 1000
    assert made.network_ms is not None
    assert made.generation_ms is not None
    assert made.ttft_ms == pytest.approx(made.send_lag_ms + made.network_ms + made.generation_ms)
    assert made.ttft_ms >= 1005


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("/no-template", "no_chat_template", "base models answer --dialect tgi"),
        ("/overloaded", "overloaded", "Model is overloaded"),
        ("/overloaded-stream", "overloaded", "Model is overloaded"),
        ("/unauthorized", "unauthorized", "API key"),
        ("/broken", "http", "status 500: Request failed"),
        ("/not-a-stream", "wrong_dialect", "application/json, not an event stream"),
        ("/chat-only", "wrong_dialect", "/generate_stream is not there"),
        ("/nowhere", "wrong_dialect", "/generate_stream is not there"),
        ("/error-first", "stream_error", "Request failed during generation"),
        ("/error-later", "stream_error", "Request failed during generation"),
        ("/only-done", "empty_stream", "without a real token"),
        ("/only-special", "empty_stream", "without a real token"),
        ("/silent", "first_token_timeout", "no headers within 0.3 s"),
        ("/hung", "first_token_timeout", "headers came, but no token within 0.3 s"),
        ("/stalled", "stalled", "2 tokens came, then none for 0.3 s"),
        ("/cut", "cut", "after 2 tokens"),
        ("/cut-first", "cut", "after 0 tokens"),
    ],
)
def test_each_fault_has_its_name(server: SelftestServer, path: str, kind: ErrorKind, words: str) -> None:
    assert words in failure(ask(url_of(server, path)), kind).message


@pytest.mark.parametrize(("path", "kind"), [("/error-first", "stream_error"), ("/only-done", "empty_stream")])
@pytest.mark.parametrize("dialect", ["completions", "chat"])
def test_faults_of_the_openai_routes(server: SelftestServer, dialect: DialectName, path: str, kind: ErrorKind) -> None:
    failure(ask(url_of(server, path), dialect=dialect), kind)


def test_one_dialects_stream_is_no_other(server: SelftestServer) -> None:
    """As where a proxy maps routes: TGI's events on OpenAI's route."""
    body = json.dumps(DIALECTS["tgi"].body("a", "m", 2)).encode()
    crossed = replace(DIALECTS["completions"], route="/generate_stream")
    made = measure(Client(url_of(server), Access(trusted(), 1)), crossed, Order("x", "cold", 0, 1, body), Patience(), now())
    assert "does not send" in failure(made, "wrong_dialect").message


def test_a_dead_target() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "refused" in failure(ask(f"http://127.0.0.1:{port}"), "connect").message


def test_a_name_that_does_not_resolve() -> None:
    assert "no.such.host.invalid" in failure(ask("http://no.such.host.invalid:1"), "dns").message


def test_a_port_that_swallows() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        message = failure(ask(f"http://127.0.0.1:{address[1]}"), "connect_timeout").message
        for filler in fillers:
            filler.close()
    assert "within 0.3 s" in message


def test_tls_that_never_shakes_hands() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        message = failure(ask(f"https://127.0.0.1:{listener.getsockname()[1]}"), "connect_timeout").message
    assert "no TLS handshake" in message


def test_certificates(serve_tls: Callable[[int], tuple[SelftestServer, Path]]) -> None:
    server, ca_file = serve_tls(365)
    url = f"https://localhost:{server.port}"
    made = sample(ask(url, ca_file=ca_file))
    assert made.tls_ms > 0
    assert "self-signed" in failure(ask(url), "tls").message
    assert "mismatch" in failure(ask(f"https://127.0.0.1:{server.port}", ca_file=ca_file), "tls").message


def test_an_expired_certificate(serve_tls: Callable[[int], tuple[SelftestServer, Path]]) -> None:
    server, ca_file = serve_tls(1)
    made = failure(ask(f"https://localhost:{server.port}", ca_file=ca_file), "tls")
    assert made.message == "the certificate is refused: certificate has expired"


def test_https_to_a_plain_port(server: SelftestServer) -> None:
    assert "http://" in failure(ask(f"https://127.0.0.1:{server.port}"), "tls").message


def a_sample(headers_ms: float, first_event_ms: float, rtt_ms: float | None = 30.0) -> Sample:
    total = headers_ms + first_event_ms
    steps = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    parts = (headers_ms, first_event_ms, total, None, None)
    return Sample("a", "warm", 0, 1, 1, *steps, *parts, "none", rtt_ms, rtt_ms, (total,), total)


@pytest.mark.parametrize(
    ("headers_ms", "first_event_ms", "rtt_ms", "body_bytes", "held_back"),
    [
        (31.0, 50.0, 30.0, 1_000, False),
        (81.0, 0.1, 30.0, 1_000, True),  # together with the token
        (81.0, 5.0, 30.0, 1_000, True),  # a proxy that waited for most of it
        (45.0, 50.0, 30.0, 1_000, False),  # a slow router, not a proxy
        (61.0, 50.0, 30.0, 20_000, False),  # a long prompt's second round trip
        (91.0, 50.0, 30.0, 60_000, False),
        (81.0, 5.0, None, 1_000, False),  # nobody knows
        (81.0, 0.1, None, 1_000, True),
    ],
)
def test_when_headers_say_nothing_of_the_network(
    headers_ms: float, first_event_ms: float, rtt_ms: float | None, body_bytes: int, held_back: bool
) -> None:
    assert headers_held_back(a_sample(headers_ms, first_event_ms, rtt_ms), body_bytes) == held_back


def test_held_back_headers_split_by_tcp(server: SelftestServer) -> None:
    made = settle_splits([sample(ask(url_of(server, "/held-back"))) for _ in range(5)])
    assert {each.split for each in made} == {"tcp_rtt"}
    assert all(each.network_ms is not None and each.generation_ms is not None for each in made)


def test_no_split_without_a_witness() -> None:
    made = with_split(a_sample(81.0, 0.1, None), "tcp_rtt")
    assert (made.split, made.network_ms, made.generation_ms) == ("none", None, None)


def test_one_split_for_a_target() -> None:
    early, late = with_split(a_sample(31, 50), "headers"), with_split(a_sample(81, 0.1), "tcp_rtt")
    assert {each.split for each in settle_splits([early, early, late])} == {"headers"}
    settled = settle_splits([early, late, late])
    assert {each.split for each in settled} == {"tcp_rtt"}
    assert settled[0].network_ms == pytest.approx(30.0)
    assert settled[0].generation_ms == pytest.approx(51.0)
