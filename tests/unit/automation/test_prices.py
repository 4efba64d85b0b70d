"""Prices are of the table and dated; what it does not have is unknown."""

import pytest

from automation.prices import AS_OF, FOOTNOTE, hourly_price, instance_price


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
    assert str(price) == "$2.895 per hour for 3 GPU instances"


def test_unknown_is_said_and_not_counted_as_nothing() -> None:
    price = hourly_price([("us-west-2a", "g4dn.2xlarge"), ("us-east-1-nyc-2a", "g6.xlarge"), ("us-east-1-nyc-2a", "g6.xlarge")])
    assert str(price) == "$0.752 per hour for 3 GPU instances; unknown for g6.xlarge in us-east-1-nyc-2a"
    assert (
        str(hourly_price([("us-east-1-nyc-2a", "g6.xlarge")]))
        == "price of 1 GPU instance unknown (g6.xlarge in us-east-1-nyc-2a)"
    )


def test_the_table_is_dated() -> None:
    assert AS_OF in FOOTNOTE
