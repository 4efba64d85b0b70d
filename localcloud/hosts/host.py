"""One host: boots, honours its user data, offers SSH and Docker, dies with its instance.

Left out on purpose: reboots that AWS does not tell of; IMDS.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import asyncssh

from localcloud.hosts import user_data
from localcloud.hosts.docker_cli import DockerCli
from localcloud.hosts.docker_engine import DockerEngine
from localcloud.hosts.session import ExitError, Session
from localcloud.hosts.ssh import USER, SshHost
from localcloud.hosts.units import Units

if TYPE_CHECKING:
    from collections.abc import Callable

    from localcloud.model_server.simulation import Timing

log = logging.getLogger("localcloud")

_LOOK_AGAIN_SECONDS = 0.05


class InstanceView(Protocol):
    """An instance as `localcloud.api.world` shows it."""

    @property
    def instance_id(self) -> str:
        """As AWS has it."""
        ...

    @property
    def zone(self) -> str:
        """As AWS has it."""
        ...

    @property
    def state(self) -> str:
        """As AWS has it."""
        ...

    @property
    def user_data(self) -> bytes:
        """As AWS has it."""
        ...

    @property
    def public_key(self) -> str | None:
        """As AWS has it."""
        ...

    @property
    def addresses(self) -> tuple[str, ...]:
        """As AWS has it."""
        ...

    @property
    def stops(self) -> int:
        """How often it was stopped."""
        ...


@dataclass(frozen=True)
class Settings:
    """How long things take that take minutes on AWS."""

    boot_seconds: float = 1.0
    cloud_init_seconds: float = 0.3
    pull_seconds: float = 0.6
    load_seconds: float = 0.6


@dataclass
class Surroundings:
    """What every host of a cloud shares."""

    settings: Settings
    timing: Timing
    commands: Path
    """The directory of the stand-in commands."""
    control: Path
    """The directory of the socket of the stand-in commands' server."""
    hub_endpoint: str
    on_change: Callable[[], None]
    has_fault: Callable[[str, str], bool]
    clock: Callable[[], float]
    """How much faster Route 53's clock goes than this machine's."""


class Host:
    """One instance's host; `state` is booting, running or stopped."""

    def __init__(self, view: InstanceView, root: Path, surroundings: Surroundings) -> None:
        self.view = view
        self.instance_id = view.instance_id
        self.root = root
        self.surroundings = surroundings
        self.state = "stopped"
        self.cloud_init_done = asyncio.Event()
        self.user_data_error = ""
        settings = surroundings.settings
        self.docker = DockerEngine(root, surroundings.timing, settings.load_seconds, surroundings.on_change, self.has_fault)
        self.docker_cli = DockerCli(self.docker, surroundings.hub_endpoint, settings.pull_seconds)
        self.docker_enabled = False  # as on the source's AMI
        self.units = Units(root, self.environment, surroundings.on_change)
        self.ssh_port: int | None = None
        self._ssh: SshHost | None = None
        self._host_key: asyncssh.SSHKey | None = None
        self._authorized_keys: list[str] = []
        self._booting: asyncio.Task[None] | None = None
        self._stops_before = 0

    # Power

    @property
    def must_stop(self) -> bool:
        """Whether its instance was stopped since it booted, and may have been started again meanwhile."""
        return self.state != "stopped" and self.view.stops != self._stops_before

    def power_on(self) -> None:
        """Begin to boot."""
        self._stops_before = self.view.stops
        self.state = "booting"
        self._booting = asyncio.ensure_future(self._boot())

    async def power_off(self) -> None:
        """Close everything and end every process, at once."""
        self.state = "stopped"
        if self._booting:
            self._booting.cancel()
            await asyncio.gather(self._booting, return_exceptions=True)
        self.ssh_port = None
        if self._ssh:
            await self._ssh.close()
            self._ssh = None
        await self.units.halt()
        self._end_processes()
        await self.docker.stop()
        self.cloud_init_done.clear()
        shutil.rmtree(self.root / "run", ignore_errors=True)

    def _end_processes(self) -> None:
        """End what commands have left running, detached from their connections."""
        mark = f"EDGE_HOST_ROOT={self.root}\0".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)

    def remove(self) -> None:
        """Delete the host's files."""
        shutil.rmtree(self.root.parent, ignore_errors=True)

    async def _boot(self) -> None:
        settings = self.surroundings.settings
        await asyncio.sleep(settings.boot_seconds)
        for directory in (f"home/{USER}", "opt", "run", "tmp", "var/log", "etc"):
            (self.root / directory).mkdir(parents=True, exist_ok=True)
        first_boot = self._host_key is None
        host_key = self._host_key or self._first_boot()
        # A distribution's sshd may be up, with a key that it made itself, before cloud-init gets to the host's own.
        shown = _new_host_key() if first_boot and self.has_fault("first_boot_key") else host_key
        self._ssh = SshHost(self.root, shown, self._authorized_keys, self.environment)
        self.ssh_port = await self._ssh.open()
        if self.docker_enabled:
            self.docker.start()
        self.units.boot()
        self.state = "running"
        log.info("%s in %s has booted", self.instance_id, self.view.zone)
        self.surroundings.on_change()
        await asyncio.sleep(settings.cloud_init_seconds)
        while shown is not host_key and self.has_fault("first_boot_key"):
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        self._ssh.show(host_key)
        self.cloud_init_done.set()

    def _first_boot(self) -> asyncssh.SSHKey:
        """What cloud-init does once: host key, login keys, files."""
        config = user_data.CloudConfig()
        try:
            config = user_data.parse(self.view.user_data)
        except user_data.UserDataError as error:
            self.user_data_error = str(error)
            log.warning("%s: user data not applied: %s", self.instance_id, error)
        if config.ignored:
            log.warning("%s: user data ignored: %s", self.instance_id, ", ".join(config.ignored))
        config.write_files(self.root)
        self._host_key = config.host_key or _new_host_key()
        keys = [*config.authorized_keys, *([self.view.public_key] if self.view.public_key else [])]
        self._authorized_keys = [key.strip() for key in keys]
        return self._host_key

    def has_fault(self, fault: str) -> bool:
        """Whether a fault is switched on in the host's zone."""
        return self.surroundings.has_fault(fault, self.view.zone)

    # What it offers

    def environment(self) -> dict[str, str]:
        """The environment of commands that arrive over SSH."""
        surroundings = self.surroundings
        return {
            "PATH": f"{surroundings.commands}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.root / "home" / USER),
            "USER": USER,
            "LOGNAME": USER,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.root / "tmp"),
            "EDGE_HOST_ROOT": str(self.root),
            "EDGE_HOST_ID": self.instance_id,
            "EDGE_HOST_CONTROL": str(surroundings.control),
            "EDGE_HOST_CLOCK": str(surroundings.clock()),
        }

    def listening(self) -> dict[int, int]:
        """Port on the host's public addresses -> port on 127.0.0.1 of what listens there."""
        if self.state != "running" or self.ssh_port is None:
            return {}
        ports = {22: self.ssh_port, **self.units.listening()}
        for container in self.docker.containers.values():
            for address, port, inside in container.published():
                service = container.inside_port(inside)
                if address in {"", "0.0.0.0"} and service and inside in container.listening:  # noqa: S104
                    ports[port] = service
        return ports

    async def systemctl(self, session: Session) -> int:
        """`systemctl VERB [UNIT...]`: docker's, or those that scripts have written."""
        words = [word for word in session.arguments[1:] if not word.startswith("-")]
        flags = [word for word in session.arguments[1:] if word.startswith("-")]
        verb, units = (words or [""])[0], [word.removesuffix(".service") for word in words[1:]]
        if verb in {"daemon-reload", "reset-failed"}:
            return 0
        if units and "docker" not in units:
            names = [unit if "." in unit else f"{unit}.service" for unit in words[1:]]
            return await self.units.systemctl(session, verb, names, now="--now" in flags)
        unknown = [unit for unit in units if unit != "docker"]
        if verb in {"is-active", "is-enabled"}:
            active = self.docker.running if verb == "is-active" else self.docker_enabled
            yes, no = ("active", "inactive") if verb == "is-active" else ("enabled", "disabled")
            good = active and not unknown
            if not ({"-q", "--quiet"} & set(flags)):
                session.out(yes if good else no)
            return 0 if good else {"is-active": 3, "is-enabled": 1}[verb]
        if unknown or not units:
            name = (unknown or [""])[0]
            raise ExitError(5, f"Failed to {verb} {name}.service: Unit {name}.service not found.")
        return await self._systemctl_docker(session, verb, now="--now" in flags)

    async def _systemctl_docker(self, session: Session, verb: str, *, now: bool) -> int:
        if verb in {"enable", "disable"}:
            self.docker_enabled = verb == "enable"
        if verb in {"stop", "restart"} or (verb == "disable" and now):
            await self.docker.stop()
        if verb in {"start", "restart"} or (verb == "enable" and now):
            self.docker.start()
        if verb == "status":
            active = "active (running)" if self.docker.running else "inactive (dead)"
            session.out(f"docker.service - Docker Application Container Engine\n   Active: {active}")
            return 0 if self.docker.running else 3
        if verb not in {"enable", "disable", "start", "stop", "restart"}:
            raise ExitError(1, f"Unknown operation '{verb}'.")
        return 0


def _new_host_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")  # pyright: ignore[reportUnknownMemberType]
