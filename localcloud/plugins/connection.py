"""How the `command` plugin reaches a host: `connection` with its defaults, dials and their limit, the words of a failure.

Follows pulumi-command 1.2.1 (connection.go) in what it accepts, how it waits and what it says, its lacks included: the reason of
a dial is told only at the end, and `perDialTimeout` covers the TCP connection alone. One difference: the address to dial is asked
from the local cloud, whose hosts cannot listen on ports below 1024. Left out, and refused: proxies.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import cast

import asyncssh

from localcloud.keys import CONTROL_PREFIX
from localcloud.plugins.base import Call, CancelledUpdateError, ProviderError
from localcloud.plugins.values import UNKNOWN, Properties, Secret, is_map, reveal

_DEFAULTS: Mapping[str, object] = {"user": "root", "port": 22, "dialErrorLimit": 10, "perDialTimeout": 15}
_WHOLE_NUMBERS = ("dialErrorLimit", "perDialTimeout")
_SECRETS = ("password", "privateKey", "privateKeyPassword")
# Pauses between dials: retry.Until of the Pulumi SDK.
_FIRST_DELAY_SECONDS, _BACKOFF, _LAST_DELAY_SECONDS = 0.1, 1.5, 5.0
# Go's own: a peer that is gone is noticed, one that is silent is not.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 15, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 9}
_NO_KEYS: list[asyncssh.SSHKey] = []


class _DialError(Exception):
    """One failed attempt to connect, in the words of Go; another may succeed."""


def completed(given: object) -> object:
    """Return a `connection` as Check hands it on: defaults filled in, fractions cut off, secret as a whole and in its secrets.

    What is no object, or not known yet, stays what it is.
    """
    plain = given.value if isinstance(given, Secret) else given
    if not is_map(plain):
        return given
    connection = {**_DEFAULTS, **{key: value for key, value in plain.items() if value is not None}}
    for name in _WHOLE_NUMBERS:
        if isinstance(number := connection[name], float):
            connection[name] = int(number)
    for name in _SECRETS:
        if name in connection and connection[name] != UNKNOWN:
            connection[name] = Secret(reveal(connection[name]))
    return Secret(connection)


@asynccontextmanager
async def connected(call: Call, inputs: Properties) -> AsyncGenerator[asyncssh.SSHClientConnection]:
    """Connect as often as `dialErrorLimit` allows, and close the connection at the end.

    A cancelled update ends the pauses between dials only.
    """
    connection = cast("Properties", reveal(completed(inputs["connection"])))
    _call_agent(connection)
    limit = int(cast("float", connection["dialErrorLimit"]))
    delay, attempt = _FIRST_DELAY_SECONDS, 0
    while True:
        try:
            opened = await _dial(connection)
            break
        except _DialError as error:
            attempt += 1
            if -1 < limit < attempt:
                message = f"after {attempt - 1} failed attempts: {error}"
                raise ProviderError(message) from error
        call.status(f"Dial {attempt}/{'inf' if limit == -1 else limit} failed: retrying")
        if await asyncio.to_thread(call.cancelled.wait, delay):
            message = "context canceled"
            raise CancelledUpdateError(message)
        delay = min(delay * _BACKOFF, _LAST_DELAY_SECONDS)
    async with opened:
        yield opened


async def _dial(connection: Properties) -> asyncssh.SSHClientConnection:
    """Connect once; raise `_DialError` where trying again makes sense, `ProviderError` where it does not."""
    known_hosts = None  # any: the official plugin, too, ignores host keys when none is given
    if connection.get("hostKey"):
        try:
            known_hosts = ([asyncssh.import_public_key(str(connection["hostKey"]))], _NO_KEYS, _NO_KEYS)
        except asyncssh.KeyImportError as error:
            message = f"failed to parse host key: {error}"
            raise ProviderError(message) from error
    keys = _client_keys(connection)
    opened = await asyncio.to_thread(_tcp, connection)
    try:
        return await asyncssh.connect(
            str(connection["host"]),
            sock=opened,
            username=str(connection["user"]),
            client_keys=keys,
            password=str(connection["password"]) if connection.get("password") else None,
            known_hosts=known_hosts,
            agent_path=None if keys else _agent(connection),
            config=None,  # the person's own ~/.ssh must play no part
            login_timeout=0,
        )
    except (OSError, asyncssh.Error) as error:
        message = f"ssh: handshake failed: {_handshake_words(error, connection)}"
        raise _DialError(message) from error


def _tcp(connection: Properties) -> socket.socket:
    """Return a TCP connection to the host; this alone is what `perDialTimeout` limits."""
    host, port = str(connection["host"]), int(cast("float", connection["port"]))
    where = f"{host}:{port}"
    try:
        limit = cast("float", connection["perDialTimeout"]) or None
        opened = socket.create_connection((host, _route(host, port)), timeout=limit)
    except TimeoutError as error:
        message = f"dial tcp {where}: i/o timeout"
        raise _DialError(message) from error
    except OSError as error:
        message = f"dial tcp {where}: connect: {_errno_words(error)}"
        raise _DialError(message) from error
    for option, value in _KEEPALIVE.items():
        opened.setsockopt(socket.IPPROTO_TCP, option, value)
    opened.settimeout(0)
    return opened


def _errno_words(error: OSError) -> str:
    """Say what the system says of an error, as Go does; those of name look-ups are negative."""
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)


def _handshake_words(error: Exception, connection: Properties) -> str:
    """Say why a handshake failed, as Go's SSH package does."""
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return "ssh: host key mismatch"
        case asyncssh.PermissionDenied():
            tried = ["none", *(["publickey"] if connection.get("privateKey") else [])]
            tried += ["password"] if connection.get("password") else []
            return f"ssh: unable to authenticate, attempted methods [{' '.join(tried)}], no supported methods remain"
        case asyncssh.ConnectionLost():
            return "EOF"
        case OSError():
            return f"read tcp: read: {_errno_words(error)}"
        case _:
            return str(error)


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


def _agent(connection: Properties) -> str | None:
    return str(connection.get("agentSocketPath") or os.environ.get("SSH_AUTH_SOCK") or "") or None


def _call_agent(connection: Properties) -> None:
    """Fail where there should be an SSH agent and none listens, also where a private key leaves it nothing to do."""
    path = _agent(connection)
    if path is None:
        return
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.connect(path)
    except OSError as error:
        message = f"dial unix {path}: connect: {_errno_words(error)}"
        raise ProviderError(message) from error


def _route(host: str, port: int) -> int:
    """Return the port of this machine where a connection meant for host:port goes.

    The local cloud is asked at every attempt, since a host may have come up since; without one it is the port itself.
    """
    cloud = os.environ.get("AWS_ENDPOINT_URL")
    if not cloud:
        return port
    url = f"{cloud.rstrip('/')}{CONTROL_PREFIX}ports/{host}/{port}"
    headers = {"Authorization": f"Bearer {os.environ.get('EDGE_CLOUD_TOKEN', '')}"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the local cloud's own address
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(json.load(answer)["port"])
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.FORBIDDEN:
            message = "EDGE_CLOUD_TOKEN is not that of the local cloud's world: use what `edge env local` prints now"
            raise ProviderError(message) from error
        message = f"dial tcp {host}:{port}: {_reason(error)}"
        raise _DialError(message) from error
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
