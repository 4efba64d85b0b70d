"""Measures a deployment: the time to first token of every site, side by side, for the clients of every city or vantage host.

Says which targets there are and where clients stand; measuring, statistics and the report are ttft's.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from automation.account.candidates import cities
from automation.errors import NothingDeployedError, UsageError
from automation.sites.endpoints import api_key, port_of
from automation.sites.vantage import measure_from
from geography.cities import CITIES, City, local_network
from geography.places import REGION_NAMES, REGIONS, ZONE_GROUPS, Place, distance_km

if TYPE_CHECKING:
    from automation.sites.deployed_sites import DeployedSites
    from ttft.samples import Failure, Run, Sample, Target
    from ttft.schedule import Plan

Progress = Callable[["Sample | Failure"], None]


@dataclass(frozen=True)
class Vantage:
    """A host that stands where users are."""

    host: str
    """As `ssh` takes it: USER@HOST."""
    city: str
    """What its place is called in the results."""


def vantage(text: str) -> Vantage:
    """`[CITY=]USER@HOST`, as `--via` takes it. UsageError for what is no host."""
    city, _, host = text.rpartition("=")
    if not host or host.startswith("-") or any(letter.isspace() for letter in host):
        raise UsageError(f"--via {text!r} is no host\n  -> --via Honolulu=ubuntu@ADDRESS")
    return Vantage(host, city or host.rpartition("@")[2])


@dataclass(frozen=True)
class Clients:
    """Where those stand who measure; by default in the sites' cities on the local cloud, here elsewhere."""

    cities: tuple[str, ...] = ()
    """On the local cloud: cities by name, each with a source address of its own."""
    via: tuple[Vantage, ...] = ()
    """On AWS: hosts to measure from, one after another."""


def bench_plan(environment: "DeployedSites", plan: "Plan", clients: Clients) -> "Plan":
    """The plan with what is known of a deployment: its serving sites for every city, its API key, what is simulated.

    Raises NothingDeployedError where no site serves, UsageError where clients cannot stand where they are wanted.
    """
    if environment.on_local_cloud and clients.via:
        raise UsageError("the local cloud is reached from this machine only\n  -> --from CITY instead of --via")
    if clients.cities and not environment.on_local_cloud:
        raise UsageError("on AWS a client is where it is; --from chooses simulated cities\n  -> --via CITY=USER@HOST")
    outputs = environment.outputs()
    sites = list(serving_sites(outputs, {key for key, answer in environment.serving(outputs).items() if answer.serves}).values())
    if not sites:
        raise NothingDeployedError(
            f"no site of '{environment.name}' serves, so there is nothing to measure\n  -> edge doctor {environment.arguments}"
        )
    plan = replace(plan, api_key=api_key(environment.config_value))
    if not environment.on_local_cloud:
        return replace(plan, targets=tuple(map(target, sites)))
    cities = client_cities(clients.cities, sites)
    targets = tuple(_local_target(environment, site, city) for city in cities for site in sites)
    # The local cloud's certificates are its own.
    return replace(plan, targets=targets, simulated_network=True, verify=False)


def bench(plan: "Plan", clients: Clients, *, on_progress: Progress | None = None, say: Callable[[str], None]) -> "Run":
    """Measures what `bench_plan` has planned, from here or from each vantage host in turn."""
    from ttft import schedule
    from ttft.files import merge

    if not clients.via:
        return schedule.run(plan, on_progress)
    runs: list[Run] = []
    for each in clients.via:
        say(f"Measuring from {each.host} ({each.city})")
        there = tuple(replace(target, name=f"{target.name} from {each.city}", city=each.city) for target in plan.targets)
        runs.append(measure_from(each.host, replace(plan, targets=there), say))
    return merge(runs)


@dataclass(frozen=True)
class Site:
    """A site that serves."""

    zone: str
    name: str
    """What a sentence calls it: its city, or the Region's place."""
    url: str
    address: str
    place: Place


def serving_sites(outputs: Mapping[str, Any], serving: Collection[str]) -> dict[str, Site]:
    """The sites in a stack's outputs that serve, by zone; the first replica that serves stands for its site.

    `serving`: the keys of the replicas that do (us-west-2a-1).
    """
    described: Mapping[str, Any] = outputs["sites"]
    places = {zone: _place(site) for zone, site in described.items()}
    times = Counter(name for name, _ in places.values())
    found: dict[str, Site] = {}
    for zone, site in described.items():
        name, place = places[zone]
        for number, replica in enumerate(site["replicas"], 1):
            if f"{zone}-{number}" in serving and zone not in found:
                shown = name if times[name] == 1 else f"{name} ({zone})"
                found[zone] = Site(zone, shown, replica["url"], replica["address"], place)
    return found


def _place(site: Mapping[str, Any]) -> tuple[str, Place]:
    group = ZONE_GROUPS.get(site["zone_group"])
    return (group.city, group.place) if group else (REGION_NAMES[site["region"]], REGIONS[site["region"]])


def client_cities(names: Sequence[str], sites: Sequence[Site]) -> list[City]:
    """The cities to measure from: the named ones, else the nearest to each site. UsageError for one that is not known."""
    if not names:
        nearest = [min(CITIES.values(), key=lambda city: distance_km(city.place, site.place)) for site in sites]
        return list(dict.fromkeys(nearest))
    return list(dict.fromkeys(cities(names)))


def target(site: Site) -> "Target":
    """A site as ttft measures it, from wherever this runs."""
    from ttft.samples import Target

    return Target(name=site.zone, url=site.url, site=site.name)


def _local_target(environment: "DeployedSites", site: Site, city: City) -> "Target":
    """A site as the clients of a city see it on the local cloud, which no resolver of this machine knows."""
    return replace(
        target(site),
        name=f"{site.zone} from {city.name}",
        city=city.name,
        source_address=str(local_network(city).network_address + 1),
        connect_address=site.address,
        connect_port=port_of(environment, site.address, site.url),
    )
