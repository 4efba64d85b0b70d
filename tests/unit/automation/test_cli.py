"""`edge`: help with examples, results on standard output, words on standard error, exit codes and no traceback."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main

from automation import cli
from automation.commands import cloud
from automation.environment import Changes
from automation.errors import DeploymentFailedError, EnvironmentBusyError, NothingDeployedError
from automation.paths import LOCAL_DIRECTORY
from localcloud import client
from localcloud.client import CloudError

OUTPUTS: dict[str, Any] = {
    "service_url": "http://llm.edge.internal:8080",
    "endpoint_urls": {"us-west-2a": "http://127.1.2.3:8080", "us-west-2-lax-1a": None},
    "sites": {},
}


class FakeEnvironment:
    """An environment that does what a test wants."""

    def __init__(self, name: str = "local", *, on_local_cloud: bool = True) -> None:
        self.name, self.on_local_cloud = name, on_local_cloud
        self.stand_ins = ("access.sshCidrs: 127.0.0.1/32",)
        self.done: list[str] = []
        self.config: set[str] = set()
        self.fails: Exception | None = None
        self.counts = {"create": 3}

    def _run(self, name: str) -> Changes:
        self.done.append(name)
        if self.fails:
            raise self.fails
        return Changes(self.counts, 1.5, OUTPUTS)

    def up(self, on_event: object) -> Changes:
        del on_event
        return self._run("up")

    def preview(self, on_event: object) -> Changes:
        del on_event
        return self._run("preview")

    def destroy(self, on_event: object) -> Changes:
        del on_event
        return self._run("destroy")

    def outputs(self) -> dict[str, Any]:
        self._run("outputs")
        return OUTPUTS

    def has_config(self, key: str) -> bool:
        return key in self.config

    def store_secrets(self, values: dict[str, str]) -> None:
        self.done.append(f"store {' '.join(values)}")

    def shell_variables(self) -> dict[str, str]:
        return {"AWS_ENDPOINT_URL": "http://127.0.0.1:4599", "PULUMI_HOME": "/a folder/$x", "PATH": "/a/bin:$PATH"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> FakeEnvironment:
    fake = FakeEnvironment()

    def opened(name: str, *, on_local_cloud: bool, say: object) -> FakeEnvironment:
        del say
        fake.name, fake.on_local_cloud = name, on_local_cloud or name == "local"
        return fake

    monkeypatch.setattr("automation.environment.Environment", opened)
    return fake


class Shell:
    """Runs `edge` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def edge(self, line: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        self._monkeypatch.setattr(sys, "argv", ["edge", *shlex.split(line)])
        code: object = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        assert isinstance(code, int)
        return code, captured.out, captured.err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def commands(command: Any, path: str = "edge") -> Iterator[tuple[str, Any]]:
    """Every command and group with its full name."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{path} {name}")


COMMANDS = dict(commands(typer.main.get_command(cli.app)))


def test_all_promised_commands_are_there() -> None:
    promised = {f"edge {name}" for name in ("up", "preview", "destroy", "outputs", "keys", "env local")}
    assert promised | {f"edge cloud {name}" for name in ("start", "stop", "status", "logs")} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert "Example: " in command.help
    assert "edge" in command.help.partition("Example: ")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option) or getattr(parameter, "param_type_name", "") == "option":
            assert getattr(parameter, "help", None), parameter.name


def test_help_is_shown(shell: Shell) -> None:
    code, out, _ = shell.edge("up --help")
    assert code == 0
    assert "Example: edge up local" in out


def test_help_comes_without_loading_the_engine() -> None:
    """It must come at once."""
    program = "import sys; from automation import cli; print(sorted({'pulumi', 'boto3', 'moto'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_up_says_what_it_did_and_how_to_go_on(shell: Shell, environment: FakeEnvironment) -> None:
    code, out, err = shell.edge("up local")
    assert (code, environment.done) == (0, ["up"])
    assert "local cloud (simulated AWS)" in err
    assert "Done: 3 create (1.5 s)." in err
    assert "http://llm.edge.internal:8080" in out
    assert "us-west-2-lax-1a   does not serve" in out
    assert "curl -N http://127.1.2.3:8080/generate_stream" in out


def test_up_without_changes(shell: Shell, environment: FakeEnvironment) -> None:
    environment.counts = {"same": 65}
    assert "No changes: 65 same" in shell.edge("up local")[2]


@pytest.mark.parametrize("command", ["up", "preview", "destroy"])
def test_json_stands_alone_on_standard_output(shell: Shell, environment: FakeEnvironment, command: str) -> None:
    environment.on_local_cloud = True
    code, out, _ = shell.edge(f"{command} local --json")
    assert code == 0
    printed = json.loads(out)
    assert printed["changes"] == {"create": 3}
    assert printed["seconds"] == 1.5
    assert command != "up" or printed["outputs"] == OUTPUTS


def test_outputs_json_is_exactly_the_contract(shell: Shell, environment: FakeEnvironment) -> None:
    code, out, err = shell.edge("outputs local --json")
    assert (code, json.loads(out), err) == (0, OUTPUTS, "")
    assert environment.done == ["outputs"]


def test_rehearsal_names_its_stand_ins(shell: Shell, environment: FakeEnvironment) -> None:
    _, _, err = shell.edge("up prod --local")
    assert environment.on_local_cloud
    assert "stand-in  access.sshCidrs: 127.0.0.1/32" in err


def test_preview_says_would(shell: Shell, environment: FakeEnvironment) -> None:
    assert "Would change: 3 create" in shell.edge("preview prod")[2]
    assert environment.done == ["preview"]


@pytest.mark.parametrize("command", ["up", "destroy"])
def test_aws_is_not_touched_unasked(
    shell: Shell, environment: FakeEnvironment, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """There is no terminal here to ask on."""
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: PTH123, SIM115 # pytest puts the old one back
    code, _, err = shell.edge(f"{command} prod")
    assert code == 2
    assert "--yes" in err
    assert command not in environment.done


@pytest.mark.parametrize("command", ["up", "destroy"])
def test_yes_does_not_ask(shell: Shell, environment: FakeEnvironment, command: str) -> None:
    code, _, err = shell.edge(f"{command} prod --yes")
    assert (code, environment.done) == (0, [command])
    assert "on AWS" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NothingDeployedError("'local' is not deployed\n  -> edge up local"), 3),
        (EnvironmentBusyError("another run is at work\n  -> wait"), 5),
        (DeploymentFailedError("up", ["us-west-2a-1-host: no capacity"]), 6),
        (CloudError("port 4599 is taken"), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_failures_are_one_text_and_an_exit_code(shell: Shell, environment: FakeEnvironment, error: Exception, code: int) -> None:
    environment.fails = error
    ended, out, err = shell.edge("up local --json")
    assert ended == code
    assert out == ""
    assert str(error) in err


@pytest.mark.parametrize("line", ["up", "upp local", "up local --jsn", "cloud start --port x"])
def test_wrong_usage(shell: Shell, line: str) -> None:
    assert shell.edge(line)[0] == 2


def test_unknown_environment(shell: Shell) -> None:
    code, _, err = shell.edge("up nowhere")
    assert code == 2
    assert "known are dev, local, prod" in err


# Keys, variables, cloud


def test_keys_are_made_and_stored_and_never_shown(shell: Shell, environment: FakeEnvironment) -> None:
    code, out, err = shell.edge("keys prod")
    assert code == 0
    assert environment.done == ["store edge-inference:sshPrivateKey edge-inference:hostKeySecret"]
    assert "PRIVATE" not in out + err


def test_only_the_missing_key_is_made(shell: Shell, environment: FakeEnvironment) -> None:
    environment.config = {"edge-inference:sshPrivateKey"}
    shell.edge("keys prod")
    assert environment.done == ["store edge-inference:hostKeySecret"]


def test_keys_are_never_overwritten(shell: Shell, environment: FakeEnvironment) -> None:
    environment.config = {"edge-inference:sshPrivateKey", "edge-inference:hostKeySecret"}
    code, _, err = shell.edge("keys prod")
    assert (code, environment.done) == (2, [])
    assert "-> " in err


def test_variables_survive_the_shell(shell: Shell, environment: FakeEnvironment) -> None:
    _, out, _ = shell.edge("env local")
    assert environment.on_local_cloud
    program = f'{out}\nprintf "%s\\n" "$AWS_ENDPOINT_URL" "$PULUMI_HOME" "$PATH"'
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"})
    assert done.stdout.splitlines() == ["http://127.0.0.1:4599", "/a folder/$x", "/a/bin:/usr/bin:/bin"]


def no_cloud(directory: Path) -> None:
    assert directory == LOCAL_DIRECTORY


def test_cloud_status_when_it_does_not_run(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "status", no_cloud)
    code, out, err = shell.edge("cloud status")
    assert (code, out) == (4, "")
    assert "edge cloud start" in err


def test_cloud_status(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    host: dict[str, Any] = {
        "instance_id": "i-1",
        "zone": "us-west-2a",
        "address": "127.1.2.3",
        "state": "running",
        "containers": [],
    }
    described: dict[str, Any] = {
        "world": "w",
        "dns_port": 4553,
        "hosts": [host],
        "problems": ["port 8080 of 127.1.2.3 is taken"],
    }

    class Running(client.CloudStatus):
        def request(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
            assert (method, path, body) == ("GET", "status", None)
            return described

    def running(directory: Path) -> client.CloudStatus:
        return Running(directory, "w", 1, 4599, "http://127.0.0.1:4599", "now")

    monkeypatch.setattr(client, "status", running)
    _, out, _ = shell.edge("cloud status")
    assert "DNS at 127.0.0.1, port 4553" in out
    assert "i-1  us-west-2a  127.1.2.3  running  no container" in out
    assert "problem: port 8080 of 127.1.2.3 is taken" in out
    assert json.loads(shell.edge("cloud status --json")[1]) == described


@pytest.mark.parametrize(("ran", "word"), [(True, "is stopped"), (False, "not running")])
def test_cloud_stop(shell: Shell, monkeypatch: pytest.MonkeyPatch, ran: bool, word: str) -> None:
    def stop(directory: Path) -> bool:
        return directory == LOCAL_DIRECTORY and ran

    monkeypatch.setattr(client, "stop", stop)
    code, _, err = shell.edge("cloud stop")
    assert code == 0
    assert word in err


def test_cloud_logs(shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cloud, "LOCAL_DIRECTORY", tmp_path)
    code, _, err = shell.edge("cloud logs")
    assert code == 2
    assert "edge cloud start" in err
    (tmp_path / "cloud.log").write_text("one\ntwo\nthree\n")
    assert shell.edge("cloud logs -n 2")[1] == "two\nthree\n"
