"""Kills processes of `edge` runs exactly between two AWS calls, follows what is printed, and looks for what is left over.

`make campaign`, or `python tests/engine/campaign.py --kills 8 --seed 5`: each kill names the seed and number that repeat it.
AWS's own lists are held against the state. Left out: two kills in one run; kills of a host's processes.
"""

# boto3 has no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    # Run by itself; pytest finds these by its own.
    sys.path[:0] = [str(folder) for folder in (Path(__file__).parents[2], Path(__file__).parents[1], Path(__file__).parent)]

from edge_command import edge_on
from support import CLOCK, LOS_ANGELES, OREGON, ROOMY, Deployment, World, process_files, tokens

from automation.errors import CloudNotRunningError, EdgeError, NothingDeployedError
from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT
from localcloud import client

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "hunted"
OPERATIONS = ("up", "drain", "refresh", "destroy")
VICTIMS = ("engine", "edge", "aws plugin", "command plugin", "language host", "program", "cloud")
CALLS = {"up": 150, "drain": 20, "refresh": 60, "destroy": 120}
"""About how many AWS calls a run makes; what it really made is taken as soon as it is known."""
END_SECONDS = 180.0
"""How long a run may take to end after a kill: the steps at work are finished."""
STOP_SECONDS = 60.0
"""How long a run may take to end after a second Ctrl-C: more than the front end's own bound, on a busy machine."""
MOST_COMMANDS = 12
_CALLERS_GO = {"engine", "edge", "aws plugin"}
"""With these, whoever made the held call is gone too."""

_NO_PATIENCE = "from automation.sites import drain\ndrain.wait_until_unused = lambda *_: None  # for the records' TTL, a minute"

_COMMAND = re.compile(rf"^ +(?:-> )?(edge (?:cloud start|[a-z]+ {NAME} --local)\S*(?: --?\S+)*)", re.MULTILINE)
_ROLES = {
    "language-python-exec --monitor": "program",
    "language_host.py": "language host",
    "localcloud.plugins.aws": "aws plugin",
    "localcloud.plugins.command": "command plugin",
    "bin/pulumi --non-interactive": "engine",
}


@dataclass(frozen=True)
class Kill:
    """One kill of the campaign, as its seed draws it."""

    seed: int
    number: int
    operation: str
    victims: tuple[str, ...]
    """The first of them that runs at that moment is killed."""
    place: float
    """After which part of the run's calls, from 0 to 1."""
    at: str
    """Whether that call never came to AWS (`arrival`) or was done and only its answer is lost (`answer`)."""

    @property
    def name(self) -> str:
        return f"seed {self.seed} number {self.number}: {self.operation}"


def drawn(seed: int, kills: int) -> Iterator[Kill]:
    """The kills of a seed; the same for every length of the campaign."""
    for number in range(kills):
        chance = random.Random(f"{seed} {number}")  # noqa: S311 - repeated by its seed
        victims = chance.sample(VICTIMS, len(VICTIMS))
        operation = OPERATIONS[number % len(OPERATIONS)]
        yield Kill(seed, number, operation, tuple(victims), chance.random(), chance.choice(["arrival", "answer"]))


@dataclass
class Outcome:
    """What became of a kill."""

    kill: Kill
    victim: str = "nobody"
    call: int = 0
    ran: list[str] = field(default_factory=list[str])
    """The commands that were followed, in order."""
    problems: list[str] = field(default_factory=list[str])
    texts: list[str] = field(default_factory=list[str])
    seconds: float = 0.0

    def __str__(self) -> str:
        what = f"{self.kill.name}, {self.victim} killed at call {self.call} ({self.kill.at})"
        end = "; ".join(self.problems) or "recovered"
        return f"{what}: {end} by {', '.join(self.ran) or 'nothing'} ({self.seconds:.0f} s)"


class Campaign:
    """An environment on a local cloud of its own, which is killed again and again."""

    def __init__(self, world: World, stack_files: Path) -> None:
        self.world = world
        self.deployment = Deployment(NAME, world, stack_files)
        self.deployment.configure([OREGON, LOS_ANGELES])
        self._stack_files = stack_files
        self._calls = dict(CALLS)
        self._drained = False

    def run(self, kill: Kill) -> Outcome:
        """One kill, and what comes of it; afterwards the next one may come."""
        outcome, begun = Outcome(kill), time.monotonic()
        self._start_cloud()
        self._prepare(kill.operation)
        back = ["--back"] if self._drained and kill.operation == "drain" else []
        words = ["drain", NAME, LOS_ANGELES, "--local", *back] if kill.operation == "drain" else [kill.operation, NAME, "--local"]
        code, text = self._killed_run(words, outcome)
        outcome.texts.append(text)
        if code != 0 and not _is_gone(kill, code):
            self._follow(f"edge {' '.join(words)}", text, outcome)
        self._drained = kill.operation == "drain" and not back
        outcome.problems += self._left_over(kill.operation)
        outcome.seconds = time.monotonic() - begun
        if outcome.problems:
            self.begin_anew()
        return outcome

    def begin_anew(self) -> None:
        """Forgets all: the next kill meets a new world."""
        client.stop(self.world.directory)
        shutil.rmtree(self.world.directory / "world", ignore_errors=True)
        self._drained = False

    def _start_cloud(self) -> None:
        if not client.status(self.world.directory):
            client.start(self.world.directory, port=0)
            self.world.set_faults(**ROOMY)
            self._drained = False
        # Also of a cloud that was started as a remedy.
        self.world.status.request("PUT", "health-checkers", {"speed": CLOCK})

    def _prepare(self, operation: str) -> None:
        """Before an `up` there is nothing, before anything else all is deployed."""
        is_deployed = bool(self._state().get("resources"))
        if is_deployed == (operation == "up"):
            done = self._edge("destroy" if is_deployed else "up", NAME, "--local")
            assert done.returncode == 0, done.stdout

    def _killed_run(self, words: Sequence[str], outcome: Outcome) -> tuple[int, str]:
        """Runs a command, kills a process at the call, and waits for the end: exit code and all that was printed."""
        kill = outcome.kill
        outcome.call = 1 + int(kill.place * self._calls[kill.operation])
        cloud = self.world.status
        cloud.request("PUT", "holds", {"call": outcome.call, "at": kill.at})
        with tempfile.TemporaryFile("w+") as output:
            edge = subprocess.Popen(
                self._command(*words), cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True
            )
            while not (held := cloud.request("GET", "holds"))["reached"] and edge.poll() is None:
                pass
            if held["reached"]:
                running = {**self._processes(), "edge": edge.pid, "cloud": cloud.pid}
                outcome.victim = next(each for each in kill.victims if each in running)
                _kill(running[outcome.victim])
            with suppress(client.CloudError):
                found = cloud.request("DELETE", "holds", {"drop": outcome.victim in _CALLERS_GO})
                if not held["reached"]:
                    self._calls[kill.operation] = max(1, int(found["calls"]))
            self._wait(edge, outcome)
            output.seek(0)
            return edge.returncode, output.read()

    def _wait(self, edge: subprocess.Popen[str], outcome: Outcome) -> None:
        """Waits for a run's end; it is asked to stop, once and twice, where it does not come."""
        for asked, seconds in enumerate([END_SECONDS, STOP_SECONDS, STOP_SECONDS]):
            try:
                edge.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                outcome.ran.append(f"Ctrl-C {asked + 1}" if asked < 2 else "kill")
                if asked < 2:
                    edge.send_signal(signal.SIGINT)
        else:
            outcome.problems.append("it hangs after a second Ctrl-C")
            edge.kill()
            edge.wait()
        if outcome.victim != "edge" and self._processes():
            outcome.problems.append(f"these run on: {', '.join(self._processes())}")

    def _follow(self, first: str, text: str, outcome: Outcome) -> None:
        """Runs what was printed, in order, and what that prints when it fails, or cancels; then, or where nothing was printed,
        the same command again, unless that was among it.
        """
        waiting = _COMMAND.findall(text) or [first]
        # What was to be drained is in the config: `edge up` brings that to its end.
        ended = set[str]()
        ends = {first, f"edge up {NAME} --local"} if outcome.kill.operation == "drain" else {first}
        while waiting:
            if len(outcome.ran) >= MOST_COMMANDS:
                outcome.problems.append("the printed commands lead nowhere")
                return
            command, *waiting = waiting
            done = self._edge(*command.split()[1:])
            outcome.ran.append(command.replace(f" {NAME} --local", ""))
            outcome.texts.append(done.stdout)
            if done.returncode == 0 or _is_gone(outcome.kill, done.returncode):
                if command == f"edge cancel {NAME} --local" and not waiting:
                    waiting = _COMMAND.findall(done.stdout)
                if not waiting and command not in ends and not ends & ended:
                    waiting = [first]
                ended.add(command)
                continue
            if "Traceback" in done.stdout:
                outcome.problems.append("a traceback")
            waiting = _COMMAND.findall(done.stdout)
            if not waiting:
                outcome.problems.append(f"`{command}` ended with {done.returncode} and no command to run")
                return

    def _left_over(self, operation: str) -> Iterator[str]:
        """What is not as it should be after the recovery."""
        if processes := self._processes():
            yield f"these run on: {', '.join(processes)}"
        if not client.status(self.world.directory):
            if operation != "destroy":
                yield "the local cloud does not run"
            return
        state, aws = self._state(), owned(self.world)
        known = in_state(state)
        if orphans := sorted(aws - known):
            yield f"orphans: {', '.join(orphans)}"
        if missing := sorted(known - aws):
            yield f"in the state alone: {', '.join(missing)}"
        if state.get("pending_operations"):
            yield "pending operations are left in the state"
        if operation == "destroy" and known:
            yield f"not destroyed: {', '.join(sorted(known))}"
        if operation != "destroy":
            yield from self._not_serving()

    def _not_serving(self) -> Iterator[str]:
        try:
            urls = self.deployment.environment.outputs()["endpoint_urls"]
        except EdgeError as error:
            yield f"no outputs: {error}"
            return
        for zone in (OREGON, LOS_ANGELES):
            try:
                served = bool(tokens(urls[zone]))
            except (OSError, KeyError, ValueError):
                served = False
            if not served:
                yield f"{zone} does not serve"

    def _state(self) -> dict[str, Any]:
        """The state on the disk; nothing where there is none."""
        try:
            content = json.loads(self._state_file.read_text())
        except OSError:
            return {}
        except ValueError:
            return {"resources": [], "pending_operations": ["the state is cut off"]}
        return content["checkpoint"]["latest"] or {}

    @property
    def _state_file(self) -> Path:
        return self.world.directory / "world" / "state" / ".pulumi" / "stacks" / "edge-inference" / f"{NAME}.json"

    def _processes(self) -> dict[str, int]:
        """Of this campaign's runs, by what they are."""
        mark = f"PULUMI_HOME={self.world.directory}/".encode()
        ours = {pid for pid, environ in process_files("environ") if mark in environ}
        lines = {
            pid: words.replace(b"\0", b" ").decode(errors="replace") for pid, words in process_files("cmdline") if pid in ours
        }
        return {role: pid for pid, line in lines.items() for part, role in _ROLES.items() if part in line}

    def _command(self, *words: str) -> list[str]:
        return [*edge_on(self.world.directory, self._stack_files, _NO_PATIENCE), *words]

    def _edge(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(*words),
            cwd=PROJECT_ROOT,
            input="yes\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )


def _is_gone(kill: Kill, code: int) -> bool:
    """Whether a run that was to destroy has ended because nothing is there any more: with the local cloud goes what it had."""
    return kill.operation == "destroy" and code in {NothingDeployedError.exit_code, CloudNotRunningError.exit_code}


def _kill(pid: int) -> None:
    """Kills a process, and returns when it is gone."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            gone = select.poll()
            gone.register(descriptor, select.POLLIN)
            gone.poll(10_000)
        finally:
            os.close(descriptor)


def owned(world: World) -> set[str]:
    """All that a stack can make, as AWS has it, without what AWS itself adds to a VPC."""
    ec2, route53 = world.aws("ec2"), world.aws("route53")
    vpcs = {vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]}
    tables = [each for each in ec2.describe_route_tables()["RouteTables"] if each["VpcId"] in vpcs]
    groups = {each["GroupId"] for each in ec2.describe_security_groups()["SecurityGroups"] if each["GroupName"] != "default"}
    rules = ec2.describe_security_group_rules()["SecurityGroupRules"]
    found = vpcs | groups | {each["SecurityGroupRuleId"] for each in rules if each["GroupId"] in groups}
    found |= {each["SubnetId"] for each in ec2.describe_subnets()["Subnets"] if each["VpcId"] in vpcs}
    found |= {each["RouteTableId"] for each in tables if not any(link.get("Main") for link in each.get("Associations", []))}
    gateways = ec2.describe_internet_gateways()["InternetGateways"]
    found |= {each["InternetGatewayId"] for each in gateways if {link["VpcId"] for link in each["Attachments"]} <= vpcs}
    found |= {each["AllocationId"] for each in ec2.describe_addresses()["Addresses"]}
    found |= {each["KeyName"] for each in ec2.describe_key_pairs()["KeyPairs"]}
    reservations = ec2.describe_instances()["Reservations"]
    hosts = [each for reservation in reservations for each in reservation["Instances"]]
    found |= {each["InstanceId"] for each in hosts if each["State"]["Name"] != "terminated"}
    found |= {check["Id"] for check in route53.list_health_checks()["HealthChecks"]}
    return found | {_record(*each) for each in world.records()}


_IDS = {
    "ec2/vpc:Vpc",
    "ec2/subnet:Subnet",
    "ec2/routeTable:RouteTable",
    "ec2/internetGateway:InternetGateway",
    "ec2/securityGroup:SecurityGroup",
    "ec2/eip:Eip",
    "ec2/keyPair:KeyPair",
    "ec2/instance:Instance",
    "route53/healthCheck:HealthCheck",
    "vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    "vpc/securityGroupEgressRule:SecurityGroupEgressRule",
}
"""Types whose id in the state is the one of `owned`."""


def in_state(state: dict[str, Any]) -> set[str]:
    """What a state knows of the things that `owned` lists."""
    found: set[str] = set()
    for resource in state.get("resources") or []:
        kind, inputs = str(resource["type"]).removeprefix("aws:"), resource.get("inputs") or {}
        if kind in _IDS:
            found.add(str(resource["id"]))
        elif kind == "route53/record:Record":
            found.add(_record(str(inputs["name"]), str(inputs["type"]), str(inputs.get("setIdentifier") or "")))
    return found


def _record(name: str, kind: str, identifier: str) -> str:
    return f"{name.rstrip('.')} {kind} {identifier}".rstrip()


@contextmanager
def field_of_its_own() -> Generator[Campaign]:
    """A campaign below a new folder, with the checkout's engine; its cloud is stopped in the end."""
    from automation.provision.engine import provide

    directory, stack_files = Path(tempfile.mkdtemp(prefix="edge-")), Path(tempfile.mkdtemp(prefix="edge-stacks-"))
    (directory / "engine").symlink_to(provide(LOCAL_DIRECTORY / "engine", print).path.parents[1])
    try:
        yield Campaign(World(directory), stack_files)
    finally:
        client.stop(directory)
        shutil.rmtree(directory)
        shutil.rmtree(stack_files)


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Kills and problems, by who was killed."""
    killed = Counter(each.victim for each in outcomes)
    well = Counter(each.victim for each in outcomes if not each.problems)
    orphans = Counter(each.victim for each in outcomes if any("orphans" in problem for problem in each.problems))
    hangs = Counter(each.victim for each in outcomes if any("hangs" in problem for problem in each.problems))
    yield f"{'killed':<16}{'kills':>7}{'recovered':>11}{'orphans':>9}{'hangs':>7}"
    for victim in [*VICTIMS, "nobody"]:
        if killed[victim]:
            yield f"{victim:<16}{killed[victim]:>7}{well[victim]:>11}{orphans[victim]:>9}{hangs[victim]:>7}"
    yield f"{'all':<16}{len(outcomes):>7}{sum(well.values()):>11}{sum(orphans.values()):>9}{sum(hangs.values()):>7}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of kills, to repeat them")
    parser.add_argument("--operation", choices=OPERATIONS, help="this operation alone")
    parser.add_argument("--victim", choices=VICTIMS, help="always this one, where it runs")
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)  # noqa: T201
    outcomes: list[Outcome] = []
    with field_of_its_own() as campaign:
        for kill in drawn(seed, chosen.kills):
            if (chosen.only and kill.number not in chosen.only) or chosen.operation not in {None, kill.operation}:
                continue
            victims = kill.victims if chosen.victim is None else (chosen.victim, *kill.victims)
            outcome = campaign.run(replace(kill, victims=victims))
            outcomes.append(outcome)
            print(outcome, flush=True)  # noqa: T201
            if outcome.problems:
                print("\n".join(f"    {line}" for text in outcome.texts for line in text.splitlines()), flush=True)  # noqa: T201
    print("\n".join(table(outcomes)))  # noqa: T201
    return any(outcome.problems for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
