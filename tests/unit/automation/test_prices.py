"""Prices are of the table and dated; what it does not have is unknown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation.account.prices import AS_OF, FOOTNOTE, SOURCE, Instances, hourly_price, instance_price, price_change

OREGON, HONOLULU, UNKNOWN = (
    ("us-west-2a", "g4dn.2xlarge"),
    ("us-west-2-hnl-1a", "g4dn.2xlarge"),
    ("us-east-1-nyc-2a", "g6.xlarge"),
)


@pytest.mark.parametrize(
    ("zone", "kind", "dollars"),
    [
        ("us-west-2a", "g4dn.2xlarge", 0.752),
        ("us-west-2-lax-1b", "g4dn.2xlarge", 0.902),
        ("us-west-2-hnl-1a", "g4dn.2xlarge", 1.241),
        ("us-east-1-nyc-1a", "g4dn.4xlarge", 1.625),
        ("us-east-1-nyc-2a", "g4dn.2xlarge", None),
        ("us-west-2-hnl-1a", "g5.2xlarge", None),
        ("", "g4dn.2xlarge", None),
    ],
)
def test_price_of_an_instance(zone: str, kind: str, dollars: float | None) -> None:
    assert instance_price(zone, kind) == dollars


def test_price_of_prod() -> None:
    price = hourly_price((zone, "g4dn.2xlarge") for zone in ("us-west-2a", "us-west-2-lax-1a", "us-west-2-hnl-1a"))
    assert str(price) == "$2.895 per hour ($2113.35 per month) for 3 GPU instances"


def test_unknown_is_said_and_not_counted_as_nothing() -> None:
    price = hourly_price([("us-west-2a", "g4dn.2xlarge"), ("us-east-1-nyc-2a", "g6.xlarge"), ("us-east-1-nyc-2a", "g6.xlarge")])
    assert str(price) == "$0.752 per hour ($548.96 per month) for 3 GPU instances; unknown for g6.xlarge in us-east-1-nyc-2a"
    assert (
        str(hourly_price([("us-east-1-nyc-2a", "g6.xlarge")]))
        == "price of 1 GPU instance unknown (g6.xlarge in us-east-1-nyc-2a)"
    )


def test_the_table_is_dated() -> None:
    assert AS_OF in FOOTNOTE


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ([OREGON], [OREGON], "none, the same instances run now"),
        ([UNKNOWN], [UNKNOWN], "none, the same instances run now"),
        ([], [], "none, the same instances run now"),
        ([], [OREGON], "+$0.752 per hour (+$548.96 per month) against what runs now"),
        ([OREGON, HONOLULU], [OREGON], "-$1.241 per hour (-$905.93 per month) against what runs now"),
        ([UNKNOWN], [UNKNOWN, OREGON], "+$0.752 per hour (+$548.96 per month) against what runs now"),
        (
            [OREGON],
            [UNKNOWN],
            "-$0.752 per hour (-$548.96 per month) against what runs now; unknown for g6.xlarge in us-east-1-nyc-2a",
        ),
        ([OREGON], [OREGON, UNKNOWN], "unknown, since the price is of g6.xlarge in us-east-1-nyc-2a"),
    ],
)
def test_what_a_plan_changes(before: Instances, after: Instances, words: str) -> None:
    assert str(price_change(before, after)) == words


@given(*[st.lists(st.sampled_from([OREGON, HONOLULU, UNKNOWN]), max_size=5)] * 2)
def test_a_change_is_the_difference_of_what_is_known(before: Instances, after: Instances) -> None:
    change = price_change(before, after)
    assert change.dollars == pytest.approx(change.after.dollars - change.before.dollars)
    assert bool(change.unknown) == (before.count(UNKNOWN) != after.count(UNKNOWN))


def test_json_has_all_three_and_where_they_are_from() -> None:
    described = price_change([OREGON], [OREGON, HONOLULU, UNKNOWN]).described()
    assert described["now"] == {"instances": 1, "dollars_per_hour": 0.752, "dollars_per_month": 548.96, "unknown": []}
    assert described["planned"]["dollars_per_hour"] == 1.993
    assert described["change"] == {
        "dollars_per_hour": 1.241,
        "dollars_per_month": 905.93,
        "unknown": ["g6.xlarge in us-east-1-nyc-2a"],
    }
    assert (described["as_of"], described["source"]) == (AS_OF, SOURCE)


def test_nothing_costs_nothing() -> None:
    assert str(hourly_price([])) == "$0 per hour: no GPU instance"
