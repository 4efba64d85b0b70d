"""Zone names and the CIDR plan: a subnet depends on its zone's name alone, so it never moves."""

import contextlib
from ipaddress import IPv4Network
from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from components.subnets import SUBNET_PREFIX_LENGTH, planned_subnets
from components.zones import parse_zone
from localcloud.api.zones import GROUPS

LARGEST = IPv4Network("10.64.0.0/16")
REGIONS = sorted({group.region for group in GROUPS.values()})
ZONES = {
    region: [f"{region}{letter}" for letter in "abcdef"]
    + [zone for group in GROUPS.values() if group.region == region for zone in group.zones]
    for region in REGIONS
}
"""Zones by parent Region, as the local cloud knows them."""

zone_sets = st.sampled_from(REGIONS).flatmap(lambda region: st.lists(st.sampled_from(ZONES[region]), unique=True))
vpcs = st.sampled_from([IPv4Network(text) for text in ("10.64.0.0/16", "172.16.0.0/17", "10.1.128.0/18", "192.168.32.0/19")])


def plan(vpc: IPv4Network, *zones: str) -> dict[str, IPv4Network] | None:
    """The plan, None where two zones share a position."""
    try:
        return planned_subnets(vpc, dict.fromkeys(zones))
    except ValueError:
        return None


@pytest.mark.parametrize(
    ("name", "region", "group", "is_local", "label"),
    [
        ("us-west-2-lax-1a", "us-west-2", "us-west-2-lax-1", True, "lax-1"),
        ("us-west-2-lax-1b", "us-west-2", "us-west-2-lax-1", True, "lax-1"),
        ("us-west-2a", "us-west-2", "us-west-2", False, "region"),
        ("ap-southeast-1-mnl-1a", "ap-southeast-1", "ap-southeast-1-mnl-1", True, "mnl-1"),
        ("us-gov-west-1b", "us-gov-west-1", "us-gov-west-1", False, "region"),
    ],
)
def test_zone_is_taken_apart(name: str, region: str, group: str, is_local: bool, label: str) -> None:
    zone = parse_zone(name)
    assert (zone.name, zone.region, zone.group, zone.is_local, zone.group_label) == (name, region, group, is_local, label)


@pytest.mark.parametrize(
    "name",
    ["", "us-west-2", "us-west-2-lax-1", "us-west-2-lax-1A", "US-WEST-2A", "us-west-2-lax-a", "us-west-2-la-1a", "us-west-2aa",
     "us-west-2-wl1-las-wlz-1", " us-west-2a", "us-west-2a\n", "usw2-az1"],
)  # fmt: skip
def test_other_names_are_refused_with_the_form(name: str) -> None:
    with pytest.raises(ValueError, match="us-west-2-lax-1a"):
        parse_zone(name)


@given(st.text())
def test_any_text_is_a_zone_or_a_value_error(name: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_zone(name).name == name


def test_every_zone_of_the_local_cloud_is_understood() -> None:
    for group in GROUPS.values():
        for zone in group.zones:
            parsed = parse_zone(zone)
            assert (parsed.region, parsed.group, parsed.is_local) == (group.region, group.name, True)


@pytest.mark.parametrize("region", REGIONS)
def test_no_two_known_zones_of_a_region_share_a_position(region: str) -> None:
    """Else two sites could not be deployed together without `subnetCidr`."""
    subnets = planned_subnets(LARGEST, dict.fromkeys(ZONES[region]))
    assert len(set(subnets.values())) == len(ZONES[region])


@given(vpcs, zone_sets)
def test_subnets_are_inside_the_vpc_and_apart(vpc: IPv4Network, zones: list[str]) -> None:
    subnets = plan(vpc, *zones)
    assume(subnets is not None)
    assert subnets is not None
    assert set(subnets) == set(zones)
    for subnet in subnets.values():
        assert subnet.prefixlen == SUBNET_PREFIX_LENGTH
        assert subnet.subnet_of(vpc)
    for one, other in combinations(subnets.values(), 2):
        assert not one.overlaps(other)


@given(vpcs, zone_sets, st.data())
def test_a_subnet_never_moves(vpc: IPv4Network, zones: list[str], data: st.DataObject) -> None:
    """Whichever zones come, go or change places."""
    everyone = plan(vpc, *zones)
    assume(everyone is not None)
    assert everyone is not None
    some = data.draw(st.lists(st.sampled_from(zones), unique=True)) if zones else []
    assert plan(vpc, *some) == {zone: everyone[zone] for zone in some}


def test_positions_are_a_contract_with_deployed_stacks() -> None:
    """Another plan would replace the subnets, and with them the hosts, of every stack in the world."""
    subnets = planned_subnets(LARGEST, dict.fromkeys(["us-west-2a", "us-west-2d", "us-west-2-lax-1a", "us-west-2-hnl-1a"]))
    assert {zone: str(subnet) for zone, subnet in subnets.items()} == {
        "us-west-2a": "10.64.0.0/24",
        "us-west-2d": "10.64.3.0/24",
        "us-west-2-lax-1a": "10.64.153.0/24",
        "us-west-2-hnl-1a": "10.64.126.0/24",
    }


def test_given_subnet_is_taken_and_moves_nobody() -> None:
    planned = planned_subnets(LARGEST, {"us-west-2a": None, "us-west-2-lax-1a": "10.64.250.0/26"})
    assert planned == {"us-west-2a": IPv4Network("10.64.0.0/24"), "us-west-2-lax-1a": IPv4Network("10.64.250.0/26")}


@pytest.mark.parametrize(
    ("zones", "named"),
    [
        ({"us-west-2a": None, "us-west-2-lax-1a": "10.64.0.128/25"}, ["us-west-2a", "us-west-2-lax-1a", "overlaps"]),
        ({"us-west-2a": "10.64.9.0/24", "us-west-2b": "10.64.8.0/23"}, ["us-west-2a", "us-west-2b", "overlaps"]),
        ({"us-west-2a": "10.65.0.0/24"}, ["us-west-2a", "10.64.0.0/16", "not inside"]),
        ({"us-west-2a": "10.0.0.0/8"}, ["us-west-2a", "not inside"]),
    ],
)
def test_refused_subnets_name_who_is_in_the_way(zones: dict[str, str | None], named: list[str]) -> None:
    with pytest.raises(ValueError, match=r"of us-west-2") as raised:
        planned_subnets(LARGEST, zones)
    for word in named:
        assert word in str(raised.value)
