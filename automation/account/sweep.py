"""Removes what AWS has of a deployment and its state does not, in an order that AWS accepts (orphans.py decides what that is).

One that AWS does not let go of keeps no other from being removed. Leaves out finding them, and asking a person.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError, WaiterError  # pyright: ignore[reportMissingTypeStubs]

from automation.account.orphans import Kind, Thing

Client = Callable[[str, str], Any]
"""Makes a boto3 client of a service in a Region."""
_PATIENCE_SECONDS = 120.0
"""How long something may still be in use by what was just removed: interfaces of terminated instances linger."""
_POLL_SECONDS = 3.0
_STILL_IN_USE = ("DependencyViolation", "InvalidIPAddress.InUse", "InvalidNetworkInterface.InUse", "VolumeInUse")
_TERMINATION = {"Delay": 5, "MaxAttempts": 120}
"""A GPU host takes minutes to shut down."""


@dataclass(frozen=True)
class Swept:
    """What came of a sweep."""

    removed: tuple[Thing, ...]
    left: tuple[tuple[Thing, str], ...]
    """What AWS did not let go of, each with its reason."""


def sweep(
    found: Sequence[Thing], client: Client, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
) -> Swept:
    """Removes things, which come in the order of orphans.py; what is gone already counts as removed."""
    sweeper = _Sweeper(client, sleep)
    removed: list[Thing] = []
    left: list[tuple[Thing, str]] = []
    for batch in _batches(found):
        try:
            sweeper.remove(batch)
        except (BotoCoreError, ClientError, WaiterError) as error:
            left += [(each, str(error)) for each in batch]
            say(f"left     {', '.join(f'{each.kind} {each.id}' for each in batch)}: {error}")
            continue
        removed += batch
        for each in batch:
            say(f"removed  {each.kind} {each.id}")
    return Swept(tuple(removed), tuple(left))


def _batches(found: Iterable[Thing]) -> Iterable[list[Thing]]:
    """Together: the records of a hosted zone, whose aliases and targets go in one change, and a Region's instances."""

    def together(each: Thing) -> tuple[str, str, str]:
        shared = {"record": each.details.get("hosted_zone_id", ""), "instance": each.region}
        return each.kind, shared.get(each.kind, each.id), each.region

    ordered = sorted(found, key=lambda each: each.details["hosted_zone_id"] if each.kind == "record" else "")
    records = [each for each in ordered if each.kind == "record"]
    for _, batch in groupby([*records, *(each for each in found if each.kind != "record")], together):
        yield list(batch)


class _Sweeper:
    """Knows how each kind is removed."""

    def __init__(self, client: Client, sleep: Callable[[float], None]) -> None:
        self._client, self._sleep = client, sleep
        self._removals: dict[Kind, Callable[[Any, Thing], object]] = {
            "health check": lambda route53, each: route53.delete_health_check(HealthCheckId=each.id),
            "hosted zone": lambda route53, each: route53.delete_hosted_zone(Id=each.id),
            "capacity reservation": lambda ec2, each: ec2.cancel_capacity_reservation(CapacityReservationId=each.id),
            "address association": lambda ec2, each: ec2.disassociate_address(AssociationId=each.id),
            "address": _release,
            "volume": lambda ec2, each: ec2.delete_volume(VolumeId=each.id),
            "network interface": lambda ec2, each: ec2.delete_network_interface(NetworkInterfaceId=each.id),
            "security group rule": _revoke,
            "route": lambda ec2, each: ec2.delete_route(
                RouteTableId=each.details["table"], DestinationCidrBlock=each.details["destination"]
            ),
            "route table association": lambda ec2, each: ec2.disassociate_route_table(AssociationId=each.id),
            "subnet": lambda ec2, each: ec2.delete_subnet(SubnetId=each.id),
            "security group": lambda ec2, each: ec2.delete_security_group(GroupId=each.id),
            "route table": _delete_route_table,
            "key pair": lambda ec2, each: ec2.delete_key_pair(KeyName=each.details["name"]),
            "internet gateway": _delete_gateway,
            "VPC": lambda ec2, each: ec2.delete_vpc(VpcId=each.id),
        }

    def remove(self, batch: Sequence[Thing]) -> None:
        """Removes things of one kind; ClientError where AWS does not let go of them."""
        first = batch[0]
        client = self._client("ec2", first.region) if first.region else self._client("route53", "us-east-1")
        if first.kind == "record":
            changes = [{"Action": "DELETE", "ResourceRecordSet": each.details["record"]} for each in batch]
            zone_id = first.details["hosted_zone_id"]
            client.change_resource_record_sets(HostedZoneId=zone_id, ChangeBatch={"Changes": changes})
        elif first.kind == "instance":
            ids = [each.id for each in batch]
            client.terminate_instances(InstanceIds=ids)
            client.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig=_TERMINATION)
        else:
            self._patiently(lambda: self._removals[first.kind](client, first))

    def _patiently(self, removal: Callable[[], object]) -> None:
        waited = 0.0
        while True:
            try:
                removal()
            except ClientError as error:
                code = _code(error)
                if _is_gone(code):
                    return
                if code not in _STILL_IN_USE or waited >= _PATIENCE_SECONDS:
                    raise
                self._sleep(_POLL_SECONDS)
                waited += _POLL_SECONDS
            else:
                return


def _code(error: ClientError) -> str:
    return str(cast("Any", error).response["Error"]["Code"])


def _is_gone(code: str) -> bool:
    return "NotFound" in code or code.startswith("NoSuch")


def _release(ec2: Any, each: Thing) -> None:
    answer = each.details["answer"]
    if answer.get("AssociationId"):
        try:
            ec2.disassociate_address(AssociationId=answer["AssociationId"])
        except ClientError as error:
            # It went with its instance.
            if not _is_gone(_code(error)):
                raise
    # Without its border group AWS does not find an address of a Local Zone.
    ec2.release_address(AllocationId=each.id, NetworkBorderGroup=answer["NetworkBorderGroup"])


def _revoke(ec2: Any, each: Thing) -> None:
    revoke = ec2.revoke_security_group_egress if each.details["egress"] else ec2.revoke_security_group_ingress
    revoke(GroupId=each.details["group"], SecurityGroupRuleIds=[each.id])


def _delete_route_table(ec2: Any, each: Thing) -> None:
    for association in each.details["answer"].get("Associations", []):
        if not association.get("Main"):
            try:
                ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
            except ClientError as error:
                # It went with its subnet.
                if not _is_gone(_code(error)):
                    raise
    ec2.delete_route_table(RouteTableId=each.id)


def _delete_gateway(ec2: Any, each: Thing) -> None:
    for attached in each.details["answer"].get("Attachments", []):
        try:
            ec2.detach_internet_gateway(InternetGatewayId=each.id, VpcId=attached["VpcId"])
        except ClientError as error:
            if _code(error) not in {"Gateway.NotAttached", "InvalidInternetGatewayID.NotFound"}:
                raise
    ec2.delete_internet_gateway(InternetGatewayId=each.id)
