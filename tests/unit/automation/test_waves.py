"""Which wave of a rollout is at work, as a run's events tell it, on a terminal and in plain lines."""

import io

import pytest
from rich.console import Console

from automation.commands.live_table import LiveTable
from automation.commands.progress import ProgressLines
from automation.commands.waves import Waves
from automation.engine.events import Event, Resource, ResourceDone, ResourceFailed, ResourceStarted, RolloutOrder

OREGON, LAX, HONOLULU = "us-west-2a-1", "us-west-2-lax-1a-1", "us-west-2-hnl-1a-1"


def step(key: str, kind: str = "begin", operation: str = "update", part: str = "ready") -> Event:
    resource = Resource(name=f"{key}-{part}", type="command:remote:Command", urn=f"urn:a$b::{key}-{part}")
    if kind == "begin":
        return ResourceStarted(seconds=1, resource=resource, operation=operation, is_real=operation != "same")
    made = ResourceDone if kind == "done" else ResourceFailed
    return made(seconds=2, resource=resource, operation=operation, is_real=operation != "same", took_seconds=1)


def order(waves: list[list[str]], replicas: int) -> RolloutOrder:
    return RolloutOrder(seconds=0, waves=tuple(tuple(wave) for wave in waves), replicas=replicas)


def of(waves: list[list[str]], replicas: int) -> Waves:
    known = Waves()
    assert known.take(order(waves, replicas)) is None
    return known


def lines(waves: Waves, *events: Event) -> list[str | None]:
    return [waves.take(event) for event in events]


def test_one_wave_after_the_other() -> None:
    waves = of([[OREGON], [LAX], [HONOLULU]], 3)
    told = lines(waves, step(OREGON), step(OREGON, "done"), step(LAX), step(LAX, "done"), step(HONOLULU), step(HONOLULU, "done"))
    assert told == [
        f"wave 1 of 3: {OREGON} is being changed (1 of 3 replicas), 0 done",
        None,
        f"wave 2 of 3: {LAX} is being changed (1 of 3 replicas), 1 done",
        None,
        f"wave 3 of 3: {HONOLULU} is being changed (1 of 3 replicas), 2 done",
        "all waves are over: 3 replicas changed",
    ]


def test_several_at_once() -> None:
    waves = of([["a-1"], ["a-2", "a-3", "a-4"]], 5)
    told = lines(waves, step("a-1"), step("a-1", "done"), step("a-2"), step("a-3"), step("a-4"), step("a-3", "done"))
    assert told[-3:] == [
        "wave 2 of 2: a-2, a-3 are being changed (2 of 5 replicas), 1 done",
        "wave 2 of 2: a-2, a-3 and 1 more are being changed (3 of 5 replicas), 1 done",
        "wave 2 of 2: a-2, a-4 are being changed (2 of 5 replicas), 2 done",
    ]


def test_what_stays_as_it_is_has_no_wave() -> None:
    waves = of([[OREGON], [LAX]], 2)
    told = lines(waves, step(OREGON, operation="same"), step(OREGON, "done", "same"), step(LAX), step(LAX, "done"))
    assert told == [
        None,
        None,
        f"wave 1 of 1: {LAX} is being changed (1 of 2 replicas), 0 done",
        "all waves are over: 1 replica changed",
    ]


def test_a_failure_says_what_is_not_touched() -> None:
    waves = of([[OREGON], [LAX], [HONOLULU]], 3)
    assert lines(waves, step(OREGON), step(OREGON, "failed"))[1] == (
        f"wave 1 of 3: {OREGON} failed; the 2 replicas of the waves after it stay as they are"
    )
    assert lines(of([[OREGON]], 1), step(OREGON), step(OREGON, "failed"))[1] == f"wave 1 of 1: {OREGON} failed"


@pytest.mark.parametrize(
    "event", [step(LAX, operation="create"), step(LAX, part="image"), step(HONOLULU), step("routing-x", part="y")]
)
def test_other_steps_are_none_of_it(event: Event) -> None:
    assert of([[OREGON], [LAX]], 3).take(event) is None


def test_plain_lines_and_the_table_tell_it() -> None:
    written: list[str] = []
    with ProgressLines(written.append) as shown:
        shown.on_event(order([[OREGON], [LAX]], 2))
        shown.on_event(step(OREGON))
    wave = f"wave 1 of 2: {OREGON} is being changed (1 of 2 replicas), 0 done"
    assert written == [f"  {wave}"]
    table = LiveTable(Console(file=io.StringIO()), {"us-west-2a": 1})
    table.on_event(order([[OREGON], [LAX]], 2))
    table.on_event(step(OREGON))
    screen = Console(file=io.StringIO(), width=80, color_system=None)
    screen.print(table.render())
    assert isinstance(screen.file, io.StringIO)
    assert wave in [line.rstrip() for line in screen.file.getvalue().splitlines()]
