"""docs/reference/errors.md is found by searching for a text: each of its texts is said by the code, or by a known other."""

from __future__ import annotations

import re
import subprocess
from functools import cache

import pytest

from automation.paths import PROJECT_ROOT

PAGE = (PROJECT_ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
ROOMS = ("automation", "components", "localcloud", "tools")
ENOUGH_WORDS = 3
"""In a row, said by the code: a text of ours is put together of parts."""
FOREIGN = {
    "Address already in use",
    "InvalidClientTokenId",
    "AuthFailure",
    "unexpected end of JSON input",
    "failed to load checkpoint",
    "launch refused",
    "connection refused",
    "unable to authenticate",
    "host key mismatch",
    "handshake failed",
    "no route to host",
    "Traceback",
    "string field contains invalid UTF-",
}
"""Of AWS, Pulumi, its plugins and Python."""
_VARIABLE = re.compile(r"…|[\d:;,()=\"']+|\b(?:N|ENV|ADDRESS|failed|g4dn.2xlarge)\b|/")


def texts() -> list[str]:
    """What stands in backticks in the first column."""
    cells = (re.split(r"(?<!\\)\|", row)[1] for row in PAGE.splitlines() if row.startswith("| `"))
    return [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]


@cache
def code() -> str:
    """What the code says, on one line, without what it fills in."""
    files = subprocess.run(["git", "ls-files", *ROOMS], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stdout
    paths = [PROJECT_ROOT / name for name in files.splitlines() if name.endswith((".py", ".sh"))]
    said = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    said = re.sub(r'"\s*\n\s*f?"', "", said)  # a text over several lines
    return " ".join(re.sub(r"\{[^{}]*\}", "…", said).split())


@pytest.mark.parametrize("text", texts())
def test_a_text_of_the_page_is_one_that_is_said(text: str) -> None:
    words = max((part.split() for part in _VARIABLE.split(text)), key=lambda part: len(" ".join(part)))
    count = min(len(words), ENOUGH_WORDS)
    said = [" ".join(words[at : at + count]) in code() for at in range(len(words) - count + 1)]
    assert any(said) or any(each in text for each in FOREIGN), f"{' '.join(words)!r} is said nowhere: search finds nothing"


def test_the_page_has_texts() -> None:
    assert len(texts()) > 60
