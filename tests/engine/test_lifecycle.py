"""What goes wrong on the way from an address to a served token: told once, with site, step and cause, and the next run recovers.

The tests run in this order: each finds what the one before has left.
"""

# boto3 has no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import requests
from support import (
    HONOLULU,
    LOS_ANGELES,
    OREGON,
    ROOMY,
    BackgroundUp,
    Deployment,
    Recording,
    World,
    assert_contract,
    instances,
    tokens,
    wait_for,
)

from automation.errors import DeploymentFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.engine

OREGON_B, OREGON_C = "us-west-2b", "us-west-2c"
TOKEN = "edge-inference:huggingFaceToken"  # noqa: S105 - a key of the config
SERVER = "edge-inference-server"
NO_FAULTS = {f"{fault}_zones": [] for fault in ("no_capacity", "never_boot", "full_disk", "out_of_memory", "no_flashinfer")}
BUDGETS = {"connectBudgetSeconds": 10}


@pytest.fixture(scope="module")
def living(world: World, stack_files: Path) -> Deployment:
    return Deployment("living", world, stack_files)


@pytest.fixture(autouse=True)
def _no_faults_afterwards(world: World) -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    yield
    world.set_faults(**ROOMY, **NO_FAULTS)


def _configure(living: Deployment, *zones: str, **server: object) -> None:
    # By default the official plugin tries a refused launch again for up to 50 minutes, ours for 12 seconds.
    living.configure(zones, host=BUDGETS, server=server, **{"aws:maxRetries": "1"})


def _failure(run: Callable[[], Recording]) -> DeploymentFailedError:
    with pytest.raises(DeploymentFailedError) as caught:
        run()
    assert "Traceback" not in str(caught.value)
    return caught.value


def _error_of(failure: DeploymentFailedError, step: str) -> str:
    """What is told of one step, which is told once, with others of the same cause."""
    (text,) = (text for text in failure.errors if step in text.partition(": ")[0].split(", "))
    return text


def _hosts(living: Deployment) -> dict[str, dict[str, Any]]:
    """This deployment's instances by zone."""
    found = instances(living.world.aws("ec2"))
    tags = {each["InstanceId"]: {tag["Key"]: tag["Value"] for tag in each["Tags"]} for each in found if each.get("Tags")}
    mine = [each for each in found if tags.get(each["InstanceId"], {}).get("edge-inference:stack") == living.name]
    return {each["Placement"]["AvailabilityZone"]: each for each in mine}


def _containers(living: Deployment, zone: str) -> list[str]:
    """Names of the containers on a zone's host."""
    status: dict[str, Any] = living.world.status.request("GET", "status")
    instance = _hosts(living)[zone]["InstanceId"]
    (host,) = (each for each in status["hosts"] if each["instance_id"] == instance)
    return [each["name"] for each in host["containers"]]


def _record(living: Deployment, zone: str) -> dict[str, Any]:
    """What a host has written down of what it serves."""
    root = living.world.directory / "world" / "hosts" / _hosts(living)[zone]["InstanceId"] / "root"
    return json.loads((root / "opt" / "edge-inference" / "serving.json").read_text())


def test_a_token_that_opens_nothing_is_told_before_an_instance_is_bought(living: Deployment) -> None:
    _configure(living, OREGON)
    page = "https://huggingface.co/meta-llama/Llama-3.2-3B-Instruct"
    refused = {"secret-but-wrong": "is no valid token", "hf_secret-but-no-licence": f"accept the licence at {page}"}
    for token, told in refused.items():
        living.environment.store_secrets({TOKEN: token})
        failure = _failure(living.preview)
        assert told in str(failure)
        assert "nothing was changed" in str(failure)
        assert token not in str(failure)
    living.environment.store_secrets({TOKEN: "hf_right"})


def test_each_site_that_fails_is_told_with_step_and_cause_and_the_other_serves(living: Deployment) -> None:
    _configure(living, OREGON, OREGON_B, OREGON_C, LOS_ANGELES)
    living.world.set_faults(
        full_disk_zones=[OREGON],
        out_of_memory_zones=[OREGON_B],
        never_boot_zones=[LOS_ANGELES],
    )
    failure = _failure(living.up)
    assert "pull-image failed: no space left: the image needs at least" in _error_of(failure, f"{OREGON}-1-image")
    no_memory = _error_of(failure, f"{OREGON_B}-1-ready")
    assert "torch.OutOfMemoryError: CUDA out of memory" in no_memory
    assert "serve failed: the server's container" in no_memory
    assert "this host serves nothing now\n  -> sudo docker logs --tail 200 edge-inference-server-failed" in no_memory
    assert "failed attempts" in _error_of(failure, f"{LOS_ANGELES}-1-scripts")
    assert "edge refresh living --local" in failure.errors[-2]
    outputs = living.environment.outputs()
    assert tokens(outputs["endpoint_urls"][OREGON_C])
    assert_contract(outputs)
    replicas = {zone: site["replicas"][0] for zone, site in outputs["sites"].items()}
    assert [zone for zone, replica in replicas.items() if replica["served"]] == [OREGON_C]
    assert all(replica["address"] and replica["url"] for replica in replicas.values())
    named = {name for name, _, _ in living.world.records() if "living" in name}
    assert any(name.startswith(f"{OREGON_C}.sites.") for name in named)
    assert not any(name.startswith(f"{OREGON}.sites.") for name in named)


def test_the_next_run_recovers_all_of_them(living: Deployment) -> None:
    ec2 = living.world.aws("ec2")
    ec2.start_instances(InstanceIds=[_hosts(living)[LOS_ANGELES]["InstanceId"]])  # it boots at last
    _configure(living, OREGON, OREGON_B, OREGON_C, LOS_ANGELES, HONOLULU)
    recovered = living.up()
    assert not any(OREGON_C in name for name in recovered.touched)
    for url in recovered.outputs["endpoint_urls"].values():
        assert tokens(url)
    assert _record(living, HONOLULU)["attention"] == "flashinfer"


def test_a_change_that_the_gpu_has_no_memory_for_leaves_the_server_before(living: Deployment) -> None:
    living.world.set_faults(out_of_memory_zones=[OREGON])
    _configure(living, OREGON, OREGON_C, maxInputTokens=1000)
    # Honolulu and the others go all the same; of those that stay, the first failure is the last.
    running = BackgroundUp(living)
    wait_for("the changed server to fail", lambda: f"{SERVER}-failed" in _containers(living, OREGON))
    living.world.set_faults(**NO_FAULTS)  # which would keep the server before away, too
    failure = running.end()
    assert isinstance(failure, DeploymentFailedError)
    assert "the server before it serves again" in _error_of(failure, f"{OREGON}-1-ready")
    assert _record(living, OREGON)["flags"][5] == "3072"
    assert _record(living, OREGON_C)["flags"][5] == "3072"
    url = f"http://{_hosts(living)[OREGON]['PublicIpAddress']}:8080"
    assert _max_input_tokens(url) == 3072, "waited for"


def _max_input_tokens(url: str) -> int | None:
    try:
        return requests.get(f"{url}/info", timeout=5).json()["max_input_tokens"]
    except requests.RequestException:
        return None


def test_attention_that_does_not_run_on_the_gpu_falls_back_and_is_recorded(living: Deployment) -> None:
    living.world.set_faults(no_flashinfer_zones=[OREGON])
    recovered = living.up()
    expected = {f"Command {zone}-1-ready" for zone in (OREGON, OREGON_C)}
    assert set(recovered.touched) <= expected | {name for name in recovered.touched if "routing" in name}
    assert _max_input_tokens(recovered.outputs["endpoint_urls"][OREGON]) == 1000
    record = _record(living, OREGON)
    assert (record["fallback"], record["attention"], record["prefix_caching"]) == (True, "paged", "0")
    assert "starting once more with -e ATTENTION=paged -e PREFIX_CACHING=0" in recovered.text


def test_an_image_that_does_not_exist_leaves_the_servers_as_they_are(living: Deployment) -> None:
    before = {zone: _record(living, zone) for zone in (OREGON, OREGON_C)}
    _configure(living, OREGON, OREGON_C, maxInputTokens=1000, image="ghcr.io/huggingface/text-generation-inference:no-such")
    failure = _failure(living.up)
    for zone in before:
        text = _error_of(failure, f"{zone}-1-image")
        assert "manifest unknown" in text
        assert "text-generation-inference:no-such was not pulled\n  -> " in text
    assert {zone: _record(living, zone) for zone in before} == before
    for url in living.environment.outputs()["endpoint_urls"].values():
        assert tokens(url)  # the step failed; what ran before serves


def test_a_host_that_dies_in_the_middle_of_a_step(living: Deployment) -> None:
    ec2 = living.world.aws("ec2")
    lost = _hosts(living)[OREGON]["InstanceId"]
    _configure(living, OREGON, OREGON_C, maxInputTokens=1000, image="ghcr.io/huggingface/text-generation-inference:2.4.1")
    run = BackgroundUp(living)
    wait_for("the pull", lambda: f"Command {OREGON}-1-image" in run.recording.touched)
    ec2.stop_instances(InstanceIds=[lost])
    failure = run.end()
    assert isinstance(failure, DeploymentFailedError)
    assert any(text.startswith(f"{OREGON}-1-") for text in failure.errors)
    assert not _record(living, OREGON_C)["image"].endswith(":2.4.1"), "it waits for its turn"

    ec2.start_instances(InstanceIds=[lost])
    recovered = living.up()
    assert tokens(recovered.outputs["endpoint_urls"][OREGON])
    assert all(_record(living, zone)["image"].endswith(":2.4.1") for zone in (OREGON, OREGON_C))


def test_an_instance_whose_host_is_dead_is_replaced_without_a_hang(living: Deployment) -> None:
    lost = _hosts(living)[OREGON]["InstanceId"]
    living.world.aws("ec2").stop_instances(InstanceIds=[lost])
    living.pulumi("up", "--yes", "--skip-preview", "--replace", living.urns()[f"Instance {OREGON}-1-host"])
    assert _hosts(living)[OREGON]["InstanceId"] != lost
    assert tokens(living.environment.outputs()["endpoint_urls"][OREGON])


def test_sites_whose_hosts_are_gone_or_dead_are_destroyed_without_a_hang(living: Deployment) -> None:
    ec2, hosts = living.world.aws("ec2"), _hosts(living)
    ec2.terminate_instances(InstanceIds=[hosts[OREGON]["InstanceId"]])
    ec2.stop_instances(InstanceIds=[hosts[OREGON_C]["InstanceId"]])
    living.destroy()
    assert _hosts(living) == {}
    assert living.world.host_processes() == []
