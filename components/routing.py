"""ServiceRouting: the health checks and records that send each user to the best healthy site.

Decides nothing: dns_plan.py plans the records, this component creates them in an order that AWS accepts both ways.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from components.args import require_known
from components.defaults import HEALTH_FAILURE_THRESHOLD, HEALTH_INTERVAL_SECONDS, HEALTH_PATH, endpoint_url, public_port
from components.dns_plan import (
    RECORD_TTL_SECONDS,
    Geolocation,
    Geoproximity,
    Latency,
    PlannedRecord,
    Replica,
    RoutingChoices,
    Weighted,
    places,
    plan_dns,
)
from components.door import door_port
from components.order import after
from components.tags import Tags
from components.zones import parse_zone


class RoutingPolicy(StrEnum):
    """By what a user's site is chosen."""

    LATENCY = "latency"
    """The parent Region with the lowest latency, then the nearest zone group, then any replica."""
    GEOPROXIMITY = "geoproximity"
    """The nearest zone group of all."""
    GEOLOCATION = "geolocation"
    """A map from places to zones."""


class GeolocationArgs(TypedDict):
    """Which zone's site serves whom; the smallest place that a user is in decides."""

    default: str
    """Zone for everyone else, also for addresses that Route 53 cannot place."""
    continents: NotRequired[dict[str, str]]
    """Zone by continent: AF, AN, AS, EU, NA, OC, SA. Default: none."""
    countries: NotRequired[dict[str, str]]
    """Zone by country, ISO 3166-1: CA. Default: none."""
    us_states: NotRequired[dict[str, str]]
    """Zone by US state, postal code: HI. Default: none."""


class RoutedSiteArgs(TypedDict):
    """A site that users are led to."""

    zone: str
    """The site's zone: `us-west-2-lax-1a`."""
    addresses: Sequence[pulumi.Input[str]]
    """`addresses` of the EdgeInferenceSite: its records and health checks come after the replicas serve."""


class ServiceRoutingArgs(TypedDict):
    """What a ServiceRouting is made from."""

    domain: str
    """The service's name: `llm.acme.dev`. Names follow from it, so it is plain."""
    hosted_zone_id: NotRequired[pulumi.Input[str]]
    """Id of the public hosted zone that the domain lies in; `hosted_zone` then means nothing. Default: `hosted_zone` is
    created."""
    hosted_zone: NotRequired[str]
    """Name of the hosted zone to create: `acme.dev`. Default: none is created."""
    sites: list[RoutedSiteArgs]
    """The sites, each zone once."""
    policy: NotRequired[RoutingPolicy]
    """By what a user's site is chosen. Default: `RoutingPolicy.LATENCY`."""
    bias: NotRequired[dict[str, int]]
    """By zone group or Region: 1 to 99 draws users from farther away than distance alone would, -1 to -99 fewer:
    `{"us-west-2-lax-1": 20}`. Default: 0."""
    geolocation: NotRequired[GeolocationArgs]
    """Which zone serves whom, for `RoutingPolicy.GEOLOCATION`, which needs it:
    `{"default": "us-west-2a", "us_states": {"HI": "us-west-2-hnl-1a"}}`. Default: none."""
    drained: NotRequired[list[str]]
    """Zones that get no users by the service's name. Default: none."""
    port: NotRequired[int]
    """TCP port of the endpoints. Default: 443 with `tls`, else 8080."""
    tls: NotRequired[bool]
    """Whether the endpoints are called by HTTPS. Default: False."""
    health_path: NotRequired[str]
    """What the health checks ask for. Default: `/health`."""
    health_interval_seconds: NotRequired[int]
    """How often each of Route 53's checkers asks: 30, or 10, which costs more. Fixed once created. Default: 30."""
    health_failure_threshold: NotRequired[int]
    """Failed checks in a row after which a replica counts as unhealthy. Default: 3."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Additional tags for every resource. Default: none."""


class ServiceRouting(pulumi.ComponentResource):
    """The service's name and all records under it. The name begins those of all children.

    Token `edge-inference:index:ServiceRouting`. Children: an `aws.route53` Zone (unless `hosted_zone_id` is given), a HealthCheck
    for each replica, and the Records that `plan_dns` plans.
    """

    name: pulumi.Output[str]
    """The service's name. Who uses it comes after its record, which comes after a site that serves."""
    url: pulumi.Output[str]
    """The URL of the service."""
    site_names: dict[str, str]
    """The plain name of every zone's site."""
    hosted_zone_id: pulumi.Output[str]
    """The hosted zone, given or created."""
    name_servers: pulumi.Output[list[str]] | None = None
    """Of a hosted zone that was created: what its parent domain must delegate to."""

    def __init__(self, name: str, args: ServiceRoutingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        require_known(name, args, ServiceRoutingArgs)
        super().__init__("edge-inference:index:ServiceRouting", name, None, opts)
        self._name, self._args, self._tags = name, args, Tags(pulumi.get_stack(), args.get("tags", {}))
        self._tls = args.get("tls", False)
        self._port = args.get("port") or public_port(tls=self._tls)
        self._addresses = {
            Replica(parse_zone(site["zone"]), number): address
            for site in args["sites"]
            for number, address in enumerate(site["addresses"], 1)
        }
        plan = plan_dns(routing_choices(args), list(self._addresses))
        self.site_names = plan.site_names
        self.hosted_zone_id = self._hosted_zone()
        self._checks = {replica: self._health_check(replica) for replica in self._addresses}
        first: dict[str, pulumi.Resource] = {}
        for record in plan.records:
            created = self._record(record, first.get(record.alias_of or ""))
            first.setdefault(record.name, created)
        self.name = after(args["domain"], first[args["domain"]].urn)
        self.url = self.name.apply(lambda domain: endpoint_url(domain, self._port, tls=self._tls))
        self.register_outputs(
            {
                "name": self.name,
                "url": self.url,
                "site_names": self.site_names,
                "hosted_zone_id": self.hosted_zone_id,
                "name_servers": self.name_servers,
            }
        )

    def _hosted_zone(self) -> pulumi.Output[str]:
        if "hosted_zone_id" in self._args:
            return pulumi.Output.from_input(self._args["hosted_zone_id"])
        if "hosted_zone" not in self._args:
            raise ValueError(f"{self._name}: give hosted_zone_id, or hosted_zone, which is created")
        # Not protected: that refuses the whole `pulumi destroy`, and GPUs go on costing. AWS keeps a zone with others' records.
        zone = aws.route53.Zone(
            f"{self._name}-zone",
            name=self._args["hosted_zone"],
            force_destroy=False,
            tags=self._tags.of("zone"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.name_servers = zone.name_servers.apply(list)
        return zone.zone_id

    def _health_check(self, replica: Replica) -> aws.route53.HealthCheck:
        # A new check counts as healthy until there is data, so it starts when the replica serves: the address sees to that.
        return aws.route53.HealthCheck(
            f"{self._name}-health-{replica.key}",
            # The door answers without TLS and asks the listener itself, certificate and all.
            type="HTTP",
            ip_address=self._addresses[replica],
            port=door_port(self._port),
            resource_path=self._args.get("health_path", HEALTH_PATH),
            request_interval=self._args.get("health_interval_seconds", HEALTH_INTERVAL_SECONDS),
            failure_threshold=self._args.get("health_failure_threshold", HEALTH_FAILURE_THRESHOLD),
            tags=self._tags.of(f"health-{replica.key}", replica),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _record(self, record: PlannedRecord, target: pulumi.Resource | None) -> aws.route53.Record:
        routing = record.routing
        replica, alias = record.replica, record.alias_of
        return aws.route53.Record(
            f"{self._name}-{record.key}",
            zone_id=self.hosted_zone_id,
            name=record.name,
            type="A",
            set_identifier=record.set_identifier,
            ttl=RECORD_TTL_SECONDS if replica else None,
            records=[self._addresses[replica]] if replica else None,
            health_check_id=self._checks[replica].id if replica else None,
            aliases=[aws.route53.RecordAliasArgs(name=alias, zone_id=self.hosted_zone_id, evaluate_target_health=True)]
            if alias
            else None,
            weighted_routing_policies=[aws.route53.RecordWeightedRoutingPolicyArgs(weight=routing.weight)]
            if isinstance(routing, Weighted)
            else None,
            latency_routing_policies=[aws.route53.RecordLatencyRoutingPolicyArgs(region=routing.region)]
            if isinstance(routing, Latency)
            else None,
            geoproximity_routing_policy=_geoproximity(routing) if isinstance(routing, Geoproximity) else None,
            geolocation_routing_policies=[_geolocation(routing)] if isinstance(routing, Geolocation) else None,
            # A record is there only when its site serves (by the address), an alias only when it has a target. One target is
            # enough for AWS; waiting for all would let one failing site keep the others from being routed.
            opts=pulumi.ResourceOptions(parent=self, depends_on=target),
        )


def routing_choices(args: ServiceRoutingArgs) -> RoutingChoices:
    """What the DNS plan is made from."""
    mapped = args.get("geolocation")
    return RoutingChoices(
        RoutingPolicy(args.get("policy", RoutingPolicy.LATENCY)).value,
        args["domain"],
        args.get("bias", {}),
        places(mapped["default"], mapped.get("continents", {}), mapped.get("countries", {}), mapped.get("us_states", {}))
        if mapped
        else {},
        frozenset(args.get("drained", ())),
    )


def _geoproximity(routing: Geoproximity) -> aws.route53.RecordGeoproximityRoutingPolicyArgs:
    return aws.route53.RecordGeoproximityRoutingPolicyArgs(
        aws_region=routing.location if routing.kind == "aws_region" else None,
        local_zone_group=routing.location if routing.kind == "local_zone_group" else None,
        bias=routing.bias or None,
    )


def _geolocation(place: Geolocation) -> aws.route53.RecordGeolocationRoutingPolicyArgs:
    country = "US" if place.us_state else place.country
    return aws.route53.RecordGeolocationRoutingPolicyArgs(continent=place.continent, country=country, subdivision=place.us_state)
