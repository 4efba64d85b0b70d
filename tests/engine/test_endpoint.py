"""A site with HTTPS and an API key: deployed, called as a user calls it, changed, and without both again.

The tests run in this order: each finds what the one before has left.
"""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests
from edge_command import edge_on
from pebble import running
from streams import PATH, question, streaming
from support import LOS_ANGELES, Deployment, Recording, World, process_files, tokens, wait_for
from workflows import Machine, step

from automation.account.acme_client import Authority
from automation.account.keys import new_certificate
from automation.engine.secret_change import SecretName, secret_value
from automation.errors import DeploymentFailedError, UsageError
from automation.sites.ask import Question
from automation.sites.hosts import find_host, run, ssh
from automation.sites.usage import KeyUsage
from geography.cities import CITIES
from geography.latency import round_trip_ms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.engine

DOMAIN = "llm.acme.dev"
NAME = f"{LOS_ANGELES}.sites.{DOMAIN}"
ROUTING = {"domain": DOMAIN, "hostedZone": "acme.dev"}
PROXY, SERVER = "edge-inference-proxy", "edge-inference-server"
CHANGED_PROXY = {f"Command {LOS_ANGELES}-1-{step}": {"update"} for step in ("proxy", "ready")}


class Guarded(Deployment):
    """One site with both."""

    def __init__(self, world: World, stack_files: Path) -> None:
        super().__init__("guarded", world, stack_files)
        self.key = secrets.token_hex(20)
        self.certificate, self.private_key = new_certificate([DOMAIN, f"*.sites.{DOMAIN}"])
        self.told = ""
        self.configure([LOS_ANGELES], endpoint={"tls": True}, routing=ROUTING)
        self.store()
        self.outputs = self.deploy().outputs
        self.address: str = self.outputs["sites"][LOS_ANGELES]["replicas"][0]["address"]

    def store(self) -> None:
        """Stores the secrets as they are now."""
        self.environment.store_secrets(
            {
                "edge-inference:apiKey": self.key,
                "edge-inference:tlsCertificate": self.certificate,
                "edge-inference:tlsPrivateKey": self.private_key,
            }
        )

    def deploy(self) -> Recording:
        """As `up`; keeps what was told."""
        recording = self.up()
        self.told += recording.text
        return recording

    def ask(self, path: str, key: str | None = None, body: object = None, trusted: str = "") -> http.client.HTTPResponse:
        """An answer over HTTPS; the certificate, which may be `trusted` too, and its name are verified."""
        port = self.world.status.request("GET", f"ports/{self.address}/443")["port"]
        context = ssl.create_default_context(cadata=self.certificate + trusted)
        connection = http.client.HTTPSConnection(NAME, timeout=30, context=context)
        connection.sock = context.wrap_socket(socket.create_connection((self.address, port), 30), server_hostname=NAME)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
        return connection.getresponse()

    def on_host(self, command: str) -> None:
        """Runs a command on the site's host."""
        host = find_host(self.environment, LOS_ANGELES)
        with ssh(self.environment, host, self.environment.stack_config()) as words:
            assert run(words, command, seconds=60) is not None

    def containers(self) -> dict[str, str]:
        """Status of the host's containers by name."""
        status: dict[str, Any] = self.world.status.request("GET", "status")
        (host,) = (each for each in status["hosts"] if each["address"] == self.address)
        return {each["name"]: each["status"] for each in host["containers"]}


@pytest.fixture(scope="module")
def guarded(world: World, stack_files: Path) -> Iterator[Guarded]:
    guarded = Guarded(world, stack_files)
    yield guarded
    guarded.destroy()


def test_outputs_say_https_and_the_names_of_the_certificate(guarded: Guarded) -> None:
    assert guarded.outputs["service_url"] == f"https://{DOMAIN}"
    assert guarded.outputs["endpoint_urls"] == {LOS_ANGELES: f"https://{NAME}"}


def test_the_key_opens_and_nothing_else_does(guarded: Guarded) -> None:
    for path in ("/info", "/metrics", "/v1/models", "/"):
        assert guarded.ask(path).status == 401
        assert guarded.ask(path, guarded.key[:-1]).status == 401
    assert json.loads(guarded.ask("/info").read())["error_type"] == "unauthorized"
    assert json.loads(guarded.ask("/info", guarded.key).read())["max_total_tokens"] == 4096
    assert guarded.ask("/health").status == 200


def test_a_stream_comes_through(guarded: Guarded) -> None:
    body = {"inputs": "What is the edge?", "parameters": {"max_new_tokens": 5}}
    answer = guarded.ask("/generate_stream", guarded.key, body)
    assert answer.getheader("Content-Type") == "text/event-stream"
    assert answer.read().count(b"data:") == 5


def test_edge_ask_has_name_certificate_and_key(guarded: Guarded) -> None:
    words: list[str] = []
    reply = guarded.environment.ask(Question("What is the edge?", "Honolulu", max_tokens=6), words.append)
    assert "".join(words) == reply.text
    assert (reply.tokens, reply.way.zone, reply.way.url, reply.simulated) == (6, LOS_ANGELES, f"https://{DOMAIN}", True)
    assert reply.way.chosen == "as the local cloud answers users in Honolulu"
    assert reply.way.source_address == "127.200.2.1"
    by_zone = guarded.environment.ask(Question("What is the edge?", zone=LOS_ANGELES, max_tokens=6))
    assert by_zone.way.url == f"https://{NAME}"
    # A client in Honolulu is delayed by the way to Los Angeles and back.
    assert reply.first_token_ms > 2 * round_trip_ms(CITIES["Honolulu"].place, CITIES["Los Angeles"].place)


def test_the_server_itself_is_not_to_be_reached(guarded: Guarded) -> None:
    with pytest.raises(requests.ConnectionError):
        tokens(f"http://{guarded.address}:8080")


def test_the_health_check_asks_the_door(guarded: Guarded) -> None:
    """Without TLS: the door itself asks the proxy, certificate and all."""
    checks = guarded.world.aws("route53").list_health_checks()["HealthChecks"]
    (config,) = (check["HealthCheckConfig"] for check in checks if check["HealthCheckConfig"]["IPAddress"] == guarded.address)
    assert (config["Type"], config["Port"]) == ("HTTP", 442)
    wait_for("a checker's success", lambda: guarded.environment.status().sites[0].replicas[0].health == "healthy")


def test_nothing_changed_touches_nothing(guarded: Guarded) -> None:
    assert guarded.deploy().touched == {}


def test_where_this_machine_may_not_call_the_host_is_asked_with_key_and_certificate(guarded: Guarded) -> None:
    """At the end of `up`, over SSH; a proxy that is stopped is noticed so, too."""
    access = {"clientCidrs": ["127.200.2.0/24"], "sshCidrs": ["127.0.0.1/32"]}
    guarded.configure([LOS_ANGELES], endpoint={"tls": True}, routing=ROUTING, access=access)
    recording = guarded.deploy()
    assert f"asked on the host, since access.clientCidrs does not hold this machine: {LOS_ANGELES}-1" in recording.text
    with pytest.raises(OSError, match=r"reset|EOF|closed"):
        guarded.ask("/health")
    answers = guarded.environment.serving()
    assert [(each.state, each.on_host) for each in answers.values()] == [("serves", True)]
    guarded.on_host(f"sudo docker stop {PROXY}")
    (answer,) = guarded.environment.serving().values()
    assert (answer.state, answer.on_host) == ("dead", True), answer.finding
    guarded.configure([LOS_ANGELES], endpoint={"tls": True}, routing=ROUTING)
    guarded.deploy()
    assert guarded.ask("/info", guarded.key).status == 200


def test_another_key_reloads_the_proxy_and_cuts_no_stream(guarded: Guarded) -> None:
    """Not even one whose key is valid no more."""
    body = {"inputs": "What is the edge?", "parameters": {"max_new_tokens": 200}}
    stream = guarded.ask("/generate_stream", guarded.key, body)
    old, guarded.key = guarded.key, secrets.token_hex(20)
    guarded.store()
    assert guarded.deploy().touched == CHANGED_PROXY
    assert guarded.ask("/info", old).status == 401
    assert guarded.ask("/info", guarded.key).status == 200
    assert stream.read().count(b"data:") == 200


def test_a_certificate_by_acme_is_served_after_the_next_up_which_cuts_no_stream(
    guarded: Guarded, stack_files: Path, tmp_path: Path
) -> None:
    dns_port = guarded.world.status.request("GET", "dns")["port"]
    with running(tmp_path, dns_port) as pebble:
        authority = Authority(pebble.directory, pebble.ca_bundle)
        assert not guarded.environment.certificate(authority, timedelta(days=30)).is_new, "one of one's own is good too"
        records = guarded.world.records()
        first = guarded.environment.certificate(authority)
        assert (first.is_new, first.names, first.facts.days_left(datetime.now(UTC))) == (True, (DOMAIN, f"*.sites.{DOMAIN}"), 89)
        assert guarded.world.records() == records
        body = {"inputs": "What is the edge?", "parameters": {"max_new_tokens": 200}}
        stream = guarded.ask("/generate_stream", guarded.key, body)
        assert guarded.deploy().touched == CHANGED_PROXY
        guarded.certificate = pebble.root
        assert guarded.ask("/health").status == 200
        assert stream.read().count(b"data:") == 200
        age = guarded.environment.status().certificate
        assert age
        assert age.expires == first.facts.expires, "the one that is shown"

        options = ("--server", pebble.directory, "--ca-bundle", str(pebble.ca_bundle))
        machine = Machine(tmp_path, edge_on(guarded.world.directory, stack_files), "--local", *options)
        done = machine.run(step("certificate", "Renew"), EDGE_ENV="guarded")
        assert done.returncode == 0, done.stderr
        assert guarded.environment.certificate(authority, timedelta(days=30)).facts == first.facts
        renewed = guarded.environment.certificate(authority, timedelta(days=90))
        assert (renewed.is_new, renewed.facts.serial == first.facts.serial) == (True, False)
        (row,) = (each for each in guarded.environment.doctor().checks if each.subject == "certificate")
        assert (row.state, row.fix) == ("warning", "edge up guarded --local")
        assert f"not yet brought to {LOS_ANGELES}-1, which shows another" in row.finding
    # Its server is gone, and nobody asks it.
    assert not guarded.environment.certificate(authority, timedelta(days=30)).is_new
    assert "PRIVATE KEY" not in "".join(guarded.said)


def test_a_key_is_rotated_and_nobody_notices_that_nor_another_certificate(guarded: Guarded) -> None:
    environment, old, trusted = guarded.environment, guarded.key, guarded.certificate
    guarded.certificate, guarded.private_key = new_certificate([DOMAIN, f"*.sites.{DOMAIN}"])
    with streaming([lambda: guarded.ask(PATH, old, question(20), trusted)] * 30) as streams:
        guarded.store()
        environment.store_rotation(environment.plan_rotation("api-key"))
        assert guarded.deploy().touched == CHANGED_PROXY
    new = secret_value(environment, SecretName("apiKeys", "apiKey-next"))
    for key in (old, new):
        assert guarded.ask("/info", key).status == 200
    with pytest.raises(UsageError, match="has a successor already"):
        environment.plan_rotation("api-key")
    with streaming([lambda: guarded.ask(PATH, new, question(20))] * 30):
        environment.store_rotation(environment.plan_rotation("api-key", finish=True))
        assert guarded.deploy().touched == CHANGED_PROXY
    guarded.key = new
    assert guarded.ask("/info", old).status == 401
    used = environment.usage()
    assert (used.silent, used.key_names, used.simulated) == ((), ("apiKey",), True)
    assert used.keys["apiKey"].requests >= streams.whole
    assert used.keys["apiKey-next"].requests >= 30
    assert used.keys["apiKey-next"].bytes > 30 * 20
    assert environment.usage(datetime.now(UTC)).keys == {"apiKey": KeyUsage()}


def test_a_proxy_that_does_not_start_is_told_without_its_secrets(guarded: Guarded) -> None:
    guarded.configure([LOS_ANGELES], endpoint={"tls": True, "proxyImage": "acme/caddy:1"}, routing=ROUTING)
    with pytest.raises(DeploymentFailedError) as raised:
        guarded.up()
    guarded.told += str(raised.value)
    assert "stage-proxy failed: acme/caddy:1 was not pulled" in str(raised.value)
    assert guarded.ask("/info", guarded.key).status == 200, "the old one goes on"


def test_no_secret_is_told_or_shown(guarded: Guarded) -> None:
    line = guarded.private_key.splitlines()[1]
    exported = json.dumps(guarded.exported())
    processes = b"".join(text for name in ("cmdline", "environ") for _, text in process_files(name))
    log = guarded.world.log.read_text()
    for secret in (guarded.key, line):
        assert secret not in guarded.told
        assert secret not in exported
        assert secret not in log
        assert secret.encode() not in processes
    holders = [path for path in (guarded.world.directory / "world" / "hosts").rglob("*") if path.is_file()]
    found = [path for path in holders if guarded.key.encode() in path.read_bytes()]
    assert [path.name for path in found] == ["caddy.json"]
    assert found[0].stat().st_mode & 0o777 == 0o600
    assert found[0].parent.stat().st_mode & 0o777 == 0o700


def test_without_both_the_server_takes_the_port_and_the_secrets_are_gone(guarded: Guarded) -> None:
    """Also where it is the port that the proxy had, and after a run that failed."""
    guarded.configure([LOS_ANGELES], endpoint={"port": 443}, routing=ROUTING)
    guarded.pulumi("config", "rm", "edge-inference:apiKey", "--cwd", str(guarded.project))
    outputs = guarded.deploy().outputs
    assert outputs["endpoint_urls"] == {LOS_ANGELES: f"http://{guarded.address}:443"}
    assert guarded.containers() == {SERVER: "running"}
    port = guarded.world.status.request("GET", f"ports/{guarded.address}/443")["port"]
    assert tokens(f"http://{guarded.address}:{port}")
    assert not list((guarded.world.directory / "world" / "hosts").rglob("caddy.json"))
