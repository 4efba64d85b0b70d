"""Queueing and tokens of the simulated model."""

import asyncio
from contextlib import aclosing
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from localcloud.model_server.simulation import Simulation, Timing, Work, tokenize


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs"])))
def test_tokens_cover_the_text(text: str) -> None:
    pieces = tokenize(text, add_special_tokens=False)
    assert "".join(piece.text for piece in pieces) == text
    assert all(piece.stop == after.start for piece, after in pairwise(pieces))


@given(st.integers(1, 5), st.integers(1, 20))
def test_never_more_at_once_than_told_and_first_come_first_served(concurrency: int, requests: int) -> None:
    async def run() -> None:
        simulation = Simulation(Timing(0, 0, 0, concurrency))
        order: list[int] = []
        most = 0

        async def one(number: int) -> None:
            nonlocal most
            async with aclosing(simulation.tokens(Work(1, 3))) as tokens:
                async for _ in tokens:
                    if number not in order:
                        order.append(number)
                    most = max(most, simulation.running)

        await asyncio.gather(*[one(number) for number in range(requests)])
        assert order == sorted(order)
        assert most == min(concurrency, requests)
        assert (simulation.running, simulation.queue_size) == (0, 0)

    asyncio.run(run())


@given(st.sets(st.integers(0, 9)))
def test_requests_that_are_given_up_leave_no_trace(given_up: set[int]) -> None:
    async def run() -> None:
        simulation = Simulation(Timing(0, 0, 0, 2))
        works = [asyncio.ensure_future(simulation.run(Work(1, 5))) for _ in range(10)]
        await asyncio.sleep(0)
        for number in given_up:
            works[number].cancel()
        await asyncio.gather(*works, return_exceptions=True)
        assert (simulation.running, simulation.queue_size) == (0, 0)

    asyncio.run(run())


def test_first_token_waits_for_prompt_and_queue() -> None:
    async def run() -> None:
        simulation = Simulation(Timing(first_token_ms=5, prompt_token_ms=1, token_ms=2, concurrency=1))
        first, second = Work(10, 3), Work(0, 1)
        await asyncio.gather(simulation.run(first), simulation.run(second))
        assert first.first_token - first.started >= 0.015
        # It is queued a little after the first has started.
        assert second.started - first.started >= 0.015 + 2 * 0.002

    asyncio.run(run())
