"""An event loop whose timers keep fractions of a millisecond, for delays and tokens that arrive when they should.

asyncio waits with epoll, which rounds up to whole milliseconds. Left out on purpose: more spinning than a wake-up takes.
"""

from __future__ import annotations

import asyncio
import select
import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine


_WAKE_UP_SECONDS = 0.0001
"""About what the kernel takes to wake a sleeper (measured: 0.1 to 0.2 ms); where it takes less, the loop polls for the rest."""


class FineSelector(selectors.EpollSelector):
    """Waits for its epoll with select(2), which takes microseconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait as long as said or a little less, not up to a millisecond longer."""
        if timeout is None:
            return super().select()
        if timeout > _WAKE_UP_SECONDS:
            select.select([self], (), (), timeout - _WAKE_UP_SECONDS)
        return super().select(0)


def run(main: Coroutine[object, object, None]) -> None:
    """asyncio.run, on such a loop."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(FineSelector())) as runner:
        runner.run(main)
