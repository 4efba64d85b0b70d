"""`up` ends well only where every replica serves, and every command says what a plain HTTP request finds.

One deployment of three sites; the tests run in this order, and each finds what the one before has left.
"""

# boto3 has no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
from support import HONOLULU, LOS_ANGELES, OREGON, Deployment, World, assert_contract, tokens

from automation.errors import DeploymentFailedError, EdgeError
from automation.sites.bench import Clients
from automation.sites.drain import put_back, take_out
from automation.sites.hosts import find_host, run, ssh
from ttft.schedule import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.engine

ZONES = (OREGON, LOS_ANGELES, HONOLULU)
SITES: list[dict[str, object]] = [{"zone": OREGON}, {"zone": LOS_ANGELES, "reserve": True}, {"zone": HONOLULU}]
NO_SUCH_IMAGE = "ghcr.io/huggingface/text-generation-inference:no-such"


class Truth(Deployment):
    """The deployment, and what is asked of it from outside."""

    def __init__(self, world: World, stack_files: Path) -> None:
        super().__init__("truth", world, stack_files)
        self.configure(SITES, host={"connectBudgetSeconds": 60})
        self.sites: dict[str, Any] = dict(self.up().outputs["sites"])

    def url(self, zone: str) -> str:
        return self.sites[zone]["replicas"][0]["url"]

    def curl(self) -> set[str]:
        """The zones whose server generates a token for a plain request."""
        return {zone for zone in ZONES if _generates(self.url(zone))}

    def told(self) -> dict[str, set[str]]:
        """The zones that each command says serve."""
        environment = self.environment
        outputs = environment.outputs()
        assert_contract(outputs)
        assert {zone: site["replicas"][0]["url"] for zone, site in outputs["sites"].items()} == {
            zone: self.url(zone) for zone in ZONES
        }
        doctor = {check.subject.removeprefix("replica ").removesuffix("-1"): check.state for check in environment.doctor().checks}
        try:
            plan = Plan(targets=(), rounds=1, output_tokens=2, gap_seconds=0.0)
            measured = {sample.target.split()[0] for sample in environment.bench(plan, Clients(cities=("Denver",))).samples}
        except EdgeError:
            measured = set[str]()
        return {
            "status": {site.zone for site in environment.status().sites if site.serves},
            "doctor": {zone for zone in ZONES if doctor[zone] == "ok"},
            "bench": measured,
        }

    def assert_all_say(self, *zones: str) -> None:
        """That these zones serve, and no other: a plain request first, then each command."""
        assert self.curl() == set(zones)
        assert self.told() == {"status": set(zones), "doctor": set(zones), "bench": set(zones)}

    def on_host(self, zone: str, command: str) -> str | None:
        host = find_host(self.environment, zone)
        with ssh(self.environment, host, self.environment.stack_config()) as words:
            return run(words, command, seconds=60)

    def instance(self, zone: str) -> str:
        return self.environment.outputs()["sites"][zone]["replicas"][0]["instance_id"]


def _generates(url: str) -> bool:
    try:
        return bool(tokens(url))
    except requests.RequestException:
        return False


def _failure(run: Callable[[], object]) -> DeploymentFailedError:
    with pytest.raises(DeploymentFailedError) as raised:
        run()
    return raised.value


@pytest.fixture(scope="module")
def truth(world: World, stack_files: Path) -> Iterator[Truth]:
    deployed = Truth(world, stack_files)
    yield deployed
    deployed.destroy()
    kept = world.aws("ec2").describe_capacity_reservations()["CapacityReservations"]
    assert [each["CapacityReservationId"] for each in kept if each["State"] == "active"] == []


def test_after_a_failed_step_serving_sites_are_told_to_serve(truth: Truth) -> None:
    truth.configure(SITES, host={"connectBudgetSeconds": 60}, server={"image": NO_SUCH_IMAGE})
    failure = _failure(truth.up)
    assert set(failure.sites) == set(ZONES)
    truth.assert_all_say(*ZONES)
    routes = truth.environment.routes()
    assert {site.zone for site in routes.sites if site.healthy} == set(ZONES)
    # Its TTL is not waited for: tests/unit/automation/test_drain.py has that.
    take_out(truth.environment, LOS_ANGELES)
    assert [site.zone for site in truth.environment.routes().sites if site.drained] == [LOS_ANGELES]
    put_back(truth.environment, LOS_ANGELES)
    truth.assert_all_say(*ZONES)
    truth.configure(SITES, host={"connectBudgetSeconds": 60})
    assert not any("host" in name for name in truth.up().touched)


def test_a_second_up_changes_nothing(truth: Truth) -> None:
    again = truth.up()
    assert again.touched == {}
    assert all(replica["served"] for site in again.outputs["sites"].values() for replica in site["replicas"])


def test_a_dead_site_is_told_by_every_command_and_made_again_by_the_next_run(truth: Truth) -> None:
    """Its instance is terminated, and a server beside it is stopped: nothing in the config has changed. Its zone has no other GPU
    than the one that is reserved for it.
    """
    lost = truth.instance(LOS_ANGELES)
    truth.world.aws("ec2").terminate_instances(InstanceIds=[lost])
    assert truth.on_host(HONOLULU, "sudo docker stop edge-inference-server") is not None
    truth.assert_all_say(OREGON)

    truth.world.set_faults(no_capacity_zones=[LOS_ANGELES])
    mended = truth.up()
    truth.world.set_faults(no_capacity_zones=[])

    assert f"Instance {LOS_ANGELES}-1-host" in mended.touched
    assert f"Command {HONOLULU}-1-ready" in mended.touched
    assert not any(OREGON in name for name in mended.touched)
    assert truth.instance(LOS_ANGELES) != lost
    assert truth.curl() == set(ZONES)


def test_a_host_of_another_type_whose_server_does_not_start_again_is_told_and_nothing_else_is_touched(truth: Truth) -> None:
    """It keeps its instance, and its GPU has no memory for the model: the steps on it say why."""
    instance = truth.instance(OREGON)
    truth.world.set_faults(out_of_memory_zones=[OREGON])
    truth.configure([{"zone": OREGON, "instanceType": "g4dn.4xlarge"}, *SITES[1:]], host={"connectBudgetSeconds": 60})
    failure = _failure(truth.up)
    assert list(failure.sites) == [OREGON]
    assert failure.exit_code == 6
    assert "the server's container ended" in " ".join(failure.sites[OREGON].reasons)
    assert truth.instance(OREGON) == instance
    truth.assert_all_say(LOS_ANGELES, HONOLULU)


def test_a_stopped_instance_is_started_and_a_dead_and_a_foreign_server_are_replaced(truth: Truth) -> None:
    stopped = truth.instance(HONOLULU)
    truth.world.aws("ec2").stop_instances(InstanceIds=[stopped])
    assert truth.on_host(LOS_ANGELES, "sudo docker rm -f edge-inference-server") is not None
    assert truth.curl() == set[str]()
    truth.world.set_faults(out_of_memory_zones=[])
    truth.up()
    assert truth.instance(HONOLULU) == stopped
    assert truth.curl() == set(ZONES)


def test_a_rule_that_somebody_added_is_told_with_what_takes_it_away(truth: Truth) -> None:
    ec2 = truth.world.aws("ec2")
    own = [{"Name": "tag:Name", "Values": [f"edge-inference-truth-{OREGON}-firewall"]}]
    (group,) = ec2.describe_security_groups(Filters=own)["SecurityGroups"]
    ec2.authorize_security_group_ingress(
        GroupId=group["GroupId"],
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
    )
    ec2.create_tags(Resources=[truth.instance(OREGON)], Tags=[{"Key": "Name", "Value": "somebody's"}])
    found = truth.environment.drift()
    (foreign,) = found.foreign
    assert foreign.inside == f"{OREGON}-firewall"
    assert "tcp, 22, from 0.0.0.0/0" in foreign.what
    assert "aws ec2 revoke-security-group-ingress --region us-west-2 --group-id" in foreign.remove
    (changed,) = found.resources
    assert changed.name == f"{OREGON}-1-host"
    assert "somebody's" in str(changed.values["tags"][1])
    assert "somebody's" not in str(changed.values["tags"][0])


def test_a_server_is_restarted_by_hand_and_serves_again(truth: Truth) -> None:
    started = "sudo docker inspect --format '{{.State.StartedAt}}' edge-inference-server"
    before = truth.on_host(OREGON, started)
    truth.environment.restart(OREGON)
    assert truth.on_host(OREGON, started) != before
    assert truth.curl() == set(ZONES)


def test_the_next_run_has_nothing_to_do(truth: Truth) -> None:
    assert truth.up().touched == {}
