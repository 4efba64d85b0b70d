"""The stack's outputs, a contract: docs/outputs.schema.json describes it, and a test holds every deployment to it."""

import pulumi

from components.routing import ServiceRouting
from components.settings import Settings
from components.site import EdgeInferenceSite


def stack_outputs(
    settings: Settings, sites: dict[str, EdgeInferenceSite], routing: ServiceRouting | None
) -> dict[str, pulumi.Input[object]]:
    """`service_url`, `endpoint_urls` by zone and `sites` by zone; addresses are known when their host serves."""
    port = settings.server.port
    described: dict[str, pulumi.Input[object]] = {}
    endpoints: dict[str, pulumi.Input[object]] = {}
    for chosen in settings.sites:
        zone = chosen.parsed_zone
        replicas = [
            {
                "address": _when_serving(replica.server.ready, replica.address),
                "url": _url(_when_serving(replica.server.ready, replica.address), port),
                "instance_id": replica.instance_id,
            }
            for replica in sites[zone.name].replicas
        ]
        endpoints[zone.name] = replicas[0]["url"]
        described[zone.name] = {
            "zone": zone.name,
            "region": zone.region,
            "zone_group": zone.group,
            "name": routing.site_names[zone.name] if routing else None,
            "instance_type": chosen.instance_type,
            "engine": settings.server.engine,
            "model": settings.server.model,
            "replicas": replicas,
        }
    return {
        "service_url": f"http://{settings.routing.domain}:{port}" if routing else None,
        "endpoint_urls": endpoints,
        "sites": described,
    }


def _when_serving(ready: pulumi.Output[str], address: pulumi.Output[str]) -> pulumi.Output[str]:
    return pulumi.Output.all(ready, address).apply(lambda known: str(known[1]))


def _url(address: pulumi.Output[str], port: int) -> pulumi.Output[str]:
    return pulumi.Output.concat("http://", address, f":{port}")
