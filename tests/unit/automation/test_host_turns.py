"""Hosts that are stopped or replaced go in turns: the first alone, then as many as may be away, a whole site with its subnet."""

import json
from collections.abc import Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from checked_settings import settings, stack_config

from automation.errors import UsageError
from automation.sites import host_turns
from automation.sites.host_keys import Keys, keys_before
from automation.sites.host_turns import Departures, chosen_hosts, removed_hosts
from components.host_changes import planned_hosts
from components.host_steps import Step
from components.settings import Settings

OREGON, LAX = "us-west-2a", "us-west-2-lax-1a"


def config(away: int | str = 1, **sections: Any) -> Settings:
    return settings(f"{OREGON}*3", LAX, rollout={"maxAway": away}, **sections)


def state(**other: str) -> dict[str, Any]:
    """An exported state in which every host has another type than the config's, or what else is given."""
    resources: list[dict[str, Any]] = []
    for key, facts in planned_hosts(config()).items():
        zone = key.rpartition("-")[0]
        step, host_key = Step("ready", "sudo true"), other.get("host_key", facts.host_key or "")
        host = {"instanceType": other.get("instance_type", facts.instance_type), "ami": "ami-1"}
        for kind, name, outputs in (
            ("aws:ec2/instance:Instance", f"{key}-host", host),
            ("aws:ec2/eipAssociation:EipAssociation", f"{key}-association", {}),
            ("command:remote:Command", f"{key}-ready", {"create": step.on_instance("i-1", "", host_key)}),
            ("aws:ec2/keyPair:KeyPair", f"{zone}-key", {"publicKey": facts.public_key}),
            ("aws:ec2/subnet:Subnet", f"{zone}-subnet", {"cidrBlock": other.get("subnet", facts.subnet_cidr)}),
        ):
            urn = f"urn:pulumi:dev::edge-inference::edge-inference:index:EdgeInferenceSite${kind}::{name}"
            resources.append({"urn": urn, "type": kind, "id": name, "outputs": outputs})
    return {"resources": resources}


def turns(deployment: Mapping[str, Any], wanted: Settings, **options: Any) -> list[list[str]]:
    return [list(turn.hosts) for turn in host_turns.host_turns(deployment, wanted, **options)]


def test_no_host_goes_where_none_must() -> None:
    assert turns(state(), config()) == []


@pytest.mark.parametrize(
    ("away", "expected"),
    [
        (1, [[f"{OREGON}-1"], [f"{OREGON}-2"], [f"{OREGON}-3"], [f"{LAX}-1"]]),
        (2, [[f"{OREGON}-1"], [f"{OREGON}-2", f"{OREGON}-3"], [f"{LAX}-1"]]),
        ("100%", [[f"{OREGON}-1"], [f"{OREGON}-2", f"{OREGON}-3", f"{LAX}-1"]]),
    ],
)
def test_the_first_goes_alone_then_as_many_as_may(away: int | str, expected: list[list[str]]) -> None:
    assert turns(state(instance_type="g4dn.xlarge"), config(away)) == expected


def test_a_subnet_takes_its_whole_site() -> None:
    found = turns(state(subnet="10.200.0.0/24"), config())
    assert found == [[f"{OREGON}-1", f"{OREGON}-2", f"{OREGON}-3"], [f"{LAX}-1"]]


def test_what_is_gone_needs_no_turn_and_what_is_asked_for_gets_one() -> None:
    assert turns(state(), config(), asked=[f"{LAX}-1"]) == [[f"{LAX}-1"]]
    assert turns(state(), config(), asked=[f"{LAX}-1"], but={f"{LAX}-1"}) == []
    (turn,) = host_turns.host_turns(state(), config(), asked=[f"{LAX}-1"])
    assert [urn.rpartition("::")[2] for urn in turn.instances] == [f"{LAX}-1-host"]
    assert [urn.rpartition("::")[2] for urn in turn.resources] == [f"{LAX}-1-host", f"{LAX}-1-association", f"{LAX}-1-ready"]


def test_on_a_host_that_keeps_its_instance_the_steps_run_again() -> None:
    """With a new one they run anyway."""
    resized, *_ = host_turns.host_turns(state(instance_type="g4dn.xlarge"), config())
    assert [urn.rpartition("::")[2] for urn in resized.steps] == [f"{OREGON}-1-ready"]
    assert host_turns.host_turns(state(), config(), asked=[f"{LAX}-1"])[0].steps == ()
    kept = {"urn": "urn::reservation", "type": "aws:ec2/capacityReservation:CapacityReservation"}
    kept["urn"] = f"urn:pulumi:dev::edge-inference::{kept['type']}::{OREGON}-1-reservation"
    reserved = {"resources": [*state(instance_type="g4dn.xlarge")["resources"], kept]}
    assert kept["urn"] in host_turns.host_turns(reserved, config())[0].resources
    moved, *_ = host_turns.host_turns(state(instance_type="g4dn.xlarge", subnet="10.200.0.0/24"), config())
    assert moved.steps == ()


def test_hosts_are_chosen_by_zone_or_by_replica() -> None:
    assert chosen_hosts(state(), [LAX, f"{OREGON}-2"]) == [f"{LAX}-1", f"{OREGON}-2"]
    with pytest.raises(UsageError, match="there is no host 'us-west-2z'"):
        chosen_hosts(state(), ["us-west-2z"])


def serving(*keys: str, **connection: object) -> dict[str, Any]:
    """An exported state in which these replicas serve."""
    resources: list[dict[str, Any]] = []
    for number, key in enumerate(keys, 1):
        for kind, name, outputs in (
            ("aws:ec2/instance:Instance", f"{key}-host", {}),
            ("aws:ec2/eip:Eip", f"{key}-address", {"publicIp": f"1.0.0.{number}"}),
            ("command:remote:Command", f"{key}-ready", {"create": '{"digest":"abc"', **connection}),
        ):
            urn = f"urn:pulumi:dev::edge-inference::edge-inference:index:EdgeInferenceSite${kind}::{name}"
            resources.append({"urn": urn, "type": kind, "id": name, "outputs": outputs})
    return {"resources": resources}


class Hosts:
    """Stands in for SSH: what each host is asked, and what it answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, str | None]) -> None:
        self.asked: list[tuple[str, str]] = []
        self.said: list[str] = []
        self._answers = answers
        monkeypatch.setattr(host_turns, "ssh", self._ssh)
        monkeypatch.setattr(host_turns, "run", self._run)
        keys = (f"{OREGON}-1", f"{OREGON}-2", f"{LAX}-1", "us-west-2-hnl-1a-1")
        self.departures = Departures(cast("Any", object()), stack_config(OREGON), config(), serving(*keys), self.said.append)

    @contextmanager
    def _ssh(self, ports: object, host: Any, config: object) -> Any:
        del ports, config
        yield [host.key]

    def _run(self, command: list[str], script: str, *, seconds: float) -> str | None:
        assert seconds > 0
        self.asked.append((command[0], "back" if script.endswith(" back") else "leave" if "leave.sh" in script else "mark"))
        return self._answers.get(command[0])


def test_who_leaves_says_what_was_not_protected_or_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = json.dumps({"protected": True, "cut": 0})
    hosts = Hosts(monkeypatch, {f"{OREGON}-1": kept, f"{OREGON}-2": json.dumps({"protected": False, "cut": 2}), f"{LAX}-1": None})
    hosts.departures.leave({f"{OREGON}-1": "AMI a to b"})
    assert hosts.said == [f"{OREGON}-1 (AMI a to b): leads its users elsewhere, then it is changed"]
    hosts.departures.leave({f"{OREGON}-2": "x", f"{LAX}-1": "x"})
    told = "\n".join(hosts.said)
    assert f"not protected: no health checker has asked {OREGON}-2" in told
    assert f"{OREGON}-2: 2 requests outlast rollout.drainSeconds and are cut" in told
    assert f"not protected: {LAX}-1 does not take the order" in told
    hosts.departures.come_back()
    assert sorted(hosts.asked[3:]) == [(f"{LAX}-1", "back"), (f"{OREGON}-1", "back"), (f"{OREGON}-2", "back")]


def test_the_last_one_has_nobody_to_lead_its_users_to(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = Hosts(monkeypatch, {})
    hosts.departures.leave(dict.fromkeys((f"{OREGON}-1", f"{OREGON}-2", f"{LAX}-1", "us-west-2-hnl-1a-1"), "x"))
    assert hosts.asked == []
    assert "not protected: no other replica is there" in hosts.said[0]


def test_what_the_config_has_no_more_is_known() -> None:
    deployed = serving(f"{OREGON}-1", f"{OREGON}-2", f"{LAX}-1", "us-west-2-hnl-1a-1")
    assert removed_hosts(deployed, config()) == ["us-west-2-hnl-1a-1"]


def test_a_host_is_back_when_route_53_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = Hosts(monkeypatch, {})

    def no_time(seconds: float) -> None:
        del seconds

    monkeypatch.setattr(host_turns.time, "sleep", no_time)
    seen = iter([False, False, True])

    def routes() -> Any:
        replica = SimpleNamespace(address="1.0.0.3", health=SimpleNamespace(healthy=next(seen)))
        return SimpleNamespace(sites=[SimpleNamespace(replicas=[replica])])

    hosts.departures.are_back([f"{LAX}-1"], routes)
    assert list(seen) == []
    assert hosts.said == []


def test_while_the_ssh_key_changes_hosts_are_reached_by_the_one_before() -> None:
    connection = {"sig": "secret", "plaintext": json.dumps({"privateKey": {"sig": "secret", "plaintext": '"the one before"'}})}
    shown = json.dumps({"deployment": serving(f"{OREGON}-1", connection=connection)})

    def ask(*arguments: str) -> str:
        assert "--show-secrets" in arguments
        return shown

    def stack(deployment: dict[str, Any]) -> Any:
        return SimpleNamespace(name="dev", deployment=deployment, ask=ask)

    assert keys_before(stack(state()), config()) == {}
    other = state()
    for each in other["resources"]:
        if "publicKey" in each["outputs"] and OREGON in each["urn"]:
            each["outputs"]["publicKey"] = "ssh-ed25519 AAAA"
    assert keys_before(stack(other), config()) == {f"{OREGON}-1": Keys("the one before", None)}


def test_another_host_key_secret_replaces_hosts_in_turns_which_are_known_by_their_own_keys_until_then() -> None:
    def never(*_: str) -> str:
        raise AssertionError("a public key is no secret")

    deployed = state(host_key="ssh-ed25519 AAAA")
    found = host_turns.host_turns(deployed, config())
    assert [list(turn.hosts.values()) for turn in found] == [["hostKeySecret"]] * 4
    replaced = [urn.rpartition("::")[2] for turn in found for urn in turn.instances]
    assert replaced == [f"{key}-host" for key in planned_hosts(config())]
    known = keys_before(cast("Any", SimpleNamespace(name="dev", deployment=deployed, ask=never)), config())
    assert known == dict.fromkeys(planned_hosts(config()), Keys(None, "ssh-ed25519 AAAA"))
