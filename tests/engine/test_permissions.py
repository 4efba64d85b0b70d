"""The whole life of prod under docs/operations/iam-policy.json: nothing in it is missing, nothing superfluous.

The local cloud judges actions, not resources and conditions. The tests run in this order: each finds what the one before left.
"""

# boto3 has no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support import HONOLULU, LOS_ANGELES, Deployment, World, forget

from automation.account.orphans import deployment_id
from automation.errors import DeploymentFailedError
from automation.paths import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.engine

POLICY: dict[str, Any] = json.loads((PROJECT_ROOT / "docs" / "operations" / "iam-policy.json").read_text())
ACTIONS = {action for statement in POLICY["Statement"] for action in statement["Action"]}
OWN_NAME = {"domain": "llm.governed.internal", "hostedZone": "governed.internal", "createHostedZone": True}
LEFT_BEHIND = {"ec2:CreateNetworkInterface", "ec2:CreateVolume"}
"""What only the tests call, to leave behind what a service of AWS or a cut-off run would."""
HANGING = (
    "aws:ec2/eipAssociation:EipAssociation",
    "aws:ec2/keyPair:KeyPair",
    "aws:ec2/route:Route",
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
)


class Governed(Deployment):
    """Prod, rehearsed, whose every call is judged by the policy."""

    def __init__(self, world: World, stack_files: Path) -> None:
        super().__init__("prod", world, stack_files)
        self._stack_file = stack_files / "Pulumi.prod.yaml"
        self._stack_file.write_text((PROJECT_ROOT / "Pulumi.prod.yaml").read_text())
        self.change(routing=OWN_NAME)
        self.first_call = world.log.stat().st_size

    def allow(self, *, without: str | None = None) -> None:
        """From now on the policy is in force, or all of it but one action."""
        assert without is None or without in ACTIONS
        allowed = [{**each, "Action": [action for action in each["Action"] if action != without]} for each in POLICY["Statement"]]
        self.world.status.request("PUT", "policy", {**POLICY, "Statement": allowed})

    def change(self, **sections: object) -> None:
        """Writes more into the stack file."""
        described = yaml.safe_load(self._stack_file.read_text())
        described["config"] |= {f"edge-inference:{key}": value for key, value in sections.items()}
        self._stack_file.write_text(yaml.safe_dump(described))

    def called(self) -> set[str]:
        """Every action that was called so far, but for the tests' own."""
        return {*self.world.actions_since(self.first_call)} - LEFT_BEHIND

    def leave_behind(self, zone: str) -> set[str]:
        """A volume, an interface and a capacity reservation that no state knows, in a zone of the deployment; their ids."""
        self.world.status.request("PUT", "policy", {})
        ec2 = self.world.aws("ec2")
        tags = [{"Key": "edge-inference:deployment", "Value": deployment_id(self.exported())}]
        volume = ec2.create_volume(AvailabilityZone=zone, Size=8, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}])
        (subnet,) = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [zone]}, *_tagged(tags)])["Subnets"]
        interface = ec2.create_network_interface(SubnetId=subnet["SubnetId"])["NetworkInterface"]
        kept = ec2.create_capacity_reservation(
            InstanceType="g4dn.2xlarge",
            InstancePlatform="Linux/UNIX",
            AvailabilityZone=zone,
            InstanceCount=1,
            TagSpecifications=[{"ResourceType": "capacity-reservation", "Tags": tags}],
        )
        reservation = kept["CapacityReservation"]["CapacityReservationId"]
        return {volume["VolumeId"], interface["NetworkInterfaceId"], reservation}


@pytest.fixture(scope="module")
def prod(world: World, stack_files: Path) -> Iterator[Governed]:
    yield Governed(world, stack_files)
    world.status.request("PUT", "policy", {})


def _tagged(tags: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"Name": f"tag:{each['Key']}", "Values": [each["Value"]]} for each in tags]


def _refusal(run: Callable[[], object]) -> str:
    with pytest.raises(DeploymentFailedError) as caught:
        run()
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("ec2:DescribeAvailabilityZones", "which zones us-west-2 has is unknown"),
        ("ssm:GetParameter", "the newest Deep Learning AMI of this Region is unknown"),
    ],
)
def test_a_plan_that_may_not_ask_names_the_permission(prod: Governed, action: str, words: str) -> None:
    prod.allow(without=action)
    told = _refusal(prod.preview)
    assert f"{words}, because the credentials lack the permission {action}" in told
    assert "nothing was changed" in told
    assert "no such" not in told


@pytest.mark.parametrize("action", ["ec2:CreateVpc", "ec2:RunInstances"])
def test_a_deployment_that_may_not_make_something_says_what(prod: Governed, action: str) -> None:
    prod.allow(without=action)
    assert f"is not authorized to perform: {action}" in _refusal(prod.up)


def test_the_policy_is_enough_from_the_first_up_to_the_last_change(prod: Governed) -> None:
    prod.allow()
    prod.up()
    environment = prod.environment
    assert not environment.doctor().failed
    assert all(site.serves for site in environment.status().sites)
    assert environment.resolve("Honolulu").described()
    assert environment.routes().records
    environment.drain(LOS_ANGELES)
    assert not environment.drift()
    environment.store_drained(())
    prod.change(tags={"team": "edge"})
    prod.up()


def test_a_sweep_removes_what_was_left_behind_and_says_what_it_may_not(prod: Governed, tmp_path: Path) -> None:
    """One site of every kind, the rules and associations of the others, the key pair."""
    environment = prod.environment
    left = prod.leave_behind(HONOLULU)
    left |= forget(
        prod,
        lambda each: each["type"] in HANGING or (each["type"].startswith("aws:") and HONOLULU in each["urn"]),
        tmp_path,
    )
    prod.allow(without="ec2:DeleteVolume")
    found = environment.orphans()
    assert {each.kind for each in found} >= {"instance", "health check", "record", "volume", "network interface", "key pair"}
    ((volume, reason),) = environment.sweep(found).left
    assert volume.kind == "volume"
    assert "is not authorized to perform: ec2:DeleteVolume" in reason
    prod.allow()
    assert not environment.sweep(environment.orphans()).left
    assert environment.orphans() == ()
    assert not left & prod.world.inventory()


def test_a_destroy_that_may_not_end_instances_says_so(prod: Governed) -> None:
    prod.environment.unprotect()
    prod.allow(without="ec2:TerminateInstances")
    assert "is not authorized to perform: ec2:TerminateInstances" in _refusal(prod.destroy)


def test_destroy_leaves_nothing_and_the_policy_holds_no_more_than_was_called(prod: Governed) -> None:
    prod.allow()
    prod.destroy()
    assert prod.urns() == {}
    listed = (PROJECT_ROOT / "tests" / "provider_actions.txt").read_text().splitlines()
    official = {line for line in listed if not line.startswith("#")}
    assert prod.called() - ACTIONS == set(), "iam-policy.json lacks what is called"
    assert ACTIONS - official - prod.called() == set(), "iam-policy.json allows what nobody calls"
    assert official - ACTIONS == set(), "iam-policy.json lacks what the official provider calls"
