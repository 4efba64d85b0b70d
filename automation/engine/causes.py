"""What failed in a run, cause by cause: each is told once, with everything that it befell, and without the text of a command.

Pure. The run's log keeps all that the engine said.
"""

import re
from collections.abc import Iterable

_COMMAND_TEXT = re.compile(r': running "(?:[^"\\]|\\.)*"', re.DOTALL)
"""As the command plugin ends what it says of a failed step: with the whole script."""
_NAMED = re.compile(r"(?P<name>[a-z0-9][\w./-]*): (?P<cause>.+)", re.DOTALL)
_OWN = re.compile(
    r"[a-z]{2}(?:-[a-z]+)+-\d(?:-[a-z]{3}-\d)?[a-z](?:-\d+)?\b|\b\d+(?:\.\d+){3}(?::\d+)?\b|\b(?:i|eipalloc|eni|subnet|sg)-[0-9a-f]+\b"
    r"|\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b\d+(?:\.\d+)? ?s\b"
)
"""What tells one replica's failure from another's of the same cause: zones, addresses, ids, times."""
_MOST_NAMES = 3


def without_command(text: str) -> str:
    """What a failed step said, without the script that it ran."""
    return _COMMAND_TEXT.sub("", text)


def same_cause(text: str) -> str:
    """What two failures of one cause have in common."""
    found = _NAMED.fullmatch(text.strip())
    return _OWN.sub("", without_command(found["cause"] if found else text).strip())


def by_cause(errors: Iterable[str]) -> list[str]:
    """Errors, each as `NAME: what happened`, as one text for each cause: the names first, then what happened to the first."""
    names: dict[str, list[str]] = {}
    first: dict[str, str] = {}
    for error in errors:
        found, key = _NAMED.fullmatch(error), same_cause(error)
        first.setdefault(key, without_command(found["cause"] if found else error))
        names.setdefault(key, []).extend([found["name"]] if found else [])
    return [f"{_shown(names[key])}{cause}" for key, cause in first.items()]


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{more}: " if names else ""
