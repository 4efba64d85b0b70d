"""What a run must mend though nothing in the config has changed, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from automation.sites.repairs import DeployedReplica, Look, deployed_replicas, judge
from automation.sites.serving import Answer
from components.engines import Server
from components.host_steps import ServingSpec, serving_steps, transaction

OREGON, LAX = "us-west-2a", "us-west-2-lax-1a"
SERVES, DEAD, SLOW = Answer("serves", "healthy"), Answer("dead", "nothing answers", reached=False), Answer("slow", "busy")


def resource(kind: str, name: str, **outputs: Any) -> dict[str, Any]:
    return {"urn": f"urn:{kind}::{name}", "type": kind, "id": f"id-{name}", "outputs": outputs}


def command(name: str, step: str = "ready") -> dict[str, Any]:
    return resource("command:remote:Command", f"{name}-{step}", create=READY)


READY = serving_steps(ServingSpec(Server()))[-1].on_instance("i-1")
DIGEST = str(transaction(ServingSpec(Server()))["digest"])
STATE = {
    "resources": [
        resource("aws:ec2/instance:Instance", f"{OREGON}-1-host"),
        resource("aws:ec2/eipAssociation:EipAssociation", f"{OREGON}-1-association"),
        command(f"{OREGON}-1"),
        command(f"{OREGON}-1", "server"),
        command(f"{OREGON}-11"),
        resource("aws:ec2/instance:Instance", f"{LAX}-2-host"),
        {**resource("aws:ec2/instance:Instance", f"{LAX}-3-host"), "delete": True},
    ]
}


def test_replicas_are_those_with_an_instance_and_know_their_steps() -> None:
    found = deployed_replicas(STATE)
    assert found.keys() == {f"{OREGON}-1", f"{LAX}-2"}
    first = found[f"{OREGON}-1"]
    assert (first.region, first.instance_id, first.digest) == ("us-west-2", f"id-{OREGON}-1-host", DIGEST)
    assert [urn.rpartition("::")[2] for urn in first.resources] == [f"{OREGON}-1-host", f"{OREGON}-1-association"]
    assert [urn.rpartition("::")[2] for urn in first.commands] == [f"{OREGON}-1-ready", f"{OREGON}-1-server"]
    assert found[f"{LAX}-2"].digest is None


REPLICA = DeployedReplica(OREGON, 1, "us-west-2", "i-1", "abc123", ("urn:host",), ("urn:ready",))
RUNS = "abc123 running"


@pytest.mark.parametrize(
    ("state", "look", "repair"),
    [
        ("running", Look(SERVES, RUNS), None),
        ("running", Look(SLOW, RUNS), None),
        ("running", Look(DEAD, RUNS), "again"),
        ("running", Look(SERVES, "abc123 exited"), "again"),
        ("running", Look(SERVES, "fed321 running"), "again"),
        ("running", Look(DEAD, "none"), "again"),
        # Who takes no commands cannot be converged; the end of the run tells.
        ("running", Look(DEAD, None), None),
        (None, Look(SERVES, RUNS), None),
        ("terminated", Look(DEAD, None), "gone"),
        ("gone", Look(DEAD, None), "gone"),
        ("stopped", Look(DEAD, None), "stopped"),
    ],
)
def test_what_is_mended(state: str | None, look: Look, repair: str | None) -> None:
    found = judge({"r": REPLICA}, {"i-1": state} if state else {}, {"r": look})
    assert [name for name in ("gone", "stopped", "again") if getattr(found, name)] == ([repair] if repair else [])


def test_a_replica_that_no_run_has_finished_is_the_next_runs_anyway() -> None:
    unfinished = DeployedReplica(OREGON, 1, "us-west-2", "i-1", None, ("urn:host",), ())
    assert not judge({"r": unfinished}, {"i-1": "running"}, {"r": Look(DEAD, "none")})
    assert judge({"r": unfinished}, {"i-1": "terminated"}, {"r": Look(DEAD, None)}).gone


def test_a_state_of_the_release_before_is_understood() -> None:
    text = "# on i-1\n# scripts 0123\nsudo x/remote/wait-ready.sh abc123 80 /health"
    ready = resource("command:remote:Command", f"{OREGON}-1-ready", create=text)
    host = resource("aws:ec2/instance:Instance", f"{OREGON}-1-host")
    assert deployed_replicas({"resources": [host, ready]})[f"{OREGON}-1"].digest == "abc123"
