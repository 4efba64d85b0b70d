"""What cannot work is refused, as one clear error, and what can work beside it does; nothing is half known.

The tests run in this order: each finds what the one before has left.
"""

# boto3 has no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import HONOLULU, LOS_ANGELES, OREGON, ROOMY, Deployment, World, assert_contract, tokens

from automation.errors import CapacityError, DeploymentFailedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def refused(world: World, stack_files: Path) -> Deployment:
    return Deployment("refused", world, stack_files)


@pytest.fixture(autouse=True)
def _no_faults_afterwards(world: World) -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    yield
    world.set_faults(**ROOMY, no_capacity_zones=[])


def _refusal(run: Callable[[], object]) -> str:
    with pytest.raises(DeploymentFailedError) as caught:
        run()
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


def _assert_nothing_was_made(refused: Deployment, log_offset: int) -> None:
    assert {urn.split()[0] for urn in refused.urns()} <= {"Stack", "aws", "pulumi"}  # the stack itself and the provider
    changing = [call for call in refused.world.calls_since(log_offset) if not call.startswith(("Describe", "Get", "List"))]
    assert changing == []


def test_a_bad_config_changes_nothing_and_all_is_told_at_once(refused: Deployment) -> None:
    """By `edge` before anything is started, by plain Pulumi in the program."""
    refused.configure(
        [{"zone": OREGON, "replica": 2}, LOS_ANGELES, LOS_ANGELES, "nowhere"],
        access={"clientCidrs": ["127.0.0.1/8"], "sshCidrs": ["127.0.0.1/32"]},
        endpoint={"portt": 80},
        sitez=[],
    )
    offset = refused.world.log.stat().st_size
    with pytest.raises(UsageError) as caught:
        refused.up()
    told_by_program = refused.shell()("preview").stdout
    for told in (str(caught.value), told_by_program):
        assert "6 problems in the configuration of stack 'refused'; nothing was changed." in told
        for path in ("sites[0].replica", "sites[2].zone", "sites[3].zone", "access.clientCidrs[0]", "endpoint.portt", "sitez"):
            assert f"edge-inference:{path}" in told
    assert "Traceback" not in told_by_program
    _assert_nothing_was_made(refused, offset)


@pytest.fixture
def somebody_elses(refused: Deployment) -> Iterator[None]:
    """An instance of 4 vCPUs and an address, of nobody's stack."""
    ec2 = refused.world.aws("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24", AvailabilityZone="us-west-2b")["Subnet"]["SubnetId"]
    image = ec2.describe_images()["Images"][0]["ImageId"]
    launched = ec2.run_instances(ImageId=image, InstanceType="g4dn.xlarge", SubnetId=subnet, MinCount=1, MaxCount=1)
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    yield
    ec2.terminate_instances(InstanceIds=[launched["Instances"][0]["InstanceId"]])
    ec2.release_address(AllocationId=address)
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc)


@pytest.mark.usefixtures("somebody_elses")
def test_what_aws_would_refuse_is_told_before_anything_is_made(refused: Deployment) -> None:
    """Zone, opt-in, offer and quotas; these count what others use in the Region."""
    # One less than the sites' 8 + 48 + 8 vCPUs and 3 addresses with the other instance's 4 vCPUs and the address.
    refused.world.set_faults(quota_vcpus=67, quota_addresses=3)
    refused.configure(
        [OREGON, {"zone": HONOLULU, "instanceType": "g4dn.12xlarge"}, "us-west-2-xyz-1a", "us-east-1-chi-1a"],
        tags={"owner": "nobody"},
    )
    offset = refused.world.log.stat().st_size
    told = _refusal(refused.preview)
    assert told.startswith("5 problems in the configuration of stack 'refused'; nothing was changed.")
    assert f"is not offered in {HONOLULU}" in told
    assert "AWS knows no such zone in us-west-2" in told
    assert "the account is not opted in to the zone group us-east-1-chi-1" in told
    assert "need 64 vCPUs; the account uses 4 otherwise" in told
    assert "need 3 Elastic IP addresses; the account uses 1 otherwise" in told
    _assert_nothing_was_made(refused, offset)


def test_an_unknown_hosted_zone_is_told_by_plain_pulumi_too(refused: Deployment) -> None:
    refused.configure([OREGON])
    pulumi = refused.shell()
    for key, value in (("domain", "llm.nowhere.internal"), ("hostedZone", "nowhere.internal")):
        assert pulumi("config", "set", "--path", f"edge-inference:routing.{key}", value).returncode == 0
    told = pulumi("preview")
    assert told.returncode != 0
    assert "1 problem in the configuration" in told.stdout
    assert 'edge-inference:routing.hostedZone = "nowhere.internal"' in told.stdout
    assert "Traceback" not in told.stdout + told.stderr


def test_a_zone_without_capacity_is_named_with_what_it_offers_and_nothing_is_made(refused: Deployment) -> None:
    # And a host with another key, below, costs the whole budget.
    short = {"zone": LOS_ANGELES, "instanceTypes": ["g4dn.2xlarge", "g4dn.xlarge"]}
    refused.configure([OREGON, short], host={"connectBudgetSeconds": 10}, **{"aws:maxRetries": "1"})
    refused.world.set_faults(no_capacity_zones=[f"{LOS_ANGELES}/g4dn.2xlarge"])
    with pytest.raises(CapacityError) as caught:
        refused.up()
    told = str(caught.value)
    assert told.startswith(f"{LOS_ANGELES} has no g4dn.2xlarge now, says AWS (InsufficientInstanceCapacity); nothing was changed")
    for line in ("g4dn.2xlarge   $0.902 per hour  has no capacity", "g4dn.xlarge    $0.631 per hour  next", "g5.4xlarge"):
        assert line in told
    assert "--fallback   # puts g4dn.xlarge first" in told
    assert {urn.split()[0] for urn in refused.urns()} <= {"Stack", "aws", "pulumi"}
    # What was kept for the other site is given back.
    ec2 = refused.world.aws("ec2")
    assert {each["State"] for each in ec2.describe_capacity_reservations()["CapacityReservations"]} == {"cancelled"}


def test_plain_pulumi_asks_nobody_and_the_other_site_serves(refused: Deployment) -> None:
    """By default the official plugin tries again for up to 50 minutes, ours for 12 seconds."""
    refused.world.set_faults(no_capacity_zones=[f"{LOS_ANGELES}/g4dn.2xlarge"])
    told = refused.shell()("up", "--yes", "--skip-preview", "--continue-on-error")
    assert told.returncode != 0
    assert "InsufficientInstanceCapacity" in told.stdout + told.stderr
    outputs = refused.environment.outputs()
    assert_contract(outputs)
    assert tokens(outputs["endpoint_urls"][OREGON])
    (failed,) = outputs["sites"][LOS_ANGELES]["replicas"]
    assert (failed["served"], failed["instance_id"]) == (False, None)
    assert failed["url"] == f"http://{failed['address']}:8080"


def test_the_next_type_goes_to_the_front_of_the_stack_file_and_on(refused: Deployment) -> None:
    """A rehearsal does not write a tracked file: here the caller does what --fallback would."""
    refused.world.set_faults(no_capacity_zones=[f"{LOS_ANGELES}/g4dn.2xlarge"])
    with pytest.raises(UsageError, match="a rehearsal changes no tracked file"):
        refused.environment.up(fallback=True)
    refused.configure(
        [OREGON, {"zone": LOS_ANGELES, "instanceTypes": ["g4dn.xlarge", "g4dn.2xlarge"]}],
        host={"connectBudgetSeconds": 10},
        **{"aws:maxRetries": "1"},
    )
    finished = refused.up()
    assert not any(OREGON in name for name in finished.touched)
    assert finished.outputs["sites"][LOS_ANGELES]["instance_type"] == "g4dn.xlarge"
    for url in finished.outputs["endpoint_urls"].values():
        assert tokens(url)
    kept = refused.world.aws("ec2").describe_capacity_reservations()["CapacityReservations"]
    assert {each["State"] for each in kept} == {"cancelled"}
    assert {tag["Key"] for each in kept for tag in each["Tags"]} >= {"edge-inference:stack", "edge-inference:deployment"}


def test_a_host_with_another_key_than_it_was_made_with_gets_no_secret(refused: Deployment) -> None:
    """As if someone else answered there."""
    refused.world.set_faults(first_boot_key_zones=[OREGON, LOS_ANGELES])
    told = _refusal(lambda: refused.environment.up(replace_hosts=[OREGON, LOS_ANGELES], all_at_once=True))
    # One cause, told once, for both.
    assert told.count("ssh: host key mismatch") == 1
    assert all(f"{zone}-1-" in told for zone in (OREGON, LOS_ANGELES)), told
    refused.world.set_faults(first_boot_key_zones=[])
    assert not any(name.startswith("Instance ") for name in refused.up().touched)


def test_destroy_leaves_nothing(refused: Deployment) -> None:
    refused.destroy()
    assert refused.world.host_processes() == []
