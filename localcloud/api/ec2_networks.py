"""VPC networking: where subnets may lie, what security groups hold, which deletions AWS refuses.

moto puts subnets into any Region's zones and deletes most things while others depend on them.
"""

# moto is partly untyped, and its parts use each other's state:
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import (
    DependencyViolationError,
    EC2ClientError,
    InvalidSecurityGroupNotFoundError,
    RulesPerSecurityGroupLimitExceededError,
)
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.security_groups import SecurityGroup, SecurityGroupRule
from moto.ec2.responses import EC2Response

from localcloud.api.ec2_zones import ZoneRules
from localcloud.api.images import PREFIX_LIST_WEIGHT
from localcloud.api.quotas import RULES_PER_GROUP

_Interface: Any = NetworkInterface
_association = _Interface.association.fget
# moto shows an empty one where there is none, and the real provider takes that for a public address.
_Interface.association = property(lambda nic: _association(nic) or None)

Rules = tuple[list[SecurityGroupRule], SecurityGroup]


def in_use(kind: str, resource_id: str) -> DependencyViolationError:
    """AWS's refusal to delete what others depend on."""
    return DependencyViolationError(f"The {kind} '{resource_id}' has dependencies and cannot be deleted.")


class NetworkRules(ZoneRules):
    """VPCs, subnets, routes and security groups of one Region."""

    def create_default_vpc(self) -> Any:
        """None while moto sets the Region up: a destroyed world's lists are to be empty."""
        being_made = "default_vpc" not in vars(self)
        return None if being_made else super().create_default_vpc()

    def create_subnet(
        self,
        vpc_id: str,
        cidr_block: str,
        ipv6_cidr_block: str | None = None,
        availability_zone: str | None = None,
        availability_zone_id: str | None = None,
        **options: Any,
    ) -> Any:
        """In a zone of this Region that the account has opted in to; not public by default."""
        if availability_zone_id and not availability_zone:
            by_id = {zone.zone_id: zone.name for zone in self.describe_availability_zones()}
            availability_zone = by_id.get(availability_zone_id, availability_zone_id)
        zone = self.usable_zone(availability_zone or self.region_name + "a")
        subnet = super().create_subnet(vpc_id, cidr_block, ipv6_cidr_block, zone.name, **options)
        # moto takes a zone's first subnet for a default one, which maps public addresses.
        subnet.default_for_az = subnet.map_public_ip_on_launch = False
        return subnet

    def delete_subnet(self, subnet_id: str) -> Any:
        """Not while network interfaces are in it; its route table association goes with it."""
        self.get_subnet(subnet_id)
        if any(nic.subnet.id == subnet_id for nic in self.enis.values()):
            raise in_use("subnet", subnet_id)
        for table in self.route_tables.values():
            for association, target in list(table._associations.items()):  # noqa: SLF001
                if target == subnet_id:
                    table._associations.pop(association)  # noqa: SLF001
        return super().delete_subnet(subnet_id)

    def delete_vpc(self, vpc_id: str) -> Any:
        """Adds what moto lets pass, gateways and groups still there, and drops its network ACL."""
        self.get_vpc(vpc_id)
        gateways = self.describe_internet_gateways(filters={"attachment.vpc-id": [vpc_id]})
        groups = [g for g in self.groups[vpc_id].values() if not g.is_default]
        if gateways or groups:
            raise in_use("vpc", vpc_id)
        deleted = super().delete_vpc(vpc_id)
        for acl in [a for a in self.network_acls.values() if a.vpc_id == vpc_id]:
            self.network_acls.pop(acl.id)
        # AWS forgets terminated instances within the hour; here they go with their VPC: a destroyed stack leaves no trace.
        for key, reservation in list(self.reservations.items()):
            if all(instance.state == "terminated" and instance.vpc_id == vpc_id for instance in reservation.instances):
                del self.reservations[key]
        return deleted

    def detach_internet_gateway(self, internet_gateway_id: str, vpc_id: str) -> None:
        """Not while an interface of the VPC has a public address mapped."""
        if any(nic.public_ip and nic.subnet.vpc_id == vpc_id for nic in self.enis.values()):
            raise DependencyViolationError(
                f"Network {vpc_id} has some mapped public address(es). Please unmap those public "
                "address(es) before detaching the gateway."
            )
        super().detach_internet_gateway(internet_gateway_id, vpc_id)

    def create_route(self, route_table_id: str, *args: Any, **kwargs: Any) -> Any:
        """To an internet gateway only where it is attached to the route table's VPC."""
        gateway = self.internet_gateways.get(kwargs.get("gateway_id") or "")
        table = self.get_route_table(route_table_id)
        if gateway and (not gateway.vpc or gateway.vpc.id != table.vpc_id):
            raise EC2ClientError(
                "InvalidParameterValue",
                f"route table {route_table_id} and network gateway {gateway.id} belong to different networks",
            )
        return super().create_route(route_table_id, *args, **kwargs)

    def associate_route_table(self, route_table_id: str, gateway_id: str | None = None, subnet_id: str | None = None) -> str:
        """A subnet has one route table; moto answers with the other one's association."""
        for table in self.route_tables.values():
            if subnet_id in table._associations.values() and table.id != route_table_id:  # noqa: SLF001
                raise EC2ClientError(
                    "Resource.AlreadyAssociated",
                    f"the specified association for route table {route_table_id} conflicts with an existing association",
                )
        return super().associate_route_table(route_table_id, gateway_id, subnet_id)

    def create_security_group(self, name: str, description: str, **options: Any) -> SecurityGroup:
        """Always in a VPC: there is no default one."""
        if not (options.get("vpc_id") or self.get_default_vpc()):
            raise EC2ClientError("VPCIdNotSpecified", "No default VPC for this user")
        return super().create_security_group(name, description, **options)

    def delete_security_group(self, name: str | None = None, group_id: str | None = None) -> None:
        """Not while an interface carries it or another group's rule names it."""
        carried = {g.id for nic in self.enis.values() for g in nic.group_set}
        named = {
            rule.source_group.get("GroupId")
            for group in self.describe_security_groups()
            for rule in (*group.ingress_rules, *group.egress_rules)
            if group.id != group_id
        }
        if group_id in carried | named:
            raise DependencyViolationError(f"resource {group_id} has a dependent object")
        super().delete_security_group(name, group_id)

    def authorize_security_group_ingress(self, **rule: Any) -> Rules:
        """Counts the quota with prefix lists' weight, keeps descriptions."""
        self._refuse_too_many(rule, "ingress_rules")
        return _describe(super().authorize_security_group_ingress(**rule), rule)

    def authorize_security_group_egress(self, **rule: Any) -> Rules:
        """As for ingress."""
        self._refuse_too_many(rule, "egress_rules")
        return _describe(super().authorize_security_group_egress(**rule), rule)

    def _refuse_too_many(self, rule: dict[str, Any], direction: str) -> None:
        group = self.get_security_group_by_name_or_id(rule["group_name_or_id"], None)
        if group is None:
            raise InvalidSecurityGroupNotFoundError(rule["group_name_or_id"])
        lists = [entry["PrefixListId"] for entry in rule.get("prefix_list_ids") or []]
        new = len(rule["ip_ranges"]) + len(rule.get("source_groups") or [])
        new += sum(self._weight(prefix_list_id) for prefix_list_id in lists)
        present = sum(self._weight(old.prefix_list_id) if old.prefix_list_id else 1 for old in getattr(group, direction))
        if present + new > RULES_PER_GROUP:
            raise RulesPerSecurityGroupLimitExceededError

    def _weight(self, prefix_list_id: str) -> int:
        prefix_list = self.managed_prefix_lists.get(prefix_list_id)
        if prefix_list is None:
            raise EC2ClientError(
                "InvalidPrefixListID.NotFound",
                f"The prefix list ID '{prefix_list_id}' does not exist",
            )
        if str(prefix_list.prefix_list_name).endswith(".route53-healthchecks"):
            return PREFIX_LIST_WEIGHT
        return int(prefix_list.max_entries or 1)

    def modify_instance_security_groups(self, instance_id: str, new_group_id_list: list[str]) -> Any:
        """Here moto leaves the old groups on the instance's interfaces."""
        instance = super().modify_instance_security_groups(instance_id, new_group_id_list)
        for nic in instance.nics.values():
            nic._group_set = list(instance.security_groups)  # noqa: SLF001
        return instance

    def modify_network_interface_attribute(self, eni_id: str, group_ids: list[str], *args: Any) -> None:
        """Here moto leaves the old groups on the interface's instance."""
        super().modify_network_interface_attribute(eni_id, group_ids, *args)
        nic = self.get_network_interface(eni_id)
        if group_ids and nic.instance:
            nic.instance.security_groups = list(nic._group_set)  # noqa: SLF001


def _describe(result: Rules, request: dict[str, Any]) -> Rules:
    """Keep the description of rules by prefix list, which moto reads but does not store."""
    described: dict[str, str | None] = {
        entry["PrefixListId"]: entry.get("Description") for entry in request.get("prefix_list_ids") or []
    }
    for rule in result[0]:
        if text := described.get(rule.prefix_list_id or ""):
            rule.ip_range = {"Description": text}
    return result


class NetworkResponses(EC2Response):
    """Request parsing for the network calls."""

    def create_subnet(self) -> ActionResult:
        """Without a zone, one of the Region's own: moto would also pick a Local Zone."""
        if not self._get_param("AvailabilityZoneId"):
            self.params.setdefault("AvailabilityZone", self.region + "a")
        return super().create_subnet()

    def delete_security_group(self) -> ActionResult:
        """The default group goes with its VPC only."""
        group = self.ec2_backend.get_security_group_from_id(self._get_param("GroupId"))
        if group and group.is_default:
            raise EC2ClientError(
                "CannotDelete",
                f'the specified group: "{group.id}" name: "default" cannot be deleted by a user',
            )
        return super().delete_security_group()
