"""ServiceRouting: the health checks and records that send each user to the best healthy site.

Decides nothing: dns_plan.py plans the records, this component creates them in an order that AWS accepts both ways.
"""

from typing import TypedDict

import pulumi
import pulumi_aws as aws

from components.dns_plan import (
    RECORD_TTL_SECONDS,
    Geolocation,
    Geoproximity,
    Latency,
    PlannedRecord,
    RoutingChoices,
    Weighted,
    plan_dns,
)
from components.settings import EndpointSettings, RoutingSettings
from components.site import SiteReplica
from components.tags import Tags


class ServiceRoutingArgs(TypedDict):
    """What a ServiceRouting is made from."""

    routing: RoutingSettings
    choices: RoutingChoices
    hosted_zone_id: str | None
    """None: the zone `routing.hosted_zone` is created."""
    endpoint: EndpointSettings
    health_path: str
    replicas: list[SiteReplica]
    tags: Tags


class ServiceRouting(pulumi.ComponentResource):
    """The service's name and all records under it."""

    site_names: dict[str, str]
    """The plain name of every zone's site."""
    hosted_zone_id: pulumi.Input[str]
    name_servers: pulumi.Output[list[str]] | None = None
    """Of a hosted zone that was created: what its parent domain must delegate to."""

    def __init__(self, name: str, args: ServiceRoutingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("edge-inference:index:ServiceRouting", name, None, opts)
        self._name, self._args = name, args
        self._replicas = {each.replica.key: each for each in args["replicas"]}
        plan = plan_dns(args["choices"], [each.replica for each in args["replicas"]])
        self.site_names = plan.site_names
        self.hosted_zone_id = args["hosted_zone_id"] or self._hosted_zone()
        self._checks = {key: self._health_check(each) for key, each in self._replicas.items()}
        first: dict[str, pulumi.Resource] = {}
        for record in plan.records:
            created = self._record(record, first.get(record.alias_of or ""))
            first.setdefault(record.name, created)
        self.register_outputs({"domain": args["choices"].domain})

    def _hosted_zone(self) -> pulumi.Output[str]:
        # Not protected: that refuses the whole `pulumi destroy`, and GPUs go on costing. AWS keeps a zone with others' records.
        zone = aws.route53.Zone(
            f"{self._name}-zone",
            name=self._args["routing"].hosted_zone,
            force_destroy=False,
            tags=self._args["tags"].of("zone"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.name_servers = zone.name_servers.apply(list)
        return zone.zone_id

    def _health_check(self, each: SiteReplica) -> aws.route53.HealthCheck:
        routing, endpoint, key = self._args["routing"], self._args["endpoint"], each.replica.key
        return aws.route53.HealthCheck(
            f"{self._name}-health-{key}",
            type="HTTPS" if endpoint.tls else "HTTP",
            ip_address=each.address,
            # With TLS the checker must ask for a name (SNI) that the certificate is for. It does not judge the certificate.
            fqdn=self.site_names[each.replica.zone.name] if endpoint.tls else None,
            enable_sni=True if endpoint.tls else None,
            port=endpoint.public_port,
            resource_path=self._args["health_path"],
            request_interval=routing.health_interval_seconds,
            failure_threshold=routing.health_failure_threshold,
            tags=self._args["tags"].of(f"health-{key}", each.replica),
            # A new check counts as healthy until there is data, so it starts when the replica serves.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[each.server]),
        )

    def _record(self, record: PlannedRecord, target: pulumi.Resource | None) -> aws.route53.Record:
        routing = record.routing
        replica = self._replicas[record.replica.key] if record.replica else None
        alias = record.alias_of
        return aws.route53.Record(
            f"{self._name}-{record.key}",
            zone_id=self.hosted_zone_id,
            name=record.name,
            type="A",
            set_identifier=record.set_identifier,
            ttl=RECORD_TTL_SECONDS if replica else None,
            records=[replica.address] if replica else None,
            health_check_id=self._checks[replica.replica.key].id if replica else None,
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
            # A record is there only when its site serves, an alias only when it has a target. One target is enough for AWS;
            # waiting for all would let one failing site keep the others from being routed.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[replica.server] if replica else target),
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
