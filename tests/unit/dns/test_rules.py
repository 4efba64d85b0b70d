"""Route 53's documented choices, each written down by hand: the Developer Guide's own examples, then the product's tree."""

from __future__ import annotations

import random
from collections import Counter
from ipaddress import ip_network
from typing import Any

import pytest

from geography.cities import CITIES, City
from localcloud.dns.rules import Answer, answer, client_in

NAME = "llm.edge.internal."


def a(identifier: str, name: str = NAME, **members: Any) -> dict[str, Any]:
    """An A record that answers with its own identifier; its health check has that name too."""
    record = {"Name": name, "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": identifier}]}
    return {**record, "SetIdentifier": identifier, "HealthCheckId": identifier, **members}


def alias(identifier: str, target: str, name: str = NAME, *, evaluate: bool = True, **members: Any) -> dict[str, Any]:
    to = {"HostedZoneId": "Z", "DNSName": target, "EvaluateTargetHealth": evaluate}
    return {"Name": name, "Type": "A", "AliasTarget": to, "SetIdentifier": identifier, **members}


def ask(
    records: list[dict[str, Any]], city: str | None = "Honolulu", down: tuple[str, ...] = (), name: str = NAME, kind: str = "A"
) -> Answer:
    client: City | None = CITIES[city] if city else None
    return answer(records, lambda check: check not in down, client, name, kind, chance=random.Random(1))  # noqa: S311


def value(records: list[dict[str, Any]], city: str | None = "Honolulu", down: tuple[str, ...] = ()) -> str | None:
    found = ask(records, city, down)
    return found.values[0] if found.values else None


def shares(records: list[dict[str, Any]], down: tuple[str, ...] = ()) -> Counter[str]:
    chance = random.Random(7)  # noqa: S311
    return Counter(
        answer(records, lambda check: check not in down, None, NAME, "A", chance=chance).values[0] for _ in range(4000)
    )


def test_weights_are_shares() -> None:
    counted = shares([a("one", Weight=1), a("three", Weight=3)])
    assert counted["three"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_weight_0_answers_only_when_no_other_is_healthy() -> None:
    records = [a("zero", Weight=0), a("one", Weight=1)]
    assert set(shares(records)) == {"one"}
    assert set(shares(records, down=("one",))) == {"zero"}
    assert set(shares(records, down=("one", "zero"))) == {"one"}


def test_all_weights_0_are_equal_shares() -> None:
    counted = shares([a("x", Weight=0), a("y", Weight=0)])
    assert counted["x"] / 4000 == pytest.approx(0.5, abs=0.03)


def test_an_unhealthy_record_is_left_out_and_all_unhealthy_count_as_healthy() -> None:
    records = [a("x", Weight=1), a("y", Weight=1)]
    assert set(shares(records, down=("x",))) == {"y"}
    assert set(shares(records, down=("x", "y"))) == {"x", "y"}


def test_a_record_without_a_health_check_is_always_healthy() -> None:
    unchecked = a("y", Weight=1)
    del unchecked["HealthCheckId"]
    assert set(shares([a("x", Weight=1), unchecked], down=("x", "y"))) == {"y"}


def test_latency_sends_a_client_to_its_nearest_region() -> None:
    records = [a("us-west-2", Region="us-west-2"), a("us-east-1", Region="us-east-1"), a("eu-west-1", Region="eu-west-1")]
    assert [value(records, city) for city in ("Seattle", "Boston", "London")] == ["us-west-2", "us-east-1", "eu-west-1"]
    assert value(records, "London", down=("eu-west-1",)) == "us-east-1"


def test_equal_rank_goes_by_set_identifier() -> None:
    records = [a(identifier, GeoProximityLocation={"AWSRegion": "us-west-2"}) for identifier in ("b", "a")]
    assert value(records) == "a"


STATES = [
    a("hawaii", GeoLocation={"CountryCode": "US", "SubdivisionCode": "HI"}),
    a("us", GeoLocation={"CountryCode": "US"}),
    a("north america", GeoLocation={"ContinentCode": "NA"}),
    a("default", GeoLocation={"CountryCode": "*"}),
]


@pytest.mark.parametrize(
    ("city", "expected"),
    [("Honolulu", "hawaii"), ("Seattle", "us"), ("Toronto", "north america"), ("Tokyo", "default"), (None, "default")],
)
def test_the_smallest_region_of_geolocation_wins(city: str | None, expected: str) -> None:
    assert value(STATES, city) == expected


@pytest.mark.parametrize(
    ("down", "expected"),
    [
        (("hawaii",), "us"),
        (("hawaii", "us"), "north america"),
        (("hawaii", "us", "north america"), "default"),
        (("hawaii", "us", "north america", "default"), "hawaii"),
    ],
)
def test_an_unhealthy_place_falls_back_to_the_next_larger_one(down: tuple[str, ...], expected: str) -> None:
    assert value(STATES, "Honolulu", down) == expected


def test_a_place_without_a_record_has_no_answer_and_the_name_exists() -> None:
    found = ask(STATES[:3], "Tokyo")
    assert (found.code, found.values, found.by_place) == ("NOERROR", (), True)
    assert ask(STATES[:3], None).values == ()


def near(identifier: str, **location: Any) -> dict[str, Any]:
    return a(identifier, GeoProximityLocation=location)


SITES = [
    near("oregon", AWSRegion="us-west-2"),
    near("los angeles", LocalZoneGroup="us-west-2-lax-1"),
    near("honolulu", LocalZoneGroup="us-west-2-hnl-1"),
]


@pytest.mark.parametrize(
    ("city", "expected"),
    [("Honolulu", "honolulu"), ("San Diego", "los angeles"), ("Vancouver", "oregon"), ("London", "oregon"), (None, "oregon")],
)
def test_geoproximity_goes_by_distance(city: str | None, expected: str) -> None:
    assert value(SITES, city) == expected


def test_the_next_nearest_stands_in() -> None:
    assert value(SITES, "Honolulu", down=("honolulu",)) == "los angeles"


def test_a_bias_moves_the_border() -> None:
    """San Francisco: 559 km to Los Angeles, 933 km to Boardman; 0.6 is the ratio, so +41 for Oregon wins and +39 does not."""
    for bias, expected in ((39, "los angeles"), (41, "oregon")):
        biased = [near("oregon", AWSRegion="us-west-2", Bias=bias), SITES[1]]
        assert value(biased, "San Francisco") == expected
    for bias, expected in ((-39, "los angeles"), (-41, "oregon")):
        biased = [SITES[0], near("los angeles", LocalZoneGroup="us-west-2-lax-1", Bias=bias)]
        assert value(biased, "San Francisco") == expected


def test_coordinates_are_a_location_too() -> None:
    johannesburg = near("johannesburg", Coordinates={"Latitude": "-26.20", "Longitude": "28.05"})
    assert value([*SITES, johannesburg], "Nairobi") == "johannesburg"


def test_a_region_that_nobody_can_place_comes_last() -> None:
    assert value([near("beijing", AWSRegion="cn-north-1"), SITES[0]], "Tokyo") == "oregon"


def test_failover_answers_primary_then_secondary_then_primary() -> None:
    records = [a("secondary", Failover="SECONDARY"), a("primary", Failover="PRIMARY")]
    downs = [(), ("primary",), ("primary", "secondary")]
    assert [value(records, down=down) for down in downs] == ["primary", "secondary", "primary"]


def tree(*, evaluate: bool = True) -> list[dict[str, Any]]:
    """The product's tree: latency over Regions, geoproximity over zone groups, weighted replicas."""
    west, east = f"us-west-2.{NAME}", f"us-east-1.{NAME}"
    return [
        alias("us-west-2", west, Region="us-west-2", evaluate=evaluate),
        alias("us-east-1", east, Region="us-east-1", evaluate=evaluate),
        alias("oregon", f"region.{west}", west, GeoProximityLocation={"AWSRegion": "us-west-2"}, evaluate=evaluate),
        alias("honolulu", f"hnl.{west}", west, GeoProximityLocation={"LocalZoneGroup": "us-west-2-hnl-1"}, evaluate=evaluate),
        alias("virginia", f"region.{east}", east, GeoProximityLocation={"AWSRegion": "us-east-1"}, evaluate=evaluate),
        a("oregon-1", f"region.{west}", Weight=1),
        a("honolulu-1", f"hnl.{west}", Weight=1),
        a("honolulu-2", f"hnl.{west}", Weight=1),
        a("virginia-1", f"region.{east}", Weight=1),
    ]


def test_the_path_leads_from_the_name_to_the_leaf() -> None:
    found = ask(tree(), "Honolulu", down=("honolulu-2",))
    assert found.values == ("honolulu-1",)
    assert found.path == (
        (NAME, "A", "us-west-2"),
        (f"us-west-2.{NAME}", "A", "honolulu"),
        (f"hnl.us-west-2.{NAME}", "A", "honolulu-1"),
    )
    assert (found.ttl_seconds, found.by_place) == (60, True)


@pytest.mark.parametrize(
    ("down", "expected"),
    [
        (("honolulu-1",), {"honolulu-2"}),
        (("honolulu-1", "honolulu-2"), {"oregon-1"}),
        (("honolulu-1", "honolulu-2", "oregon-1"), {"virginia-1"}),
        (("honolulu-1", "honolulu-2", "oregon-1", "virginia-1"), {"honolulu-1", "honolulu-2"}),
    ],
)
def test_a_branch_without_a_healthy_leaf_is_left(down: tuple[str, ...], expected: set[str]) -> None:
    assert value(tree(), "Honolulu", down) in expected


def test_an_alias_that_does_not_evaluate_its_target_is_not_left() -> None:
    """ "Evaluate target health: No": the dead branch counts as healthy, and all its records then too."""
    assert value(tree(evaluate=False), "Honolulu", ("honolulu-1", "honolulu-2")) in {"honolulu-1", "honolulu-2"}


def test_an_alias_with_a_health_check_of_its_own_needs_both() -> None:
    records = tree()
    records[3]["HealthCheckId"] = "switch"
    assert value(records, "Honolulu", ("switch",)) == "oregon-1"


def test_a_check_that_two_names_share_takes_both_down() -> None:
    records = [*tree(), a("plain", f"hnl.sites.{NAME}", Weight=1, HealthCheckId="honolulu-1")]
    assert ask(records, down=("honolulu-1",), name=f"hnl.sites.{NAME}").values == ("plain",), "alone in its group"


@pytest.mark.parametrize(
    ("network", "city"),
    [
        ("127.200.2.0/24", "Honolulu"),
        ("127.200.2.0/23", None),  # half of it is Portland's
        ("128.171.0.0/16", "Honolulu"),
        ("128.170.0.0/15", None),
        ("192.0.2.0/24", None),
        ("2001:db8::/56", None),
    ],
)
def test_a_network_is_in_a_city_with_both_its_ends(network: str, city: str | None) -> None:
    assert client_in(ip_network(network)) is (CITIES[city] if city else None)


def test_names_that_are_not_there() -> None:
    records = tree()
    assert ask(records, name=f"nothing.{NAME}").code == "NXDOMAIN"
    assert ask(records, kind="AAAA").code == "NOERROR"
    empty = ask([a("x", f"a.b.{NAME}")], name=f"b.{NAME}")
    assert (empty.code, empty.values) == ("NOERROR", ()), "a name with only names below it"
    assert ask(records, name=NAME[1:]).code == "NXDOMAIN", "the end of a name that exists, but not whole labels"


def test_an_alias_whose_target_is_gone_has_no_answer() -> None:
    found = ask([alias("x", f"gone.{NAME}", Region="us-west-2")])
    assert (found.code, found.values) == ("NOERROR", ())


def test_a_cname_answers_for_other_types() -> None:
    record = {"Name": NAME, "Type": "CNAME", "TTL": 30, "ResourceRecords": [{"Value": "other.example."}]}
    found = ask([record])
    assert (found.kind, found.values) == ("CNAME", ("other.example.",))


def test_aliases_in_a_circle_are_an_error() -> None:
    other = f"other.{NAME}"
    circle = [alias("x", other, Weight=1), alias("y", NAME, other, Weight=1)]
    with pytest.raises(RecursionError):
        ask(circle)
    for record in circle:
        record["AliasTarget"]["EvaluateTargetHealth"] = False
    with pytest.raises(RecursionError):
        ask(circle)


def test_a_plain_record_depends_on_no_place() -> None:
    plain = a("x")
    del plain["SetIdentifier"]
    assert not ask([plain], down=("x",)).by_place
