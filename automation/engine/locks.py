"""One run at a time for each environment on this machine; the engine's own lock, in the state, covers all machines.

It is there from before the first look at the state, and goes with its process, however that ends.
"""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from automation.errors import EnvironmentBusyError


@contextmanager
def only_run(folder: Path, environment: str, operation: str) -> Generator[None]:
    """Holds an environment for a run; EnvironmentBusyError, which names the run that holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{environment}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read().strip() or "it has just begun"
            raise EnvironmentBusyError(f"another run is at work on '{environment}': {holder}\n  -> wait for it") from None
        file.truncate()
        file.write(f"{operation}, process {os.getpid()}, since {datetime.now().astimezone():%H:%M:%S}")
        file.flush()
        yield
        file.seek(0)
        file.truncate()


def is_held(folder: Path, environment: str) -> bool:
    """Whether a run of this machine holds an environment at this moment."""
    try:
        with (folder / f"{environment}.lock").open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
