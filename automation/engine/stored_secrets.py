"""Secrets of a stack, encrypted by the engine into the stack's file, whose comments and layout stay.

A value reaches the engine on standard input alone. Leaves out whether it makes sense: secret_change.py.
"""

import os
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from automation.engine.command import Stack
from automation.engine.stack_edit import in_layout_of
from automation.engine.stack_file import write_whole
from automation.errors import EdgeError, UsageError


def is_text(value: str) -> bool:
    """Whether a value can be written as UTF-8: one from the environment or a terminal may hold bytes that are none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def set_secrets(stack: Stack, values: Mapping[str, str]) -> None:
    """Stores secrets by full key, or by `apiKeys.NAME`: the SDK's own call would show them on a command line."""
    with _layout_kept(stack):
        for key, value in values.items():
            if not is_text(value):
                raise UsageError(f"the value of {key} holds bytes that are no UTF-8, which no run could hand to the program")
            _config(stack, "set", key, "--secret", *_path(key), value=value)


def unset_secret(stack: Stack, key: str) -> None:
    """Takes a secret away."""
    with _layout_kept(stack):
        _config(stack, "rm", key, *_path(key))


def _path(key: str) -> list[str]:
    return ["--path"] if "." in key else []


def _config(stack: Stack, verb: str, key: str, *options: str, value: str = "") -> None:
    workspace = stack.workspace
    done = subprocess.run(  # noqa: S603
        [workspace.pulumi_command.command, "config", verb, key, *options, "--stack", stack.name, "--non-interactive"],
        cwd=workspace.work_dir,
        env={**os.environ, **workspace.env_vars},
        input=value,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        doing = "storing" if verb == "set" else "taking away"
        raise EdgeError(f"{doing} {key} failed: {done.stderr.strip()}")


@contextmanager
def _layout_kept(stack: Stack) -> Generator[None]:
    """The engine writes the file anew, with comments elsewhere."""
    path = Path(stack.workspace.work_dir) / f"Pulumi.{stack.name}.yaml"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    yield
    after = path.read_text(encoding="utf-8") if path.exists() else ""
    if before and (text := in_layout_of(before, after)) != after:
        write_whole(path, text)
