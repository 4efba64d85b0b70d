"""What is a deployment's own and not in its state: by its id, by what it hangs on, by health checks and planned records."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation.account.orphans import (
    Facts,
    Known,
    Record,
    Scope,
    Thing,
    deployment_id,
    known_to,
    listed,
    orphans,
    scope_of,
)
from components.dns_plan import Policy, Replica, RoutingChoices, plan_dns, possible_names
from components.zones import parse_zone

OURS, THEIRS = "our-id", "their-id"
REGION, OREGON, LAX = "us-west-2", "us-west-2a", "us-west-2-lax-1a"
DOMAIN, ZONE = "llm.acme.dev", "Z0HOSTED"
SCOPE = Scope(OURS, frozenset({REGION}), frozenset({OREGON, LAX}), frozenset({DOMAIN}), frozenset({ZONE}))
NOTHING = Known(frozenset(), frozenset())
ADDRESS = Thing("address", "eipalloc-1", REGION, LAX[:-1], OURS, address="203.0.113.9")
HOST = Thing("instance", "i-1", REGION, LAX, OURS, instance_type="g4dn.2xlarge")
TABLE = Thing("route table", "rtb-1", REGION, deployment=OURS)
SUBNET = Thing("subnet", "subnet-1", REGION, LAX, OURS)
GROUP = Thing("security group", "sg-1", REGION, deployment=OURS)
TAGGED = (ADDRESS, HOST, TABLE, SUBNET, GROUP, Thing("VPC", "vpc-1", REGION, deployment=OURS))
HANGING = (
    Thing("address association", "eipassoc-1", REGION, on=frozenset({ADDRESS.id, HOST.id})),
    Thing("route", "rtb-1 0.0.0.0/0", REGION, on=frozenset({TABLE.id})),
    Thing("route table association", "rtbassoc-1", REGION, on=frozenset({TABLE.id, SUBNET.id})),
    Thing("security group rule", "sgr-1", REGION, on=frozenset({GROUP.id})),
)
INTERFACE = Thing("network interface", "eni-1", REGION, LAX, on=frozenset({SUBNET.id}), goes_with_it=False)
CHECK = Thing("health check", "check-1", address=ADDRESS.address)


def known(*things: Thing, records: frozenset[tuple[str, str, str]] = frozenset()) -> Known:
    return Known(frozenset(each.id for each in things), records)


def record(name: str, identifier: str = "", *, check: str | None = None, alias_of: str | None = None) -> Record:
    return Record(ZONE, name, identifier, check, alias_of, {"Name": f"{name}."})


def ids(found: tuple[Thing, ...]) -> list[str]:
    return [each.id for each in found]


@given(st.sets(st.sampled_from(TAGGED)), st.permutations(TAGGED))
def test_what_carries_the_id_and_is_in_no_state(recorded: set[Thing], order: list[Thing]) -> None:
    found = orphans(SCOPE, known(*recorded), Facts(tuple(order)))
    assert set(found) == set(TAGGED) - recorded


@given(st.sets(st.sampled_from([*TAGGED, *HANGING, INTERFACE])))
def test_what_hangs_on_ours_is_listed_unless_it_goes_with_another(recorded: set[Thing]) -> None:
    found = set(orphans(SCOPE, known(*recorded), Facts((*TAGGED, *HANGING, INTERFACE))))
    assert not found & recorded
    missing = {each.id for each in TAGGED if each not in recorded}
    for each in HANGING:
        assert (each in found) == (each not in recorded and not each.on & missing)
    assert (INTERFACE in found) == (INTERFACE not in recorded), "a subnet does not go while one is in it"


def test_nothing_of_anothers_is_listed() -> None:
    """Two stacks of one name in one account differ by the id alone."""
    theirs = tuple(replace(each, deployment=THEIRS) for each in TAGGED)
    untagged = tuple(replace(each, deployment=None) for each in TAGGED)
    facts = Facts((*theirs, *untagged, *HANGING, INTERFACE), (CHECK, replace(CHECK, deployment=THEIRS)))
    assert orphans(SCOPE, NOTHING, facts) == ()


def test_health_checks_are_ours_by_the_id_or_by_an_address_of_ours() -> None:
    tagged = Thing("health check", "check-2", deployment=OURS, address="198.51.100.1")
    theirs = Thing("health check", "check-3", deployment=THEIRS, address=ADDRESS.address)
    elsewhere = Thing("health check", "check-4", address="198.51.100.1")
    facts = Facts((ADDRESS,), (CHECK, tagged, theirs, elsewhere))
    assert ids(orphans(SCOPE, known(ADDRESS), facts)) == ["check-1", "check-2"]
    assert ids(orphans(SCOPE, known(ADDRESS, CHECK), facts)) == ["check-2"]


LEAF = record(f"lax-1.us-west-2.{DOMAIN}", f"{LAX}-1", check="check-1")
ALIASES = (
    record(f"us-west-2.{DOMAIN}", "us-west-2-lax-1", alias_of=f"lax-1.us-west-2.{DOMAIN}"),
    record(f"latency.{DOMAIN}", REGION, alias_of=f"us-west-2.{DOMAIN}"),
    record(DOMAIN, alias_of=f"latency.{DOMAIN}"),
)


def test_records_of_a_planned_name_that_lead_to_ours() -> None:
    facts = Facts((ADDRESS,), (CHECK,), (LEAF, *ALIASES))
    assert {each.kind for each in orphans(SCOPE, known(ADDRESS, CHECK), facts)} == {"record"}
    assert len(orphans(SCOPE, known(ADDRESS, CHECK), facts)) == 4
    in_state = frozenset({LEAF.key, ALIASES[0].key})
    left = orphans(SCOPE, known(ADDRESS, CHECK, records=in_state), facts)
    assert ids(left) == [f"latency.{DOMAIN} A {REGION}", f"{DOMAIN} A"]


def test_an_alias_is_ours_only_where_all_below_it_is() -> None:
    theirs = record(LEAF.name, "another", check="their-check")
    assert orphans(SCOPE, known(ADDRESS, CHECK), Facts((ADDRESS,), (CHECK,), (theirs, *ALIASES))) == ()
    assert ids(orphans(SCOPE, known(ADDRESS, CHECK), Facts((ADDRESS,), (CHECK,), (LEAF, theirs, *ALIASES)))) == [
        f"{LEAF.name} A {LEAF.set_identifier}"
    ]


@pytest.mark.parametrize(
    "theirs",
    [
        record(f"mail.{DOMAIN}", check="check-1"),
        record(f"{LAX}.sites.{DOMAIN}", "1", check="their-check"),
        record(f"{LAX}.sites.{DOMAIN}", "1"),
        record(f"{LAX}.sites.dev.{DOMAIN}", f"{LAX}-1", check="check-1"),
        record(f"us-east-1.{DOMAIN}", "us-east-1", check="check-1"),
        record(DOMAIN, alias_of="other.acme.dev"),
        record(f"dev.{DOMAIN}", alias_of=f"latency.dev.{DOMAIN}"),
        record(f"us-west-2.{DOMAIN}", alias_of=f"latency.us-west-2.{DOMAIN}"),
    ],
    ids=lambda each: f"{each.name} {each.health_check_id or each.alias_of}",
)
def test_other_records_stay(theirs: Record) -> None:
    """Names below ours, names of environments nested in ours, and our own names with another's check or target."""
    assert orphans(SCOPE, known(ADDRESS, CHECK), Facts((ADDRESS,), (CHECK,), (theirs,))) == ()


def test_a_zone_that_the_config_names_no_more_is_known_by_what_is_there() -> None:
    facts = Facts((ADDRESS, replace(HOST, zone="us-west-2-hnl-1a")), (CHECK,))
    of_honolulu = record(f"us-west-2-hnl-1a.sites.{DOMAIN}", "us-west-2-hnl-1a-1", check=CHECK.id)
    assert ids(orphans(SCOPE, known(ADDRESS, CHECK, HOST), replace(facts, records=(of_honolulu,))))


def test_the_order_is_one_that_aws_accepts() -> None:
    facts = Facts((*reversed(TAGGED), INTERFACE), (CHECK,), (LEAF,))
    kinds = [each.kind for each in orphans(SCOPE, NOTHING, facts)]
    before = [
        ("record", "health check"), ("instance", "address"), ("instance", "subnet"), ("network interface", "subnet"),
        ("subnet", "route table"), ("address", "VPC"), ("subnet", "VPC"), ("security group", "VPC"), ("route table", "VPC"),
    ]  # fmt: skip
    for first, then in before:
        assert kinds.index(first) < kinds.index(then)


def test_what_costs_has_its_price_and_its_place() -> None:
    header, address, host = listed([ADDRESS, HOST])
    assert header.split() == ["kind", "id", "zone", "price"]
    assert address.split() == ["address", "eipalloc-1", "us-west-2-lax-1", "$0.005", "per", "hour"]
    assert host.split() == ["instance", "i-1", LAX, "$0.902", "per", "hour"]
    assert replace(HOST, instance_type="x9.huge").price == "price unknown"
    assert replace(HOST, kind="capacity reservation").price == "$0.902 per hour"


zones = st.lists(st.sampled_from([OREGON, "us-west-2b", LAX, "us-west-2-lax-1b", "us-east-1-bos-1a"]), min_size=1, unique=True)


@given(zones, st.sampled_from(["latency", "geoproximity"]))
def test_every_plan_is_within_the_possible_names(chosen: list[str], policy: Policy) -> None:
    parsed = [parse_zone(name) for name in chosen]
    plan = plan_dns(RoutingChoices(policy, DOMAIN), [Replica(zone, number) for zone in parsed for number in (1, 2)])
    assert {each.name for each in plan.records} <= possible_names(DOMAIN, parsed)


# States


def resource(kind: str, named: str, resource_id: str = "", **outputs: Any) -> dict[str, Any]:
    return {"type": kind, "urn": f"urn:pulumi:dev::p::{kind}::{named}", "id": resource_id, "outputs": outputs}


STATE: Mapping[str, Any] = {
    "resources": [
        resource("pulumi:pulumi:Stack", "s", routing={"domain": "old.acme.dev", "hosted_zone_id": "ZOLD"}),
        resource("pulumi:index:Stash", "deployment", "x", output=OURS),
        resource("aws:ec2/keyPair:KeyPair", "key", "a-name", keyPairId="key-1", region="us-east-1"),
        resource("aws:ec2/subnet:Subnet", "subnet", "subnet-1", availabilityZone="us-west-2-hnl-1a"),
        resource("aws:ec2/route:Route", "route", "r-1", routeTableId="rtb-1", destinationCidrBlock="0.0.0.0/0"),
        resource("aws:route53/record:Record", "r", "x", zoneId=ZONE, name=f"{DOMAIN}.", type="A", setIdentifier="us-west-2"),
    ]
}


def test_a_state_says_what_it_holds_and_where_to_look() -> None:
    assert deployment_id(STATE) == OURS
    assert known_to(STATE).ids >= {"key-1", "subnet-1", "rtb-1 0.0.0.0/0"}
    assert known_to(STATE).records == {(ZONE, DOMAIN, "us-west-2")}
    scope = scope_of(STATE, zones=[LAX], domain=DOMAIN, hosted_zone="acme.dev", hosted_zone_id=None)
    assert scope is not None
    assert scope.regions == {"us-west-2", "us-east-1"}
    assert scope.zones == {LAX, "us-west-2-hnl-1a"}
    assert (scope.domains, scope.hosted_zone_ids) == ({DOMAIN, "old.acme.dev"}, {ZONE, "ZOLD"})


def test_a_state_without_an_id_decides_nothing() -> None:
    without = {"resources": [each for each in STATE["resources"] if each["type"] != "pulumi:index:Stash"]}
    assert scope_of(without, zones=[LAX], domain=DOMAIN, hosted_zone=None, hosted_zone_id=None) is None
    assert deployment_id({}) is None
