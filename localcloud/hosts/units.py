"""systemd on a host: units that scripts write are started, handed their sockets, kept running, and end with the host.

As far as the project's own units go: a service with ExecStart and Restart=always, a socket of the same name with one
ListenStream. Left out on purpose: dependencies, timers, other kinds, logs but the one on the host.
"""

from __future__ import annotations

import asyncio
import configparser
import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.hosts.doorway import bound_socket
from localcloud.hosts.session import ExitError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from localcloud.hosts.session import Session

_RUNNER = Path(__file__).parent / "unit_runner.py"
_RESTART_SECONDS = 1.0


@dataclass
class _Unit:
    """One name's service and socket."""

    listener: socket.socket | None = None
    port: int = 0
    """On the host; `listener` has one of this machine's loopback."""
    running: asyncio.Task[None] | None = None


class Units:
    """The units of one host, below its root folder."""

    def __init__(self, root: Path, environment: Callable[[], Mapping[str, str]], on_change: Callable[[], None]) -> None:
        self._folder = root / "etc/systemd/system"
        self._log = root / "var/log/units.log"
        self._environment, self._on_change = environment, on_change
        self._units: dict[str, _Unit] = {}
        self._enabled = set[str]()

    def listening(self) -> dict[int, int]:
        """Port on the host -> port on 127.0.0.1 of this machine."""
        return {unit.port: unit.listener.getsockname()[1] for unit in self._units.values() if unit.listener}

    def boot(self) -> None:
        """Start what is enabled."""
        for unit in sorted(self._enabled):
            self._start(unit)

    async def halt(self) -> None:
        """End all, as when the host goes down."""
        for unit in list(self._units):
            await self._stop(f"{unit}.service")
            await self._stop(f"{unit}.socket")

    async def systemctl(self, session: Session, verb: str, units: list[str], *, now: bool) -> int:
        """One call for units that are not Docker's."""
        for unit in units:
            if not (self._folder / unit).exists():
                raise ExitError(5, f"Failed to {verb} {unit}: Unit {unit} not found.")
            await self._do(session, verb, unit, now=now)
        return 0

    async def _do(self, session: Session, verb: str, unit: str, *, now: bool) -> None:
        if verb in {"enable", "disable"}:
            (self._enabled.add if verb == "enable" else self._enabled.discard)(unit)
        if verb in {"stop", "restart"} or (verb == "disable" and now) or (verb == "try-restart" and self._is_active(unit)):
            was_active = self._is_active(unit)
            await self._stop(unit)
            if verb == "restart" or (verb == "try-restart" and was_active):
                self._start(unit)
        elif verb == "start" or (verb == "enable" and now):
            self._start(unit)
        elif verb in {"is-active", "status"}:
            session.out("active" if self._is_active(unit) else "inactive")
            if not self._is_active(unit):
                raise ExitError(3)
        elif verb not in {"enable", "disable", "try-restart"}:
            raise ExitError(1, f"Unknown command verb '{verb}'.")

    def _is_active(self, unit: str) -> bool:
        name, _, kind = unit.rpartition(".")
        found = self._units.get(name)
        return found is not None and (found.listener if kind == "socket" else found.running) is not None

    def _start(self, unit: str) -> None:
        """Raises ExitError where its port is taken."""
        name, _, kind = unit.rpartition(".")
        found = self._units.setdefault(name, _Unit())
        if kind == "socket" and found.listener is None:
            found.port = int(self._read(unit, "Socket", "ListenStream").rpartition(":")[2])
            found.listener = bound_socket("127.0.0.1", 0)
            found.listener.setblocking(True)  # noqa: FBT003 - as systemd hands it over
            found.listener.listen(512)
            self._on_change()
        # A real socket starts its service with the first connection; here at once, which nobody can tell.
        if found.running is None:
            found.running = asyncio.ensure_future(self._keep_running(name, found))

    async def _stop(self, unit: str) -> None:
        name, _, kind = unit.rpartition(".")
        found = self._units.get(name)
        if found is None:
            return
        if kind == "socket" and found.listener:
            found.listener.close()
            found.listener = None
            self._on_change()
        if kind == "service" and found.running:
            found.running.cancel()
            with suppress(asyncio.CancelledError):
                await found.running
            found.running = None

    async def _keep_running(self, name: str, unit: _Unit) -> None:
        """Run the service again and again, with its socket as descriptor 3."""
        while True:
            program = shlex.split(self._read(f"{name}.service", "Service", "ExecStart"))
            descriptor = unit.listener.fileno() if unit.listener else -1
            with self._log.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-S",
                    "-E",
                    _RUNNER,
                    str(descriptor),
                    *program,
                    env=dict(self._environment()),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[descriptor] if unit.listener else [],
                    start_new_session=True,
                )
            try:
                await process.wait()
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                    await process.wait()
            await asyncio.sleep(_RESTART_SECONDS)

    def _read(self, unit: str, section: str, key: str) -> str:
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign] # systemd's keys have capitals
        parser.read(self._folder / unit)
        return parser[section][key]
