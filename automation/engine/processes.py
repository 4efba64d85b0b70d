"""The processes of a run: found by a mark in their environment, which all that the engine starts inherits, and ended with it.

Only what carries the mark is ever touched, so nobody else's engine, plugin or program. By Linux's /proc; elsewhere nothing is
found, and what a killed engine leaves ends by itself or stays.
"""

import os
import select
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "EDGE_RUN"
"""The variable: the folder that locks the environment, the environment's name, and a number of the run, with spaces between."""
_PROC = Path("/proc")
_END_SECONDS = 5.0


@dataclass(frozen=True)
class Process:
    """A process that carries a mark."""

    pid: int
    parent: int
    words: tuple[str, ...]
    """Its command line."""

    @property
    def is_engine(self) -> bool:
        """Whether it is the engine itself, and none of what that started."""
        return Path(self.words[0]).name == "pulumi" if self.words else False


def environment_mark(folder: Path, environment: str) -> str:
    """What the marks of all runs of an environment begin with."""
    return f"{folder.resolve()} {environment} "


def marked(prefix: str) -> list[Process]:
    """The processes whose mark begins so, and which this user may look at; none that has ended."""
    return [found for directory in _PROC.glob("[0-9]*") if (found := _read(directory, prefix))]


def without_engine(processes: Iterable[Process]) -> list[Process]:
    """Those that no engine among them has started, directly or not: what started them has ended."""
    by_pid = {each.pid: each for each in processes}

    def is_attached(process: Process) -> bool:
        while not process.is_engine and process.parent in by_pid:
            process = by_pid[process.parent]
        return process.is_engine

    return [each for each in by_pid.values() if not is_attached(each)]


def end(process: Process, *signals: signal.Signals, seconds: float = _END_SECONDS) -> bool:
    """Sends one signal after the other until the process has ended, and waits so long for each; whether it has."""
    try:
        # Holds this very process: its number may soon be another's.
        descriptor = os.pidfd_open(process.pid)
    except (ProcessLookupError, AttributeError):
        return True
    try:
        if not _read(_PROC / str(process.pid), ""):
            return True
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        for number in signals:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            if ended.poll(seconds * 1000):
                return True
        return False
    finally:
        os.close(descriptor)


def end_all(prefix: str) -> None:
    """Ends everything that carries such a mark, at once."""
    for process in marked(prefix):
        end(process, signal.SIGKILL)


def end_run(prefix: str) -> list[Process]:
    """Ends what a run has left whose front end was killed, and says what: its engine is asked twice before it is killed."""
    left = marked(prefix)
    for process in left:
        if process.is_engine:
            end(process, signal.SIGINT, signal.SIGINT, signal.SIGKILL)
    end_all(prefix)
    return left


def _read(directory: Path, prefix: str) -> Process | None:
    """The process of a folder of /proc where its mark begins so; None also where it is gone, or another user's."""
    try:
        entries = (directory / "environ").read_bytes().split(b"\0")
        if not any(entry.startswith(f"{MARK}={prefix}".encode()) for entry in entries):
            return None
        # The name before them, in parentheses, may hold anything.
        state, parent = (directory / "stat").read_text().rpartition(")")[2].split()[:2]
        words = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except (OSError, ValueError):
        return None
    return None if state == "Z" else Process(int(directory.name), int(parent), tuple(words))
