# ruff: noqa: T201 - it prints for a living
"""The caller's side of the stand-in commands (docker, systemctl, …): asks the local cloud, prints.

Run with `python -S -E`, by itself: imports little, since scripts call it often.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is slow to import
    from typing import Any


def main() -> int:
    """Pass the call on, print what comes back, run what the answer says; returns the exit status."""
    name = sys.argv[1]
    try:
        host, control = os.environ["EDGE_HOST_ID"], os.environ["EDGE_HOST_CONTROL"]
    except KeyError as missing:
        print(f"{name}: this stand-in works on a host of the local cloud only ({missing} is not set)", file=sys.stderr)
        return 125
    connection = socket.socket(socket.AF_UNIX)
    try:
        folder = os.open(control, os.O_PATH)
        connection.connect(f"/proc/self/fd/{folder}/commands")  # the path itself may be too long for a socket
        os.close(folder)
    except OSError as error:
        print(f"{name}: the local cloud does not answer ({error.strerror})", file=sys.stderr)
        return 125
    stream = connection.makefile("rwb")
    call = {"host": host, "arguments": sys.argv[1:], "directory": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109
    stream.write(json.dumps(call).encode() + b"\n")
    stream.flush()
    for line in stream:
        message = json.loads(line)
        if "out" in message:
            sys.stdout.write(message["out"])
            sys.stdout.flush()
        elif "err" in message:
            sys.stderr.write(message["err"])
        elif "run" in message:
            child = start(message)
            stream.write(json.dumps({"process": child}).encode() + b"\n")
            stream.flush()
            stream.write(json.dumps({"status": status(child, connection)}).encode() + b"\n")
            stream.flush()
        elif "exit" in message:
            return message["exit"]
    print(f"{name}: the host went away", file=sys.stderr)
    return 255


def start(message: dict[str, Any]) -> int:
    """Start a container's one-shot command on this machine, in this process group; its process id."""
    child = os.fork()
    if child == 0:
        try:
            os.chdir(message["directory"])
            os.execvpe(message["run"][0], message["run"], message["environment"])  # noqa: S606
        except OSError as error:
            print(f'exec: "{message["run"][0]}": {error.strerror}', file=sys.stderr)
            os._exit(127)
    return child


def status(child: int, connection: socket.socket) -> int:
    """Wait for a process; its exit status as a shell tells it. It is killed as soon as the cloud says so or is gone."""
    ended = os.pidfd_open(child)
    watched = select.poll()
    watched.register(ended, select.POLLIN)
    watched.register(connection, select.POLLIN)
    while ended not in [descriptor for descriptor, _ in watched.poll()]:
        watched.unregister(connection)
        os.kill(child, signal.SIGKILL)
    os.close(ended)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        os._exit(255)
