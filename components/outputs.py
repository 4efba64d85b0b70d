"""The stack's outputs, a contract: docs/outputs.schema.json describes it, and a test holds every deployment to it."""

import pulumi

from components.routing import ServiceRouting
from components.settings import Settings
from components.site import EdgeInferenceSite


def stack_outputs(
    settings: Settings, sites: dict[str, EdgeInferenceSite], routing: ServiceRouting | None
) -> dict[str, pulumi.Input[object]]:
    """`service_url`, `routing`, `endpoint_urls` by zone and `sites` by zone; addresses are known when their host serves.

    With TLS a URL has the site's own name, since no certificate fits an address.
    """
    endpoint = settings.endpoint
    described: dict[str, pulumi.Input[object]] = {}
    endpoints: dict[str, pulumi.Input[object]] = {}
    for chosen in settings.sites:
        zone = chosen.parsed_zone
        name = routing.site_names[zone.name] if routing else None
        replicas = [
            {
                "address": _when_serving(replica.server.ready, replica.address),
                "url": _when_serving(replica.server.ready, name if endpoint.tls and name else replica.address).apply(
                    endpoint.url
                ),
                "instance_id": replica.instance_id,
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


def _when_serving(ready: pulumi.Output[str], value: pulumi.Input[str]) -> pulumi.Output[str]:
    # What a step with secrets on its standard input prints is secret; where its site answers is not.
    return pulumi.Output.unsecret(pulumi.Output.all(ready, value).apply(lambda known: str(known[1])))
