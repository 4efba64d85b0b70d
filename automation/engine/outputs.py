"""A stack's outputs as the contract has them (docs/outputs.schema.json), also after a run in which resources failed.

The engine gives the outputs that hang on a failed resource as unknown, though the state may hold that resource from before. They
are read from there. Left out: whether anything serves at this moment; ask.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from pulumi.runtime.rpc import UNKNOWN

_STACK = "pulumi:pulumi:Stack"
_EIP, _INSTANCE, _HOSTED_ZONE = "aws:ec2/eip:Eip", "aws:ec2/instance:Instance", "aws:route53/zone:Zone"


def told_outputs(outputs: Mapping[str, Any], deployment: Mapping[str, Any], url: Callable[[str], str]) -> dict[str, Any]:
    """The outputs without unknowns: from the state where it knows, else None; not `served`, which is then false.

    `deployment` is an exported one (`pulumi stack export`); `url` makes an endpoint's URL of an address.
    """
    told = cast("dict[str, Any]", _known(outputs))
    resources = _by_type_and_name(deployment)
    for zone, site in told.get("sites", {}).items():
        for number, replica in enumerate(site["replicas"], 1):
            name = f"{zone}-{number}"
            # What an older release has recorded is without `served`: there, only what served had a URL.
            replica["served"] = bool(replica.get("served", replica["url"]))
            replica["address"] = replica["address"] or resources.get((_EIP, f"{name}-address"), {}).get("publicIp")
            replica["instance_id"] = replica["instance_id"] or resources.get((_INSTANCE, f"{name}-host"), {}).get("id")
            if replica["address"] and not replica["url"]:
                replica["url"] = url(replica["address"])
        told["endpoint_urls"][zone] = site["replicas"][0]["url"]
    routing, created = told.get("routing"), resources.get((_HOSTED_ZONE, "routing-zone"))
    if routing and created:
        routing["hosted_zone_id"] = routing["hosted_zone_id"] or created.get("zoneId")
        routing["name_servers"] = routing["name_servers"] or created.get("nameServers")
    return told


def recorded_outputs(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs that the last run left in an exported deployment."""
    resources = cast("list[dict[str, Any]]", deployment.get("resources") or [])
    return next((dict[str, Any](each.get("outputs") or {}) for each in resources if each["type"] == _STACK), dict[str, Any]())


def in_order(outputs: dict[str, Any], zones: Iterable[str]) -> dict[str, Any]:
    """The same with its sites in the order of the config, which the engine does not keep; others come last."""
    order = [*zones, *outputs.get("sites", {})]
    sorted_ones = {
        key: {zone: outputs[key][zone] for zone in sorted(outputs[key], key=order.index)}
        for key in ("sites", "endpoint_urls")
        if key in outputs
    }
    return {**outputs, **sorted_ones}


def outputs_by_urn(deployment: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The outputs of a deployment's resources with their ids, by URN, but of those that are only still to be deleted."""
    resources = cast("list[dict[str, Any]]", deployment.get("resources") or [])
    return {
        str(each["urn"]): {"id": each.get("id"), **(each.get("outputs") or {})} for each in resources if not each.get("delete")
    }


def _by_type_and_name(deployment: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The outputs of a deployment's resources, but of those that are only still to be deleted."""
    resources = cast("list[dict[str, Any]]", deployment.get("resources") or [])
    return {
        (str(each["type"]), str(each["urn"]).rpartition("::")[2]): {"id": each.get("id"), **(each.get("outputs") or {})}
        for each in resources
        if not each.get("delete")
    }


def _known(value: Any) -> Any:
    if value == UNKNOWN:
        return None
    if isinstance(value, dict):
        return {key: _known(each) for key, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_known(each) for each in cast("list[Any]", value)]
    return value
