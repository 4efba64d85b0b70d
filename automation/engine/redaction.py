"""Keeps secrets out of everything that a run writes or tells: the one filter that the engine's words pass.

It knows values, not patterns: a git commit or a digest looks like a key and must stay readable.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

REDACTED = "[secret]"
SHORTEST_SECRET = 8
"""Shorter values would make holes in ordinary words, and are no secrets worth the name."""
_SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "EDGE_CLOUD_TOKEN",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "PULUMI_ACCESS_TOKEN",
    "PULUMI_CONFIG_PASSPHRASE",
)


class Redactor:
    """Replaces known secrets in texts, the longest first; of a secret of several lines, each line."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {each for secret in secrets for each in _spellings(secret)}
        longest_first = sorted(spellings, key=lambda each: (-len(each), each))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return self._pattern.sub(REDACTED, text) if self._pattern else text


def config_secrets(config: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The secret values in what `pulumi config --json --show-secrets` prints; of objects, every text in them."""
    for entry in config.values():
        if entry.get("secret"):
            yield from _texts(entry["objectValue"] if "objectValue" in entry else entry.get("value"))


def environment_secrets() -> Iterator[str]:
    """The secrets that this process was given in variables."""
    yield from filter(None, map(os.environ.get, _SECRET_VARIABLES))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in cast("dict[str, object]", value).values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in cast("list[object]", value):
            yield from _texts(each)


def _spellings(secret: str) -> Iterator[str]:
    """The secret as it stands, as JSON and Go show it in quotes, and line by line: an output comes in lines."""
    whole = secret.strip()
    # PEM's own first and last line are no secret.
    lines = [line.strip() for line in whole.splitlines() if not line.startswith("-----")]
    for each in (whole, json.dumps(whole)[1:-1], *lines):
        if len(each) >= SHORTEST_SECRET:
            yield each
