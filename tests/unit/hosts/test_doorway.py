"""Doorways with real sockets, near and far: what is sent arrives as it was, ends as it ended, and is not piled up."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud.hosts.distance import WINDOW_BYTES
from localcloud.hosts.doorway import Doorway, bound_socket, unprivileged

ADDRESS = f"127.{177 + os.getpid() % 50}.0.1"
PORTS = count(18000)
ROUND_TRIPS = [0.0, 0.004]

Service = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
near_and_far = pytest.mark.parametrize("round_trip", ROUND_TRIPS)


def _anybody(_address: str, _port: int, _source: str) -> None:
    """Refuses nobody."""


@asynccontextmanager
async def doorway(service: Service, round_trip: float) -> AsyncGenerator[Doorway]:
    """A doorway to a service, for clients so far away."""
    server = await asyncio.start_server(service, sock=bound_socket("127.0.0.1", 0))
    opened = Doorway(ADDRESS, next(PORTS), server.sockets[0].getsockname()[1], _anybody, lambda _source: round_trip)
    await opened.open()
    try:
        yield opened
    finally:
        opened.close()
        server.close()


def connect(to: Doorway) -> Coroutine[Any, Any, tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    return asyncio.open_connection(to.address, to.port)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what other tasks of the loop do."""

    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0)

    await asyncio.wait_for(wait(), 20)


def within(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    """Run a test that would otherwise wait for ever where it fails."""
    asyncio.run(asyncio.wait_for(work, seconds))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, end when it ends."""
    while data := await reader.read(70_000):
        writer.write(data)
        await writer.drain()
    writer.close()


@near_and_far
@settings(max_examples=20, deadline=None)
@given(chunks=st.lists(st.binary(min_size=1, max_size=50) | st.integers(1, 90_000).map(os.urandom), max_size=12))
def test_bytes_arrive_as_they_were_however_they_are_cut(round_trip: float, chunks: list[bytes]) -> None:
    async def run() -> None:
        async with doorway(echo, round_trip) as to:
            reader, writer = await connect(to)
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()
            assert await reader.read() == b"".join(chunks)
            writer.close()

    within(20, run())


@near_and_far
def test_a_half_close_comes_after_the_data_and_leaves_the_answers_way_open(round_trip: float) -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = await reader.read()
        writer.write(b"%d" % len(got))
        writer.close()

    async def run() -> None:
        async with doorway(answer_at_the_end, round_trip) as to:
            reader, writer = await connect(to)
            writer.write(bytes(300_000))
            writer.write_eof()
            assert await reader.read() == b"300000"
            writer.close()

    within(20, run())


@near_and_far
def test_nothing_is_left_of_a_connection_that_both_sides_have_ended(round_trip: float) -> None:
    async def run() -> None:
        async with doorway(echo, round_trip) as to:
            for _ in range(3):
                reader, writer = await connect(to)
                writer.write(b"x")
                writer.write_eof()
                assert await reader.read() == b"x"
                writer.close()
            await until(lambda: not to.open_ends)

    within(20, run())


@near_and_far
def test_a_client_that_resets_resets_the_service_after_its_data(round_trip: float) -> None:
    async def run() -> None:
        ended: asyncio.Future[tuple[bytes, type[OSError]]] = asyncio.get_running_loop().create_future()
        got = b""

        async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal got
            try:
                while not reader.at_eof():
                    got += await reader.read(5)
                    writer.write(b"got")
            except OSError as error:
                ended.set_result((got, type(error)))

        async with doorway(service, round_trip) as to:
            reader, writer = await connect(to)
            writer.write(b"hello")
            assert await reader.readexactly(3) == b"got"
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            assert await ended == (b"hello", ConnectionResetError)
            await until(lambda: not to.open_ends)

    within(20, run())


@near_and_far
def test_a_service_that_resets_resets_the_client(round_trip: float) -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def run() -> None:
        async with doorway(service, round_trip) as to:
            reader, writer = await connect(to)
            writer.write(b"x")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
            await until(lambda: not to.open_ends)

    within(20, run())


@near_and_far
def test_a_sender_waits_for_a_receiver_that_does_not_read_and_nothing_is_lost(round_trip: float) -> None:
    async def run() -> None:
        read = asyncio.Event()
        got = bytearray()

        async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read.wait()
            while data := await reader.read(1 << 20):
                got.extend(data)
            writer.close()

        async with doorway(service, round_trip) as to:
            reader, writer = await connect(to)
            sent = os.urandom(1 << 20) * 64  # more than sockets, the line and the service's stream hold together
            writer.write(sent)
            writer.write_eof()
            await until(lambda: any(end.unsent for end in to.open_ends))
            [outside] = [end.other for end in to.open_ends if end.unsent]
            await until(lambda: not outside.is_reading)
            held = 0
            if outside.line:
                line = outside.line
                await until(lambda: line.held and not outside.is_reading)
                held = line.under_way_bytes
            assert held <= WINDOW_BYTES + (1 << 18)
            assert not got
            read.set()
            assert await reader.read() == b""
            assert got == sent
            writer.close()

    within(60, run())


def test_a_doorway_that_closes_cuts_what_is_far_away_at_once() -> None:
    async def run() -> None:
        async with doorway(echo, 3600.0) as to:
            reader, writer = await connect(to)
            writer.write(b"x")
            await until(lambda: any(end.line for end in to.open_ends))
            to.close()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    within(20, run())


def test_one_connection_that_fails_does_not_close_the_doorway() -> None:
    def fails_once(_source: str) -> float:
        failures.append(1)
        return 1 / (len(failures) - 1)

    failures: list[int] = []

    async def run() -> None:
        async with doorway(echo, 0.0) as to:
            to.round_trip_seconds = fails_once
            with pytest.raises(ConnectionResetError):
                await (await connect(to))[0].read()
            reader, writer = await connect(to)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            writer.close()

    within(20, run())


def test_low_ports_are_higher_here_unless_it_is_said_that_they_can_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_CLOUD_LOW_PORTS", raising=False)
    assert [unprivileged(port) for port in (22, 8080)] == [20022, 8080]
    monkeypatch.setenv("EDGE_CLOUD_LOW_PORTS", "yes")
    assert [unprivileged(port) for port in (22, 8080)] == [22, 8080]
