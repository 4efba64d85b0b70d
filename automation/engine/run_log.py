"""One log file for each run: all that the engine said and all that was told, without secrets.

Leaves out levels and rotation by size: a run's log is short, and the newest of an environment are kept.
"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

_KEPT = 50
"""How many logs of an environment are kept."""


class RunLog:
    """A new file ENVIRONMENT-OPERATION-TIME.log in a folder; use it as a context manager. Safe from several threads."""

    def __init__(self, folder: Path, environment: str, operation: str, redact: Callable[[str], str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _forget_old(folder, environment)
        now = datetime.now(UTC)
        self.path = folder / f"{environment}-{operation}-{now:%Y%m%dT%H%M%S}.{now.microsecond:06d}Z.log"
        self._redact = redact
        self._lock = threading.Lock()
        # For its owner alone: it names hosts, addresses and accounts.
        self._file = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock, suppress(OSError):
            self._file.close()

    def write(self, text: str) -> None:
        """Adds lines, each with its time (UTC)."""
        now = f"{datetime.now(UTC):%H:%M:%S.%f}"[:-3]
        lines = self._redact(text).splitlines() or [""]
        # A full disk ends no run: who reads the engine's words here must go on, or the engine waits for ever.
        with self._lock, suppress(OSError, ValueError):
            self._file.writelines(f"{now} {line}\n" for line in lines)
            self._file.flush()


def _forget_old(folder: Path, environment: str) -> None:
    logs = [path for path in folder.glob(f"{environment}-*.log") if path.name.count("-") == environment.count("-") + 2]
    for path in sorted(logs, key=lambda each: each.stat().st_mtime)[: -(_KEPT - 1)]:
        path.unlink(missing_ok=True)
