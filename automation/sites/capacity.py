"""GPUs for hosts that a run launches: asked for before anything is changed, kept until they run, then given back.

The AWS provider would try such a launch for up to 50 minutes, and a run that is cut off meanwhile may leave an instance behind.
A host that is replaced gives its own GPU back first, and none is asked for. Leaves out plain `pulumi up`, which asks nobody.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from automation.account.orphans import deployment_id
from automation.account.prices import DATED, instance_price
from automation.account.questions import ask_account
from automation.account.reservations import (
    NoCapacityError,
    SilentError,
    Wanted,
    give_back,
    keep,
    left_by_earlier_runs,
    offered_types,
)
from automation.engine.config_change import set_value
from automation.errors import CapacityError, UsageError
from automation.sites.repairs import deployed_replicas, reservations
from components.models import HubAnswer, ModelFacts, known_facts
from components.preflight import judge
from components.settings import PROJECT, Settings, SiteSettings, validate
from components.tags import DEPLOYMENT_TAG, DEPLOYMENT_VARIABLE, STACK_TAG, new_deployment_id

if TYPE_CHECKING:
    from automation.engine.deployed import Deployed
    from automation.engine.run import Run


def launches(deployment: Mapping[str, Any], settings: Settings, only: str | None = None) -> list[tuple[SiteSettings, Wanted]]:
    """What a run launches that is not there: by site, how many. `only`: the zone of the only site that is asked about."""
    # A host that is gone and has a reservation is launched into that.
    there = deployed_replicas(deployment).keys() | reservations(deployment).keys()
    missing = {site.zone: sum(each.key not in there for each in site.all_replicas) for site in settings.sites}
    return [
        (site, Wanted(site.zone, site.instance_type, missing[site.zone]))
        for site in settings.sites
        if missing[site.zone] and only in {None, site.zone}
    ]


@contextmanager
def kept(deployed: "Deployed", run: "Run", settings: Settings, only: str | None = None) -> Generator[None]:
    """Keeps what the run launches as long as it is at work; CapacityError, and nothing is kept, where a zone has none.

    For a site that has reservations of its own (`reserve`) it only asks.
    """
    wanted = _sound(deployed, run, launches(run.stack.deployment, settings, only))
    found = deployment_id(run.stack.deployment)
    deployment = found or new_deployment_id()
    # The first run of an environment takes the id over, so that what it leaves can be found.
    run.stack.workspace.env_vars = {**run.stack.workspace.env_vars, DEPLOYMENT_VARIABLE: "" if found else deployment}
    held: list[tuple[Any, str]] = []
    clients = {site.parsed_zone.region: deployed.aws_client("ec2", site.parsed_zone.region) for site, _ in wanted}
    for ec2 in clients.values():
        # A killed run may keep the very GPU that this one asks for.
        for left in left_by_earlier_runs(ec2, (DEPLOYMENT_TAG, deployment)):
            give_back(ec2, left)
    try:
        for site, each in wanted:
            ec2 = clients[site.parsed_zone.region]
            own = {STACK_TAG: deployed.name, DEPLOYMENT_TAG: deployment, "Name": f"{PROJECT}-{deployed.name}-{site.zone}-launch"}
            try:
                reservation = keep(ec2, each, {**settings.tags, **own})
                if site.reserve:
                    # The program's own follows at once, before the host: two would need two GPUs.
                    give_back(ec2, reservation)
                else:
                    held.append((ec2, reservation))
            except NoCapacityError as error:
                has_hosts = each.count < site.replicas
                raise _shortage(deployed, site, offered_types(ec2, site.zone), has_hosts=has_hosts) from error
            except SilentError as error:
                run.watch.warn(f"{site.zone}: whether it has {each.count} x {each.instance_type} now is unknown: {error}")
        yield
    finally:
        for ec2, reservation in held:
            if why := give_back(ec2, reservation):
                run.watch.warn(
                    f"the capacity reservation {reservation} is not given back, and AWS takes it back within two hours: {why}\n"
                    f"  -> {deployed.commands.edge('sweep')}   # gives it back now"
                )


def _sound(deployed: "Deployed", run: "Run", wanted: list[tuple[SiteSettings, Wanted]]) -> list[tuple[SiteSettings, Wanted]]:
    """What AWS would launch; nothing of a config that the program will refuse, nor in a zone that is yet to be opted in to."""
    if not wanted:
        return []
    validated = validate(run.config)
    facts = ask_account(validated, deployed.aws_client)
    silent = HubAnswer(None, "not asked")
    model = known_facts(validated.server, silent) if validated.server else ModelFacts(None, None, None, "")
    if judge(validated, facts, model):
        return []
    zones = {name: zone for region in facts.regions.values() for name, zone in region.zones.items()}
    return [(site, each) for site, each in wanted if site.zone in zones and zones[site.zone].opted_in]


def _shortage(deployed: "Deployed", site: SiteSettings, offered: Sequence[str], *, has_hosts: bool) -> CapacityError:
    types = list(dict.fromkeys([*site.types, *offered]))
    told = {name: "has no capacity now" if name == site.instance_type else "offered there" for name in types}
    told |= dict.fromkeys(site.types[1:], "next in instanceTypes")
    width = max(map(len, types))
    rows = "\n".join(f"  {name:<{width}}  {_price(site.zone, name):<15}  {told[name]}" for name in types)
    up = deployed.commands.edge("up")
    lines = [f"  -> {up}   # later"]
    if len(site.types) > 1 and not has_hosts:
        lines.insert(0, f"  -> {up} --fallback   # puts {site.types[1]} first in {deployed.stack_file.name}, and goes on")
    elif not has_hosts:
        others = ", ".join([site.instance_type, "ANOTHER"])
        path = f"sites[{site.zone}]"
        lines.append(f"  -> {deployed.commands.edge('config')} '{path}.instanceTypes' '[{others}]'   # then: {up} --fallback")
    text = f"{site.zone} has no {site.instance_type} now, says AWS (InsufficientInstanceCapacity); nothing was changed"
    rows += f"\n  (list prices of {DATED})"
    return CapacityError("\n".join([text, rows, *lines]), site.zone, has_hosts=has_hosts)


def _price(zone: str, name: str) -> str:
    dollars = instance_price(zone, name)
    return f"${dollars:.3f} per hour" if dollars is not None else "price unknown"


class Fallback:
    """Moves, where a zone has no capacity, the next of its types to the front in the stack file; each type once."""

    def __init__(self, deployed: "Deployed") -> None:
        self._deployed = deployed
        self._tried: dict[str, list[str]] = {}

    def move_on(self, error: CapacityError) -> None:
        """Writes the next type; the error itself where there is none, or where another type would stop hosts that serve."""
        from automation.engine.deployed import planned_sites

        deployed, zone = self._deployed, error.zone
        if deployed.on_local_cloud and deployed.name != "local":
            raise UsageError(
                f"a rehearsal changes no tracked file, and --fallback would write {deployed.stack_file.name}\n"
                f"  -> edge up {deployed.name} --fallback   # on AWS"
            ) from error
        sites = planned_sites(deployed.stack_file, deployed.name)
        index, site = next((place, site) for place, site in enumerate(sites) if site.zone == zone)
        tried = self._tried.setdefault(zone, [])
        tried.append(site.instance_type)
        following = next((name for name in site.types if name not in tried), None)
        if following is None or error.has_hosts:
            raise error
        order = [following, *(name for name in site.types if name != following)]
        for place, name in enumerate(order):
            if name != site.types[place]:
                set_value(deployed, [f"{PROJECT}:sites", index, "instanceTypes", place], name)
        deployed.say(f"{zone} has no {site.instance_type} now: {deployed.stack_file.name} has {following} first.")
