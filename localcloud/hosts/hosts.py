"""All hosts of a cloud: kept in step with AWS's state, reached through doorways.

Left out on purpose: anything that AWS's state does not say; `reconcile` looks at it whenever told.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from localcloud.bounds import Places, room
from localcloud.hosts import commands, distance
from localcloud.hosts.doorway import Doorway, unprivileged
from localcloud.hosts.host import Host, InstanceView, Settings, Surroundings
from localcloud.model_server.simulation import Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

log = logging.getLogger("localcloud")


class World(Protocol):
    """AWS's state, read-only; the module `localcloud.api.world` is one."""

    def instances(self) -> Sequence[InstanceView]:
        """All instances but terminated ones."""
        ...

    def refusal(self, address: str, port: int, source: str) -> str | None:
        """Why a connection is not let through, or None."""
        ...


def _settle() -> None:
    """Search all for garbage now, and what is left not again: that stops everything for 0.2 s, in the midst of streams."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


class Hosts:
    """The hosts of one world, below one directory."""

    def __init__(
        self,
        directory: Path,
        world: World,
        *,
        settings: Settings | None = None,
        has_fault: Callable[[str, str], bool] = lambda _fault, _zone: False,
        clock: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self.directory = directory
        self.world = world
        self.settings = settings or Settings()
        self.has_fault = has_fault
        """Whether a fault (`never_boot`, `full_disk`, ...) is switched on in a zone."""
        self.clock = clock
        """How much faster health checkers and resolvers live than this machine's clock."""
        self.timing = Timing()
        self.hosts: dict[str, Host] = {}
        self.doorways: dict[tuple[str, int], Doorway] = {}
        self.problems: dict[tuple[str, int], str] = {}
        """Doorways that cannot be opened on this machine, and why."""
        self.changed = asyncio.Event()
        """Set, and replaced, whenever a host or a doorway has changed."""
        self._places = Places(room().in_all)
        self._commands = commands.CommandServer(self.hosts.get)
        self._surroundings: Surroundings | None = None
        self._wanted = asyncio.Event()
        self._reconciling: asyncio.Task[None] | None = None

    async def open(self, hub_endpoint: str) -> None:
        """Begin to follow the world."""
        commands.install(self.directory / "bin")
        control = self.directory / "control"
        await self._commands.open(control)
        self._surroundings = Surroundings(
            self.settings,
            self.timing,
            self.directory / "bin",
            control,
            hub_endpoint,
            self.reconcile,
            self.has_fault,
            self.clock,
        )
        self._reconciling = asyncio.ensure_future(self._follow())
        self.reconcile()

    async def close(self) -> None:
        """Close every doorway, end every host with all its processes."""
        if self._reconciling:
            self._reconciling.cancel()
            await asyncio.gather(self._reconciling, return_exceptions=True)
        for doorway in self.doorways.values():
            doorway.close()
        self.doorways.clear()
        await asyncio.gather(*[host.power_off() for host in self.hosts.values()])
        self._commands.close()

    def reconcile(self) -> None:
        """Look at the world again, soon; to be called in the event loop."""
        self._wanted.set()

    async def _follow(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._follow_instances()
                await self._follow_doorways()
            except Exception:
                log.exception("the hosts could not be brought in step with AWS's state")
            self.changed.set()
            self.changed = asyncio.Event()

    async def _follow_instances(self) -> None:
        views = {view.instance_id: view for view in await asyncio.to_thread(self.world.instances)}
        before = set(self.hosts)
        for instance_id in self.hosts.keys() - views.keys():
            host = self.hosts.pop(instance_id)
            log.info("%s is terminated", instance_id)
            self._close_doorways(host)
            await host.power_off()
            await asyncio.to_thread(host.remove)
        for instance_id, view in views.items():
            host = self.hosts.get(instance_id)
            running = view.state in {"pending", "running"}
            if host:
                host.view = view
            if running and not host and self._surroundings:
                root = self.directory / "hosts" / instance_id / "root"
                host = self.hosts[instance_id] = Host(view, root, self._surroundings)
            if host and host.state != "stopped" and (host.must_stop or not running):
                self._close_doorways(host)
                await host.power_off()
            if running and host and host.state == "stopped" and not self.has_fault("never_boot", view.zone):
                host.power_on()
        if self.hosts.keys() != before:
            _settle()

    async def _follow_doorways(self) -> None:
        """Open and close listeners so that each address leads to what its host listens on."""
        wanted = {
            (address, port): (service, host.view.zone)
            for host in self.hosts.values()
            for address in host.view.addresses
            for port, service in host.listening().items()
        }
        for key, doorway in list(self.doorways.items()):
            if key not in wanted or wanted[key][0] != doorway.inside_port:
                self.doorways.pop(key).close()
        self.problems = {key: text for key, text in self.problems.items() if key in wanted}
        for (address, port), (service, zone) in wanted.items():
            if (address, port) not in self.doorways:
                await self._open_doorway(address, port, service, zone)

    async def _open_doorway(self, address: str, port: int, service: int, zone: str) -> None:
        try:
            doorway = Doorway(address, port, service, self.world.refusal, partial(distance.round_trip_seconds, zone=zone))
            doorway.places = Places(room().of_port, room().of_source, within=self._places)
            await doorway.open()
        except OSError as error:
            text = f"{address}:{unprivileged(port)} cannot be opened on this machine: {os.strerror(error.errno or 0)}"
            if self.problems.get((address, port)) != text:
                log.error("%s", text)  # noqa: TRY400 - the reason says it
            self.problems[address, port] = text
            return
        self.problems.pop((address, port), None)
        self.doorways[address, port] = doorway
        log.info("%s:%s is open", address, port)

    def _close_doorways(self, host: Host) -> None:
        addresses = set(host.view.addresses)
        services = set(host.listening().values())
        for key, doorway in list(self.doorways.items()):
            if key[0] in addresses or doorway.inside_port in services:
                self.doorways.pop(key).close()

    # Control

    def status(self) -> list[dict[str, Any]]:
        """What GET status tells of the hosts."""
        return [
            {
                "instance_id": host.instance_id,
                "zone": host.view.zone,
                "address": host.view.addresses[0] if host.view.addresses else None,
                "state": host.state,
                "ssh_port": unprivileged(22) if host.ssh_port else None,
                "containers": [
                    {
                        "name": container.spec.name,
                        "image": container.spec.image_reference,
                        "status": container.state.status,
                        "port": next((port for _, port, _ in container.published()), None),
                    }
                    for container in host.docker.containers.values()
                ],
            }
            for host in self.hosts.values()
        ]

    def network(self) -> dict[str, Any]:
        """What GET network tells: cities, their addresses, and how far they are from the zones that have hosts."""
        return distance.described(host.view.zone for host in self.hosts.values())

    def set_timing(self, changes: dict[str, object]) -> None:
        """Change the model servers' timing; raises ValueError and changes nothing where it is wrong."""
        known = vars(self.timing)
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"unknown timing {name!r}; there are {', '.join(known)}")
            whole = name == "concurrency"
            good = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            if not good or float(str(value)) < (1 if whole else 0):
                raise ValueError(f"{name} is {value!r}, not {'a whole number from 1 on' if whole else 'a time in ms'}")
        for name, value in changes.items():
            setattr(self.timing, name, value)
