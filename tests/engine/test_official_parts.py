"""That the engine tests run on the official `command` plugin and language host where EDGE_OFFICIAL_PARTS names their folder.

Ours are used elsewhere. The tests themselves are all the others of this tier: with the variable they all run on these parts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import OFFICIAL_PARTS, OREGON, Deployment, tokens

from automation.engine.plugins import needed_plugins

if TYPE_CHECKING:
    from support import World

pytestmark = pytest.mark.engine

PARTS = ("pulumi-resource-command", "pulumi-language-python", "pulumi-language-python-exec")


def test_what_runs_is_official(pulumi_binary: Path, world: World, stack_files: Path) -> None:
    folder = OFFICIAL_PARTS
    if not folder:
        pytest.skip(f"EDGE_OFFICIAL_PARTS names no folder with {', '.join(PARTS)}: see CONTRIBUTING.md")
    assert [name for name in PARTS if not Path(folder, name).exists()] == []
    host = pulumi_binary.with_name("pulumi-language-python")
    assert host.read_bytes() == Path(folder, host.name).read_bytes()
    deployment = Deployment("official", world, stack_files)
    deployment.configure([OREGON])
    outputs = deployment.up().outputs
    assert tokens(outputs["endpoint_urls"][OREGON])
    (command,) = (each for each in needed_plugins(world.directory / "pulumi") if each.name == "command")
    assert command.path
    assert command.path.resolve() == Path(folder, "pulumi-resource-command").resolve()
    deployment.destroy()
