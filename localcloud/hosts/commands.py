"""The commands of a host that are not the machine's own: sudo, docker, systemctl, cloud-init, nvidia-smi, df.

Small scripts on the host's PATH; all but sudo ask `CommandServer`, which knows the host. Left out on
purpose: every unit but docker's.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shlex
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.bounds import Places
from localcloud.hosts.session import ExitError, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from localcloud.hosts.host import Host

log = logging.getLogger("localcloud")

NAMES = ("docker", "systemctl", "cloud-init", "nvidia-smi", "df")
_LONGEST_CALL_BYTES = 4 * 2**20
_CALL_SECONDS = 10.0
_CALLS = 512
_PEER = struct.Struct("3i")
"""Process, user and group: the kernel's struct ucred."""
_SUDO = """#!/bin/sh
# Stands for sudo on a host of the local cloud: the commands run as the person who started it.
while [ $# -gt 0 ]; do
  case "$1" in
    --) shift; break ;;
    -u|-g|-U) shift 2 ;;
    -*) shift ;;
    *=*) export "$1"; shift ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || exit 0
exec "$@"
"""
_GPU = {
    "index": "0",
    "name": "Tesla T4",
    "memory.total": "15360 MiB",
    "memory.used": "0 MiB",
    "driver_version": "580.95.05",
    "compute_cap": "7.5",
    "temperature.gpu": "38",
    "utilization.gpu": "0 %",
    "clocks.sm": "1590 MHz",
    "uuid": "GPU-00000000-0000-0000-0000-000000000000",
}


def install(directory: Path) -> None:
    """Write the stand-in scripts into a directory for the hosts' PATH."""
    directory.mkdir(parents=True)
    client = shlex.quote(str(Path(__file__).parent / "stand_in.py"))
    scripts = {name: f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S -E {client} {name} "$@"\n' for name in NAMES}
    for name, text in {**scripts, "sudo": _SUDO}.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)


class CommandServer:
    """Answers the stand-in commands of all hosts, to the user who runs the cloud alone."""

    def __init__(self, find_host: Callable[[str], Host | None]) -> None:
        self._find_host = find_host
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._places = Places(_CALLS)

    async def open(self, directory: Path) -> None:
        """Listen on the socket `commands` in a new directory, which only its owner can enter."""
        directory.mkdir(mode=0o700)
        listener = socket.socket(socket.AF_UNIX)
        folder = os.open(directory, os.O_PATH)
        try:
            listener.bind(f"/proc/self/fd/{folder}/commands")  # a path of any length: a socket's own may have 107 bytes
        finally:
            os.close(folder)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_LONGEST_CALL_BYTES)

    def close(self) -> None:
        """Stop listening and drop the calls that run."""
        if self._server:
            self._server.close()
        for call in list(self._calls):
            call.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        user = peer_user(writer.get_extra_info("socket"))
        if user != os.geteuid():
            log.warning("a stand-in command of user %s is not answered: the cloud belongs to user %s", user, os.geteuid())
        elif self._places.enter(writer, str(user), writer.transport.abort):
            task = asyncio.ensure_future(self._read_call(reader, writer))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
            await asyncio.wait({task})
            self._places.leave(writer)
        writer.close()

    async def _read_call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                call: dict[str, Any] = json.loads(await reader.readline())
            self._places.spoke(writer)
            host = self._find_host(call["host"])
            session = Session(call["arguments"], call["directory"], call["environment"], reader, writer)
            await self._answer(host, session)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.debug("dropped a call of a stand-in command: %s", error)

    async def _answer(self, host: Host | None, session: Session) -> None:
        """Run the command until it ends or its caller goes away."""
        if host is None:
            session.err(f"{session.arguments[0]}: this host is gone")
            await session.exit(255)
            return
        running = asyncio.ensure_future(_status(host, session))
        gone = asyncio.ensure_future(session.gone())
        try:
            await asyncio.wait({running, gone}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await session.exit(running.result())
        finally:
            running.cancel()
            gone.cancel()


def peer_user(connection: socket.socket) -> int:
    """The user who has connected to a Unix socket, as the kernel knows him."""
    _, user, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return user


async def _status(host: Host, session: Session) -> int:
    """Run one call; its exit status."""
    commands = {
        "docker": host.docker_cli.run,
        "systemctl": host.systemctl,
        "cloud-init": _cloud_init(host),
        "nvidia-smi": _nvidia_smi(host),
        "df": _df(host),
    }
    try:
        return await commands[session.arguments[0]](session)
    except ExitError as error:
        if str(error):
            session.err(str(error))
        return error.status
    except Exception:
        log.exception("%s: stand-in failed: %s", host.instance_id, session.arguments[:3])
        session.err(f"{session.arguments[0]}: failed in the local cloud; `edge cloud logs` has the reason")
        return 1


def _cloud_init(host: Host) -> Callable[[Session], Any]:
    async def cloud_init(session: Session) -> int:
        if session.arguments[1:2] != ["status"]:
            raise ExitError(2, f"cloud-init: the local cloud has `cloud-init status` only, not {session.arguments[1:]}")
        if "--wait" in session.arguments:
            await host.cloud_init_done.wait()
        state = ("error" if host.user_data_error else "done") if host.cloud_init_done.is_set() else "running"
        session.out(f"status: {state}")
        if "--long" in session.arguments:
            session.out(f"detail:\n{host.user_data_error or 'DataSourceEc2Local'}")
        return 1 if state == "error" else 0

    return cloud_init


def _df(host: Host) -> Callable[[Session], Any]:
    """Free disk, in MiB, of a root volume as the sites have it; this machine's own says nothing about that."""

    async def df(session: Session) -> int:
        if session.arguments[1:3] != ["--output=avail", "--block-size=1M"]:
            raise ExitError(1, f"df: the local cloud has --output=avail --block-size=1M only, not {session.arguments[1:]}")
        session.out(f"  Avail\n{512 if host.has_fault('full_disk') else 55_000:7}")
        return 0

    return df


def _nvidia_smi(host: Host) -> Callable[[Session], Any]:
    async def nvidia_smi(session: Session) -> int:
        if host.has_fault("no_driver"):
            raise ExitError(9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")
        return _show_gpu(session)

    return nvidia_smi


def _show_gpu(session: Session) -> int:
    options = {name: value for name, _, value in (word.partition("=") for word in session.arguments[1:])}
    if "--query-gpu" not in options:
        session.out(
            f"Driver Version: {_GPU['driver_version']}   CUDA Version: 13.0\n|   0  Tesla T4   15360MiB |  (local cloud stand-in)"
        )
        return 0
    fields = options["--query-gpu"].split(",")
    unknown = [field for field in fields if field.strip() not in _GPU]
    if unknown:
        raise ExitError(2, f'Field "{unknown[0]}" is not a valid field to query.')
    shape = options.get("--format", "csv").split(",")
    if "noheader" not in shape:
        session.out(", ".join(fields))
    values = [_GPU[field.strip()] for field in fields]
    if "nounits" in shape:
        values = [re.sub(r" (MiB|%|MHz)$", "", value) for value in values]
    session.out(", ".join(values))
    return 0
