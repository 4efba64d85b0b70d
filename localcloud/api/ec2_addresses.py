"""Elastic IP addresses: border groups, quota, unique loopback addresses, AWS's refusals.

moto drops the border group, never refuses one, hands out any 127.x address, and leaves traces of
old associations behind.
"""

# moto is partly untyped, and its parts use each other's state:
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import ipaddress
import random
from typing import TYPE_CHECKING, Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.elastic_ip_addresses import ElasticAddress
from moto.ec2.responses import EC2Response
from moto.ec2.utils import add_tag_specification

from localcloud.api import faults
from localcloud.api.ec2_zones import ZoneRules, border_group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moto.ec2.models.instances import Instance


def backends() -> Iterator[Any]:
    """Every Region's EC2 backend that was ever used."""
    for _, _, backend in ec2_backends.iter_backends():
        yield backend


def allocated_addresses() -> set[str]:
    """Every address that this cloud has handed out and not taken back, all Regions."""
    return {address.public_ip for backend in backends() for address in backend.addresses}


def free_address() -> str:
    """A loopback address that nobody has: 127.x.y.z with x and z in 1..254.

    127.0.0.x is the machine's own; 127.255.x.x belongs to the health checkers. Random, so that
    two clouds on one machine hardly ever meet.
    """
    taken = allocated_addresses()
    while True:
        pick = random.SystemRandom().randint
        address = f"127.{pick(1, 254)}.{pick(0, 255)}.{pick(1, 254)}"
        if address not in taken:
            return address


class PublicAddress(ElasticAddress):
    """An Elastic IP address that keeps its network border group."""

    def __init__(self, backend: EC2Backend, group: str, tags: dict[str, str] | None) -> None:
        super().__init__(backend, domain="vpc", address=free_address(), tags=tags)
        self.network_border_group = group
        self.public_ipv4_pool = "amazon"

    @property
    def instance_id(self) -> str | None:
        """None, not moto's empty string, where there is none: AWS leaves it out."""
        return self.instance.id if self.instance else None

    @property
    def network_interface_id(self) -> str | None:
        """As `instance_id`."""
        return self.eni.id if self.eni else None

    def get_filter_value(self, filter_name: str, method_name: str | None = None) -> Any:
        """Adds the filter by border group."""
        if filter_name == "network-border-group":
            return self.network_border_group
        return super().get_filter_value(filter_name, method_name)


class AddressRules(ZoneRules):
    """Elastic IP addresses of one Region."""

    def allocate_in_group(self, group: str | None, tags: dict[str, str]) -> Any:
        """A new address in a border group; the quota is the Region's, Local Zones included."""
        group = group or self.region_name
        if group not in {border_group(zone.name) for zone in self.describe_availability_zones()}:
            raise EC2ClientError("InvalidParameterValue", f"The network border group '{group}' is invalid.")
        if len(self.addresses) >= faults.current.quota_addresses:
            raise EC2ClientError("AddressLimitExceeded", "The maximum number of addresses has been reached.")
        address: Any = PublicAddress(self, group, tags)
        self.addresses.append(address)
        return address

    def associate_address(
        self,
        instance: Any = None,
        eni: Any = None,
        address: str | None = None,
        allocation_id: str | None = None,
        reassociate: bool = False,  # noqa: FBT001, FBT002
    ) -> ElasticAddress:
        """Associate an address as AWS would let it: same border group, gateway attached."""
        if instance and instance.state not in {"pending", "running", "stopped"}:
            raise EC2ClientError(
                "InvalidInstanceID",
                f"The {instance.state} instance '{instance.id}' is not in a valid state for this operation.",
            )
        nic = eni or instance.nics[0]
        wanted = self._address(address, allocation_id)
        self._refuse_wrong_place(wanted, nic)
        for other in [a for a in self.addresses if a.eni is nic or a is wanted]:
            if not other.association_id or (other is wanted and other.eni is nic):
                continue
            if not reassociate:
                raise EC2ClientError(
                    "Resource.AlreadyAssociated",
                    f"resource {other.allocation_id} is already associated with associate-id {other.association_id}",
                )
            self.disassociate_address(association_id=other.association_id)
        return super().associate_address(instance=instance, eni=nic, allocation_id=wanted.allocation_id, reassociate=True)

    def _address(self, address: str | None, allocation_id: str | None) -> ElasticAddress:
        if address:
            return self.address_by_ip([address])[0]
        return self.address_by_allocation([allocation_id or ""])[0]

    def _refuse_wrong_place(self, address: Any, nic: Any) -> None:
        group = border_group(nic.subnet.availability_zone)
        if address.network_border_group != group:
            # The rule is documented (AssociateAddress); the code AWS answers with is not.
            raise EC2ClientError(
                "InvalidParameterCombination",
                f"You cannot associate an Elastic IP address of network border group "
                f"{address.network_border_group} with an interface in network border group {group}.",
            )
        vpc_id = nic.subnet.vpc_id
        if not any(igw.vpc and igw.vpc.id == vpc_id for igw in self.internet_gateways.values()):
            raise EC2ClientError("Gateway.NotAttached", f"Network {vpc_id} is not attached to any internet gateway")

    def release_address(self, address: str | None = None, allocation_id: str | None = None) -> None:
        """Only an address that is not associated (botocore: InvalidIPAddress.InUse)."""
        found = self._address(address, allocation_id)
        if found.association_id:
            raise EC2ClientError("InvalidIPAddress.InUse", f"The address {found.public_ip} is in use.")
        super().release_address(address, allocation_id)

    def terminate_instances(self, instance_ids: list[str]) -> list[tuple[Instance, Any]]:
        """A terminated instance gives its addresses up (moto keeps them mapped to it), and may be terminated again."""
        ended = [instance for instance in self.get_multi_instances_by_id(instance_ids) if instance.state == "terminated"]
        gone = {instance.id for instance in ended}
        alive = [each for each in instance_ids if each not in gone]
        result = super().terminate_instances(alive) if alive or not gone else []
        result += [(instance, {"Code": 48, "Name": "terminated"}) for instance in ended]
        for address in self.addresses:
            if address.instance and address.instance.id in instance_ids:
                self.disassociate_address(association_id=address.association_id)
        return result


class AddressResponses(EC2Response):
    """Request parsing for the address calls."""

    def allocate_address(self) -> ActionResult:
        """Reads NetworkBorderGroup; asking for a certain address is refused, it is never free."""
        self.error_on_dryrun()
        if wanted := self._get_param("Address"):
            raise EC2ClientError("InvalidAddress.NotFound", f"Address '{wanted}' not found.")
        tags = add_tag_specification(self._get_param("TagSpecifications", []))
        address = self.ec2_backend.allocate_in_group(self._get_param("NetworkBorderGroup"), tags)
        return ActionResult(address)

    def release_address(self) -> ActionResult:
        """The border group, by default the Region's, must be the address's own, else AWS does not find it."""
        group, allocation_id = self._get_param("NetworkBorderGroup", self.region), self._get_param("AllocationId")
        if allocation_id:
            address = self.ec2_backend.address_by_allocation([allocation_id])[0]
            if address.network_border_group != group:
                raise EC2ClientError("InvalidAddress.NotFound", f"Address '{address.public_ip}' not found.")
        return super().release_address()


def is_public(address: str) -> bool:
    """Whether AWS would call it public: routable, or one of this cloud's own."""
    return address in allocated_addresses() or ipaddress.ip_address(address).is_global
