"""How an environment is, what it costs, what doctor says: a dead site is part of the answer, unknown says unknown."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest

from automation.account.keys import new_deployer_key, new_host_key_secret
from automation.account.prices import HOURS_PER_MONTH
from automation.engine.results import DeployedSite, Inventory
from automation.environment import Environment
from automation.errors import EdgeError, NothingDeployedError, UsageError
from automation.sites import doctor, hosts, status
from automation.sites.costs import cost
from automation.sites.hosts import Host
from components.settings import StackConfig

OREGON, HONOLULU = "us-west-2a", "us-west-2-hnl-1a"
METRICS = "tgi_queue_size 3\ntgi_batch_current_size 2\ntgi_request_generated_tokens_sum 40\n"


def described(url: str | None) -> dict[str, Any]:
    replica = {"address": "127.0.0.1" if url else None, "url": url, "instance_id": "i-1"}
    return {"region": "us-west-2", "instance_type": "g4dn.2xlarge", "model": "a/model", "name": None, "replicas": [replica]}


class FakeEnvironment:
    """A deployment of a site that serves and one that does not."""

    name, arguments, on_local_cloud = "prod", "prod", False

    def __init__(self, url: str | None = None, stack_file: Path = Path()) -> None:
        self.sites = {OREGON: described(url), HONOLULU: described(None)}
        self.deployed: dict[str, DeployedSite] | None = None
        self.stack_file = stack_file

    def outputs(self) -> dict[str, Any]:
        return {"sites": self.sites, "routing": None}

    def outputs_and_config(self) -> tuple[dict[str, Any], StackConfig]:
        return self.outputs(), self.stack_config()

    def planned_replicas(self) -> dict[str, int]:
        return {HONOLULU: 1, OREGON: 2}

    def inventory(self) -> Inventory:
        if self.deployed is None:
            raise NothingDeployedError("'prod' is not deployed")
        return Inventory(1, self.deployed, None, (), ())

    def stack_config(self) -> StackConfig:
        values = {"edge-inference:sshPrivateKey": new_deployer_key(), "edge-inference:hostKeySecret": new_host_key_secret()}
        return StackConfig("prod", values, frozenset(values))

    def port_of(self, address: str, port: int) -> int:
        assert address == "127.0.0.1"
        return port

    def aws_client(self, service: str, region: str) -> Any:
        """None of them is asked here."""
        assert (service, region) in {("route53", "us-west-2"), ("ec2", "us-west-2")}


def asked(fake: FakeEnvironment, *, rates: bool = True) -> status.Status:
    reading: Future[tuple[dict[str, Any], StackConfig]] = Future()
    reading.set_result(fake.outputs_and_config())
    return status.status(real(fake), reading, rates=rates)


def real(fake: FakeEnvironment) -> Environment:
    return cast("Environment", fake)


@pytest.fixture
def server() -> Iterator[str]:
    """A server that is healthy and tells its load; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(METRICS.encode() if self.path == "/metrics" else b"")

        do_POST = do_GET  # noqa: N815 - the base's name

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the base's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """What EC2 and the hosts' records say; no window, so that no test waits."""
    begun = datetime.now(UTC) - timedelta(hours=2)
    found = [
        Host(OREGON, 1, "i-1", "running", "g4dn.2xlarge", "127.0.0.1", begun),
        Host(HONOLULU, 1, "i-1", "terminated", "g4dn.2xlarge"),
    ]

    def all_hosts(*_: object) -> list[Host]:
        return found

    def record(*_: object, **__: object) -> str:
        return '{"model": "another/model", "revision": "0cb88a4f"}'

    monkeypatch.setattr(status, "hosts", all_hosts)
    monkeypatch.setattr(status, "run", record)
    monkeypatch.setattr(status, "_WINDOW_SECONDS", 0)


@pytest.mark.usefixtures("machines")
def test_a_site_that_serves_beside_a_dead_one(server: str) -> None:
    found = asked(FakeEnvironment(server))
    serving, dead = found.sites
    assert (serving.serves, dead.serves) == (True, False)
    replica = serving.replicas[0]
    assert (replica.queue, replica.running, replica.tokens_per_second) == (3, 2, 0.0)
    assert replica.uptime_seconds is not None
    assert (serving.model, replica.model) == ("a/model", "another/model")
    assert (dead.replicas[0].instance, dead.replicas[0].health, dead.replicas[0].dollars_per_hour) == (
        "terminated",
        "unreachable",
        0.0,
    )
    assert found.dollars_per_hour == pytest.approx(0.752)
    assert serving.dns_share is None


@pytest.mark.usefixtures("machines")
def test_tokens_are_counted_only_where_somebody_wants_them(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_WINDOW_SECONDS", float("nan"))  # no sleep takes it
    replica = asked(FakeEnvironment(server), rates=False).sites[0].replicas[0]
    assert (replica.queue, replica.running, replica.tokens_per_second) == (3, 2, None)


@pytest.mark.usefixtures("machines")
def test_a_server_that_does_not_answer_is_unreachable_and_no_error() -> None:
    found = asked(FakeEnvironment("http://127.0.0.1:1"))
    assert found.sites[0].replicas[0].health == "unreachable"
    assert found.sites[0].replicas[0].queue is None


def test_cost_by_hour_and_month_with_the_unknown_named(tmp_path: Path) -> None:
    environment = FakeEnvironment(stack_file=tmp_path / "Pulumi.prod.yaml")
    environment.stack_file.write_text(
        "config: {'edge-inference:sites': [{zone: us-west-2a, replicas: 2}, {zone: us-east-1-nyc-2a}]}", encoding="utf-8"
    )
    planned = cost(real(environment)).described()
    assert (planned["basis"], planned["dollars_per_hour"]) == ("stack file", 1.504)
    assert planned["dollars_per_month"] == pytest.approx(1.504 * HOURS_PER_MONTH)
    assert planned["unknown"] == ["g4dn.2xlarge in us-east-1-nyc-2a"]
    environment.deployed = {HONOLULU: DeployedSite("g4dn.2xlarge", 1)}
    assert cost(real(environment)).described()["dollars_per_hour"] == 1.241
    environment.deployed = {each: DeployedSite("g4dn.2xlarge", 1) for each in ("us-west-2b", OREGON, HONOLULU)}
    assert [site.zone for site in cost(real(environment)).sites] == [HONOLULU, OREGON, "us-west-2b"], "as in the config"
    environment.deployed = None
    environment.stack_file.write_text("config: {}", encoding="utf-8")
    with pytest.raises(UsageError, match="edge doctor prod"):
        cost(real(environment))


def test_a_zone_that_has_no_site_is_refused_with_those_that_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_hosts(*_: object) -> list[Host]:
        return [Host(OREGON, 1), Host(HONOLULU, 1)]

    monkeypatch.setattr(hosts, "hosts", all_hosts)
    with pytest.raises(UsageError, match=f"its zones are {OREGON}, {HONOLULU}"):
        hosts.find_host(real(FakeEnvironment()), "us-west-2b")


def test_a_host_that_is_gone_cannot_be_logged_in_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_hosts(*_: object) -> list[Host]:
        return [Host(OREGON, 1, "i-1", "gone")]

    monkeypatch.setattr(hosts, "hosts", all_hosts)
    with pytest.raises(NothingDeployedError, match="is gone\n  -> edge status prod"):
        hosts.find_host(real(FakeEnvironment()), OREGON)


def test_keys_reach_ssh_in_memory_alone_and_go_with_it() -> None:
    environment = FakeEnvironment()
    config = environment.stack_config()
    with hosts.ssh(real(environment), Host(OREGON, 1, address="127.0.0.1"), config) as command:
        identity = command[command.index("-i") + 1]
        assert Path(identity).read_text(encoding="utf-8") == config.values["edge-inference:sshPrivateKey"]
        assert Path(identity).stat().st_mode & 0o777 == 0o600
        assert "memfd" in os.readlink(identity)  # noqa: PTH115 - the link itself, which leads nowhere
        assert not any(secret.strip() in " ".join(command) for secret in config.values.values())
        assert "StrictHostKeyChecking=yes" in command
    assert not Path(identity).exists()


def test_without_keys_it_is_said_how_to_make_them() -> None:
    with (
        pytest.raises(EdgeError, match="edge keys prod"),
        hosts.ssh(real(FakeEnvironment()), Host(OREGON, 1, address="127.0.0.1"), StackConfig("prod", {})),
    ):
        pass


def test_a_remote_command_that_fails_or_hangs_says_nothing() -> None:
    assert hosts.run([sys.executable, "-c"], "print('said')", seconds=30) == "said\n"
    assert hosts.run([sys.executable, "-c"], "raise SystemExit(1)", seconds=30) is None
    assert hosts.run(["nobody-has-this-command"], "", seconds=30) is None


class Doctored(FakeEnvironment):
    """A stack file that cannot be deployed, on an account that nobody answers for."""

    engine, plugin_home = (Path("/opt/pulumi"), "3.230.0"), Path("/nowhere")

    def inventory(self) -> Inventory:
        raise EdgeError("opening the stack failed: no login\n  -> pulumi login")

    def file_config(self) -> StackConfig:
        values = {"edge-inference:sites": '[{"zone": "us-west-2a"}]', "edge-inference:routing": '{"policy": "none"}'}
        return StackConfig("prod", values, frozenset({"edge-inference:sshPrivateKey"}))

    def hub_endpoint(self) -> str:
        return "http://127.0.0.1:1"

    def aws_client(self, service: str, region: str) -> Any:  # noqa: ARG002
        from botocore.exceptions import NoCredentialsError  # pyright: ignore[reportMissingTypeStubs]

        class Silent:
            def get_caller_identity(self) -> None:
                raise NoCredentialsError

        return Silent()


def test_doctor_goes_on_where_it_cannot_look_and_every_failure_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "own_address", lambda: None)
    found = doctor.examine(real(Doctored()))
    states = {check.subject: check.state for check in found.checks}
    assert states["state"] == states["account"] == states["access.sshCidrs"] == states["hostKeySecret"] == "failed"
    assert "sshPrivateKey" not in states, "encrypted in the file, so not missing"
    assert states["zone us-west-2a"] == states["volume types"] == states["us-west-2: AMI"] == "unknown"
    assert states["hosted zone"] == "ok"
    assert all(check.fix for check in found.failed)
    assert found.described()["ok"] is False


def test_openssh_itself_accepts_the_command_line() -> None:
    environment = FakeEnvironment()
    with hosts.ssh(real(environment), Host(OREGON, 1, address="127.0.0.1"), environment.stack_config()) as command:
        shown = subprocess.run([*command[:1], "-G", *command[1:]], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "stricthostkeychecking true" in shown.stdout
