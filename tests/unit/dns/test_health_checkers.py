"""Health checkers against small real servers on loopback; their clock is the test's, which lets it go on step by step."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from localcloud import health_checkers
from localcloud.health_checkers import Endpoint, HealthCheckers, probe

CHECKERS = ("127.255.0.1", "127.255.1.1")
ENDPOINT = Endpoint("check", "HTTP", "127.9.0.1", 8080, "/health", "127.9.0.1", sni=False, interval_seconds=10, checkers=CHECKERS)


class Site:
    """A server that answers every request with what the test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.reply = b"HTTP/1.1 200 OK\r\n\r\n"
        self.asked: list[tuple[str, str]] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            self.asked.append((writer.get_extra_info("peername")[0], request.decode()))
            writer.write(self.reply)
            if self.reply:
                await writer.drain()
            else:
                await reader.read()  # says nothing until the checker gives up
        except asyncio.IncompleteReadError:
            pass
        writer.close()


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncGenerator[Site]:
    site = Site()
    server = await asyncio.start_server(site.serve, ENDPOINT.address, 0, ssl=context)
    site.port = server.sockets[0].getsockname()[1]
    yield site
    server.close()


def run(test: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", (True, "HTTP Status Code 200, OK")),
        (b"HTTP/1.1 399 \r\n\r\n", (True, "HTTP Status Code 399, unknown")),
        (b"HTTP/1.0 302 Found\r\n\r\n", (True, "HTTP Status Code 302, Found")),
        (b"HTTP/1.1 503 Busy\r\n\r\n", (False, "HTTP Status Code 503, Service Unavailable")),
        (b"SSH-2.0-x\r\n", (False, "The endpoint did not answer with HTTP")),
    ],
)
def test_2xx_and_3xx_pass(reply: bytes, expected: tuple[bool, str]) -> None:
    async def test() -> None:
        async with serving() as site:
            site.reply = reply
            assert await probe(ENDPOINT, CHECKERS[0], site.port) == expected

    run(test)


def test_a_request_comes_from_the_checkers_address_and_names_the_host() -> None:
    async def test() -> None:
        async with serving() as site:
            await probe(ENDPOINT, CHECKERS[1], site.port)
            await probe(replace(ENDPOINT, port=80, host="llm.edge.internal"), CHECKERS[1], site.port)
        (source, first), (_, second) = site.asked
        assert source == CHECKERS[1]
        assert first.startswith("GET /health HTTP/1.1\r\nHost: 127.9.0.1:8080\r\nUser-Agent: Amazon-Route53-Health-Check-Service")
        assert "\r\nHost: llm.edge.internal\r\n" in second

    run(test)


def test_nobody_there_and_nobody_speaking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_checkers, "_RESPONSE_SECONDS", 0.01)

    async def test() -> None:
        async with serving() as site:
            site.reply = b""
            assert await probe(ENDPOINT, CHECKERS[0], site.port) == (False, "The endpoint did not respond in time")
        assert await probe(ENDPOINT, CHECKERS[0], site.port) == (False, "Connection refused")

    run(test)


def test_tcp_needs_a_connection_only() -> None:
    async def test() -> None:
        async with serving() as site:
            assert await probe(replace(ENDPOINT, kind="TCP"), CHECKERS[0], site.port) == (True, "TCP connection established")

    run(test)


def self_signed(tmp_path: Path) -> ssl.SSLContext:
    """A server's context with an expired certificate of nobody's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    begin = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin, begin.replace(day=2))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = tmp_path / "server.pem"
    file.write_bytes(pem + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def test_https_trusts_any_certificate_and_sends_the_name_where_it_is_told_to(tmp_path: Path) -> None:
    names: list[str | None] = []
    context = self_signed(tmp_path)
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    async def test() -> None:
        async with serving(context) as site:
            https = replace(ENDPOINT, kind="HTTPS", host="llm.edge.internal")
            for sni in (True, False):
                assert await probe(replace(https, sni=sni), CHECKERS[0], site.port) == (True, "HTTP Status Code 200, OK")
        async with serving() as plain:
            passed, _ = await probe(https, CHECKERS[0], plain.port)
            assert not passed

    run(test)
    assert names == ["llm.edge.internal", None]


class World:
    """Endpoints to check, the results, and the clock that the checkers sleep by."""

    def __init__(self) -> None:
        self.wanted = [ENDPOINT]
        self.results: asyncio.Queue[tuple[str, str, bool]] = asyncio.Queue()
        self.asleep: asyncio.Queue[tuple[float, asyncio.Event]] = asyncio.Queue()

    def endpoints(self) -> list[Endpoint]:
        return self.wanted

    def observe(self, health_check_id: str, checker: str, *, passed: bool, reason: str) -> None:
        del reason
        self.results.put_nowait((health_check_id, checker, passed))

    async def sleep(self, seconds: float) -> None:
        awake = asyncio.Event()
        self.asleep.put_nowait((seconds, awake))
        await awake.wait()

    async def wake(self, count: int) -> list[float]:
        """Let so many sleepers go on; for how long they wanted to sleep."""
        sleepers = [await self.asleep.get() for _ in range(count)]
        for _, awake in sleepers:
            awake.set()
        return [seconds for seconds, _ in sleepers]

    async def next_results(self, count: int) -> list[tuple[str, str, bool]]:
        return sorted([await self.results.get() for _ in range(count)])


@asynccontextmanager
async def checking(site: Site) -> AsyncGenerator[tuple[World, HealthCheckers]]:
    world = World()
    checkers = HealthCheckers(world, lambda _port: site.port, world.sleep)
    checkers.reconcile()
    yield world, checkers
    checkers.close()


def test_every_checker_asks_on_the_interval_out_of_step() -> None:
    async def test() -> None:
        async with serving() as site, checking(site) as (world, checkers):
            assert await world.wake(2) == [0, 5]
            assert await world.next_results(2) == [("check", CHECKERS[0], True), ("check", CHECKERS[1], True)]
            assert await world.wake(2) == [10, 10]
            await world.next_results(2)
            site.reply = b"HTTP/1.1 500 X\r\n\r\n"
            checkers.reconcile()  # nothing is new: they go on
            await world.wake(2)
            assert await world.next_results(2) == [("check", CHECKERS[0], False), ("check", CHECKERS[1], False)]
            assert await world.wake(2) == [10, 10], "nobody else has begun"
            assert {source for source, _ in site.asked} == set(CHECKERS)

    run(test)


def test_checks_come_change_and_go() -> None:
    async def test() -> None:
        before = asyncio.all_tasks()
        async with serving() as site, checking(site) as (world, checkers):
            await world.wake(2)
            await world.next_results(2)
            world.asleep = asyncio.Queue()
            world.wanted = [replace(ENDPOINT, path="/other"), replace(ENDPOINT, health_check_id="second")]
            checkers.reconcile()
            await world.wake(4)
            assert [check for check, _, _ in await world.next_results(4)] == ["check", "check", "second", "second"]
            assert sum("GET /other" in request for _, request in site.asked) == 2
            world.wanted = []
            checkers.reconcile()
            await asyncio.wait(asyncio.all_tasks() - before)  # nobody goes on checking

    run(test)


def test_the_clock_goes_faster_for_tests() -> None:
    async def test() -> None:
        async with serving() as site, checking(site) as (world, checkers):
            await world.wake(2)
            await world.next_results(2)
            await world.wake(2)
            await world.next_results(2)
            world.asleep = asyncio.Queue()
            checkers.set_speed({"speed": 20})
            assert await world.wake(2) == [0, 0.25]
            await world.next_results(2)
            assert await world.wake(2) == [0.5, 0.5]

    run(test)


@pytest.mark.parametrize("wrong", [{}, {"speed": 0}, {"speed": -1}, {"speed": "fast"}, {"speed": True}, {"speed": 1, "x": 1}])
def test_a_speed_that_is_none_changes_nothing(wrong: dict[str, object]) -> None:
    checkers = HealthCheckers(World(), lambda port: port)
    with pytest.raises(ValueError, match="a number above 0"):
        checkers.set_speed(wrong)
    assert checkers.speed == 1
