"""Where the project's files are."""

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]
LOCAL_DIRECTORY = PROJECT_ROOT / ".localcloud"
"""Engine, local cloud, its state and its keys; untracked."""


def stack_file(name: str) -> Path:
    """The tracked config of an environment."""
    return PROJECT_ROOT / f"Pulumi.{name}.yaml"


def known_environments() -> list[str]:
    """The environments that have a stack file."""
    return sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in PROJECT_ROOT.glob("Pulumi.*.yaml"))
