"""Tells a person what an engine run is doing: a line when a resource is done, what remote commands say, a sign of life.

Plain lines, so that a file and a terminal read the same. Leaves out the live table per site, which has its own issue.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pulumi.automation.events import EngineEvent, StepEventMetadata

_SILENCE_SECONDS = 4.0
"""After so long without a line, one tells what is being waited for."""
_DONE = {
    "create": "created",
    "update": "updated",
    "delete": "deleted",
    "read": "read",
    "replace": "replaced",
    "create-replacement": "created anew",
    "delete-replaced": "deleted, to be created anew",
    "discard-replaced": "discarded",
}

_STEPS = {"scripts": "boot", "prepare": "docker", "image": "image", "weights": "model", "ready": "ready"}
"""What the steps of a host are called in a summary, in order; `server` is part of `ready`."""
_LAST_STEP = "ready"


class ErrorCollector:
    """Keeps the errors of a run, as the engine words them, each once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.changed = False
        """Whether any resource was changed before the run ended."""

    def then(self, further: "Callable[[EngineEvent], None] | None") -> "Callable[[EngineEvent], None]":
        """An event callback that collects, then hands on."""

        def on_event(event: "EngineEvent") -> None:
            diagnostic = event.diagnostic_event
            if diagnostic and diagnostic.severity == "error":
                self._add(diagnostic.urn, diagnostic.message.strip())
            if event.res_outputs_event and _is_shown(event.res_outputs_event.metadata):
                self.changed = True
            if further:
                further(event)

        return on_event

    def _add(self, urn: str | None, message: str) -> None:
        # The engine adds these to every failure; they say nothing.
        if not message or message in {"update failed", "preview failed", "destroy failed", "refresh failed"}:
            return
        name = _name(urn) if urn else ""
        text = message if not name or "::pulumi:pulumi:Stack::" in (urn or "") else f"{name}: {message}"
        if text not in self.texts:
            self.texts.append(text)


class StepTimes:
    """Measures how long each host took from its launch to its first token, step by step."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], float] = {}
        self._ended: dict[tuple[str, str], float] = {}

    def then(self, further: "Callable[[EngineEvent], None] | None") -> "Callable[[EngineEvent], None]":
        """An event callback that measures, then hands on."""

        def on_event(event: "EngineEvent") -> None:
            if event.resource_pre_event:
                self._note(event.resource_pre_event.metadata, self._begun)
            elif event.res_outputs_event:
                self._note(event.res_outputs_event.metadata, self._ended)
            if further:
                further(event)

        return on_event

    def _note(self, step: "StepEventMetadata", times: dict[tuple[str, str], float]) -> None:
        replica, _, what = _name(step.urn).rpartition("-")
        is_of_host = step.type in {"aws:ec2/instance:Instance", "command:remote:Command"}
        if is_of_host and _is_shown(step) and not step.op.value.startswith("delete"):
            times[replica, what] = time.monotonic()

    def by_replica(self) -> dict[str, dict[str, float]]:
        """Seconds of each step that ran, by replica, of the replicas whose last step is done.

        A step begins where the one before it has ended: `boot` at the launch, and it ends when the host takes commands.
        """
        replicas = sorted(replica for replica, what in self._ended if what == _LAST_STEP)
        return {replica: dict(self._of_replica(replica)) for replica in replicas}

    def _of_replica(self, replica: str) -> Iterator[tuple[str, float]]:
        before = self._ended.get((replica, "host"))
        for what, shown in _STEPS.items():
            ended = self._ended.get((replica, what))
            if ended is None:
                continue
            # The server is started and then waited for: two steps, one to a person.
            first = "server" if what == _LAST_STEP and (replica, "server") in self._begun else what
            began = before if before is not None else self._begun.get((replica, first), ended)
            yield shown, round(ended - began, 1)
            before = ended


def step_lines(steps: "Mapping[str, Mapping[str, float]]") -> list[str]:
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


class ProgressLines:
    """Turns a run's events into lines; a context manager, since a thread of its own notices silence."""

    def __init__(self, write: Callable[[str], None], *, is_preview: bool = False) -> None:
        self._write, self._is_preview = write, is_preview
        self._lock = threading.Lock()
        self._started: dict[str, float] = {}
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

    def on_event(self, event: "EngineEvent") -> None:
        """Takes one event of the engine. The first starts the watch: what is prepared before it tells of itself."""
        if self._watch.ident is None:
            self._begun = self._last = time.monotonic()
            self._watch.start()
        if event.resource_pre_event:
            self._begin(event.resource_pre_event.metadata)
        elif event.res_outputs_event:
            self._end(event.res_outputs_event.metadata)
        elif event.res_op_failed_event:
            self._end(event.res_op_failed_event.metadata, failed=True)
        elif event.diagnostic_event:
            diagnostic = event.diagnostic_event
            text = diagnostic.message.rstrip()
            # What a remote command prints is ephemeral too; the plugin's dials are told by who is waited for.
            if not text.startswith(("Dial ", "Dialing ")) and diagnostic.severity.startswith(("info", "warning")):
                mark = "warning: " if diagnostic.severity == "warning" else ""
                for line in text.splitlines():
                    self.say(f"      {_name(diagnostic.urn)}: {mark}{line}" if diagnostic.urn else f"  {mark}{line}")

    def _begin(self, step: "StepEventMetadata") -> None:
        # The stack itself and the providers begin before the program has judged its config.
        self._has_begun = self._has_begun or "$" in step.urn
        self._started[step.urn] = time.monotonic()
        if self._is_preview and _is_shown(step):
            self.say(f"  {step.op.value:<8} {_name(step.urn)}  {_kind(step.type)}{_changed(step)}")

    def _end(self, step: "StepEventMetadata", *, failed: bool = False) -> None:
        seconds = time.monotonic() - self._started.pop(step.urn, time.monotonic())
        if not self._is_preview and _is_shown(step):
            self.say(f"  {'failed' if failed else _DONE[step.op]:<8} {_name(step.urn)}  {_kind(step.type)}  {seconds:.1f} s")

    def _notice_silence(self) -> None:
        while not self._over.wait(0.5):
            now = time.monotonic()
            if now - self._last < _SILENCE_SECONDS:
                continue
            pending = sorted(_name(urn) for urn, begun in list(self._started.items()) if now - begun > 1 and "$" in urn)
            idle = "the engine is at work" if self._has_begun else "the engine starts; config and AWS are checked"
            what = f"at work on {', '.join(pending[:4])}" if pending else idle
            more = f" and {len(pending) - 4} more" if len(pending) > 4 else ""  # noqa: PLR2004
            self.say(f"  ... {now - self._begun:.0f} s: {what}{more}")


def _is_shown(step: "StepEventMetadata") -> bool:
    """Changes of real resources; components and providers only stand for others."""
    state = step.new or step.old
    return step.op in _DONE and state is not None and bool(state.custom) and not step.type.startswith("pulumi:providers:")


def _name(urn: str | None) -> str:
    return (urn or "").rpartition("::")[2]


def _kind(resource_type: str) -> str:
    return resource_type.rpartition(":")[2]


def _changed(step: "StepEventMetadata") -> str:
    """Which inputs differ, where a resource exists already."""
    return f"  ({', '.join(step.diffs)})" if step.diffs else ""
