"""A plan in the config's terms: what is deployed, by the state, against what the config asks for, and what cannot be undone.

Pure: from the exported state, a preview's changes and the checked settings. The state is asked, not a copy of the last config:
after a run that broke off half-way only it says what is there. Of secrets, names alone are known. Leaves out what it means for
users: rollout_plan.py tells that.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

from automation.engine.config_plan import ConfigChange, ConfigPlan
from automation.engine.outputs import recorded_outputs
from automation.engine.results import DeployedSite, ResourceChange, inventory_of
from automation.sites.host_turns import changed_hosts
from automation.sites.repairs import reservations
from automation.sites.rollout_plan import changed_steps
from automation.sites.transactions import compared, transaction_in
from components.host_changes import deployed_addresses, replaces
from components.settings import Settings
from components.zones import parse_zone
from geography.places import city_of

_RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
_RULE_NAME = re.compile(r".+?-(?P<who>client|ssh)-(?P<cidr>[\d.]+/\d+)")
_INSTANCE, _COMMAND = "aws:ec2/instance:Instance", "command:remote:Command"
_GOES = ("delete", "replace", "delete-replaced")
_OF_HEALTH = {"requestInterval": "healthIntervalSeconds", "failureThreshold": "healthFailureThreshold"}
State = Sequence[Mapping[str, Any]]


def plan_config(changes: Sequence[ResourceChange], deployment: Mapping[str, Any], settings: Settings) -> ConfigPlan:
    """Everything that a deployment changes."""
    state = [each for each in cast("list[dict[str, Any]]", deployment.get("resources") or []) if not each.get("delete")]
    outputs, deployed = recorded_outputs(deployment), inventory_of(deployment).sites
    found = [
        *_sites(deployed, deployment, changes, settings),
        *_server(outputs, changes, settings),
        *_callers(state, settings),
        *_keys(outputs, state, settings),
        *_url(outputs, settings),
        *_routing(outputs, changes, settings),
        *_protection(state, settings),
        *_tags(changes),
    ]
    return ConfigPlan(not deployed, tuple(found), tuple(_for_good(changes, deployment)))


def _sites(
    deployed: Mapping[str, DeployedSite], deployment: Mapping[str, Any], changes: Sequence[ResourceChange], settings: Settings
) -> Iterator[ConfigChange]:
    for site in settings.sites:
        if site.zone not in deployed:
            wanted = f"{site.replicas} x {site.instance_type}{', reserved' if site.reserve else ''}"
            yield ConfigChange("sites", "added", f"{_named(site.zone)}: {wanted}", None, wanted)
        elif (count := deployed[site.zone].instances) != site.replicas:
            what = f"{_named(site.zone)}: replicas {count} to {site.replicas}"
            yield ConfigChange("sites", "changed", what, count, site.replicas)
    yield from _reservations(deployed, deployment, settings)
    planned = {site.zone for site in settings.sites}
    for zone, before in deployed.items():
        if zone not in planned:
            had = f"{before.instances} x {before.instance_type}"
            yield ConfigChange("sites", "removed", f"{_named(zone)}: {had}", had, None)
    reasons: dict[str, list[str]] = {}
    for key, reason in changed_hosts(deployment, settings).items():
        reasons.setdefault(reason, []).append(key)
    for reason, keys in reasons.items():
        effect = "replaced" if replaces(reason) else "stopped meanwhile"
        yield ConfigChange("sites", "changed", f"{', '.join(keys)}: {reason}; {effect}")
    disks = [each for each in changes if each.kind == "Instance" and any(path.startswith("rootBlock") for path in each.differs)]
    for each in disks:
        if each.operation == "update":
            yield ConfigChange("sites", "changed", f"{each.name.removesuffix('-host')}: volumeType, volumeGib; in place")


def _reservations(
    deployed: Mapping[str, DeployedSite], deployment: Mapping[str, Any], settings: Settings
) -> Iterator[ConfigChange]:
    kept = reservations(deployment)
    for site in settings.sites:
        had = any(key.rpartition("-")[0] == site.zone for key in kept)
        if site.zone in deployed and had != site.reserve:
            reserved = "its GPUs are reserved: they cost as much as the hosts also while none uses them"
            what = reserved if site.reserve else "its GPUs are not reserved any more: a host that goes may not get another"
            yield ConfigChange("sites", "changed", f"{_named(site.zone)}: {what}", had, site.reserve)


def _server(outputs: Mapping[str, Any], changes: Sequence[ResourceChange], settings: Settings) -> Iterator[ConfigChange]:
    """Model and engine by the last run's outputs; all else by the steps that would run again on hosts that stay."""
    sites = cast("dict[str, dict[str, Any]]", outputs.get("sites") or {})
    before = next(iter(sites.values()), dict[str, Any]())
    if not before:
        what = f"{settings.server.model} on {settings.server.engine}"
        yield ConfigChange("server.model", "added", what, None, settings.server.model)
        return
    told: dict[str, tuple[str, str]] = {}
    for key, (old, new) in (("model", (before.get("model"), settings.server.model)),
                            ("engine", (before.get("engine"), settings.server.engine))):  # fmt: skip
        if old != new:
            told[f"{key} {old} to {new}"] = str(old), new
            yield ConfigChange(f"server.{key}", "changed", f"{key} {old} to {new}", old, new)
    texts = changed_steps(changes)
    for what in dict.fromkeys(each for old, new in texts.values() for each in compared(old, new)[1]):
        if what not in told:
            yield ConfigChange("server", "changed", what)


def _callers(state: State, settings: Settings) -> Iterator[ConfigChange]:
    rules = [match for each in state if each["type"] == _RULE and (match := _RULE_NAME.fullmatch(_name(each)))]
    access = settings.access
    for who, key, wanted in (("client", "clientCidrs", access.client_cidrs), ("ssh", "sshCidrs", access.ssh_cidrs)):
        had = [match["cidr"] for match in rules if match["who"] == who]
        yield from _listed(f"access.{key}", had, wanted)


def _keys(outputs: Mapping[str, Any], state: State, settings: Settings) -> Iterator[ConfigChange]:
    wanted, had = [*settings.secrets.all_api_keys], cast("list[str] | None", outputs.get("api_keys"))
    if had is None:
        if any(_asks_for_key(each) for each in state):
            if wanted:
                what = f"{', '.join(wanted)}; those before are unknown, the release that deployed did not record their names"
            else:
                what = "nobody is asked for a key any more"
            yield ConfigChange("apiKeys", "unknown", what, None, wanted)
            return
        had = []
    yield from _listed("apiKeys", had, wanted)
    if had and not wanted:
        yield ConfigChange("apiKeys", "changed", "nobody is asked for a key any more: every caller is served", had, wanted)


def _asks_for_key(resource: Mapping[str, Any]) -> bool:
    if resource["type"] != _COMMAND or not _name(resource).endswith("-ready"):
        return False
    inputs = cast("dict[str, Any]", resource.get("inputs") or {})
    told = transaction_in(str(inputs.get("create", "")))
    return bool(told and cast("dict[str, Any]", told.get("proxy") or {}).get("asks_for_key"))


def _url(outputs: Mapping[str, Any], settings: Settings) -> Iterator[ConfigChange]:
    domain, endpoint = settings.routing.domain, settings.endpoint
    if not outputs.get("sites"):
        if settings.is_routed and domain:
            yield ConfigChange("endpoint", "added", endpoint.url(domain), None, endpoint.url(domain))
        return
    before, after = outputs.get("service_url"), endpoint.url(domain) if settings.is_routed and domain else None
    if before != after:
        what = f"{before or 'no name'} to {after or 'no name'}: callers must use the new one"
        yield ConfigChange("endpoint", "changed", what, before, after)
        return
    told = cast("dict[str, str | None]", outputs.get("endpoint_urls") or {})
    urls = [urlsplit(url) for url in told.values() if url]
    wanted = ("https" if endpoint.tls else "http", endpoint.public_port)
    if urls and (had := (urls[0].scheme, urls[0].port or (443 if urls[0].scheme == "https" else 80))) != wanted:
        what = f"{had[0]} on port {had[1]} to {wanted[0]} on port {wanted[1]}: callers must use the new one"
        yield ConfigChange("endpoint", "changed", what, [*had], [*wanted])


def _routing(outputs: Mapping[str, Any], changes: Sequence[ResourceChange], settings: Settings) -> Iterator[ConfigChange]:
    policy = settings.routing.policy
    if not outputs.get("sites"):
        yield ConfigChange("routing.policy", "added", policy, None, policy)
        return
    routing: Mapping[str, Any] = outputs.get("routing") or {}
    before = routing.get("policy", "none")
    if before != policy:
        yield ConfigChange("routing.policy", "changed", f"policy {before} to {policy}", before, policy)
    yield from _listed("drained", cast("list[str]", routing.get("drained") or []), settings.drained)
    for called in dict.fromkeys(_health(changes)):
        yield ConfigChange("routing", "changed", called)
    records = [each for each in changes if each.kind == "Record" and each.name.startswith("routing-")]
    if before == policy and any("geoproximityRoutingPolicy" in " ".join(each.differs) for each in records):
        yield ConfigChange("routing.bias", "changed", "bias", None, dict(settings.routing.bias))
    if before == policy == "geolocation" and any("geolocation" in each.name for each in records):
        yield ConfigChange("routing.geolocation", "changed", "which places get which site")


def _health(changes: Iterable[ResourceChange]) -> Iterator[str]:
    for each in changes:
        if each.kind == "HealthCheck":
            for name, called in _OF_HEALTH.items():
                old, new = each.values.get(name, (None, None))
                if old != new:
                    yield f"{called} {old} to {new}"


def _protection(state: State, settings: Settings) -> Iterator[ConfigChange]:
    hosts = [each for each in state if each["type"] == _INSTANCE]
    had = any(each.get("protect") for each in hosts)
    if had != settings.protect and (hosts or settings.protect):
        what = "hosts and addresses are protected" if settings.protect else "hosts and addresses are not protected any more"
        yield ConfigChange("protect", "changed", what, had, settings.protect)


def _tags(changes: Iterable[ResourceChange]) -> Iterator[ConfigChange]:
    updated = [each for each in changes if each.operation == "update" and each.differs]
    tagged = [each for each in updated if all("tags" in path.lower() for path in each.differs)]
    if tagged:
        yield ConfigChange("tags", "changed", f"on {len(tagged)} resources")


def _for_good(changes: Sequence[ResourceChange], deployment: Mapping[str, Any]) -> Iterator[str]:
    for each in changes:
        if each.kind == "AvailabilityZoneGroup" and each.operation == "create":
            group = each.name.partition("-opt-in-")[2]
            yield f"opts the AWS account in to zone group {group}; only AWS Support takes that back"
    addresses = deployed_addresses(_outputs_by_urn(deployment))
    gone = dict.fromkeys(each.name.removesuffix("-address") for each in changes if each.kind == "Eip" and each.operation in _GOES)
    if gone:
        shown = ", ".join(f"{addresses.get(key, 'an address')} of {key}" for key in gone)
        yield f"gives up {shown}: AWS does not give the same address again"
    if any(each.kind == "Zone" and each.operation in _GOES for each in changes):
        yield "deletes the hosted zone: another one has other name servers, and must be delegated to anew"


def _listed(key: str, had: Iterable[str], wanted: Iterable[str]) -> Iterator[ConfigChange]:
    """What comes to a list, and what goes."""
    before, after = dict.fromkeys(map(str, had)), dict.fromkeys(map(str, wanted))
    yield from (ConfigChange(key, "added", each, None, each) for each in after if each not in before)
    yield from (ConfigChange(key, "removed", each, each, None) for each in before if each not in after)


def _named(zone: str) -> str:
    return f"{zone} ({city_of(parse_zone(zone).group)})"


def _name(resource: Mapping[str, Any]) -> str:
    return str(resource["urn"]).rpartition("::")[2]


def _outputs_by_urn(deployment: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    resources = cast("list[dict[str, Any]]", deployment.get("resources") or [])
    return {str(each["urn"]): each.get("outputs") or {} for each in resources if not each.get("delete")}
