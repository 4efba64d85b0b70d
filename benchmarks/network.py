"""What the local cloud's network costs by itself, how well it keeps the delays that it simulates, and 200 streams at once.

A real local cloud in a process of its own with one host, asked through its doorway and directly at the port behind it, in one
run, in turns whose order is drawn. Clients are in this process. For the streams also a doorway alone in a process, with a source
of tokens in another: the model servers share their process with the doorways and need the larger part of its one core.
"""

import argparse
import asyncio
import http.client
import json
import multiprocessing
import os
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import asyncssh
import boto3
from proxy import in_pairs, report

from geography.cities import CITIES, local_network
from geography.latency import round_trip_ms
from geography.places import REGIONS
from localcloud import client, event_loop, hub
from localcloud.hosts import distance
from localcloud.hosts.doorway import Doorway, bound_socket

REGION, ZONE = "us-west-2", "us-west-2a"
AMI_PARAMETER = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
IMAGE = "ghcr.io/huggingface/text-generation-inference:2.4.0"
FAR_CITIES = ("Portland", "Los Angeles", "Honolulu", "London", "Singapore")
HERE = "127.0.0.1"
PORT = 8080
TOKENS, FIRST_TOKEN_MS, TOKEN_MS = 100, 20.0, 20.0
BEGIN_SECONDS = 1.0
"""Half of what a stream takes, so that all run at once. A request costs its server as much as ten tokens do."""
BODY = json.dumps({"inputs": "What is the edge?", "parameters": {"max_new_tokens": TOKENS}}).encode()
REQUEST = (
    b"POST /generate_stream HTTP/1.1\r\nHost: benchmark\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    % (len(BODY), BODY)
)
LONE_DOORWAY = "127.76.0.1"
PREPARE_SECONDS = 30.0


@dataclass(frozen=True)
class Way:
    """An endpoint, asked from an address of this machine."""

    name: str
    address: str
    port: int
    source: str = HERE

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is set up."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=30, source_address=(self.source, 0))
        connection.connect()
        return connection

    def kept(self) -> Callable[[], float]:
        """Measures requests, in milliseconds, on one connection that stays."""
        return partial(_request_ms, self.connect())

    def anew(self) -> float:
        """Measures a request on a connection of its own, its set-up included."""
        begin = time.perf_counter()
        connection = self.connect()
        set_up_ms = (time.perf_counter() - begin) * 1000
        milliseconds = set_up_ms + _request_ms(connection)
        connection.close()
        return milliseconds


def _request_ms(connection: http.client.HTTPConnection) -> float:
    begin = time.perf_counter()
    connection.request("GET", "/health")
    answer = connection.getresponse()
    answer.read()
    milliseconds = (time.perf_counter() - begin) * 1000
    if answer.status != http.HTTPStatus.OK:
        raise RuntimeError(f"/health answers {answer.status}")
    return milliseconds


# The host


@contextmanager
def cloud_with_a_host() -> Generator[tuple[client.CloudStatus, Way, Way]]:
    """A local cloud, and the model server on its host: directly, and through the doorway."""
    with tempfile.TemporaryDirectory(prefix="edge-network-") as name:
        directory = Path(name)
        cloud = client.start(directory, port=0)
        try:
            key = asyncssh.generate_private_key("ssh-ed25519")
            instance, address = launch(cloud, key)
            until(lambda: socket.create_connection((address, 20022)).close())
            write_model(directory / "world" / "hosts" / instance / "root")
            direct = Way("direct", HERE, asyncio.run(start_server(address, key)))
            doorway = Way("doorway", address, PORT)
            until(lambda: _request_ms(doorway.connect()))
            yield cloud, direct, doorway
        finally:
            client.stop(directory)


def until(action: Callable[[], object]) -> None:
    """Does it again until it succeeds."""
    deadline = time.monotonic() + PREPARE_SECONDS
    while True:
        try:
            action()
        except (OSError, RuntimeError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def aws(cloud: client.CloudStatus, service: str):
    """A client of the cloud's API."""
    return boto3.client(service, region_name=REGION, **cloud.boto3_options)


def launch(cloud: client.CloudStatus, key: asyncssh.SSHKey) -> tuple[str, str]:
    """A network and one instance that lets all of loopback in; its id and address."""
    ec2, ssm = aws(cloud, "ec2"), aws(cloud, "ssm")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone=ZONE)["Subnet"]["SubnetId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    group = ec2.create_security_group(GroupName="benchmark", Description="benchmark", VpcId=vpc)["GroupId"]
    for port in (22, PORT):
        rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "127.0.0.0/8"}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    ec2.import_key_pair(KeyName="benchmark", PublicKeyMaterial=key.export_public_key())
    disk = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeType": "gp3", "VolumeSize": 100}}
    instance = ec2.run_instances(
        ImageId=ssm.get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"],
        InstanceType="g4dn.2xlarge",
        SubnetId=subnet,
        SecurityGroupIds=[group],
        KeyName="benchmark",
        MinCount=1,
        MaxCount=1,
        BlockDeviceMappings=[disk],
    )["Instances"][0]["InstanceId"]
    address = ec2.allocate_address(Domain="vpc", NetworkBorderGroup=REGION)
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    return instance, address["PublicIp"]


def write_model(root: Path) -> None:
    """The weights' folder, as converge leaves it."""
    directory = root / "opt/edge-inference/model"
    directory.mkdir(parents=True)
    for file, content in hub.files("meta-llama/Llama-3.2-3B-Instruct").items():
        (directory / file).write_text(json.dumps(content))


async def start_server(address: str, key: asyncssh.SSHKey) -> int:
    """Start the model server over SSH; the port that it has behind the doorway."""
    start = (
        f"systemctl enable --now docker && docker pull -q {IMAGE} && docker run -d --name server --gpus all -p {PORT}:80"
        f' -v "$EDGE_HOST_ROOT/opt/edge-inference/model:/model:ro" {IMAGE} --model-id /model --max-concurrent-requests 1000'
    )
    async with asyncssh.connect(
        address, 20022, username="ec2-user", client_keys=[key], known_hosts=None, config=None
    ) as connection:
        await connection.run(start, check=True)
        return int(str((await connection.run("docker port server 80/tcp", check=True)).stdout).rpartition(":")[2])


# Requests


def added_by_the_doorway(cloud: client.CloudStatus, direct: Way, doorway: Way, pairs: int) -> None:
    """Through the doorway, from next to it, against directly."""
    print(
        "| connection | direct, median ms | doorway, median ms | difference, median ms | middle half of the differences | ratio |"
    )
    print("|---|---|---|---|---|---|")
    report("kept", *in_pairs(direct.kept(), doorway.kept(), pairs))
    report("new for each request", *in_pairs(direct.anew, doorway.anew, pairs))
    with api_calls(cloud):
        report("kept, while the API answers", *in_pairs(direct.kept(), doorway.kept(), pairs))
        report("new, while the API answers", *in_pairs(direct.anew, doorway.anew, pairs))


@contextmanager
def api_calls(cloud: client.CloudStatus) -> Generator[None]:
    """Somebody asks the API, one request after the other."""
    asking = multiprocessing.Process(target=ask_forever, args=(cloud,))
    asking.start()
    try:
        yield
    finally:
        asking.terminate()
        asking.join()


def ask_forever(cloud: client.CloudStatus) -> None:
    """Read and change, as a deployment does."""
    ec2 = aws(cloud, "ec2")
    while True:
        vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        ec2.describe_instances()
        ec2.describe_security_group_rules()
        ec2.delete_vpc(VpcId=vpc)


def delay_by_city(doorway: Way, pairs: int) -> None:
    """What a city's requests take longer than those from next to the doorway, less the delay that was wanted."""
    print("\n| city | wanted ms | kept: error, median ms | middle half | wanted ms | new: error, median ms | middle half |")
    print("|---|---|---|---|---|---|---|")
    for name in FAR_CITIES:
        city = CITIES[name]
        trip_ms = round_trip_ms(city.place, REGIONS[REGION])
        far = Way(name, doorway.address, doorway.port, str(local_network(city)[1]))
        kept = error(in_pairs(doorway.kept(), far.kept(), pairs), trip_ms)
        new = error(in_pairs(doorway.anew, far.anew, pairs), 2 * trip_ms)
        print(f"| {name} | {trip_ms:.1f} | {kept} | {2 * trip_ms:.1f} | {new} |")


def error(pairs: tuple[list[float], list[float]], wanted_ms: float) -> str:
    """Median and middle half of how much more than wanted the second of each pair took longer."""
    low, middle, high = statistics.quantiles([far - near - wanted_ms for near, far in zip(*pairs, strict=True)], n=4)
    return f"{middle:+.2f} | {low:+.2f} to {high:+.2f}"


# Streams


class Stream(asyncio.Protocol):
    """A client of one stream, which notes when its tokens came."""

    def __init__(self) -> None:
        self.arrivals: list[float] = []
        self.tokens = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def ask(self) -> None:
        """Send the request."""
        self.asked = time.perf_counter()
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        """Count tokens."""
        if found := data.count(b"data:"):
            self.arrivals.append(time.perf_counter())
            self.tokens += found
        if self.tokens >= TOKENS and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """All tokens should have come before."""
        if not self.done.done():
            self.done.set_exception(exc or RuntimeError(f"closed after {self.tokens} tokens"))

    def first_ms(self) -> float:
        """Time to first token."""
        return (self.arrivals[0] - self.asked) * 1000

    def gaps_ms(self) -> list[float]:
        """Between tokens."""
        return [(later - earlier) * 1000 for earlier, later in pairwise(self.arrivals)]


async def streams_at_once(way: Way, number: int) -> list[Stream]:
    """So many streams on connections that are set up already, begun evenly over the first half of the time that one takes."""
    loop = asyncio.get_running_loop()
    streams = [
        (await loop.create_connection(Stream, way.address, way.port, local_addr=(way.source, 0)))[1] for _ in range(number)
    ]
    await asyncio.sleep(0.5)
    for index, stream in enumerate(streams):
        loop.call_later(index / number * BEGIN_SECONDS, stream.ask)
    await asyncio.gather(*[stream.done for stream in streams])
    for stream in streams:
        stream.transport.abort()
    return streams


async def compare_streams(what: str, pid: int, ways: list[Way], number: int, rounds: int) -> None:
    """Rounds in which every way has its turn, in drawn order; a row for each. `pid` is the process whose time is told."""
    found: dict[Way, list[list[Stream]]] = {way: [] for way in ways}
    spent = dict.fromkeys(ways, 0.0)
    for _ in range(rounds):
        for way in random.sample(ways, len(ways)):
            before = cpu_seconds(pid)
            found[way].append(await streams_at_once(way, number))
            spent[way] += cpu_seconds(pid) - before
    for way, waves in found.items():
        first = [stream.first_ms() for wave in waves for stream in wave]
        gaps = [gap for wave in waves for stream in wave for gap in stream.gaps_ms()]
        medians = " ".join(f"{statistics.median(stream.first_ms() for stream in wave):.1f}" for wave in waves)
        cells = [
            f"{statistics.median(first):.1f} ({medians})",
            f"{statistics.quantiles(first, n=20)[-1]:.1f}",
            f"{statistics.median(gaps):.2f}",
            f"{statistics.quantiles(gaps, n=20)[-1]:.2f}",
            f"{spent[way] / (rounds * number * TOKENS) * 1e6:.0f}",
        ]
        print(f"| {what} | {way.name} | {number} | {' | '.join(cells)} |")


def cpu_seconds(pid: int) -> float:
    """What a process has spent, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve_tokens(pipe: Connection) -> None:
    """A source of tokens, until it is ended: as little work for each as can be."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(len(REQUEST))
            begin = loop.time()
            for index in range(TOKENS):
                await asyncio.sleep(max(0.0, begin + (FIRST_TOKEN_MS + index * TOKEN_MS) / 1000 - loop.time()))
                writer.write(b"data:" + bytes(150))
            await reader.read()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(handle, sock=bound_socket(HERE, 0), backlog=512)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    event_loop.run(run())


def serve_doorway(inside_port: int, pipe: Connection) -> None:
    """A doorway by itself, until it is ended."""

    async def run() -> None:
        seconds = partial(distance.round_trip_seconds, zone=ZONE)
        doorway = Doorway(LONE_DOORWAY, PORT, inside_port, lambda *_: None, seconds)
        await doorway.open()
        pipe.send(PORT)
        await asyncio.Event().wait()

    event_loop.run(run())


@contextmanager
def started(target: Callable[..., None], *arguments: object) -> Generator[tuple[int, int]]:
    """A process that serves; its id and its port."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=target, args=(*arguments, there))
    process.start()
    try:
        yield process.pid or 0, here.recv()
    finally:
        process.terminate()
        process.join()


def many_streams(cloud: client.CloudStatus, direct: Way, doorway: Way, rounds: int) -> None:
    """200 streams: a doorway alone, then the whole cloud; 50 for what a model server of the cloud can do with ease."""
    print(
        "\n| what | way | streams | first token, median ms (of each round) | p95 ms | between tokens, median ms | p95 ms"
        " | process, microseconds per token |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with started(serve_tokens) as (_, port), started(serve_doorway, port) as (pid, _):
        lone = Way("doorway", LONE_DOORWAY, PORT)
        event_loop.run(compare_streams("doorway alone", pid, [Way("direct", HERE, port), *near_and_far(lone)], 200, rounds))
    cloud.request("PUT", "model", {"first_token_ms": FIRST_TOKEN_MS, "token_ms": TOKEN_MS, "concurrency": 1000})
    for number in (50, 200):
        event_loop.run(compare_streams("cloud", cloud.pid, [direct, *near_and_far(doorway)], number, rounds))


def near_and_far(doorway: Way) -> list[Way]:
    """A doorway from next to it, and from Honolulu."""
    return [doorway, replace(doorway, name="doorway, from Honolulu", source=str(local_network(CITIES["Honolulu"])[1]))]


def main() -> None:
    """Measures and prints three tables."""
    parser = argparse.ArgumentParser(description="Cost and truth of the local cloud's network.")
    parser.add_argument("--pairs", type=int, default=300, help="of requests, for each row; a third of them with a delay")
    parser.add_argument("--rounds", type=int, default=5, help="of streams")
    arguments = parser.parse_args()
    with cloud_with_a_host() as (cloud, direct, doorway):
        added_by_the_doorway(cloud, direct, doorway, arguments.pairs)
        delay_by_city(doorway, arguments.pairs // 3)
        many_streams(cloud, direct, doorway, arguments.rounds)


if __name__ == "__main__":
    main()
