"""Puts the components of a stack together from its checked config: networks, then sites, then routing."""

from ipaddress import IPv4Network

from components.engines import server_process
from components.host_identity import deployer_public_key
from components.host_steps import ServingSpec
from components.network import RegionNetwork
from components.proxy import site_proxy
from components.routing import ServiceRouting
from components.settings import SiteSettings
from components.site import EdgeInferenceSite
from components.stack_config import CheckedConfig
from components.subnets import planned_subnets
from components.tags import Tags, deployment_id


def tags(config: CheckedConfig) -> Tags:
    """What marks everything as this deployment's own."""
    return Tags(config.settings.stack, deployment_id(), config.settings.tags)


def networks(config: CheckedConfig, tags: Tags) -> dict[str, RegionNetwork]:
    """One VPC for each parent Region."""
    settings = config.settings
    return {
        region: RegionNetwork(
            region,
            {
                "region": region,
                "vpc_cidr": settings.network.vpc_cidr,
                "opt_in_groups": sorted({site.parsed_zone.group for site in sites if site.opt_in and site.parsed_zone.is_local}),
                "tags": tags,
            },
        )
        for region, sites in settings.regions.items()
    }


def sites(config: CheckedConfig, networks: dict[str, RegionNetwork], tags: Tags) -> dict[str, EdgeInferenceSite]:
    """One site for each chosen zone."""
    return {
        site.zone: _site(config, networks[region], sites, site, tags)
        for region, sites in config.settings.regions.items()
        for site in sites
    }


def routing(config: CheckedConfig, sites: dict[str, EdgeInferenceSite], tags: Tags) -> ServiceRouting | None:
    """The service's name; None where users are not routed by one."""
    settings = config.settings
    choices, zone = settings.routing.choices(settings.drained), config.aws.hosted_zone
    if choices is None:
        return None
    return ServiceRouting(
        "routing",
        {
            "routing": settings.routing,
            "choices": choices,
            "hosted_zone_id": zone.id if zone and not settings.routing.create_hosted_zone else None,
            "endpoint": settings.endpoint,
            "health_path": server_process(settings.server).health_path,
            "replicas": [replica for site in sites.values() for replica in site.replicas],
            "tags": tags,
        },
    )


def _site(
    config: CheckedConfig, network: RegionNetwork, region_sites: list[SiteSettings], site: SiteSettings, tags: Tags
) -> EdgeInferenceSite:
    settings, zone = config.settings, site.parsed_zone
    region = config.aws.regions[zone.region]
    subnets = planned_subnets(IPv4Network(settings.network.vpc_cidr), {other.zone: other.subnet_cidr for other in region_sites})
    ami = settings.host.amis.get(zone.region) or region.ami
    if ami is None:
        raise ValueError(f"no AMI for {zone.region}")  # judged before
    return EdgeInferenceSite(
        zone.name,
        {
            "site": site,
            "settings": settings,
            "network": network,
            "subnet_cidr": str(subnets[zone.name]),
            "border_group": region.zones[zone.name].border_group,
            "health_checkers": region.health_checkers if settings.is_routed else None,
            "ami": ami,
            "spec": ServingSpec(
                settings.server, settings.host, config.model, settings.endpoint.public_port, site_proxy(settings, zone)
            ),
            "deployer_public_key": deployer_public_key(settings.secrets.ssh_private_key.get_secret_value()),
            "tags": tags,
        },
    )
