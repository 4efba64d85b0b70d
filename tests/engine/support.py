"""What the engine tests share: a local cloud of their own, environments with config of their own, what the engine did.

Leaves out everything about single components; those have unit tests.
"""

# boto3 has no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import jsonschema
import requests
import yaml
from requests.adapters import HTTPAdapter

from automation.engine.events import Event, ResourceStarted, as_json
from automation.environment import Environment
from automation.errors import EdgeError
from automation.paths import PROJECT_ROOT
from localcloud import client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from automation.engine.results import Changes

OFFICIAL_PARTS = os.environ.get("EDGE_OFFICIAL_PARTS")
"""A folder with the official `command` plugin and Python language host, to be used in place of ours."""
OREGON, LOS_ANGELES, HONOLULU = "us-west-2a", "us-west-2-lax-1a", "us-west-2-hnl-1a"
ROOMY = {"quota_vcpus": 400, "quota_addresses": 60}
"""Quotas under which all deployments of the tests fit into the one account."""
REGIONS = ("us-west-2", "us-east-1")
CLOCK = 20.0
"""How much faster than AWS's the clock of health checkers and resolvers goes, and of hosts that wait for them."""
READY_SECONDS = 180.0
"""How long a test waits for what must come; nothing is asserted about how fast it does."""


class World:
    """A local cloud below a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def status(self) -> client.CloudStatus:
        running = client.status(self.directory)
        assert running, "the local cloud does not run"
        return running

    def set_faults(self, **faults: object) -> None:
        self.status.request("PUT", "faults", faults)

    def aws(self, service: str, region: str = "us-west-2") -> Any:
        return boto3.client(
            service,  # pyright: ignore[reportArgumentType, reportCallIssue]
            region_name=region,
            **self.status.boto3_options,
        )

    def inventory(self) -> set[str]:
        """Everything that a stack can make, as AWS's own lists show it."""
        found: set[str] = set()
        for region in REGIONS:
            found |= _regional(self.aws("ec2", region))
        route53 = self.aws("route53")
        found |= {check["Id"] for check in route53.list_health_checks()["HealthChecks"]}
        return found | {f"{name} {kind} {identifier}" for name, kind, identifier in self.records()}

    def records(self) -> set[tuple[str, str, str]]:
        """Name, type and set identifier of all records but those that a hosted zone is born with."""
        route53 = self.aws("route53")
        return {
            (record["Name"], record["Type"], record.get("SetIdentifier", ""))
            for zone in route53.list_hosted_zones()["HostedZones"]
            for page in route53.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone["Id"])
            for record in page["ResourceRecordSets"]
            if record["Type"] not in {"NS", "SOA"}
        }

    def calls_since(self, offset: int) -> list[str]:
        """The AWS calls in the cloud's log after a byte offset, such as `DescribeVpcs`."""
        return [action.partition(":")[2] for action in self.actions_since(offset)]

    def actions_since(self, offset: int) -> list[str]:
        """The same as IAM names them, such as `ec2:DescribeVpcs`."""
        lines = self.log.read_bytes()[offset:].decode().splitlines()
        services = {"ec2", "route53", "iam", "ssm", "sts", "servicequotas"}
        return [f"{words[-3]}:{words[-2]}" for line in lines if len(words := line.split()) >= 3 and words[-3] in services]

    @property
    def log(self) -> Path:
        return self.directory / "cloud.log"

    def host_processes(self) -> list[int]:
        """Processes of this machine that belong to a host of this cloud."""
        mark = f"EDGE_HOST_ROOT={self.directory / 'world' / 'hosts'}".encode()
        return [pid for pid, environ in process_files("environ") if mark in environ]


def _regional(ec2: Any) -> set[str]:
    vpcs = {vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]}
    of_vpcs = {
        "SubnetId": ec2.describe_subnets()["Subnets"],
        "RouteTableId": ec2.describe_route_tables()["RouteTables"],
        "GroupId": ec2.describe_security_groups()["SecurityGroups"],
        "NetworkInterfaceId": ec2.describe_network_interfaces()["NetworkInterfaces"],
    }
    found = {str(item[key]) for key, items in of_vpcs.items() for item in items if item["VpcId"] in vpcs}
    found |= {
        gateway["InternetGatewayId"]
        for gateway in ec2.describe_internet_gateways()["InternetGateways"]
        if not any(attached["VpcId"] not in vpcs for attached in gateway["Attachments"])
    }
    found |= {address["AllocationId"] for address in ec2.describe_addresses()["Addresses"]}
    found |= {pair["KeyPairId"] for pair in ec2.describe_key_pairs()["KeyPairs"]}
    found |= {volume["VolumeId"] for volume in ec2.describe_volumes()["Volumes"]}
    return found | vpcs | {instance["InstanceId"] for instance in instances(ec2)}


def instances(ec2: Any) -> list[dict[str, Any]]:
    """All instances of a Region that are not terminated."""
    return [
        instance
        for reservation in ec2.describe_instances()["Reservations"]
        for instance in reservation["Instances"]
        if instance["State"]["Name"] != "terminated"
    ]


def process_files(name: str) -> list[tuple[int, bytes]]:
    """A file of /proc for every process that may be read, by process id."""
    found: list[tuple[int, bytes]] = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                found.append((int(directory.name), (directory / name).read_bytes()))
            except OSError:
                continue
    return found


@dataclass
class Recording:
    """What was told of a run; an `on_event` callback."""

    events: list[Event] = field(default_factory=list["Event"])
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def touched(self) -> dict[str, set[str]]:
        """What the run does, or would do, with each resource that does not stay as it is, by `Kind name`."""
        found: dict[str, set[str]] = {}
        for event in self.events:
            if not isinstance(event, ResourceStarted) or event.resource.type.startswith("pulumi:"):
                continue
            if type(event) is ResourceStarted and event.operation not in {"same", "read", "refresh"}:
                found.setdefault(f"{event.resource.kind} {event.resource.name}", set()).add(event.operation)
        return found

    @property
    def text(self) -> str:
        """Everything that was told, as text."""
        return json.dumps([as_json(event) for event in self.events])


def _kind_and_name(urn: str) -> str:
    _, _, types, name = urn.split("::", 3)
    return f"{types.rpartition(':')[2]} {name}"


class Deployment:
    """An environment on a local cloud; its stack file may be the test's own, written anew between runs."""

    def __init__(self, name: str, world: World, stack_files: Path) -> None:
        self.name, self.world = name, world
        self.said: list[str] = []
        self._stack_files = stack_files

    @cached_property
    def environment(self) -> Environment:
        return Environment(
            self.name,
            on_local_cloud=True,
            directory=self.world.directory,
            stack_files=self._stack_files,
            say=self.said.append,
        )

    def configure(self, sites: Iterable[str | Mapping[str, object]], **sections: object) -> None:
        """Writes the stack file. What is not given has the program's own defaults, or the local run's stand-ins."""
        described = [{"zone": site} if isinstance(site, str) else dict(site) for site in sites]
        config: dict[str, object] = {"aws:region": "us-west-2", "edge-inference:sites": described}
        config |= {key if ":" in key else f"edge-inference:{key}": value for key, value in sections.items()}
        (self._stack_files / f"Pulumi.{self.name}.yaml").write_text(yaml.safe_dump({"config": config}))

    def up(self) -> Recording:
        return self._recorded(self.environment.up)

    def preview(self) -> Recording:
        return self._recorded(self.environment.plan)

    def destroy(self) -> Recording:
        return self._recorded(self.environment.destroy)

    def _recorded(self, run: Callable[[Recording], Changes]) -> Recording:
        recording = Recording()
        recording.outputs = run(recording).outputs
        return recording

    def shell(self) -> Callable[..., subprocess.CompletedProcess[str]]:
        """Runs plain `pulumi` by hand with what `edge env local` prints, as often as one likes."""
        variables = self._shell_variables()
        return lambda *arguments: subprocess.run(
            self._words(*arguments), env=variables, capture_output=True, text=True, check=False
        )

    def begin(self, output: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """Plain `pulumi` beside the test, which prints into a file."""
        with output.open("wb") as file:
            return subprocess.Popen(self._words(*arguments), env=self._shell_variables(), stdout=file, stderr=file)

    def _words(self, *arguments: str) -> list[str]:
        return ["pulumi", "--non-interactive", "--color=never", *arguments, "--stack", self.name]

    def _shell_variables(self) -> dict[str, str]:
        variables = self.environment.shell_variables()
        return {**os.environ, **variables, "PATH": variables["PATH"].replace("$PATH", os.environ["PATH"])}

    def pulumi(self, *arguments: str) -> str:
        """What plain `pulumi` prints when it succeeds."""
        result = self.shell()(*arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def exported(self) -> dict[str, Any]:
        """The stack's deployment as plain `pulumi stack export` shows it."""
        return json.loads(self.pulumi("stack", "export"))["deployment"]

    def urns(self) -> dict[str, str]:
        """URNs of all resources in the state, by `Kind name`."""
        return {_kind_and_name(resource["urn"]): resource["urn"] for resource in self.exported().get("resources", [])}

    @property
    def project(self) -> Path:
        """The project folder that the environment keeps for this stack."""
        return self.world.directory / "world" / "projects" / self.name


def forget(deployment: Deployment, forgotten: Callable[[dict[str, Any]], bool], tmp_path: Path) -> set[str]:
    """Takes resources out of the state, as if they had never been written down; their ids."""
    state = json.loads(deployment.pulumi("stack", "export"))
    resources: list[dict[str, Any]] = state["deployment"]["resources"]
    gone = {each["urn"]: str(each["id"]) for each in resources if each.get("id") and forgotten(each)}
    kept = [each for each in resources if each["urn"] not in gone]
    for each in kept:
        each["dependencies"] = [urn for urn in each.get("dependencies") or [] if urn not in gone]
        by_property: dict[str, list[str]] = each.get("propertyDependencies") or {}
        each["propertyDependencies"] = {key: [urn for urn in urns or [] if urn not in gone] for key, urns in by_property.items()}
        if each.get("deletedWith") in gone:
            del each["deletedWith"]
    state["deployment"]["resources"] = kept
    file = tmp_path / "state.json"
    file.write_text(json.dumps(state))
    deployment.pulumi("stack", "import", "--file", str(file))
    return set(gone.values())


def assert_contract(outputs: Mapping[str, Any]) -> None:
    """That a stack's outputs are what docs/outputs.schema.json says."""
    jsonschema.validate(dict(outputs), json.loads((PROJECT_ROOT / "docs" / "outputs.schema.json").read_text()))


class BackgroundUp:
    """An `up` in a thread."""

    def __init__(self, deployment: Deployment) -> None:
        self.recording = Recording()
        self.error: EdgeError | None = None
        self._deployment = deployment
        self._thread = threading.Thread(target=self._up, daemon=True)
        self._thread.start()

    def _up(self) -> None:
        try:
            self._deployment.environment.up(self.recording)
        except EdgeError as error:
            self.error = error

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> EdgeError | None:
        """How it ended, once it has."""
        self._thread.join(READY_SECONDS)
        assert not self._thread.is_alive()
        return self.error


def tokens(url: str, *, source: str | None = None) -> list[str]:
    """The tokens of one streamed answer of TGI's own route."""
    body = {"inputs": "What is the edge?", "parameters": {"max_new_tokens": 5}}
    with requests.Session() as session:
        if source:
            session.mount("http://", From(source))
        with session.post(f"{url}/generate_stream", json=body, stream=True, timeout=30) as answer:
            answer.raise_for_status()
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            lines = [line for line in answer.iter_lines(chunk_size=1) if line.startswith(b"data:")]
    return [json.loads(line.removeprefix(b"data:"))["token"]["text"] for line in lines]


class From(HTTPAdapter):
    """Connects from a given address of this machine."""

    def __init__(self, source: str) -> None:
        self._source = source
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, source_address=(self._source, 0))


def wait_for(what: str, reached: Callable[[], bool]) -> None:
    """Waits until something is so, as long as it may take."""
    deadline = time.monotonic() + READY_SECONDS
    while not reached():
        assert time.monotonic() < deadline, f"{what}: not within {READY_SECONDS:.0f} s"
        time.sleep(0.05)
