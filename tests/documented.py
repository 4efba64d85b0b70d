"""The shell commands in README, CONTRIBUTING and docs/, with the test id that stands before each fence.

`<!-- test: NAME -->`: tests/engine/test_docs.py runs them on the local cloud. `<!-- test: NAME, not run: REASON -->`: only their
parse is checked. Leaves out other languages than the shell's.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import dropwhile, groupby, takewhile
from typing import TYPE_CHECKING

from automation.paths import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

_FENCE = re.compile(
    r"(?:^ *<!-- test: (?P<name>[a-z0-9-]+)(?:, not run: (?P<reason>[^>]+?))? -->\n+)?"
    r"^(?P<indent> *)```(?P<language>bash|console|sh|shell)\n(?P<text>.*?)^ *```",
    re.MULTILINE | re.DOTALL,
)
_JOINTS = {"|", "||", "&&", ";"}


@dataclass(frozen=True)
class Fence:
    """A fence of shell commands."""

    page: str
    line: int
    name: str | None
    reason: str | None
    """Why it is not run; None where it is."""
    lines: tuple[str, ...]
    """What is typed, without comments' own lines."""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def calls(self) -> Iterator[list[str]]:
        """The words of every single command, without redirections, pipes, variables and what stands in brackets."""
        for line in self.lines:
            for inner in (line, *re.findall(r"\$\(([^()]*)\)", line)):
                yield from _calls(inner)


def fences() -> list[Fence]:
    """Those of all pages."""
    pages = [PROJECT_ROOT / "README.md", PROJECT_ROOT / "CONTRIBUTING.md", *sorted((PROJECT_ROOT / "docs").rglob("*.md"))]
    return [fence for page in pages for fence in fences_of(str(page.relative_to(PROJECT_ROOT)), page.read_text(encoding="utf-8"))]


def fences_of(page: str, text: str) -> Iterator[Fence]:
    """Those of one page."""
    for match in _FENCE.finditer(text):
        typed = list(_typed(match["text"], is_session=match["language"] == "console"))
        yield Fence(page, text[: match.start("indent")].count("\n") + 1, match["name"], match["reason"], tuple(typed))


def _typed(text: str, *, is_session: bool) -> Iterator[str]:
    """The lines that a person types; of a session those after `$`."""
    whole = re.sub(r"\s*\\\n\s*", " ", text)
    for line in filter(str.strip, whole.splitlines()):
        if not is_session:
            yield line.strip()
        elif line.startswith("$ "):
            yield line[2:].strip()


def _calls(line: str) -> Iterator[list[str]]:
    try:
        words = shlex.split(re.sub(r"\[-[^\]]*\]", "", line), comments=True)
    except ValueError:  # it ends within quotes: part of another command
        return
    for is_joint, group in groupby(words, lambda word: word in _JOINTS):
        call = [] if is_joint else list(takewhile(lambda word: word not in {"<", ">"}, group))
        call = list(dropwhile(lambda word: re.fullmatch(r"[A-Z_]+=.*", word), call))
        if call:
            yield call
