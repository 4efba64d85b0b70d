"""The engine's provider plugins: which ones the program's SDKs need, where the engine finds them, and whose they are.

Leaves out installing: the engine downloads the official ones, and the local cloud brings its own (localcloud/plugins).
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from localcloud.plugins.install import PLUGINS

_HEAD_BYTES = 4096
_OWN_MODULES = b"localcloud.plugins."
"""What the launchers of the local cloud's plugins start."""


@dataclass(frozen=True)
class Plugin:
    """A provider plugin that the program needs."""

    name: str
    version: str
    """Exactly as its SDK asks for."""
    path: Path | None
    """The executable that the engine would start; None where it has none of this version."""
    is_stand_in: bool
    """Whether it is the local cloud's own, which acts on an emulated AWS and no other."""
    is_on_path: bool
    """Found on PATH, which comes before what is installed, whatever its version."""
    others: tuple[str, ...]
    """Versions that are installed and not asked for."""


def needed_plugins(home: Path) -> Iterator[Plugin]:
    """The plugins that the program needs, as the engine finds them from a PULUMI_HOME."""
    for name, package in PLUGINS.items():
        version, executable = metadata.version(package), f"pulumi-resource-{name}"
        ambient = None if os.environ.get("PULUMI_IGNORE_AMBIENT_PLUGINS") else shutil.which(executable)
        installed = {
            each.name.removeprefix(f"resource-{name}-v"): each / executable
            for each in sorted((home / "plugins").glob(f"resource-{name}-v*"))
            # The engine leaves NAME.partial beside what it has not finished.
            if (each / executable).exists() and not each.with_name(f"{each.name}.partial").exists()
        }
        path = Path(ambient) if ambient else installed.get(version)
        others = tuple(other for other in installed if other != version)
        yield Plugin(name, version, path, path is not None and _is_stand_in(path), ambient is not None, others)


def official_home() -> Path:
    """Where an engine that was told nothing else keeps its plugins."""
    return Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")


def _is_stand_in(executable: Path) -> bool:
    with executable.open("rb") as file:
        return _OWN_MODULES in file.read(_HEAD_BYTES)
