"""The workflows for GitHub: pinned, narrow, every `edge` command in them is one. tests/engine/test_front.py runs them."""

import json
import re
import shlex
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from workflows import FOLDER, Machine, Step, documents, parts, step, steps

from automation.cli import app
from automation.paths import PROJECT_ROOT

OPERATIONS = PROJECT_ROOT / "docs" / "operations"
STEPS = steps()


def commands(each: Step) -> list[list[str]]:
    """The `edge` commands of a step, with the workflow's variables filled in."""
    lines = [line.strip() for line in each.lines.splitlines() if line.strip().startswith("edge ")]
    return [
        shlex.split(re.split(r" (?:>|\|\|) ", string.Template(line).safe_substitute(each.variables))[0])[1:] for line in lines
    ]


def parsed(words: list[str]) -> Any:
    """As the command line reads them; an error for what it does not know."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("edge", [], resilient_parsing=True)
    return group.get_command(context, words[0]).make_context(words[0], words[1:], parent=context)


@pytest.mark.parametrize("each", STEPS, ids=lambda each: f"{each.workflow} {each.name}")
def test_lines_are_sound_shell_without_anything_that_github_fills_in(each: Step) -> None:
    assert "${{" not in each.lines, "what somebody else wrote would be run"
    found = subprocess.run(
        [str(Path(sys.executable).with_name("shellcheck")), "-s", "bash", "-e", "SC2154", "-"],
        input=each.lines,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout


def test_every_edge_command_is_one_with_flags_that_there_are() -> None:
    found = [words for each in STEPS for words in commands(each)]
    assert {words[0] for words in found} == {"plan", "up", "status", "bench", "drift", "certificate"}
    for words in found:
        assert parsed(words).params["env"] == "prod", words
    with pytest.raises(Exception, match=r"[Nn]o such option"):
        parsed(["plan", "prod", "--in-words"])


def test_every_action_is_pinned_and_ours_are_there() -> None:
    jobs = [job for document in documents().values() for job in document.get("jobs", {}).values()]
    used = [part["uses"] for document in documents().values() for part in parts(document) if "uses" in part]
    used += [job["uses"] for job in jobs if "uses" in job]
    assert len(used) > 10
    for each in used:
        path = each.removeprefix("./.github/")
        assert re.search(r"@v\d+\.\d+\.\d+$", each) or (path != each and (FOLDER / path).exists()), each


def test_each_job_may_do_no_more_than_it_must() -> None:
    more = {
        name: set(document["permissions"].items()) - {("contents", "read"), ("id-token", "write")}
        for name, document in documents().items()
        if "permissions" in document
    }
    assert more == {
        "plan": {("pull-requests", "write")},
        "up": set(),
        "ttft": set(),
        "drift": set(),
        "certificate": {("contents", "write"), ("actions", "write")},
    }
    assert documents()["up"]["jobs"]["up"]["environment"] == "prod"
    trust = json.loads((FOLDER / "trust-policy.json").read_text())["Statement"][0]["Condition"]["StringEquals"]
    assert trust["token.actions.githubusercontent.com:sub"].endswith(":environment:prod")


def test_the_readers_policy_is_all_that_reads_of_the_deployers() -> None:
    deployer, reader = (
        {action for statement in json.loads((OPERATIONS / name).read_text())["Statement"] for action in statement["Action"]}
        for name in ("iam-policy.json", "iam-policy-reader.json")
    )
    reads = ("Describe", "Get", "List", "Test")
    assert reader == {action for action in deployer if action.partition(":")[2].startswith(reads)}


def git(*words: str, at: Path) -> str:
    return subprocess.run(["git", *words], cwd=at, check=True, capture_output=True, text=True).stdout


def test_a_renewed_certificate_is_committed_pushed_and_brought_out_and_else_nothing(tmp_path: Path) -> None:
    git("init", "--quiet", "--bare", "origin", at=tmp_path)
    git("clone", "--quiet", "origin", "work", at=tmp_path)
    work, file = tmp_path / "work", tmp_path / "work" / "Pulumi.prod.yaml"
    file.write_text(yaml.safe_dump({"config": {}}))
    git("add", "Pulumi.prod.yaml", at=work)
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "first", at=work)
    git("push", "--quiet", "origin", "HEAD", at=work)
    machine, commit = Machine(work, ["false"]), step("certificate", "Commit")
    assert machine.run(commit).returncode == 0
    assert machine.told_github == []
    file.write_text(yaml.safe_dump({"config": {"edge-inference:tlsCertificate": "new"}}))
    (work / "another file").write_text("not to be committed")
    done = machine.run(commit)
    assert done.returncode == 0, done.stderr
    assert machine.told_github == ["workflow run up.yml"]
    assert git("log", "--format=%s", "--name-only", "-1", "--all", at=tmp_path / "origin").split("\n\n") == [
        "Renew the certificate of prod",
        "Pulumi.prod.yaml\n",
    ]
