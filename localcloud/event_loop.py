"""An event loop whose timers keep fractions of a millisecond, for delays and tokens that arrive when they should.

asyncio waits with epoll, which rounds up to whole milliseconds. Left out on purpose: spinning, which costs a core.
"""

from __future__ import annotations

import asyncio
import select
import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine


class _FineSelector(selectors.EpollSelector):
    """Waits for its epoll with select(2), which takes microseconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait as long as said, not up to a millisecond longer."""
        if timeout is not None and timeout > 0:
            select.select([self], (), (), timeout)
            timeout = 0
        return super().select(timeout)


def run(main: Coroutine[object, object, None]) -> None:
    """asyncio.run, on such a loop."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_FineSelector())) as runner:
        runner.run(main)
