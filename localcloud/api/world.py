"""What the rest of the local cloud may know of AWS's state: instances, and who reaches them.

Read-only, and consistent: every function takes the lock that the API server holds while it
answers a request, or tells what it found under it since the last change.
"""

# moto is partly untyped, and its parts use each other's state:
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import base64
import ipaddress
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from localcloud.api.ec2_addresses import backends
from localcloud.api.ec2_launches import STOPS

if TYPE_CHECKING:
    from collections.abc import Iterable

lock = threading.RLock()
"""Held while moto's state is read or changed."""

_refusals: dict[tuple[str, int, str], str | None] = {}
"""What `refusal` found since the last change: connections come while the API works, and must not wait for it."""


@dataclass(frozen=True)
class InstanceView:
    """One EC2 instance. `state` is AWS's; `stops` counts how often it was stopped; `addresses` are the public ones of now."""

    instance_id: str
    region: str
    zone: str
    state: str
    user_data: bytes
    public_key: str | None
    instance_type: str
    addresses: tuple[str, ...]
    stops: int


def instances() -> list[InstanceView]:
    """All instances of all Regions that are not terminated."""
    with lock:
        return [
            _view(backend, instance)
            for backend in backends()
            for instance in backend.all_instances()
            if instance.state != "terminated"
        ]


def _view(backend: Any, instance: Any) -> InstanceView:
    key_pair = backend.key_pairs.get(instance.key_name)
    material = key_pair.material_public if key_pair else None
    user_data = str(instance.user_data) if instance.user_data else ""
    return InstanceView(
        instance_id=instance.id,
        region=backend.region_name,
        zone=instance.nics[0].subnet.availability_zone,
        state=instance.state,
        user_data=base64.b64decode(user_data),
        public_key=material.decode() if isinstance(material, bytes) else material,
        instance_type=instance.instance_type,
        addresses=tuple(a.public_ip for a in backend.addresses if a.instance is instance),
        stops=STOPS[instance.id],
    )


def changed() -> None:
    """AWS's state is another from now on; called under the lock."""
    _refusals.clear()


def refusal(address: str, port: int, source: str) -> str | None:
    """Why a TCP connection from `source` to `address`:`port` does not get through, or None.

    The reason is in AWS terms. Network ACLs are left out: the project leaves them open.
    """
    key = address, port, source
    with suppress(KeyError):
        return _refusals[key]
    with lock:
        _refusals[key] = _refusal(address, port, ipaddress.IPv4Address(source))
        return _refusals[key]


def _refusal(address: str, port: int, source: ipaddress.IPv4Address) -> str | None:
    for backend in backends():
        for elastic in backend.addresses:
            if elastic.public_ip == address:
                return _refusal_by(backend, elastic, port, source)
    return f"{address} is not an Elastic IP address of this account"


def _refusal_by(
    backend: Any,
    elastic: Any,
    port: int,
    source: ipaddress.IPv4Address,
) -> str | None:
    if not elastic.association_id or elastic.instance is None:
        return f"{elastic.public_ip} is not associated with an instance"
    instance, nic = elastic.instance, elastic.eni
    if instance.state != "running":
        return f"instance {instance.id} is {instance.state}, not running"
    table = _route_table(backend, nic.subnet)
    gateway = _gateway_towards(backend, table, source)
    if gateway is None:
        return f"route table {table.id} of subnet {nic.subnet.id} has no route to {source} through an attached internet gateway"
    if not any(_admits(backend, rule, port, source) for group in nic.group_set for rule in group.ingress_rules):
        groups = ", ".join(sorted(group.id for group in nic.group_set))
        return f"no inbound rule of security group {groups} admits {source} to TCP port {port}"
    return None


def _route_table(backend: Any, subnet: Any) -> Any:
    """The table that is associated with the subnet, else the VPC's main one."""
    tables = [t for t in backend.route_tables.values() if t.vpc_id == subnet.vpc_id]
    for table in tables:
        if subnet.id in table._associations.values():  # noqa: SLF001
            return table
    return next(table for table in tables if table.main_association_id)


def _gateway_towards(backend: Any, table: Any, target: ipaddress.IPv4Address) -> Any:
    """The attached internet gateway of the table's most specific route to the target, if any."""
    routes = [
        route for route in table.routes if route.destination_cidr_block and target in _network(route.destination_cidr_block)
    ]
    if not routes:
        return None
    best = max(routes, key=lambda route: _network(route.destination_cidr_block).prefixlen)
    gateway = getattr(best, "gateway", None)
    attached = backend.internet_gateways.get(getattr(gateway, "id", ""))
    return attached if attached and attached.vpc and attached.vpc.id == table.vpc_id else None


def _admits(backend: Any, rule: Any, port: int, source: ipaddress.IPv4Address) -> bool:
    if rule.ip_protocol not in {"tcp", "-1"}:
        return False
    if rule.ip_protocol == "tcp" and not rule.from_port <= port <= rule.to_port:
        return False
    return any(source in _network(cidr) for cidr in _sources(backend, rule))


def _sources(backend: Any, rule: Any) -> Iterable[str]:
    """CIDRs that a rule admits. Rules by security group never match a public source."""
    if rule.prefix_list_id:
        prefix_list = backend.managed_prefix_lists[rule.prefix_list_id]
        return [entry["Cidr"] for entries in prefix_list.entries.values() for entry in entries]
    return [rule.cidr_ipv4] if rule.cidr_ipv4 else []


@cache
def _network(cidr: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(cidr, strict=False)
