"""One call of a stand-in command: what it was called with, and the way back to its caller.

The caller is `stand_in.py`; messages are lines of JSON.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class ExitError(Exception):
    """Ends a stand-in command with this status, after this text on its standard error."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status = status


class Session:
    """A running stand-in command."""

    def __init__(
        self,
        arguments: list[str],
        directory: str,
        environment: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.arguments, self.directory, self.environment = arguments, directory, environment
        self._reader, self._writer = reader, writer
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()

    async def gone(self) -> None:
        """Read the caller's answers until it goes away; to run beside the command."""
        while line := await self._reader.readline():
            self._answers.put_nowait(line)

    def out(self, text: str) -> None:
        """Print a line."""
        self._send({"out": text + "\n"})

    def err(self, text: str) -> None:
        """Print a line on standard error."""
        self._send({"err": text + "\n"})

    async def spawn(
        self,
        arguments: list[str],
        environment: dict[str, str],
        directory: str,
        started: Callable[[int, Callable[[], None]], None],
    ) -> int:
        """Have the caller run a command in its place, with its own standard streams; its status.

        `started` is told its process id, as the caller names it, and how to kill it: the caller does, whose child it is, so that
        no other process can be meant.
        """
        self._send({"run": arguments, "environment": environment, "directory": directory})
        process = int(json.loads(await self._answers.get())["process"])
        started(process, partial(self._send, {"kill": process}))
        return int(json.loads(await self._answers.get())["status"])

    async def exit(self, status: int) -> None:
        """End the caller with a status."""
        self._send({"exit": status})
        await self._writer.drain()

    def _send(self, message: dict[str, Any]) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")
