"""The front end on a real engine: a Ctrl-C in a terminal, events of a whole deployment, the documented example, protection.

The tests run in this order: each finds what the one before has left.
"""

# boto3 has no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import json
import os
import runpy
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support import OREGON, READY_SECONDS, Deployment, World, instances
from terminals import COLOURS, CTRL_C, in_a_terminal

from automation.engine.results import inventory_of
from automation.errors import ProtectedError
from automation.paths import PROJECT_ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.engine

EDGE = """
import sys
from pathlib import Path
from automation import cli
from automation.commands import deployment
from automation.environment import Environment
from automation.commands.terminal import say
directory, stack_files = Path(sys.argv.pop(1)), Path(sys.argv.pop(1))
def opened(name, *, local):
    return Environment(name, on_local_cloud=local, directory=directory, stack_files=stack_files, say=say)
deployment.open_environment = opened
cli.main()
"""
"""`edge`, with the local cloud's folder and that of the stack files as further first arguments."""


@pytest.fixture(scope="module")
def front(world: World, stack_files: Path) -> Deployment:
    deployment = Deployment("front", world, stack_files)
    deployment.configure([OREGON], protect=True)
    return deployment


def edge(front: Deployment, stack_files: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-c", EDGE, str(front.world.directory), str(stack_files), *arguments]


def run(command: list[str]) -> None:
    """Becomes another program."""
    os.chdir(PROJECT_ROOT)
    os.execv(command[0], command)  # noqa: S606 - this interpreter


def test_one_ctrl_c_finishes_what_is_at_work_and_leaves_the_state_whole(front: Deployment, stack_files: Path) -> None:
    command = edge(front, stack_files, "up", "front", "--local")
    interrupt = (rf"{OREGON} +ok \d+ s +> ", CTRL_C)
    code, shown = in_a_terminal(lambda: run(command), answers=[interrupt], seconds=READY_SECONDS)
    words = " ".join(COLOURS.sub("", shown).split())
    assert code == 130, shown
    assert "no other step begins. Ctrl-C again cuts them off." in words
    assert "stopped as asked" in words
    assert "-> edge up front --local" in words
    assert words.count("log: ") == 1
    state = front.exported()
    assert inventory_of(state).pending == ()
    assert f"Command {OREGON}-1-ready" not in front.urns()


def test_the_next_run_goes_on_and_tells_in_json_lines(front: Deployment, stack_files: Path) -> None:
    command = edge(front, stack_files, "up", "front", "--local", "--json")
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    events: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert "\x1b" not in done.stdout + done.stderr
    stages = {event["stage"]: event["state"] for event in events if event["event"] == "site_progress"}
    assert set(stages) == {"network", "host", "image", "model", "healthy", "routed"}
    assert set(stages.values()) <= {"done", "unchanged"}
    assert stages["routed"] == "done"
    result = events[-1]
    assert (result["event"], result["outputs"]) == ("result", front.environment.outputs())
    log = (front.world.directory / "logs" / result["log"].rpartition("/")[2]).read_text()
    assert f"site {OREGON}: routed done" in log
    assert "Updating (front)" in log


def test_the_documented_example_runs_also_where_a_loop_does(front: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    ec2 = front.world.aws("ec2")
    named = f"edge-inference-front-{OREGON}-1-host"
    (host,) = (each for each in instances(ec2) if {"Key": "Name", "Value": named} in each.get("Tags", []))
    ec2.create_tags(Resources=[host["InstanceId"]], Tags=[{"Key": "Name", "Value": "by hand"}])
    deploy = runpy.run_path(str(PROJECT_ROOT / "docs" / "examples" / "deploy.py"))["deploy"]

    async def main() -> None:
        deploy(front.environment)

    asyncio.run(main())
    printed = capsys.readouterr().out
    assert f"{OREGON} serves http://" in printed
    assert f"drift: ['{OREGON}-1-host']" in printed


def test_what_is_protected_is_destroyed_only_after_it_was_unprotected(front: Deployment) -> None:
    with pytest.raises(ProtectedError, match="edge unprotect front --local"):
        front.destroy()
    assert set(front.environment.unprotect(OREGON)) == {f"{OREGON}-1-host", f"{OREGON}-1-address"}
    front.destroy()
