"""Where the project's files are."""

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]
LOCAL_DIRECTORY = PROJECT_ROOT / ".localcloud"
"""Engine, local cloud, its state and its keys; untracked."""


def stack_file(name: str, folder: Path) -> Path:
    """The config of an environment."""
    return folder / f"Pulumi.{name}.yaml"


def known_environments(folder: Path) -> list[str]:
    """The environments that have a stack file in a folder."""
    return sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in folder.glob("Pulumi.*.yaml"))
