"""A rollout in words: what a plan says of it, and which wave is at work while it goes on.

Plain ASCII that fits 80 columns, about ten lines. Leaves out judging: sites/rollout_plan.py does.
"""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from automation.commands.terminal import counted
from automation.engine.rollout import same_changes

if TYPE_CHECKING:
    from automation.engine.rollout import ReplicaChange, RolloutPlan, Taker

_WIDTH, _INDENT = 80, 10
_MOST_TURNS = 4
"""Of which there is a line each; `edge plan --json` has all."""


def rollout_lines(plan: "RolloutPlan") -> list[str]:
    """What a person reads of a plan's rollout."""
    paragraphs = [*_changes(plan), *_times(plan), *_turns(plan), *_doubts(plan)]
    lines = [
        line
        for each in paragraphs
        for line in textwrap.wrap(each, _WIDTH - _INDENT, subsequent_indent="  ", break_on_hyphens=False)
    ]
    return [f"{'rollout' if number == 0 else '':<{_INDENT}}{line}" for number, line in enumerate(lines)]


def duration(seconds: float | None) -> str:
    """A length of time, about: `45 s`, `4 min`."""
    if seconds is None:
        return "unknown"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"  # noqa: PLR2004


def _changes(plan: "RolloutPlan") -> Iterator[str]:
    for what, turns in same_changes(plan):
        yield f"{', '.join(what)} on {counted(len(turns), 'replica')}{_MEANING[turns[0].effect]}"


_MEANING = {
    "restart": "",
    "reload": ": their proxies reload one after another; none is away",
    "none": ": none is away",
}


def _times(plan: "RolloutPlan") -> Iterator[str]:
    away = _away(plan)
    if not away:
        return
    known = [each.away_seconds for each in away if each.away_seconds is not None]
    waves = sum(any(each.effect == "restart" for each in wave) for wave in plan.waves)
    order = f"{plan.at_once} of {plan.replicas} at once" if plan.replicas > 1 else "the only replica"
    canary = ", the first alone" if plan.at_once > 1 and waves > 1 else ""
    longest = max(away, key=lambda each: sum(each.seconds.values()))
    parts = ", ".join(f"{part} {seconds:.0f}" for part, seconds in longest.seconds.items() if round(seconds))
    if len(known) < len(away):
        yield f"{order}{canary}; away {f'for {parts} s and ' if parts else ''}as long as the server loads:"
        yield "that is unknown, since no replica's last run started one"
        return
    yield f"{order}{canary}; {'each ' if plan.replicas > 1 else ''}away for about {duration(max(known))}"
    yield f"({parts or 0} s, by the last change)"
    yield f"all of it: about {duration(plan.seconds)}{_credentials(plan)}"


def _credentials(plan: "RolloutPlan") -> str:
    if plan.credentials_expire is None:
        return ""
    left = duration(max(0.0, (plan.credentials_expire - plan.now).total_seconds()))
    if plan.outlasts_credentials:
        return f"; the AWS credentials end BEFORE that, in {left}"
    return f"; the AWS credentials last {left}"


def _turns(plan: "RolloutPlan") -> Iterator[str]:
    away = [(number, each) for number, wave in enumerate(plan.waves, 1) for each in wave if each.effect == "restart"]
    width = max((len(each.key) for _, each in away), default=0)
    for number, each in away[:_MOST_TURNS]:
        yield f"{number}  {each.key:<{width}}  {_users(each)}"
    if len(away) > _MOST_TURNS:
        yield f"and {len(away) - _MOST_TURNS} more (edge plan --json)"
    if any(taker.farther_km for _, each in away for taker in each.takers):
        yield "(estimates, for users who are where their site is)"


def _users(change: "ReplicaChange") -> str:
    if change.unprotected:
        return "not protected"
    if not change.takers:
        return "drained: has no users"
    return "users to " + " or ".join(_taker(each, change.zone) for each in change.takers)


def _taker(taker: "Taker", zone: str) -> str:
    if taker.zone == zone:
        return "the others of its site"
    if taker.farther_km is None or taker.farther_ms is None:
        return taker.zone
    return f"{taker.zone}, +{taker.farther_km} km, +{taker.farther_ms:.0f} ms"


def _doubts(plan: "RolloutPlan") -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for each in _away(plan):
        if each.unprotected:
            reasons.setdefault(each.unprotected, []).append(each.key)
    for reason, keys in reasons.items():
        who = ", ".join(keys) if len(keys) <= 2 else counted(len(keys), "replica")  # noqa: PLR2004
        yield f"NOT PROTECTED, requests fail meanwhile: {who}: {reason}"


def _away(plan: "RolloutPlan") -> list["ReplicaChange"]:
    return [each for each in plan.changes if each.effect == "restart"]
