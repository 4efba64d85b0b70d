"""Which hosts a config stops or replaces, told from the state before anything is touched: by type, AMI, keys or subnet.

Pure. Leaves out what changes in place while the host serves on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import Any

from components.host_identity import deployer_public_key, derive_host_key
from components.host_steps import HOST_KEY_LINE
from components.settings import Settings
from components.subnets import planned_subnets
from components.zones import parse_zone

_INSTANCE, _KEY_PAIR = "aws:ec2/instance:Instance", "aws:ec2/keyPair:KeyPair"
_SUBNET, _VPC, _ADDRESS = "aws:ec2/subnet:Subnet", "aws:ec2/vpc:Vpc", "aws:ec2/eip:Eip"


_COMMAND, _OF_HOST = "command:remote:Command", ("-ready", "-scripts")
"""Where a host's key stands: its last step, or its first where no run came to the last."""
_BEFORE = "the one before"
_RESIZED = "instanceType"
SSH_KEY = "sshPrivateKey"
HOST_KEYS = "hostKeySecret"
"""The reason of a host that shows the key of another secret: the engine replaces it by request alone."""
OF_A_REGION = "vpcCidr"
"""How the reason begins of what takes all hosts of a Region together: a VPC goes after all that is in it."""


@dataclass(frozen=True)
class HostFacts:
    """What a host is made from, as far as another value stops or replaces it; None: whatever it has."""

    instance_type: str | None
    ami: str | None
    public_key: str | None
    subnet_cidr: str | None
    vpc_cidr: str | None = None
    host_key: str | None = None
    """The public SSH key that it shows."""


def deployed_hosts(state: Mapping[str, Mapping[str, Any]]) -> dict[str, HostFacts]:
    """The hosts of a state, by replica; `state`: each resource's outputs by URN."""
    named = {(urn.split("::")[2].rpartition("$")[2], urn.rpartition("::")[2]): outputs for urn, outputs in state.items()}
    found: dict[str, HostFacts] = {}
    for (kind, name), outputs in named.items():
        if kind != _INSTANCE or not name.endswith("-host"):
            continue
        key = name.removesuffix("-host")
        zone = key.rpartition("-")[0]
        vpc = named.get((_VPC, f"{parse_zone(zone).region}-vpc"), {})
        pair, subnet = named.get((_KEY_PAIR, f"{zone}-key"), {}), named.get((_SUBNET, f"{zone}-subnet"), {})
        found[key] = HostFacts(
            _text(outputs, "instanceType"),
            _text(outputs, "ami"),
            _key(_own(outputs, "keyName", pair, "keyName", "publicKey")),
            _own(outputs, "subnetId", subnet, "id", "cidrBlock"),
            _text(vpc, "cidrBlock"),
            _host_key(*(named.get((_COMMAND, f"{key}{step}"), {}) for step in _OF_HOST)),
        )
    return found


def deployed_addresses(state: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The public addresses of a state, by replica."""
    named = {urn.rpartition("::")[2]: outputs for urn, outputs in state.items() if f"{_ADDRESS}::" in urn}
    return {name.removesuffix("-address"): str(outputs["publicIp"]) for name, outputs in named.items() if outputs.get("publicIp")}


def planned_hosts(settings: Settings) -> dict[str, HostFacts]:
    """The hosts of a config, by replica."""
    public_key = _key(deployer_public_key(settings.secrets.ssh_private_key.get_secret_value()))
    secret = settings.secrets.host_key_secret.get_secret_value().strip()
    found: dict[str, HostFacts] = {}
    for region, sites in settings.regions.items():
        subnets = planned_subnets(IPv4Network(settings.network.vpc_cidr), {site.zone: site.subnet_cidr for site in sites})
        ami = settings.host.amis.get(region)
        for site in sites:
            facts = HostFacts(site.instance_type, ami, public_key, str(subnets[site.zone]), str(settings.network.vpc_cidr))
            keys = [replica.key for replica in site.all_replicas]
            found |= {key: replace(facts, host_key=derive_host_key(secret, key).public) for key in keys}
    return found


def host_changes(deployed: Mapping[str, HostFacts], planned: Mapping[str, HostFacts]) -> dict[str, str]:
    """The replicas of both whose host is stopped or replaced, each with what differs, in words."""
    return {
        key: reason for key, wanted in planned.items() if (before := deployed.get(key)) and (reason := _reason(before, wanted))
    }


def replaces(reason: str) -> bool:
    """Whether a change needs another instance; another type alone is taken on by the same one, stopped meanwhile."""
    return not reason.startswith(_RESIZED) or ", " in reason


def told_of_kept_keys(changes: Mapping[str, str], stack: str) -> str:
    """What plain `pulumi up` says of hosts that differ in their SSH host keys alone: it leaves them."""
    return (
        f"they show SSH keys of the {HOST_KEYS} before, are reached by them, and stay as they are: {', '.join(changes)}\n"
        f"  -> edge up {stack}   # replaces them, drained and one after another"
    )


def told_together(changes: Mapping[str, str], stack: str) -> str:
    """What plain `pulumi up` says of them: it takes all of them at once."""
    words = ", ".join(sorted(set(changes.values())))
    hosts = "1 host is" if len(changes) == 1 else f"{len(changes)} hosts are"
    return (
        f"{hosts} stopped or replaced at once ({words}): {', '.join(changes)}. Their users are not led elsewhere beforehand\n"
        f"  -> edge up {stack}   # drains and takes them one after another"
    )


def _reason(before: HostFacts, wanted: HostFacts) -> str:
    if before.vpc_cidr and before.vpc_cidr != wanted.vpc_cidr:
        return f"{OF_A_REGION} {before.vpc_cidr} to {wanted.vpc_cidr}"
    named = {
        _RESIZED: (before.instance_type, wanted.instance_type),
        "AMI": (before.ami, wanted.ami),
        "subnet": (before.subnet_cidr, wanted.subnet_cidr),
    }
    differs = [f"{name} {old} to {new}" for name, (old, new) in named.items() if old and new and old != new]
    if before.public_key and before.public_key != wanted.public_key:
        differs.append(SSH_KEY)
    if before.host_key and before.host_key != wanted.host_key:
        differs.append(HOST_KEYS)
    return ", ".join(differs)


def _own(host: Mapping[str, Any], reference: str, other: Mapping[str, Any], identity: str, name: str) -> str | None:
    """A value of the key pair or subnet that a host was made with; `_BEFORE` where the state has another one by now, as after a
    run that broke off.
    """
    had, has = _text(host, reference), _text(other, identity)
    return _BEFORE if had and has and had != has else _text(other, name)


def _text(outputs: Mapping[str, Any], name: str) -> str | None:
    value = outputs.get(name)
    return value if isinstance(value, str) else None


def _host_key(*steps: Mapping[str, Any]) -> str | None:
    """The host's key by the texts of its steps; none in those of older releases."""
    lines = [line for step in steps for line in (_text(step, "create") or "").splitlines()[:2]]
    return next((line.removeprefix(HOST_KEY_LINE) for line in lines if line.startswith(HOST_KEY_LINE)), None)


def _key(public: str | None) -> str | None:
    """Kind and key, without a comment."""
    return " ".join(public.split()[:2]) if public else None
