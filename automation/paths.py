"""Where the project's files are: its Pulumi.yaml, its stack files, its local cloud. Leaves out what lies in other folders.

The project is the nearest folder, from the current one up, with a Pulumi.yaml of this program; else the checkout that this
package is in; else the current folder, where `edge init` may begin one.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[1]
_SHIPPED = Path(__file__).resolve().with_name("project")
_OURS = re.compile(r"""(?m)^name:\s*["']?edge-inference["']?\s*(#|$)""")


def is_project(folder: Path) -> bool:
    """Whether a folder has a Pulumi.yaml of this program."""
    try:
        return bool(_OURS.search((folder / "Pulumi.yaml").read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        return False


def _candidates() -> Iterator[Path]:
    here = Path.cwd()
    yield from (here, *here.parents, _CHECKOUT)


PROGRAM = _SHIPPED if _SHIPPED.is_dir() else _CHECKOUT
"""The program as it comes with this package: what `edge init` copies."""
PROJECT_ROOT = next(filter(is_project, _candidates()), Path.cwd())
LOCAL_DIRECTORY = PROJECT_ROOT / ".localcloud"
"""Engine, local cloud, its state and its keys; untracked."""


def typed_pulumi() -> str:
    """How plain `pulumi` is called in this shell: it needs not be on PATH, where the project has an engine of its own."""
    own = LOCAL_DIRECTORY / "engine" / "bin" / "pulumi"
    return "pulumi" if shutil.which("pulumi") or not own.exists() else str(own)


def stack_file(name: str, folder: Path) -> Path:
    """The config of an environment."""
    return folder / f"Pulumi.{name}.yaml"


def known_environments(folder: Path) -> list[str]:
    """The environments that have a stack file in a folder."""
    return sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in folder.glob("Pulumi.*.yaml"))
