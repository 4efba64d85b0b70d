"""Fixtures of the engine tests: the real Pulumi engine, and local clouds to deploy to."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import pytest
from support import CLOCK, OFFICIAL_PARTS, ROOMY, World

from automation.paths import LOCAL_DIRECTORY
from automation.provision.engine import EngineError, provide
from localcloud import client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On official parts, leaves out what only ours do."""
    for item in items:
        mark = item.get_closest_marker("our_parts")
        if OFFICIAL_PARTS and mark:
            item.add_marker(pytest.mark.skip(reason=f"on official parts: {mark.args[0]}"))


def with_official_parts(binary: Path, folder: Path) -> Path:
    """An engine whose language host is the official one. Also makes this process's engines and clouds use the official plugin."""
    parts, bin_folder, on_path = Path(OFFICIAL_PARTS or "").resolve(), folder / "engine" / "bin", folder / "path"
    shutil.copytree(binary.parents[1], folder / "engine", ignore=shutil.ignore_patterns("*.log", "pulumi-language-python*"))
    for path in parts.glob("pulumi-language-python*"):
        shutil.copy2(path, bin_folder)
    on_path.mkdir()
    (on_path / "pulumi-resource-command").symlink_to(parts / "pulumi-resource-command")
    # The engine prefers a plugin on PATH to an installed one; the official host takes the python there; the plugin dials port 22.
    os.environ["PATH"] = os.pathsep.join([str(on_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ["EDGE_CLOUD_LOW_PORTS"] = "yes"
    return bin_folder / "pulumi"


class _CaptureManager(Protocol):
    """Pytest's own, which has no public type."""

    def global_and_fixture_disabled(self) -> AbstractContextManager[None]: ...


@pytest.fixture(scope="session")
def pulumi_binary(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine's executable; building it takes minutes, so each line of that is shown."""
    capture = cast("_CaptureManager", pytestconfig.pluginmanager.getplugin("capturemanager"))

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"engine: {line}", flush=True)  # noqa: T201

    try:
        binary = provide(LOCAL_DIRECTORY / "engine", say).path
    except EngineError as error:
        pytest.skip(f"no Pulumi engine: {error}")
    return with_official_parts(binary, tmp_path_factory.mktemp("official")) if OFFICIAL_PARTS else binary


@pytest.fixture(scope="session")
def make_world(pulumi_binary: Path) -> Iterator[Callable[[], World]]:
    """Makes folders for local clouds, which share the engine; all are stopped and removed in the end."""
    made: list[Path] = []

    def make() -> World:
        # Not pytest's own folder: its path is too long for sockets.
        directory = Path(tempfile.mkdtemp(prefix="edge-"))
        made.append(directory)
        (directory / "engine").symlink_to(pulumi_binary.parents[1])
        return World(directory)

    yield make
    for directory in made:
        client.stop(directory)
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def world(make_world: Callable[[], World]) -> World:
    """The local cloud that most tests deploy to."""
    world = make_world()
    client.start(world.directory, port=0)
    world.set_faults(**ROOMY)
    world.status.request("PUT", "health-checkers", {"speed": CLOCK})
    return world


@pytest.fixture(scope="module")
def stack_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the stack files of a module's deployments."""
    return tmp_path_factory.mktemp("stacks")
