"""A plan in words: what changes in the config's terms, for whom, at which price, and what cannot be undone.

Plain ASCII that fits 80 columns. Leaves out judging (sites/config_plan.py, rollout_plan.py) and the rollout's own lines
(rollout_words.py); the engine's resources come only where they are asked for.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from automation.commands.rollout_words import rollout_lines
from automation.commands.terminal import wrapped

if TYPE_CHECKING:
    from automation.engine.config_plan import ConfigChange
    from automation.engine.results import Plan, ResourceChange

_WIDTH, _INDENT = 80, 10
_TITLES = {
    "sites": "sites",
    "server": "server",
    "access.clientCidrs": "callers",
    "access.sshCidrs": "deployers",
    "apiKeys": "keys",
    "endpoint": "URL",
    "routing": "routing",
    "drained": "drained",
    "protect": "protect",
    "tags": "tags",
}
"""What a line begins with, by the beginning of the config's key."""
_SIGNS = {"added": "+ ", "removed": "- ", "changed": "", "unknown": "? "}


def plan_lines(plan: "Plan") -> list[str]:
    """All but the price."""
    lines = [*_config(plan)]
    if plan.rollout:
        lines += rollout_lines(plan.rollout)
    if plan.config.for_good:
        lines += paragraph("for good", "; ".join(plan.config.for_good))
    return lines or [_nothing(plan)]


def resource_lines(resources: "Sequence[ResourceChange]", counts: Mapping[str, int]) -> Iterator[str]:
    """The engine's resources, as `--details` shows them."""
    yield ", ".join(f"{count} {operation}" for operation, count in sorted(counts.items())) or "no resources"
    for each in resources:
        differs = f"  ({', '.join(each.differs)})" if each.differs else ""
        if each.operation == "forget":
            differs = "  (the account stays opted in)"
        yield from textwrap.wrap(
            f"  {each.operation:<8} {each.name}  {each.kind}{differs}", _WIDTH, subsequent_indent=" " * 13, break_on_hyphens=False
        )


def paragraph(title: str, text: str) -> list[str]:
    """A text beside its title, broken between words."""
    lines = wrapped(text, _WIDTH - _INDENT, "  ")
    return [f"{title if number == 0 else '':<{_INDENT}}{line}" for number, line in enumerate(lines)]


def _config(plan: "Plan") -> Iterator[str]:
    told_by_rollout = {what for each in (plan.rollout.changes if plan.rollout else ()) for what in each.what}
    last = ""
    for each in plan.config.changes:
        if each.what in told_by_rollout:
            continue
        title = _title(each)
        yield from paragraph(title if title != last else "", f"{_SIGNS[each.effect]}{each.what}")
        last = title


def _title(change: "ConfigChange") -> str:
    return next((title for key, title in _TITLES.items() if change.key.startswith(key)), "settings")


def _nothing(plan: "Plan") -> str:
    if not plan.changed:
        return "Nothing to change: what is deployed is as the config says."
    things = "1 resource is" if plan.changed == 1 else f"{plan.changed} resources are"
    return f"No setting changes; {things} brought to this release (--details)."
