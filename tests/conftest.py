"""What holds for all tiers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Whoever runs the tests in the background of a shell has it ignored; what they start would inherit that, and no Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def loop_of_the_thread() -> Iterator[None]:
    """Pulumi's mocks ask for the thread's event loop, and another test's `asyncio.run` leaves none."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
