"""Route 53's health checkers: from 16 addresses, each asks every endpoint by itself, on the health check's interval.

Real requests through the doorways; the verdict is `api.health`'s. Left out on purpose: string matching, IPv6, endpoints by name.
A TCP check passes where a doorway listens, whatever the security group says: the kernel accepts before anyone can refuse.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http.client import responses
from math import inf
from typing import Protocol

_TCP_SECONDS, _CONNECT_SECONDS, _RESPONSE_SECONDS = 10.0, 4.0, 2.0
"""Time for a TCP check; to connect, then to answer, for the others (Developer Guide, determining the health)."""
_GOOD = range(200, 400)
_DEFAULT_PORTS = {"HTTP": 80, "HTTPS": 443}


@dataclass(frozen=True)
class Endpoint:
    """What one health check asks for. `checkers` are the source addresses that do."""

    health_check_id: str
    kind: str
    address: str
    port: int
    path: str
    host: str
    """For the Host header, and for TLS where `sni` says so."""
    sni: bool
    interval_seconds: int
    checkers: tuple[str, ...]


class Findings(Protocol):
    """Where endpoints come from and results go to; the module `localcloud.api.route53_state` is one."""

    def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints of all health checks that are not disabled."""
        ...

    def observe(self, health_check_id: str, checker: str, *, passed: bool, reason: str) -> None:
        """Take down a result."""
        ...


class HealthCheckers:
    """All checkers, kept in step with the health checks."""

    def __init__(
        self,
        findings: Findings,
        local_port: Callable[[int], int],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`local_port` gives the port of this machine that stands for one of AWS's."""
        self.findings, self.local_port, self.sleep = findings, local_port, sleep
        self.speed = 1.0
        self._checks: dict[Endpoint, asyncio.Task[None]] = {}

    def reconcile(self) -> None:
        """Start and stop checks as there are endpoints now; to be called in the event loop."""
        wanted = set(self.findings.endpoints())
        for endpoint in self._checks.keys() - wanted:
            self._checks.pop(endpoint).cancel()
        for endpoint in wanted - self._checks.keys():
            self._checks[endpoint] = asyncio.ensure_future(self._check(endpoint))

    def set_speed(self, changes: dict[str, object]) -> None:
        """Let the checkers' clock go `speed` times faster, from now on; ValueError where that is no number above 0.

        For tests: AWS's clock has one speed.
        """
        speed = changes.get("speed")
        if len(changes) != 1 or not isinstance(speed, int | float) or isinstance(speed, bool) or not 0 < speed < inf:
            raise ValueError(f"{changes} is not {{'speed': a number above 0}}")
        self.speed = float(speed)
        self.close()
        self.reconcile()

    def close(self) -> None:
        """Stop all checks."""
        for task in self._checks.values():
            task.cancel()
        self._checks.clear()

    async def _check(self, endpoint: Endpoint) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number, checker in enumerate(endpoint.checkers):
                # They do not keep in step with each other; here they are evenly spread.
                offset = endpoint.interval_seconds * number / len(endpoint.checkers)
                tasks.create_task(self._ask_again_and_again(endpoint, checker, offset / self.speed))

    async def _ask_again_and_again(self, endpoint: Endpoint, checker: str, offset_seconds: float) -> None:
        await self.sleep(offset_seconds)
        while True:
            passed, reason = await probe(endpoint, checker, self.local_port(endpoint.port))
            self.findings.observe(endpoint.health_check_id, checker, passed=passed, reason=reason)
            await self.sleep(endpoint.interval_seconds / self.speed)


async def probe(endpoint: Endpoint, checker: str, port: int) -> tuple[bool, str]:
    """Ask an endpoint once, at `port` of this machine: whether it passed, and why in words."""
    writer = None
    try:
        async with asyncio.timeout(_TCP_SECONDS if endpoint.kind == "TCP" else _CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(endpoint.address, port, local_addr=(checker, 0))
        if endpoint.kind == "TCP":
            return True, "TCP connection established"
        async with asyncio.timeout(_RESPONSE_SECONDS):
            status = await _status(endpoint, reader, writer)
    except TimeoutError:
        return False, "Connection timed out" if writer is None else "The endpoint did not respond in time"
    except (OSError, ValueError) as error:
        refused = isinstance(error, ConnectionError) and error.errno
        return False, os.strerror(refused) if refused else str(error)
    finally:
        if writer:
            writer.close()
    return status in _GOOD, f"HTTP Status Code {status}, {responses.get(status, 'unknown')}"


async def _status(endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """Send the request and read the response's status; raises ValueError where it has none."""
    if endpoint.kind == "HTTPS":
        await writer.start_tls(_any_certificate(), server_hostname=endpoint.host if endpoint.sni else None)
    usual = endpoint.port == _DEFAULT_PORTS[endpoint.kind]
    lines = (
        f"GET {endpoint.path} HTTP/1.1",
        f"Host: {endpoint.host if usual else f'{endpoint.host}:{endpoint.port}'}",
        f"User-Agent: Amazon-Route53-Health-Check-Service (ref {endpoint.health_check_id}; local cloud)",
        "Connection: close",
    )
    writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
    answer = await reader.readline()
    match answer.split(maxsplit=2):
        case [version, status, *_] if version.startswith(b"HTTP/1.") and status.isdigit():
            return int(status)
        case _:
            raise ValueError("The endpoint did not answer with HTTP")


def _any_certificate() -> ssl.SSLContext:
    """Health checks do not validate certificates."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
