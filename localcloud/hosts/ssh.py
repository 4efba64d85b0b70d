"""A host's SSH server: public keys only, an ed25519 host key only, exec by the real bash, sftp.

Left out on purpose: terminals, forwarding, other users. Of a client's environment it takes what the AMI's sshd does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import asyncssh

from localcloud.serving import places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

log = logging.getLogger("localcloud")

USER = "ec2-user"
_LOGIN_USERS = {USER, "ubuntu"}
"""Amazon Linux's and Ubuntu's; a host takes either for the same person."""
_CHUNK = 65536

# The last process to hear that the command's time is over. It ends everything of the session when its
# standard input closes, be it because the channel, the host or the whole local cloud is gone.
_WATCH = r"""
( read -r _
  sid=$$ found=1
  while [ "$found" = 1 ]; do
    found=0
    for stat in /proc/[0-9]*/stat; do
      read -r line 2>/dev/null <"$stat" || continue
      set -- ${line##*) }
      pid=${stat#/proc/}; pid=${pid%/stat}
      if [ "$4" = "$sid" ] && [ "$pid" != "$BASHPID" ] && [ "$1" != Z ]; then
        kill -KILL "$pid" 2>/dev/null && found=1
      fi
    done
  done
) <&LIFELINE >/dev/null 2>&1 &
exec LIFELINE<&-
"""


class _Server(asyncssh.SSHServer):
    """Admits ec2-user with one of the host's authorized keys."""

    def __init__(self, host: SshHost) -> None:
        self._host = host
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        source = str(conn.get_extra_info("peername")[0])
        if places().enter(conn, source, conn.abort):
            self._host.connections.add(conn)
        else:
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncssh's signature
        if self._connection:
            places().leave(self._connection)
            self._host.connections.discard(self._connection)

    def auth_completed(self) -> None:
        if self._connection:
            places().spoke(self._connection)

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002 - asyncssh's signature
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username in _LOGIN_USERS and key.public_data in self._host.authorized


class _Sftp(asyncssh.SFTPServer):
    """Files below the host's root; relative paths and the start are the user's home."""

    def __init__(self, chan: asyncssh.SSHServerChannel[Any], root: Path) -> None:
        super().__init__(chan, chroot=os.fsencode(root))  # pyright: ignore[reportUnknownMemberType]

    def map_path(self, path: bytes) -> bytes:
        home = b"/home/" + USER.encode()
        return super().map_path(path if path.startswith(b"/") else os.path.join(home, path))  # noqa: PTH118


class SshHost:
    """One SSH server on 127.0.0.1; `environment` is what commands run in."""

    def __init__(
        self,
        root: Path,
        host_key: asyncssh.SSHKey,
        authorized_keys: list[str],
        environment: Callable[[], Mapping[str, str]],
    ) -> None:
        self.root = root
        self.host_key = host_key
        self.authorized = {asyncssh.import_public_key(line).public_data for line in authorized_keys}
        self.environment = environment
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self.commands: set[asyncio.Task[None]] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def open(self) -> int:
        """Listen; returns the port on 127.0.0.1."""
        self._acceptor = await asyncssh.create_server(
            lambda: _Server(self),
            "127.0.0.1",
            0,
            server_host_keys=[self.host_key],
            process_factory=self._exec,
            sftp_factory=self._sftp,
            encoding=None,
            line_editor=False,
            allow_pty=False,
            agent_forwarding=False,
            x11_forwarding=False,
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            gss_host=None,
            server_version="OpenSSH_7.4",
        )
        return self._acceptor.get_port()

    def show(self, host_key: asyncssh.SSHKey) -> None:
        """Have another host key for connections from now on."""
        if self._acceptor:
            self._acceptor.update(server_host_keys=[host_key])

    async def close(self) -> None:
        """Cut every connection and end every command."""
        if self._acceptor:
            self._acceptor.close()
        for connection in list(self.connections):
            connection.abort()
        for task in list(self.commands):
            task.cancel()
        await asyncio.gather(*self.commands, return_exceptions=True)

    def _sftp(self, chan: asyncssh.SSHServerChannel[Any]) -> _Sftp:
        return _Sftp(chan, self.root)

    async def _exec(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        task = asyncio.ensure_future(self._run(process))
        self.commands.add(task)
        task.add_done_callback(self.commands.discard)
        await task

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run a command until it ends or its channel closes; the status leaves after the output."""
        process.channel.set_write_buffer_limits(0)  # so that drain() means "all sent"
        lifeline, ours = os.pipe()
        watch = _WATCH.replace("LIFELINE", str(lifeline))
        words = ["-c", watch + 'exec bash -c "$1"', "bash", process.command] if process.command else ["-c", watch + "exec bash"]
        try:
            child = await asyncio.create_subprocess_exec(
                "bash",
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=self.root / "home" / USER,
                env={**self.environment(), **_accepted(process.env)},
                start_new_session=True,
                pass_fds=(lifeline,),
            )
        except OSError as error:
            log.error("cannot run a command on a host: %s", error)  # noqa: TRY400 - the reason says it
            os.close(ours)
            process.exit(255)
            return
        finally:
            os.close(lifeline)
        try:
            await self._attend(process, child)
        finally:
            os.close(ours)

    async def _attend(self, process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process) -> None:
        feeding = asyncio.ensure_future(_feed(process, cast("asyncio.StreamWriter", child.stdin)))
        done = asyncio.ensure_future(_finish(process, child))
        closed = asyncio.ensure_future(process.channel.wait_closed())
        try:
            await asyncio.wait({done, closed}, return_when=asyncio.FIRST_COMPLETED)
            if done.done() and not done.exception():
                status = done.result()
                if status < 0:
                    process.exit_with_signal(_signal_name(-status))
                else:
                    process.exit(status)
        finally:
            for task in (feeding, done, closed):
                task.cancel()


def _accepted(environment: Mapping[str, str]) -> dict[str, str]:
    """As AcceptEnv of Amazon Linux and Debian says."""
    return {name: value for name, value in environment.items() if name == "LANG" or name.startswith("LC_")}


async def _feed(process: asyncssh.SSHServerProcess[bytes], stdin: asyncio.StreamWriter) -> None:
    """Pass the channel's input on until it ends or the command stops reading."""
    with suppress(OSError, asyncssh.Error):
        while True:
            try:
                data = await process.stdin.read(_CHUNK)
            except (asyncssh.BreakReceived, asyncssh.SignalReceived, asyncssh.TerminalSizeChanged):
                continue
            if not data:
                break
            stdin.write(data)
            await stdin.drain()
    stdin.close()


async def _finish(process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process) -> int:
    """Send all output, then wait for the command's end; its return code."""
    await asyncio.gather(
        _pump(cast("asyncio.StreamReader", child.stdout), process.stdout),
        _pump(cast("asyncio.StreamReader", child.stderr), process.stderr),
    )
    return await child.wait()


async def _pump(reader: asyncio.StreamReader, writer: asyncssh.SSHWriter[bytes]) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()


def _signal_name(number: int) -> str:
    return signal.Signals(number).name.removeprefix("SIG")
