"""systemd's part on a host of the local cloud: units with sockets that scripts write; what is detached ends with the host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from host_rig import Instance, Rig, rig

PROGRAM = """
import os, socket
listener = socket.socket(fileno=3)
while True:
    connection, _ = listener.accept()
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 8\\r\\n\\r\\n%8d" % os.getpid())
    connection.close()
"""
INSTALL = """
cat >"$EDGE_HOST_ROOT/home/program.py"
units="$EDGE_HOST_ROOT/etc/systemd/system"
mkdir -p "$units"
printf '[Socket]\\nListenStream=0.0.0.0:9009\\n[Install]\\nWantedBy=sockets.target\\n' >"$units/it.socket"
command="$(command -v python3) $EDGE_HOST_ROOT/home/program.py"
printf '[Service]\\nExecStart=%s\\nRestart=always\\n' "$command" >"$units/it.service"
systemctl daemon-reload
systemctl enable --now it.socket
"""


def on_a_host(tmp_path: Path, scenario: Callable[[Rig, Instance], Awaitable[None]]) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            await scenario(r, await r.boot())

    asyncio.run(run())


async def process(r: Rig, instance: Instance) -> int:
    """Which process answers at the unit's port of the host's address."""
    await r.opened(instance, 9009)
    return int(await r.good(instance, f"curl -s --retry 5 --retry-connrefused http://{instance.addresses[0]}:9009"))


def test_a_socket_stays_open_while_its_service_starts_anew(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        await r.good(instance, INSTALL, PROGRAM)
        first = await process(r, instance)
        assert await r.run(instance, "systemctl is-active it.service") == (0, "active\n", "")
        await r.good(instance, "systemctl restart it.service")
        second = await process(r, instance)
        assert second != first
        await r.good(instance, f"kill -9 {second}")
        assert await process(r, instance) not in {first, second}, "Restart=always"

    on_a_host(tmp_path, scenario)


def test_what_is_enabled_comes_back_at_a_boot_and_what_is_stopped_is_closed(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        await r.good(instance, INSTALL, PROGRAM)
        first = await process(r, instance)
        await r.put(replace(instance, state="stopped"))
        await r.closed(instance, 9009)
        assert not Path(f"/proc/{first}").exists()
        await r.put(instance)
        await r.opened(instance)
        assert await process(r, instance) != first
        await r.good(instance, "systemctl stop it.service it.socket")
        await r.closed(instance, 9009)

    on_a_host(tmp_path, scenario)


def test_an_unknown_unit_is_none(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        status, _, err = await r.run(instance, "systemctl start none.socket")
        assert (status, err) == (5, "Failed to start none.socket: Unit none.socket not found.\n")

    on_a_host(tmp_path, scenario)


def test_a_detached_process_outlives_its_connection_and_not_its_host(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        said = await r.good(instance, "setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $!")
        await r.good(instance, f"kill -0 {said}")
        await r.put(replace(instance, state="stopped"))
        await r.until(lambda: r.hosts.hosts[instance.instance_id].state == "stopped")
        while Path(f"/proc/{said}/stat").exists() and Path(f"/proc/{said}/stat").read_text().split()[2] != "Z":
            await asyncio.sleep(0.01)

    on_a_host(tmp_path, scenario)
