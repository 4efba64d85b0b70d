"""What those who connect may cost: places, bodies, log lines, and who may ask the stand-in commands' server."""

import asyncio
import json
import logging
import os
import resource
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from host_rig import IMAGE, rig
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from localcloud import serving as bounded_serving
from localcloud.bounds import Places, room_with
from localcloud.hosts import commands
from localcloud.hosts.doorway import Doorway
from localcloud.log import EARLIER, NAME, REFUSED, BoundedLog
from localcloud.serving import LONGEST_BODY_BYTES, serving


def test_who_says_nothing_gives_way_and_who_has_spoken_stays() -> None:
    dropped: list[int] = []
    places = Places(3)

    def enter(number: int) -> bool:
        return places.enter(number, "s", lambda: dropped.append(number))

    assert [enter(number) for number in (1, 2, 3)] == [True] * 3
    places.spoke(1)
    assert enter(4)
    assert dropped == [2]
    places.spoke(3)
    places.spoke(4)
    assert not enter(5), "all have spoken"
    places.leave(3)
    assert enter(6)
    places.leave(2)  # it left long ago
    assert (places.taken, dropped) == (3, [2])


def test_one_source_cannot_take_all_places_nor_push_others_out() -> None:
    dropped: list[str] = []
    places = Places(10, of_source=2)
    assert places.enter("quiet", "other", lambda: dropped.append("quiet"))
    for number in range(5):
        assert places.enter(number, "crowd", lambda number=number: dropped.append(str(number)))
    assert dropped == ["0", "1", "2"]
    for number in (3, 4):
        places.spoke(number)
    assert not places.enter("last", "crowd", lambda: None)
    assert places.enter("another", "third", lambda: None)


def test_places_within_larger_ones_count_there_too() -> None:
    whole = Places(3)
    one, two = (Places(2, within=whole) for _ in range(2))
    for places, names in ((one, "ab"), (two, "c")):
        for name in names:
            assert places.enter(name, "s", lambda: None)
            places.spoke(name)
    assert not two.enter("d", "s", lambda: None)
    assert (one.taken, two.taken, whole.taken) == (2, 1, 3)
    one.leave("a")
    assert two.enter("d", "s", lambda: None)
    assert whole.taken == 3


@pytest.mark.parametrize("descriptors", [64, 256, 1024, 20_000, 65_536])
def test_room_never_needs_more_descriptors_than_there_are(descriptors: int) -> None:
    room = room_with(descriptors)
    assert 0 < room.of_source < room.of_port < room.in_all
    assert 3 * room.in_all + min(512, descriptors // 4) <= descriptors


def _admitted(_address: str, _port: int, _source: str) -> None:
    """Everybody is."""


@asynccontextmanager
async def _echo() -> AsyncGenerator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def _asked(address: str, port: int, source: str = "127.0.0.1") -> bytes:
    reader, writer = await asyncio.open_connection(address, port, local_addr=(source, 0))
    writer.write(b"hello")
    got = await reader.read(5)
    writer.close()
    return got


def test_a_crowd_at_one_doorway_keeps_nobody_out(caplog: pytest.LogCaptureFixture) -> None:
    """Neither from the crowd's own source, nor at another site."""
    address, crowd = f"127.{90 + os.getpid() % 100}.1.1", 600

    async def run() -> None:
        async with _echo() as inside:
            whole = Places(40)
            doors = [Doorway(address, port, inside, _admitted) for port in (8080, 8081)]
            for door in doors:
                door.places = Places(30, 20, within=whole)
                await door.open()
            held = [await asyncio.open_connection(address, 8080) for _ in range(crowd)]
            assert doors[0].places.taken <= 20
            assert await _asked(address, 8080) == b"hello"
            assert await _asked(address, 8080, "127.9.9.9") == b"hello"
            assert await _asked(address, 8081) == b"hello"
            assert len(doors[0].open_ends) <= 2 * 20
            talking = [await asyncio.open_connection(address, 8080) for _ in range(20)]
            for reader, writer in talking:
                writer.write(b"x")
                assert await reader.read(1) == b"x"
            reader, _ = await asyncio.open_connection(address, 8080)
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            assert await _asked(address, 8080, "127.9.9.9") == b"hello"
            for _, writer in held + talking:
                writer.close()
            for door in doors:
                door.close()
            assert whole.taken == 0

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    assert f"refused 127.0.0.1 -> {address}:8080: 20 connections stand there already" in caplog.text


def test_out_of_descriptors_the_doorway_refuses_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    address = f"127.{90 + os.getpid() % 100}.1.2"

    async def run() -> None:
        async with _echo() as inside:
            door = Doorway(address, 8080, inside, _admitted)
            await door.open()
            client = socket.socket()
            client.setblocking(False)
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            free = os.dup(0)  # the next free number
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, before[1]))  # one more, for the accepted end alone
            try:
                with suppress(ConnectionResetError):
                    await asyncio.get_running_loop().sock_connect(client, (address, 8080))
                    assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            assert await _asked(address, 8080) == b"hello"
            client.close()
            door.close()

    asyncio.run(run())
    assert not [record for record in caplog.records if record.exc_info and record.name.startswith("localcloud")]


async def _length(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


def _served(ask: Callable[[socket.socket], bytes]) -> bytes:
    async def run() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with serving(_length, listener):

                def asked() -> bytes:
                    with socket.create_connection(listener.getsockname(), timeout=20) as connection:
                        return ask(connection)

                return await asyncio.to_thread(asked)

    return asyncio.run(run())


_HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


def _rest(connection: socket.socket) -> bytes:
    return connection.makefile("rb").read()


def test_a_body_is_bounded_however_it_is_announced() -> None:
    def whole(connection: socket.socket) -> bytes:
        body = bytes(LONGEST_BODY_BYTES)
        connection.sendall(_HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return _rest(connection)

    def longer(connection: socket.socket) -> bytes:
        connection.sendall(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(5):
                connection.sendall(b"100000\r\n" + bytes(2**20) + b"\r\n")
        except OSError:
            pass
        return connection.recv(100)

    assert _served(whole).endswith(str(LONGEST_BODY_BYTES).encode())
    assert _served(longer).startswith(b"HTTP/1.1 413")


def test_a_huge_size_costs_nothing_before_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 bytes made the cloud take 13 GiB."""
    monkeypatch.setattr(bounded_serving, "_BODY_SECONDS", 0.2)

    def huge(connection: socket.socket) -> bytes:
        connection.sendall(_HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFF\r\nx")
        return _rest(connection)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert _served(huge).startswith(b"HTTP/1.1 408")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_who_never_finishes_his_head_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_serving, "_HEAD_SECONDS", 0.2)

    def slow(connection: socket.socket) -> bytes:
        connection.sendall(_HEAD)
        try:
            return connection.recv(1)
        except ConnectionResetError:
            return b""

    assert _served(slow) == b""
    assert (
        _served(lambda connection: connection.sendall(_HEAD + b"x: " + bytes(100_000)) or connection.recv(12)) != b"HTTP/1.1 200"
    )


def _log(directory: Path, longest_bytes: int = 10**6) -> tuple[BoundedLog, logging.Logger]:
    made, logger = BoundedLog(directory, longest_bytes=longest_bytes), logging.Logger("localcloud")
    logger.addHandler(made)
    return made, logger


def test_repeated_errors_are_told_once_and_counted(tmp_path: Path) -> None:
    made, logger = _log(tmp_path)
    for number in range(1000):
        logger.error("out of file descriptors\nsocket %s", number)
        logger.warning("something else")
        logger.info("ec2 DescribeVpcs 200")
    refused = logging.Logger(REFUSED)
    refused.addHandler(made)
    for _ in range(10):
        refused.info("refused x")
    made.close()
    lines = [line.partition(" ")[2].partition(" ")[2] for line in (tmp_path / NAME).read_text().splitlines()]
    assert lines.count("ec2 DescribeVpcs 200") == 1000, "what was done is told each time"
    assert len([line for line in lines if "DescribeVpcs" not in line]) == 7
    assert "999 time(s) more: out of file descriptors" in lines
    assert "999 time(s) more: something else" in lines
    assert "9 time(s) more: refused x" in lines
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_a_repeated_error_is_told_again_a_minute_later(tmp_path: Path) -> None:
    made, _ = _log(tmp_path)
    for second in (0, 1, 2, 61, 62):
        record = logging.LogRecord("localcloud", logging.ERROR, "", 0, "broken", (), None)
        record.created = 1e9 + second
        made.handle(record)
    made.close()
    told = [line.split(" ", 2)[2] for line in (tmp_path / NAME).read_text().splitlines()]
    assert told == ["broken", "2 time(s) more: broken", "broken", "1 time(s) more: broken"]


def test_the_log_cannot_fill_the_disk(tmp_path: Path) -> None:
    made, logger = _log(tmp_path, longest_bytes=10_000)
    for number in range(5000):
        logger.error("error %s of many different ones", number)
    made.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, EARLIER]
    assert all(path.stat().st_size <= 11_000 for path in tmp_path.iterdir())
    assert (tmp_path / NAME).read_text().startswith(f"what was written before is in {EARLIER}\n")
    assert "error 4999 of many" in (tmp_path / NAME).read_text()


def test_the_command_server_answers_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask(call: str) -> bytes:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "world" / "control" / "commands")
        writer.write(call.encode() + b"\n")
        got = await reader.read(1000)
        writer.close()
        return got

    async def run() -> None:
        async with rig(tmp_path):
            folder = tmp_path / "world" / "control"
            assert folder.stat().st_mode & 0o777 == 0o700
            call: dict[str, object] = {"host": "nowhere", "arguments": ["docker", "ps"], "directory": "/", "environment": {}}
            assert b"this host is gone" in await ask(json.dumps(call))
            for nonsense in ("[]", '"x"', '{"host": "nowhere"}', '{"host": []}', "{"):
                assert await ask(nonsense) == b""

            def another(_: socket.socket) -> int:
                return os.geteuid() + 1

            monkeypatch.setattr(commands, "peer_user", another)
            with suppress(ConnectionResetError):
                assert await ask(json.dumps(call)) == b""

    asyncio.run(run())
    assert f"a stand-in command of user {os.geteuid() + 1} is not answered" in caplog.text


def test_docker_kills_no_process_that_a_caller_names(tmp_path: Path) -> None:
    """A caller that says that its process is another one gets that process killed by nobody."""

    async def run() -> None:
        async with rig(tmp_path) as hosts:
            instance = await hosts.boot()
            await hosts.good(
                instance, "systemctl start docker && docker pull -q ghcr.io/huggingface/text-generation-inference:2.4.0"
            )
            victim = await asyncio.create_subprocess_exec("sleep", "1000")
            reader, writer = await asyncio.open_unix_connection(tmp_path / "world" / "control" / "commands")
            arguments = ["docker", "run", "--name", "liar", "--entrypoint", "sleep", IMAGE, "1000"]
            call: dict[str, object] = {"host": instance.instance_id, "arguments": arguments, "directory": "/", "environment": {}}
            writer.write(json.dumps(call).encode() + b"\n")
            assert "run" in json.loads(await reader.readline())
            writer.write(json.dumps({"process": victim.pid}).encode() + b"\n")
            engine = hosts.hosts.hosts[instance.instance_id].docker
            while not engine.containers["liar"].process:
                await asyncio.sleep(0)
            await hosts.good(instance, "docker rm -f liar")
            assert json.loads(await reader.readline()) == {"kill": victim.pid}, "its caller is asked to"
            writer.close()
            assert victim.returncode is None
            os.kill(victim.pid, 0)
            victim.kill()
            await victim.wait()

    asyncio.run(run())


def test_docker_rm_ends_a_one_shot_command(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path) as hosts:
            instance = await hosts.boot()
            await hosts.good(instance, f"systemctl start docker && docker pull -q {IMAGE}")
            running = asyncio.ensure_future(hosts.run(instance, f"docker run --name one --entrypoint sleep {IMAGE} 1000"))
            engine = hosts.hosts.hosts[instance.instance_id].docker
            while "one" not in engine.containers or not engine.containers["one"].process:
                await asyncio.sleep(0.01)
            process = engine.containers["one"].process
            await hosts.good(instance, "docker rm -f one")
            ended = await running
            assert ended[0] == 137, ended
            assert not Path(f"/proc/{process}").exists()

    asyncio.run(run())
