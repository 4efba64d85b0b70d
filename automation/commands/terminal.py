"""What every command says and asks: results on standard output, progress and questions on standard error."""

import json
import os
import re
import shutil
import sys
import textwrap
from pathlib import Path

from automation.errors import UsageError
from components.problems import printable

_COLOURS = re.compile("(\x1b\\[[0-9]{1,2}m)")
"""What tables.coloured writes."""


def say(text: str) -> None:
    """Lines of progress, on standard error; on a terminal broken between words, but for commands, which are copied."""
    lines = printable(text).split("\n")
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        lines = [part for line in lines for part in _broken(line, width)]
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


def _broken(line: str, width: int) -> list[str]:
    if len(line) <= width or "-> " in line:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return wrapped(line, width, indent)


def wrapped(text: str, width: int = 80, indent: str = "") -> list[str]:
    """A text in lines that are broken between words alone, the later ones indented: what is copied from them stays whole."""
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def counted(count: int, what: str) -> str:
    """`1 replica`, `2 replicas`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def show(text: str) -> None:
    """A line of the result, on standard output; of what steers a terminal, only our own colours take effect."""
    parts = _COLOURS.split(text) if sys.stdout.isatty() else [text]
    sys.stdout.write("".join(part if number % 2 else printable(part) for number, part in enumerate(parts)) + "\n")


def show_now(text: str) -> None:
    """A line of a result that goes on, at once."""
    show(text)
    sys.stdout.flush()


def show_json(value: object) -> None:
    """The whole result, as JSON."""
    show(json.dumps(value, indent=2))


def show_json_line(value: object) -> None:
    """One event, as one line of JSON, at once."""
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


def short_path(path: Path | None) -> str:
    """A path as it can be typed from here: below this folder relative, else whole."""
    relative = os.path.relpath(path) if path else "-"
    return str(path) if relative.startswith("..") else relative


def confirm(question: str) -> None:
    """Goes on only where a person says yes; UsageError where nobody is there to be asked."""
    import typer

    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to answer on\n  -> add --yes")
    typer.confirm(question, abort=True, err=True)
