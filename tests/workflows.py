"""The workflows of docs/examples/github-actions and their own lines, to be run here. What actions of others do is left out."""

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from automation.paths import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "docs" / "examples" / "github-actions"


@dataclass(frozen=True)
class Step:
    """A step with lines of its own."""

    workflow: str
    name: str
    lines: str
    variables: Mapping[str, str]
    """Those of the workflow, but what GitHub fills in."""


@cache
def documents() -> dict[str, dict[str, Any]]:
    """Workflows and the action that all begin with, by name."""
    paths = [*sorted((FOLDER / "workflows").glob("*.yml")), FOLDER / "actions" / "edge" / "action.yml"]
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths}


def parts(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All steps of a workflow, or of an action."""
    jobs: list[dict[str, Any]] = [document["runs"]] if "runs" in document else list(document["jobs"].values())
    return [part for job in jobs for part in job.get("steps", [])]


def steps() -> list[Step]:
    """Every step with lines of its own."""
    return [
        Step(name, part["name"], part["run"], {key: str(value) for key, value in document.get("env", {}).items()})
        for name, document in documents().items()
        for part in parts(document)
        if "run" in part
    ]


def step(workflow: str, name: str) -> Step:
    """One of them."""
    (found,) = (each for each in steps() if (each.workflow, each.name) == (workflow, name))
    return found


class Machine:
    """Runs steps as GitHub's runner does, in a folder. `edge` means the local cloud there, `gh` keeps its words."""

    def __init__(self, folder: Path, edge: list[str], *options: str) -> None:
        """`options` come behind every `edge` command."""
        self.folder, self.binaries = folder, folder / "bin"
        self.summary, self._asked = folder / "summary.md", folder / "gh.txt"
        self.binaries.mkdir()
        self._script("edge", f'exec {shlex.join(edge)} "$@" {shlex.join(options)}')
        self._script("gh", f'echo "$@" >> {shlex.quote(str(self._asked))}')

    def _script(self, name: str, line: str) -> None:
        path = self.binaries / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def run(self, step: Step, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a step; `variables` beside the workflow's own, or in their place."""
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step.lines],
            cwd=self.folder,
            env={
                **os.environ,
                **step.variables,
                "PATH": f"{self.binaries}:{os.environ['PATH']}",
                "PYTHONPATH": str(PROJECT_ROOT),
                "GITHUB_STEP_SUMMARY": str(self.summary),
                **variables,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def told_github(self) -> list[str]:
        """What `gh` was called with."""
        return self._asked.read_text().splitlines() if self._asked.exists() else []
