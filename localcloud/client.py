"""Start, stop and ask a local cloud from another process.

Left out on purpose: several clouds in one directory.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.keys import CONTROL_PREFIX, Keys, for_owner_alone, load
from localcloud.log import EARLIER, NAME

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_PORT = 4599
ALREADY_RUNNING = 4
"""Exit status of a daemon that found another one in its directory."""
_PORTS = 2**16
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_SIGN_OF_LIFE_SECONDS = 3.0


class CloudError(Exception):
    """The local cloud cannot do what was asked; the text says why and what to do, in a line or two."""


@dataclass(frozen=True)
class CloudStatus:
    """A running local cloud."""

    directory: Path
    world: str
    pid: int
    port: int
    url: str
    started: str
    keys: Keys = field(repr=False)
    fresh: bool = False
    """Whether this call started it."""
    lost_stacks: tuple[str, ...] = ()
    """Stacks that the previous world held when this call started a new one."""

    def request(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
        """Call the control interface, e.g. ("GET", "status"); raises CloudError where it refuses."""
        return _request(self.url, self.keys.control_token, method, path, body)

    @property
    def variables(self) -> dict[str, str]:
        """The variables with which AWS's tools, the plugins and Hugging Face's tools use this cloud; two of them are secret."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.keys.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.keys.secret_access_key,
            "AWS_SESSION_TOKEN": "",  # one of the person's own must not come along
            "EDGE_CLOUD_TOKEN": self.keys.control_token,
            "HF_ENDPOINT": self.keys.hub_endpoint(self.url),
        }

    @property
    def boto3_options(self) -> dict[str, str]:
        """What boto3 takes to make a client of this cloud."""
        return {
            "endpoint_url": self.url,
            "aws_access_key_id": self.keys.access_key_id,
            "aws_secret_access_key": self.keys.secret_access_key,
        }


def status(directory: Path) -> CloudStatus | None:
    """The cloud that runs in a directory; None where none does, whatever was left behind there."""
    try:
        described = json.loads((directory / "cloud.json").read_text())
        found = CloudStatus(
            directory,
            str(described["world"]),
            int(described["pid"]),
            int(described["port"]),
            str(described["url"]),
            str(described["started"]),
            load(directory),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not _is_cloud(found.pid, directory):
        return None
    try:
        answer = found.request("GET", "status")
    except CloudError:
        return None
    return found if answer.get("world") == found.world else None


def start(directory: Path, *, port: int | None = None, say: Callable[[str], None] = lambda _text: None) -> CloudStatus:
    """Start a cloud in a directory and wait until it is ready; one that runs already is returned.

    `port` None: 4599, or any free one where that is taken. Raises CloudError.
    """
    directory = directory.resolve()
    running = status(directory)
    if running:
        if port not in {None, running.port}:
            raise CloudError(f"the local cloud runs on port {running.port} already; stop it first to have it on port {port}")
        return running
    lost = _stacks(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        log = open(directory / NAME, "ab", opener=for_owner_alone)  # noqa: SIM115 - closed below
    except OSError as error:
        raise CloudError(f"{directory} cannot be used: {error.strerror}") from error
    with log:
        begin = log.tell()
        daemon = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "localcloud", "serve", "--directory", str(directory), "--port", str(_port(port))],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    ready = _wait_until_ready(directory, daemon, begin, say)
    return replace(ready, fresh=True, lost_stacks=lost) if ready.pid == daemon.pid else ready


def log_lines(directory: Path) -> list[str]:
    """What the clouds of a directory have logged, as far as it is kept; raises CloudError where there is nothing."""
    found = [path for name in (EARLIER, NAME) if (path := directory / name).exists()]
    if not found:
        raise CloudError(f"there is no {directory / NAME}: no local cloud has run there")
    return [line for path in found for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]


def stop(directory: Path) -> bool:
    """Stop the cloud of a directory, waiting until it is gone; False where none ran."""
    directory = directory.resolve()
    try:
        pid = int(json.loads((directory / "cloud.json").read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if not _is_cloud(pid, directory):
        (directory / "cloud.json").unlink(missing_ok=True)
        return False
    _end(pid)
    (directory / "cloud.json").unlink(missing_ok=True)
    return True


def _request(url: str, token: str, method: str, path: str, body: dict[str, object] | None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{url}{CONTROL_PREFIX}{path}", data, headers, method=method)  # noqa: S310 - http of our own
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        try:
            reason = json.load(error)["error"]
        except (ValueError, KeyError, TypeError):
            reason = f"it answers {error.code}"
        raise CloudError(f"the local cloud refuses {method} {path}: {reason}") from error
    except (OSError, ValueError) as error:
        raise CloudError(f"the local cloud at {url} does not answer: {error}") from error


def _is_cloud(pid: int, directory: Path) -> bool:
    """Whether a process is the cloud of a directory: process ids are used again."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"localcloud" in words and b"serve" in words and os.fsencode(directory.resolve()) in words


def _port(port: int | None) -> int:
    """The port to try: the one that was asked for, else the default one, else any."""
    wanted = DEFAULT_PORT if port is None else port
    if wanted not in range(_PORTS):
        raise CloudError(f"port {port} cannot be used: ports go from 0 (any free one) to {_PORTS - 1}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            if port is None:
                return 0
            hint = "stop that program, or leave --port out to have a free one"
            raise CloudError(f"port {port} cannot be used ({error.strerror}): {hint}") from error
    return wanted


def _wait_until_ready(directory: Path, daemon: subprocess.Popen[bytes], begin: int, say: Callable[[str], None]) -> CloudStatus:
    started = told = time.monotonic()
    while True:
        ended = daemon.poll()
        if ended not in {None, ALREADY_RUNNING}:
            raise CloudError(f"the local cloud did not start: {_last_line(directory, begin)}\nIts log: {directory / NAME}")
        found = status(directory)
        if found:
            return found
        now = time.monotonic()
        if now - started > _START_SECONDS:
            if ended is None:
                daemon.kill()
                daemon.wait()
            raise CloudError(f"the local cloud is not ready after {_START_SECONDS:.0f} s. Its log: {directory / NAME}")
        if now - told > _SIGN_OF_LIFE_SECONDS:
            told = now
            say(f"starting the local cloud: {now - started:.0f} s")
        time.sleep(0.05)


def _last_line(directory: Path, begin: int) -> str:
    with (directory / NAME).open("rb") as log:
        log.seek(begin if begin <= log.seek(0, os.SEEK_END) else 0)  # it may have been begun anew
        lines = log.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _end(pid: int) -> None:
    """End a process and wait until it is gone: it is asked first, and killed when it does not listen."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = select.poll()
    ended.register(process, select.POLLIN)
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(process, number)
            if ended.poll(_STOP_SECONDS * 1000):
                break
    except ProcessLookupError:
        pass
    except PermissionError as error:
        message = f"the local cloud (process {pid}) belongs to another user; stop it as that user"
        raise CloudError(message) from error
    finally:
        os.close(process)


def _stacks(directory: Path) -> tuple[str, ...]:
    """Names of the stacks that the world on disk still describes."""
    found: list[str] = []
    for path in sorted((directory / "world" / "state" / ".pulumi" / "stacks").glob("*/*.json")):
        try:
            deployment = json.loads(path.read_text())["checkpoint"]["latest"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if deployment and deployment.get("resources"):
            found.append(path.stem)
    return tuple(found)
