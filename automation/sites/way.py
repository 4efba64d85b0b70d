"""The way of one user to a site: which replica answers whom, by the service's name as a city's users get it, or by a zone.

Left out: what is asked there (ask.py), and why a name leads where it does (resolution.py).
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Any

from automation.errors import EdgeError, NothingDeployedError, UsageError
from automation.sites.names import asked
from automation.sites.resolution import Client, locate
from geography.cities import CLIENT_NETWORK, City, local_network
from geography.places import REGIONS, ZONE_GROUPS, city_of, distance_km

if TYPE_CHECKING:
    from automation.sites.deployed_sites import DeployedSites


@dataclass(frozen=True)
class Way:
    """Where a question goes."""

    zone: str
    address: str
    url: str
    """Under the name that was resolved; its host is what a certificate must be good for."""
    chosen: str
    """Who chose the site, in words."""
    source_address: str | None = None
    """On the local cloud: the address of a city's client, which its network delays."""


def find_way(environment: "DeployedSites", outputs: Mapping[str, Any], origin: str | None, zone: str | None) -> Way:
    """The way to a zone's site, or to the one that the service's name leads a client in a city, or at an address, to; without
    either this machine. UsageError for an unknown zone or city, EdgeError where nobody answers for the name.
    """
    client = locate(origin, environment.arguments, on_local_cloud=environment.on_local_cloud) if origin else None
    source = _source(environment, client)
    if zone:
        return _to_zone(environment, outputs, zone, "as you chose", source)
    if not outputs.get("service_url"):
        nearest, why = _without_name(outputs, client.city if client else None)
        return _to_zone(environment, outputs, nearest, why, source)
    address, why = _resolved(environment, outputs, client, source)
    for candidate, site in outputs["sites"].items():
        if any(replica["address"] == address for replica in site["replicas"]):
            return Way(candidate, address, outputs["service_url"], why, source)
    raise EdgeError(
        f"{outputs['routing']['domain']} leads to {address}, which is no site of this deployment: its last run failed, "
        f"or somebody changed records\n  -> edge drift {environment.arguments}   # shows what differs"
    )


def city_of_site(site: Mapping[str, Any]) -> str:
    """What a sentence calls the place of a site in a stack's outputs."""
    return city_of(site["zone_group"])


def _source(environment: "DeployedSites", client: Client | None) -> str | None:
    """The address that a client's packets come from; None is this machine's own, as it always is on AWS."""
    if client is None or not environment.on_local_cloud:
        return None
    address = ip_address(client.address)
    if isinstance(address, IPv4Address) and address in CLIENT_NETWORK:
        return client.address
    return str(local_network(client.city).network_address + 1) if client.city else None


def _to_zone(environment: "DeployedSites", outputs: Mapping[str, Any], zone: str, why: str, source: str | None) -> Way:
    site = outputs["sites"].get(zone)
    if site is None:
        raise UsageError(f"'{environment.name}' has no site in {zone}\n  -> its sites are in {', '.join(outputs['sites'])}")
    there = [each for each in site["replicas"] if each["address"] and each["url"]]
    if not there:
        raise NothingDeployedError(f"the site in {zone} has no address yet\n  -> edge up {environment.arguments}")
    replica = next((each for each in there if each["served"]), there[0])
    return Way(zone, replica["address"], replica["url"], why, source)


def _without_name(outputs: Mapping[str, Any], city: City | None) -> tuple[str, str]:
    """Which site stands for a service without a name, and why."""
    served = {zone: site for zone, site in outputs["sites"].items() if site["replicas"][0]["served"]} or outputs["sites"]
    if city is None:
        return next(iter(served)), "the first, as the service has no name (routing.policy none)"

    def distance(zone: str) -> float:
        group = served[zone]["zone_group"]
        place = ZONE_GROUPS[group].place if group in ZONE_GROUPS else REGIONS.get(group)
        return distance_km(city.place, place) if place else float("inf")

    return min(served, key=distance), "the nearest on the map, as the service has no name (routing.policy none)"


def _resolved(
    environment: "DeployedSites", outputs: Mapping[str, Any], client: Client | None, source: str | None
) -> tuple[str, str]:
    """The address that the service's name has for a client, and who says so."""
    domain: str = outputs["routing"]["domain"]
    if client and not (environment.on_local_cloud and source):
        return environment.routes().resolve(client).address, f"as Route 53 answers users in {client.name}"
    port = environment.dns_port()
    told = asked(domain, ("127.0.0.1", port), source) if port else _by_this_machine(domain)
    if told:
        whom = f"users in {client.name}" if client else "this machine"
        return min(told), f"as the {'local cloud' if port else 'DNS'} answers {whom}"
    nobody = "the local cloud's DNS server" if port else "this machine's resolver"
    raise EdgeError(
        f"{nobody} has no address for {domain}: no site is in the records yet"
        + ("" if port else ", or its hosted zone is not delegated")
        + f"\n  -> edge doctor {environment.arguments}   # or ask one site: --zone {next(iter(outputs['sites']))}"
    )


def _by_this_machine(domain: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(domain, None, socket.AF_INET, socket.SOCK_STREAM)}
    except OSError:
        return set()
