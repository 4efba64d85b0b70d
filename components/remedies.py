"""The lines that a person pastes: `edge` commands with a mark in the place of the environment, which whoever tells them puts in.

The program that finds a problem does not always know how `edge` is told of the environment (`prod`, or `prod --local`). Leaves
out what is wrong: problems.py holds both.
"""

import re
import shlex

ENVIRONMENT = "ENV"
"""The mark."""
_COMMENT = "   # "


def set_line(path: str, value: str) -> str:
    """Sets a plain value of the config; `path` with or without the project's name, `value` as a shell takes it."""
    return f"edge config {ENVIRONMENT} {shlex.quote(path.removeprefix('edge-inference:'))} {value}"


def unset_line(path: str) -> str:
    """Takes a plain value of the config away."""
    return f"edge config {ENVIRONMENT} {shlex.quote(path.removeprefix('edge-inference:'))} --unset"


def secret_line(key: str) -> str:
    """Stores a secret, from standard input or asked for."""
    return f"edge secret set {ENVIRONMENT} {key}"


def for_environment(fix: str, arguments: str) -> str:
    """Lines for an environment: `prod`, `local`, or `prod --local`. On the local cloud AWS's own tool is led there, since the
    line may be pasted anywhere.
    """
    lines = re.sub(rf"\b{ENVIRONMENT}\b", arguments, fix).split("\n")
    name, _, rehearsed = arguments.partition(" ")
    if name == "local" or rehearsed:
        lines = [_led(line, name) for line in lines]
    return "\n".join(lines)


def _led(line: str, environment: str) -> str:
    command, mark, comment = line.partition(_COMMENT)
    if not command.startswith("aws "):
        return line
    return f'( eval "$(edge env local --stack {environment})"; {command} ){mark}{comment}'


def arguments_of(stack: str, *, is_local: bool) -> str:
    """How `edge` is told of a stack."""
    return f"{stack} --local" if is_local and stack != "local" else stack
