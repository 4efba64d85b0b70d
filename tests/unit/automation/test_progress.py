# pyright: reportUnknownMemberType=false
# The SDK's from_json types no keys.
"""Progress lines and collected errors from events as the engine words them."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pulumi.automation.events import EngineEvent

from automation import progress
from automation.progress import ErrorCollector, ProgressLines, StepTimes, step_lines

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


def lines(*events: EngineEvent, is_preview: bool = False) -> list[str]:
    written: list[str] = []
    with ProgressLines(written.append, is_preview=is_preview) as shown:
        for event in events:
            shown.on_event(event)
    return written


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


@pytest.mark.parametrize("op", ["same", "refresh"])
def test_no_line_for_what_does_not_change(op: str) -> None:
    assert lines(step("resourcePreEvent", op=op), step("resOutputsEvent", op=op)) == []


def test_no_line_for_components_and_providers() -> None:
    component = "edge-inference:index:EdgeInferenceSite"
    assert lines(step("resOutputsEvent", "us-west-2a", kind=component, custom=False)) == []
    assert lines(step("resOutputsEvent", "default", kind="pulumi:providers:aws")) == []


def test_preview_says_what_would_be_done_and_why() -> None:
    (line,) = lines(
        step("resourcePreEvent", op="update", diffs=["create", "stdin"]), step("resOutputsEvent", op="update"), is_preview=True
    )
    assert "update" in line
    assert "us-west-2a-1-host" in line
    assert "(create, stdin)" in line


def test_words_of_a_remote_command_are_shown_under_its_name() -> None:
    said = lines(diagnostic("pull-image: 10 s of at most 1800 s\npull-image: done\n", "info#err", urn("us-west-2a-1-image")))
    assert [line.strip() for line in said] == [
        "us-west-2a-1-image: pull-image: 10 s of at most 1800 s",
        "us-west-2a-1-image: pull-image: done",
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
    told: list[str] = []
    heard = threading.Event()

    def write(text: str) -> None:
        told.append(text)
        if "..." in text:
            heard.set()

    with ProgressLines(write) as shown:
        for event in events:
            shown.on_event(event)
        pass_time()
        assert heard.wait(20)
    return next(text for text in told if "..." in text)


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
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def at(seconds: float) -> None:
        now[0] = seconds

    return at


def times(clock: Callable[[float], None], replica: str, ends: dict[str, float], op: str = "create") -> StepTimes:
    """Of a host whose steps follow each other."""
    measured = StepTimes()
    on_event = measured.then(None)
    begun = 1.0
    for what, end in ends.items():
        kind = INSTANCE if what == "host" else COMMAND
        clock(begun)
        on_event(step("resourcePreEvent", f"{replica}-{what}", op, kind))
        clock(end)
        on_event(step("resOutputsEvent", f"{replica}-{what}", op, kind))
        begun = end
    return measured


def test_time_to_the_first_token_is_broken_down_by_step(clock: Callable[[float], None]) -> None:
    ends = {"host": 10.0, "scripts": 70.0, "prepare": 75.0, "image": 175.0, "weights": 255.0, "server": 256.0, "ready": 300.0}
    found = times(clock, "us-west-2-lax-1a-1", ends).by_replica()
    assert found == {"us-west-2-lax-1a-1": {"boot": 60.0, "docker": 5.0, "image": 100.0, "model": 80.0, "ready": 45.0}}
    (_, line) = step_lines(found)
    assert line == "  us-west-2-lax-1a-1    290.0 s  = boot 60.0 + docker 5.0 + image 100.0 + model 80.0 + ready 45.0"


def test_a_host_that_was_there_is_timed_by_what_ran(clock: Callable[[float], None]) -> None:
    found = times(clock, "us-west-2a-1", {"weights": 5.0, "server": 6.0, "ready": 9.0}, "update").by_replica()
    assert found == {"us-west-2a-1": {"model": 4.0, "ready": 4.0}}
    found = times(clock, "us-west-2a-1", {"server": 6.0, "ready": 9.0}, "update").by_replica()
    assert found == {"us-west-2a-1": {"ready": 8.0}}


def test_a_host_that_did_not_get_ready_or_that_nothing_happened_to_is_not_timed(clock: Callable[[float], None]) -> None:
    assert times(clock, "us-west-2a-1", {"host": 10.0, "scripts": 70.0}).by_replica() == {}
    assert times(clock, "us-west-2a-1", {"host": 10.0, "ready": 70.0}, "same").by_replica() == {}
    assert times(clock, "us-west-2a-1", {"ready": 2.0}, "delete").by_replica() == {}
    assert step_lines({}) == []


# Errors


def collected(*events: EngineEvent) -> ErrorCollector:
    collector = ErrorCollector()
    for event in events:
        collector.then(None)(event)
    return collector


def test_errors_are_collected_once_with_their_resource() -> None:
    refused = diagnostic("InsufficientInstanceCapacity: none left\n", "error", urn("us-west-2a-1-host"))
    assert collected(refused, refused).texts == ["us-west-2a-1-host: InsufficientInstanceCapacity: none left"]


def test_errors_of_the_program_stand_alone() -> None:
    assert collected(diagnostic("2 problems in the configuration", "error", STACK)).texts == ["2 problems in the configuration"]


@pytest.mark.parametrize("message", ["", "update failed", "preview failed", "destroy failed"])
def test_what_says_nothing_is_left_out(message: str) -> None:
    assert collected(diagnostic(message, "error", STACK)).texts == []


def test_warnings_are_no_errors() -> None:
    assert collected(diagnostic("careful", "warning")).texts == []


def test_collector_hands_on() -> None:
    seen: list[EngineEvent] = []
    event = diagnostic("x", "error")
    ErrorCollector().then(seen.append)(event)
    assert seen == [event]


def test_collector_knows_whether_anything_was_changed() -> None:
    assert not collected(step("resOutputsEvent", op="same"), diagnostic("x", "error")).changed
    assert collected(step("resOutputsEvent", op="create")).changed
