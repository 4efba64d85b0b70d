"""Which environments there are, and what of them is deployed as far as this machine's files tell. Asks nobody.

Left out: whether anything serves at this moment (sites/status.py).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from automation.engine.deployed import Deployed, planned_sites
from automation.engine.results import inventory_of
from automation.engine.state_files import StateFile
from automation.errors import UsageError
from automation.paths import known_environments
from localcloud import client


@dataclass(frozen=True)
class Listed:
    """An environment in one place."""

    name: str
    place: Literal["AWS", "local cloud"]
    zones: tuple[str, ...] | None
    """Of the sites that its stack file asks for; None where that file is not sound."""
    hosts: int | None
    """How many are deployed, by the state; None where the state is no file of this machine, or cannot be read."""


def listed(folder: Path, directory: Path) -> Iterator[Listed]:
    """The environments of a folder of stack files, on AWS or on the local cloud; rehearsals there follow, where there are any."""
    is_running = client.status(directory) is not None
    for name in known_environments(folder):
        zones = _zones(folder, name)
        if name != "local":
            yield Listed(name, "AWS", zones, _hosts(Deployed(name, directory=directory, stack_files=folder).state_file()))
        rehearsed = Deployed(name, on_local_cloud=True, directory=directory, stack_files=folder).state_file()
        # The local cloud lives in memory: what a state says of an earlier one is gone.
        hosts = _hosts(rehearsed) if is_running else 0
        if name == "local" or hosts:
            yield Listed(name, "local cloud", zones, hosts)


def _zones(folder: Path, name: str) -> tuple[str, ...] | None:
    try:
        return tuple(site.zone for site in planned_sites(folder / f"Pulumi.{name}.yaml", name))
    except UsageError:
        return None


def _hosts(state: StateFile | None) -> int | None:
    if state is None:
        return None
    try:
        written: dict[str, Any] = json.loads(state.path.read_bytes())
        deployment: dict[str, Any] = written["checkpoint"]["latest"] or {}
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return sum(site.instances for site in inventory_of(deployment).sites.values())
