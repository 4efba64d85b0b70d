"""`edge list`: the environments that are here, where each is, and what is deployed as far as files tell. Asks nobody."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from automation.commands.options import JsonFlag
from automation.commands.terminal import say, show, show_json
from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT

if TYPE_CHECKING:
    from automation.engine.listing import Listed

_SHOWN_ZONES = 2
"""As many names as fit a terminal of 80 columns."""


def list_environments(as_json: JsonFlag = False) -> None:  # noqa: FBT002
    """List the environments, and what is deployed.

    Asks nobody: of a state that is no file of this machine it says so.

    Example: edge list
    """
    from automation.engine.listing import listed
    from automation.tables import table

    found = list(listed(PROJECT_ROOT, LOCAL_DIRECTORY))
    if as_json:
        show_json([asdict(each) for each in found])
        return
    if not found:
        say("There is no environment yet\n  -> edge init NAME")
        return
    rows = [[each.name, each.place, _deployed(each), _sites(each)] for each in found]
    for line in table(["environment", "on", "deployed", "sites of its file"], rows):
        show(line)
    if unknown := [each.name for each in found if each.hosts is None]:
        say(f"Not known here: the state lies elsewhere, and was not asked.\n  -> edge status {unknown[0]}")


def _deployed(each: "Listed") -> str:
    if each.hosts is None:
        return "not known here"
    return f"{each.hosts} host{'' if each.hosts == 1 else 's'}" if each.hosts else "nothing"


def _sites(each: "Listed") -> str:
    if each.zones is None:
        return f"no sound file: edge doctor {each.name}"
    more = len(each.zones) - _SHOWN_ZONES
    return ", ".join(each.zones[:_SHOWN_ZONES]) + (f", +{more}" if more > 0 else "")
