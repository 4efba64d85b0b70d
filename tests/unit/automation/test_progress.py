# pyright: reportUnknownMemberType=false
# The SDK's from_json types no keys.
"""What is made of the engine's events: progress lines, errors, times, sites, and launches that wait."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pulumi.automation.events import EngineEvent

from automation.commands import progress
from automation.commands.plan_words import resource_lines
from automation.commands.progress import ProgressLines, notice, step_lines
from automation.engine import watching
from automation.engine.events import Diagnostic, Event, Interrupted, LaunchWaits, ResourceStarted, SiteProgress, as_json
from automation.engine.redaction import Redactor
from automation.engine.results import ResourceChange
from automation.engine.watching import LAUNCH_PATIENCE_SECONDS, LAUNCH_REMINDER_SECONDS, RunWatch, StepTimes

STACK = "urn:pulumi:local::edge-inference::pulumi:pulumi:Stack::edge-inference-local"
SITE = "urn:pulumi:local::edge-inference::edge-inference:index:EdgeInferenceSite$"
INSTANCE = "aws:ec2/instance:Instance"


def urn(name: str, kind: str = INSTANCE) -> str:
    return f"{SITE}{kind}::{name}"


def step(
    event: str,
    name: str = "us-west-2a-1-host",
    op: str = "create",
    kind: str = INSTANCE,
    *,
    custom: bool = True,
    diffs: list[str] | None = None,
) -> EngineEvent:
    """A resource's beginning (`resourcePreEvent`), end (`resOutputsEvent`) or failure (`resOpFailedEvent`)."""
    state = {"type": kind, "urn": urn(name, kind), "custom": custom}
    metadata: dict[str, Any] = {"op": op, "urn": urn(name, kind), "type": kind, "diffs": diffs}
    metadata["old" if op.startswith("delete") else "new"] = state
    return EngineEvent.from_json({"sequence": 1, "timestamp": 1, event: {"metadata": metadata}})


def diagnostic(message: str, severity: str = "info", at: str | None = None) -> EngineEvent:
    event = {"message": message, "severity": severity, "color": "never", "urn": at}
    return EngineEvent.from_json({"sequence": 1, "timestamp": 1, "diagnosticEvent": event})


def lines(*events: EngineEvent, is_plan: bool = False) -> list[str]:
    written: list[str] = []
    with ProgressLines(written.append, is_plan=is_plan) as shown:
        told(shown.on_event, *events)
    return written


def told(on_event: Callable[[Event], None] | None, *events: EngineEvent, **options: Any) -> RunWatch:
    """A run that the engine told these events of."""
    return told_of(RunWatch(on_event, **options), *events)


def told_of(watch: RunWatch, *events: EngineEvent) -> RunWatch:
    for event in events:
        watch.on_engine_event(event)
    return watch


@pytest.mark.parametrize(
    ("op", "word"),
    [
        ("create", "created"),
        ("update", "updated"),
        ("delete", "deleted"),
        ("create-replacement", "created anew"),
        ("delete-replaced", "deleted, to be created anew"),
    ],
)
def test_a_line_when_a_resource_is_done(op: str, word: str) -> None:
    (line,) = lines(step("resourcePreEvent", op=op), step("resOutputsEvent", op=op))
    assert line.split("  ", 1)[1].startswith(word)
    assert "us-west-2a-1-host" in line
    assert "Instance" in line
    assert line.endswith(" s")


def test_an_opt_in_that_leaves_the_state_is_not_shown_as_deleted() -> None:
    """AWS keeps it, and opts out through Support alone."""
    group = ("us-west-2-opt-in-us-west-2-lax-1", "delete", "aws:ec2/availabilityZoneGroup:AvailabilityZoneGroup")
    begun, done = step("resourcePreEvent", *group), step("resOutputsEvent", *group)
    assert lines(begun, done, is_plan=True) == []
    forgotten = ResourceChange(group[0], "AvailabilityZoneGroup", "forget")
    planned = " ".join(resource_lines([forgotten], {"forget": 1}))
    assert planned.split()[2:] == ["forget", group[0], "AvailabilityZoneGroup", "(the", "account", "stays", "opted", "in)"]
    assert "forgotten (the account stays opted in)" in lines(begun, done)[0]
    summary = {"maybeCorrupt": False, "durationSeconds": 1, "resourceChanges": {"delete": 3, "same": 1}, "policyPacks": {}}
    watch = told(None, begun, done, EngineEvent.from_json({"sequence": 1, "timestamp": 1, "summaryEvent": summary}))
    assert watch.counts == {"delete": 2, "forget": 1, "same": 1}


@pytest.mark.parametrize("op", ["same", "refresh"])
def test_no_line_for_what_does_not_change(op: str) -> None:
    assert lines(step("resourcePreEvent", op=op), step("resOutputsEvent", op=op)) == []


def test_no_line_for_components_and_providers() -> None:
    component = "edge-inference:index:EdgeInferenceSite"
    assert lines(step("resOutputsEvent", "us-west-2a", kind=component, custom=False)) == []
    assert lines(step("resOutputsEvent", "default", kind="pulumi:providers:aws")) == []


def test_details_of_a_plan_say_what_would_be_done_and_why() -> None:
    change = ResourceChange("us-west-2a-1-host", "Instance", "update", ("create", "stdin"))
    assert list(resource_lines([change], {"update": 1})) == [
        "1 update", "  update   us-west-2a-1-host  Instance  (create, stdin)"
    ]  # fmt: skip


def test_words_of_a_remote_command_are_shown_under_its_name() -> None:
    said = lines(diagnostic("pull-image: 10 s of at most 1800 s\npull-image: done\n", "info#err", urn("us-west-2a-1-image")))
    assert [line.strip() for line in said] == [
        "us-west-2a-1-image: pull-image: 10 s of at most 1800 s",
        "us-west-2a-1-image: pull-image: done",
    ]


def test_what_a_host_says_of_its_users_is_one_warning() -> None:
    """The engine passes its words on as they come, and all of them in the end."""
    cut = "serve: 2 requests outlast rollout.drainSeconds (3 s) and are cut"
    at = urn("us-west-2a-1-ready")
    said = lines(diagnostic(f"{cut}\n", at=at), diagnostic(f"serve: started\n{cut}\nserve: healthy\n", at=at))
    assert [line.strip() for line in said] == [
        f"warning: us-west-2a-1: {cut.removeprefix('serve: ')}",
        "us-west-2a-1-ready: serve: started",
        "us-west-2a-1-ready: serve: healthy",
    ]


def test_warnings_are_marked() -> None:
    (line,) = lines(diagnostic("the quota is unknown", "warning"))
    assert line.strip() == "warning: the quota is unknown"


@pytest.mark.parametrize(("message", "severity"), [("", "info"), ("  \n", "info"), ("x", "debug"), ("Dialing 1/9", "info")])
def test_noise_is_left_out(message: str, severity: str) -> None:
    assert lines(diagnostic(message, severity)) == []


def test_failure_is_told_when_it_happens() -> None:
    """The other sites go on for a long time."""
    said = lines(step("resourcePreEvent"), step("resOpFailedEvent"))
    assert [line for line in said if "failed" in line and "us-west-2a-1-host" in line]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Time goes as a test lets it: ten seconds at each call, and silence is noticed after each."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def pass_time() -> None:
        now[0] += 10

    return pass_time


def silence(pass_time: Callable[[], None], *events: EngineEvent) -> str:
    """What is told when nothing happens after these events."""
    written: list[str] = []
    heard = threading.Event()

    def write(text: str) -> None:
        written.append(text)
        if "..." in text:
            heard.set()

    with ProgressLines(write) as shown:
        told(shown.on_event, *events)
        pass_time()
        assert heard.wait(20)
    return next(text for text in written if "..." in text)


def test_silence_names_what_is_waited_for(impatient: Callable[[], None]) -> None:
    assert "at work on us-west-2a-1-host" in silence(impatient, step("resourcePreEvent"))


def test_silence_names_at_most_four(impatient: Callable[[], None]) -> None:
    line = silence(impatient, *(step("resourcePreEvent", f"host-{number}") for number in range(6)))
    assert "host-0, host-1, host-2, host-3 and 2 more" in line


def test_silence_before_the_first_resource(impatient: Callable[[], None]) -> None:
    assert "config and AWS are checked" in silence(impatient, diagnostic("x", at=STACK))


def test_what_is_done_or_failed_is_waited_for_no_more(impatient: Callable[[], None]) -> None:
    done = [step("resourcePreEvent", "done"), step("resOutputsEvent", "done")]
    failed = [step("resourcePreEvent", "broken"), step("resOpFailedEvent", "broken")]
    line = silence(impatient, *done, *failed, step("resourcePreEvent", "pending"))
    assert "at work on pending" in line
    assert "done" not in line
    assert "broken" not in line


def test_ends_without_a_single_event() -> None:
    assert lines() == []


# Time to the first token


COMMAND = "command:remote:Command"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time."""
    now = [0.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])

    def at(seconds: float) -> None:
        now[0] = seconds

    return at


def times(clock: Callable[[float], None], replica: str, ends: dict[str, float], op: str = "create") -> StepTimes:
    """Of a host whose steps follow each other."""
    watch = RunWatch()
    on_event = watch.on_engine_event
    begun = 1.0
    for what, end in ends.items():
        kind = INSTANCE if what == "host" else COMMAND
        clock(begun)
        on_event(step("resourcePreEvent", f"{replica}-{what}", op, kind))
        clock(end)
        on_event(step("resOutputsEvent", f"{replica}-{what}", op, kind))
        begun = end
    return watch.step_times


def test_time_to_the_first_token_is_broken_down_by_step(clock: Callable[[float], None]) -> None:
    ends = {"host": 10.0, "scripts": 70.0, "prepare": 75.0, "image": 175.0, "weights": 255.0, "ready": 300.0}
    found = times(clock, "us-west-2-lax-1a-1", ends).by_replica()
    assert found == {"us-west-2-lax-1a-1": {"boot": 60.0, "docker": 5.0, "image": 100.0, "model": 80.0, "ready": 45.0}}
    (_, line) = step_lines(found)
    assert line == "  us-west-2-lax-1a-1    290.0 s  = boot 60.0 + docker 5.0 + image 100.0 + model 80.0 + ready 45.0"


def test_a_host_that_was_there_is_timed_by_what_ran(clock: Callable[[float], None]) -> None:
    found = times(clock, "us-west-2a-1", {"weights": 5.0, "ready": 9.0}, "update").by_replica()
    assert found == {"us-west-2a-1": {"model": 4.0, "ready": 4.0}}
    found = times(clock, "us-west-2a-1", {"ready": 9.0}, "update").by_replica()
    assert found == {"us-west-2a-1": {"ready": 8.0}}


def test_a_host_that_did_not_get_ready_or_that_nothing_happened_to_is_not_timed(clock: Callable[[float], None]) -> None:
    assert times(clock, "us-west-2a-1", {"host": 10.0, "scripts": 70.0}).by_replica() == {}
    assert times(clock, "us-west-2a-1", {"host": 10.0, "ready": 70.0}, "same").by_replica() == {}
    assert times(clock, "us-west-2a-1", {"ready": 2.0}, "delete").by_replica() == {}
    assert step_lines({}) == []


# Errors


def test_errors_are_collected_once_with_their_resource() -> None:
    refused = diagnostic("InsufficientInstanceCapacity: none left\n", "error", urn("us-west-2a-1-host"))
    assert told(None, refused, refused).errors == ["us-west-2a-1-host: InsufficientInstanceCapacity: none left"]


def test_errors_of_the_program_stand_alone() -> None:
    assert told(None, diagnostic("2 problems in the configuration", "error", STACK)).errors == ["2 problems in the configuration"]


@pytest.mark.parametrize("message", ["", "update failed", "preview failed", "destroy failed", "update canceled"])
def test_what_says_nothing_is_left_out(message: str) -> None:
    assert told(None, diagnostic(message, "error", STACK)).errors == []


def test_warnings_are_no_errors() -> None:
    watch = told(None, diagnostic("careful", "warning"))
    assert (watch.errors, watch.warnings) == ([], ["careful"])


def test_it_is_known_whether_anything_was_changed() -> None:
    assert not told(None, step("resOutputsEvent", op="same"), diagnostic("x", "error")).changed
    watch = told(None, step("resOutputsEvent", op="update", diffs=["tags"]))
    assert watch.changed
    (change,) = watch.resources
    assert (change.name, change.kind, change.operation, change.differs) == ("us-west-2a-1-host", "Instance", "update", ("tags",))


def test_secrets_are_redacted_before_anyone_is_told() -> None:
    seen: list[Event] = []
    watch = told(seen.append, diagnostic("the token hf_secret is wrong", "error"), redact=Redactor(["hf_secret"]))
    assert watch.errors == ["the token [secret] is wrong"]
    assert isinstance(seen[0], Diagnostic)
    assert seen[0].text == "the token [secret] is wrong"


def test_a_listener_that_fails_does_not_cut_the_engine_off_and_is_heard_in_the_end() -> None:
    def broken(event: Event) -> None:
        raise ValueError(repr(event))

    watch = RunWatch(broken)

    def run() -> None:
        with watch:
            told_of(watch, diagnostic("x"), diagnostic("y", "error"))

    with pytest.raises(ValueError, match="'x'"):
        run()
    assert watch.errors == ["y"]


def test_an_event_is_json() -> None:
    seen: list[Event] = []
    told(seen.append, step("resourcePreEvent", diffs=["a"]))
    (event,) = seen
    assert isinstance(event, ResourceStarted)
    described = as_json(event)
    assert (described["event"], described["operation"], described["differs"]) == ("resource_started", "create", ("a",))
    assert described["resource"]["name"] == "us-west-2a-1-host"


# Sites

ZONE = "us-west-2-lax-1a"


def stages(*events: EngineEvent, replicas: int = 1) -> list[tuple[str, str]]:
    """Each change of a stage of the site."""
    seen: list[Event] = []
    told(seen.append, *events, replicas={ZONE: replicas})
    return [(event.stage, event.state) for event in seen if isinstance(event, SiteProgress)]


def both(name: str, op: str = "create", kind: str = COMMAND) -> list[EngineEvent]:
    """A step that begins and ends."""
    return [step("resourcePreEvent", name, op, kind), step("resOutputsEvent", name, op, kind)]


def test_a_site_goes_through_its_stages() -> None:
    network = [event for part in ("subnet", "routes", "firewall", "egress") for event in both(f"{ZONE}-{part}")]
    host = [event for part in ("host", "scripts", "prepare") for event in both(f"{ZONE}-1-{part}")]
    others = [event for part in ("image", "weights", "ready") for event in both(f"{ZONE}-1-{part}")]
    routed = both(f"routing-health-{ZONE}-1") + both(f"routing-leaf-{ZONE}-1")
    changes = stages(*network, *host, *others, *routed)
    assert [stage for stage, state in changes if state == "done"] == ["network", "host", "image", "model", "healthy", "routed"]
    assert not [stage for stage, state in changes if state == "failed"]


def test_a_stage_is_done_when_all_replicas_are() -> None:
    assert stages(*both(f"{ZONE}-1-image"), replicas=2) == [("image", "working")]
    assert ("image", "done") in stages(*both(f"{ZONE}-1-image"), *both(f"{ZONE}-2-image"), replicas=2)


def test_what_stays_as_it_is_is_said_to_be_unchanged() -> None:
    assert stages(*both(f"{ZONE}-1-image", "same")) == [("image", "unchanged")]


def test_what_an_earlier_run_has_made_is_told_until_this_one_comes_to_it() -> None:
    seen: list[Event] = []
    watch = RunWatch(seen.append, replicas={ZONE: 2})
    made = [f"{ZONE}-1-image", f"{ZONE}-1-weights", f"{ZONE}-2-weights"]
    watch.tell_what_stands({"resources": [{"urn": urn(name)} for name in made]})
    told_of(watch, *both(f"{ZONE}-1-weights"))
    states = [(event.stage, event.state) for event in seen if isinstance(event, SiteProgress)]
    assert states == [("model", "before"), ("model", "working")]


def test_a_failed_step_fails_its_stage_and_names_the_cause() -> None:
    failed = [
        step("resourcePreEvent", f"{ZONE}-1-host"),
        diagnostic("InsufficientInstanceCapacity", "error", urn(f"{ZONE}-1-host")),
        step("resOpFailedEvent", f"{ZONE}-1-host"),
    ]
    assert stages(*failed) == [("host", "working"), ("host", "failed")]
    watch = told(None, *failed, replicas={ZONE: 1, "us-west-2a": 1})
    assert watch.failed_stages() == {ZONE: "host"}
    assert watch.reasons == {ZONE: [f"{ZONE}-1-host: InsufficientInstanceCapacity"]}


def test_what_a_region_has_belongs_to_each_site() -> None:
    assert stages(step("resourcePreEvent", "us-west-2-vpc")) == [("network", "working")]


@pytest.mark.parametrize("name", ["routing-group-us-west-2-lax-1", "routing-flat-us-west-2-lax-1", "routing-region-us-west-2"])
def test_records_above_a_sites_own_belong_to_it_once_it_serves(name: str) -> None:
    above = step("resourcePreEvent", name)
    assert stages(above) == []
    assert stages(*both(f"routing-leaf-{ZONE}-1"), above)[-1] == ("routed", "working")


@pytest.mark.parametrize("name", ["us-east-1-vpc", "routing-group-us-west-2-hnl-1", "us-west-2-hnl-1a-1-host", "default_7_51_1"])
def test_what_others_have_does_not(name: str) -> None:
    assert stages(step("resourcePreEvent", name)) == []


def test_a_deletion_is_no_progress() -> None:
    assert stages(*both(f"{ZONE}-1-image", "delete")) == []


# Launches that wait, runs that are stopped


def test_a_launch_that_waits_is_told_after_a_minute_with_zone_and_ways_out(clock: Callable[[float], None]) -> None:
    seen: list[Event] = []
    clock(0)
    watch = told(seen.append, step("resourcePreEvent", f"{ZONE}-1-host"))
    told_at: list[float] = []
    for now in (1.0, LAUNCH_PATIENCE_SECONDS - 1, LAUNCH_PATIENCE_SECONDS, 90.0, 90 + LAUNCH_REMINDER_SECONDS):
        clock(now)
        watch.tick()
        told_at += [now for event in seen if isinstance(event, LaunchWaits)]
        seen.clear()
    assert told_at == [LAUNCH_PATIENCE_SECONDS, 90 + LAUNCH_REMINDER_SECONDS]


def waiting(clock: Callable[[float], None], *more: EngineEvent) -> list[LaunchWaits]:
    """What is told of launches after two minutes."""
    seen: list[Event] = []
    clock(0)
    watch = told(seen.append, step("resourcePreEvent", f"{ZONE}-1-host"), *more)
    clock(120)
    watch.tick()
    return [event for event in seen if isinstance(event, LaunchWaits)]


def test_a_silent_launch_is_said_to_lack_capacity_most_likely(clock: Callable[[float], None]) -> None:
    (event,) = waiting(clock)
    assert (event.zone, event.resource, event.waited_seconds, event.reason) == (ZONE, f"{ZONE}-1-host", 120.0, None)
    for words in ("mostly that means the zone has no capacity", "50 minutes", "Ctrl-C", "instanceType", "aws:maxRetries"):
        assert words in event.text
    assert notice(event)[0].startswith(f"{ZONE}-1-host waits since 120 s")


def test_a_launch_that_aws_refuses_is_told_with_its_reason(clock: Callable[[float], None]) -> None:
    said = diagnostic("launch refused (InsufficientInstanceCapacity): trying again, 3/25", at=urn(f"{ZONE}-1-host"))
    (event,) = waiting(clock, said)
    assert event.reason == "InsufficientInstanceCapacity"
    assert "AWS refuses the launch (InsufficientInstanceCapacity)" in event.text


def test_a_launch_that_is_done_waits_no_more(clock: Callable[[float], None]) -> None:
    assert waiting(clock, step("resOutputsEvent", f"{ZONE}-1-host")) == []


def test_an_interrupted_run_names_what_is_at_work_and_what_broke_off() -> None:
    seen: list[Event] = []
    watch = told(seen.append, step("resourcePreEvent", f"{ZONE}-1-image", kind=COMMAND), step("resourcePreEvent", "same", "same"))
    watch.interrupted(1)
    stopped = seen[-1]
    assert isinstance(stopped, Interrupted)
    assert (stopped.times, stopped.at_work) == (1, (f"{ZONE}-1-image",))
    assert f"finishing {ZONE}-1-image" in notice(stopped)[0]
    watch.on_engine_event(step("resOpFailedEvent", f"{ZONE}-1-image", kind=COMMAND))
    assert watch.broken_off == [f"{ZONE}-1-image, which broke off"]
    watch.on_engine_event(diagnostic("context canceled", "error", urn(f"{ZONE}-1-image", COMMAND)))
    assert watch.broken_off == [f"{ZONE}-1-image, which broke off"]
    watch.on_engine_event(diagnostic("after 9 failed attempts: EOF\nmore", "error", urn(f"{ZONE}-1-image", COMMAND)))
    assert watch.broken_off == [f"{ZONE}-1-image, which failed: after 9 failed attempts: EOF"]
    watch.interrupted(2)
    assert isinstance(seen[-1], Interrupted)
    assert "cut off" in notice(seen[-1])[0]


def silent(clock: Callable[[float], None], *words: EngineEvent) -> tuple[RunWatch, list[int]]:
    """A run with one command at work, of which nothing is heard for 130 s, then for 610 s, but for `words` in between."""
    interruptions: list[int] = []
    watch = RunWatch(interrupt=lambda: interruptions.append(1))
    told_of(watch, step("resourcePreEvent", f"{ZONE}-1-scripts", kind=COMMAND))
    clock(130.0)
    watch.tick()
    watch.tick()
    told_of(watch, *words)
    clock(610.0)
    watch.tick()
    return watch, interruptions


def test_a_command_of_which_nothing_is_heard_is_told_once_and_then_the_run_is_ended(clock: Callable[[float], None]) -> None:
    """A host that takes the connection and says nothing holds the official plugin for ever, and one Ctrl-C does not end that."""
    watch, interruptions = silent(clock)
    first, second = watch.warnings
    assert first.startswith("has said nothing for 130 s: its host takes the connection and answers nothing")
    assert "Ctrl-C twice" in first
    assert second == f"nothing was heard of {ZONE}-1-scripts for 600 s: the run is ended"
    assert len(interruptions) == 2, "one only makes the engine wait for it"


@pytest.mark.parametrize(
    "words",
    [
        diagnostic("Dial 3/129 failed: retrying", at=urn(f"{ZONE}-1-scripts", COMMAND)),
        step("resourcePreEvent", f"{ZONE}-1-host"),
        step("resOutputsEvent", f"{ZONE}-1-scripts", kind=COMMAND),
    ],
)
def test_a_run_goes_on_while_anything_else_is_at_work_or_heard(clock: Callable[[float], None], words: EngineEvent) -> None:
    assert silent(clock, words)[1] == []


def test_after_the_first_ctrl_c_the_plugin_passes_no_words_on_and_silence_means_nothing(clock: Callable[[float], None]) -> None:
    watch = told(None, step("resourcePreEvent", f"{ZONE}-1-scripts", kind=COMMAND))
    watch.interrupted(1)
    clock(130.0)
    watch.tick()
    assert watch.warnings == []


INTERRUPT = """\
Traceback (most recent call last):
  File "/engine/bin/pulumi-language-python-exec", line 232, in <module>
    loop.run_until_complete(coro)
KeyboardInterrupt
During handling of the above exception, another exception occurred:
Traceback (most recent call last):
  File "/engine/bin/pulumi-language-python-exec", line 244, in <module>
    executor.shutdown(wait=True)
KeyboardInterrupt
after"""
BUG = 'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\nNameError: x\nafter'
CUT_OFF = 'Traceback (most recent call last):\n  File "x.py", line 1, in <module>'


@pytest.mark.parametrize(("written", "shown"), [(INTERRUPT, "after"), (BUG, BUG), (CUT_OFF, CUT_OFF)])
def test_of_a_programs_tracebacks_only_that_of_its_end_by_the_official_host_is_left_out(written: str, shown: str) -> None:
    seen: list[Event] = []
    with RunWatch(seen.append) as watch:
        told_of(watch, *(diagnostic(f"{line}\n", "info#err", "") for line in written.splitlines()))
    assert [event.text for event in seen if isinstance(event, Diagnostic)] == shown.splitlines()
