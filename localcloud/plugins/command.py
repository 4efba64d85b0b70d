"""The `command` plugin: `remote.Command` and `remote.CopyToRemote` over real SSH.

Follows pulumi-command 1.2.1 (defaults, retries, logging), with two differences. The address to dial is asked from the
local cloud, whose hosts cannot listen on ports below 1024. And a host key that stays wrong is explained: the official plugin
says `host key mismatch`. Left out, and refused: proxies, SSH agents, sources fetched from URLs.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import os
import posixpath
import secrets
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import asyncssh

from localcloud.plugins.base import Call, CancelledUpdateError, Plugin, ProviderError, Resource, serve
from localcloud.plugins.schema import Problem
from localcloud.plugins.values import (
    Properties,
    Secret,
    has_secret,
    is_map,
    reveal,
)

# Defaults and back-off of the official plugin (connection.go, and retry.Until of the Pulumi SDK).
_CONNECTION: Mapping[str, object] = {
    "user": "root",
    "port": 22,
    "dialErrorLimit": 10,
    "perDialTimeout": 15,
}
_FIRST_DELAY_SECONDS, _BACKOFF, _LAST_DELAY_SECONDS = 0.1, 1.5, 5.0
_CHUNK_BYTES = 16384
_CANCEL_POLL_SECONDS = 0.2
_OTHER_KEY = (
    "; nothing was sent to it.\n"
    "  The host shows another SSH key than connection.hostKey, which this project derives from edge-inference:hostKeySecret.\n"
    "  -> hostKeySecret was changed: put the old one back, or replace the hosts: "
    "pulumi up --replace '**$aws:ec2/instance:Instance::*'\n"
    "  -> nobody changed it: something else answers at this address; edge-inference:sshPrivateKey opens nothing there"
)
_ACCEPT_ENV = (
    "This only works if your SSH server is configured to accept these variables via AcceptEnv. Alternatively, if a "
    "Bash-like shell runs the command on the remote host, you could prefix the command itself with the variables in "
    "the form 'VAR=value command'"
)
_GIVEN = ("create", "update", "delete", "stdin", "environment")
_NO_KEYS: list[asyncssh.SSHKey] = []
_Result = TypeVar("_Result")


class _DialError(Exception):
    """One failed attempt to connect; another may succeed. `advice` is told when none did."""

    advice = ""


class _OtherKeyError(_DialError):
    """The host shows another key than `hostKey`: as sshd may before cloud-init has given it its own."""

    advice = _OTHER_KEY


def _route(host: str, port: int) -> int:
    """Return the port of this machine where a connection meant for host:port goes.

    The local cloud is asked at every attempt, since a host may have come up since; without one it is the port itself.
    """
    cloud = os.environ.get("AWS_ENDPOINT_URL")
    if not cloud:
        return port
    url = f"{cloud.rstrip('/')}/_localcloud/ports/{host}/{port}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the local cloud's own address
            return int(json.load(answer)["port"])
    except urllib.error.HTTPError as error:
        raise _DialError(_reason(error)) from error
    except urllib.error.URLError as error:
        message = f"the local cloud at {cloud} does not answer: start it with `edge cloud start`"
        raise ProviderError(message) from error


def _reason(error: urllib.error.HTTPError) -> str:
    """Return why the local cloud lets no connection through, from the body of its answer."""
    text = error.read().decode(errors="replace")
    try:
        body: object = json.loads(text)
    except ValueError:
        return text or str(error)
    if is_map(body):
        return str(body.get("error") or body.get("reason") or body.get("message") or body)
    return str(body)


async def _dial(connection: Properties) -> asyncssh.SSHClientConnection:
    """Connect once; raise `_DialError` where trying again makes sense, `ProviderError` where it does not."""
    host, port = str(connection["host"]), int(cast("float", connection["port"]))
    known_hosts = None  # any: the official plugin, too, ignores host keys when none is given
    if connection.get("hostKey"):
        try:
            known_hosts = ([asyncssh.import_public_key(str(connection["hostKey"]))], _NO_KEYS, _NO_KEYS)
        except asyncssh.KeyImportError as error:
            message = f"failed to parse host key: {error}"
            raise ProviderError(message) from error
    limit = cast("float", connection["perDialTimeout"]) or None
    try:
        async with asyncio.timeout(limit):
            local_port = await asyncio.to_thread(_route, host, port)
            return await asyncssh.connect(
                host,
                local_port,
                username=str(connection["user"]),
                client_keys=_client_keys(connection),
                password=str(connection["password"]) if connection.get("password") else None,
                known_hosts=known_hosts,
                agent_path=None,
                config=None,  # the person's own ~/.ssh must play no part
                keepalive_interval=15,
            )
    except asyncssh.HostKeyNotVerifiable as error:
        message = f"Host key is not trusted for host {host}"
        raise _OtherKeyError(message) from error
    except TimeoutError as error:
        message = f"no answer within {limit} s"
        raise _DialError(message) from error
    except (OSError, asyncssh.Error) as error:
        raise _DialError(str(error)) from error


def _client_keys(connection: Properties) -> list[asyncssh.SSHKey] | None:
    if not connection.get("privateKey"):
        return None
    passphrase = connection.get("privateKeyPassword")
    try:
        key = asyncssh.import_private_key(str(connection["privateKey"]), str(passphrase) if passphrase else None)
    except asyncssh.KeyImportError as error:
        message = f"connection.privateKey cannot be used: {error}"
        raise ProviderError(message) from error
    return [key]


@asynccontextmanager
async def _connected(call: Call, inputs: Properties) -> AsyncGenerator[asyncssh.SSHClientConnection]:
    """Connect as often as `dialErrorLimit` allows, and close the connection at the end."""
    given = inputs["connection"]
    connection = dict(_CONNECTION) | (given if is_map(given) else {})
    limit = int(cast("float", connection["dialErrorLimit"]))
    where = f"{connection['host']}:{int(cast('float', connection['port']))}"
    delay, attempt = _FIRST_DELAY_SECONDS, 0
    while True:
        try:
            opened = await _unless_cancelled(call, _dial(connection))
            break
        except _DialError as error:
            attempt += 1
            if -1 < limit < attempt:
                message = f"dial {where}: after {attempt - 1} failed attempts: {error}{error.advice}"
                raise ProviderError(message) from error
            shown = "inf" if limit == -1 else limit
            call.status(f"Dial {attempt}/{shown} failed: retrying ({error})")
        await _unless_cancelled(call, asyncio.sleep(delay))
        delay = min(delay * _BACKOFF, _LAST_DELAY_SECONDS)
    async with opened:
        yield opened


async def _unless_cancelled(call: Call, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Wait for something, but no longer than until the update is cancelled.

    For dialling only, as in the official plugin: it heeds the update's context while it dials, and lets a command that runs end.
    """
    task = asyncio.create_task(work)
    while not task.done():
        if call.cancelled.is_set():
            task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_POLL_SECONDS)
    if task.cancelled():
        message = "the update was cancelled"
        raise CancelledUpdateError(message)
    return task.result()


class _Output:
    """Collects one command's output, and passes whole lines on as they come."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self.log = log
        self.both: list[str] = []

    async def drain(self, stream: asyncssh.SSHReader[str], *, logged: bool) -> str:
        """Read a stream to its end, in chunks: a line of any length, ended or not, must not hold it up."""
        parts: list[str] = []
        line = ""
        while chunk := await stream.read(_CHUNK_BYTES):
            parts.append(chunk)
            self.both.append(chunk)
            if logged:
                *lines, line = (line + chunk).split("\n")
                for each in lines:
                    self.log(each)
        if line:
            self.log(line)
        return "".join(parts)


async def _execute(call: Call, text: str, inputs: Properties, previous: Properties) -> Properties:
    """Run a command on the host; return `stdout` and `stderr`, or raise with all it wrote."""
    environment = _environment(call, inputs, previous)
    output = _Output(call.status)
    logging, stdin = inputs.get("logging"), inputs.get("stdin")
    async with _connected(call, inputs) as connection:
        try:
            process = await connection.create_process(text, env=environment, encoding="utf-8", errors="replace")
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
            message = f"{error}: running {json.dumps(text)}:\n{''.join(output.both)}"
            raise ProviderError(message) from error
    if process.returncode != 0:
        message = f"{_ending(process)}: running {json.dumps(text)}:\n{''.join(output.both)}"
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

    replace_on: ClassVar[frozenset[str]] = frozenset({"triggers"})

    def problems(self, inputs: Properties) -> Iterable[Problem]:
        """Refuse what this plugin cannot do."""
        connection = inputs.get("connection")
        for name in ("proxy", "agentSocketPath"):
            if is_map(connection) and connection.get(name) is not None:
                yield Problem(f"connection.{name}", "is not simulated by the local cloud")

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

    def sealed(self, outputs: Properties, *given: Mapping[str, object]) -> Properties:
        """Make the output secret when what the command was given is: scripts echo what they read.

        The connection, always secret, is not given to the command.
        """
        sealed = super().sealed(outputs, *given)
        if any(has_secret(properties.get(name)) for properties in given for name in _GIVEN):
            sealed |= {name: Secret(reveal(sealed.get(name, ""))) for name in ("stdout", "stderr")}
        return sealed


class CopyToRemote(Remote):
    """`command:remote:CopyToRemote` of assets and archives that are on this machine."""

    def problems(self, inputs: Properties) -> Iterable[Problem]:
        """Refuse sources that would have to be fetched."""
        yield from super().problems(inputs)
        source = inputs.get("source")
        if is_map(source) and "uri" in source:
            yield Problem("source", "is a URL, which the local cloud does not fetch")

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
        async with _connected(call, inputs) as connection, connection.start_sftp_client() as sftp:
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
