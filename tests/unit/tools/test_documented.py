"""Every shell command in the documentation has a test id, and is one that the tools named there take.

That they do what is said of them, tests/engine/test_docs.py shows of those that the local cloud can run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from typing import Any, cast

import boto3  # pyright: ignore[reportMissingTypeStubs]
import pytest
import typer
from documented import Fence, fences, fences_of
from typer.exceptions import TyperException

from automation.cli import app
from automation.paths import PROJECT_ROOT

ALL = fences()
TARGETS = set(re.findall(r"(?m)^([a-z]+):", (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")))


def test_every_fence_has_a_test_id_of_its_own() -> None:
    assert [fence.place for fence in ALL if not fence.name] == [], "<!-- test: NAME --> before the fence, see tests/documented.py"
    assert [name for name, times in Counter(fence.name for fence in ALL).items() if times > 1] == []


def test_a_fence_without_an_id_is_found() -> None:
    [bare, named, told] = fences_of(
        "page.md",
        "```bash\nedge up local\n```\n\n<!-- test: a-b -->\n```console\n$ edge list\nlocal\n```\n"
        "<!-- test: c, not run: needs AWS -->\n\n```bash\nedge up prod \\\n  --yes\n```\n",
    )
    assert (bare.name, bare.line, bare.lines) == (None, 1, ("edge up local",))
    assert (named.name, named.reason, named.lines) == ("a-b", None, ("edge list",))
    assert (told.name, told.reason, told.lines) == ("c", "needs AWS", ("edge up prod --yes",))


@pytest.mark.parametrize("fence", ALL, ids=lambda fence: fence.name or fence.place)
def test_commands_are_such_as_there_are(fence: Fence) -> None:
    for call in fence.calls():
        assert is_known(call), f"{fence.place}: {' '.join(call)}"


@pytest.mark.parametrize(
    "line",
    [
        "edge upp local",
        "edge up local --fast",
        "edge drain local",
        "make deploy",
        "aws ec2 describe-everything",
        "tools/gone.sh",
        ".venv/bin/python benchmarks/gone.py",
        "ttft a=http://127.0.0.1:1 --rouns 3",
    ],
)
def test_a_wrong_one_is_found(line: str) -> None:
    [fence] = fences_of("page.md", f"```bash\n{line}\n```\n")
    assert [call for call in fence.calls() if not is_known(call)], line


def is_known(call: list[str]) -> bool:
    """Whether a command is one that its tool takes; of tools that are none of ours nothing is known."""
    tool, words = call[0].removeprefix(".venv/bin/"), call[1:]
    if tool in TOOLS:
        return TOOLS[tool](words)
    if tool == "python":
        return not words or words[0].startswith("-") or (PROJECT_ROOT / words[0]).exists()
    return not tool.startswith("tools/") or (PROJECT_ROOT / tool).exists()


def ttft_takes(words: list[str]) -> bool:
    from ttft.cli import measure_app, verbs_app

    return takes(verbs_app, words) if words[:1] and words[0] in {"report", "compare", "selftest"} else takes(measure_app, words)


def takes(tool: typer.Typer, words: list[str]) -> bool:
    """Whether a command line of ours parses: its commands, options and arguments."""
    command: Any = typer.main.get_command(tool)
    while words and words[0] in (getattr(command, "commands", None) or {}):
        command, words = command.commands[words[0]], words[1:]
    if getattr(command, "commands", None) is not None:
        return False
    context = typer.Context(command, resilient_parsing=True)
    try:
        given, rest, _ = command.make_parser(context).parse_args(args=list(words))
    except TyperException:
        return False
    needed = [each for each in command.params if each.required]
    return not rest and all(given.get(each.name) for each in needed)


def aws_takes(words: list[str]) -> bool:
    service, operation = words[:2]
    return operation in operations(service)


@cache
def operations(service: str) -> frozenset[str]:
    """A service's commands as the AWS CLI spells them."""
    client = cast("Any", boto3).client(service, region_name="us-west-2")
    return frozenset(name.replace("_", "-") for name in client.meta.method_to_api_mapping)


TOOLS: dict[str, Callable[[list[str]], bool]] = {
    "sudo": is_known,
    "edge": partial(takes, app),
    "ttft": ttft_takes,
    "make": lambda words: set(words) <= TARGETS,
    "aws": aws_takes,
}
