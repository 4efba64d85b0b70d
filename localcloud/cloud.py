"""The local cloud's one background process: AWS's API, the hosts, DNS, health checkers, and the control interface.

Started by `client.start`. Left out on purpose: state that outlives the process.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import shutil
import signal
import sys
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from localcloud import event_loop, hub, keys
from localcloud.bounds import raise_descriptor_limit
from localcloud.client import ALREADY_RUNNING
from localcloud.dns.server import DnsServer
from localcloud.health_checkers import HealthCheckers
from localcloud.hosts.doorway import unprivileged
from localcloud.hosts.hosts import Hosts
from localcloud.log import BoundedLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger("localcloud")

Answer = tuple[int, dict[str, Any]]

FAILED_TO_START = 3

_CONTROL_SECONDS = 30


class Cloud:
    """One world below a directory, from start to stop."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.world_id = str(uuid.uuid4())
        self.url = ""
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then nothing of the cloud is left running."""
        # moto is slow to import: only the daemon pays for it
        from localcloud.api.server import ApiServer

        # a request to moto must not hold up the tokens' clock for the default 5 ms
        sys.setswitchinterval(0.001)
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, stopping.set)
        shutil.rmtree(self.directory / "world", ignore_errors=True)
        (self.directory / "world").mkdir(mode=0o700)
        self._furnish()
        made = keys.make()
        keys.store(self.directory, made)
        api = ApiServer(made, self.port, self._changed, self._control)
        self.url = f"http://127.0.0.1:{api.port}"
        await self.hosts.open(made.hub_endpoint(self.url))
        await self.dns.open()
        api.start()
        self._announce(api.port)
        log.info("world %s at %s, DNS at port %s", self.world_id, self.url, self.dns.port)
        await stopping.wait()
        log.info("stopping")
        (self.directory / "cloud.json").unlink(missing_ok=True)
        await asyncio.to_thread(api.stop)
        self.dns.close()
        self.health_checkers.close()
        await self.hosts.close()

    def _furnish(self) -> None:
        """Make the parts and what the control interface can do with them."""
        from localcloud.api import faults, route53_state, world

        self.hosts = Hosts(
            self.directory / "world",
            world,
            has_fault=lambda fault, zone: zone in getattr(faults.current, f"{fault}_zones"),
            clock=lambda: self.health_checkers.speed,
        )
        self.dns = DnsServer(route53_state.hosted_zones, route53_state.is_healthy)
        self.health_checkers = HealthCheckers(route53_state, unprivileged)
        self._shown: dict[str, Callable[[], dict[str, Any]]] = {
            "status": self._status,
            "dns": lambda: {"port": self.dns.port},
            "health-checkers": lambda: {"speed": self.health_checkers.speed},
            "model": lambda: vars(self.hosts.timing),
            "network": self.hosts.network,
        }
        self._settable: dict[str, Callable[[dict[str, object]], None]] = {
            "health-checkers": self.health_checkers.set_speed,
            "model": self.hosts.set_timing,
        }

    def _announce(self, port: int) -> None:
        described = {
            "world": self.world_id,
            "pid": os.getpid(),
            "port": port,
            "url": self.url,
            "dns_port": self.dns.port,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        draft = self.directory / "cloud.json.new"
        draft.unlink(missing_ok=True)
        with open(draft, "x", encoding="utf-8", opener=keys.for_owner_alone) as file:
            json.dump(described, file)
        draft.rename(self.directory / "cloud.json")

    def _changed(self) -> None:
        self._loop.call_soon_threadsafe(self.hosts.reconcile)
        self._loop.call_soon_threadsafe(self.health_checkers.reconcile)

    def _control(self, method: str, path: str, body: dict[str, object], authorization: str) -> Answer:
        """Answer a control request, called in the request's thread."""
        answer = asyncio.run_coroutine_threadsafe(self._answer(method, path, body, authorization), self._loop)
        return answer.result(_CONTROL_SECONDS)

    async def _answer(self, method: str, path: str, body: dict[str, object], authorization: str) -> Answer:
        match [method, *path.split("/")]:
            case ["GET", name] if name in self._shown:
                return 200, self._shown[name]()
            case ["PUT", name] if name in self._settable:
                try:
                    self._settable[name](body)
                except ValueError as error:
                    return 400, {"error": str(error)}
                return 200, self._shown[name]()
            case ["GET", "ports", address, port] if port.isdigit():
                return self._port(address, int(port))
            case [_, "hub", *rest]:
                return hub.control(method, "/".join(rest), body, authorization.removeprefix("Bearer "))
            case _:
                return 404, {"error": f"the local cloud has no control {method} {path}"}

    def _status(self) -> dict[str, Any]:
        return {
            "world": self.world_id,
            "dns_port": self.dns.port,
            "hosts": self.hosts.status(),
            "problems": sorted(self.hosts.problems.values()),
        }

    def _port(self, address: str, port: int) -> Answer:
        problem = self.hosts.problems.get((address, port))
        if problem:
            return 409, {"error": problem}
        return 200, {"port": unprivileged(port)}


def serve(directory: Path, port: int) -> int:
    """Run a cloud in this process; returns the exit status. One at a time per directory."""
    logging.basicConfig(level=logging.INFO, handlers=[BoundedLog(directory, takes_output=True)])
    for noisy in ("asyncssh", "botocore", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    raise_descriptor_limit()
    with open(
        directory / "cloud.lock", "a", encoding="utf-8", opener=keys.for_owner_alone
    ) as lock:  # held as long as the process lives
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            log.error("another local cloud runs in %s", directory)  # noqa: TRY400
            return ALREADY_RUNNING
        try:
            event_loop.run(_serve(directory, port))
        except OSError as error:
            log.error("cannot start: %s", error)  # noqa: TRY400 - a user's mistake shows no traceback
            return FAILED_TO_START
    return 0


async def _serve(directory: Path, port: int) -> None:
    await Cloud(directory, port).run()
