"""A plan in the config's terms: what comes, goes and changes, by the state; keys by name; unknown is said; what is for good."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from checked_settings import settings
from hypothesis import given
from hypothesis import strategies as st

from automation.account.prices import price_change
from automation.commands.plan_words import plan_lines, resource_lines
from automation.engine.config_plan import ConfigPlan
from automation.engine.results import Plan, ResourceChange
from automation.sites.config_plan import plan_config
from automation.sites.rollout_plan import plan_rollout
from components.engines import Server
from components.host_steps import ServingSpec, serving_steps
from components.proxy import Proxy

if TYPE_CHECKING:
    from components.settings import Settings

OREGON, LAX, HONOLULU, DENVER = "us-west-2a", "us-west-2-lax-1a", "us-west-2-hnl-1a", "us-west-2-den-1a"
MODEL = "meta-llama/Llama-3.2-3B-Instruct"
INSTANCE, RULE = "aws:ec2/instance:Instance", "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
PROXY = Proxy("caddy:2", "llm.acme.dev", 443, tls=True, key_names=("mobile",), health_path="/health")


def urn(kind: str, name: str) -> str:
    return f"urn:pulumi:dev::edge-inference::edge-inference:index:EdgeInferenceSite${kind}::{name}"


def resource(kind: str, name: str, *, protect: bool = False, create: str = "", **outputs: Any) -> dict[str, Any]:
    common = {"type": kind, "urn": urn(kind, name), "custom": True, "protect": protect}
    return {**common, "inputs": {"create": create}, "outputs": outputs}


def state(
    config: Settings, *, keys: list[str] | None = None, records_keys: bool = True, proxy: Proxy | None = None
) -> dict[str, Any]:
    """What is exported after this config was deployed; a release before the newest recorded no names of keys."""
    resources: list[dict[str, Any]] = []
    for site in config.sites:
        resources += [
            resource(RULE, f"{site.zone}-{who}-{cidr}", cidrIpv4=cidr)
            for who, cidrs in (("client", config.access.client_cidrs), ("ssh", config.access.ssh_cidrs))
            for cidr in map(str, cidrs)
        ]
        for number in range(1, site.replicas + 1):
            name, text = f"{site.zone}-{number}", serving_steps(ServingSpec(Server(), proxy=proxy))[-1].on_instance("i-1", "x")
            resources += [
                resource(
                    INSTANCE, f"{name}-host", protect=config.protect, availabilityZone=site.zone, instanceType=site.instance_type
                ),
                resource("aws:ec2/eip:Eip", f"{name}-address", publicIp=f"203.0.113.{number}"),
                resource("command:remote:Command", f"{name}-ready", create=text),
            ]
    url, routing = config.endpoint.url(str(config.routing.domain)), config.routing
    outputs: dict[str, Any] = {
        "service_url": url,
        "routing": {"policy": routing.policy, "domain": routing.domain, "drained": [*config.drained]},
        "endpoint_urls": {site.zone: url for site in config.sites},
        "sites": {site.zone: {"model": config.server.model, "engine": config.server.engine} for site in config.sites},
        **({"api_keys": keys or []} if records_keys else {}),
    }
    return {
        "resources": [
            {
                "type": "pulumi:pulumi:Stack",
                "urn": "urn:pulumi:dev::edge-inference::pulumi:pulumi:Stack::dev",
                "outputs": outputs,
            },
            *resources,
        ]
    }


def planned(before: dict[str, Any], after: Settings, *changes: ResourceChange) -> ConfigPlan:
    return plan_config(changes, before, after)


def told(plan: ConfigPlan) -> list[str]:
    return [f"{each.effect} {each.key} {each.what}" for each in plan.changes]


BEFORE = settings(OREGON, LAX)


def with_keys(*names: str, **sections: Any) -> Settings:
    keys = {name: f"{name}-0123456789abcdef" for name in names}
    return settings(OREGON, LAX, apiKeys=json.dumps(keys), **sections)


def test_nothing_differs_where_the_config_is_as_deployed() -> None:
    assert planned(state(BEFORE), BEFORE) == ConfigPlan(is_first=False, changes=())


ZONES = st.lists(st.sampled_from((OREGON, LAX, HONOLULU, DENVER)), unique=True, min_size=1)


@given(ZONES, ZONES, st.integers(1, 3), st.integers(1, 3))
def test_every_site_that_comes_goes_or_grows_is_told_once(before: list[str], after: list[str], had: int, wants: int) -> None:
    plan = planned(state(settings(*(f"{zone}*{had}" for zone in before))), settings(*(f"{zone}*{wants}" for zone in after)))
    found = {(each.effect, each.what.partition(" ")[0]) for each in plan.changes if each.key == "sites"}
    stays = set(before) & set(after)
    assert found == {
        *(("added", zone) for zone in set(after) - stays),
        *(("removed", zone) for zone in set(before) - stays),
        *(("changed", zone) for zone in stays if had != wants),
    }
    assert len(plan.changes) == len(found)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (settings(OREGON, LAX, server={"model": "Qwen/Qwen2.5-3B"}), f"changed server.model model {MODEL} to Qwen/Qwen2.5-3B"),
        (settings(OREGON, LAX, server={"engine": "vllm"}), "changed server.engine engine tgi to vllm"),
        (settings(OREGON, LAX, drained=[LAX]), f"added drained {LAX}"),
        (settings(OREGON, LAX, protect="true"), "changed protect hosts and addresses are protected"),
        (
            settings(OREGON, LAX, routing={"domain": "llm.acme.dev", "hostedZone": "acme.dev", "policy": "geoproximity"}),
            "changed routing.policy policy latency to geoproximity",
        ),
        (
            settings(OREGON, LAX, routing={"policy": "none"}),
            "changed endpoint http://llm.acme.dev:8080 to no name: callers must use the new one",
        ),
        (
            settings(OREGON, LAX, endpoint={"port": 80}),
            "changed endpoint http://llm.acme.dev:8080 to http://llm.acme.dev: callers must use the new one",
        ),
    ],
)
def test_each_setting_is_told_in_the_configs_terms(after: Settings, expected: str) -> None:
    assert expected in told(planned(state(BEFORE), after))


def test_callers_come_and_go_apart_from_those_who_deploy() -> None:
    after = settings(OREGON, LAX, access={"clientCidrs": ["8.8.8.8/32"], "sshCidrs": ["93.184.216.35/32"]})
    assert told(planned(state(BEFORE), after)) == [
        "added access.clientCidrs 8.8.8.8/32",
        "removed access.clientCidrs 93.184.216.34/32",
    ]


def test_another_type_says_which_hosts_are_stopped() -> None:
    before = state(BEFORE)
    for each in before["resources"]:
        if each["type"] == INSTANCE:
            each["outputs"]["instanceType"] = "g5.2xlarge"
    plan = planned(before, BEFORE)
    assert told(plan) == [
        f"changed sites {OREGON}-1, {LAX}-1: instanceType g5.2xlarge to g4dn.2xlarge; stopped meanwhile"
    ]  # fmt: skip


def test_what_is_reserved_says_what_it_costs() -> None:
    kept = [{"zone": OREGON, "reserve": True}, {"zone": LAX}]
    (change,) = planned(state(BEFORE), settings(sites=kept)).changes
    assert (change.before, change.after) == (False, True)
    assert change.what == f"{OREGON} (Oregon): its GPUs are reserved: they cost as much as the hosts also while none uses them"
    had = state(BEFORE)
    had["resources"].append(resource("aws:ec2/capacityReservation:CapacityReservation", f"{OREGON}-1-reservation"))
    assert planned(had, settings(sites=kept)).changes == ()
    (change,) = planned(had, BEFORE).changes
    assert "not reserved any more" in change.what
    assert "1 x g4dn.2xlarge, reserved" in [each.after for each in planned({}, settings(sites=kept)).changes]


def test_what_cannot_be_undone() -> None:
    group = ResourceChange("us-west-2-opt-in-us-west-2-den-1", "AvailabilityZoneGroup", "create")
    address = ResourceChange(f"{LAX}-1-address", "Eip", "delete")
    plan = planned(state(BEFORE), settings(OREGON, DENVER), group, address)
    assert plan.for_good == (
        "opts the AWS account in to zone group us-west-2-den-1; only AWS Support takes that back",
        f"gives up 203.0.113.1 of {LAX}-1: AWS does not give the same address again",
    )
    stays = ResourceChange("us-west-2-opt-in-us-west-2-lax-1", "AvailabilityZoneGroup", "forget")
    assert planned(state(BEFORE), BEFORE, stays).for_good == ()


# Keys


def test_keys_by_name_and_never_by_value() -> None:
    plan = planned(state(BEFORE, keys=["bob"]), with_keys("alice"))
    assert told(plan) == ["added apiKeys alice", "removed apiKeys bob"]
    assert "0123456789abcdef" not in json.dumps(plan.described())


def test_without_any_key_everybody_is_served() -> None:
    assert "changed apiKeys nobody is asked for a key any more: every caller is served" in told(
        planned(state(BEFORE, keys=["bob"]), BEFORE)
    )


def test_names_that_the_release_before_did_not_record_are_unknown() -> None:
    before = state(BEFORE, records_keys=False, proxy=PROXY)
    (change,) = [each for each in planned(before, with_keys("alice", "bob")).changes if each.key == "apiKeys"]
    assert change.effect == "unknown"
    assert change.what.startswith("alice, bob; those before are unknown")
    assert told(planned(state(BEFORE, records_keys=False), with_keys("alice"))) == ["added apiKeys alice"], "nobody was asked"


# In words


PRICE = price_change([], [])


def shown(config: ConfigPlan, **options: Any) -> list[str]:
    counts = options.pop("counts", {"update": 1})
    lines = plan_lines(Plan(counts, 1.0, price=PRICE, config=config, **options))
    assert max(map(len, lines)) <= 80
    assert all(line.isascii() for line in lines)
    return lines


def test_a_plan_reads_by_what_it_changes() -> None:
    group = ResourceChange("us-west-2-opt-in-us-west-2-den-1", "AvailabilityZoneGroup", "create")
    plan = planned(state(BEFORE), settings(f"{OREGON}*2", DENVER, server={"model": "Qwen/Qwen2.5-3B"}), group)
    assert shown(plan) == [
        "sites     us-west-2a (Oregon): replicas 1 to 2",
        "          + us-west-2-den-1a (Denver): 1 x g4dn.2xlarge",
        "          - us-west-2-lax-1a (Los Angeles): 1 x g4dn.2xlarge",
        "server    model meta-llama/Llama-3.2-3B-Instruct to Qwen/Qwen2.5-3B",
        "for good  opts the AWS account in to zone group us-west-2-den-1; only AWS",
        "            Support takes that back",
    ]


def test_a_first_deployment_says_all_that_comes() -> None:
    plan = planned({}, settings(OREGON, LAX))
    assert plan.is_first
    assert shown(plan) == [
        "sites     + us-west-2a (Oregon): 1 x g4dn.2xlarge",
        "          + us-west-2-lax-1a (Los Angeles): 1 x g4dn.2xlarge",
        "server    + meta-llama/Llama-3.2-3B-Instruct on tgi",
        "callers   + 93.184.216.34/32",
        "deployers + 93.184.216.35/32",
        "URL       + http://llm.acme.dev:8080",
        "routing   + latency",
    ]


def test_nothing_to_change_and_nothing_but_the_release() -> None:
    nothing = ConfigPlan(is_first=False, changes=())
    assert shown(nothing, counts={"same": 65}) == ["Nothing to change: what is deployed is as the config says."]
    assert shown(nothing, counts={"same": 60, "update": 5}) == [
        "No setting changes; 5 resources are brought to this release (--details)."
    ]


def test_what_the_rollout_tells_is_not_told_twice() -> None:
    old, new = (serving_steps(ServingSpec(Server(model=model)))[-1].on_instance("i-1") for model in (MODEL, "Qwen/Qwen2.5-3B"))
    changes = [ResourceChange(f"{OREGON}-1-ready", "Command", "update", ("create",), values={"create": (old, new)})]
    after = settings(OREGON, LAX, server={"model": "Qwen/Qwen2.5-3B"})
    rollout = plan_rollout(changes, state(BEFORE), after, datetime(2026, 11, 30, tzinfo=UTC))
    assert rollout
    lines = shown(planned(state(BEFORE), after, *changes), rollout=rollout)
    assert sum("Qwen/Qwen2.5-3B" in line for line in lines) == 1
    assert lines[0].startswith("rollout   model ")


def test_details_fit_a_screen() -> None:
    change = ResourceChange(
        f"{LAX}-1-ready", "Command", "update", ("create", "connection.host", "connection.privateKey", "stdin")
    )
    lines = [*resource_lines([change], {"update": 1, "same": 60})]
    assert lines[0] == "60 same, 1 update"
    assert max(map(len, lines)) <= 80
