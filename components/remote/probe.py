"""What the server says when it is asked: whether it serves, how many wait, how long a first token takes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import statistics
import time
from collections.abc import Awaitable
from typing import TypeVar

from common import StepError, say, wait_until
from listener import Config, generated, server_address, server_status, server_text

_Result = TypeVar("_Result")

_HEALTH_SECONDS, _TOKEN_SECONDS, _METRICS_SECONDS = 5.0, 120.0, 10.0
_SERIES = 9
"""Prompts whose first tokens are timed, after one that is not."""
_PROMPT = "Describe in one sentence what a user at the edge of the network gains from a model that is served nearby."
"""Of some 25 tokens: it fits any limit that a server is started with."""


def is_healthy(config: Config, seconds: float = _HEALTH_SECONDS) -> bool:
    """Whether the server answers its health path in so long."""
    with contextlib.suppress(OSError, ValueError, asyncio.TimeoutError):
        return _now(_health(config), seconds) == 200  # noqa: PLR2004
    return False


async def _health(config: Config) -> int:
    return await server_status(await server_address(), config["health_path"])


def generates(config: Config) -> bool:
    """Whether the server generates one real token."""
    with contextlib.suppress(OSError, ValueError, asyncio.TimeoutError):
        return _now(_token(config, "Hello"), _TOKEN_SECONDS)
    return False


async def _token(config: Config, prompt: str) -> bool:
    return await generated(await server_address(), config["model"], prompt)


def first_token_ms(config: Config) -> float:
    """The median time to a first token over loopback, in ms; StepError where one does not come.

    Each prompt begins anew, so that no cache of prefixes knows it.
    """
    address = _now(server_address(), _HEALTH_SECONDS)
    mark, times = secrets.token_hex(4), list[float]()
    for number in range(_SERIES + 1):
        began = time.monotonic()
        try:
            good = _now(generated(address, config["model"], f"{number} {mark}: {_PROMPT}"), _TOKEN_SECONDS)
        except (asyncio.TimeoutError, OSError, ValueError):
            good = False
        if not good:
            raise StepError(
                "a prompt of the series that is timed got no token", "sudo docker logs --tail 200 edge-inference-server"
            )
        times.append((time.monotonic() - began) * 1000)
    return round(statistics.median(times[1:]), 1)


def wait_until_idle(config: Config, names: list[str], seconds: float) -> int:
    """Wait until nothing runs or waits in the server, so long at most; how many requests are left then.

    A server that does not tell counts as idle: it has nothing to lose, or is stuck.
    """
    left = [0]

    def idle() -> bool:
        # TGI's metrics show no request whose first prompt is being read (recorded), but its health waits behind that.
        before, left[0] = left[0], 1 if _hangs(config) else _at_work(names)
        # A stream may end in the moment in which the next begins.
        return before == left[0] == 0

    left[0] = 1
    if wait_until(seconds, "requests to end", idle):
        return 0
    if left[0]:
        say(f"{left[0]} requests outlast rollout.drainSeconds ({seconds:.0f} s) and are cut")
    return left[0]


def _hangs(config: Config) -> bool:
    """Whether the health path gives no answer, as behind a forward pass. A refusal is an answer."""
    try:
        _now(_health(config), _HEALTH_SECONDS)
    except asyncio.TimeoutError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _at_work(names: list[str]) -> int:
    with contextlib.suppress(OSError, ValueError, asyncio.TimeoutError):
        text = _now(_metrics(), _METRICS_SECONDS)
        # A metric appears with its first value.
        found = re.findall(rf"^(?:{'|'.join(map(re.escape, names))})(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return round(sum(map(float, found)))
    return 0


async def _metrics() -> str:
    return await server_text(await server_address(), "/metrics")


def _now(asking: Awaitable[_Result], seconds: float) -> _Result:
    async def bounded() -> _Result:
        return await asyncio.wait_for(asking, seconds)

    return asyncio.run(bounded())
