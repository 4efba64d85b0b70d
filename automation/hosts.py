"""The hosts of an environment, as EC2 knows them by the environment's tags, and a way into them by SSH.

The deployer's key and the derived host key reach `ssh` in memory only (memfd): no file is left behind, whatever ends us. Left out:
the person's own SSH config and agent, and hosts of other Regions than the sites'.
"""

import os
import subprocess
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

from automation.account import instances
from automation.errors import EdgeError, NothingDeployedError, UsageError
from components.host_identity import derive_host_key
from components.settings import PROJECT, StackConfig
from components.tags import REPLICA_TAG, STACK_TAG
from components.zones import parse_zone

if TYPE_CHECKING:
    from automation.environment import Environment

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

    @property
    def key(self) -> str:
        """Names it within the environment: `us-west-2-lax-1a-1`."""
        return f"{self.zone}-{self.number}"


def hosts(environment: "Environment", outputs: Mapping[str, Any]) -> list[Host]:
    """The hosts that the outputs tell of, and what EC2 says of each; those of a failed site too."""
    sites: Mapping[str, Any] = outputs["sites"]
    known: dict[str, Host | None] = {}
    for region in dict.fromkeys(site["region"] for site in sites.values()):
        zones = [zone for zone, site in sites.items() if site["region"] == region]
        known |= _in_region(environment, region, zones)
    found: list[Host] = []
    for zone, site in sites.items():
        for number, replica in enumerate(site["replicas"], 1):
            told = Host(zone, number, replica["instance_id"], "gone", site["instance_type"], replica["address"])
            silent = Host(zone, number, replica["instance_id"], None, site["instance_type"], replica["address"])
            found.append((known[told.key] or silent) if told.key in known else told)
    return found


def _in_region(environment: "Environment", region: str, zones: Iterable[str]) -> dict[str, Host | None]:
    """By replica, the instances that carry the environment's tag; every replica None where AWS does not answer."""
    try:
        ec2 = environment.aws_client("ec2", region)
        described = list(instances(ec2, [{"Name": f"tag:{STACK_TAG}", "Values": [environment.name]}]))
        addresses = {
            _tag(each, REPLICA_TAG): each["PublicIp"]
            for each in ec2.describe_addresses(Filters=[{"Name": f"tag:{STACK_TAG}", "Values": [environment.name]}])["Addresses"]
        }
    except (BotoCoreError, ClientError):
        return {f"{zone}-{number}": None for zone in zones for number in range(1, 21)}
    found: dict[str, Host | None] = {}
    for each in sorted(described, key=lambda each: each["State"]["Name"] not in _GONE):
        zone, _, number = _tag(each, REPLICA_TAG).rpartition("-")
        if number.isdigit():
            host = Host(zone, int(number), each["InstanceId"], each["State"]["Name"], each["InstanceType"])
            found[host.key] = Host(**{**vars(host), "address": addresses.get(host.key), "launched": each.get("LaunchTime")})
    return found


def _tag(described: Mapping[str, Any], key: str) -> str:
    return next((str(tag["Value"]) for tag in described.get("Tags", []) if tag["Key"] == key), "")


def find_host(environment: "Environment", zone: str, number: int = 1) -> Host:
    """A replica's host, with an address; UsageError for a zone that has none, NothingDeployedError where it cannot be reached."""
    outputs = environment.outputs()
    zones = ", ".join(outputs["sites"])
    if zone not in outputs["sites"]:
        raise UsageError(f"'{environment.name}' has no site in '{zone}'\n  -> its zones are {zones}")
    of_zone = [host for host in hosts(environment, outputs) if host.zone == zone]
    if not 1 <= number <= len(of_zone):
        raise UsageError(f"the site in {zone} has {len(of_zone)} replicas, so there is no {number}\n  -> --replica 1")
    host = of_zone[number - 1]
    if host.address is None or host.state not in {"running", None}:
        what = f"is {host.state}" if host.state != "running" else "has no address"
        raise NothingDeployedError(f"the host {host.key} {what}\n  -> {environment.commands.edge('status')}")
    return host


@contextmanager
def ssh(environment: "Environment", host: Host, *, options: Sequence[str] = ()) -> Generator[list[str]]:
    """The `ssh` command line to a host, good within the context: the deployer's key, and no other host key than the derived one."""
    with _ssh_with(environment.stack_config(), host, environment.reached_port(str(host.address), _SSH_PORT), options) as command:
        yield command


@contextmanager
def _ssh_with(config: StackConfig, host: Host, port: int, options: Sequence[str]) -> Generator[list[str]]:
    private = _secret(config, "sshPrivateKey")
    public = derive_host_key(_secret(config, "hostKeySecret").strip(), host.key).public
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


def run(command: Sequence[str], remote: str, *, seconds: float) -> str | None:
    """What a remote command prints; None where it or the connection failed, or took longer."""
    try:
        done = subprocess.run(  # noqa: S603
            [*command, remote], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
    except (subprocess.TimeoutExpired, OSError):
        return None
    return done.stdout if done.returncode == 0 else None


def login_user(config: StackConfig) -> str:
    """The login user of the config's AMIs."""
    from components.settings import validate

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
