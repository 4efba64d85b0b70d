"""The end of `up`: what ends it with an error, what is only a warning, and how long is waited for whom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from automation.engine.results import ResourceChange
from automation.errors import DeploymentFailedError
from automation.sites import closing, names
from automation.sites.closing import require_serving
from automation.sites.names import NameAnswer
from automation.sites.serving import Answer, Replica
from components.settings import StackConfig

OREGON, LAX = "us-west-2a", "us-west-2-lax-1a"
SERVES = Answer("serves", "healthy, and it generates")
CONFIG = StackConfig("prod", {"edge-inference:host": json.dumps({"readyBudgetSeconds": 900})}, frozenset())


class Environment:
    """An environment on the local cloud."""

    arguments, on_local_cloud = "prod --local", True

    def port_of(self, address: str, port: int) -> int:
        raise AssertionError(f"{address}:{port}")

    def aws_client(self, service: str, region: str) -> Any:
        raise AssertionError(f"{service} in {region}")

    def dns_port(self) -> int:
        return 5300


OUTPUTS: dict[str, Any] = {
    "routing": {"domain": "llm.acme.dev", "hosted_zone_id": "Z1"},
    "sites": {
        OREGON: {"name": f"{OREGON}.llm.acme.dev", "replicas": [{"address": "192.0.2.1", "url": "http://192.0.2.1:8080"}]},
        LAX: {"name": f"{LAX}.llm.acme.dev", "replicas": [{"address": f"192.0.2.{n}", "url": "http://x"} for n in (2, 3)]},
    },
}


class World:
    """What replicas and names answer, and what was asked of them."""

    def __init__(self) -> None:
        self.answers = {f"{OREGON}-1": SERVES, f"{LAX}-1": SERVES, f"{LAX}-2": SERVES}
        self.told: dict[str, frozenset[str] | None] = {}
        self.warnings: list[str] = []
        self.patience: dict[str, float] = {}

    def end(self, *changes: ResourceChange) -> None:
        require_serving(Environment(), OUTPUTS, CONFIG, changes, self.warnings.append)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()

    class Asker:
        def __init__(self, *_: object) -> None:
            pass

        def ask_all(self, asked: list[Replica], *, patience: dict[str, float]) -> dict[str, Answer]:
            made.patience = patience
            return {each.key: made.answers[each.key] for each in asked}

    def ask_names(outputs: dict[str, Any], servers: list[names.Server]) -> list[NameAnswer]:
        assert servers == [("127.0.0.1", 5300)]
        return [NameAnswer(name, right, made.told.get(name, right)) for name, right in names.expected_answers(outputs)]

    monkeypatch.setattr(closing, "Asker", Asker)
    monkeypatch.setattr(names, "ask_names", ask_names)
    return made


def test_where_all_serve_nothing_is_said(world: World) -> None:
    world.end()
    assert world.warnings == []


def test_a_replica_that_does_not_serve_ends_the_run_with_cause_and_remedy(world: World) -> None:
    world.answers[f"{LAX}-2"] = Answer("dead", "/health answers 503")
    with pytest.raises(DeploymentFailedError) as raised:
        world.end()
    assert str(raised.value).startswith(
        f"{LAX}-2 does not serve: /health answers 503\n  -> edge logs prod --local {LAX} --replica 2"
    )
    assert raised.value.exit_code == 6
    assert raised.value.sites[LAX].reasons == (f"{LAX}-2: /health answers 503",)


def test_a_replica_that_the_run_leaves_alone_is_not_waited_for_and_names_are_asked_all_the_same(world: World) -> None:
    """One that hangs would take a minute."""
    del world.answers[f"{LAX}-2"]
    require_serving(
        Environment(), OUTPUTS, CONFIG, (), world.warnings.append, answers_for=lambda replica: replica.key != f"{LAX}-2"
    )
    world.told["llm.acme.dev"] = frozenset({"203.0.113.9"})
    with pytest.raises(DeploymentFailedError):
        require_serving(Environment(), OUTPUTS, CONFIG, (), world.warnings.append, answers_for=lambda _: False)


def test_who_was_asked_on_the_host_is_said(world: World) -> None:
    world.answers[f"{OREGON}-1"] = Answer("serves", "healthy", on_host=True)
    world.end()
    assert world.warnings == [f"asked on the host, since access.clientCidrs does not hold this machine: {OREGON}-1"]


def test_a_name_that_leads_elsewhere_is_an_error_and_a_silent_server_a_warning(world: World) -> None:
    world.told = {"llm.acme.dev": None}
    world.end()
    assert world.warnings == ["llm.acme.dev: none of its name servers answers"]
    world.told = {"llm.acme.dev": frozenset({"198.51.100.9"})}
    with pytest.raises(DeploymentFailedError, match=r"llm.acme.dev answers 198.51.100.9, and 192.0.2.1, 192.0.2.2, 192.0.2.3 is"):
        world.end()


def test_a_host_that_was_changed_may_take_as_long_as_its_model_takes_to_load(world: World) -> None:
    world.end(ResourceChange(f"{LAX}-1-host", "Instance", "update", ("instanceType",)))
    assert world.patience[f"{LAX}-1"] == 900.0
    assert world.patience[f"{OREGON}-1"] < 60.0
