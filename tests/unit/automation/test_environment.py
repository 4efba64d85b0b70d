# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
# The SDK's from_json types no keys.
"""Environment's own part: what becomes of the engine's results and failures. The engine itself is run in tests/engine."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pulumi import automation
from pulumi.automation import errors as engine_errors
from pulumi.automation.events import EngineEvent

from automation import EdgeError, Environment
from automation.account import orphan_search
from automation.account.orphans import Thing
from automation.engine.command import EngineCommand, EngineKilledError
from automation.engine.deployed import planned_sites
from automation.engine.events import Diagnostic, Event
from automation.engine.leftovers import Leftovers
from automation.engine.processes import MARK
from automation.engine.redaction import Redactor
from automation.engine.results import Changes
from automation.engine.state_files import StateFile
from automation.errors import (
    CloudNotRunningError,
    DeploymentFailedError,
    EnvironmentBusyError,
    ForeignAccountError,
    InterruptedRunError,
    NothingDeployedError,
    OrphansError,
    ProtectedError,
    UsageError,
)

GOOD = """config:
  edge-inference:sites: [{zone: us-west-2a}]
  edge-inference:access: {clientCidrs: [8.8.8.8/32], sshCidrs: [8.8.8.8/32]}
  edge-inference:routing: {policy: none}
  edge-inference:sshPrivateKey: {secure: v1:a}
  edge-inference:hostKeySecret: {secure: v1:b}
"""
"""A stack file that nothing is wrong with."""
SECRET = "a-secret-of-the-config"  # noqa: S105
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


_ORPHANS_ERRORS = (
    "InvalidPermission.Duplicate: the specified rule already exists",
    "InvalidSubnet.Conflict: The CIDR '10.0.0.0/24' conflicts with another subnet",
    "[Tried to create resource record set [name='a.b.', type='A'] but it already exists]",
    "DependencyViolation: The vpc 'vpc-1' has dependencies and cannot be deleted.",
    "Resource.AlreadyAssociated: resource eipalloc-1 is already associated",
    "InvalidKeyPair.Duplicate: The keypair already exists",
    "RouteAlreadyExists: The route identified by 0.0.0.0/0 already exists.",
    "HostedZoneNotEmpty: The specified hosted zone contains non-required resource record sets",
)


class FakeStack:
    """A stack whose engine does what a test wants."""

    name = "dev"

    def __init__(
        self,
        *,
        fails: Exception | None = None,
        events: list[EngineEvent] | None = None,
        engine: "FakeEngine | None" = None,
        deployment: dict[str, Any] | None = None,
        **outputs: Any,
    ) -> None:
        self._fails, self._events, self._outputs = fails, events or [], outputs
        self.deployment = deployment or {}
        self.done: list[str] = []
        variables = {"PULUMI_BACKEND_URL": "file:///state"}
        self.workspace = SimpleNamespace(
            pulumi_command=engine, work_dir=str(engine.folder) if engine else "", env_vars=variables, remove_stack=self._remove
        )

    def _remove(self, name: str, *, force: bool) -> None:
        assert force
        self.done.append(f"remove {name}")

    def ask(self, *arguments: str) -> str:
        self.done.append(" ".join(arguments))
        return ""

    def config(self) -> dict[str, dict[str, Any]]:
        if isinstance(self._fails, engine_errors.CommandError):
            raise self._fails
        return {"edge-inference:sshPrivateKey": {"value": SECRET, "secret": True}}

    def read_outputs(self) -> dict[str, Any]:
        if self._fails:
            raise self._fails
        return self._outputs

    def _run(self, name: str, on_event: Any, on_output: Any) -> None:
        self.done.append(name)
        on_output(f"the engine says {SECRET}")
        for event in self._events:
            on_event(event)
        if self._fails:
            raise self._fails

    def up(self, *, continue_on_error: bool, on_event: Any, on_output: Any, **_: Any) -> None:
        assert continue_on_error
        self._run("up", on_event, on_output)

    def preview(self, *, on_event: Any, on_output: Any, **_: Any) -> None:
        self._run("preview", on_event, on_output)

    def preview_refresh(self, *, on_event: Any, on_output: Any, **_: Any) -> None:
        self._run("preview_refresh", on_event, on_output)

    def refresh(self, *, clear_pending_creates: bool, on_output: Any, on_event: Any = None, **_: Any) -> None:
        assert clear_pending_creates
        self._run("refresh", on_event, on_output)

    def destroy(self, *, on_output: Any, on_event: Any = None, **_: Any) -> None:
        self._run("destroy", on_event, on_output)

    def destroy_but(self, kept: str, *, on_event: Any, on_output: Any, **_: Any) -> None:
        assert kept == "**::deployment"
        self._run("destroy", on_event, on_output)

    def exported(self) -> dict[str, Any]:
        return self.deployment


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


def summary(**changes: int) -> EngineEvent:
    event = {"maybeCorrupt": False, "durationSeconds": 1, "resourceChanges": changes, "PolicyPacks": {}}
    return EngineEvent.from_json({"sequence": 1, "timestamp": 1, "summaryEvent": event})


def deployment(*resources: dict[str, Any], pending: Sequence[str] = ()) -> dict[str, Any]:
    """An exported state."""
    return {
        "resources": list(resources),
        "pending_operations": [
            {"resource": {"urn": f"urn:pulumi:dev::edge-inference::a::{name}"}, "type": kind}
            for kind, names in (("creating", pending), ("updating", ["changed"] if pending else []))
            for name in names
        ],
    }


def host(zone: str, *, account: str = "111122223333", protect: bool = False) -> dict[str, Any]:
    """An instance in an exported state."""
    arn = f"arn:aws:ec2:us-west-2:{account}:instance/i-1"
    outputs = {"availabilityZone": zone, "instanceType": "g4dn.2xlarge", "arn": arn}
    kind = "aws:ec2/instance:Instance"
    urn = f"urn:pulumi:dev::edge-inference::a${kind}::{zone}-1-host"
    return {"urn": urn, "type": kind, "custom": True, "protect": protect, "outputs": outputs}


def failure(kind: type[engine_errors.CommandError], text: str) -> engine_errors.CommandError:
    made: Any = kind
    return made(text)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    (tmp_path / "Pulumi.dev.yaml").write_text(GOOD)
    return Environment("dev", directory=tmp_path, stack_files=tmp_path)


@pytest.fixture(autouse=True)
def no_namesakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of this module asks AWS."""

    def find(*_: object) -> tuple[Thing, ...]:
        return ()

    monkeypatch.setattr(orphan_search, "find_namesakes", find)


def opened(environment: Environment, monkeypatch: pytest.MonkeyPatch, stack: FakeStack) -> Environment:
    def open_stack(*, may_start: bool, command: object = None) -> FakeStack:
        del may_start, command
        return stack

    def command(*_: str) -> EngineCommand:
        return EngineCommand(Path("pulumi"), "3.230.0")

    def redactor(given: FakeStack) -> Redactor:
        assert given is stack
        return Redactor([SECRET])

    monkeypatch.setattr(environment, "open", open_stack)
    monkeypatch.setattr(environment, "command", command)
    monkeypatch.setattr(environment._runs, "_redactor", redactor)
    return environment


def diagnostic(message: str, urn: str) -> EngineEvent:
    event = {"message": message, "severity": "error", "color": "", "urn": urn}
    return EngineEvent.from_json({"sequence": 1, "timestamp": 1, "diagnosticEvent": event})


def test_unknown_environment_names_the_known_ones(tmp_path: Path) -> None:
    for name in ("dev", "prod"):
        (tmp_path / f"Pulumi.{name}.yaml").touch()
    with pytest.raises(UsageError, match=r"Pulumi\.prd\.yaml does not exist\n  -> known are dev, prod"):
        Environment("prd", stack_files=tmp_path)


def test_a_folder_is_no_stack_file(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").mkdir()
    with pytest.raises(UsageError, match="there is no environment 'dev'"):
        Environment("dev", stack_files=tmp_path)


def test_a_stack_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_bytes(b"\xff\xfe\x00config")
    environment = Environment("dev", stack_files=tmp_path)
    with pytest.raises(UsageError, match=r"Pulumi\.dev\.yaml is no stack file: line 1: its text is no UTF-8"):
        environment.file_config()
    assert environment.planned_replicas() == {}
    with pytest.raises(UsageError, match="edge doctor dev"):
        planned_sites(environment.stack_file, environment.name)


def test_local_is_always_on_the_local_cloud(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.local.yaml").touch()
    assert Environment("local", stack_files=tmp_path).on_local_cloud


def test_up_counts_and_outputs(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = opened(
        environment,
        monkeypatch,
        FakeStack(events=[summary(create=2, same=1)], service_url="http://a", endpoint_urls={"z": "http://b"}),
    ).up()
    assert changes.counts == {"create": 2, "same": 1}
    assert changes.changed == 2
    assert changes.outputs == {"service_url": "http://a", "endpoint_urls": {"z": "http://b"}}


def test_plan_counts(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(environment, monkeypatch, FakeStack(events=[summary(create=3)])).plan().counts == {"create": 3}


def planned(zone: str, operation: str, instance_type: str = "g4dn.2xlarge") -> EngineEvent:
    """A step on a host in a preview."""
    urn = f"urn:pulumi:dev::edge-inference::a$aws:ec2/instance:Instance::{zone}-1-host"
    state = {"type": "aws:ec2/instance:Instance", "urn": urn, "custom": True, "inputs": {"instanceType": instance_type}}
    metadata = {"op": operation, "urn": urn, "type": state["type"], "old" if operation.startswith("delete") else "new": state}
    return EngineEvent.from_json({"sequence": 1, "timestamp": 1, "resourcePreEvent": {"metadata": metadata}})


def test_a_plan_tells_what_it_costs_and_what_runs_now(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [
        planned("us-west-2a", "same"),
        planned("us-west-2-lax-1a", "delete-replaced"),
        planned("us-west-2-lax-1a", "create-replacement"),
        planned("us-west-2-hnl-1a", "create"),
        planned("us-west-2-den-1a", "delete"),
    ]
    before = deployment(*(host(zone) for zone in ("us-west-2a", "us-west-2-lax-1a", "us-west-2-den-1a")))
    price = opened(environment, monkeypatch, FakeStack(events=events, deployment=before)).plan().price
    assert (price.before.instances, price.after.instances) == (3, 3)
    assert price.before.dollars == pytest.approx(0.752 + 0.902 + 1.015)
    assert price.after.dollars == pytest.approx(0.752 + 0.902 + 1.241)
    assert price.dollars == pytest.approx(1.241 - 1.015)


def test_no_drift(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not opened(environment, monkeypatch, FakeStack()).drift()


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
        opened(environment, monkeypatch, stack).plan()


@pytest.mark.parametrize("is_local", [False, True])
def test_a_config_value_that_is_no_text_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_local: bool) -> None:
    """The engine hands nothing to the program then, and does not say what is wrong."""
    (tmp_path / "Pulumi.dev.yaml").write_text(GOOD)
    environment = Environment("dev", directory=tmp_path, stack_files=tmp_path, on_local_cloud=is_local)
    error = failure(
        engine_errors.CommandError, "code: 255\nstderr: error: grpc: error while marshaling: string field contains invalid UTF-8"
    )
    stack = FakeStack(fails=error)
    entry = {"value": "k\ufffd", "secret": True}
    monkeypatch.setattr(stack, "config", lambda: {"edge-inference:apiKey": entry, "edge-inference:b": {"value": "text"}})
    with pytest.raises(DeploymentFailedError) as raised:
        opened(environment, monkeypatch, stack).plan()
    told = str(raised.value)
    assert "edge-inference:apiKey is no UTF-8 text" in told
    assert f"edge secret set dev{' --local' if is_local else ''} apiKey" in told
    assert "\ufffd" not in told


def test_second_run_at_once(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack(fails=failure(engine_errors.ConcurrentUpdateError, "the stack is currently locked by 1 lock(s)"))
    with pytest.raises(EnvironmentBusyError, match="edge cancel dev"):
        opened(environment, monkeypatch, stack).up()


def test_killed_engine_says_how_to_go_on(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack(fails=failure(EngineKilledError, "code: -9\nstdout: \nstderr: "))
    with pytest.raises(DeploymentFailedError, match=r"the engine was killed(.|\n)*\n  -> edge cancel dev"):
        opened(environment, monkeypatch, stack).up()


def test_creates_that_were_killed_half_way_are_told_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(GOOD)
    said: list[str] = []
    stack = FakeStack(deployment=deployment(pending=["us-west-2a-1-host", "us-west-2a-1-address"]))
    opened(Environment("dev", directory=tmp_path, stack_files=tmp_path, say=said.append), monkeypatch, stack).up()
    assert stack.done == ["refresh", "up"]
    assert "us-west-2a-1-host, us-west-2a-1-address" in said[0]
    # A state of an older release: nobody can tell what is its own.
    assert "keeps no deployment id" in said[1]
    assert "Key=edge-inference:stack,Values=dev" in said[1]


HOST = Thing("instance", "i-0left", "us-west-2", "us-west-2a", "our-id", instance_type="g4dn.2xlarge")
WITH_ID: dict[str, Any] = {
    "type": "pulumi:index:Stash",
    "urn": "urn:pulumi:dev::p::pulumi:index:Stash::deployment",
    "outputs": {"output": "our-id"},
}


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[Thing]:
    """What AWS has of the environment and no state knows."""
    found: list[Thing] = [HOST]

    def find(*_: object) -> tuple[Thing, ...]:
        return tuple(found)

    monkeypatch.setattr(Leftovers, "find", find)
    return found


def test_what_a_killed_run_left_is_not_made_once_more(
    environment: Environment, left: list[Thing], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = FakeStack(deployment=deployment(pending=["us-west-2a-1-host"]))
    with pytest.raises(OrphansError, match="would make again") as caught:
        opened(environment, monkeypatch, stack).up()
    assert stack.done == ["refresh"]
    assert "instance  i-0left  us-west-2a  $0.752 per hour" in str(caught.value)
    assert f"-> edge sweep {environment.arguments}" in str(caught.value)
    left.clear()
    assert opened(environment, monkeypatch, stack).up()


def test_what_has_the_name_of_an_empty_state_is_told_once_and_left_alone(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    asked: list[str] = []
    environment.say = said.append

    def find(name: str, regions: Iterable[str], _: object) -> tuple[Thing, ...]:
        asked.extend([name, *regions])
        return (HOST,)

    monkeypatch.setattr(orphan_search, "find_namesakes", find)
    opened(environment, monkeypatch, FakeStack()).plan()
    environment.up()
    assert asked == ["dev", "us-west-2"]
    assert [line for line in said if "whether they are yours" in line] == said[-2:-1]
    assert HOST.id in "\n".join(said)
    asked.clear()
    other = Environment("dev", directory=environment.directory, stack_files=environment.stack_file.parent)
    opened(other, monkeypatch, FakeStack(deployment={"resources": [WITH_ID]})).plan()
    assert asked == [], "a state that holds something knows its own"


@pytest.mark.parametrize("error", _ORPHANS_ERRORS)
def test_an_error_that_only_an_orphan_explains_names_it(
    environment: Environment, left: list[Thing], monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    stack = FakeStack(fails=engine_errors.CommandError(automation.CommandResult("", f"error: {error}", 1)))
    with pytest.raises(DeploymentFailedError) as caught:
        opened(environment, monkeypatch, stack).up()
    assert HOST.id in caught.value.errors[-1]
    assert f"-> edge sweep {environment.arguments}" in caught.value.errors[-1]
    left.clear()
    with pytest.raises(DeploymentFailedError, match="belongs to somebody else"):
        opened(environment, monkeypatch, stack).up()


@pytest.mark.usefixtures("left")
def test_another_error_asks_nobody(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack(fails=engine_errors.CommandError(automation.CommandResult("", "error: InsufficientInstanceCapacity", 1)))
    with pytest.raises(DeploymentFailedError) as caught:
        opened(environment, monkeypatch, stack).up()
    assert HOST.id not in str(caught.value)


def test_destroy_does_not_end_well_while_something_is_left(
    environment: Environment, left: list[Thing], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = FakeStack(deployment={"resources": [WITH_ID]})
    with pytest.raises(OrphansError, match="not all that AWS has") as caught:
        opened(environment, monkeypatch, stack).destroy()
    assert (caught.value.exit_code, HOST.id in str(caught.value)) == (10, True)
    assert stack.done == ["destroy"], "the id is kept"
    left.clear()
    opened(environment, monkeypatch, stack).destroy()
    assert stack.done[1:] in (["destroy", "destroy"], ["destroy", "remove dev"]), "then it goes too"


@pytest.mark.usefixtures("left")
def test_refresh_lists_what_is_left(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    environment.say = said.append
    assert opened(environment, monkeypatch, FakeStack(sites={}, endpoint_urls={})).refresh().orphans == (HOST,)
    assert any(HOST.id in line for line in said)


def test_a_sweep_takes_only_what_was_shown_and_still_is_no_states(
    environment: Environment, left: list[Thing], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another machine's run began meanwhile was not shown; what it has finished is in its state."""
    swept: list[Thing] = []

    def keep(found: Sequence[Thing], *_: object) -> None:
        swept.extend(found)

    monkeypatch.setattr("automation.account.sweep.sweep", keep)
    finished, begun = replace(HOST, id="i-0finished"), replace(HOST, id="i-0begun")
    left.append(begun)
    stack = FakeStack()
    opened(environment, monkeypatch, stack).sweep([HOST, finished])
    assert (stack.done, swept) == (["refresh"], [HOST])


def test_nothing_is_refreshed_where_nothing_is_pending(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack()
    opened(environment, monkeypatch, stack).up()
    assert stack.done == ["up"]


@pytest.mark.parametrize(("on_local_cloud", "done"), [(True, ["destroy", "remove dev"]), (False, ["destroy"])])
def test_destroy_removes_the_stack_on_the_local_cloud_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_local_cloud: bool, done: list[str]
) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(GOOD)
    stack = FakeStack(events=[summary(delete=2)])
    environment = Environment("dev", directory=tmp_path, stack_files=tmp_path, on_local_cloud=on_local_cloud)
    assert opened(environment, monkeypatch, stack).destroy().counts == {"delete": 2}
    assert stack.done == done


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


def test_a_secret_that_is_no_text_is_not_stored(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stack = FakeStack(engine=FakeEngine(tmp_path))
    with pytest.raises(UsageError, match="edge-inference:a holds bytes that are no UTF-8"):
        opened(environment, monkeypatch, stack).store_secrets({"edge-inference:a": "key\udcff"})


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
    assert [error.exit_code for error in (ProtectedError, ForeignAccountError, InterruptedRunError)] == [8, 9, 130]


def test_failure_without_a_reason_says_so() -> None:
    assert "gave no reason" in str(DeploymentFailedError("up", []))


# One log for each run


def test_a_run_is_logged_without_secrets(environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changes = opened(environment, monkeypatch, FakeStack(service_url="http://a")).up()
    assert changes.log
    assert changes.log.is_relative_to(tmp_path / ".edge" / "logs")
    text = changes.log.read_text()
    assert "the engine says [secret]" in text
    assert SECRET not in text


def test_a_failure_names_its_log_and_shows_no_secret(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    urn = "urn:pulumi:dev::edge-inference::a::b:C$aws:ec2/instance:Instance::us-west-2a-1-host"
    events = [diagnostic(f"wrong: {SECRET}", urn)]
    stack = FakeStack(fails=failure(engine_errors.CommandError, f"code: 255\n{SECRET}"), events=events)
    seen: list[Event] = []
    with pytest.raises(DeploymentFailedError) as raised:
        opened(environment, monkeypatch, stack).up(seen.append)
    assert raised.value.log
    assert "us-west-2a-1-host: wrong: [secret]" in raised.value.log.read_text()
    assert [event.text for event in seen if isinstance(event, Diagnostic)] == ["wrong: [secret]"]
    assert SECRET not in str(raised.value) + raised.value.log.read_text()


# Interruptions


@pytest.mark.parametrize(("times", "words"), [(1, "the steps at work were finished"), (2, "edge refresh dev")])
def test_a_run_that_was_stopped_says_how_to_go_on(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, times: int, words: str
) -> None:
    stack = FakeStack(fails=InterruptedRunError(times))
    with pytest.raises(InterruptedRunError, match=words) as raised:
        opened(environment, monkeypatch, stack).up()
    assert "edge up dev" in str(raised.value)
    assert raised.value.log


def test_interrupting_nothing_does_nothing(environment: Environment) -> None:
    environment.interrupt()


# Protection and accounts


def accounts(environment: Environment, monkeypatch: pytest.MonkeyPatch, account: str) -> None:
    """Whose credentials these are."""

    def aws_client(service: str, region: str) -> SimpleNamespace:
        assert (service, region) == ("sts", "us-east-1")
        return SimpleNamespace(get_caller_identity=lambda: {"Account": account})

    monkeypatch.setattr(environment, "aws_client", aws_client)


@pytest.mark.parametrize("operation", ["up", "refresh", "drift", "destroy", "plan_destroy", "unprotect"])
def test_a_foreign_account_is_refused(environment: Environment, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    stack = FakeStack(deployment=deployment(host("us-west-2a", account="111122223333")))
    opened(environment, monkeypatch, stack)
    accounts(environment, monkeypatch, "444455556666")
    with pytest.raises(ForeignAccountError, match=r"account 111122223333, .* of 444455556666") as raised:
        getattr(environment, operation)()
    assert "AWS_PROFILE" in str(raised.value)
    assert stack.done == []


def test_ones_own_account_is_not(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack(deployment=deployment(host("us-west-2a")))
    opened(environment, monkeypatch, stack)
    accounts(environment, monkeypatch, "111122223333")
    environment.destroy()
    assert stack.done == ["destroy"]


def test_what_goes_is_known_with_its_price(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack(
        deployment=deployment(host("us-west-2a"), host("us-west-2-lax-1a"), {"urn": "x::stack", "type": "pulumi:pulumi:Stack"})
    )
    opened(environment, monkeypatch, stack)
    accounts(environment, monkeypatch, "111122223333")
    goes = environment.plan_destroy()
    assert (goes.resources, set(goes.sites), goes.account) == (2, {"us-west-2a", "us-west-2-lax-1a"}, "111122223333")
    assert str(goes.price) == "$1.654 per hour ($1207.42 per month) for 2 GPU instances"


def protected(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> FakeStack:
    """An environment with two protected hosts."""
    hosts = [host(zone, protect=True) for zone in ("us-west-2a", "us-west-2-lax-1a")]
    stack = FakeStack(deployment=deployment(*hosts))
    opened(environment, monkeypatch, stack)
    accounts(environment, monkeypatch, "111122223333")
    return stack


@pytest.mark.parametrize("operation", ["destroy", "plan_destroy"])
def test_what_is_protected_is_not_destroyed(environment: Environment, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    stack = protected(environment, monkeypatch)
    with pytest.raises(ProtectedError, match=r"us-west-2a-1-host, us-west-2-lax-1a-1-host.*\n  -> edge unprotect dev ") as raised:
        getattr(environment, operation)()
    assert "nothing was changed" in str(raised.value)
    assert stack.done == []


def test_protection_goes_by_zone_or_whole(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = protected(environment, monkeypatch)
    assert environment.unprotect("us-west-2a") == ("us-west-2a-1-host",)
    (asked,) = stack.done
    assert asked.startswith("state unprotect ")
    assert "lax" not in asked
    assert environment.unprotect() == ("us-west-2a-1-host", "us-west-2-lax-1a-1-host")


def test_a_zone_without_anything_cannot_be_unprotected(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    protected(environment, monkeypatch)
    with pytest.raises(UsageError, match=r"nothing in zone 'us-west-2-hnl-1a'\n  -> its zones are us-west-2a, us-west-2-lax-1a"):
        environment.unprotect("us-west-2-hnl-1a")


# The sites of the stack file


@pytest.mark.parametrize(
    ("content", "replicas"),
    [
        (
            "config: {'edge-inference:sites': [{zone: us-west-2a}, {zone: us-west-2b, replicas: 2}]}",
            {"us-west-2a": 1, "us-west-2b": 2},
        ),
        ("config: {'edge-inference:sites': [{zone: us-west-2a, replicas: many}]}", {}),
        ("config: {}", {}),
        ("", {}),
        ("[", {}),
    ],
)
def test_planned_sites_are_the_stack_files(tmp_path: Path, content: str, replicas: dict[str, int]) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(content)
    assert Environment("dev", stack_files=tmp_path).planned_replicas() == replicas


def headless(environment: Environment, folder: Path, name: str) -> "subprocess.Popen[bytes]":
    """What a run has left whose `edge` was killed."""
    program = folder / name
    program.write_text("import signal; signal.signal(2, signal.SIG_DFL); print('runs', flush=True); signal.pause()")
    command = ["bash", "-c", f"exec -a {name} {sys.executable} {program}"]
    process = subprocess.Popen(command, env={**os.environ, MARK: f"{environment.mark}1"}, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    return process


def test_a_run_that_goes_on_without_its_edge_is_told_and_ended_by_cancel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(GOOD)
    said: list[str] = []
    environment = opened(Environment("dev", directory=tmp_path, stack_files=tmp_path, say=said.append), monkeypatch, FakeStack())
    with headless(environment, tmp_path, "pulumi") as engine:
        with pytest.raises(EnvironmentBusyError, match=rf"process {engine.pid}\) not(.|\n)*edge cancel dev"):
            environment.up()
        environment.cancel()
        assert engine.wait() == -signal.SIGINT
    assert "1 processes" in said[0]
    assert environment.up().counts == {}


def test_a_plugin_without_its_engine_is_ended_and_holds_nothing_up(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened(environment, monkeypatch, FakeStack())
    with headless(environment, tmp_path, "plugin") as plugin:
        environment.up()
        assert plugin.wait() == -signal.SIGKILL


def test_a_state_that_was_brought_back_is_held_against_aws_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(GOOD)
    said: list[str] = []
    stack = FakeStack()
    environment = opened(Environment("dev", directory=tmp_path, stack_files=tmp_path, say=said.append), monkeypatch, stack)
    state = StateFile(tmp_path / "dev.json", tmp_path / "copies" / "dev.json", tmp_path / "locks")
    state.path.write_text("{}")
    state.keep()
    state.path.write_text("{")
    monkeypatch.setattr(environment, "state_file", lambda: state)
    environment.up()
    assert "cut off" in said[0]
    assert stack.done == ["refresh", "up"]
    assert state.path.read_text() == "{}"


# What the stack file alone shows


def refused(tmp_path: Path, text: str, name: str = "dev", *, on_local_cloud: bool = False) -> str:
    """What `up` says of a stack file, before anything is started."""
    (tmp_path / f"Pulumi.{name}.yaml").write_text(text)
    environment = Environment(name, on_local_cloud=on_local_cloud, directory=tmp_path, stack_files=tmp_path)
    told: set[str] = set()
    for run in (environment.plan, environment.up):
        with pytest.raises(UsageError) as caught:
            run()
        told.add(str(caught.value))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"Pulumi.{name}.yaml"], "nothing was started or written"
    return told.pop() if len(told) == 1 else "not alike"


def test_a_typo_is_told_before_anything_is_started(tmp_path: Path) -> None:
    text = (
        GOOD.replace("zone:", "zoen:")
        + "  edge-inferenc:tags: {a: b}\n  edge-inference:protect: true\n  edge-inference:protect: true\n"
    )
    told = refused(tmp_path, text)
    assert told.startswith("4 problems in the configuration of stack 'dev'; nothing was changed.")
    for word in ("did you mean zone?", "did you mean edge-inference:tags?", "stands there twice, first on line"):
        assert word in told


def test_a_rehearsal_is_refused_for_the_same_but_for_what_gets_stand_ins(tmp_path: Path) -> None:
    text = "config: {'edge-inference:sites': [{zone: us-west-2a, replicas: true}], 'edge-inference:hostKeySecret': f00d}\n"
    told = refused(tmp_path, text, on_local_cloud=True)
    assert told.startswith("2 problems in the configuration")
    assert "stands in clear" in told
    assert "f00d" not in told


def test_a_secret_of_which_a_part_stands_in_clear(tmp_path: Path) -> None:
    told = refused(tmp_path, f"{GOOD}  edge-inference:apiKeys: {{a: {{secure: 'v1:x'}}, b: in-clear-in-clear}}\n")
    assert "apiKeys\n    stands in clear" in told
    assert "in-clear-in-clear" not in told


def test_too_many_networks_are_told_beside_a_missing_routing(tmp_path: Path) -> None:
    clients = ", ".join(f"8.8.{number}.0/24" for number in range(70))
    text = GOOD.replace("clientCidrs: [8.8.8.8/32]", f"clientCidrs: [{clients}]").replace("{policy: none}", "{}")
    told = refused(tmp_path, text)
    assert told.startswith("2 problems")
    assert "70 networks" in told
    assert "missing domain and hostedZone" in told


def test_what_comes_from_elsewhere_is_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment of Pulumi's own service may hold it."""
    (tmp_path / "Pulumi.dev.yaml").write_text("environment: [ours]\nconfig: {}\n")
    environment = Environment("dev", directory=tmp_path, stack_files=tmp_path)
    environment.require_sound_file()
    (tmp_path / "Pulumi.dev.yaml").write_text("environment: [ours]\nconfig: {a:b: 010}\n")
    with pytest.raises(UsageError, match="1 problem"):
        environment.require_sound_file()
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    given = {"edge-inference:sites": [{"zone": "us-west-2a"}], "edge-inference:routing": {"policy": "none"}}
    monkeypatch.setattr("automation.engine.deployed.project_defaults", lambda: given)
    with pytest.raises(UsageError, match="4 problems"):
        environment.require_sound_file()


def test_outputs_and_config_are_read_at_once(environment: Environment, tmp_path: Path) -> None:
    """Two processes of the engine, each of which waits for the other."""
    program = f"""#!{sys.executable}
import os, pathlib, sys, time
folder = pathlib.Path({str(tmp_path)!r})
own, other = ("config", "stack") if "config" in sys.argv else ("stack", "config")
(folder / f"asked-{{own}}").touch()
while not (folder / f"asked-{{other}}").exists(): time.sleep(0.01)
if own == "config":
    print('{{"edge-inference:apiKey": {{"value": "k", "secret": true}}}}')
else:
    print('{{"deployment": {{"resources": [{{"type": "pulumi:pulumi:Stack", "urn": "::dev", "outputs": {{"stack": "dev"}}}}]}}}}')
"""
    engine = tmp_path / "pulumi"
    engine.write_text(program)
    engine.chmod(0o755)
    environment.__dict__["engine"] = (engine, "3.230.0")
    outputs, config = environment.outputs_and_config()
    assert (outputs, config.values) == ({"stack": "dev"}, {"edge-inference:apiKey": "k"})
