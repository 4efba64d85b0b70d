"""The cloud's log: one file and the one before it, of a bounded length; what repeats itself is told once, then counted.

Left out on purpose: levels to choose from, and a file for each part.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.keys import for_owner_alone

if TYPE_CHECKING:
    from collections.abc import Generator
    from io import TextIOWrapper

NAME, EARLIER = "cloud.log", "cloud.log.1"
REFUSED = "localcloud.refused"
"""The logger of what anybody can cause by asking: its lines are counted like errors."""
_LONGEST_BYTES = 16 * 2**20
_QUIET_SECONDS = 60.0
_KINDS = 1000
"""Of so many repeated lines at once the counts are kept."""


@dataclass
class _Repeated:
    """A line that was told at a time, in seconds, and came so many times since."""

    told_at: float
    count: int = 0


@contextmanager
def _locked(handler: logging.Handler) -> Generator[None]:
    handler.acquire()
    try:
        yield
    finally:
        handler.release()


class BoundedLog(RotatingFileHandler):
    """Writes to `cloud.log` in a directory, and moves it to `cloud.log.1` when it is full."""

    def __init__(self, directory: Path, *, longest_bytes: int = _LONGEST_BYTES, takes_output: bool = False) -> None:
        """`takes_output`: what this process prints is written there too."""
        self._takes_output = takes_output
        self._repeated: dict[tuple[str, str], _Repeated] = {}
        super().__init__(directory / NAME, maxBytes=longest_bytes, backupCount=1, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a line, unless it is a repeated one."""
        with _locked(self):
            self._tell_counts(record.created - _QUIET_SECONDS)
            if record.levelno < logging.WARNING and record.name != REFUSED:
                return super().handle(record)
            key = record.name, record.getMessage().partition("\n")[0]
            if key in self._repeated:
                self._repeated[key].count += 1
                return False
            while len(self._repeated) >= _KINDS:
                self._tell_count(next(iter(self._repeated)))
            self._repeated[key] = _Repeated(record.created)
            return super().handle(record)

    def close(self) -> None:
        """Tell what is counted, and close the file."""
        self._tell_counts(float("inf"))
        super().close()

    def _open(self) -> TextIOWrapper:
        stream = open(self.baseFilename, "a", encoding="utf-8", errors=self.errors, opener=for_owner_alone)  # noqa: SIM115 - kept
        if self._takes_output:
            for descriptor in (1, 2):
                os.dup2(stream.fileno(), descriptor)
        if stream.tell() == 0 and Path(self.baseFilename).with_name(EARLIER).exists():
            stream.write(f"what was written before is in {EARLIER}\n")
        return stream

    def _tell_counts(self, before: float) -> None:
        """Tell the counts of lines that were told before a time; the oldest come first."""
        while self._repeated and self._repeated[first := next(iter(self._repeated))].told_at <= before:
            self._tell_count(first)

    def _tell_count(self, key: tuple[str, str]) -> None:
        name, text = key
        if count := self._repeated.pop(key).count:
            record = logging.LogRecord(name, logging.INFO, "", 0, "%s time(s) more: %s", (count, text), None)
            super().handle(record)
