"""The stack's outputs, a contract: docs/outputs.schema.json describes it, and a test holds every deployment to it."""

import pulumi

from components.routing import ServiceRouting
from components.settings import Settings
from components.site import EdgeInferenceSite


def stack_outputs(
    settings: Settings, sites: dict[str, EdgeInferenceSite], routing: ServiceRouting | None
) -> dict[str, pulumi.Input[object]]:
    """`service_url`, `routing`, `endpoint_urls` by zone, `sites` by zone and `api_keys`, of which only the names.

    Address, URL and name are known as soon as the address is, so that they stand whatever else failed; `served` is known where
    the run came to the host's last step. With TLS a URL has the site's own name, since no certificate fits an address.
    """
    endpoint = settings.endpoint
    described: dict[str, pulumi.Input[object]] = {}
    endpoints: dict[str, pulumi.Input[object]] = {}
    for chosen in settings.sites:
        zone = chosen.parsed_zone
        site = sites[zone.name]
        replicas = [
            {"address": address, "url": url, "instance_id": instance_id, "served": served}
            for address, url, instance_id, served in zip(site.addresses, site.urls, site.instance_ids, site.served, strict=True)
        ]
        endpoints[zone.name] = replicas[0]["url"]
        described[zone.name] = {
            "zone": zone.name,
            "region": zone.region,
            "zone_group": zone.group,
            "name": routing.site_names[zone.name] if routing else None,
            "instance_type": chosen.instance_type,
            "reserved": chosen.reserve,
            "engine": settings.server.engine,
            "model": settings.server.model,
            "replicas": replicas,
        }
    return {
        "service_url": endpoint.url(settings.routing.domain) if routing and settings.routing.domain else None,
        "routing": {
            "policy": settings.routing.policy,
            "domain": settings.routing.domain,
            "hosted_zone_id": routing.hosted_zone_id,
            "name_servers": routing.name_servers,
            "drained": list(settings.drained),
        }
        if routing
        else None,
        "endpoint_urls": endpoints,
        "sites": described,
        "api_keys": sorted(settings.secrets.all_api_keys),
    }
