"""The door: answers Route 53's health checkers for this host, on a port of its own; the serving path does not lead through it.

A systemd service whose socket stays open while it is started anew. Unhealthy: while the host is drained; until its server has
generated a token; when the public listener (the proxy where there is one) refuses or answers with an error. A listener that
hangs, as TGI's /health does behind a forward pass, has grace for the longest prefill. Leaves out TLS: checkers judge no
certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from common import HOME, RUN
from listener import Config, generated, public_address, public_status, server_address

CONFIG = HOME / "door.json"
CLOSED, PROVEN, ASKED = RUN / "closed", RUN / "proven", RUN / "asked"
"""Whether the host is drained; whether its server has generated a token since it started; touched by each checker's question."""
_FIRST_SOCKET = 3
"""The socket that systemd hands over (sd_listen_fds)."""
_CHECKER = b"amazon-route53-health-check-service"
_ANSWER_SECONDS = 1.5
"""A checker waits 2 s (Developer Guide, determining the health)."""
_REQUEST_SECONDS = 10.0
_TOKEN_SECONDS = 120.0
_LOOK_AGAIN_SECONDS = 1.0
"""Docker is asked at most so often where the server is."""


class Door:
    """What is known of the host between two questions."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._asking: asyncio.Task[str] | None = None
        self._began = 0.0
        self._hung_too_long = False
        self._address, self._looked = "", -_LOOK_AGAIN_SECONDS

    async def verdict(self) -> tuple[bool, str]:
        """Whether the host is healthy, and why, within the time that a checker waits."""
        if CLOSED.exists():
            return False, "draining"
        if self._asking is None or self._asking.done():
            self._began = time.monotonic()
            self._asking = asyncio.ensure_future(self._ask())
        asking = self._asking
        await asyncio.wait({asking}, timeout=_ANSWER_SECONDS)
        if CLOSED.exists():
            return False, "draining"
        if asking.done():
            return not asking.result(), asking.result() or "serves"
        waited = f"no answer for {time.monotonic() - self._began:.0f} s"
        return PROVEN.exists() and not self._hung_too_long, waited

    async def _ask(self) -> str:
        """Ask the host once; what is wrong, or nothing."""
        try:
            if not PROVEN.exists():
                await self._in_time(self._prove(), _TOKEN_SECONDS)
            status = await self._in_time(self._status(), self._config["grace_seconds"])
        except asyncio.TimeoutError:
            self._hung_too_long = True
            return f"no answer within {self._config['grace_seconds']} s"
        except (OSError, ValueError) as error:
            wrong = str(error) or type(error).__name__
        else:
            wrong = "" if 200 <= status < 400 else f"status {status}"  # noqa: PLR2004 - as Route 53 judges
        self._hung_too_long = False
        if wrong:
            # What refuses or breaks has ended: the next to serve here must first show a token.
            with contextlib.suppress(FileNotFoundError):
                PROVEN.unlink()
        return wrong

    @staticmethod
    async def _in_time(asking: Coroutine[Any, Any, Any], seconds: float) -> Any:
        return await asyncio.wait_for(asking, seconds)

    async def _status(self) -> int:
        if not self._address and time.monotonic() - self._looked >= _LOOK_AGAIN_SECONDS:
            self._looked = time.monotonic()
            self._address = await public_address(self._config)
        try:
            return await public_status(self._address, self._config, self._config["health_path"])
        except OSError:
            self._address = ""
            raise

    async def _prove(self) -> None:
        """Returns when the server has generated a token; OSError where it does not."""
        status = await self._status()
        if status != 200:  # noqa: PLR2004
            raise ConnectionError(f"status {status}")
        if not await generated(await server_address(), self._config["model"], "Hello"):
            raise ConnectionError("no token generated yet")
        touch(PROVEN)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's question, whatever its path."""
        with contextlib.suppress(OSError, asyncio.TimeoutError, asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            question = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _REQUEST_SECONDS)
            if _CHECKER in question.lower():
                touch(ASKED)
            healthy, why = await self.verdict()
            status = "200 OK" if healthy else "503 Service Unavailable"
            head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(why) + 1}\r\nConnection: close\r\n\r\n"
            writer.write(f"{head}{why}\n".encode())
            await writer.drain()
        writer.close()


def touch(mark: Path) -> None:
    """Set a mark; its age is that of the last time."""
    mark.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    mark.touch()


async def _serve(listener: socket.socket) -> None:
    door = Door(json.loads(CONFIG.read_text(encoding="utf-8")))
    server = await asyncio.start_server(door.answer, sock=listener, limit=8192)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(socket.socket(fileno=_FIRST_SOCKET)))
