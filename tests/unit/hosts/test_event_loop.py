"""The event loop with fine timers: still an event loop."""

import asyncio
import select
import socket

import pytest

from localcloud import event_loop


def test_timers_come_in_order_and_never_early() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        came: list[tuple[int, float]] = []
        last = loop.create_future()
        begin = loop.time()

        def note(number: int) -> None:
            came.append((number, loop.time()))

        for number in (3, 1, 2, 0):
            loop.call_at(begin + number * 0.0007, note, number)
        loop.call_at(begin + 0.005, last.set_result, None)
        await last
        assert [number for number, _ in came] == [0, 1, 2, 3]
        assert all(when >= begin + number * 0.0007 for number, when in came)

    event_loop.run(run())


def test_what_arrives_ends_a_wait() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(3600, pytest.fail)
        one, other = socket.socketpair()
        with one, other:
            one.setblocking(False)
            loop.call_later(0.001, other.send, b"x")
            assert await loop.sock_recv(one, 9) == b"x"

    event_loop.run(asyncio.wait_for(run(), 20))


def test_waits_are_as_long_as_said_less_a_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def note(_reading: object, _writing: object, _broken: object, seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(select, "select", note)
    with event_loop.FineSelector() as selector:
        for seconds in (0.0102, 0.00005, 0, -1):
            assert selector.select(seconds) == []
    assert waited == [pytest.approx(0.0101)]
