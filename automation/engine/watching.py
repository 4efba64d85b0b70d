"""Follows one run of the engine: turns its events into ours, redacted, and keeps what the run's result is made of.

Decides nothing about how a person is told; progress.py and live_table.py do.
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from automation.engine.causes import without_command
from automation.engine.events import (
    Diagnostic,
    Event,
    Interrupted,
    LaunchWaits,
    OnEvent,
    Resource,
    ResourceDone,
    ResourceFailed,
    ResourceStarted,
    RolloutOrder,
    SiteProgress,
    Stage,
    StageState,
)
from automation.engine.results import ResourceChange
from automation.engine.site_progress import SiteStages, zone_of
from automation.engine.tracebacks import InterruptTracebacks

if TYPE_CHECKING:
    from pulumi.automation.events import DiagnosticEvent, EngineEvent, StepEventMetadata

LAUNCH_PATIENCE_SECONDS = 60.0
"""A launch that takes longer mostly waits for capacity."""
LAUNCH_REMINDER_SECONDS = 300.0
SILENCE_SECONDS = 120.0
"""A remote command that goes well says something every 10 s, and so do its dials: a longer silence is told."""
LONGEST_SILENCE_SECONDS = 600.0
"""Where nothing but such silence is left, the run is ended: the command plugin would wait for ever."""
_TICK_SECONDS = 1.0
_PROGRAMS_ERRORS = "info#err"
"""The severity of what a program writes to standard error."""
_UNCHANGING = {"same", "refresh", "read"}
_STACK = "pulumi:pulumi:Stack"
_INSTANCE, _COMMAND = "aws:ec2/instance:Instance", "command:remote:Command"
_OPT_IN = "aws:ec2/availabilityZoneGroup:AvailabilityZoneGroup"
_SAYS_NOTHING = {
    f"{operation} {end}"
    for operation in ("update", "preview", "destroy", "refresh")
    for end in ("failed", "canceled", "cancelled")
}
"""The engine adds these to every failure."""
_GAVE_UP = {"context canceled", "the update was cancelled"}
"""What plugins say of a step that only waited when the run was asked to stop; the first is the official command plugin's."""
_OF_USERS = re.compile(r"serve: (not protected: .+|\d+ requests outlast .+)")
"""What a host says of its users while its server changes (components/remote/serve.py)."""
_REFUSED_LAUNCH = re.compile(r"\b(InsufficientInstanceCapacity|RequestLimitExceeded|VcpuLimitExceeded)\b")


class RunWatch:
    """What a run has told so far. Use it as a context manager: a thread watches for launches that wait.

    `on_event` is called with one event at a time; what it raises ends nothing, and is raised again by `close`.
    """

    def __init__(
        self,
        on_event: OnEvent | None = None,
        *,
        replicas: Mapping[str, int] | None = None,
        redact: Callable[[str], str] = lambda text: text,
        arguments: str = "ENV",
        interrupt: Callable[[], None] = lambda: None,
    ) -> None:
        self.errors: list[str] = []
        """The errors as the engine words them, each once, with the name of the resource."""
        self.warnings: list[str] = []
        self.counts: dict[str, int] = {}
        """How many resources by operation; of a run in parts, what all of them did."""
        self._counted: dict[str, int] = {}
        self._counted_before: dict[str, int] = {}
        """As the engine counts them: all parts so far, and those before this one."""
        self.resources: list[ResourceChange] = []
        self.instances: dict[str, tuple[str, str]] = {}
        """By URN, zone and type of every instance that is there after the run, or would be after a plan."""
        self.outputs: dict[str, Any] | None = None
        """The stack's outputs, once they are told."""
        self.step_times = StepTimes()
        self._broken_off: list[str] = []
        """Names of the resources whose step failed after the run was asked to stop."""
        self.reasons: dict[str, list[str]] = {}
        """By zone, why it failed."""
        self._stages = SiteStages(replicas or {})
        self._on_event, self._redact, self._arguments, self._interrupt = on_event, redact, arguments, interrupt
        self._begun_at = time.monotonic()
        self._at_work: dict[str, tuple[Resource, str, float]] = {}
        self._launches: dict[str, float] = {}
        """By URN of an instance that is being made, when its waiting is told next, in seconds since it was begun."""
        self._launch_reasons: dict[str, str] = {}
        self._heard: dict[str, float] = {}
        """By URN of a remote command at work, when it was last heard of."""
        self._told_silent: set[str] = set()
        self._tracebacks = InterruptTracebacks()
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick_until_over, daemon=True)
        self._broken: BaseException | None = None
        self._is_stopping = False

    def __enter__(self) -> Self:
        self._ticker.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._over.set()
        self._ticker.join()
        for line in self._tracebacks.rest():
            self._diagnose("info", line, None)
        if kind is None and self._broken:
            raise self._broken

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._begun_at

    @property
    def changed(self) -> bool:
        """Whether any resource has been changed."""
        return bool(self.resources)

    @property
    def at_work(self) -> tuple[str, ...]:
        """Names of the real resources that a step is at work on."""
        with self._lock:
            return tuple(resource.name for resource, operation, _ in self._at_work.values() if _is_real(resource, operation))

    @property
    def broken_off(self) -> list[str]:
        """What failed after the run was asked to stop: each with its reason, but for what only waited and gave up."""
        return [f"{name}, which {self._ending(name)}" for name in self._broken_off]

    def _ending(self, name: str) -> str:
        reasons = [told.removeprefix(f"{name}: ").splitlines()[0] for told in self.errors if told.startswith(f"{name}: ")]
        failed = [reason for reason in reasons if reason not in _GAVE_UP]
        return f"failed: {failed[0]}" if failed else "broke off"

    def failed_stages(self) -> dict[str, Stage]:
        """By zone, the first stage that failed."""
        return self._stages.failed_stages()

    def on_engine_event(self, event: "EngineEvent") -> None:
        """Takes one event of the engine."""
        with self._lock:
            if event.resource_pre_event:
                self._begin(event.resource_pre_event.metadata)
            elif event.res_outputs_event:
                self._end(event.res_outputs_event.metadata)
            elif event.res_op_failed_event:
                self._end(event.res_op_failed_event.metadata, failed=True)
            elif event.diagnostic_event:
                self._hear(event.diagnostic_event)
            elif event.summary_event:
                counts = event.summary_event.resource_changes or {}
                told = {str(getattr(each, "value", each)): count for each, count in counts.items()}
                self._counted = dict(Counter(told) + Counter(self._counted_before))
                self.counts = _with_forgotten(self._counted, self.resources)

    def next_part(self) -> None:
        """Another operation of the engine follows in the same run."""
        with self._lock:
            self._counted_before = {each: count for each, count in self._counted.items() if each not in _UNCHANGING}

    def interrupted(self, times: int) -> None:
        """The run was asked to stop."""
        with self._lock:
            self._is_stopping = True
            self._emit(Interrupted(seconds=self.seconds, times=times, at_work=self.at_work))

    def warn(self, text: str) -> None:
        """Tells of something that is no error."""
        with self._lock:
            self._diagnose("warning", text, None)

    def tell_what_stands(self, deployment: Mapping[str, Any]) -> None:
        """Tells which stages of sites an earlier run has made, by the exported deployment from before this one."""
        resources = cast("list[dict[str, Any]]", deployment.get("resources") or [])
        self._progress(self._stages.stand([_name(str(each["urn"])) for each in resources]))

    def tell_order(self, waves: Sequence[Sequence[str]], replicas: int) -> None:
        """Tells in which order replicas may change."""
        with self._lock:
            order = tuple(tuple(wave) for wave in waves)
            self._emit(RolloutOrder(seconds=self.seconds, waves=order, replicas=replicas))

    def tick(self) -> None:
        """Tells of launches that wait and commands that say nothing; called about every second."""
        with self._lock:
            self._look_for_silence()
            for urn, tell_after in list(self._launches.items()):
                resource, _, begun = self._at_work[urn]
                waited = time.monotonic() - begun
                if waited >= tell_after:
                    self._launches[urn] = waited + LAUNCH_REMINDER_SECONDS
                    self._emit(self._launch_waits(resource, waited))

    def _begin(self, step: "StepEventMetadata") -> None:
        resource, operation = _resource(step), _operation(step)
        self._at_work[step.urn] = (resource, operation, time.monotonic())
        if step.type == _COMMAND and _is_real(resource, operation):
            self._heard[step.urn] = time.monotonic()
        if step.type == _INSTANCE and operation in {"create", "create-replacement"}:
            self._launches[step.urn] = LAUNCH_PATIENCE_SECONDS
        if step.type == _INSTANCE and step.new and step.new.inputs and not operation.startswith("delete"):
            self.instances[step.urn] = (zone_of(resource.name) or "", str(step.new.inputs.get("instanceType")))
        self.step_times.begin(resource, operation)
        is_real = _is_real(resource, operation) and _is_custom(step)
        self._emit(
            ResourceStarted(seconds=self.seconds, resource=resource, operation=operation, differs=_differs(step), is_real=is_real)
        )
        if is_real and not _is_removal(operation):
            self._progress(self._stages.begin(resource.name))

    def _end(self, step: "StepEventMetadata", *, failed: bool = False) -> None:
        resource, operation = _resource(step), _operation(step)
        _, _, begun = self._at_work.pop(step.urn, (resource, operation, time.monotonic()))
        self._launches.pop(step.urn, None)
        self._heard.pop(step.urn, None)
        is_real = _is_real(resource, operation) and _is_custom(step)
        if step.type == _STACK and step.new and step.new.outputs:
            self.outputs = dict(step.new.outputs)
        if is_real and not failed:
            change = ResourceChange(resource.name, resource.kind, operation, _differs(step), step.urn, values=self._values(step))
            self.resources.append(change)
        if not failed:
            self.step_times.end(resource, operation)
        elif self._is_stopping:
            self._broken_off.append(resource.name)
        made = ResourceFailed if failed else ResourceDone
        self._emit(
            made(
                seconds=self.seconds,
                resource=resource,
                operation=operation,
                differs=_differs(step),
                is_real=is_real,
                took_seconds=round(time.monotonic() - begun, 3),
            )
        )
        if not _is_removal(operation):
            self._progress(self._stages.end(resource.name, changed=is_real, failed=failed))

    def _hear(self, found: "DiagnosticEvent") -> None:
        if found.urn in self._heard:
            self._heard[found.urn] = time.monotonic()
        text = self._told_of_users(self._redact(found.message.rstrip()), found.urn)
        is_programs = found.severity == _PROGRAMS_ERRORS and not found.urn
        for each in self._tracebacks.passed(text) if is_programs else [text]:
            self._diagnose(found.severity, each, found.urn)

    def _told_of_users(self, text: str, urn: str | None) -> str:
        """Warns, once, of what a host says of its users; what else it says."""
        lines = text.splitlines()
        of_users = {line: found[1] for line in lines if urn and (found := _OF_USERS.fullmatch(line))}
        for words in of_users.values():
            warning = f"{_name(urn or '').removesuffix('-ready')}: {words}"
            if warning not in self.warnings:
                self._diagnose("warning", warning, None)
        return "\n".join(line for line in lines if line not in of_users)

    def _look_for_silence(self) -> None:
        """After the first Ctrl-C the official plugin passes no lines on: then silence means nothing."""
        if self._is_stopping:
            return
        now = time.monotonic()
        for urn, heard in self._heard.items():
            if now - heard >= SILENCE_SECONDS and urn not in self._told_silent:
                self._told_silent.add(urn)
                self._diagnose("warning", _silence(now - heard), urn)
        at_work = [urn for urn, (resource, operation, _) in self._at_work.items() if _is_real(resource, operation)]
        if at_work and all(now - self._heard.get(urn, now) >= LONGEST_SILENCE_SECONDS for urn in at_work):
            text = f"nothing was heard of {', '.join(map(_name, at_work))} for {LONGEST_SILENCE_SECONDS:.0f} s: the run is ended"
            self._diagnose("warning", text, None)
            # Once lets the engine wait for them, and that is for ever.
            self._interrupt()
            self._interrupt()

    def _diagnose(self, severity: str, text: str, urn: str | None) -> None:
        name = _name(urn or "")
        if not text.strip() or text.strip() in _SAYS_NOTHING or severity == "debug":
            return
        if urn in self._launches and (refused := _REFUSED_LAUNCH.search(text)):
            self._launch_reasons[name] = refused[1]
        known = _severity(severity)
        text = without_command(text) if known == "error" else text
        about = name if urn and f"::{_STACK}::" not in urn else None
        if known == "error":
            self._keep_error(about, text.strip())
        elif known == "warning" and text not in self.warnings:
            self.warnings.append(text)
        self._emit(Diagnostic(seconds=self.seconds, severity=known, text=text, resource=about))

    def _keep_error(self, about: str | None, text: str) -> None:
        told = f"{about}: {text}" if about else text
        if told in self.errors:
            return
        self.errors.append(told)
        if about and (zone := zone_of(about)):
            self.reasons.setdefault(zone, []).append(told)

    def _launch_waits(self, resource: Resource, waited: float) -> LaunchWaits:
        zone, reason = zone_of(resource.name) or "", self._launch_reasons.get(resource.name)
        cause = (
            f"AWS refuses the launch ({reason})"
            if reason
            else "AWS has not launched it; mostly that means the zone has no capacity now"
        )
        text = (
            f"{resource.name} waits since {waited:.0f} s: {cause}.\n"
            "The AWS plugin asks again for up to 50 minutes; the other sites go on meanwhile. What can be done:\n"
            f"  wait; or Ctrl-C once, then another instanceType, or take {zone} out of `sites`, and `up` again;\n"
            f"  `edge config {self._arguments} aws:maxRetries 5` before the next `up` gives up sooner (on throttled calls too)"
        )
        return LaunchWaits(
            seconds=self.seconds, zone=zone, resource=resource.name, waited_seconds=round(waited, 1), reason=reason, text=text
        )

    def _values(self, step: "StepEventMetadata") -> dict[str, tuple[Any, Any]]:
        """What each property that differs was and is; of one inside another, the outer one's name leads to it."""
        old, new = (dict(each.outputs or each.inputs or {}) if each else {} for each in (step.old, step.new))
        names = dict.fromkeys(re.split(r"[.\[]", path)[0] for path in _differs(step))
        return {name: (self._shown(old.get(name)), self._shown(new.get(name))) for name in names if old and new}

    def _shown(self, value: Any) -> Any:
        return json.loads(self._redact(json.dumps(value, default=str)))

    def _progress(self, changes: Iterator[tuple[str, Stage, StageState]]) -> None:
        for zone, stage, state in changes:
            self._emit(SiteProgress(seconds=self.seconds, zone=zone, stage=stage, state=state))

    def _emit(self, event: Event) -> None:
        if self._on_event is None or self._broken:
            return
        try:
            self._on_event(event)
        except BaseException as error:
            self._broken = error

    def _tick_until_over(self) -> None:
        while not self._over.wait(_TICK_SECONDS):
            self.tick()


class StepTimes:
    """Measures how long each host took from its launch to its first token, step by step."""

    _STEPS = {"scripts": "boot", "prepare": "docker", "image": "image", "weights": "model", "ready": "ready"}  # noqa: RUF012
    """What the steps of a host are called in a summary, in order."""
    _LAST = "ready"

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], float] = {}
        self._ended: dict[tuple[str, str], float] = {}

    def begin(self, resource: Resource, operation: str) -> None:
        """A step begins."""
        self._note(resource, operation, self._begun)

    def end(self, resource: Resource, operation: str) -> None:
        """A step has ended well."""
        self._note(resource, operation, self._ended)

    def by_replica(self) -> dict[str, dict[str, float]]:
        """Seconds of each step that ran, by replica, of the replicas whose last step is done.

        A step begins where the one before it has ended: `boot` at the launch, and it ends when the host takes commands.
        """
        replicas = sorted(replica for replica, what in self._ended if what == self._LAST)
        return {replica: dict(self._of_replica(replica)) for replica in replicas}

    def _note(self, resource: Resource, operation: str, times: dict[tuple[str, str], float]) -> None:
        replica, _, what = resource.name.rpartition("-")
        is_of_host = resource.type in {_INSTANCE, _COMMAND}
        if is_of_host and _is_real(resource, operation) and not operation.startswith("delete"):
            times[replica, what] = time.monotonic()

    def _of_replica(self, replica: str) -> Iterator[tuple[str, float]]:
        before = self._ended.get((replica, "host"))
        for what, shown in self._STEPS.items():
            ended = self._ended.get((replica, what))
            if ended is None:
                continue
            began = before if before is not None else self._begun.get((replica, what), ended)
            yield shown, round(ended - began, 1)
            before = ended


def _silence(seconds: float) -> str:
    return (
        f"has said nothing for {seconds:.0f} s: its host takes the connection and answers nothing, or has died over it. No limit "
        f"of the plugin ends this; the run is ended after {LONGEST_SILENCE_SECONDS:.0f} s of it.\n"
        "  -> Ctrl-C twice, reboot the host (aws ec2 reboot-instances), then the same command again"
    )


def _resource(step: "StepEventMetadata") -> Resource:
    return Resource(name=_name(step.urn), type=step.type, urn=step.urn)


def _operation(step: "StepEventMetadata") -> str:
    """The engine's word; `forget` where it says delete and AWS keeps it all the same: an opt-in stays (components/network.py)."""
    return "forget" if step.type == _OPT_IN and step.op.value == "delete" else step.op.value


def _is_removal(operation: str) -> bool:
    return operation.startswith("delete") or operation == "forget"


def _with_forgotten(counts: dict[str, int], resources: Sequence[ResourceChange]) -> dict[str, int]:
    """The engine's counts by operation, with what is only forgotten apart from what is deleted."""
    forgotten = sum(each.operation == "forget" for each in resources)
    corrected = {**counts, "delete": counts.get("delete", 0) - forgotten, "forget": forgotten}
    return {operation: count for operation, count in corrected.items() if count}


def _is_real(resource: Resource, operation: str) -> bool:
    """Whether a step changes something; components and providers only stand for others."""
    return operation not in _UNCHANGING and not resource.type.startswith(("pulumi:", "edge-inference:"))


def _is_custom(step: "StepEventMetadata") -> bool:
    state: Any = step.new or step.old
    return state is not None and bool(state.custom)


def _differs(step: "StepEventMetadata") -> tuple[str, ...]:
    """Names of the inputs that differ, as exactly as the plugin told."""
    return tuple(step.detailed_diff or step.diffs or ())


def _severity(engines: str) -> Literal["info", "warning", "error"]:
    return "error" if engines == "error" else "warning" if engines == "warning" else "info"


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]
