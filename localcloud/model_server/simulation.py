"""What takes the time and makes the tokens of a simulated model: a queue, a clock, a fixed text.

Left out on purpose: continuous batching's effect on speed; a token takes the same time whatever
else runs.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field

TEXT = (
    "This text is simulated by the local cloud: no model has read the question, and nothing here is"
    " an answer to it. It exists so that the way from a request to its tokens can be tried out and"
    " timed. "
)
EOS_AFTER_TOKENS = 200
EOS_TEXT, EOS_ID, BOS_TEXT, BOS_ID = "<|eot_id|>", 128009, "<|begin_of_text|>", 128000

_PIECE = re.compile(r"<\|[a-z_]+\|>| ?\w{1,8}|\w{1,8}| ?[^\w\s]|\s+")


@dataclass
class Timing:
    """How long the simulated model takes, and how many requests it works on at once.

    The defaults are of the order of a 3B model on a T4 (an estimate, nothing measured).
    """

    first_token_ms: float = 20.0
    prompt_token_ms: float = 0.2
    token_ms: float = 25.0
    concurrency: int = 16


@dataclass(frozen=True)
class Token:
    """One token as the servers report it."""

    id: int
    text: str
    special: bool = False
    logprob: float = -0.25


@dataclass(frozen=True)
class Piece:
    """One token of a prompt with its place in the text, in characters."""

    id: int
    text: str
    start: int
    stop: int


def token_id(text: str) -> int:
    """A stable id below the special tokens' for any piece of text."""
    return zlib.crc32(text.encode()) % 128000


def tokenize(text: str, *, add_special_tokens: bool = True) -> list[Piece]:
    """Split a text into pieces of a few characters, about as many as Llama's tokenizer makes."""
    pieces = [Piece(BOS_ID, "", 0, 0)] if add_special_tokens else []
    for match in _PIECE.finditer(text):
        special = BOS_ID if match.group() == BOS_TEXT else token_id(match.group())
        pieces.append(Piece(special, match.group(), match.start(), match.end()))
    return pieces


_TOKENS = [Token(piece.id, piece.text) for piece in tokenize(TEXT, add_special_tokens=False)]


@dataclass
class Work:
    """One request in the simulation; times are of the event loop's clock."""

    prompt_tokens: int
    max_new_tokens: int
    stop: list[str] = field(default_factory=list[str])
    queued: float = 0.0
    started: float = 0.0
    first_token: float = 0.0
    text: str = ""
    generated_tokens: int = 0
    finish_reason: str | None = None

    def next_token(self) -> Token:
        """Make the next token; sets `finish_reason` with the last one."""
        index = self.generated_tokens
        self.generated_tokens += 1
        if index == EOS_AFTER_TOKENS:
            self.finish_reason = "eos_token"
            return Token(EOS_ID, EOS_TEXT, special=True)
        token = _TOKENS[index % len(_TOKENS)]
        self.text += token.text
        if any(self.text.endswith(stop) for stop in self.stop):
            self.finish_reason = "stop_sequence"
        elif self.generated_tokens == self.max_new_tokens:
            self.finish_reason = "length"
        return token


class ModelFailedError(Exception):
    """A forward pass failed; the text is the model server's."""


class Simulation:
    """Works on `timing.concurrency` requests at once; the others wait in order of arrival."""

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.running = 0
        self.decoding = 0
        """Requests that have their first token; an engine counts a batch only then (recorded of TGI 2.4.0)."""
        self._prefills: set[asyncio.Future[None]] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def queue_size(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    async def tokens(self, work: Work) -> AsyncGenerator[Token]:
        """Yield a request's tokens when their time has come."""
        loop = asyncio.get_running_loop()
        work.queued = loop.time()
        async with self._slot():
            work.started = loop.time()
            timing = self.timing
            first_ms = timing.first_token_ms + work.prompt_tokens * timing.prompt_token_ms
            due = work.started + first_ms / 1000
            async with self._prefill():
                await asyncio.sleep(max(0.0, due - loop.time()))
            work.first_token = loop.time()
            self.decoding += 1
            try:
                yield work.next_token()
                while work.finish_reason is None:
                    due += timing.token_ms / 1000
                    # also when late: each token leaves in a write of its own
                    await asyncio.sleep(max(0.0, due - loop.time()))
                    yield work.next_token()
            finally:
                self.decoding -= 1

    async def run(self, work: Work) -> list[Token]:
        """Wait for all tokens of a request."""
        async with aclosing(self.tokens(work)) as tokens:
            return [token async for token in tokens]

    async def forward_pass(self) -> None:
        """Wait until the prefills that run at this moment are done."""
        if self._prefills:
            await asyncio.wait(set(self._prefills))

    @asynccontextmanager
    async def _prefill(self) -> AsyncGenerator[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._prefills.add(done)
        try:
            yield
        finally:
            self._prefills.discard(done)
            done.set_result(None)

    @asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None]:
        if self.running >= self.timing.concurrency or self._waiting:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.cancelled():
                    with suppress(ValueError):
                        self._waiting.remove(turn)
                else:  # its turn had come in the same moment
                    self.running -= 1
                    self._next()
                raise
        else:
            self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._next()

    def _next(self) -> None:
        while self._waiting and self.running < self.timing.concurrency:
            turn = self._waiting.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)
