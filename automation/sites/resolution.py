"""Which site Route 53 gives a client, and why: the same three calls on AWS and on the local cloud.

TestDNSAnswer decides; what stands here explains it from the records, the health checkers' reports and a map. Distances and round
trips are estimates of geography's model, unless the caller has measured some. Left out: changing anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address, ip_address
from itertools import takewhile
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

from automation.account.candidates import city_named
from automation.errors import EdgeError, UsageError
from components.zones import parse_zone
from geography.cities import CITIES, City, city_of, local_network
from geography.latency import round_trip_ms
from geography.places import REGIONS, ZONE_GROUPS, Place, distance_km

_HEALTHY_SHARE = 0.18
"""A check is healthy when more than this share of Route 53's checkers say so (Developer Guide, aws-facts 2.3)."""


@dataclass(frozen=True)
class Client:
    """Somebody who asks for the service's name."""

    name: str
    """The city, or the address where that is all that is known."""
    address: str
    city: City | None


@dataclass(frozen=True)
class Record:
    """One A record of the service."""

    name: str
    policy: str
    """latency, geoproximity, geolocation, weighted or simple."""
    choice: str
    """What the policy goes by: a Region, a zone group, a place's code, a weight."""
    set_identifier: str
    alias_of: str | None
    addresses: tuple[str, ...]
    ttl_seconds: int | None
    """None for an alias, which has its target's."""
    health_check_id: str | None


@dataclass(frozen=True)
class Health:
    """What Route 53's checkers report of an address."""

    healthy: bool
    """More than 18 % report success; an address without reports counts as healthy, as it does for Route 53."""
    successes: int
    checkers: int
    failure: str | None
    """One checker's words, where one failed."""


@dataclass(frozen=True)
class Replica:
    """One address of a site; `health` None where no health check watches it."""

    address: str | None
    url: str | None
    health: Health | None


@dataclass(frozen=True)
class Site:
    """A site that clients may be sent to."""

    zone: str
    place: Place | None
    drained: bool
    replicas: tuple[Replica, ...]

    @property
    def healthy(self) -> bool:
        """Whether a record leads to one of its replicas that the checkers do not report dead."""
        return any(each.health is not None and each.health.healthy for each in self.replicas)


@dataclass(frozen=True)
class Candidate:
    """A site as one client sees it; what is estimated is None where the client's or the site's place is unknown."""

    zone: str
    healthy: bool
    drained: bool
    distance_km: float | None
    round_trip_ms: float | None
    """Estimated, unless `is_measured`."""
    replicas: tuple[Replica, ...]
    is_measured: bool = False


@dataclass(frozen=True)
class Resolution:
    """What a client gets, and why."""

    client: Client
    zone: str
    address: str
    url: str | None
    path: tuple[Record, ...]
    """The records from the service's name to the address; those that are certain, where the client's place is unknown and several
    of a geolocation set lead there."""
    candidates: tuple[Candidate, ...]
    """Every site, the nearest first."""

    def described(self) -> dict[str, Any]:
        """As `edge resolve --json` prints it."""
        city = self.client.city
        return {
            "client": {"name": self.client.name, "address": self.client.address, "city": city.name if city else None},
            "zone": self.zone,
            "address": self.address,
            "url": self.url,
            "path": [asdict(record) for record in self.path],
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "estimated": ["distance_km", "round_trip_ms"],
        }


class Routes:
    """A deployed environment's records and sites as Route 53 has them at this moment. EdgeError where nobody is routed.

    `environment`: as `edge` is told of it.
    """

    def __init__(self, environment: str, outputs: Mapping[str, Any], route53: Any, *, on_local_cloud: bool) -> None:
        routing: Mapping[str, Any] = outputs.get("routing") or {}
        if not routing.get("domain"):
            raise EdgeError(
                "there is no routing: its policy is none, or the last `edge up` did not record it yet\n"
                f"  -> edge outputs {environment}   # the sites' addresses"
            )
        self._environment = environment
        self.domain: str = routing["domain"]
        self.policy: str = routing["policy"]
        self._zone_id: str = routing["hosted_zone_id"]
        self._route53, self._on_local_cloud = route53, on_local_cloud
        self.records = tuple(self._records())
        health = self._health()
        self.sites = tuple(_site(described, routing, health) for described in outputs["sites"].values())

    def resolve(self, client: Client) -> Resolution:
        """What Route 53 answers a client. EdgeError where it has no answer, or one that is no site of the environment."""
        address = self._ask(client)
        site, replica = self._serving(address)
        return Resolution(
            client, site.zone, address, replica.url, self._path(address, client.city), tuple(self._candidates(client.city))
        )

    def zone_for(self, client: Client) -> str:
        """The zone of the site that Route 53 gives a client."""
        return self._serving(self._ask(client))[0].zone

    def clients(self) -> list[Client]:
        """The cities of the map that Route 53 can be asked for: on AWS those with a public network."""
        cities = (city for city in CITIES.values() if self._on_local_cloud or city.public_network)
        return [_in_city(city, on_local_cloud=self._on_local_cloud) for city in cities]

    def below(self, name: str) -> list[Record]:
        """The records of one name."""
        return [record for record in self.records if record.name == name]

    def _records(self) -> Iterable[Record]:
        """The A records at and below the domain, which stand together in Route 53's order."""
        pages = self._call("get_paginator", "list_resource_record_sets").paginate(
            HostedZoneId=self._zone_id, StartRecordName=self.domain, StartRecordType="A"
        )
        with_domain = f".{self.domain}."
        try:
            found = (record for page in pages for record in page["ResourceRecordSets"])
            ours = takewhile(lambda record: f".{record['Name']}".endswith(with_domain), found)
            yield from (_record(record) for record in ours if record["Type"] == "A")
        except (BotoCoreError, ClientError) as error:
            raise _silent(error) from error

    def _health(self) -> dict[str, Health]:
        """By address, what the checkers of its health check report."""
        checks = {record.health_check_id: record.addresses for record in self.records if record.health_check_id}
        found: dict[str, Health] = {}
        for check, addresses in checks.items():
            reports = self._call("get_health_check_status", HealthCheckId=check)["HealthCheckObservations"]
            texts = [str(report["StatusReport"]["Status"]) for report in reports]
            found |= dict.fromkeys(addresses, _judged(texts))
        return found

    def _ask(self, client: Client) -> str:
        """The address that Route 53 answers a resolver at the client's address with."""
        answer = self._call(
            "test_dns_answer",
            HostedZoneId=self._zone_id,
            RecordName=self.domain,
            RecordType="A",
            ResolverIP=client.address,
        )
        if not answer["RecordData"]:
            raise EdgeError(f"Route 53 has no answer for {self.domain} from {client.name} ({answer['ResponseCode']})")
        return str(answer["RecordData"][0])

    def _serving(self, address: str) -> tuple[Site, Replica]:
        for site in self.sites:
            for replica in site.replicas:
                if replica.address == address:
                    return site, replica
        raise EdgeError(
            f"Route 53 answers {address}, which is no site of this deployment: its last run failed, or somebody changed records\n"
            f"  -> edge drift {self._environment}   # shows what differs"
        )

    def _path(self, address: str, city: City | None) -> tuple[Record, ...]:
        chains = list(self._chains(self.domain, address))
        if city:
            return min(chains, key=lambda chain: _preference(chain, city), default=())
        return tuple(record for record in chains[0] if all(record in chain for chain in chains)) if chains else ()

    def _chains(self, name: str, address: str) -> Iterable[tuple[Record, ...]]:
        """All ways through the records from a name to an address."""
        for record in self.below(name):
            if address in record.addresses:
                yield (record,)
            if record.alias_of:
                yield from ((record, *rest) for rest in self._chains(record.alias_of, address))

    def _candidates(self, city: City | None) -> list[Candidate]:
        found = [
            Candidate(site.zone, site.healthy, site.drained, *estimates(city, site), replicas=site.replicas)
            for site in self.sites
        ]
        return sorted(found, key=lambda candidate: (candidate.distance_km is None, candidate.distance_km))

    def _call(self, method: str, *arguments: str, **options: str) -> Any:
        try:
            return getattr(self._route53, method)(*arguments, **options)
        except (BotoCoreError, ClientError) as error:
            raise _silent(error) from error


def locate(origin: str, environment: str, *, on_local_cloud: bool) -> Client:
    """A client by city or address. UsageError for a city that is unknown, or that has no address on AWS."""
    try:
        address = ip_address(origin.strip())
    except ValueError:
        pass
    else:
        city = city_of(address) if isinstance(address, IPv4Address) else None
        return Client(city.name if city else str(address), str(address), city)
    city = city_named(origin)
    if not on_local_cloud and city.public_network is None:
        raise UsageError(
            f"AWS places a client by its real address, and none of {city.name} is on the map\n"
            f"  -> edge resolve {environment} --from ADDRESS   # of a client or resolver there"
        )
    return _in_city(city, on_local_cloud=on_local_cloud)


def with_measured(resolution: Resolution, trips_ms: Mapping[str, float]) -> Resolution:
    """The same with measured round trips in place of estimated ones, where there are any; by zone group."""
    groups = ((each, parse_zone(each.zone).group) for each in resolution.candidates)
    found = (
        replace(each, round_trip_ms=trips_ms[group], is_measured=True) if group in trips_ms else each for each, group in groups
    )
    return replace(resolution, candidates=tuple(found))


def estimates(city: City | None, site: Site) -> tuple[float | None, float | None]:
    """Kilometres and milliseconds of a round trip between a city and a site, both by the model; None where a place is unknown."""
    if city is None or site.place is None:
        return None, None
    return round(distance_km(city.place, site.place)), round(round_trip_ms(city.place, site.place), 1)


def _in_city(city: City, *, on_local_cloud: bool) -> Client:
    network = local_network(city) if on_local_cloud or city.public_network is None else city.public_network
    return Client(city.name, str(network.network_address + 1), city)


def _site(described: Mapping[str, Any], routing: Mapping[str, Any], health: Mapping[str, Health]) -> Site:
    group = ZONE_GROUPS.get(described["zone_group"])
    replicas = (Replica(each["address"], each["url"], health.get(each["address"] or "")) for each in described["replicas"])
    return Site(
        described["zone"],
        group.place if group else REGIONS.get(described["zone_group"]),
        described["zone"] in routing["drained"],
        tuple(replicas),
    )


def _record(record: Mapping[str, Any]) -> Record:
    policy, choice = _policy(record)
    alias = record.get("AliasTarget")
    return Record(
        record["Name"].rstrip("."),
        policy,
        choice,
        record.get("SetIdentifier", ""),
        alias["DNSName"].rstrip(".") if alias else None,
        tuple(each["Value"] for each in record.get("ResourceRecords", [])),
        None if alias else record.get("TTL"),
        record.get("HealthCheckId"),
    )


def _policy(record: Mapping[str, Any]) -> tuple[str, str]:
    """The routing policy of a record, and what it goes by."""
    if near := record.get("GeoProximityLocation"):
        bias = f", bias {near['Bias']}" if near.get("Bias") else ""
        return "geoproximity", (near.get("AWSRegion") or near.get("LocalZoneGroup") or "coordinates") + bias
    if place := record.get("GeoLocation"):
        codes = [place[key] for key in ("ContinentCode", "CountryCode", "SubdivisionCode") if key in place]
        return "geolocation", "default" if codes == ["*"] else "-".join(codes)
    for policy, member in (("latency", "Region"), ("weighted", "Weight")):
        if member in record:
            return policy, str(record[member])
    return "simple", ""


def _preference(chain: Iterable[Record], city: City) -> list[int]:
    """How far a way through the records is from the one that Route 53 takes: the narrowest place, weights before weight 0."""
    places = [f"{city.country}-{city.us_state}", city.country, city.continent, "default"]
    order: list[int] = []
    for record in chain:
        if record.policy == "geolocation":
            order.append(places.index(record.choice) if record.choice in places else len(places))
        elif record.policy == "weighted":
            order.append(record.choice == "0")
    return order


def _judged(texts: list[str]) -> Health:
    successes = sum(text.startswith("Success") for text in texts)
    failure = next((text for text in texts if not text.startswith("Success")), None)
    return Health(not texts or successes / len(texts) > _HEALTHY_SHARE, successes, len(texts), failure)


def _silent(error: Exception) -> EdgeError:
    return EdgeError(
        f"Route 53 does not answer: {error}\n"
        "  -> needed: route53:ListResourceRecordSets, TestDNSAnswer, GetHealthCheckStatus   # aws sts get-caller-identity"
    )
