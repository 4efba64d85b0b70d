# pyright: reportUnknownMemberType=false
# The SDK's from_json types no keys.
"""Environment's own part: what becomes of the engine's results and failures. The engine itself is run in tests/engine."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pulumi import automation
from pulumi.automation import errors as engine_errors
from pulumi.automation.events import EngineEvent

from automation import EdgeError, Environment
from automation.environment import Changes
from automation.errors import (
    CloudNotRunningError,
    DeploymentFailedError,
    EnvironmentBusyError,
    NothingDeployedError,
    UsageError,
)

START = datetime(2026, 11, 23, tzinfo=UTC)
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


class FakeStack:
    """A stack whose engine does what a test wants."""

    name = "dev"

    def __init__(
        self,
        *,
        fails: Exception | None = None,
        events: list[EngineEvent] | None = None,
        engine: "FakeEngine | None" = None,
        pending: Sequence[str] = (),
        **outputs: Any,
    ) -> None:
        self._fails, self._events, self._pending = fails, events or [], pending
        self.done: list[str] = []
        self._outputs = {name: automation.OutputValue(value, secret=False) for name, value in outputs.items()}
        if engine:
            variables = {"PULUMI_BACKEND_URL": "file:///state"}
            self.workspace = SimpleNamespace(pulumi_command=engine, work_dir=str(engine.folder), env_vars=variables)
        else:
            self.workspace = SimpleNamespace(remove_stack=self._remove)

    def _remove(self, name: str, *, force: bool) -> None:
        assert force
        self.done.append(f"remove {name}")

    def export_stack(self) -> automation.Deployment:
        pending = [{"resource": {"urn": f"urn:pulumi:dev::edge-inference::a::{name}"}} for name in self._pending]
        return automation.Deployment(version=3, deployment={"pending_operations": pending} if pending else {})

    def refresh(self, *, clear_pending_creates: bool) -> None:
        assert clear_pending_creates
        self.done.append("refresh")

    def destroy(self, on_event: Any) -> automation.DestroyResult:
        del on_event
        self.done.append("destroy")
        return automation.DestroyResult("", "", summary({"delete": 2}))

    def up(self, on_event: Any, **_: Any) -> automation.UpResult:
        self.done.append("up")
        for event in self._events:
            on_event(event)
        if self._fails:
            raise self._fails
        return automation.UpResult("", "", summary({"create": 2, "same": 1}), self._outputs)

    def preview(self, on_event: Any) -> automation.PreviewResult:
        del on_event
        if self._fails:
            raise self._fails
        counts: Any = {"create": 3}
        return automation.PreviewResult("", "", counts)

    def outputs(self) -> dict[str, automation.OutputValue]:
        if self._fails:
            raise self._fails
        return self._outputs

    def get_all_config(self) -> dict[str, automation.ConfigValue]:
        if self._fails:
            raise self._fails
        return {"edge-inference:sshPrivateKey": automation.ConfigValue("x", secret=True)}


class FakeEngine:
    """The engine's command line, which keeps what it was given."""

    def __init__(self, folder: Path, *, fails: bool = False) -> None:
        self.folder = folder
        program = folder / "pulumi"
        program.write_text(
            '#!/bin/sh\necho "$@" >>arguments; cat >>input; echo "$PULUMI_BACKEND_URL" >backend\n'
            + ("echo 'error: passphrase must be set' >&2; exit 255\n" if fails else "")
        )
        program.chmod(0o755)
        self.command = str(program)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()


def summary(changes: dict[str, int]) -> automation.UpdateSummary:
    counts: Any = changes  # the SDK's type says OpType, and text is what arrives
    return automation.UpdateSummary("update", START, "", {}, {}, "succeeded", resource_changes=counts)


def failure(kind: type[engine_errors.CommandError], text: str) -> engine_errors.CommandError:
    made: Any = kind
    return made(text)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    return Environment("dev", directory=tmp_path, stack_files=tmp_path)


def opened(environment: Environment, monkeypatch: pytest.MonkeyPatch, stack: FakeStack) -> Environment:
    def open_stack(*, may_start: bool) -> FakeStack:
        del may_start
        return stack

    monkeypatch.setattr(environment, "_open", open_stack)
    return environment


def diagnostic(message: str, urn: str) -> EngineEvent:
    event = {"message": message, "severity": "error", "color": "", "urn": urn}
    return EngineEvent.from_json({"sequence": 1, "timestamp": 1, "diagnosticEvent": event})


def test_unknown_environment_names_the_known_ones(tmp_path: Path) -> None:
    for name in ("dev", "prod"):
        (tmp_path / f"Pulumi.{name}.yaml").touch()
    with pytest.raises(UsageError, match=r"Pulumi\.prd\.yaml does not exist\n  -> known are dev, prod"):
        Environment("prd", stack_files=tmp_path)


def test_local_is_always_on_the_local_cloud(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.local.yaml").touch()
    assert Environment("local", stack_files=tmp_path).on_local_cloud


def test_up_counts_and_outputs(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = opened(environment, monkeypatch, FakeStack(service_url="http://a", endpoint_urls={"z": "http://b"})).up()
    assert changes.counts == {"create": 2, "same": 1}
    assert changes.changed == 2
    assert changes.outputs == {"service_url": "http://a", "endpoint_urls": {"z": "http://b"}}


def test_preview_counts(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(environment, monkeypatch, FakeStack()).preview().counts == {"create": 3}


def test_nothing_changed() -> None:
    assert Changes({"same": 9}, 1.0).changed == 0


def test_errors_of_the_engine_arrive_as_its_events_told_them(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    urn = "urn:pulumi:dev::edge-inference::a:b:C$aws:ec2/instance:Instance::us-west-2a-1-host"
    stack = FakeStack(fails=failure(engine_errors.CommandError, "code: 255\nTraceback"), events=[diagnostic("no capacity", urn)])
    with pytest.raises(DeploymentFailedError) as raised:
        opened(environment, monkeypatch, stack).up()
    assert str(raised.value) == "us-west-2a-1-host: no capacity"
    assert raised.value.errors == ("us-west-2a-1-host: no capacity",)


def test_failure_without_events_shows_the_engines_last_words(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack(fails=failure(engine_errors.CommandError, "code: 255\nstdout: \nstderr: error: passphrase must be set\n"))
    with pytest.raises(DeploymentFailedError, match="passphrase must be set"):
        opened(environment, monkeypatch, stack).preview()


def test_second_run_at_once(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack(fails=failure(engine_errors.ConcurrentUpdateError, "the stack is currently locked by 1 lock(s)"))
    with pytest.raises(EnvironmentBusyError, match="pulumi cancel --yes --stack dev"):
        opened(environment, monkeypatch, stack).up()


def test_killed_engine_says_how_to_go_on(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack(fails=failure(engine_errors.CommandError, "code: -9\nstdout: \nstderr: "))
    with pytest.raises(DeploymentFailedError, match=r"the engine was killed\n  -> pulumi cancel --yes --stack dev"):
        opened(environment, monkeypatch, stack).up()


def test_creates_that_were_killed_half_way_are_told_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Pulumi.dev.yaml").touch()
    said: list[str] = []
    stack = FakeStack(pending=["us-west-2a-1-host", "us-west-2a-1-address"])
    opened(Environment("dev", directory=tmp_path, stack_files=tmp_path, say=said.append), monkeypatch, stack).up()
    assert stack.done == ["refresh", "up"]
    assert "us-west-2a-1-host, us-west-2a-1-address" in said[0]
    assert "edge-inference:stack=dev" in said[0]


def test_nothing_is_refreshed_where_nothing_is_pending(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack()
    opened(environment, monkeypatch, stack).up()
    assert stack.done == ["up"]


@pytest.mark.parametrize(("on_local_cloud", "done"), [(True, ["destroy", "remove dev"]), (False, ["destroy"])])
def test_destroy_removes_the_stack_on_the_local_cloud_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_local_cloud: bool, done: list[str]
) -> None:
    (tmp_path / "Pulumi.dev.yaml").touch()
    stack = FakeStack()
    environment = Environment("dev", directory=tmp_path, stack_files=tmp_path, on_local_cloud=on_local_cloud)
    assert opened(environment, monkeypatch, stack).destroy().counts == {"delete": 2}
    assert stack.done == done


def test_outputs_of_a_failed_site_are_none(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack(endpoint_urls={"a": "http://a", "b": UNKNOWN}, sites={"b": {"replicas": [{"address": UNKNOWN}]}})
    assert opened(environment, monkeypatch, stack).outputs() == {
        "endpoint_urls": {"a": "http://a", "b": None},
        "sites": {"b": {"replicas": [{"address": None}]}},
    }


def test_nothing_deployed(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NothingDeployedError, match=r"'dev' is not deployed on AWS\n  -> edge up dev$"):
        opened(environment, monkeypatch, FakeStack()).outputs()


def test_secrets_travel_on_standard_input(environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Everyone on the machine can read a command line."""
    engine = FakeEngine(tmp_path)
    stack = FakeStack(engine=engine)
    opened(environment, monkeypatch, stack).store_secrets(
        {"edge-inference:hostKeySecret": "f00d", "edge-inference:a": "line 1\nline 2\n"}
    )
    assert engine.read("input") == "f00dline 1\nline 2\n"
    first, second = engine.read("arguments").splitlines()
    assert "config set" in first
    assert "edge-inference:hostKeySecret" in first
    assert "edge-inference:a" in second
    for line in (first, second):
        assert "--secret" in line
        assert "--stack dev" in line
        assert "f00d" not in line
    assert engine.read("backend") == "file:///state\n"


def test_secret_that_cannot_be_stored(environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stack = FakeStack(engine=FakeEngine(tmp_path, fails=True))
    with pytest.raises(EdgeError, match="storing edge-inference:a failed: error: passphrase must be set") as raised:
        opened(environment, monkeypatch, stack).store_secrets({"edge-inference:a": "hf_secret"})
    assert "hf_secret" not in str(raised.value)


def test_config_that_is_there(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(environment, monkeypatch, FakeStack())
    assert environment.has_config("edge-inference:sshPrivateKey")
    assert not environment.has_config("edge-inference:hostKeySecret")


def test_trouble_of_the_engines_command_line_is_one_text(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack(fails=failure(engine_errors.CommandError, "stderr: error: PULUMI_ACCESS_TOKEN must be set for login"))
    with pytest.raises(EdgeError, match="pulumi login"):
        opened(environment, monkeypatch, stack).has_config("x")


def test_exit_codes_are_a_contract() -> None:
    errors = (EdgeError, UsageError, NothingDeployedError, CloudNotRunningError, EnvironmentBusyError, DeploymentFailedError)
    assert [error.exit_code for error in errors] == [1, 2, 3, 4, 5, 6]


def test_failure_without_a_reason_says_so() -> None:
    assert "gave no reason" in str(DeploymentFailedError("up", []))
