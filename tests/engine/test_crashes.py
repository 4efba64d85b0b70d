"""What is killed, or done twice at once, is explained, and the next run goes on; nothing is left that nobody removes.

The tests run in this order: each finds what the one before has left.
"""

# boto3 has no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import os
import re
import signal
from typing import TYPE_CHECKING

import pytest
from support import OREGON, BackgroundUp, Deployment, World, instances, process_files, tokens, wait_for

from automation.errors import CloudNotRunningError, DeploymentFailedError, EdgeError, EnvironmentBusyError
from components.release import RELEASE
from localcloud import client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def crashing(make_world: Callable[[], World], stack_files: Path) -> Deployment:
    """An environment on a local cloud of its own, which does not run yet."""
    deployment = Deployment("crashing", make_world(), stack_files)
    deployment.configure([OREGON])
    return deployment


def _running_engine() -> int:
    """The engine that runs an `up` for this process, and for no other."""
    children = {pid for pid, stat in process_files("stat") if int(stat.rpartition(b")")[2].split()[1]) == os.getpid()}
    engines = [pid for pid, words in process_files("cmdline") if pid in children and b"up" in words.split(b"\0")]
    assert len(engines) == 1
    return engines[0]


def _processes(deployment: Deployment) -> list[int]:
    """Engine, language host, program and plugins of any run on this cloud."""
    mark = f"PULUMI_HOME={deployment.world.directory}/".encode()
    return [pid for pid, environ in process_files("environ") if mark in environ]


def _pending_operations(deployment: Deployment) -> list[object]:
    """What the state says was begun and not finished, of all stacks of the world."""
    files = (deployment.world.directory / "world" / "state").rglob("stacks/*/*.json")
    states = [json.loads(file.read_text())["checkpoint"]["latest"] for file in files]
    return [operation for state in states if state for operation in state.get("pending_operations") or []]


def test_without_a_local_cloud_the_command_to_run_is_told(crashing: Deployment) -> None:
    for ask in (crashing.environment.outputs, crashing.environment.destroy, crashing.environment.refresh):
        with pytest.raises(CloudNotRunningError, match="edge up crashing --local"):
            ask()


def test_an_engine_killed_in_the_middle_leaves_a_stack_that_goes_on(crashing: Deployment) -> None:
    world = crashing.world
    client.start(world.directory, port=0)
    before = world.inventory()
    world.set_faults(never_boot_zones=[OREGON])
    first = BackgroundUp(crashing)
    wait_for("the first dial", lambda: bool(first.error) or f"Command {OREGON}-1-scripts" in first.recording.touched)
    assert first.error is None

    with pytest.raises(EnvironmentBusyError, match="another run is at work"):
        crashing.up()
    os.kill(_running_engine(), signal.SIGKILL)
    failure = first.end()
    assert isinstance(failure, DeploymentFailedError)
    assert "the engine was killed" in str(failure)
    wait_for("the killed engine's plugins and program to end", lambda: not _processes(crashing))

    with pytest.raises(EnvironmentBusyError, match="edge cancel crashing --local"):
        crashing.up()
    crashing.environment.cancel()
    world.set_faults(never_boot_zones=[])
    ec2 = world.aws("ec2")
    ec2.start_instances(InstanceIds=[host["InstanceId"] for host in instances(ec2)])
    recovered = crashing.up()
    assert any(f"killed while it made {OREGON}-1-scripts" in line for line in crashing.said)
    assert tokens(recovered.outputs["endpoint_urls"][OREGON])
    assert f"Instance {OREGON}-1-host" not in recovered.touched

    crashing.destroy()
    assert world.inventory() == before
    assert world.host_processes() == []
    assert not _processes(crashing)
    assert _pending_operations(crashing) == []


def test_a_local_cloud_that_was_killed_is_recognised_and_explained(crashing: Deployment) -> None:
    world = crashing.world
    crashing.up()
    os.kill(world.status.pid, signal.SIGKILL)
    wait_for("the cloud's end", lambda: client.status(world.directory) is None)
    wait_for("the hosts' end", lambda: not world.host_processes())
    with pytest.raises(CloudNotRunningError, match="edge up crashing --local"):
        crashing.environment.outputs()

    crashing.said.clear()
    deployed = crashing.up()
    assert any("crashing" in line and "Deploying from nothing" in line for line in crashing.said)
    assert {operation for operations in deployed.touched.values() for operation in operations} == {"create"}
    assert tokens(deployed.outputs["endpoint_urls"][OREGON])


def test_a_state_of_a_newer_release_is_refused_by_pulumi_and_edge_alike(crashing: Deployment) -> None:
    state = next((crashing.world.directory / "world" / "state").rglob("stacks/*/crashing.json"))
    content = json.loads(state.read_text())
    (stash,) = (each for each in content["checkpoint"]["latest"]["resources"] if each["urn"].endswith("Stash::release"))
    stash["inputs"]["input"] = stash["outputs"]["input"] = RELEASE + 1
    state.write_text(json.dumps(content))

    words = rf"written by a newer release of this project: {RELEASE + 1}, and this checkout is {RELEASE}"
    for run in (crashing.up, crashing.destroy):
        with pytest.raises(EdgeError, match=words):
            run()
    refused = crashing.shell()("up", "--yes", "--skip-preview")
    assert refused.returncode
    assert re.search(words, refused.stdout)
    assert "Traceback" not in refused.stdout
    assert RELEASE + 1 in [each["inputs"].get("input") for each in crashing.exported()["resources"] if "inputs" in each]
