"""The hosts of an environment, as EC2 knows them by the environment's tags, and a way into them by SSH.

The deployer's key and the derived host key reach `ssh` in memory only (memfd): no file is left behind, whatever ends us.
Left out: the person's own SSH config and agent.
"""

import os
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

from automation.account.questions import instances
from automation.errors import EdgeError, NothingDeployedError, UsageError
from automation.sites.endpoints import Ports
from automation.sites.host_keys import Keys, keys_before
from components.host_identity import derive_host_key
from components.settings import PROJECT, StackConfig, validate
from components.tags import REPLICA_TAG, STACK_TAG

if TYPE_CHECKING:
    from automation.engine.deployed import Deployed

_SSH_PORT = 22
_CONNECT_SECONDS = 10
_GONE = {"shutting-down", "terminated"}


@dataclass(frozen=True)
class Host:
    """One replica's machine."""

    zone: str
    number: int
    """From 1, within its site."""
    instance_id: str | None = None
    state: str | None = None
    """EC2's word; `gone` where the environment has an instance that EC2 does not know; None where AWS did not say."""
    instance_type: str | None = None
    address: str | None = None
    launched: datetime | None = None
    keys: Keys = field(default=Keys())

    @property
    def key(self) -> str:
        """Names it within the environment: `us-west-2-lax-1a-1`."""
        return f"{self.zone}-{self.number}"


def hosts(environment: "Deployed", outputs: Mapping[str, Any]) -> list[Host]:
    """The hosts that the outputs tell of, and what EC2 says of each; those of a failed site too."""
    sites: Mapping[str, Any] = outputs["sites"]
    known = {region: _in_region(environment, region) for region in {site["region"] for site in sites.values()}}
    found: list[Host] = []
    for zone, site in sites.items():
        described = known[site["region"]]
        for number, replica in enumerate(site["replicas"], 1):
            state = None if described is None else "gone"
            told = Host(zone, number, replica["instance_id"], state, site["instance_type"], replica["address"])
            found.append((described or {}).get(told.key, told))
    return found


def _in_region(environment: "Deployed", region: str) -> dict[str, Host] | None:
    """By replica, the instances that carry the environment's tag; None where AWS does not answer."""
    own = [{"Name": f"tag:{STACK_TAG}", "Values": [environment.name]}]
    try:
        ec2 = environment.aws_client("ec2", region)
        # The living last: a replica may have had several.
        described = sorted(instances(ec2, own), key=lambda each: each["State"]["Name"] not in _GONE)
        addresses = {_tag(each, REPLICA_TAG): each["PublicIp"] for each in ec2.describe_addresses(Filters=own)["Addresses"]}
    except (BotoCoreError, ClientError):
        return None
    keys = [_tag(each, REPLICA_TAG) for each in described]
    return {key: _host(key, each, addresses.get(key)) for key, each in zip(keys, described, strict=True) if key}


def _host(key: str, described: Mapping[str, Any], address: str | None) -> Host:
    zone, _, number = key.rpartition("-")
    state, launched = described["State"]["Name"], described.get("LaunchTime")
    return Host(zone, int(number), described["InstanceId"], state, described["InstanceType"], address, launched)


def _tag(described: Mapping[str, Any], key: str) -> str:
    return next((str(tag["Value"]) for tag in described.get("Tags", []) if tag["Key"] == key), "")


def of_zone(environment: "Deployed", found: Sequence[Host], zone: str, number: int | None) -> list[Host]:
    """Those of a zone's hosts, or one of them by its number. UsageError where there is none such."""
    zones = ", ".join(dict.fromkeys(host.zone for host in found))
    there = [host for host in found if host.zone == zone]
    if not there:
        raise UsageError(f"'{environment.name}' has no site in '{zone}'\n  -> its zones are {zones}")
    if number is None:
        return there
    if not 1 <= number <= len(there):
        count = f"{len(there)} replica{'' if len(there) == 1 else 's'}"
        raise UsageError(f"the site in {zone} has {count}, so there is no {number}\n  -> --replica 1")
    return [there[number - 1]]


def find_host(environment: "Deployed", zone: str, number: int = 1) -> Host:
    """A replica's host, with an address; UsageError for a zone that has none, NothingDeployedError where it cannot be reached."""
    outputs, config = environment.outputs_and_config()
    (host,) = of_zone(environment, hosts(environment, outputs), zone, number)
    if host.address is None or host.state not in {"running", None}:
        what = f"is {host.state}" if host.state != "running" else "has no address"
        raise NothingDeployedError(f"the host {host.key} {what}\n  -> edge status {environment.arguments}")
    return with_keys(environment, [host], config)[0]


def with_keys(environment: "Deployed", found: Sequence[Host], config: StackConfig) -> list[Host]:
    """The same hosts, each with the keys that it knows."""
    keys = other_keys(environment, config)
    return [replace(host, keys=keys.get(host.key, host.keys)) for host in found]


def other_keys(environment: "Deployed", config: StackConfig) -> dict[str, Keys]:
    """By replica, the keys of hosts that are still to be replaced since the config has others."""
    settings = validate(config).settings
    return keys_before(environment.open(may_start=False), settings) if settings else {}


@contextmanager
def ssh(environment: Ports, host: Host, config: StackConfig, *, options: Sequence[str] = ()) -> Generator[list[str]]:
    """The `ssh` command line to a host, good within the context: the deployer's key, and no host key but the derived one; those
    before where the host is still to be replaced.
    """
    port = environment.port_of(str(host.address), _SSH_PORT)
    private = host.keys.private or _secret(config, "sshPrivateKey")
    public = host.keys.host or derive_host_key(_secret(config, "hostKeySecret").strip(), host.key).public
    with ExitStack() as kept:
        identity = kept.enter_context(_in_memory("identity", private.rstrip() + "\n"))
        known_hosts = kept.enter_context(_in_memory("known_hosts", f"{host.key} {public}\n"))
        yield [
            "ssh", "-F", "none", "-i", identity, "-p", str(port), "-l", login_user(config),
            *_settings(
                UserKnownHostsFile=known_hosts, GlobalKnownHostsFile="none", StrictHostKeyChecking="yes", HostKeyAlias=host.key,
                HostKeyAlgorithms="ssh-ed25519", UpdateHostKeys="no", IdentitiesOnly="yes", IdentityAgent="none", BatchMode="yes",
                ConnectTimeout=_CONNECT_SECONDS, ServerAliveInterval=15, LogLevel="ERROR",
            ),
            *options,
            str(host.address),
        ]  # fmt: skip


def run(command: Sequence[str], remote: str, *, seconds: float, sent: str = "") -> str | None:
    """What a remote command prints, given `sent` on standard input; None where it or the connection failed, or took longer."""
    try:
        done = subprocess.run(  # noqa: S603
            [*command, remote], input=sent, capture_output=True, text=True, timeout=seconds, check=False
        )
    except (subprocess.TimeoutExpired, OSError):
        return None
    return done.stdout if done.returncode == 0 else None


def login_user(config: StackConfig) -> str:
    """The login user of the config's AMIs."""
    host = validate(config).host
    return host.login_user if host else "ec2-user"


def _secret(config: StackConfig, key: str) -> str:
    value = config.values.get(f"{PROJECT}:{key}")
    if not value:
        raise EdgeError(f"the stack '{config.stack}' has no {key}\n  -> edge keys {config.stack}")
    return value


def _settings(**values: object) -> list[str]:
    return [word for name, value in values.items() for word in ("-o", f"{name}={value}")]


@contextmanager
def _in_memory(name: str, text: str) -> Generator[str]:
    """A path to a text that is in no file system: it goes with this process. `ssh` refuses a key that others may read."""
    descriptor = os.memfd_create(name)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, text.encode())
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)
