"""The running stack's state: one that its engine is writing at that moment is read again."""

from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from components import running_state
from components.running_state import resource_outputs

CUT_OFF = Exception("invoke failed: failed to load checkpoint: EOF")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the engine answers, one after another."""
    answers: list[Any] = []

    def invoke(*_: object) -> SimpleNamespace:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(value=answer)

    monkeypatch.setattr(pulumi.runtime, "invoke", invoke)
    monkeypatch.setattr(running_state, "_PAUSE_SECONDS", 0.0)
    return answers


def test_a_state_that_is_just_written_is_read_again(engine: list[Any]) -> None:
    engine += [CUT_OFF, Exception("unexpected end of JSON input"), {"outputs": {"urn": {"outputs": {"a": 1}}}}]
    assert resource_outputs() == {"urn": {"a": 1}}


def test_a_state_that_stays_cut_off_and_any_other_failure_are_told(engine: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    engine += [Exception("no such stack")]
    with pytest.raises(Exception, match="no such stack"):
        resource_outputs()
    monkeypatch.setattr(running_state, "_WRITTEN_WITHIN_SECONDS", 0.0)
    engine += [CUT_OFF]
    with pytest.raises(Exception, match="failed to load checkpoint"):
        resource_outputs()
