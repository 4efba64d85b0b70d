"""A state says which release wrote it; an older checkout finds that before it makes anything."""

from typing import Any

import pytest
from recorded_program import Answers, run_mocked

from components import release
from components.release import RELEASE, newer_deployment_problem, newer_release_problem, record_release

URN = "urn:pulumi:dev::edge-inference::pulumi:index:Stash::"


def found(problem: list[str | None], **releases: object) -> Answers:
    """A stack whose state has these Stashes; what the look at it finds is appended."""

    def call(token: str, arguments: dict[str, Any]) -> dict[str, Any]:
        assert token == "pulumi:pulumi:readStackResourceOutputs"  # noqa: S105 - a name
        assert arguments["stackName"].endswith("/edge-inference/dev")
        outputs = {f"{URN}{name}": {"outputs": {"input": value, "output": 0}} for name, value in releases.items()}
        return {"name": "dev", "outputs": outputs}

    answers = Answers(call)
    run_mocked(lambda: problem.append(newer_release_problem()), answers=answers)
    return answers


@pytest.mark.parametrize("release", [None, 0, RELEASE])
def test_states_of_this_and_older_releases_are_taken(release: int | None) -> None:
    problem: list[str | None] = []
    found(problem, **({} if release is None else {"release": float(release)}), deployment="an id")
    assert problem == [None]


def test_a_state_of_a_newer_release_is_refused_with_both_numbers() -> None:
    problem: list[str | None] = []
    found(problem, release=float(RELEASE + 2))
    assert problem[0]
    assert f"newer release of this project: {RELEASE + 2}, and this checkout is {RELEASE}" in problem[0]
    assert "-> git pull" in problem[0]


def test_the_front_end_finds_the_same_in_an_exported_state(monkeypatch: pytest.MonkeyPatch) -> None:
    def deployment(release: int) -> dict[str, Any]:
        return {"resources": [{"urn": f"{URN}release", "inputs": {"input": release}}, {"urn": "x::pulumi:pulumi:Stack::dev"}]}

    assert newer_deployment_problem({}) is None
    assert newer_deployment_problem(deployment(RELEASE)) is None
    assert newer_deployment_problem(deployment(RELEASE + 1))
    monkeypatch.setattr(release, "RELEASE", RELEASE + 1)
    assert newer_deployment_problem(deployment(RELEASE)) is None


def test_each_run_writes_its_own_release() -> None:
    (stash,) = run_mocked(record_release)
    assert (stash.token, stash.name, stash.inputs, stash.ignore_changes) == (
        "pulumi:index:Stash",
        "release",
        {"input": RELEASE},
        (),
    )
