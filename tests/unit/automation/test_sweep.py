"""Removing what no state knows: each kind by its own call, once more while AWS still has it in use, none keeps another."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs]

from automation.account.orphans import Thing
from automation.account.sweep import Swept, sweep

REGION = "us-west-2"
HOST = Thing("instance", "i-1", REGION)
ADDRESS = Thing("address", "eipalloc-1", REGION, details={"answer": {"AssociationId": "a-1", "NetworkBorderGroup": "lax"}})
SUBNET = Thing("subnet", "subnet-1", REGION)
RULE = Thing("security group rule", "sgr-1", REGION, details={"group": "sg-1", "egress": False})


def error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "the reason"}}, "Call")


class FakeAws:
    """Answers every call, or refuses it as often as it was told to."""

    def __init__(self, **refusals: list[str]) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._refusals = refusals
        self.slept = 0.0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*_: str, **arguments: Any) -> Any:
            self.calls.append((name, arguments))
            if self._refusals.get(name):
                raise error(self._refusals[name].pop(0))
            return SimpleNamespace(wait=lambda **_: None)  # pyright: ignore[reportUnknownLambdaType]

        return call

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def sweep(self, *found: Thing) -> Swept:
        return sweep(found, self.client, lambda _: None, self.sleep)

    def client(self, *_: str) -> Any:
        return self

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


def record(zone: str, name: str) -> Thing:
    return Thing("record", name, details={"hosted_zone_id": zone, "record": {"Name": name}})


def test_the_records_of_a_zone_go_in_one_change() -> None:
    """Aliases and their targets: the batch is accepted in whatever order."""
    aws = FakeAws()
    assert len(aws.sweep(record("Z1", "a"), record("Z2", "b"), record("Z1", "c")).removed) == 3
    batches = [(each["HostedZoneId"], len(each["ChangeBatch"]["Changes"])) for _, each in aws.calls]
    assert sorted(batches) == [("Z1", 2), ("Z2", 1)]


def test_instances_are_gone_before_anything_that_they_use() -> None:
    aws = FakeAws()
    aws.sweep(HOST, ADDRESS, SUBNET)
    assert aws.names == ["terminate_instances", "get_waiter", "disassociate_address", "release_address", "delete_subnet"]
    assert aws.calls[3][1] == {"AllocationId": "eipalloc-1", "NetworkBorderGroup": "lax"}


def test_what_is_still_in_use_is_tried_again_and_what_is_gone_is_removed() -> None:
    aws = FakeAws(
        delete_subnet=["DependencyViolation", "DependencyViolation"], disassociate_address=["InvalidAssociationID.NotFound"]
    )
    assert not aws.sweep(ADDRESS, SUBNET).left
    assert aws.names.count("delete_subnet") == 3
    assert aws.slept > 0
    assert not FakeAws(delete_subnet=["InvalidSubnetID.NotFound"]).sweep(SUBNET).left


def test_one_that_aws_keeps_keeps_no_other() -> None:
    aws = FakeAws(revoke_security_group_ingress=["UnauthorizedOperation"], delete_subnet=["DependencyViolation"] * 1000)
    swept = aws.sweep(HOST, RULE, SUBNET)
    assert swept.removed == (HOST,)
    assert [(each.id, "the reason" in why) for each, why in swept.left] == [("sgr-1", True), ("subnet-1", True)]
