"""Drives environments of this project: from Python with `Environment`, from the shell with `edge`."""

from typing import TYPE_CHECKING

from automation.errors import EdgeError

if TYPE_CHECKING:
    from automation.engine.run_iterator import Run
    from automation.environment import Environment

__all__ = ["EdgeError", "Environment", "Run"]


def __getattr__(name: str) -> object:
    """Imports Environment, and with it Pulumi, only for who uses it: `edge --help` must come at once."""
    if name == "Environment":
        from automation.environment import Environment

        return Environment
    if name == "Run":
        from automation.engine.run_iterator import Run

        return Run
    raise AttributeError(name)
