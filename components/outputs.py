"""The stack's outputs, a contract: docs/outputs.schema.json describes it, and a test holds every deployment to it."""

import pulumi

from components.routing import ServiceRouting
from components.settings import Settings
from components.site import EdgeInferenceSite


def stack_outputs(
    settings: Settings, sites: dict[str, EdgeInferenceSite], routing: ServiceRouting | None
) -> dict[str, pulumi.Input[object]]:
    """`service_url`, `routing`, `endpoint_urls` by zone and `sites` by zone.

    Address, URL and name hang on nothing but the address, so that they stand whatever else failed; `served` is known where the
    run came to the host's last step. With TLS a URL has the site's own name, since no certificate fits an address.
    """
    endpoint = settings.endpoint
    described: dict[str, pulumi.Input[object]] = {}
    endpoints: dict[str, pulumi.Input[object]] = {}
    for chosen in settings.sites:
        zone = chosen.parsed_zone
        name = routing.site_names[zone.name] if routing else None
        replicas = [
            {
                "address": replica.address,
                "url": pulumi.Output.from_input(name if endpoint.tls and name else replica.address).apply(endpoint.url),
                "instance_id": replica.instance_id,
                "served": _served(replica.server.ready),
            }
            for replica in sites[zone.name].replicas
        ]
        endpoints[zone.name] = replicas[0]["url"]
        described[zone.name] = {
            "zone": zone.name,
            "region": zone.region,
            "zone_group": zone.group,
            "name": name,
            "instance_type": chosen.instance_type,
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
    }


def _served(ready: pulumi.Output[str]) -> pulumi.Output[bool]:
    # What a step with secrets on its standard input prints is secret; that it came to its end is not.
    return pulumi.Output.unsecret(ready.apply(lambda _: True))
