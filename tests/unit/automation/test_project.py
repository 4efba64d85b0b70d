"""A new project, and in which folder `edge` takes the project to be."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from automation.commands.project import begin
from automation.errors import UsageError
from automation.paths import PROJECT_ROOT, is_project

ROOT = "from automation.paths import PROJECT_ROOT; print(PROJECT_ROOT)"


def _project_root(folder: Path) -> str:
    command = [sys.executable, "-c", ROOT]
    return subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(PROJECT_ROOT)}, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_begun_folder_is_a_project_with_the_environment_local(tmp_path: Path) -> None:
    assert begin(tmp_path) == ["Pulumi.yaml", "__main__.py", "Pulumi.local.yaml", ".gitignore"]
    assert is_project(tmp_path)
    project = yaml.safe_load((tmp_path / "Pulumi.yaml").read_text())
    assert project["runtime"] == {"name": "python", "options": {"toolchain": "pip"}}, "no folder of the checkout's"
    assert project["config"] == yaml.safe_load((PROJECT_ROOT / "Pulumi.yaml").read_text())["config"]


@pytest.mark.parametrize("there", ["Pulumi.yaml", "__main__.py", "components"])
def test_nothing_is_overwritten_nor_hidden(tmp_path: Path, there: str) -> None:
    (tmp_path / there).mkdir()
    with pytest.raises(UsageError, match=f"has {there} already, and nothing was written"):
        begin(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [there]


def test_the_nearest_project_is_meant_and_without_one_the_checkout(tmp_path: Path) -> None:
    assert _project_root(tmp_path) == str(PROJECT_ROOT)
    begin(tmp_path)
    below = tmp_path / "docs"
    below.mkdir()
    assert _project_root(below) == str(tmp_path)


@pytest.mark.parametrize("text", ["name: other\n", "", "name: edge-inference-2\n", "config: {name: edge-inference}\n"])
def test_another_programs_folder_is_none_of_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / "Pulumi.yaml").write_text(text)
    assert not is_project(tmp_path)
