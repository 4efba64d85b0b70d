"""Holds one AWS call, so that a test can kill a process exactly between two of them.

One hold at a time, like the faults. Leaves out whose call it is: the n-th that comes is held.
"""

from __future__ import annotations

import threading
from typing import Literal

At = Literal["arrival", "answer"]

_WAIT_SECONDS = 2.0
"""How long a GET waits for the call."""
_MOST_SECONDS = 300.0
"""A hold that nobody takes away ends by itself."""


class Hold:
    """Waits for the n-th call, and holds it: at its arrival, or when it is done and only its answer is missing."""

    def __init__(self, call: int, at: At) -> None:
        self.calls = 0
        self.reached, self.released = threading.Event(), threading.Event()
        self.is_dropped = False
        self._call, self._at = call, at

    def counts(self) -> bool:
        """Counts a call; whether it is the one."""
        self.calls += 1
        return self.calls == self._call

    def passes(self, at: At) -> bool:
        """Holds the call where it is to be held there; False where it is to be forgotten, as if it had never come."""
        if at == self._at:
            self.reached.set()
            self.released.wait(_MOST_SECONDS)
        return not self.is_dropped


_lock = threading.Lock()
_hold: Hold | None = None


def taken() -> Hold | None:
    """Counts a call; the hold where it is the one to hold."""
    with _lock:
        return _hold if _hold and _hold.counts() else None


def control(method: str, body: dict[str, object]) -> dict[str, object]:
    """PUT {"call": n, "at": "arrival" or "answer"} holds the n-th call from now; GET waits for it a while; DELETE lets it go.

    DELETE {"drop": true} forgets a call that is held at its arrival: its caller was killed. ValueError for what is none of these.
    """
    global _hold  # noqa: PLW0603 - one for each process, as moto's state is
    call, at = body.get("call"), body.get("at")
    with _lock:
        hold = _hold
        if method == "PUT":
            if not isinstance(call, int) or call < 1 or at not in {"arrival", "answer"}:
                raise ValueError('a hold needs "call", from 1 on, and "at": "arrival" or "answer"')
            _hold = Hold(call, "arrival" if at == "arrival" else "answer")
        elif method == "DELETE":
            _hold = None
    if hold and method == "GET":
        hold.reached.wait(_WAIT_SECONDS)
    elif hold:
        hold.is_dropped = body.get("drop") is True
        hold.released.set()
    return {"calls": hold.calls if hold else 0, "reached": hold is not None and hold.reached.is_set()}
