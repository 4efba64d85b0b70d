"""The front end on a real engine: a plan of `edge place`, a Ctrl-C in a terminal, events of a whole deployment, the workflows for
GitHub, the documented example, protection.

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
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from edge_command import edge_on
from support import HONOLULU, OREGON, READY_SECONDS, Deployment, World, instances
from terminals import COLOURS, CTRL_C, in_a_terminal
from typer.testing import CliRunner
from workflows import Machine, step

from automation.cli import app
from automation.commands import place
from automation.engine.results import inventory_of
from automation.errors import ProtectedError
from automation.paths import PROJECT_ROOT
from geography.cities import CITIES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.engine


class Front(Deployment):
    """Where `edge place` says that two sites should stand for the map's cities, most people in two of them."""

    def __init__(self, world: World, stack_files: Path) -> None:
        super().__init__("front", world, stack_files)
        rows = [
            f"{city.name},{city.place.latitude},{city.place.longitude},{100 if name in {'Honolulu', 'Portland'} else 1}"
            for name, city in CITIES.items()
        ]
        users = stack_files / "users.csv"
        users.write_text("\n".join(["city,latitude,longitude,weight", *rows]))
        words = ("--users", str(users), "--only", "us-west-2", "--sites", "2", "--ttft", "145", "--write", "front", "--json")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place, "PROJECT_ROOT", stack_files)
            answer = CliRunner().invoke(app, ["place", *words])
        assert answer.exit_code == 0, answer.output
        told = json.loads(answer.stdout)
        self.planned: dict[str, str] = {user["name"]: f"{user['group']}a" for user in told["users"]}
        """By city, the zone that it is to get."""
        path = stack_files / "Pulumi.front.yaml"
        path.write_text(path.read_text().replace("# edge-inference:protect: true", "edge-inference:protect: true"))


@pytest.fixture(scope="module")
def front(world: World, stack_files: Path) -> Front:
    return Front(world, stack_files)


def edge(front: Deployment, stack_files: Path, *arguments: str) -> list[str]:
    return [*edge_on(front.world.directory, stack_files), *arguments]


def run(command: list[str]) -> None:
    """Becomes another program."""
    os.chdir(PROJECT_ROOT)
    os.execv(command[0], command)  # noqa: S606 - this interpreter


def test_the_plan_is_of_both_sites(front: Front) -> None:
    assert set(front.planned.values()) == {OREGON, HONOLULU}
    assert len(front.planned) == len(CITIES)


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


def test_every_city_gets_the_site_that_was_planned(front: Front) -> None:
    routes = front.environment.routes()
    assert {client.name: routes.zone_for(client) for client in routes.clients()} == front.planned


def test_the_voice_example_asks_the_service_and_then_each_site(front: Front) -> None:
    base_urls = runpy.run_path(str(PROJECT_ROOT / "docs" / "examples" / "voice" / "agent.py"))["base_urls"]
    outputs = front.environment.outputs()
    names = [outputs["routing"]["domain"], *(outputs["sites"][zone]["name"] for zone in (HONOLULU, OREGON))]
    assert [urlsplit(url).hostname for url in base_urls(outputs, [HONOLULU])] == names


@pytest.fixture
def machine(front: Front, stack_files: Path, tmp_path: Path) -> Machine:
    return Machine(tmp_path, edge(front, stack_files), "--local")


def test_the_workflows_plan_and_measure_with_a_role_that_only_reads(front: Front, machine: Machine) -> None:
    policy = json.loads((PROJECT_ROOT / "docs" / "operations" / "iam-policy-reader.json").read_text())
    front.world.status.request("PUT", "policy", policy)
    try:
        planned = machine.run(step("plan", "Plan"), EDGE_ENV="front")
        assert planned.returncode == 0, planned.stderr
        comment = (machine.folder / "comment.md").read_text()
        assert comment.startswith("**edge plan front**\n```text\n")
        assert machine.run(step("plan", "Comment"), PULL_REQUEST="7").returncode == 0
        assert machine.told_github == ["pr comment 7 --edit-last --create-if-none --body-file comment.md"]
        drift = machine.run(step("drift", "Drift"), EDGE_ENV="front")
        assert drift.returncode == 0, drift.stderr
        kept = machine.run(step("ttft", "Measure"), EDGE_ENV="front", ROUNDS="2", SLO_MS="60000")
        assert kept.returncode == 0, kept.stderr
        assert json.loads((machine.folder / "ttft.json").read_text())["targets"]
        missed = machine.run(step("ttft", "Measure"), EDGE_ENV="front", ROUNDS="1", SLO_MS="0.001")
        assert missed.returncode == 1, missed.stderr
    finally:
        front.world.status.request("PUT", "policy", {})


def test_the_workflow_deploys_what_is_on_main_and_a_plan_that_fails_says_why(machine: Machine, stack_files: Path) -> None:
    done = machine.run(step("up", "Up"), EDGE_ENV="front")
    assert done.returncode == 0, done.stderr
    assert machine.run(step("up", "Status"), EDGE_ENV="front").returncode == 0
    assert f"{HONOLULU}-1" in machine.summary.read_text()
    path = stack_files / "Pulumi.front.yaml"
    before = path.read_text()
    path.write_text(before.replace(f"zone: {OREGON}", "zone: us-west-2"))
    try:
        failed = machine.run(step("plan", "Plan"), EDGE_ENV="front")
    finally:
        path.write_text(before)
    assert failed.returncode == 2
    assert "sites[1].zone" in (machine.folder / "comment.md").read_text()


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


def test_the_drift_workflow_fails_and_names_what_differs(machine: Machine) -> None:
    found = machine.run(step("drift", "Drift"), EDGE_ENV="front")
    assert found.returncode == 7, found.stderr
    assert f"{OREGON}-1-host" in machine.summary.read_text()


def test_what_is_protected_is_destroyed_only_after_it_was_unprotected(front: Deployment) -> None:
    with pytest.raises(ProtectedError, match="edge unprotect front --local"):
        front.destroy()
    assert set(front.environment.unprotect(OREGON)) == {f"{OREGON}-1-host", f"{OREGON}-1-address"}
    front.environment.unprotect(HONOLULU)
    front.destroy()
