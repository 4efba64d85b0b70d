"""`edge ask`: which site is asked for whom, what of its answer is shown, and every way in which it can fail, in words."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import dns.message
import dns.rrset
import pytest

from automation.account.keys import new_certificate
from automation.errors import EdgeError, NothingDeployedError, UsageError
from automation.sites import way
from automation.sites.ask import Question, ask
from automation.sites.way import find_way
from components.settings import StackConfig

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
LAX, HNL = "us-west-2-lax-1a", "us-west-2-hnl-1a"
DOMAIN = "llm.acme.dev"
ADDRESSES = {LAX: "127.0.0.2", HNL: "127.0.0.3"}


def events(*texts: str, route: str = CHAT) -> bytes:
    """A stream of an answer, whole."""
    choices = [{"delta": {"content": text}} if route == CHAT else {"text": text} for text in texts]
    return b"".join(f"data: {json.dumps({'choices': [each]})}\n\n".encode() for each in choices) + b"data: [DONE]\n\n"


class ModelServer(ThreadingHTTPServer):
    """Answers as a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("0.0.0.0", 0), Handler)  # noqa: S104 - all loopback addresses stand for hosts
        self.answers: dict[str, tuple[int, str, bytes]] = {CHAT: (200, "text/event-stream", events("The", " edge"))}
        self.asked: list[tuple[str, str | None, str | None, dict[str, Any]]] = []
        self.sources: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: ModelServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Host"], self.headers["Authorization"], body))
        self.server.sources.append(self.client_address[0])
        status, kind, said = self.server.answers.get(self.path, (404, "text/plain", b"no such path"))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class FakeEnvironment:
    """Two sites, and who answers for their name."""

    def __init__(self, server: ModelServer, *, domain: str | None = DOMAIN) -> None:
        self.name, self.arguments, self.on_local_cloud = "tokyo", "tokyo --local", True
        self.port, self.values = server.server_port, dict[str, str]()
        self.sites: dict[str, Any] = {
            zone: {
                "zone_group": zone[:-1],
                "replicas": [{"address": address, "url": f"http://{zone}.sites.acme.dev:8080", "served": True}],
            }
            for zone, address in ADDRESSES.items()
        }
        self.domain, self.scheme = domain, "http"

    def outputs(self) -> dict[str, Any]:
        url = f"{self.scheme}://{self.domain}:8080" if self.domain else None
        return {"sites": self.sites, "service_url": url, "routing": {"domain": self.domain}}

    def stack_config(self) -> StackConfig:
        return StackConfig("tokyo", self.values, frozenset())

    def dns_port(self) -> int:
        return 5300

    def port_of(self, address: str, port: int) -> int:
        assert (address in ADDRESSES.values(), port) == (True, 8080)
        return self.port


@pytest.fixture
def server() -> Iterator[ModelServer]:
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def environment(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> FakeEnvironment:
    def udp(query: dns.message.Message, where: str, timeout: float, port: int, source: str | None) -> dns.message.Message:
        """Honolulu's users get Honolulu, all others Los Angeles."""
        del where, timeout
        assert port == 5300
        answer = dns.message.make_response(query)
        address = ADDRESSES[HNL if source and source.startswith("127.200.2.") else LAX]
        answer.answer.append(dns.rrset.from_text(f"{DOMAIN}.", 60, "IN", "A", address))
        return answer

    monkeypatch.setattr("dns.query.udp", udp)
    return FakeEnvironment(server)


def asked(environment: FakeEnvironment, *arguments: Any, **options: Any) -> tuple[str, Any]:
    """What was shown, and the reply."""
    shown: list[str] = []
    reply = ask(environment, Question("What is the edge?", *arguments, **options), shown.append)  # pyright: ignore[reportArgumentType]
    return "".join(shown), reply


def test_a_user_is_asked_for_by_name_with_the_key_and_the_models_name(environment: FakeEnvironment, server: ModelServer) -> None:
    environment.values["edge-inference:apiKey"] = "k" * 20
    shown, reply = asked(environment, max_tokens=7)
    assert (shown, reply.text, reply.tokens) == ("The edge", "The edge", 2)
    assert 0 < reply.first_token_ms <= reply.total_ms
    ((path, host, key, body),) = server.asked
    assert (path, host, key) == (CHAT, f"{DOMAIN}:8080", f"Bearer {'k' * 20}")
    assert (body["model"], body["max_tokens"], body["stream"]) == ("tgi", 7, True)
    assert body["messages"] == [{"role": "user", "content": "What is the edge?"}]
    assert "k" * 20 not in json.dumps(reply.described())


def test_a_city_gets_the_site_of_its_users_and_asks_from_there(environment: FakeEnvironment, server: ModelServer) -> None:
    _, reply = asked(environment, "honolulu")
    assert (reply.way.zone, reply.city, reply.way.chosen) == (HNL, "Honolulu", "as the local cloud answers users in Honolulu")
    assert server.sources == ["127.200.2.1"]
    assert asked(environment, "Seattle")[1].way.zone == LAX


def test_a_zone_is_asked_under_its_own_name(environment: FakeEnvironment, server: ModelServer) -> None:
    assert asked(environment, zone=HNL)[1].way.zone == HNL
    assert server.asked[0][1] == f"{HNL}.sites.acme.dev:8080"


def test_a_base_model_goes_on_with_the_text(environment: FakeEnvironment, server: ModelServer) -> None:
    server.answers[CHAT] = (422, "application/json", b'{"error": "Template error: template not found"}')
    server.answers[COMPLETIONS] = (200, "text/event-stream", events(" is", " near", route=COMPLETIONS))
    shown, reply = asked(environment)
    assert (shown, reply.route) == (" is near", COMPLETIONS)


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (401, b"", "the site in us-west-2-lax-1a does not take the config's API key (401)\n  -> edge up tokyo --local"),
        (404, b"not here", "does not answer as a model server: /v1/chat/completions is not there (404)\n  -> edge status tokyo"),
        (429, b"", "takes no more requests now\n  -> edge status tokyo --local"),
        (422, b'{"error": "too long"}', "refuses the question: status 422: too long\n  -> ask for less: --max-tokens 20"),
        (500, b"oh", "does not take the question: status 500: oh\n  -> edge logs tokyo us-west-2-lax-1a --local"),
        (
            200,
            b"data: [DONE]\n\n",
            "gave no token and no reason; question and --max-tokens may be more than server.maxTotalTokens\n  -> ask for less",
        ),
        (
            200,
            events("The").removesuffix(b"data: [DONE]\n\n"),
            "broke off its answer: the server closed the connection\n  -> edge logs",
        ),
        (
            200,
            b'data: {"error": {"message": "CUDA error"}}\n\n',
            "broke off its answer: an error within an answer of status 200: CUDA",
        ),
    ],
)
def test_every_failure_is_told_with_what_to_run(
    environment: FakeEnvironment, server: ModelServer, status: int, said: bytes, words: str
) -> None:
    server.answers[CHAT] = (status, "text/event-stream" if status == 200 else "application/json", said)
    with pytest.raises(EdgeError) as failed:
        asked(environment)
    assert words in str(failed.value)


@pytest.mark.parametrize("name", [DOMAIN, "other.acme.dev"])
def test_a_certificate_must_be_good_for_the_name(
    environment: FakeEnvironment, server: ModelServer, tmp_path: Path, name: str
) -> None:
    """It is the config's own, which no public CA has signed."""
    certificate, private_key = new_certificate([name])
    (tmp_path / "pem").write_text(certificate + private_key, encoding="utf-8")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    environment.values["edge-inference:tlsCertificate"], environment.scheme = certificate, "https"
    if name == DOMAIN:
        assert asked(environment)[0] == "The edge"
        return
    with pytest.raises(
        EdgeError, match=rf"no certificate that is good for https://{DOMAIN}:8080: .*\n  -> edge up tokyo --local"
    ):
        asked(environment)
    assert server.asked == []


def test_a_dead_host_is_told_by_its_address(environment: FakeEnvironment) -> None:
    environment.port = 1  # nothing listens there
    with pytest.raises(EdgeError, match=r"does not answer at 127.0.0.2: the host is off or unreachable\n  -> edge status tokyo"):
        asked(environment)


def test_who_is_not_admitted_on_aws_is_told_so(environment: FakeEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    environment.port, environment.on_local_cloud = 1, False
    monkeypatch.setattr(way, "_by_this_machine", Mock(return_value={ADDRESSES[HNL]}))
    monkeypatch.setattr(environment, "dns_port", lambda: None)
    with pytest.raises(EdgeError, match=r"does not answer at 127.0.0.3: .* or access.clientCidrs does not hold this machine"):
        asked(environment)


def test_a_name_that_nobody_answers_for_is_told_with_the_other_way(
    environment: FakeEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way, "asked", Mock(return_value=frozenset[str]()))
    with pytest.raises(EdgeError, match=rf"no address for {DOMAIN}.*\n  -> edge doctor tokyo --local .*--zone {LAX}"):
        asked(environment)


def test_an_answer_that_is_no_site_of_ours_is_refused(environment: FakeEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way, "asked", Mock(return_value=frozenset({"127.0.0.9"})))
    with pytest.raises(EdgeError, match=r"leads to 127.0.0.9, which is no site of this deployment.*\n  -> edge drift tokyo"):
        asked(environment)


def test_without_a_name_the_nearest_site_stands_for_the_service(environment: FakeEnvironment) -> None:
    environment.domain = None
    outputs = environment.outputs()
    found = {origin: find_way(environment, outputs, origin, None) for origin in (None, "Honolulu", "Denver")}  # pyright: ignore[reportArgumentType]
    assert [each.zone for each in found.values()] == [LAX, HNL, LAX]
    assert found["Honolulu"].chosen == "the nearest on the map, as the service has no name (routing.policy none)"
    assert found["Honolulu"].source_address == "127.200.2.1"


def test_of_several_replicas_one_that_serves_is_asked(environment: FakeEnvironment) -> None:
    site = environment.sites[LAX]
    site["replicas"].insert(0, {"address": "127.0.0.9", "url": "http://x:8080", "served": False})
    assert find_way(environment, environment.outputs(), None, LAX).address == ADDRESSES[LAX]  # pyright: ignore[reportArgumentType]


def test_unknown_zones_and_sites_without_address(environment: FakeEnvironment) -> None:
    with pytest.raises(UsageError, match=rf"no site in us-east-1a\n  -> its sites are in {LAX}, {HNL}"):
        asked(environment, zone="us-east-1a")
    environment.sites[LAX]["replicas"] = [{"address": None, "url": None, "served": False}]
    with pytest.raises(NothingDeployedError, match="has no address yet\n  -> edge up tokyo"):
        asked(environment, zone=LAX)
