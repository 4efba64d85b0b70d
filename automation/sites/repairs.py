"""What `up` must mend though the config is as it was: instances that are gone or stopped, servers that are dead or not as wanted.

Pulumi compares config with state and asks nobody; so here EC2, the hosts and the endpoints are asked before a run, all at once.
What this finds is handed to the engine: instances to look at again, and commands to run again. Left out: everything else that
differs, which `edge drift` shows.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

from automation.account.questions import Client, instances
from automation.errors import EdgeError
from automation.sites.endpoints import Ports
from automation.sites.hosts import Host, run, ssh
from automation.sites.serving import Answer, Asker, Replica, replicas
from components.settings import StackConfig
from components.zones import parse_zone

if TYPE_CHECKING:
    from automation.engine.command import Stack

_INSTANCE, _ASSOCIATION = "aws:ec2/instance:Instance", "aws:ec2/eipAssociation:EipAssociation"
_COMMAND, _RESERVATION = "command:remote:Command", "aws:ec2/capacityReservation:CapacityReservation"
_AT_ONCE = 16
_SSH_SECONDS, _TOKEN_SECONDS = 20.0, 10.0
_GONE, _STOPPED = {"shutting-down", "terminated", "gone"}, {"stopping", "stopped"}
_DIGEST = re.compile(r'(?:"digest":"|/wait-ready\.sh )(\w+)')
"""In the text of a replica's last step; release 6788d8e's had it as its first argument."""
_OPEN = (
    """sudo bash -c 'cd "${EDGE_HOST_ROOT:-}/opt/edge-inference/transaction" 2>/dev/null && """
    """flock --nonblock lock rm -f "${EDGE_HOST_ROOT:-}/run/edge-inference/closed"' || true; """
)
"""Opens a door that a killed run has left closed, unless a change is at work on the host."""
_CONTAINER = (
    f"{_OPEN}sudo docker inspect --type container --format "
    """'{{index .Config.Labels "edge-inference.spec"}} {{.State.Status}}' edge-inference-server 2>/dev/null || echo none"""
)
Say = Callable[[str], None]


@dataclass(frozen=True)
class DeployedReplica:
    """A replica that has an instance, as the state knows it."""

    zone: str
    number: int
    region: str
    instance_id: str
    digest: str | None
    """Of what its server is to be started with (host_steps.py); None where no run came to its last step."""
    resources: tuple[str, ...]
    """URNs of the instance and of what binds its address: what goes with an instance."""
    commands: tuple[str, ...]
    """URNs of the steps on its host."""

    @property
    def key(self) -> str:
        """Names it within the environment: `us-west-2-lax-1a-1`."""
        return f"{self.zone}-{self.number}"


@dataclass(frozen=True)
class Repairs:
    """What is to be mended, by replica, each with the reason in words."""

    gone: Mapping[str, str]
    stopped: Mapping[str, str]
    again: Mapping[str, str]
    """Whose steps are to be run again."""

    def __bool__(self) -> bool:
        return bool(self.gone or self.stopped or self.again)


def deployed_replicas(deployment: Mapping[str, Any]) -> dict[str, DeployedReplica]:
    """The replicas in an exported state that have an instance, by key."""
    resources = cast("list[dict[str, Any]]", deployment.get("resources") or [])
    living = [each for each in resources if not each.get("delete")]
    named = {(str(each["type"]), _name(each)): each for each in living}
    found: dict[str, DeployedReplica] = {}
    for (kind, name), instance in named.items():
        if kind != _INSTANCE or not name.endswith("-host"):
            continue
        key = name.removesuffix("-host")
        zone, _, number = key.rpartition("-")
        digest = _DIGEST.search(str(_outputs(named.get((_COMMAND, f"{key}-ready"))).get("create")))
        bound = named.get((_ASSOCIATION, f"{key}-association"))
        found[key] = DeployedReplica(
            zone,
            int(number),
            parse_zone(zone).region,
            str(instance["id"]),
            digest[1] if digest else None,
            tuple(each["urn"] for each in (instance, bound) if each),
            tuple(each["urn"] for each in living if each["type"] == _COMMAND and _name(each).rpartition("-")[0] == key),
        )
    return found


def reservations(deployment: Mapping[str, Any]) -> dict[str, str]:
    """The URN of what keeps each replica's GPU in an exported state, by key; also while no instance is there."""
    resources = cast("list[dict[str, Any]]", deployment.get("resources") or [])
    kept = [each for each in resources if each["type"] == _RESERVATION and not each.get("delete")]
    return {_name(each).removesuffix("-reservation"): str(each["urn"]) for each in kept}


def judge(deployed: Mapping[str, DeployedReplica], states: Mapping[str, str], looks: Mapping[str, "Look"]) -> Repairs:
    """What must be mended. `states`: EC2's words by instance, without those of a Region that does not answer."""
    gone, stopped, again = dict[str, str](), dict[str, str](), dict[str, str]()
    for key, replica in deployed.items():
        state = states.get(replica.instance_id)
        if state in _GONE:
            gone[key] = f"its instance {replica.instance_id} is {state}: it is made again"
        elif state in _STOPPED:
            stopped[key] = f"its instance {replica.instance_id} is {state}: it is started"
        elif replica.digest and (look := looks.get(key)) and (reason := look.wrong(replica.digest)):
            again[key] = f"{reason}: its steps are run again"
    return Repairs(gone, stopped, again)


@dataclass(frozen=True)
class Look:
    """What a look at a replica showed."""

    answer: Answer
    container: str | None
    """`DIGEST STATUS` of the server's container, `none` without one; None where the host does not take commands."""

    def wrong(self, digest: str) -> str | None:
        """Why its steps must be run again; None where they need not, or where they could not: the end of the run tells then."""
        if self.container is None:
            return None
        if self.container != f"{digest} running":
            running, _, status = self.container.rpartition(" ")
            if not running:
                return "there is no server on its host"
            return f"its server is {status}" if running == digest else "another server than the wanted is on its host"
        return f"its server does not serve ({self.answer.finding})" if self.answer.state == "dead" else None


def mend(  # noqa: PLR0913 - who is asked, and by what
    stack: "Stack",
    outputs: Mapping[str, Any],
    planned: Mapping[str, int],
    *,
    config: StackConfig,
    client: Client,
    ports: Ports,
    say: Say,
    log: Say,
) -> list[str]:
    """Mends what can be before a run, and says so: starts what is stopped, forgets what is gone, so that it is made again.

    `planned`: by zone, how many replicas there are to be; the others are about to be removed. Returns the URNs of the commands
    that the run must do again.
    """
    deployed = deployed_replicas(stack.deployment)
    kept = {key: each for key, each in deployed.items() if each.number <= planned.get(each.zone, 0)}
    if not kept:
        return []
    found = find_repairs(kept, outputs, client, ports, config)
    for key, reason in (*found.gone.items(), *found.stopped.items(), *found.again.items()):
        say(f"{key}: {reason}")
    if found.gone:
        targets = [urn for key in found.gone for urn in kept[key].resources]
        stack.refresh(target=targets, on_output=log, on_error=log, color="never")
        stack.deployment = stack.exported()
    return [urn for key in (*found.again, *start_stopped(client, kept, found.stopped, say)) for urn in kept[key].commands]


def find_repairs(
    deployed: Mapping[str, DeployedReplica], outputs: Mapping[str, Any], client: Client, ports: Ports, config: StackConfig
) -> Repairs:
    """Asks EC2, hosts and endpoints. What nobody answers needs no repair."""
    asker = Asker(ports, config)
    told = {each.key: each for each in replicas(outputs)}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        regions = {each.region for each in deployed.values()}
        states = [pool.submit(instance_states, client, region, tuple(deployed.values())) for region in regions]
        looks = {key: pool.submit(_look, told[key], asker, ports, config) for key in deployed if key in told}
        known = {instance: state for asked in states for instance, state in asked.result().items()}
        return judge(deployed, known, {key: look.result() for key, look in looks.items()})


def instance_states(client: Client, region: str, deployed: Sequence[DeployedReplica]) -> dict[str, str]:
    """EC2's word for each instance of a Region, `gone` where it knows none; empty where it does not answer."""
    own = [each.instance_id for each in deployed if each.region == region]
    try:
        found = instances(client("ec2", region), [{"Name": "instance-id", "Values": own}])
        states = {str(each["InstanceId"]): str(each["State"]["Name"]) for each in found}
    except (BotoCoreError, ClientError):
        return {}
    return {each: states.get(each, "gone") for each in own}


def start_stopped(client: Client, deployed: Mapping[str, DeployedReplica], stopped: Mapping[str, str], say: Say) -> list[str]:
    """Starts instances and waits until they run; the keys of those that do. A start that AWS refuses is said."""
    started: list[str] = []
    for key in stopped:
        replica = deployed[key]
        ec2 = client("ec2", replica.region)
        try:
            with suppress(BotoCoreError):  # one that is still stopping; the start then says so
                ec2.get_waiter("instance_stopped").wait(InstanceIds=[replica.instance_id])
            ec2.start_instances(InstanceIds=[replica.instance_id])
            ec2.get_waiter("instance_running").wait(InstanceIds=[replica.instance_id])
        except (BotoCoreError, ClientError) as error:
            say(f"{key}: AWS does not start {replica.instance_id} ({error})\n  -> try again later, or terminate it and `edge up`")
        else:
            started.append(key)
    return started


def _look(replica: Replica, asker: Asker, ports: Ports, config: StackConfig) -> Look:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(asker.ask, replica, token_seconds=_TOKEN_SECONDS)
        container = _container(replica, ports, config) if replica.address else None
        return Look(answer.result(), container)


def _container(replica: Replica, ports: Ports, config: StackConfig) -> str | None:
    try:
        with ssh(ports, Host(replica.zone, replica.number, address=replica.address), config) as command:
            said = run(command, _CONTAINER, seconds=_SSH_SECONDS)
    except EdgeError:
        return None
    return said.strip() if said else None


def _outputs(resource: Mapping[str, Any] | None) -> dict[str, Any]:
    return cast("dict[str, Any]", (resource or {}).get("outputs") or {})


def _name(resource: Mapping[str, Any]) -> str:
    return str(resource["urn"]).rpartition("::")[2]
