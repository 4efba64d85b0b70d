"""Tells a person what a run is doing: a line when a resource is done, what remote commands say, a sign of life.

Plain lines, for files and pipes; a terminal has the table of live_table.py.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Self

from automation.commands.waves import Waves
from automation.engine.events import (
    CUT_OFF_SECONDS,
    Diagnostic,
    Event,
    Interrupted,
    LaunchWaits,
    ResourceDone,
    ResourceFailed,
    ResourceStarted,
)

_SILENCE_SECONDS = 4.0
"""After so long without a line, one tells what is being waited for."""
_DONE = {
    "create": "created",
    "update": "updated",
    "delete": "deleted",
    "replace": "replaced",
    "create-replacement": "created anew",
    "delete-replaced": "deleted, to be created anew",
    "discard-replaced": "discarded",
    "forget": "forgotten (the account stays opted in)",
}


class ProgressLines:
    """Plain progress lines from events; use it as a context manager, so that its watch ends.

    Of a plan's steps nothing is told: nothing is done then, and its result says what would be.
    """

    def __init__(self, write: Callable[[str], None], *, is_plan: bool = False) -> None:
        self._write, self._is_plan, self._waves = write, is_plan, Waves()
        self._lock = threading.RLock()
        self._at_work: dict[str, tuple[str, float]] = {}
        self._has_begun = False
        self._begun = self._last = time.monotonic()
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._notice_silence, daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._watch.ident is not None:
            self._watch.join()

    def say(self, text: str) -> None:
        """One line."""
        with self._lock:
            self._last = time.monotonic()
            self._write(text)

    def on_event(self, event: Event) -> None:
        """Takes one event. The first starts the watch: what is prepared before it tells of itself."""
        with self._lock:
            if self._watch.ident is None:
                self._begun = self._last = time.monotonic()
                self._watch.start()
            # What derives from a started resource comes first.
            if isinstance(event, ResourceDone | ResourceFailed):
                self._end(event)
            elif isinstance(event, ResourceStarted):
                self._begin(event)
            elif isinstance(event, Diagnostic):
                self._diagnose(event)
            elif isinstance(event, LaunchWaits | Interrupted):
                for line in notice(event):
                    self.say(f"  {line}")
            if line := self._waves.take(event):
                self.say(f"  {line}")

    def _begin(self, event: ResourceStarted) -> None:
        # The stack itself and the providers begin before the program has judged its config.
        self._has_begun = self._has_begun or "$" in event.resource.urn
        self._at_work[event.resource.urn] = (event.resource.name, time.monotonic())

    def _end(self, event: ResourceDone | ResourceFailed) -> None:
        self._at_work.pop(event.resource.urn, None)
        if not self._is_plan and event.is_real:
            self.say(done_line(event))

    def _diagnose(self, event: Diagnostic) -> None:
        # The errors are told in the end, with what to do.
        if is_shown(event) and event.severity != "error":
            mark = "warning: " if event.severity == "warning" else ""
            for line in event.text.splitlines():
                self.say(f"      {event.resource}: {mark}{line}" if event.resource else f"  {mark}{line}")

    def _notice_silence(self) -> None:
        while not self._over.wait(0.5):
            now = time.monotonic()
            with self._lock:
                if now - self._last >= _SILENCE_SECONDS:
                    self.say(f"  ... {now - self._begun:.0f} s: {self._waited_for(now)}")

    def _waited_for(self, now: float) -> str:
        pending = sorted(name for urn, (name, begun) in self._at_work.items() if now - begun > 1 and "$" in urn)
        if not pending:
            return "the engine is at work" if self._has_begun else "the engine starts; config and AWS are checked"
        more = f" and {len(pending) - 4} more" if len(pending) > 4 else ""  # noqa: PLR2004
        return f"at work on {', '.join(pending[:4])}{more}"


def done_line(event: ResourceDone | ResourceFailed) -> str:
    """What was done with a resource, or failed."""
    word = "failed" if isinstance(event, ResourceFailed) else _DONE.get(event.operation, event.operation)
    return f"  {word:<8} {event.resource.name}  {event.resource.kind}  {event.took_seconds:.1f} s"


def is_shown(event: Diagnostic) -> bool:
    """Whether words are worth a line: the plugin's dials are told by who is waited for."""
    return not event.text.startswith(("Dial ", "Dialing "))


def notice(event: LaunchWaits | Interrupted) -> list[str]:
    """The lines for what a person must know at once."""
    if isinstance(event, LaunchWaits):
        return event.text.splitlines()
    if event.times > 1:
        return [f"stopping at once: what is at work is cut off. After {CUT_OFF_SECONDS:.0f} s, or Ctrl-C, the engine is killed."]
    steps = f"{', '.join(event.at_work[:4])}{' and others' if len(event.at_work) > 4 else ''}"  # noqa: PLR2004
    working = f"finishing {steps}" if event.at_work else "finishing the steps at work"
    return [f"stopping: {working}; no other step begins. Ctrl-C again cuts them off."]


def step_lines(steps: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A line for each replica: what took how long until the first token."""
    if not steps:
        return []
    width = max(map(len, steps))
    lines = [
        f"  {replica:<{width}}  {sum(times.values()):7.1f} s  = "
        + " + ".join(f"{what} {seconds:.1f}" for what, seconds in times.items())
        for replica, times in steps.items()
    ]
    return ["From a running instance to its first token:", *lines]
