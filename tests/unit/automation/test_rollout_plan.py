"""What a plan says of replicas that change their server: order, time away, who takes their users, what is not protected."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from checked_settings import settings
from hypothesis import given
from hypothesis import strategies as st

from automation.account.credentials import credentials_expire
from automation.commands.rollout_words import rollout_lines
from automation.engine.results import ResourceChange
from automation.engine.rollout import RolloutPlan, Taker
from automation.sites.rollout_plan import plan_rollout, waves_of
from automation.sites.takeover import Users
from automation.sites.transactions import compared
from components.engines import Engine, Server
from components.host_steps import Rollout, ServingSpec, serving_steps, transaction
from components.proxy import Proxy
from components.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

OREGON, LAX, HONOLULU, ATLANTA = "us-west-2a", "us-west-2-lax-1a", "us-west-2-hnl-1a", "us-east-1-atl-1a"
SPEC = ServingSpec(Server())
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
PROXY = Proxy("docker.io/library/caddy:2.10", "us-west-2a.sites.llm.acme.dev", 443, True, ("mobile",), "/health")


def text(spec: ServingSpec = SPEC, *, instance: str = "i-1", secrets: str = "") -> str:
    return serving_steps(spec)[-1].on_instance(instance, secrets)


def served_with(**server: Any) -> ServingSpec:
    return replace(SPEC, server=Server(**server))


OTHER = served_with(max_input_tokens=1000)


def keys_of(config: Settings) -> list[str]:
    return [f"{site.zone}-{number}" for site in config.sites for number in range(1, site.replicas + 1)]


def state(
    config: Settings, seconds: Mapping[str, float] | None = None, *, protected: bool = False, door: int | None = 8079
) -> dict[str, Any]:
    """The exported state after all replicas served; `seconds` are of their last change."""
    urn = "urn:pulumi:dev::edge-inference::edge-inference:index:EdgeInferenceSite$command:remote:Command"
    outcome = json.dumps({"digest": "x", "changed": True, "protected": protected, "seconds": seconds or {}})
    steps = [
        {"type": "command:remote:Command", "urn": f"{urn}::{key}-ready", "outputs": {"stdout": f"serve: healthy\n{outcome}"}}
        for key in keys_of(config)
    ]
    checks = [
        {"type": "aws:route53/healthCheck:HealthCheck", "urn": f"urn::routing-health-{key}", "outputs": {"port": door}}
        for key in keys_of(config)
    ]
    return {"resources": [*steps, *(checks if door else [])]}


def changes(*keys: str, old: str | None = None, new: str | None = None) -> list[ResourceChange]:
    values = {"create": (old or text(), new or text(OTHER))}
    return [ResourceChange(f"{key}-ready", "Command", "update", ("create",), values=values) for key in keys]


FIRST_RUN = {"drain": 0.8, "stop": 5.0, "load": 60.0, "judge": 5.0, "return": 0.0}


def planned(config: Settings, deployment: dict[str, Any] | None = None, **options: Any) -> RolloutPlan:
    made = options.pop("changes", None) or changes(*keys_of(config))
    found = plan_rollout(made, deployment or state(config, FIRST_RUN), config, NOW, **options)
    assert found
    return found


def keys(plan: RolloutPlan) -> list[list[str]]:
    return [[each.key for each in wave] for wave in plan.waves]


# Order


SITES = st.lists(st.sampled_from((OREGON, LAX, HONOLULU, ATLANTA)), unique=True, min_size=2)


@given(SITES, st.data())
def test_drained_sites_go_first_then_the_order_of_the_config_and_only_who_served(zones: list[str], data: st.DataObject) -> None:
    counts = [f"{zone}*{data.draw(st.integers(1, 3))}" for zone in zones]
    drained = data.draw(st.lists(st.sampled_from(zones), unique=True, max_size=len(zones) - 1))
    config = settings(*counts, drained=drained, rollout={"maxAway": data.draw(st.sampled_from([1, 2, "50%"]))})
    served = frozenset(data.draw(st.lists(st.sampled_from(keys_of(config)), unique=True)))
    order = [key for wave in waves_of(config, served) for key in wave]
    places = {key: (key.rpartition("-")[0] not in drained, place) for place, key in enumerate(keys_of(config))}
    assert order == sorted(served, key=lambda key: places[key])


def test_replicas_that_change_keep_their_order_and_waves_without_one_are_left_out() -> None:
    config = settings(f"{OREGON}*2", LAX, HONOLULU, rollout={"maxAway": 2}, drained=[HONOLULU])
    assert keys(planned(config)) == [[f"{HONOLULU}-1"], [f"{OREGON}-1", f"{OREGON}-2"], [f"{LAX}-1"]]
    assert keys(planned(config, changes=changes(f"{LAX}-1", f"{HONOLULU}-1"))) == [[f"{HONOLULU}-1"], [f"{LAX}-1"]]


def test_new_replicas_other_steps_and_new_hosts_are_in_no_order() -> None:
    config = settings(OREGON, LAX)
    created = ResourceChange(f"{LAX}-1-ready", "Command", "create", values={"create": ("", text())})
    image = ResourceChange(f"{LAX}-1-image", "Command", "update", ("create",), values={"create": (text(), text(OTHER))})
    elsewhere = changes(f"{OREGON}-1", old=text(instance="i-2"))
    connection = ResourceChange(f"{LAX}-1-ready", "Command", "update", ("connection",), values={"connection": ("a", "b")})
    deployment = state(config, FIRST_RUN)
    assert plan_rollout([created, image, connection, *elsewhere], deployment, config, NOW) is None
    assert plan_rollout(changes(f"{OREGON}-1"), {}, config, NOW) is None


# What changes


PROXIED, NEW_PROXY = replace(SPEC, port=443, proxy=PROXY), replace(PROXY, image="r/caddy:3")


@pytest.mark.parametrize(
    ("old", "new", "effect", "what"),
    [
        (SPEC, served_with(model="Qwen/Qwen2.5-3B"), "restart", ["model meta-llama/Llama-3.2-3B-Instruct to Qwen/Qwen2.5-3B"]),
        (SPEC, served_with(revision="abcdef0123456789"), "restart", ["revision main to abcdef012345"]),
        (SPEC, served_with(image="r/tgi:3"), "restart", ["image ghcr.io/huggingface/text-generation-inference:2.4.0 to r/tgi:3"]),
        (SPEC, served_with(engine=Engine.VLLM), "restart", ["engine tgi to vllm"]),
        (
            SPEC,
            served_with(max_input_tokens=1000, max_total_tokens=3500),
            "restart",
            ["maxInputTokens 3072 to 1000", "maxTotalTokens 4096 to 3500"],
        ),
        (SPEC, served_with(prefix_caching=False), "restart", ["prefixCaching off"]),
        (
            served_with(engine=Engine.VLLM),
            served_with(engine=Engine.VLLM, prefix_caching=False, extra_arguments=["--seed=1", "--eager"]),
            "restart",
            ["prefixCaching off", "extraArguments --seed 1", "extraArguments --eager"],
        ),
        (
            served_with(extra_arguments=["--seed", "1", "--cuda-graphs", "0"]),
            served_with(extra_arguments=["--seed", "2"]),
            "restart",
            ["extraArguments --seed 1 to 2", "extraArguments without --cuda-graphs"],
        ),
        (SPEC, replace(SPEC, port=9000), "restart", ["endpoint.port"]),
        (SPEC, replace(SPEC, proxy=replace(PROXY, port=8080)), "restart", ["a proxy (endpoint.tls, apiKey)"]),
        (PROXIED, replace(PROXIED, proxy=NEW_PROXY), "restart", [f"endpoint.proxyImage {PROXY.image} to r/caddy:3"]),
        (PROXIED, replace(PROXIED, proxy=replace(PROXY, key_names=())), "reload", ["apiKey"]),
        (PROXIED, replace(PROXIED, proxy=replace(PROXY, key_names=("web",))), "reload", ["names of API keys"]),
        (SPEC, replace(SPEC, rollout=Rollout(drain_seconds=1)), "none", ["the steps of this release"]),
    ],
)  # fmt: skip
def test_a_change_is_told_in_the_configs_terms(old: ServingSpec, new: ServingSpec, effect: str, what: list[str]) -> None:
    assert compared(text(old), text(new)) == (effect, tuple(what))


def test_keys_and_certificates_are_reloaded_and_take_nobody_away() -> None:
    config = settings(OREGON, LAX)
    made = changes(*keys_of(config), old=text(PROXIED, secrets="a"), new=text(PROXIED, secrets="b"))
    plan = planned(config, changes=made)
    assert {(each.effect, each.what, each.away_seconds) for each in plan.changes} == {("reload", ("API keys or certificate",), 0)}
    assert plan.seconds == 0
    words = " ".join(" ".join(rollout_lines(plan)).split())
    assert words == "rollout API keys or certificate on 2 replicas: their proxies reload one after another; none is away"


def test_the_first_run_of_this_release_takes_away_only_what_gets_another_server() -> None:
    """Release 6788d8e's last step had its server's digest as first argument."""
    before = f"# on i-1\nsudo /opt/edge-inference/wait-ready.sh {transaction(SPEC)['digest']} 900"
    assert compared(before, text())[0] == "none"
    assert compared(before, text(OTHER)) == ("restart", ("from an earlier release to this one",))
    config = settings(OREGON, LAX)
    plan = planned(config, state(config, door=None), changes=changes(*keys_of(config), old=before))
    assert {each.unprotected for each in plan.changes} == {"no health check asks its door before this run"}


@given(st.text())
def test_a_text_that_nobody_wrote_is_unknown(found: str) -> None:
    assert compared(found, found)[0] == "restart"


# How long


def test_the_time_away_is_the_rules_and_that_of_its_last_change() -> None:
    config = settings(OREGON, LAX)
    first, second = planned(config).changes
    # 30 s x 3 + 10 s until it is noticed, 60 s TTL
    assert first.seconds == {"drain": 160.0, "stop": 5.0, "load": 60.0, "judge": 5.0, "return": 100.0}
    assert (first.away_seconds, first.based_on, second.based_on) == (330.0, f"{OREGON}-1", f"{LAX}-1")
    assert planned(config).seconds == 660.0


def test_who_was_led_away_before_takes_as_long_as_then() -> None:
    config = settings(OREGON, LAX)
    measured = {"drain": 8.5, "stop": 1.0, "load": 2.0, "judge": 1.0, "return": 5.0}
    assert planned(config, state(config, measured, protected=True)).changes[0].seconds == measured
    slower = replace(OTHER, rollout=Rollout(notice_seconds=310))
    made = changes(f"{OREGON}-1", new=text(slower))
    told = planned(config, state(config, measured, protected=True), changes=made).changes[0].seconds
    assert told
    assert told["drain"] == 160.0


def test_where_no_replica_ever_changed_its_server_nobody_knows_how_long() -> None:
    config = settings(OREGON, LAX)
    plan = planned(config, state(config, {"judge": 0.5}))
    first = plan.changes[0]
    assert (first.seconds, first.based_on) == ({"drain": 160.0, "return": 100.0}, None)
    assert (first.away_seconds, plan.seconds) == (None, None)
    assert any("unknown" in line for line in rollout_lines(plan))
    broken = state(config)
    for resource in broken["resources"]:
        resource["outputs"] = {"stdout": "cut off {"}
    assert planned(config, broken).seconds is None


def test_a_replica_that_only_checked_its_server_takes_as_long_as_the_slowest_other() -> None:
    config = settings(OREGON, LAX)
    deployment = state(config, FIRST_RUN)
    deployment["resources"][0]["outputs"] = {"stdout": json.dumps({"seconds": {"judge": 0.1, "return": 0.0}})}
    assert [each.based_on for each in planned(config, deployment).changes] == [f"{LAX}-1", f"{LAX}-1"]


def test_those_of_a_wave_are_away_together() -> None:
    config = settings(f"{OREGON}*3", LAX, rollout={"maxAway": 3})
    assert planned(config).seconds == 660.0


# The credentials


@pytest.mark.parametrize(("left", "outlasts"), [(600, True), (700, False), (None, None)])
def test_whether_it_outlasts_the_credentials(left: int | None, outlasts: bool | None) -> None:
    expire = None if left is None else NOW + timedelta(seconds=left)
    plan = planned(settings(OREGON, LAX), credentials_expire=expire)
    assert plan.outlasts_credentials is outlasts
    words = " ".join(rollout_lines(plan))
    assert ("BEFORE that" in words, "credentials" in words) == (bool(outlasts), left is not None)


def test_credentials_tell_their_end_where_they_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "none")
    monkeypatch.delenv("AWS_CREDENTIAL_EXPIRATION", raising=False)
    assert credentials_expire() is None
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", "2099-01-01T00:00:00Z")
    assert credentials_expire() == datetime(2099, 1, 1, tzinfo=UTC)


# Who takes the users


def takers(config: Settings, zone: str, *away: str) -> list[str]:
    return [each.zone for each in Users(config, frozenset(keys_of(config))).takers(zone, away)]


def test_the_others_of_a_site_take_its_users_and_nobody_has_it_farther() -> None:
    config = settings(f"{OREGON}*2", LAX)
    assert Users(config, frozenset(keys_of(config))).takers(OREGON, {f"{OREGON}-1"}) == (Taker(OREGON, 0, 0.0),)


def test_the_nearest_of_the_same_region_is_next_and_then_the_nearest_region() -> None:
    config = settings(HONOLULU, LAX, OREGON, ATLANTA)
    assert takers(config, HONOLULU, f"{HONOLULU}-1") == [LAX]
    assert takers(config, HONOLULU, f"{HONOLULU}-1", f"{LAX}-1") == [OREGON]
    # By latency the Region is chosen first: Los Angeles is nearer than what is left there, but not than Atlanta.
    assert takers(config, ATLANTA, f"{ATLANTA}-1") == [LAX]
    (taker,) = Users(config, frozenset(keys_of(config))).takers(HONOLULU, {f"{HONOLULU}-1"})
    assert taker == Taker(LAX, 4120, 60.6)


def test_a_bias_draws_users_from_farther_away() -> None:
    near = settings(OREGON, LAX, HONOLULU, routing={"domain": "llm.acme.dev", "hostedZone": "acme.dev", "policy": "geoproximity"})
    assert takers(near, HONOLULU, f"{HONOLULU}-1") == [LAX]
    routing = near.routing.model_copy(update={"bias": {"us-west-2": 50}})
    assert takers(replace(near, routing=routing), HONOLULU, f"{HONOLULU}-1") == [OREGON]
    routing = near.routing.model_copy(update={"bias": {"us-west-2-lax-1": -50}})
    assert takers(replace(near, routing=routing), HONOLULU, f"{HONOLULU}-1") == [OREGON]


def test_places_that_are_mapped_to_a_site_go_to_the_nearest_while_it_is_away() -> None:
    routing = {
        "domain": "llm.acme.dev",
        "hostedZone": "acme.dev",
        "policy": "geolocation",
        "geolocation": {"default": OREGON, "usStates": {"HI": HONOLULU}},
    }
    config = settings(f"{OREGON}*2", LAX, HONOLULU, routing=routing)
    assert takers(config, HONOLULU, f"{HONOLULU}-1") == [LAX]
    assert takers(config, OREGON, f"{OREGON}-1") == [OREGON]
    assert takers(config, LAX, f"{LAX}-1") == [OREGON]


def test_a_drained_site_has_no_users_and_takes_none() -> None:
    config = settings(OREGON, LAX, HONOLULU, drained=[LAX])
    assert takers(config, HONOLULU, f"{HONOLULU}-1") == [OREGON]
    drained, *_ = planned(config).changes
    assert (drained.key, drained.takers, drained.unprotected) == (f"{LAX}-1", (), None)
    assert any("drained: has no users" in line for line in rollout_lines(planned(config)))


def test_a_site_that_is_removed_takes_the_users_of_the_only_one_that_stays_and_changes() -> None:
    two, one = settings(OREGON, LAX), settings(OREGON)
    (change,) = planned(one, state(two, FIRST_RUN)).changes
    assert (change.key, change.unprotected, [each.zone for each in change.takers]) == (f"{OREGON}-1", None, [LAX])
    # Where two stay, it goes first and takes nobody.
    both = planned(two, state(settings(OREGON, LAX, HONOLULU), FIRST_RUN))
    assert [[taker.zone for taker in each.takers] for each in both.changes] == [[LAX], [OREGON]]


@given(SITES, st.data())
def test_takers_are_sites_that_serve(zones: list[str], data: st.DataObject) -> None:
    policy = data.draw(st.sampled_from(["latency", "geoproximity"]))
    config = settings(*zones, routing={"domain": "llm.acme.dev", "hostedZone": "acme.dev", "policy": policy})
    away = data.draw(st.lists(st.sampled_from(keys_of(config)), unique=True))
    left = {key.rpartition("-")[0] for key in keys_of(config)} - {key.rpartition("-")[0] for key in away}
    for zone in zones:
        found = set(takers(config, zone, *away))
        assert found <= left
        assert bool(found) == bool(left)
        assert zone not in left or found == {zone}


# What is not protected


@pytest.mark.parametrize(
    ("config", "door", "reason"),
    [
        (settings(OREGON), 8079, "it is the only replica, and changes at once"),
        (settings(OREGON, LAX, routing={"policy": "none"}), None, "no name leads its users elsewhere (routing.policy is none)"),
        (settings(OREGON, LAX), 8080, "no health check asks its door before this run"),
        (settings(OREGON, LAX, drained=[LAX]), 8079, "no other replica would get its users"),
    ],
)
def test_what_is_not_protected_and_why(config: Settings, door: int | None, reason: str) -> None:
    last = planned(config, state(config, FIRST_RUN, door=door)).changes[-1]
    assert (last.unprotected, last.takers) == (reason, ())
    words = " ".join(" ".join(rollout_lines(planned(config, state(config, FIRST_RUN, door=door)))).split())
    assert "NOT PROTECTED" in words
    assert reason in words


# In words


def test_words_fit_a_screen_and_are_few() -> None:
    config = settings(f"{OREGON}*12", f"{LAX}*12", HONOLULU, rollout={"maxAway": "20%"}, drained=[HONOLULU])
    model = "meta-llama/Llama-3.2-3B-Instruct-with-a-long-name"
    made = changes(*keys_of(config), new=text(served_with(model=model)))
    plan = planned(config, changes=made, credentials_expire=NOW + timedelta(seconds=60))
    lines = rollout_lines(plan)
    assert len(lines) <= 12
    assert max(map(len, lines)) <= 80
    assert "\n".join(lines).isascii()
    assert any("and 21 more (edge plan --json)" in line for line in lines)


def test_json_says_the_same() -> None:
    config = settings(OREGON, LAX)
    told = json.loads(json.dumps(planned(config, credentials_expire=NOW + timedelta(seconds=60)).described()))
    (first,), (second,) = told["waves"]
    assert (told["replicas"], told["at_once"], told["seconds"], told["outlasts_credentials"]) == (2, 1, 660.0, True)
    assert first["what"] == ["maxInputTokens 3072 to 1000"]
    assert first["takers"] == [{"zone": LAX, "farther_km": 1317, "farther_ms": 19.4}]
    assert (first["away_seconds"], second["key"], told["credentials_expire"]) == (330.0, f"{LAX}-1", "2026-11-29T12:01:00+00:00")
