"""How a configuration problem is described to the person who can mend it.

Leaves out how problems are found: settings/ judges the config itself, preflight.py what AWS says about it.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from components.remedies import for_environment

_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode's categories of characters that steer a terminal, or that nobody sees."""


def printable(text: str) -> str:
    """A text whose control characters are shown, escaped, in place of taking effect; lines stay lines."""
    return "".join(
        each if each == "\n" or unicodedata.category(each) not in _INVISIBLE else each.encode("unicode_escape").decode()
        for each in text
    )


def path_part(part: int | str) -> str:
    """One step of a key path as `pulumi config --path` reads it."""
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if re.fullmatch(r"[\w-]+", part) else f'["{part}"]'


@dataclass(frozen=True)
class Problem:
    """One thing that keeps a stack from being deployed."""

    path: str
    """Where it is: a key path as `pulumi config` spells it, such as `edge-inference:sites[1].zone`."""
    value: str | None
    """What was found there; None where nothing was, or where it is a secret."""
    reason: str
    """Why it cannot work."""
    fix: str
    """The line to paste or the command to run; remedies.py has the mark for the environment."""

    def told_to(self, arguments: str) -> "Problem":
        """With lines for an environment, by what `edge` is told of it."""
        return replace(self, fix=for_environment(self.fix, arguments))

    def __str__(self) -> str:
        path, reason = self.path.replace("\n", "\\n"), self.reason.replace("\n", "\n    ")
        found = "" if self.value is None else f" = {_short(self.value)}"
        fix = "\n      ".join(self.fix.splitlines())
        return printable(f"{_short(path)}{found}\n    {reason}\n    -> {fix}")


def listed(problems: Sequence[Problem], arguments: str) -> str:
    """Problems with their numbers, to whom `arguments` is the environment."""
    return "\n".join(f"  {number}. {problem.told_to(arguments)}" for number, problem in enumerate(problems, 1))


class ConfigurationError(Exception):
    """Everything that is wrong with a stack's configuration, reported together."""

    def __init__(self, stack: str, problems: Sequence[Problem], arguments: str | None = None) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(
            f"{count} in the configuration of stack '{stack}'; nothing was changed.\n{listed(self.problems, arguments or stack)}"
        )


_LONGEST_SHOWN = 300


def _short(text: str) -> str:
    """The beginning of what is too long to be read."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]} ... ({len(text)} characters)"
