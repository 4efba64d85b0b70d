"""Another user of the machine gets nothing of a local cloud: no answer, no file, no process, no host.

As root, since the other user is played by a process that gives its rights up. Each step of the attack is one that once worked.
"""

# botocore has no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import multiprocessing
import os
import pwd
import resource
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import asyncssh
import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from localcloud import client, keys
from tests.unit.hosts.host_rig import HOST_KEY, LOGIN, launch, new_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OTHERS_KEY = new_key()
IMPORT = {"KeyName": "mine", "PublicKeyMaterial": OTHERS_KEY.export_public_key().decode()}
ACTIONS: list[dict[str, str]] = [
    {"Action": "DescribeInstances"},
    {"Action": "DescribeInstanceAttribute", "Attribute": "userData", "InstanceId": "i-1"},
    {"Action": "ImportKeyPair", **IMPORT},
    {"Action": "RunInstances", "ImageId": "ami-1", "MinCount": "1", "MaxCount": "1", "KeyName": "mine"},
    {"Action": "TerminateInstances", "InstanceId.1": "i-1"},
]
CONTROLS = [
    ("GET", "status"),
    ("GET", "network"),
    ("GET", "ports/127.0.0.1/22"),
    ("GET", "hub/api/models/meta-llama/Llama-3.2-3B"),
    ("PUT", "faults"),
    ("PUT", "model"),
    ("PUT", "hosted-zones"),
]
CROWD = 10_000


class World:
    """A local cloud with one host, and the other user."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cloud = client.start(directory, port=0)
        self.port = self.cloud.port
        self.address = launch(self.cloud)

    def ec2(self) -> Any:
        return boto3.client("ec2", region_name="us-west-2", **self.cloud.boto3_options)  # pyright: ignore[reportArgumentType]

    def state(self) -> str:
        """All that an intruder could have changed, and the secret of the host."""
        ec2 = self.ec2()
        (instance,) = ec2.describe_instances()["Reservations"][0]["Instances"]
        return json.dumps([instance, ec2.describe_key_pairs()["KeyPairs"], self.cloud.request("GET", "faults")], default=str)

    def resident_kib(self) -> int:
        status = Path(f"/proc/{self.cloud.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """An answer of the API."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body, headers or {})
        with connection.getresponse() as response:
            return response.status, response.read().decode()

    def call(self, action: dict[str, str], known: tuple[str, str] | None) -> tuple[int, str]:
        """An answer of EC2 to what is signed with these keys, or not at all."""
        body = urlencode({**action, "Version": "2016-11-15"}).encode()
        form = {"Host": f"127.0.0.1:{self.port}", "Content-Type": "application/x-www-form-urlencoded"}
        request = AWSRequest("POST", f"http://127.0.0.1:{self.port}/", form, body)
        if known:
            SigV4Auth(Credentials(*known), "ec2", "us-west-2").add_auth(request)
        return self.ask("POST", "/", body, dict(request.headers.items()))

    def login(self, key: asyncssh.SSHKey, port: int = 20022, address: str | None = None) -> str:
        """What a command prints on the host."""

        async def run() -> str:
            known: tuple[list[bytes], list[bytes], list[bytes]] = ([HOST_KEY.export_public_key()], [], [])
            options: dict[str, Any] = {"client_keys": [key], "known_hosts": known, "username": "ec2-user", "agent_path": None}
            async with asyncssh.connect(address or self.address, port, config=None, **options) as connection:
                return str((await connection.run("id -u")).stdout)

        return asyncio.run(asyncio.wait_for(run(), 30))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if os.geteuid() != 0:
        pytest.skip("needs root: it plays another user of the machine")
    directory = Path(tempfile.mkdtemp(prefix="edge-another-"))
    directory.chmod(0o755)  # as .localcloud was
    (directory / "cloud.log").touch(mode=0o644)
    try:
        made = World(directory)
        deadline = time.monotonic() + 30
        while '"running"' not in json.dumps(made.cloud.request("GET", "status")["hosts"]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield made
    finally:
        client.stop(directory)
        shutil.rmtree(directory)


def as_another(act: Callable[[], object]) -> Any:
    """What the other user gets by an act, or the error that he gets."""
    ours, theirs = multiprocessing.get_context("fork").Pipe()

    def run() -> None:
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
        os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)
        try:
            theirs.send(act())
        except (OSError, asyncssh.Error) as error:
            theirs.send(error)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        process.join()


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action["Action"])
def test_no_call_of_aws_is_answered(world: World, action: dict[str, str]) -> None:
    before = world.state()
    guessed = keys.make()
    key_id = world.cloud.keys.access_key_id
    for known in (None, ("localcloud", "localcloud"), (guessed.access_key_id, "x"), (key_id, guessed.secret_access_key)):
        status, told = as_another(lambda known=known: world.call(action, known))
        assert status in {401, 403}
        assert "AuthFailure" in told or "MissingAuthenticationToken" in told
        assert "i-" not in told.replace("multi-", "")
    assert world.state() == before
    # With the world's keys he would: they are all that is in his way.
    owners = key_id, world.cloud.keys.secret_access_key
    assert "instancesSet" in as_another(lambda: world.call(ACTIONS[0], owners))[1]


@pytest.mark.parametrize(("method", "path"), CONTROLS)
def test_no_control_request_is_answered(world: World, method: str, path: str) -> None:
    before = world.state()
    for token in ("", "Bearer ", "Bearer localcloud", f"Bearer {keys.make().control_token}"):
        for host in (f"127.0.0.1:{world.port}", "evil.example", f"evil.example:{world.port}"):
            headers = {"Authorization": token, "Host": host}
            body = b'{"quota_vcpus": 1, "name": "x"}'
            status, told = as_another(lambda given=(body, headers): world.ask(method, f"/_localcloud/{path}", *given))
            assert status == (403 if host.startswith("127.") else 421)
            assert world.address not in told
    assert world.state() == before


def test_a_page_that_was_led_here_gets_nothing_even_with_the_keys(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.cloud.keys.control_token}", "Host": f"evil.example:{world.port}"}
    assert as_another(lambda: world.ask("GET", "/_localcloud/status", headers=headers))[0] == 421


def test_no_file_can_be_read(world: World) -> None:
    (world.directory / "world" / "projects").mkdir(exist_ok=True)
    root = next((world.directory / "world" / "hosts").glob("*/root"))
    (root / "etc" / "secret").write_text("planted")

    def readable() -> list[str]:
        named = [Path(folder) / file for folder, _, files in os.walk(world.directory) for file in files]
        found = [str(path) for path in named if os.access(path, os.R_OK)]
        for path in ("cloud.json", "cloud.log", "world/keys.json", f"{root}/etc/secret"):
            with contextlib.suppress(OSError):
                (world.directory / path).read_text()
                found.append(path)
        for name in ("environ", "maps"):
            with contextlib.suppress(OSError):
                found.append(Path(f"/proc/{world.cloud.pid}/{name}").read_text())
        return found

    assert as_another(readable) == []
    # Nor if the folder is opened again by hand.
    world.directory.chmod(0o755)
    assert as_another(readable) == []
    world.directory.chmod(0o700)


def test_no_command_line_shows_a_key(world: World) -> None:
    secrets = [each for each in vars(world.cloud.keys).values() if each != world.cloud.keys.access_key_id]

    def shown() -> str:
        found: list[bytes] = []
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found.append(process.read_bytes())
        return b"\n".join(found).decode(errors="replace")

    told = as_another(shown)
    assert "localcloud" in told
    assert not [secret for secret in secrets if secret in told]


def test_the_stand_in_commands_are_for_the_owner(world: World) -> None:
    control = world.directory / "world" / "control"
    (host,) = (path.name for path in (world.directory / "world" / "hosts").iterdir())
    call = {"host": host, "arguments": ["docker", "ps", "-a"], "directory": "/", "environment": {}}

    def docker() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(control / "commands"))
            connection.sendall(json.dumps(call).encode() + b"\n")
            return connection.recv(1000)

    assert b"docker" in docker(), "the owner gets Docker's answer"
    assert isinstance(as_another(docker), PermissionError)
    # The kernel's word on who asks holds too where the folders do not.
    opened = [world.directory, world.directory / "world", control, control / "commands"]
    for path in opened:
        path.chmod(0o777)
    answer = as_another(docker)
    for path in opened:
        path.chmod(0o700)
    assert answer == b"" or isinstance(answer, ConnectionError)
    assert "is not answered: the cloud belongs to user 0" in (world.directory / "cloud.log").read_text()


def _listening_ports(process: int) -> list[tuple[str, int]]:
    """Address and port of every TCP socket on which a process listens."""
    opened = [str(path.readlink()) for path in Path(f"/proc/{process}/fd").iterdir() if path.is_symlink()]
    inodes = {name.removeprefix("socket:[").removesuffix("]") for name in opened}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    local = [row[1].split(":") for row in rows if row[3] == "0A" and row[9] in inodes]
    return [(socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)) for address, port in local]


def test_no_port_gives_a_shell_or_tells_of_hosts(world: World) -> None:
    assert world.login(LOGIN) == "0\n", "the owner's key opens the host"
    ports = _listening_ports(world.cloud.pid)
    assert {("127.0.0.1", world.port), (world.address, 20022)} <= set(ports)
    (host,) = (path.name for path in (world.directory / "world" / "hosts").iterdir())
    for address, port in ports:
        assert address.startswith("127.")
        refused = as_another(lambda address=address, port=port: world.login(OTHERS_KEY, port, address))
        assert isinstance(refused, Exception)

        def ask(address: str = address, port: int = port) -> bytes:
            with socket.create_connection((address, port), timeout=5) as connection:
                connection.sendall(b"GET /_localcloud/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return connection.recv(10_000)

        told = as_another(ask)
        assert isinstance(told, OSError) or host.encode() not in told


def test_80_bytes_cost_nothing(world: World) -> None:
    before = world.resident_kib()

    def announce() -> bytes:
        with socket.create_connection(("127.0.0.1", world.port), timeout=60) as connection:
            head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{world.port}\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.sendall(head.encode() + b"FFFFFFFFFF\r\n" + bytes(2 * 2**20))
            return connection.recv(100)

    told = as_another(announce)
    assert isinstance(told, ConnectionError) or told.split()[1] in {b"403", b"413"}
    assert world.resident_kib() - before < 32 * 1024


def test_a_crowd_costs_neither_memory_nor_anybodys_answer(world: World) -> None:
    """10,000 connections to one host, of its own source address, none of which says anything; and as many to the API."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(CROWD, hard - 100)
    log = world.directory / "cloud.log"
    resident, logged = world.resident_kib(), log.stat().st_size

    for target in ((world.address, 20022), ("127.0.0.1", world.port)):
        ours, theirs = multiprocessing.get_context("fork").Pipe()

        def crowd(target: tuple[str, int] = target, theirs: Any = theirs) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            os.setresuid(65534, 65534, 65534)
            held: list[socket.socket] = []
            for _ in range(count):
                with contextlib.suppress(OSError):
                    held.append(socket.create_connection(target, timeout=30))
            theirs.send(len(held))
            theirs.recv()

        process = multiprocessing.get_context("fork").Process(target=crowd)
        process.start()
        assert ours.recv() > count * 0.99
        assert world.login(LOGIN) == "0\n"
        assert world.cloud.request("GET", "status")["hosts"]
        assert world.ec2().describe_vpcs()["Vpcs"]
        ours.send("go")
        process.join()
    assert world.resident_kib() - resident < 100 * 1024
    assert log.stat().st_size - logged < 100_000
    assert len(list(Path(f"/proc/{world.cloud.pid}/fd").iterdir())) < hard
