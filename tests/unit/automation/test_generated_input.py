"""Generated stack files and command lines: whatever they are, a text and an exit code; no traceback, no hang, no escape code.

The seed is printed; EDGE_SEED=N makes the same inputs again. No engine, no local cloud, no network.
"""

import contextlib
import json
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer.main

import automation.environment
from automation import cli
from automation.engine import local
from automation.engine.stack_file import read
from automation.engine.stack_yaml import as_json
from automation.environment import Environment
from automation.errors import UsageError
from automation.paths import PROJECT_ROOT
from automation.provision.engine import EngineError
from components.problems import printable
from localcloud import client, keys
from localcloud.client import CloudError, CloudStatus

SEED = int(os.environ.get("EDGE_SEED") or random.SystemRandom().randrange(10**6))
STACK_FILES, COMMAND_LINES, PROCESSES = 500, 200, 2
_LONGEST_SECONDS = 60
"""For one input, on a machine that has other work."""

WHOLE = """config:
  aws:region: us-west-2
  edge-inference:sites:
    - {zone: us-west-2a, replicas: 2, volumeType: gp3, volumeGib: 100}
    - zone: us-west-2-lax-1a
      instanceType: g4dn.2xlarge
      optIn: anyway
      subnetCidr: 10.64.9.0/24
  edge-inference:server: {engine: vllm, model: acme/model, modelParameters: 3000000000, extraArguments: [--seed, "1"]}
  edge-inference:endpoint: {tls: true, port: 443}
  edge-inference:access: {clientCidrs: [8.8.8.8/32], sshCidrs: [8.8.4.4/32]}
  edge-inference:routing:
    policy: geolocation
    domain: llm.acme.dev
    hostedZone: acme.dev
    bias: {us-west-2: 5}
    geolocation: {default: us-west-2a, countries: {NO: us-west-2a}, usStates: {HI: us-west-2-lax-1a}}
  edge-inference:drained: [us-west-2a]
  edge-inference:network: {vpcCidr: 10.64.0.0/16}
  edge-inference:host: {amis: {us-west-2: ami-0123456789abcdef0}, loginUser: ubuntu}
  edge-inference:rollout: {maxAway: 10%, maxTtftMs: 1.5}
  edge-inference:tags: {team: a}
  edge-inference:protect: true
  edge-inference:apiKeys: {a: {secure: "v1:a"}}
  edge-inference:hostKeySecret: {secure: "v1:a"}
encryptionsalt: "v1:a"
"""
SCALARS = [
    "22:22", "NO", "yes", "on", "~", "", "true", "-1", "0", "1e400", ".inf", "0x10", "010", "1_000", "9" * 30, "9" * 5000, "1.5",
    "2024-01-01", '"\\e[31m"', '"\\0"', '"\\ud83d"', '"\\x9b"', "'010'", "\x1b[31m", "\x07", "\0", "\x85", "\u2028", "\u202e",
    "[]", "{}", "[[a]]", "{a: b}", "{secure: a}", "{secure: [a]}", "!!int a", "!!python/object/apply:os.system [id]", "!foo bar",
    "&a [b]", "*a", "*b", "{<<: 5}", "{<<: *a}", "|\n  a\n", ">-\n a", "'", '"', "[", "{", "%a", "@a", "`a", "a: b", "- a", "? a",
    "x" * 3000, "x" * 300_000, "[" * 99 + "]" * 99, "${HOME}", "$(id)", "../../etc/passwd", "us-west-2a", "255.255.255.255/33",
]  # fmt: skip
"""What takes the place of a value."""
WORDS = [
    "", "-", "--", "---", "-1", "0", "1e9", "nan", "inf", "9" * 400, "٣", "a" * 5000, "../../etc/passwd", "/dev/full", "/", ".",
    "\x1b[31m", "\x07", "\x9b1m", "\u202e", "é", "😀", "\udcff", "--help", "--no-such", "--json", "--json=1", "--local", "-y",
    "$(id)", "'", '"', "%s%n", "{0}", "@x", "NO", "null", "local\n", "us-west-2a", "0x10", "-n", "--top", "--near", "Honolulu",
    "Atlantis", "local", "dev", "prod", "whole", "1.2.3.4", "::1", "999.1.1.1", "--from", "a=b", "=", "--port=70000", "-n0",
]  # fmt: skip
"""What takes the place of a word of a command line."""


class FakeCloud(CloudStatus):
    """A local cloud that takes everything."""

    def request(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
        del method, path
        json.dumps(body)
        return {}


class Edge:
    """`edge` in this process, with environments below a folder, cut off from engine, local cloud and network."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._capsys, self._monkeypatch = folder, capsys, monkeypatch

    def run(self, words: list[str]) -> int:
        """The exit code; AssertionError for a traceback, an escape code, a hang."""
        self._monkeypatch.setattr(sys, "argv", ["edge", *words])
        code: object = 0
        try:
            with _no_longer_than(_LONGEST_SECONDS):
                cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        captured = self._capsys.readouterr()
        told = captured.out + captured.err
        assert printable(told) == told, f"characters that steer a terminal: {told!r}"
        assert "Traceback" not in told
        assert isinstance(code, int)
        assert code == 0 or told.strip(), "an exit code without a word"
        return code


@contextlib.contextmanager
def _no_longer_than(seconds: int) -> Generator[None]:
    def end(*_: object) -> None:
        raise AssertionError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def edge(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Edge:
    for name in ("local", "dev", "prod"):
        (tmp_path / f"Pulumi.{name}.yaml").write_text((PROJECT_ROOT / f"Pulumi.{name}.yaml").read_text())
    (tmp_path / "Pulumi.whole.yaml").write_text(WHOLE)
    own: Any = partial(Environment, directory=tmp_path, stack_files=tmp_path)
    monkeypatch.setattr(automation.environment, "Environment", own)
    for name in ("options", "setup"):
        monkeypatch.setattr(f"automation.commands.{name}.PROJECT_ROOT", tmp_path)
    for name in ("automation.commands.cloud", "automation.paths"):
        monkeypatch.setattr(f"{name}.LOCAL_DIRECTORY", tmp_path)
    monkeypatch.setattr("automation.engine.deployed.provide", _raises(EngineError("no engine here")))
    monkeypatch.setattr(client, "start", _raises(CloudError("no local cloud here")))
    monkeypatch.setattr(socket.socket, "connect", _raises(OSError("no network here")))
    monkeypatch.setattr(socket, "getaddrinfo", _raises(socket.gaierror("no network here")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return Edge(tmp_path, capsys, monkeypatch)


def _raises(error: Exception) -> Callable[..., Any]:
    def call(*_: object, **__: object) -> Any:
        raise error

    return call


@pytest.fixture
def seed(capsys: pytest.CaptureFixture[str]) -> int:
    with capsys.disabled():
        print(f"\nseed of generated input: EDGE_SEED={SEED}")  # noqa: T201
    return SEED


def _chance(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - to be made again, not to be guessed


# Stack files


def stack_file(chance: random.Random) -> str:
    """A real stack file, with one to four mistakes."""
    names = ("local", "dev", "prod")
    text = chance.choice([WHOLE, WHOLE, *((PROJECT_ROOT / f"Pulumi.{name}.yaml").read_text() for name in names)])
    for _ in range(chance.randint(1, 4)):
        text = chance.choice(MISTAKES)(text, chance)
    return text


def _lines(change: Callable[[list[str], int, random.Random], None]) -> Callable[[str, random.Random], str]:
    def changed(text: str, chance: random.Random) -> str:
        lines = text.splitlines(keepends=True) or [""]
        change(lines, chance.randrange(len(lines)), chance)
        return "".join(lines)

    return changed


def _deleted(lines: list[str], at: int, _: random.Random) -> None:
    del lines[at]


def _doubled(lines: list[str], at: int, _: random.Random) -> None:
    lines.insert(at, lines[at])


def _moved(lines: list[str], at: int, chance: random.Random) -> None:
    lines[at] = " " * chance.randint(0, 9) + lines[at].lstrip(" ")


def _tabbed(lines: list[str], at: int, _: random.Random) -> None:
    lines[at] = lines[at].replace("  ", "\t", 1)


def _retyped(lines: list[str], at: int, chance: random.Random) -> None:
    head, colon, _ = lines[at].partition(": ")
    lines[at] = f"{head}{colon}{chance.choice(SCALARS)}\n"


def _renamed(lines: list[str], at: int, chance: random.Random) -> None:
    begin = len(lines[at]) - len(lines[at].lstrip())
    head, colon, tail = lines[at].partition(":")
    letters = list(head[begin:] or "a")
    letters[chance.randrange(len(letters))] = chance.choice(["", "x", "\x1b", '"', "é", ":", "\u200b", "A"])
    lines[at] = f"{head[:begin]}{''.join(letters)}{colon}{tail}"


def _added(lines: list[str], at: int, chance: random.Random) -> None:
    key = chance.choice(
        ["sites", "server", "tags", "drained", "access", "protect", "hostKeySecret", "apiKeys", "a b", "x:y", "secure"]
    )
    namespace = chance.choice(["edge-inference:", "edge-inferenc:", "aws:", "", "pulumi:", ":", "a:b:"])
    lines.insert(at, f"  {namespace}{key}: {chance.choice(SCALARS)}\n")


def _bytes(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return (
        text[:at]
        + chance.choice(["\x1b[31m", "\0", "\x9b", "\ufeff", "\ufffe", "{", "}", "[", '"', "'", "#", "&a ", "*a"])
        + text[at:]
    )


def _cut(text: str, chance: random.Random) -> str:
    return text[: chance.randrange(len(text) + 1)]


def _nested(text: str, chance: random.Random) -> str:
    depth = chance.choice([25, 60, 500])
    return f"{text}  edge-inference:server: {'[' * depth}{']' * depth}\n"


def _tagged(text: str, chance: random.Random) -> str:
    own = ", ".join(f"t{number}: v" for number in range(chance.choice([5, 7, 60, 500])))
    return f"{text}  edge-inference:tags: {{{own}}}\n"


def _bomb(text: str, _: random.Random) -> str:
    """Each of them nine times the one before."""
    steps = zip("abcdefg", "bcdefgh", strict=True)
    return text + "  x:a: &a [x]\n" + "".join(f"  x:{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in steps)


MISTAKES: list[Callable[[str, random.Random], str]] = [
    *map(_lines, (_deleted, _doubled, _moved, _tabbed, _retyped, _retyped, _retyped, _renamed, _renamed, _added, _added)),
    _bytes, _cut, _nested, _tagged, _bomb,
]  # fmt: skip


def _judge_stack_file(edge: Edge, cloud: FakeCloud, number: int, text: str) -> bool:
    """Whether it was refused. By turns on AWS and on the local cloud, and sometimes by what else reads the file."""
    file = edge.folder / "Pulumi.dev.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    code = edge.run(["plan", "dev", *(["--local"] if number % 2 else [])])
    assert code in {1, 2}, "1: it went as far as the engine"
    if number % 5 == 0:
        assert edge.run(["cost", "dev"]) in {0, 2}
        Environment("dev", directory=edge.folder, stack_files=edge.folder).planned_replicas()
    with contextlib.suppress(UsageError):
        local.prepare_stack(file, edge.folder, cloud)
    return code == UsageError.exit_code


def test_generated_stack_files(edge: Edge, seed: int, tmp_path: Path) -> None:
    cloud = FakeCloud(tmp_path, "world", 1, 4599, "http://127.0.0.1:4599", "now", keys.make())
    good, copy = tmp_path / "Pulumi.local.yaml", tmp_path / "world" / "projects" / "dev" / "Pulumi.dev.yaml"
    expected = as_json({"config": local.rehearsal("dev", read(good).config).config})
    refused = 0
    for number in range(STACK_FILES):
        text = stack_file(_chance(f"{seed} {number}"))
        try:
            refused += _judge_stack_file(edge, cloud, number, text)
            if number % 5 == 0 or number == STACK_FILES - 1:
                (tmp_path / "Pulumi.dev.yaml").write_text(good.read_text())
                local.prepare_stack(tmp_path / "Pulumi.dev.yaml", tmp_path, cloud)
                assert copy.read_text() == expected, "what a bad file left behind was read back"
        except Exception as error:
            raise AssertionError(f"EDGE_SEED={seed}, stack file {number}:\n{text[:3000]!r}") from error
    assert refused > STACK_FILES / 2, "mistakes are mostly found"


# Command lines


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", {})
    if not children:
        yield path, command
    for name, child in children.items():
        yield from _commands(child, (*path, name))


COMMANDS = list(_commands(typer.main.get_command(cli.app)))


def command_line(chance: random.Random) -> list[str]:
    """A command with some of its options, and one to four mistakes."""
    path, command = chance.choice(COMMANDS)
    words = list(path)
    for parameter in command.params:
        is_option = getattr(parameter, "param_type_name", "") == "option"
        if is_option and chance.random() < 0.6:
            continue
        words += [parameter.opts[0]] if is_option else []
        if not is_option or not getattr(parameter, "is_flag", False):
            words.append(
                chance.choice(["local", "dev", "whole", "us-west-2a", "3", "Honolulu", "10.0.0.0/8", chance.choice(WORDS)])
            )
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(words) + 1)
        kind = chance.choice(["insert", "replace", "delete", "double", "swap"])
        if kind == "insert" or at == len(words):
            words.insert(at, chance.choice(WORDS))
        elif kind == "replace":
            words[at] = chance.choice(WORDS)
        elif kind == "delete":
            del words[at]
        elif kind == "double":
            words.insert(at, words[at])
        else:
            words[0], words[at] = words[at], words[0]
    return words


def test_generated_command_lines(edge: Edge, seed: int) -> None:
    for number in range(COMMAND_LINES):
        words = command_line(_chance(f"{seed} {number}"))
        try:
            edge.run(words)
        except Exception as error:
            raise AssertionError(f"EDGE_SEED={seed}, command line {number}: {shlex.join(words)[:1000]!r}") from error


def test_some_of_them_as_real_processes(edge: Edge, seed: int) -> None:
    """With a terminal's own rules for arguments and output."""
    program = (
        "import functools, pathlib, sys, automation.environment as e\n"
        "folder = pathlib.Path(sys.argv.pop(1))\n"
        "e.Environment = functools.partial(e.Environment, directory=folder, stack_files=folder)\n"
        "from automation.cli import main\nmain()"
    )
    for number in range(PROCESSES):
        chance = _chance(f"{seed} process {number}")
        (edge.folder / "Pulumi.dev.yaml").write_bytes((WHOLE + chance.choice(SCALARS) + "\n a").encode("utf-8", "surrogatepass"))
        for words in (
            ["plan", "dev", "--local"],
            ["up", *(word for word in chance.sample(WORDS, 2) if word != "local"), "--no-such"],
        ):
            ended = subprocess.run(
                [sys.executable, "-c", program, str(edge.folder), *words],
                capture_output=True,
                env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
                timeout=_LONGEST_SECONDS,
                check=False,
            )
            told = (ended.stdout + ended.stderr).decode()
            assert ended.returncode == UsageError.exit_code, told
            assert printable(told) == told
            assert "Traceback" not in told
