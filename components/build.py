"""Puts the components of a stack together from its checked config: networks, then sites, then routing.

The only module that knows both the settings and the components' arguments.
"""

import time
from collections.abc import Collection
from ipaddress import IPv4Network

import pulumi

from components.args import EndpointArgs, HostArgs, RolloutArgs, ServerArgs, VolumeType
from components.dns_plan import site_name
from components.door import notice_seconds
from components.engines import Engine, Server, server_process
from components.host_changes import HOST_KEYS, host_changes, planned_hosts, told_of_kept_keys, told_together
from components.listeners import Listener, silent
from components.models import ModelFacts
from components.network import RegionNetwork
from components.rollout import SECOND_LOOK_SECONDS, Mode, Rollout, only_where_it_means_more, order
from components.routing import GeolocationArgs, RoutingPolicy, ServiceRouting, ServiceRoutingArgs
from components.settings import GeolocationSettings, HostSettings, ServerSettings, Settings, SiteSettings
from components.site import EdgeInferenceSite, EdgeInferenceSiteArgs
from components.stack_config import CheckedConfig
from components.subnets import planned_subnets
from components.tags import DEPLOYMENT_TAG, deployment_id
from components.zones import Zone

Tags = dict[str, pulumi.Input[str]]


def tags(config: CheckedConfig) -> Tags:
    """The tags of everything: the config's, and what marks a thing as this deployment's own."""
    return {**config.settings.tags, DEPLOYMENT_TAG: deployment_id()}


def networks(config: CheckedConfig, tags: Tags) -> dict[str, RegionNetwork]:
    """One VPC for each parent Region."""
    settings = config.settings
    return {
        region: RegionNetwork(
            region,
            {
                "region": region,
                "vpc_cidr": settings.network.vpc_cidr,
                "opt_in_groups": sorted({site.parsed_zone.group for site in sites if _opts_in(site)}),
                "tags": tags,
            },
        )
        for region, sites in settings.regions.items()
    }


def sites(config: CheckedConfig, networks: dict[str, RegionNetwork], tags: Tags) -> dict[str, EdgeInferenceSite]:
    """One site for each chosen zone. Where replicas served before, they change one wave after another."""
    settings = config.settings
    transformations = [_rollout(config).in_order, only_where_it_means_more(config.before.texts)]
    return {
        site.zone: EdgeInferenceSite(
            site.zone,
            _site_args(config, networks[site.parsed_zone.region], settings.regions[site.parsed_zone.region], site, tags),
            pulumi.ResourceOptions(transformations=transformations),
        )
        for site in settings.sites
    }


def _rollout(config: CheckedConfig) -> Rollout:
    """The order in which replicas that served change their server; tells of what it cannot protect."""
    settings = config.settings
    keys = order(settings)
    max_away = settings.rollout.away(len(keys))
    if config.mode is Mode.ALL_AT_ONCE:
        return Rollout([], max_away)
    changed = host_changes(config.before.hosts, planned_hosts(settings))
    if config.mode is Mode.PLAIN:
        kept = {key: why for key, why in changed.items() if why == HOST_KEYS}
        changed = {key: why for key, why in changed.items() if key not in kept}
        for each, told in ((kept, told_of_kept_keys), (changed, told_together)):
            if each:
                pulumi.log.warn(told(each, pulumi.get_stack()))
    listeners = _listeners(config) if settings.is_routed else {}
    dead = _silent_twice(listeners)
    drained = {each.key for site in settings.sites if site.zone in settings.drained for each in site.all_replicas}
    if missed := dead - drained:
        pulumi.log.warn(
            f"{', '.join(sorted(missed))} does not answer: no other server is changed before it serves again\n"
            f"  -> edge up {pulumi.get_stack()}   # mends it first"
        )
    # A host that is new, or goes in this run, has no server to take away; of a drained one that is dead nobody expects anything.
    standing = config.before.served & config.before.hosts.keys() - changed.keys() - (dead & drained)
    should_serve = {key: listener for key, listener in listeners.items() if key not in drained}
    return Rollout([key for key in keys if key in standing], max_away, dead=dead, listeners=should_serve)


def _silent_twice(listeners: dict[str, Listener]) -> frozenset[str]:
    """Those that do not answer, nor a little later: one lost packet makes nobody dead."""
    dead = silent(listeners)
    if dead:
        time.sleep(SECOND_LOOK_SECONDS)
        dead &= silent(listeners)
    return dead


def _listeners(config: CheckedConfig) -> dict[str, Listener]:
    """Where the replicas that served before are asked."""
    settings, addresses = config.settings, config.before.addresses
    endpoint, domain = settings.endpoint, settings.routing.domain or ""
    path = server_process(Server(Engine(settings.server.engine))).health_path
    return {
        key: Listener(addresses[key], endpoint.public_port, path, site_name(domain, site.parsed_zone) if endpoint.tls else None)
        for site in settings.sites
        for key in (replica.key for replica in site.all_replicas)
        if key in addresses
    }


def routing(config: CheckedConfig, sites: dict[str, EdgeInferenceSite], tags: Tags) -> ServiceRouting | None:
    """The service's name; None where users are not routed by one."""
    settings, chosen, zone = config.settings, config.settings.routing, config.aws.hosted_zone
    if chosen.policy == "none" or chosen.domain is None:
        return None
    args: ServiceRoutingArgs = {
        "domain": chosen.domain,
        "sites": [{"zone": zone, "addresses": site.addresses} for zone, site in sites.items()],
        "policy": RoutingPolicy(chosen.policy),
        "bias": chosen.bias,
        "drained": list(settings.drained),
        "port": settings.endpoint.public_port,
        "tls": settings.endpoint.tls,
        "health_path": server_process(Server(Engine(settings.server.engine))).health_path,
        "health_interval_seconds": chosen.health_interval_seconds,
        "health_failure_threshold": chosen.health_failure_threshold,
        "tags": tags,
    }
    if zone and not chosen.create_hosted_zone:
        args["hosted_zone_id"] = zone.id
    elif chosen.hosted_zone:
        args["hosted_zone"] = chosen.hosted_zone
    if chosen.geolocation:
        args["geolocation"] = _geolocation_args(chosen.geolocation)
    return ServiceRouting("routing", args)


def _site_args(
    config: CheckedConfig, network: RegionNetwork, region_sites: list[SiteSettings], site: SiteSettings, tags: Tags
) -> EdgeInferenceSiteArgs:
    settings, zone, secrets = config.settings, site.parsed_zone, config.settings.secrets
    region = config.aws.regions[zone.region]
    subnets = planned_subnets(IPv4Network(settings.network.vpc_cidr), {other.zone: other.subnet_cidr for other in region_sites})
    ami = settings.host.amis.get(zone.region) or region.ami
    if ami is None:
        raise ValueError(f"no AMI for {zone.region}")  # judged before
    args: EdgeInferenceSiteArgs = {
        "zone": zone.name,
        "replicas": site.replicas,
        "vpc_id": network.vpc_id,
        "subnet_cidr": str(subnets[zone.name]),
        "route_table_id": network.route_table_id,
        "client_cidrs": settings.access.client_cidrs,
        "ssh_cidrs": settings.access.ssh_cidrs,
        "instance_type": site.instance_type,
        "volume_type": VolumeType(site.root_volume_type),
        "volume_gib": site.volume_gib,
        "ami": ami,
        # Looked up: another one tomorrow.
        "keeps_ami": zone.region not in settings.host.amis,
        "network_border_group": region.zones[zone.name].border_group,
        "ssh_private_key": secrets.ssh_private_key.get_secret_value(),
        "host_key_secret": secrets.host_key_secret.get_secret_value(),
        "server": server_args(settings.server, config.model),
        "host": host_args(settings.host),
        "endpoint": endpoint_args(settings, zone),
        "rollout": rollout_args(settings, config.before.served),
        "reserves": site.reserve,
        "protects_hosts": settings.protect,
        "tags": tags,
    }
    if zone.group in network.opted_in:
        args["opted_in"] = network.opted_in[zone.group]
    if settings.is_routed and region.health_checkers:
        args["health_checkers"] = region.health_checkers
    if secrets.hugging_face_token:
        args["hugging_face_token"] = secrets.hugging_face_token.get_secret_value()
    return args


def _opts_in(site: SiteSettings) -> bool:
    return bool(site.opt_in) and site.parsed_zone.is_local


def server_args(server: ServerSettings, model: ModelFacts) -> ServerArgs:
    """What is served, of the commit that is known of the model."""
    args: ServerArgs = {
        "engine": Engine(server.engine),
        "model": server.model,
        "max_input_tokens": server.max_input_tokens,
        "max_total_tokens": server.max_total_tokens,
        "prefix_caching": server.prefix_caching,
        "extra_arguments": server.extra_arguments,
    }
    if server.image:
        args["image"] = server.image
    if model.revision:
        args["revision"] = model.revision
    return args


def host_args(host: HostSettings) -> HostArgs:
    """How a host is reached, and how long each step may take."""
    return {
        "login_user": host.login_user,
        "connect_budget_seconds": host.connect_budget_seconds,
        "boot_budget_seconds": host.boot_budget_seconds,
        "image_budget_seconds": host.image_budget_seconds,
        "weights_budget_seconds": host.weights_budget_seconds,
        "ready_budget_seconds": host.ready_budget_seconds,
    }


def endpoint_args(settings: Settings, zone: Zone) -> EndpointArgs:
    """How a site is called."""
    endpoint, secrets, domain = settings.endpoint, settings.secrets, settings.routing.domain
    args: EndpointArgs = {"port": endpoint.public_port, "proxy_image": endpoint.proxy_image}
    if endpoint.tls and domain and secrets.tls_certificate and secrets.tls_private_key:
        args["tls"] = {
            "name": site_name(domain, zone),
            "certificate": secrets.tls_certificate.get_secret_value(),
            "private_key": secrets.tls_private_key.get_secret_value(),
        }
    if secrets.all_api_keys:
        args["api_keys"] = {**secrets.all_api_keys}
    return args


def rollout_args(settings: Settings, served: Collection[str] = ()) -> RolloutArgs:
    """How a host changes its server. `served`: the replicas that served before, also those that the config has no more."""
    rollout, routing = settings.rollout, settings.routing
    args: RolloutArgs = {
        "drain_seconds": rollout.drain_seconds,
        "notice_seconds": notice_seconds(routing.health_interval_seconds, routing.health_failure_threshold),
        "is_alone": len({*order(settings), *served}) == 1,
    }
    if rollout.max_ttft_ms is not None:
        args["max_ttft_ms"] = rollout.max_ttft_ms
    if rollout.max_slowdown is not None:
        args["max_slowdown"] = rollout.max_slowdown
    return args


def _geolocation_args(given: GeolocationSettings) -> GeolocationArgs:
    return {
        "default": given.default,
        "continents": given.continents,
        "countries": given.countries,
        "us_states": given.us_states,
    }
