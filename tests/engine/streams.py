"""People who stream as long as something is done, never retry, and say what was wrong with what they got.

They read an answer as a whole: that it comes token by token is other tests' matter, and this one's people are many.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support import READY_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

Ask = Callable[[], http.client.HTTPResponse]
"""Asks once, for a streamed answer."""
PATH = "/v1/chat/completions"
"""Which both engines have."""


def question(tokens: int) -> dict[str, object]:
    """The body of a request for so many tokens."""
    return {"model": "tgi", "messages": [{"role": "user", "content": "What is the edge?"}], "max_tokens": tokens, "stream": True}


def flaw(ask: Ask) -> str:
    """What is wrong with an answer; nothing where it came whole."""
    try:
        answer = ask()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    if answer.status != http.client.OK:
        return f"status {answer.status}"
    is_whole = b'"finish_reason":"length"' in text and text.endswith(b"data: [DONE]\n\n")
    return "" if is_whole else f"cut after {len(text)} bytes"


class Streams:
    """People, each of whom asks one question after the other, and what they got."""

    def __init__(self, people: Sequence[Ask]) -> None:
        self.whole, self.flaws = 0, list[str]()
        self._ended = threading.Event()
        self.threads = [threading.Thread(target=self._go_on, args=(ask,), daemon=True) for ask in people]
        for thread in self.threads:
            thread.start()

    def _go_on(self, ask: Ask) -> None:
        while not self._ended.is_set():
            if wrong := flaw(ask):
                self.flaws.append(wrong)
            else:
                self.whole += 1
            time.sleep(random.uniform(0, 0.2))  # noqa: S311

    def some_more(self) -> None:
        """Returns when all of them may have had one more answer."""
        so_far = self.whole
        wait_for("more answers", lambda: self.whole > so_far + len(self.threads) or bool(self.flaws))

    def end(self) -> None:
        self._ended.set()
        for thread in self.threads:
            thread.join(READY_SECONDS)


@contextmanager
def streaming(people: Sequence[Ask]) -> Generator[Streams]:
    """People who stream as long as this lasts, none of whom may have lost an answer afterwards."""
    streams = Streams(people)
    try:
        streams.some_more()
        yield streams
        streams.some_more()
    finally:
        streams.end()
    assert streams.flaws == []
