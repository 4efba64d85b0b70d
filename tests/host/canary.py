"""How disturbed this machine is: how late a thread wakes that sleeps for a millisecond, in a process of its own.

Leaves out why: other load, a hypervisor that takes the processor away (steal), or a clock that is coarse.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass

_SLEEP_SECONDS = 0.001


@dataclass
class Disturbance:
    """Filled in when the watching ends."""

    late_ms: float = 0.0
    """What nine of ten wakings stayed within."""


@contextlib.contextmanager
def watched() -> Generator[Disturbance]:
    """Measure the disturbance while the body runs, at the priority of the calling thread."""
    found = Disturbance()
    with subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as canary:
        try:
            yield found
            found.late_ms = float(canary.communicate()[0])
        finally:
            canary.kill()


def main() -> None:
    """Sleep again and again until the standard input closes, then write the ninth decile of the lateness in milliseconds."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    late: list[float] = []
    while not ended.is_set() or not late:
        begin = time.perf_counter()
        time.sleep(_SLEEP_SECONDS)
        late.append(time.perf_counter() - begin - _SLEEP_SECONDS)
    sys.stdout.write(f"{sorted(late)[len(late) * 9 // 10] * 1000}\n")


if __name__ == "__main__":
    main()
