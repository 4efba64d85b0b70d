"""The release that a state was last written by: an older checkout must not touch it, since it knows less of what is in there.

Kept in the state itself, as the input of a Stash that each run sets anew and first of all, so that plain `pulumi` and `edge`
both see it, and a run that was killed has left it. Leaves out which release can read what: a newer one reads all older states.
"""

from collections.abc import Mapping
from typing import Any, cast

import pulumi

from components.running_state import resource_outputs

RELEASE = 1
"""Counts up when a state holds what the release before would break or lose: 1 is the first that looks."""
_NAME = "release"
_STASH = "pulumi:index:Stash"


def record_release() -> None:
    """Writes this release into the state."""
    pulumi.Stash(_NAME, input=RELEASE)


def newer_release_problem() -> str | None:
    """What is wrong where the running stack's state was written by a newer release; None where it was not."""
    return _problem(resource_outputs())


def newer_deployment_problem(deployment: Mapping[str, Any]) -> str | None:
    """The same of an exported deployment (`pulumi stack export`)."""
    resources = cast("list[dict[str, Any]]", deployment.get("resources") or [])
    return _problem({str(each["urn"]): each.get("inputs") for each in resources})


def _problem(properties: Mapping[str, Mapping[str, object] | None]) -> str | None:
    """By URN, the outputs or the inputs of a state's resources: a Stash has its input among both."""
    written = [held.get("input") for urn, held in properties.items() if held and urn.endswith(f"::{_STASH}::{_NAME}")]
    newest = max((int(each) for each in written if isinstance(each, int | float)), default=0)
    if newest <= RELEASE:
        return None
    return (
        f"this stack's state was written by a newer release of this project: {newest}, and this checkout is {RELEASE}. "
        "It would break what it does not know; nothing was changed\n  -> git pull   # a checkout at least as new"
    )
