"""Tables of plain text: columns that line up on a terminal and in a file, without boxes.

Leaves out wrapping: what does not fit a terminal is for the callers to keep short.
"""

import os
import sys
from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), margin: str = "") -> list[str]:
    """The lines of a table, the header first; the columns numbered in `right` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        margin
        + "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]


def coloured(text: str, colour: str) -> str:
    """The text in a colour (click's names) where standard output is a terminal and nobody asked for none (NO_COLOR)."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    import click

    return click.style(text, fg=colour)
