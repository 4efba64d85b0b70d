"""Two runs side by side: before and after a change, or two deployments.

Runs of different times are not paired, so a change is only claimed where the intervals of both medians leave each other out; what
makes the runs differ in more than the numbers is named. Leaves out how it is shown: console.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttft.samples import Connection

if TYPE_CHECKING:
    from ttft.results import Summary, TargetResult

_SAME = ("output_tokens", "load", "dialect", "servers", "prompts")
"""Parts of the set-up that make numbers comparable."""


@dataclass(frozen=True)
class Change:
    """One target's median in both runs, in milliseconds."""

    name: str
    connection: Connection
    prompt_tokens: int
    before_ms: float
    after_ms: float
    is_shown: bool
    """Whether the medians' 95 % intervals leave each other out."""

    @property
    def change_ms(self) -> float:
        """After minus before: negative where it became faster."""
        return self.after_ms - self.before_ms


@dataclass(frozen=True)
class Comparison:
    """What changed, what could not be compared, and what else differs."""

    changes: tuple[Change, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    warnings: tuple[str, ...]


def compare(before: "Summary", after: "Summary") -> Comparison:
    """Compares what has the same name, kind of connection and prompt length in both."""
    old, new = _by_key(before), _by_key(after)
    return Comparison(
        changes=tuple(change for key in old if key in new if (change := _change(old[key], new[key]))),
        only_before=tuple(_words(key) for key in old if key not in new),
        only_after=tuple(_words(key) for key in new if key not in old),
        warnings=tuple(_warnings(before, after)),
    )


def _by_key(summary: "Summary") -> "dict[tuple[str, Connection, int], TargetResult]":
    return {(each.name, each.connection, each.prompt_tokens): each for each in summary.targets}


def _change(old: "TargetResult", new: "TargetResult") -> Change | None:
    a, b = old.ttft_ms, new.ttft_ms
    if a.p50 is None or b.p50 is None:
        return None
    apart = (
        a.p50_low is not None
        and a.p50_high is not None
        and b.p50_low is not None
        and b.p50_high is not None
        and (a.p50_high < b.p50_low or b.p50_high < a.p50_low)
    )
    return Change(old.name, old.connection, old.prompt_tokens, a.p50, b.p50, apart)


def _words(key: tuple[str, Connection, int]) -> str:
    name, connection, prompt_tokens = key
    return f"{name} ({connection}, {prompt_tokens} prompt tokens)"


def _warnings(before: "Summary", after: "Summary") -> Iterator[str]:
    if before.simulated != after.simulated:
        told = [" and ".join(each.simulated.parts) or "nothing" for each in (before, after)]
        yield f"simulated before: {told[0]}; after: {told[1]}. These numbers cannot be compared."
    for key in _SAME:
        if before.setup.get(key) != after.setup.get(key):
            yield f"the set-up differs in {key!r}."
    for name, summary in (("before", before), ("after", after)):
        if summary.interrupted:
            yield f"the run {name} was interrupted."
        if any(each.drift and each.drift.drifted for each in summary.targets):
            yield f"the run {name} drifted."
