"""How runs are told, whichever command runs them: their events, where they act, what is paid, and how they failed.

Left out: what only one command says.
"""

import sys
import textwrap
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from automation.commands.terminal import say, show_json_line
from automation.errors import DeploymentFailedError, EdgeError

if TYPE_CHECKING:
    from automation.account.prices import HourlyPrice
    from automation.engine.events import OnEvent
    from automation.engine.results import ResourceChange
    from automation.environment import Environment


@contextmanager
def told(
    title: str, environment: "Environment", *, as_json: bool = False, is_plan: bool = False, has_table: bool = False
) -> Generator["OnEvent"]:
    """How a run's events are told: as JSON lines, as a table on a terminal, else as plain lines."""
    from automation.engine.events import as_json as described

    if as_json:
        try:
            yield lambda event: show_json_line(described(event))
        except EdgeError as error:
            show_json_line(failure(error))
            raise
        return
    say(f"{title}: '{environment.name}' on {where(environment)}")
    with _table(environment) if has_table and sys.stderr.isatty() else _lines(is_plan=is_plan) as shown:
        yield shown.on_event
    if environment.name != "local" and (is_plan or has_table):
        for stand_in in environment.stand_ins:
            say(f"  stand-in  {stand_in}")


def _table(environment: "Environment") -> Any:
    from rich.console import Console

    from automation.commands.live_table import LiveTable

    return LiveTable(Console(stderr=True, highlight=False), environment.planned_replicas())


def _lines(*, is_plan: bool) -> Any:
    from automation.commands.progress import ProgressLines

    return ProgressLines(say, is_plan=is_plan)


def price_lines(title: str, environment: "Environment", price: "HourlyPrice") -> Iterator[str]:
    """What instances cost, and what that leaves out."""
    from automation.account.prices import FOOTNOTE

    indent = " " * len(title)
    yield f"{title}{price}{', on AWS' if environment.on_local_cloud else ''}"
    if environment.on_local_cloud:
        yield f"{indent}here nothing is billed: all is simulated"
    source = f"{FOOTNOTE}; source: edge cost {environment.arguments}"
    yield from textwrap.wrap(source, 80, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False)


def failure(error: EdgeError) -> dict[str, Any]:
    """A run's failure, as its last JSON line."""
    sites = error.sites if isinstance(error, DeploymentFailedError) else {}
    return {
        "event": "failed",
        "exit_code": error.exit_code,
        "error": str(error),
        "sites": {zone: {"stage": failure.stage, "reasons": failure.reasons} for zone, failure in sites.items()},
        "log": str(error.log) if error.log else None,
    }


def described(resources: "tuple[ResourceChange, ...]") -> list[dict[str, Any]]:
    """Resources, for JSON."""
    return [vars(each) for each in resources]


def where(environment: "Environment") -> str:
    """Where it is deployed, in words."""
    return "the local cloud (simulated AWS)" if environment.on_local_cloud else "AWS"
