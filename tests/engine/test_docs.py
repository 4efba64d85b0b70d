"""What the documentation tells people to type, in a project of their own: the demo's story, then each command that can run there.

One deployment for all of it. Commands that cannot run here say why beside their fence (tests/documented.py).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from documented import Fence, fences
from support import CLOCK

from automation.commands.project import begin
from automation.paths import PROJECT_ROOT
from localcloud import client

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.engine

RUN = [fence for fence in fences() if not fence.reason]
SECONDS = 600.0


class Newcomer:
    """Somebody with a folder of their own, and what the demo told them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.story = folder, ""

    def type(self, *lines: str) -> str:
        """What a shell prints of these lines, all of which must end well."""
        variables = {**os.environ, "PATH": f"{PROJECT_ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
            cwd=self.folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def newcomer(pulumi_binary: Path) -> Iterator[Newcomer]:
    folder = Path(tempfile.mkdtemp(prefix="edge-"))  # not pytest's own: its path is too long for sockets
    begin(folder)
    (folder / ".venv").symlink_to(PROJECT_ROOT / ".venv")
    cloud = folder / ".localcloud"
    cloud.mkdir()
    (cloud / "engine").symlink_to(pulumi_binary.parents[1])
    somebody = Newcomer(folder)
    try:
        somebody.story = somebody.type(f"{sys.executable} -m automation.demo")
        running = client.status(cloud)
        assert running
        running.request("PUT", "health-checkers", {"speed": CLOCK})
        yield somebody
    finally:
        client.stop(cloud)
        shutil.rmtree(folder)


def test_the_demo_tells_its_story(newcomer: Newcomer) -> None:
    story = newcomer.story
    assert len(story.splitlines()) < 65
    assert [line for line in story.splitlines() if len(line) > 80 and "file://" not in line] == []
    for city, site in (("Portland", "Oregon"), ("Los Angeles", "Los Angeles"), ("Honolulu", "Honolulu")):
        assert re.search(rf"^   {city} +{site} +\d+ ms +\d+ ms$", story, re.MULTILINE), story
    assert re.search(r"\d+ s  (Los Angeles|Oregon) answers Honolulu, first token \d+ ms\n", story), story
    assert re.search(r"\d+ s  it serves again, and Honolulu is back\n", story)
    assert re.search(r"(\d+) answers meanwhile: \1 whole, 0 lost;", story), story
    page = Path(re.findall(r"The page: file://(\S+)", story)[0])
    assert "simulated" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("fence", RUN, ids=lambda fence: fence.name)
def test_what_the_documentation_says_to_type_works(newcomer: Newcomer, fence: Fence) -> None:
    newcomer.type(*fence.lines)
