"""The engine's own reader of stack files, asked what unit tests hold ours to (tests/stack_file_traps.py). No local cloud."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from stack_file_traps import READ_AS_LOOKED, REFUSED_BY_BOTH, REFUSED_HERE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def config(pulumi_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """`pulumi config --json` of a stack with a given file."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "Pulumi.yaml").write_text("name: edge-inference\nruntime: python\n")
    (folder / "state").mkdir()
    variables = {
        "PULUMI_HOME": str(folder / "home"),
        "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "not a secret",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }

    def pulumi(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(pulumi_binary), *words, "--non-interactive"],
            cwd=folder,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )

    assert pulumi("stack", "init", "dev", "--no-select").returncode == 0

    def ask(text: str) -> subprocess.CompletedProcess[str]:
        (folder / "Pulumi.dev.yaml").write_text(text)
        return pulumi("config", "--json", "--stack", "dev")

    return ask


def test_values_are_read_alike(config: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    asked = "".join(f"  edge-inference:x{number}: {value}\n" for number, (value, _) in enumerate(READ_AS_LOOKED))
    told = config(f"config:\n{asked}")
    assert told.returncode == 0, told.stderr
    found = {key: entry["objectValue"] for key, entry in json.loads(told.stdout).items()}
    assert found == {f"edge-inference:x{number}": meant for number, (_, meant) in enumerate(READ_AS_LOOKED)}


def test_what_is_refused_by_both(config: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    assert {name for name, text in REFUSED_BY_BOTH.items() if config(text).returncode == 0} == set()


def test_what_the_engine_misreads_without_a_word(config: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    """Once it refuses one of them, too, that belongs to the others."""
    assert {name for name, (text, _) in REFUSED_HERE.items() if config(text).returncode} == set()
