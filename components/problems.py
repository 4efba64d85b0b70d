"""How a configuration problem is described to the person who can mend it.

Leaves out how problems are found: settings/ judges the config itself, preflight.py what AWS says about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass


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
    """The line to paste or the command to run."""

    def __str__(self) -> str:
        found = "" if self.value is None else f" = {self.value}"
        fix = "\n      ".join(self.fix.splitlines())
        return f"{self.path}{found}\n    {self.reason}\n    -> {fix}"


class ConfigurationError(Exception):
    """Everything that is wrong with a stack's configuration, reported together."""

    def __init__(self, stack: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        listed = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1))
        super().__init__(f"{count} in the configuration of stack '{stack}'; nothing was changed.\n{listed}")
