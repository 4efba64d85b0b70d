"""Which hosts a config stops or replaces is told from the state; what changes in place is not among them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from component_helpers import deployer_key, settings

from components.host_changes import (
    HostFacts,
    deployed_hosts,
    host_changes,
    planned_hosts,
    replaces,
    told_of_kept_keys,
    told_together,
)
from components.host_identity import deployer_public_key
from components.host_steps import Step

KEY = "us-west-2a-1"


def state(**other: Any) -> dict[str, Mapping[str, Any]]:
    """A state's outputs by URN: one host in us-west-2a as the settings of these tests make it."""
    (planned,) = {key: facts for key, facts in planned_hosts(settings()).items() if key == KEY}.values()
    site = "urn:pulumi:dev::edge-inference::edge-inference:index:EdgeInferenceSite$aws:ec2/"
    known: dict[str, Any] = {
        "instanceType": planned.instance_type,
        "ami": "ami-1",
        "publicKey": f"{planned.public_key} a comment",
        "cidrBlock": planned.subnet_cidr,
        "keyName": "key-1",
        "subnetId": "subnet-1",
        "pairName": "key-1",
        "id": "subnet-1",
        "vpc": "10.64.0.0/16",
        "hostKey": planned.host_key,
        "step": "ready",
        **other,
    }
    text = Step("any", "sudo true").on_instance("i-1", "", known["hostKey"]) if known["hostKey"] else "# on i-1\nsudo true"
    return {
        f"{site}InferenceServer$command:remote:Command::{KEY}-{known['step']}": {"create": text},
        f"{site}instance:Instance::{KEY}-host": {name: known[name] for name in ("instanceType", "ami", "keyName", "subnetId")},
        f"{site}keyPair:KeyPair::us-west-2a-key": {"publicKey": known["publicKey"], "keyName": known["pairName"]},
        "urn:pulumi:dev::edge-inference::edge-inference:index:RegionNetwork$aws:ec2/vpc:Vpc::us-west-2-vpc": {
            "cidrBlock": known["vpc"]
        },
        f"{site}subnet:Subnet::us-west-2a-subnet": {"cidrBlock": known["cidrBlock"], "id": known["id"]},
    }


def changed(**other: Any) -> dict[str, str]:
    return host_changes(deployed_hosts(state(**other)), planned_hosts(settings()))


def test_what_is_as_the_config_says_stays() -> None:
    assert changed() == {}
    assert changed(ami="ami-2") == {}, "not pinned: whatever it has"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"instanceType": "g4dn.xlarge"}, "instanceType g4dn.xlarge to g4dn.2xlarge"),
        ({"publicKey": "ssh-ed25519 AAAA"}, "sshPrivateKey"),
        ({"hostKey": "ssh-ed25519 AAAA"}, "hostKeySecret"),
        ({"hostKey": "ssh-ed25519 AAAA", "step": "scripts"}, "hostKeySecret"),
        ({"cidrBlock": "10.9.0.0/24"}, "subnet 10.9.0.0/24 to "),
        ({"cidrBlock": "10.9.0.0/24", "vpc": "10.9.0.0/16"}, "vpcCidr 10.9.0.0/16 to 10.64.0.0/16"),
    ],
)
def test_what_differs_is_told_by_replica(other: dict[str, str], reason: str) -> None:
    told = changed(**other)
    assert told.keys() == {KEY}
    assert told[KEY].startswith(reason)


def test_a_state_of_an_older_release_does_not_say_which_host_keys_there_are() -> None:
    assert changed(hostKey=None) == {}


def test_every_host_has_a_key_of_its_own() -> None:
    keys = [facts.host_key for facts in planned_hosts(settings(sites=[{"zone": "us-west-2a", "replicas": 2}])).values()]
    assert len(set(keys)) == 2


@pytest.mark.parametrize(("other", "reason"), [({"pairName": "key-2"}, "sshPrivateKey"), ({"id": "subnet-2"}, "subnet ")])
def test_a_run_that_broke_off_leaves_hosts_that_are_still_to_go(other: dict[str, str], reason: str) -> None:
    """The key pair or the subnet is the config's already, and the host was made with the one before."""
    assert changed(**other)[KEY].startswith(reason)


def test_a_pinned_ami_is_held_against_the_hosts() -> None:
    pinned = settings(host={"amis": {"us-west-2": "ami-0123456789abcdef0"}})
    told = host_changes(deployed_hosts(state()), planned_hosts(pinned))
    assert told[KEY] == "AMI ami-1 to ami-0123456789abcdef0"


def test_new_and_removed_replicas_are_no_change_of_a_host() -> None:
    facts = HostFacts("g4dn.xlarge", None, deployer_public_key(deployer_key()), None)
    other = replace(facts, instance_type="g5.xlarge")
    assert host_changes({"gone-1": facts}, {"new-1": other}) == {}


def test_another_type_alone_keeps_the_instance() -> None:
    assert not replaces("instanceType g4dn.xlarge to g4dn.2xlarge")
    assert replaces("instanceType g4dn.xlarge to g4dn.2xlarge, sshPrivateKey")
    assert replaces("AMI ami-1 to ami-2")


def test_plain_pulumi_says_how_many_go_at_once_and_what_does_better() -> None:
    told = told_together({"a-1": "AMI x to y", "b-1": "AMI x to y"}, "prod")
    assert told.startswith("2 hosts are stopped or replaced at once (AMI x to y): a-1, b-1.")
    assert "-> edge up prod" in told


def test_plain_pulumi_says_which_hosts_keep_their_keys() -> None:
    told = told_of_kept_keys({"a-1": "hostKeySecret"}, "prod")
    assert "stay as they are: a-1" in told
    assert "-> edge up prod" in told
