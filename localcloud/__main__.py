# ruff: noqa: T201 - a command
"""`python -m localcloud start|stop|status|logs --directory DIR`: the local cloud without `edge`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from localcloud import client


def main() -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="localcloud", description="A small AWS on this machine.")
    parser.add_argument("command", choices=["start", "stop", "status", "logs", "serve"])
    parser.add_argument("--directory", type=Path, required=True, help="where its files are")
    parser.add_argument("--port", type=int, help="of the API; 4599 or a free one unless given")
    arguments = parser.parse_args()
    directory: Path = arguments.directory
    try:
        return _run(arguments.command, directory, arguments.port)
    except client.CloudError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(command: str, directory: Path, port: int | None) -> int:
    if command == "serve":
        from localcloud import cloud

        return cloud.serve(directory, port or 0)
    if command == "start":
        found = client.start(directory, port=port, say=print)
        print(f"the local cloud {'runs' if found.fresh else 'ran already'}: {found.url}")
        for stack in found.lost_stacks:
            print(f"the world is a new one; stack {stack} of the previous one is gone")
        return 0
    if command == "stop":
        print("stopped" if client.stop(directory) else "no local cloud ran")
        return 0
    if command == "logs":
        sys.stdout.writelines(f"{line}\n" for line in client.log_lines(directory))
        return 0
    found = client.status(directory)
    if not found:
        print("no local cloud runs")
        return 1
    print(json.dumps(found.request("GET", "status"), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
