"""What serve.py and its parts share: where things are on a host, how progress is told, how time passes.

Runs under the host's own Python (3.9 and newer), with its standard library alone. Leaves out what a server is.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

ROOT = os.environ.get("EDGE_HOST_ROOT", "")
"""Empty on a real host; a host of the local cloud has its own root folder there."""
HOME = Path(f"{ROOT}/opt/edge-inference")
RUN = Path(f"{ROOT}/run/edge-inference")
"""Emptied by every boot."""
_CLOCK = float(os.environ.get("EDGE_HOST_CLOCK", "1"))
"""How much faster Route 53's clock goes: 1 on a real host, set by hosts of the local cloud only."""
_BEAT_SECONDS = 10.0
_LONGEST_LINE = 2000
"""pulumi-command's reader stops for ever at a line of 64 KiB."""


class StepError(Exception):
    """The change failed: why, and what to look at or to run."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


def say(text: str) -> None:
    """Tell progress, a line at a time."""
    print(f"serve: {text}"[:_LONGEST_LINE], flush=True)


def run(*command: str) -> tuple[int, str]:
    """Status of a command, and what it prints on both outputs: a log may be any bytes."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode(errors="replace").strip()


def docker(*arguments: str) -> str:
    """What `docker` prints on both outputs; StepError with its words where it fails."""
    status, said = run("docker", *arguments)
    if status != 0:
        raise StepError(f"docker {arguments[0]}: {said[-_LONGEST_LINE:]}", "sudo journalctl -u docker -n 50")
    return said


def try_docker(*arguments: str) -> str:
    """What `docker` prints; nothing where it fails."""
    try:
        return docker(*arguments)
    except StepError:
        return ""


def route53_seconds(seconds: float) -> float:
    """How long on this host's clock a time takes that health checkers and resolvers keep."""
    return seconds / _CLOCK


def pause(seconds: float, what: str) -> None:
    """Let so much of Route 53's time pass; tells every 10 s that it goes on."""
    wait_until(route53_seconds(seconds), what, lambda: False)


def wait_until(seconds: float, what: str, reached: Callable[[], bool], every_seconds: float = 0.5) -> bool:
    """Wait until something is so, for as long at most; whether it came to be. Tells every 10 s what is waited for."""
    began = told = time.monotonic()
    while not reached():
        now = time.monotonic()
        if now - began >= seconds:
            return False
        if now - told >= _BEAT_SECONDS:
            told = now
            say(f"waiting for {what}: {now - began:.0f} s of at most {seconds:.0f} s")
        time.sleep(min(every_seconds, max(0.0, began + seconds - now)))
    return True
