"""`edge`: help with examples, results on standard output, words on standard error, exit codes and no traceback."""

import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main

from automation import cli
from automation.account.orphans import Thing
from automation.account.prices import price_change
from automation.account.sweep import Swept
from automation.commands import cloud, terminal
from automation.commands.options import full_zone
from automation.commands.terminal import say
from automation.engine.advice import Commands
from automation.engine.config_plan import ConfigChange, ConfigPlan
from automation.engine.events import Diagnostic, OnEvent
from automation.engine.results import Changes, DeployedSite, Drift, Inventory, Plan, ResourceChange
from automation.errors import (
    DeploymentFailedError,
    EdgeError,
    EnvironmentBusyError,
    ForeignAccountError,
    InterruptedRunError,
    NothingDeployedError,
    ProtectedError,
    SiteFailure,
    UsageError,
)
from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT
from automation.sites.ask import OnText, Question, Reply
from automation.sites.serving import Answer
from automation.sites.way import Way
from localcloud import client, keys
from localcloud.client import CloudError
from ttft.errors import TtftError

OUTPUTS: dict[str, Any] = {
    "service_url": "http://llm.edge.internal:8080",
    "endpoint_urls": {"us-west-2a": "http://127.1.2.3:8080", "us-west-2-lax-1a": None},
    "sites": {
        zone: {"instance_type": "g4dn.2xlarge", "replicas": [{"instance_id": instance_id, "served": bool(instance_id)}]}
        for zone, instance_id in (("us-west-2a", "i-1"), ("us-west-2-lax-1a", None))
    },
}
LOG = Path("/logs/prod-up.log")
CONFIG = ConfigPlan(
    is_first=False,
    changes=(
        ConfigChange("access.clientCidrs", "added", "203.0.113.0/24", None, "203.0.113.0/24"),
        ConfigChange("access.clientCidrs", "removed", "198.51.100.7/32", "198.51.100.7/32", None),
    ),
    for_good=("opts the AWS account in to zone group us-west-2-den-1; only AWS Support takes that back",),
)


class FakeEnvironment:
    """An environment that does what a test wants."""

    def __init__(self, name: str = "local", *, on_local_cloud: bool = True) -> None:
        self.name, self.on_local_cloud = name, on_local_cloud
        self.stand_ins = ("access.sshCidrs: 127.0.0.1/32",)
        self.done: list[str] = []
        self.config: set[str] = set()
        self.fails: Exception | None = None
        self.counts = {"create": 3}
        self.resources: tuple[ResourceChange, ...] = ()
        self.left: tuple[Thing, ...] = ()

    @property
    def arguments(self) -> str:
        return Commands(self.name, is_rehearsal=self.on_local_cloud and self.name != "local").arguments

    def file_values(self) -> dict[str, Any]:
        raise UsageError("its stack file cannot be read")

    def _run(self, name: str, on_event: OnEvent | None = None) -> Changes:
        self.done.append(name)
        if on_event:
            on_event(Diagnostic(seconds=0.5, severity="warning", text="the quota is unknown"))
        if self.fails:
            raise self.fails
        return Changes(self.counts, 1.5, OUTPUTS, resources=self.resources, log=LOG)

    def up(self, on_event: OnEvent, **_: object) -> Changes:
        return self._run("up", on_event)

    def plan(self, on_event: OnEvent | None = None) -> Plan:
        changes = self._run("plan", on_event)
        price = price_change([], [("us-west-2a", "g4dn.2xlarge")])
        return Plan(changes.counts, changes.seconds, resources=changes.resources, log=LOG, price=price, config=CONFIG)

    def refresh(self, on_event: OnEvent) -> Changes:
        return self._run("refresh", on_event)

    def drift(self, on_event: OnEvent | None = None) -> Drift:
        self._run("drift", on_event)
        return Drift(self.resources, 1.5, LOG)

    def plan_destroy(self) -> Inventory:
        self._run("plan_destroy")
        return Inventory(73, {"us-west-2a": DeployedSite("g4dn.2xlarge", 2)}, "111122223333", (), ())

    def destroy(self, on_event: OnEvent) -> Changes:
        return self._run("destroy", on_event)

    def orphans(self) -> tuple[Thing, ...]:
        return self.left

    def sweep(self, chosen: Sequence[Thing]) -> Swept:
        self.done.append("sweep")
        return Swept(tuple(chosen), ())

    def unprotect(self, zone: str | None) -> tuple[str, ...]:
        self.done.append(f"unprotect {zone}")
        return ("us-west-2a-1-host",)

    def cancel(self) -> None:
        self._run("cancel")

    def planned_replicas(self) -> dict[str, int]:
        return {"us-west-2a": 1, "us-west-2-lax-1a": 1}

    def outputs(self) -> dict[str, Any]:
        self.done.append("outputs")
        return OUTPUTS

    def ask(self, question: Question, on_text: OnText) -> Reply:
        self.done.append(f"ask {question.text} {question.origin} {question.zone} {question.max_tokens}")
        for text in ("Near ", "\x1b you."):
            on_text(text)
        if self.fails:
            raise self.fails
        zone, chosen = "us-west-2-hnl-1a", "as the local cloud answers users in Honolulu"
        way = Way(zone, "127.1.2.4", "http://llm.edge.internal:8080", chosen)
        return Reply(way, "Honolulu", "/v1/chat/completions", "Near \x1b you.", 2, 12.3, 34.0, self.on_local_cloud)

    def serving(self, outputs: dict[str, Any]) -> dict[str, Answer]:
        urls = outputs["endpoint_urls"]
        return {f"{zone}-1": Answer("serves" if urls[zone] else "dead", "") for zone in outputs["sites"]}

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


SCREEN_LINES, SCREEN_COLUMNS = 24, 80
COMMANDS = dict(commands(typer.main.get_command(cli.app)))


def test_all_promised_commands_are_there() -> None:
    promised = {
        f"edge {name}"
        for name in (
            "plan",
            "preview",
            "up",
            "refresh",
            "drift",
            "destroy",
            "unprotect",
            "cancel",
            "outputs",
            "keys",
            "env local",
        )
    }
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


NAMES = [name for name in COMMANDS["edge"].commands if not COMMANDS[f"edge {name}"].hidden]


@pytest.mark.parametrize("name", NAMES)
def test_help_of_edge_says_in_a_line_what_a_command_does(shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", str(SCREEN_COLUMNS))
    (line,) = (line for line in shell.edge("--help")[1].splitlines() if line[15:].split("  ")[0] == name)
    assert line[28:].endswith(".")
    assert not line.endswith("..."), "the first sentence of a command's help has 52 characters at most"


def test_version(shell: Shell) -> None:
    assert shell.edge("--version") == (0, f"edge {metadata.version('edge-inference')}\n", "")


def test_help_is_shown(shell: Shell) -> None:
    code, out, _ = shell.edge("up --help")
    assert code == 0
    assert "Example: edge up local" in out


EDGE = "import sys; sys.argv[0] = 'edge'; from automation.cli import main; main()"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], None),
        (["up", "--help"], None),
        (["cloud", "start", "--help"], None),
        ([], "edge up "),
        ([], "edge unprotect prod us-west-2-"),
        ([], "edge bench local --rounds 3 --conn"),
    ],
)
def test_help_and_completion_load_nothing_heavy(arguments: list[str], words: str | None) -> None:
    """They must come at once."""
    heavy = "{'pulumi', 'boto3', 'moto', 'pydantic', 'rich', 'requests'}"
    watched = f"import atexit, sys; atexit.register(lambda: print(sorted({heavy} & set(sys.modules)), file=sys.stderr)); {EDGE}"
    completing = (
        {"_EDGE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)} if words else {}
    )
    command = [sys.executable, "-c", watched, *arguments]
    done = subprocess.run(command, env={**os.environ, **completing}, capture_output=True, text=True, check=True)
    assert done.stdout
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bench local --rounds many", "Invalid value for '--rounds'"),
        ("bench local --connection tepid", "Invalid value for '--connection'"),
        ("logs local us-west-2a -n 0", "Invalid value for '--lines'"),
    ],
)
def test_values_are_still_checked_where_something_is_run(shell: Shell, line: str, words: str) -> None:
    code, _, err = shell.edge(line)
    assert code == 2
    assert words in err


def test_up_says_what_it_did_and_how_to_go_on(shell: Shell, environment: FakeEnvironment) -> None:
    code, out, err = shell.edge("up local")
    assert (code, environment.done) == (0, ["up"])
    assert "local cloud (simulated AWS)" in err
    assert "Done: 3 create (1.5 s)." in out
    assert "http://llm.edge.internal:8080" in out
    assert "us-west-2-lax-1a   has no address yet" in out
    assert 'ask       edge ask local "What is the edge?"\n' in out
    assert max(map(len, out.splitlines())) <= 80


def test_an_answer_is_the_result_and_who_gave_it_is_talk(shell: Shell, environment: FakeEnvironment) -> None:
    code, out, err = shell.edge('ask prod --local --from Honolulu --max-tokens 5 "What is the edge?"')
    assert (code, out) == (0, "Near \\x1b you.\n")
    assert environment.done == ["ask What is the edge? Honolulu None 5"]
    assert err == (
        "us-west-2-hnl-1a (Honolulu) answered: as the local cloud answers users in Honolulu.\n"
        "First token after 12 ms, 2 tokens in 34 ms, simulated as the model and the network are.\n"
    )


def test_an_answer_as_json_is_alone_on_standard_output(shell: Shell, environment: FakeEnvironment) -> None:
    code, out, err = shell.edge('ask prod --local --zone us-west-2-hnl-1a --json "Hm?"')
    assert (code, err, environment.done) == (0, "", ["ask Hm? None us-west-2-hnl-1a 128"])
    told = json.loads(out)
    assert (told["zone"], told["text"], told["first_token_ms"], told["simulated"]) == (
        "us-west-2-hnl-1a", "Near \x1b you.", 12.3, True
    )  # fmt: skip


def test_an_answer_that_breaks_off_keeps_what_came(shell: Shell, environment: FakeEnvironment) -> None:
    environment.fails = EdgeError("the site broke off its answer")
    code, out, err = shell.edge('ask prod "Hm?"')
    assert (code, out, err) == (1, "Near \\x1b you.\n", "error: the site broke off its answer\n")


def test_up_without_changes(shell: Shell, environment: FakeEnvironment) -> None:
    environment.counts = {"same": 65}
    assert "No changes: 65 same" in shell.edge("up local")[1]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("command", ["up", "refresh", "destroy"])
def test_events_are_json_lines_and_the_result_is_last(shell: Shell, command: str) -> None:
    code, out, err = shell.edge(f"{command} local --json")
    first, *_, last = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert (first["event"], first["text"]) == ("diagnostic", "the quota is unknown")
    assert (last["event"], last["operation"], last["changes"], last["seconds"]) == ("result", command, {"create": 3}, 1.5)
    assert last["log"] == str(LOG)
    assert command != "up" or (last["outputs"] == OUTPUTS and err == "")


@pytest.mark.parametrize("command", ["plan", "preview"])
def test_a_plan_is_one_json(shell: Shell, environment: FakeEnvironment, command: str) -> None:
    environment.resources = (ResourceChange("us-west-2a-1-host", "Instance", "update", ("tags",)),)
    _, out, err = shell.edge(f"{command} local --json")
    printed = json.loads(out)
    assert printed["changes"] == {"create": 3}
    assert [each["what"] for each in printed["config"]["changes"]] == ["203.0.113.0/24", "198.51.100.7/32"]
    assert printed["resources"][0]["differs"] == ["tags"]
    assert printed["price"]["planned"]["dollars_per_hour"] == printed["price"]["change"]["dollars_per_hour"] == 0.752
    assert printed["price"]["simulated"] is True
    assert err == ""


def test_a_failure_is_the_last_json_line_too(shell: Shell, environment: FakeEnvironment) -> None:
    environment.fails = DeploymentFailedError("up", ["x: no capacity"], {"us-west-2a": SiteFailure("host", ("x: no capacity",))})
    environment.fails.log = LOG
    code, out, err = shell.edge("up local --json")
    last = json.loads(out.splitlines()[-1])
    assert (code, last["event"], last["exit_code"], last["log"]) == (6, "failed", 6, str(LOG))
    assert last["sites"] == {"us-west-2a": {"stage": "host", "reasons": ["x: no capacity"]}}
    assert "error: x: no capacity" in err


def test_outputs_json_is_exactly_the_contract(shell: Shell, environment: FakeEnvironment) -> None:
    code, out, err = shell.edge("outputs local --json")
    assert (code, json.loads(out), err) == (0, OUTPUTS, "")
    assert environment.done == ["outputs"]


def test_rehearsal_names_its_stand_ins(shell: Shell, environment: FakeEnvironment) -> None:
    _, _, err = shell.edge("up prod --local")
    assert environment.on_local_cloud
    assert "stand-in  access.sshCidrs: 127.0.0.1/32" in err


@pytest.mark.parametrize("command", ["plan", "preview"])
def test_a_plan_is_on_standard_output_in_the_configs_terms(shell: Shell, environment: FakeEnvironment, command: str) -> None:
    environment.resources = (ResourceChange("us-west-2a-1-host", "Instance", "create"),)
    code, out, err = shell.edge(f"{command} prod")
    assert (code, environment.done) == (0, ["plan"])
    lines = out.splitlines()
    assert lines[:7] == [
        "'prod' on AWS:",
        "callers   + 203.0.113.0/24",
        "          - 198.51.100.7/32",
        "for good  opts the AWS account in to zone group us-west-2-den-1; only AWS",
        "            Support takes that back",
        "change    +$0.752 per hour (+$548.96 per month) against what runs now",
        "price     $0.752 per hour ($548.96 per month) for 1 GPU instance",
    ]
    assert lines[7].startswith("          list prices of 2026-01-21")
    assert lines[-1].endswith("source: edge cost prod")
    assert max(map(len, lines)) <= 80
    assert "Plan: 'prod' on AWS\n" in err
    assert "us-west-2a-1-host" not in out + err, "the engine's resources come with --details"
    assert "3 create\n  create   us-west-2a-1-host  Instance\n" in shell.edge(f"{command} prod --details")[1]


@pytest.mark.usefixtures("environment")
def test_a_plan_of_the_local_cloud_says_that_nothing_is_billed(shell: Shell) -> None:
    assert "here nothing is billed: all is simulated" in shell.edge("plan local")[1]


def test_the_question_before_a_deployment_says_what_it_costs(
    shell: Shell, environment: FakeEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: PTH123, SIM115 # pytest puts the old one back
    _, _, err = shell.edge("up prod")
    assert environment.done == ["plan"]
    assert "change    +$0.752 per hour" in err
    assert "Deploy 'prod' to AWS, at $0.752 per hour ($548.96 per month) for 1 GPU instance?" in err


@pytest.mark.usefixtures("environment")
def test_up_ends_with_price_and_log(shell: Shell) -> None:
    _, out, err = shell.edge("up prod --yes")
    assert "price     $0.752 per hour ($548.96 per month) for 1 GPU instance\n" in out
    assert "list prices of 2026-01-21" in out
    assert err.splitlines()[-1] == f"log       {LOG}"
    assert "all is simulated" in shell.edge("up local")[1]


def test_one_site_that_fails_is_told_with_what_serves_and_what_to_run(shell: Shell, environment: FakeEnvironment) -> None:
    cause = "InsufficientInstanceCapacity: We currently do not have sufficient g4dn.2xlarge capacity in this zone"
    environment.fails = DeploymentFailedError("up", (cause,), {"us-west-2-lax-1a": SiteFailure("host", (cause,))})
    environment.fails.log = LOG
    code, _, err = shell.edge("up prod --local")
    assert code == 6
    assert err.count(cause) == 1, "whole, and once"
    assert "1 of 2 sites failed:\n  us-west-2a        serves http://127.1.2.3:8080\n" in err
    assert "  us-west-2-lax-1a  failed at host\n  -> edge up prod --local " in err
    assert err.count(str(LOG)) == 1


def test_drift_has_an_exit_code_of_its_own(shell: Shell, environment: FakeEnvironment) -> None:
    code, out, _ = shell.edge("drift prod")
    assert (code, out) == (0, "No drift: AWS is as the state says (1.5 s).\n")
    environment.resources = (
        ResourceChange("us-west-2a-1-host", "Instance", "update", ("tags.Name",)),
        ResourceChange("us-west-2a-1-address", "Eip", "delete"),
    )
    code, out, _ = shell.edge("drift prod")
    assert code == 7
    assert out.splitlines()[:2] == ["us-west-2a-1-host  Instance  differs: tags.Name", "us-west-2a-1-address  Eip  is gone"]
    assert "edge refresh prod && edge up prod" in out
    code, out, _ = shell.edge("drift prod --json")
    assert (code, len(json.loads(out)["drift"])) == (7, 2)


def test_destroy_shows_first_what_goes_and_what_stops(shell: Shell, environment: FakeEnvironment) -> None:
    _, _, err = shell.edge("destroy prod --yes")
    assert environment.done == ["plan_destroy", "destroy"]
    assert "'prod' on AWS: 73 resources go, with them:\n  us-west-2a         2 x g4dn.2xlarge\n" in err
    assert "stops: $1.504 per hour ($1097.92 per month) for 2 GPU instances" in err


def test_destroy_of_nothing_names_no_price_and_asks_nothing(
    shell: Shell, environment: FakeEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "plan_destroy", lambda: Inventory(0, {}, None, (), ()))
    code, _, err = shell.edge("destroy prod")
    assert (code, environment.done) == (0, ["destroy"])
    assert "'prod' on AWS: nothing is deployed.\n" in err
    assert "per hour" not in err


LEFT = Thing("instance", "i-0left", "us-west-2", "us-west-2a", "our-id", instance_type="g4dn.2xlarge")


@pytest.mark.parametrize(("arguments", "code", "done"), [("prod --yes", 0, ["sweep"]), ("prod", 2, []), ("local", 0, ["sweep"])])
def test_sweep_lists_asks_and_removes(
    shell: Shell, environment: FakeEnvironment, arguments: str, code: int, done: list[str]
) -> None:
    environment.left = (LEFT,)
    found, out, err = shell.edge(f"sweep {arguments}")
    assert (found, environment.done) == (code, done)
    assert "instance  i-0left  us-west-2a  $0.752 per hour" in out
    assert ("--yes" in err) == (code == 2)


def test_sweep_of_nothing_removes_nothing(shell: Shell, environment: FakeEnvironment) -> None:
    assert shell.edge("sweep prod")[0] == 0
    assert environment.done == []


def test_what_cannot_be_swept_is_exit_code_10(
    shell: Shell, environment: FakeEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.left = (LEFT,)

    def refused(_: object) -> Swept:
        return Swept((), ((LEFT, "UnauthorizedOperation"),))

    monkeypatch.setattr(environment, "sweep", refused)
    code, _, err = shell.edge("sweep prod --yes")
    assert (code, "-> edge sweep prod" in err) == (10, True)


def test_destroy_sweeps_first_where_it_may(shell: Shell, environment: FakeEnvironment) -> None:
    """What the state does not know can be in the way of what it does."""
    environment.left = (LEFT,)
    code, out, err = shell.edge("destroy prod --yes --json")
    assert (code, environment.done) == (0, ["plan_destroy", "sweep", "destroy"])
    assert "i-0left" in err
    assert "i-0left" not in out


def test_protection_is_taken_off_by_name(shell: Shell, environment: FakeEnvironment) -> None:
    code, out, _ = shell.edge("unprotect prod us-west-2a --yes")
    assert (code, environment.done) == (0, ["unprotect us-west-2a"])
    assert out.startswith("us-west-2a-1-host\n1 resource is not protected any more; the next `up` protects it again")


def test_cancel_says_what_comes_next(shell: Shell, environment: FakeEnvironment) -> None:
    code, out, _ = shell.edge("cancel prod --local")
    assert (code, environment.done) == (0, ["cancel"])
    assert "edge refresh prod --local" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_screen(shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", str(SCREEN_COLUMNS))
    _, out, _ = shell.edge(f"{name.removeprefix('edge').strip()} --help")
    lines = out.rstrip().splitlines()
    # `edge` itself has a line for each command.
    assert len(lines) < SCREEN_LINES + (len(NAMES) if name == "edge" else 0)
    assert max(map(len, lines)) <= SCREEN_COLUMNS
    assert "Example: " in out
    assert out.isascii()


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("edge up ", ["dev", "local", "prod"]),
        ("edge plan p", ["prod"]),
        ("edge unprotect prod us-west-2-", ["us-west-2-lax-1a", "us-west-2-hnl-1a"]),
        ("edge unprotect prod hn", ["hnl"]),
        ("edge unprotect nowhere ", []),
        ("edge dri", ["drift"]),
    ],
)
def test_completion(words: str, completed: list[str]) -> None:
    variables = {"_EDGE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", EDGE], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == completed


@pytest.mark.parametrize("command", ["up", "destroy", "unprotect"])
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
    assert (code, environment.done[-1]) == (0, command)
    assert "plan" not in environment.done
    assert "on AWS" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NothingDeployedError("'local' is not deployed\n  -> edge up local"), 3),
        (EnvironmentBusyError("another run is at work\n  -> wait"), 5),
        (DeploymentFailedError("up", ["us-west-2a-1-host: no capacity"]), 6),
        (ProtectedError("'prod' is protected"), 8),
        (ForeignAccountError("another account"), 9),
        (InterruptedRunError(1, "stopped as asked"), 130),
        (CloudError("port 4599 is taken"), 1),
        (TtftError("x.html cannot be written"), 2),
        (PermissionError(13, "Permission denied", "/logs/prod.lock"), 1),
        (OSError(28, "No space left on device"), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_failures_are_one_text_and_an_exit_code(shell: Shell, environment: FakeEnvironment, error: Exception, code: int) -> None:
    environment.fails = error
    ended, out, err = shell.edge("up local --json")
    assert ended == code
    assert json.loads(out.splitlines()[-1])["event"] == ("failed" if isinstance(error, EdgeError) else "diagnostic")
    expected = {"PermissionError": "/logs/prod.lock: Permission denied", "OSError": f"No space left on device: {Path.cwd()}"}
    assert expected.get(type(error).__name__, str(error)) in err


@pytest.mark.parametrize("line", ["up", "upp local", "up local --jsn", "cloud start --port x"])
def test_wrong_usage(shell: Shell, line: str) -> None:
    assert shell.edge(line)[0] == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("zones --near honululu", "error: no city 'honululu' is on the map\n  -> Honolulu\n"),
        ("resolve local --from honululu", "error: no city 'honululu' is on the map\n  -> Honolulu\n"),
        ("zones --near Atlantis", "error: no city 'Atlantis' is on the map\n  -> Atlanta\n"),
        ("zones --near Qqq", "error: no city 'Qqq' is on the map\n  -> one of Amsterdam, Anchorage, Atlanta, "),
    ],
)
def test_unknown_city(shell: Shell, line: str, said: str) -> None:
    code, out, err = shell.edge(line)
    assert (code, out) == (2, "")
    assert err.startswith(said)


@pytest.fixture
def environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of stack files, in place of ours."""
    for room in ("options", "environments"):
        monkeypatch.setattr(f"automation.commands.{room}.PROJECT_ROOT", tmp_path)
    monkeypatch.delenv("EDGE_ENV", raising=False)
    return tmp_path


def _stack_file(folder: Path, name: str, *zones: str) -> None:
    sites = "".join(f"    - zone: {zone}\n" for zone in zones)
    (folder / f"Pulumi.{name}.yaml").write_text(f"config:\n  edge-inference:sites:\n{sites}", encoding="utf-8")


def test_the_only_environment_need_not_be_named(shell: Shell, environment: FakeEnvironment, environments: Path) -> None:
    _stack_file(environments, "tokyo", "us-west-2a")
    assert shell.edge("outputs")[0] == 0
    assert environment.name == "tokyo"
    assert shell.edge('ask "What is the edge?"')[0] == 0
    assert environment.done[-1] == "ask What is the edge? None None 128"
    assert shell.edge("outputs --help")[0] == 0


def test_of_several_environments_one_is_named_or_chosen_by_a_variable(
    shell: Shell, environment: FakeEnvironment, environments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = shell.edge("outputs")
    assert (code, err) == (2, "error: there is no environment yet\n  -> edge init NAME\n")
    for name in ("tokyo", "paris"):
        _stack_file(environments, name, "us-west-2a")
    code, _, err = shell.edge("outputs")
    assert code == 2
    assert err.startswith(
        "error: which environment? There are paris, tokyo\n  -> name one: edge COMMAND ENV, or export EDGE_ENV="
    )
    assert environment.done == []
    monkeypatch.setenv("EDGE_ENV", "tokyo")
    assert (shell.edge("outputs")[0], environment.name) == (0, "tokyo")
    assert (shell.edge('ask "Hm?"')[0], environment.name) == (0, "tokyo")
    assert (shell.edge("outputs paris")[0], environment.name) == (0, "paris")


@pytest.mark.parametrize(
    "words", ["server.model", "sites[0].replicas 2", "routing", "aws:region us-west-2", "apiKey", "--unset tags"]
)
def test_a_key_alone_is_no_environment(
    shell: Shell, environment: FakeEnvironment, environments: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    for name in ("paris", "tokyo"):
        _stack_file(environments, name, "us-west-2a")
    assert shell.edge(f"config {words}")[2].startswith("error: which environment? There are paris, tokyo\n")
    monkeypatch.setenv("EDGE_ENV", "tokyo")
    assert (shell.edge(f"config {words}")[0], environment.name) == (2, "tokyo")
    assert (shell.edge(f"config paris {words}")[0], environment.name) == (2, "paris")
    shell.edge("config prd")
    assert environment.name == "prd"


@pytest.mark.parametrize("command", ["destroy", "sweep", "unprotect"])
def test_what_removes_wants_its_environment_typed(
    shell: Shell, environment: FakeEnvironment, environments: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    _stack_file(environments, "tokyo", "us-west-2a")
    monkeypatch.setenv("EDGE_ENV", "tokyo")
    code, _, err = shell.edge(f"{command} --yes")
    assert (code, environment.done) == (2, [])
    assert "Missing argument 'ENV'" in err


def test_a_zone_has_a_short_name(shell: Shell, environment: FakeEnvironment, environments: Path) -> None:
    _stack_file(environments, "tokyo", "us-west-2a", "us-west-2-lax-1a", "us-west-2-hnl-1a")
    for typed, meant in {
        "lax": "us-west-2-lax-1a",
        "hnl-1a": "us-west-2-hnl-1a",
        "us-west-2": "us-west-2a",
        "sea": "sea",
    }.items():
        assert shell.edge(f"unprotect tokyo {typed} --yes")[0] == 0
        assert environment.done[-1] == f"unprotect {meant}"
    assert shell.edge("ask --zone hnl tokyo Hm?")[0] == 0
    assert environment.done[-1] == "ask Hm? None us-west-2-hnl-1a 128"


def test_an_ambiguous_short_name_is_refused_with_what_it_may_mean(
    shell: Shell, environment: FakeEnvironment, environments: Path
) -> None:
    _stack_file(environments, "tokyo", "us-west-2-lax-1a", "us-west-2-lax-1b")
    code, _, err = shell.edge("unprotect tokyo lax --yes")
    assert (code, environment.done) == (2, [])
    assert err == "error: 'lax' may be us-west-2-lax-1a or us-west-2-lax-1b\n  -> type the one that is meant\n"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lax-2", "us-west-2-lax-1a-2"),
        ("lax-1a-2", "us-west-2-lax-1a-2"),
        ("us-west-2-lax-1a-2", "us-west-2-lax-1a-2"),
        ("lax", "us-west-2-lax-1a"),
    ],
)
def test_a_replicas_number_stays_behind_a_short_name(environments: Path, typed: str, meant: str) -> None:
    _stack_file(environments, "tokyo", "us-west-2-lax-1a")
    assert full_zone(typed, "tokyo") == meant


def test_the_documented_example_says_how_it_is_called() -> None:
    example = PROJECT_ROOT / "docs" / "examples" / "deploy.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=False, cwd=PROJECT_ROOT)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"usage: {example} ENVIRONMENT")


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
        return Running(directory, "w", 1, 4599, "http://127.0.0.1:4599", "now", keys.make())

    monkeypatch.setattr(client, "status", running)
    _, out, _ = shell.edge("cloud status")
    assert "DNS at 127.0.0.1, port 4553" in out
    assert "  i-1  us-west-2a  127.1.2.3  running\n    no container\n" in out
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
    (tmp_path / "cloud.log.1").write_text("zero\n")
    assert shell.edge("cloud logs -n 100")[1] == "zero\none\ntwo\nthree\n"


@pytest.mark.parametrize("command", ["logs -n 0", "logs -n -1", "start --port 70000", "start --port 0"])
def test_cloud_refuses_numbers_that_make_no_sense(shell: Shell, command: str) -> None:
    code, _, err = shell.edge(f"cloud {command}")
    assert code == 2
    assert "Input should be " in err


# Words on a terminal


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


def said(monkeypatch: pytest.MonkeyPatch, text: str, stream: io.StringIO) -> list[str]:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", stream)
    say(text)
    return stream.getvalue().splitlines()


def test_words_are_broken_between_words_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "error: " + "capacity " * 20
    lines = said(monkeypatch, text, Terminal())
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()) == text.strip()
    assert lines[1].startswith("  capacity")


def test_commands_and_files_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    command = "  -> pulumi config set " + "x " * 60
    assert said(monkeypatch, command, Terminal()) == [command]
    assert said(monkeypatch, "word " * 40, io.StringIO()) == ["word " * 40]


@pytest.mark.parametrize("closed", ["stdin", "stdout", "stderr"])
def test_a_closed_stream_is_no_error(closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`edge zones >&-`."""
    before = sys.stdin, sys.stdout, sys.stderr
    try:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["edge", "zones", "--top", "1"])
            setattr(sys, closed, None)
            with pytest.raises(SystemExit) as ended:
                cli.main()
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
    assert not ended.value.code


@pytest.mark.parametrize("word", ["\x1b[31m", "--\x1b[31m", "\x9b1m", "a\u202eb", "\udcff"])
def test_an_argument_with_control_characters_is_shown_escaped(word: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["edge", "plan", word])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr().err
    assert (ended.value.code, word in told) == (2, False)
    assert told.startswith("error: argument 2 holds characters that nobody sees, shown escaped here: ")


def test_control_characters_of_names_and_answers_are_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[31mb\r\nc")
    terminal.show("a\x1b[31mb\x9b\nc")
    captured = capsys.readouterr()
    assert captured.err == "a\\x1b[31mb\\r\nc\n"
    assert captured.out == "a\\x1b[31mb\\x9b\nc\n"
