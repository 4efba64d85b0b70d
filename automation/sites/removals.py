"""Replicas that a config has no more and that are the last to go: they serve until the only one that stays has changed, or until
what takes their place is there.

Says which, and what a run must leave alone meanwhile. Leaves out how they leave (host_turns.py), and all removals beside which
two or more stay: those go first.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

from automation.sites.host_turns import changed_hosts, removed_hosts, serving
from automation.sites.repairs import deployed_replicas
from automation.sites.takeover import dns_plan
from components.host_changes import OF_A_REGION
from components.rollout import last_to_go, order
from components.settings import Settings

_ROUTING = "routing"
"""How build.py calls the routing component; its name begins those of its children (components/routing.py)."""


@dataclass(frozen=True)
class Removals:
    """What `up` takes away by the config."""

    first: Mapping[str, str]
    """The replicas that are drained before the run, each with the reason."""
    last: Mapping[str, str]
    """The same of those that are drained after it, and removed by one of their own."""
    resources: tuple[str, ...]
    """URNs of all that such a run must leave alone: what the config has no more."""


def removals(deployment: Mapping[str, Any], settings: Settings) -> Removals:
    """What a config removes of what serves. `deployment`: the exported state. Nothing is last that must go with its VPC."""
    with_its_region = any(why.startswith(OF_A_REGION) for why in changed_hosts(deployment, settings).values())
    last = [] if with_its_region else last_to_go(serving(deployment), settings)
    removed = dict.fromkeys(removed_hosts(deployment, settings), "removed from `sites`")
    first = {key: why for key, why in removed.items() if key not in last}
    return Removals(first, {key: removed[key] for key in last}, unplanned(deployment, settings) if last else ())


def unplanned(deployment: Mapping[str, Any], settings: Settings) -> tuple[str, ...]:
    """URNs of a state's resources of sites, replicas, Regions and records that the config has no more, told by their names."""
    deployed = deployed_replicas(deployment)
    planned = set(order(settings))
    zones = {each.zone for each in deployed.values()} - {site.zone for site in settings.sites}
    regions = {each.region for each in deployed.values()} - settings.regions.keys()
    gone = {*(deployed.keys() - planned), *zones, *regions}
    plan = dns_plan(settings)
    records = {f"{_ROUTING}-{record.key}" for record in plan.records} if plan else set[str]()
    routing = {_ROUTING, f"{_ROUTING}-zone", *records, *(f"{_ROUTING}-health-{key}" for key in planned)}
    urns = [str(each["urn"]) for each in cast("list[dict[str, Any]]", deployment.get("resources") or [])]
    return tuple(urn for urn in urns if _is_of(urn.rpartition("::")[2], gone, routing))


def _is_of(name: str, gone: Collection[str], routing: Collection[str]) -> bool:
    if name.partition("-")[0] == _ROUTING:
        return name not in routing
    return any(name == each or name.startswith(f"{each}-") for each in gone)
