"""The `command` plugin: `remote.Command` and `remote.CopyToRemote` over real SSH.

Follows pulumi-command 1.2.1 in what it accepts, does and says; connection.py has the dialling. One difference: a line of output
on which the official plugin hangs for ever is an error here. Left out, and refused: proxies, and sources that are URLs.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import posixpath
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar, cast

import asyncssh

from localcloud.plugins.base import Call, Plugin, ProviderError, Resource, serve
from localcloud.plugins.connection import completed, connected
from localcloud.plugins.schema import Problem
from localcloud.plugins.values import Properties, Secret, has_secret, is_map, reveal

_CHUNK_BYTES = 16384
_LONGEST_LINE_BYTES = 65535
"""bufio.Scanner of the official plugin (logging.go) takes no longer one, reads no further, and the command waits for ever."""
_ACCEPT_ENV = (
    "This only works if your SSH server is configured to accept these variables via AcceptEnv. Alternatively, if a "
    "Bash-like shell runs the command on the remote host, you could prefix the command itself with the variables in "
    "the form 'VAR=value command'"
)


class _Output:
    """Collects one command's output, and passes whole lines on as they come."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self.log = log
        self.both: list[str] = []

    async def drain(self, stream: asyncssh.SSHReader[str], *, logged: bool) -> str:
        """Read a stream to its end, in chunks. Raise `ProviderError` for a line that the official plugin would hang on."""
        parts: list[str] = []
        line = ""
        while chunk := await stream.read(_CHUNK_BYTES):
            parts.append(chunk)
            self.both.append(chunk)
            if logged:
                *lines, line = (line + chunk).split("\n")
                for each in (*lines, line):
                    _refuse_long(each)
                for each in lines:
                    self.log(_shown(each))
        if line:
            self.log(_shown(line))
        return "".join(parts)


def _shown(text: str) -> str:
    """Return a text with marks in the place of bytes that are no UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _refuse_long(line: str) -> None:
    length = len(line.encode(errors="surrogateescape"))
    if length > _LONGEST_LINE_BYTES:
        message = (
            f"the command wrote a line of {length} bytes or more; on one of {_LONGEST_LINE_BYTES + 1} or more the official "
            "plugin hangs for ever: cut it (`| cut -b-4000`), or do not log it (`logging`)"
        )
        raise ProviderError(message)


async def _execute(call: Call, text: str, inputs: Properties, previous: Properties) -> Properties:
    """Run a command on the host; return `stdout` and `stderr`, or raise with all it wrote."""
    environment = _environment(call, inputs, previous)
    output = _Output(call.status)
    logging, stdin = inputs.get("logging"), inputs.get("stdin")
    async with connected(call, inputs) as connection:
        try:
            process = await connection.create_process(text, env=environment, encoding="utf-8", errors="surrogateescape")
            # A command may end without reading: its own status says how, not the broken pipe.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(str(stdin or ""))
                process.stdin.write_eof()
            stdout, stderr = await asyncio.gather(
                output.drain(process.stdout, logged=logging in (None, "stdout", "stdoutAndStderr")),
                output.drain(process.stderr, logged=logging in (None, "stderr", "stdoutAndStderr")),
            )
            await process.wait_closed()
        except (asyncssh.Error, OSError) as error:
            message = f"{error}: running {json.dumps(text)}:\n{_shown(''.join(output.both))}"
            raise ProviderError(message) from error
    if process.returncode != 0:
        message = f"{_ending(process)}: running {json.dumps(text)}:\n{_shown(''.join(output.both))}"
        raise ProviderError(message)
    if _shown(stdout + stderr) != stdout + stderr:
        # As on the official plugin, whose answer cannot be encoded; a failure's text it does mend.
        message = "grpc: error while marshaling: string field contains invalid UTF-8"
        raise ProviderError(message)
    return {"stdout": stdout.removesuffix("\n"), "stderr": stderr.removesuffix("\n")}


def _ending(process: asyncssh.SSHClientProcess[str]) -> str:
    """Say how a command ended, in the words of Go's SSH package that the official plugin shows."""
    if process.exit_signal:
        return f"Process exited with signal {process.exit_signal[0]}"
    if process.exit_status is None:
        return "wait: remote command exited without exit status or exit signal"
    return f"Process exited with status {process.exit_status}"


def _environment(call: Call, inputs: Properties, previous: Properties) -> dict[str, str]:
    """Return what the host's sshd would take over: AcceptEnv of Amazon Linux is LANG and LC_*.

    As with the official plugin, another variable that the program sets is an error, and the previous output, which
    it sets by itself, only a warning.
    """
    own = inputs.get("environment")
    environment = {key: str(value) for key, value in own.items()} if is_map(own) else {}
    for name in environment:
        if name != "LANG" and not name.startswith("LC_"):
            call.error(f"Unable to set '{name}'. {_ACCEPT_ENV}")
            message = f'could not set environment variable "{name}": ssh: setenv failed'
            raise ProviderError(message)
    if inputs.get("addPreviousOutputInEnv", True):
        for name in ("stdout", "stderr"):
            if previous.get(name):
                call.warning(f"Unable to set 'PULUMI_COMMAND_{name.upper()}'. {_ACCEPT_ENV}")
    return environment


class Remote(Resource):
    """What both resources share: the checks of a connection, and nothing to look at afterwards."""

    sees_secrets: ClassVar[bool] = True

    def completed(self, inputs: Properties) -> Properties:
        """Complete the connection."""
        return {**inputs, "connection": completed(inputs["connection"])} if "connection" in inputs else inputs

    def problems(self, inputs: Properties) -> Iterable[Problem]:
        """Refuse what this plugin cannot do."""
        connection = inputs.get("connection")
        if is_map(connection) and connection.get("proxy") is not None:
            reason = "is not simulated by the local cloud, whose hosts are dialled directly; the official plugin dials through it"
            yield Problem("connection.proxy", reason)

    def replaces(self, path: str, olds: Properties, news: Properties) -> bool:
        """Replace where triggers come, go or turn into something else; a changed element of them is an update."""
        del olds, news
        return path == "triggers"

    def sealed(self, outputs: Properties, *given: Mapping[str, object]) -> Properties:
        """Keep secret what came in so, by its name; what a command wrote is in clear, whatever it was given."""
        secret = {name for properties in given for name, value in properties.items() if has_secret(value)} - {"stdout", "stderr"}
        return {name: Secret(reveal(value)) if name in secret else value for name, value in outputs.items()}

    def read(self, call: Call, resource_id: str, known: Properties) -> Properties | None:
        """Return the last known state."""
        del call, resource_id
        return known


class Command(Remote):
    """`command:remote:Command`."""

    def _run(self, call: Call, text: object, inputs: Properties, previous: Properties) -> None:
        if text is None:
            call.outputs.update({name: previous.get(name, "") for name in ("stdout", "stderr")})
        else:
            call.outputs.update(asyncio.run(_execute(call, str(text), inputs, previous)))

    def create(self, call: Call, inputs: Properties) -> str:
        """Run `create`."""
        self._run(call, inputs.get("create"), inputs, {})
        return f"{call.urn.split('::')[-1]}{secrets.token_hex(4)}"

    def update(self, call: Call, resource_id: str, olds: Properties, news: Properties, state: Properties) -> None:
        """Run `update`, or `create` again where there is none."""
        del resource_id, olds
        self._run(call, news.get("update", news.get("create")), news, state)

    def delete(self, call: Call, resource_id: str, state: Properties) -> None:
        """Run `delete`, with the same standard input."""
        del resource_id
        if state.get("delete") is not None:
            self._run(call, state["delete"], state, state)

    def uncertain(self, changed: set[str]) -> Iterable[str]:
        """Any change runs a command, which writes something new."""
        del changed
        return ("stdout", "stderr")


class CopyToRemote(Remote):
    """`command:remote:CopyToRemote` of assets and archives that are on this machine."""

    def problems(self, inputs: Properties) -> Iterable[Problem]:
        """Refuse sources that would have to be fetched."""
        yield from super().problems(inputs)
        source = inputs.get("source")
        if is_map(source) and source.get("uri"):
            yield Problem("source", "must be a path-based file asset or a text asset")

    def create(self, call: Call, inputs: Properties) -> str:
        """Copy."""
        asyncio.run(_copy(call, inputs))
        return secrets.token_hex(4)

    def update(self, call: Call, resource_id: str, olds: Properties, news: Properties, state: Properties) -> None:
        """Copy again where source or target changed."""
        del resource_id, state
        if any(olds.get(name) != news.get(name) for name in ("source", "remotePath")):
            asyncio.run(_copy(call, news))

    def delete(self, call: Call, resource_id: str, state: Properties) -> None:
        """Leave the copy where it is, as the official plugin does."""


async def _copy(call: Call, inputs: Properties) -> None:
    source, target = cast("Properties", inputs["source"]), str(inputs["remotePath"])
    try:
        async with connected(call, inputs) as connection, connection.start_sftp_client() as sftp:
            await _copy_source(sftp, source, target)
    except (asyncssh.Error, OSError) as error:
        message = f"cannot copy to {target}: {error}"
        raise ProviderError(message) from error


async def _copy_source(sftp: asyncssh.SFTPClient, source: Properties, target: str) -> None:
    """Copy a text, a file, a directory, or a collection of them, by the official plugin's rules for targets.

    A file goes into a target that is a directory; a directory too, unless its path ends with a slash: then its content.
    """
    if "text" in source:
        if await sftp.isdir(target):
            message = f"remote path {target} is a directory; for a text it must be a file path"
            raise ProviderError(message)
        await _write(sftp, str(source["text"]).encode(), target)
    elif "path" in source:
        path = Path(str(source["path"]))
        if path.is_dir():
            into = target if str(source["path"]).endswith("/") else posixpath.join(target, path.name)
            for file in sorted(each for each in path.rglob("*") if each.is_file()):
                relative = file.relative_to(path).as_posix()
                await _write(sftp, file.read_bytes(), posixpath.join(into, relative))
        else:
            into = posixpath.join(target, path.name) if await sftp.isdir(target) else target
            await _write(sftp, path.read_bytes(), into)
    else:
        members = source.get("assets")
        for name, member in members.items() if is_map(members) else ():
            await _copy_source(sftp, cast("Properties", member), posixpath.join(target, name))


async def _write(sftp: asyncssh.SFTPClient, content: bytes, target: str) -> None:
    if directory := posixpath.dirname(target):
        await sftp.makedirs(directory, exist_ok=True)
    async with sftp.open(target, "wb") as file:
        await file.write(content)


class CommandPlugin(Plugin):
    """The provider `command`."""

    def __init__(self, engine_address: str) -> None:
        """Serve the engine."""
        super().__init__(
            importlib.metadata.version("pulumi_command"),
            {"command:remote:Command": Command(), "command:remote:CopyToRemote": CopyToRemote()},
            {},
            engine_address,
        )


def main() -> None:
    """Run the plugin."""
    serve(CommandPlugin)


if __name__ == "__main__":
    main()
