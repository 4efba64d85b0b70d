"""Which process was killed is told by what the engine says; the texts are what engine 3.230 printed when each was killed."""

import re

import pytest

from automation.engine.advice import Commands, after_interruption, recovery
from automation.engine.kills import after_a_kill, after_the_engines_kill

COMMANDS = Commands("prod", is_rehearsal=True)
PROGRAM = "an unhandled error occurred: program exited with non-zero exit code: -1"
PLUGIN = "Detected that /me/plugins/resource-aws-v7.51.1/pulumi-resource-aws exited prematurely. \n  This is *always* a bug"
BROKEN = "error reading from server: EOF"


def lines(text: str) -> list[str]:
    """The commands that a text tells to run, in order."""
    return re.findall(r"^  (?:->|  ) (edge [a-z]+ prod --local)", text, re.MULTILINE)


def test_a_killed_program_is_not_the_engine() -> None:
    (told,) = after_a_kill(COMMANDS, "up", f"code: 255\nstderr: error: {PROGRAM}", [PROGRAM]) or []
    assert "the program was killed" in told
    assert lines(told) == ["edge up prod --local"]


def test_a_killed_language_host_is_known_by_the_stacks_broken_connection() -> None:
    (told,) = after_a_kill(COMMANDS, "destroy", "", [BROKEN]) or []
    assert "the language host" in told
    assert lines(told) == ["edge destroy prod --local"]


def test_a_killed_plugin_is_named_with_what_it_was_at_work_on() -> None:
    errors = [f"a-host: {BROKEN}", "a-vpc: a real problem", f"{PLUGIN}"]
    told = after_a_kill(COMMANDS, "up", f"code: 255\n{PLUGIN}", errors) or []
    assert told[0] == "a-vpc: a real problem"
    assert "plugin `aws` was killed" in told[1]
    assert "at work on (a-host)" in told[1]
    assert lines(told[1]) == [
        "edge cancel prod --local",
        "edge refresh prod --local",
        "edge sweep prod --local",
        "edge up prod --local",
    ]
    assert len(told) == 2


@pytest.mark.parametrize("text", ["a-host: it exited with code: -9", "a-ready: Process exited with status -1"])
def test_a_command_that_was_killed_on_a_host_is_none_of_ours(text: str) -> None:
    assert after_a_kill(COMMANDS, "up", f"code: 255\n{text}", [text]) is None


@pytest.mark.parametrize(("operation", "verb"), [("up", "up"), ("drain", "up"), ("destroy", "destroy")])
def test_what_was_cut_off_goes_on_with_the_same_command(operation: str, verb: str) -> None:
    expected = ["edge cancel prod --local", "edge refresh prod --local", "edge sweep prod --local", f"edge {verb} prod --local"]
    assert lines(after_the_engines_kill(COMMANDS, operation)) == expected
    assert lines(after_interruption(COMMANDS, operation, 2, ["a-host"], [])) == expected
    assert lines(after_interruption(COMMANDS, operation, 1, [], [])) == expected[-1:]


def test_a_refresh_is_not_run_twice() -> None:
    assert lines(recovery(COMMANDS, "refresh")) == [
        "edge cancel prod --local",
        "edge refresh prod --local",
        "edge sweep prod --local",
    ]


def test_a_full_disk_is_told_once_with_its_path() -> None:
    path = "/state/.pulumi/stacks/edge-inference/prod.json.tmp1"
    full = f"failed to save snapshot: blob (code=Unknown): write {path}: no space left on device"
    told = after_a_kill(COMMANDS, "up", f"code: 255\n{full}", [f"a-vpc: {full}", f"a-host: {full}", "a-key: another"]) or []
    assert told[0] == "a-key: another"
    assert f"the disk of {path} is full" in told[1]
    assert lines(told[1])[0] == "edge cancel prod --local"
    assert len(told) == 2
