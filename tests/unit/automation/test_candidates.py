"""Where a site could stand: ranked by estimated distance, with prices of the table, each number's source named."""

import json

import pytest
from typer.testing import CliRunner

from automation.account.candidates import candidates, cities
from automation.account.prices import AS_OF
from automation.cli import app
from automation.errors import UsageError


def test_the_zone_in_the_users_own_city_comes_first() -> None:
    for city, group in (("Honolulu", "us-west-2-hnl-1"), ("los angeles", "us-west-2-lax-1"), ("Tokyo", "ap-northeast-1")):
        assert candidates(cities([city]))[0].group == group


def test_of_several_cities_the_nearest_counts() -> None:
    first = {each.group for each in candidates(cities(["Honolulu", "Los Angeles"]))[:2]}
    assert first == {"us-west-2-hnl-1", "us-west-2-lax-1"}


def test_without_a_city_the_cheapest_comes_first_and_unknown_prices_last() -> None:
    prices = [each.dollars_per_hour.get("g4dn.2xlarge") for each in candidates([])]
    known = [price for price in prices if price is not None]
    assert known == sorted(known)
    assert prices[: len(known)] == known
    assert None in prices


def test_an_unknown_city_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="Honolulu"):
        cities(["Xyzzy"])


def test_the_table_fits_80_columns_without_colours_and_names_its_sources() -> None:
    near = [word for city in ("Honolulu", "Los Angeles", "San Francisco") for word in ("--near", city)]
    answer = CliRunner().invoke(app, ["zones", *near, "--top", "80"])
    assert answer.exit_code == 0
    assert max(map(len, answer.stdout.splitlines())) <= 80
    assert "\x1b" not in answer.output
    assert AS_OF in answer.stderr
    assert "not measured" in answer.stderr


def test_how_many_more_there_are_is_what_shows_them_all() -> None:
    answer = CliRunner().invoke(app, ["zones", "--top", "3"])
    total = len(candidates([]))
    assert f"{total - 3} more: --top {total}\n" in answer.stderr
    assert len(CliRunner().invoke(app, ["zones", "--top", str(total)]).stdout.splitlines()) == total + 1


def test_json_is_alone_on_standard_output() -> None:
    answer = CliRunner().invoke(app, ["zones", "--near", "Honolulu", "--json"])
    told = json.loads(answer.stdout)
    assert told["zones"][0] == {
        "zone": "us-west-2-hnl-1a",
        "group": "us-west-2-hnl-1",
        "place": "Honolulu",
        "is_local": True,
        "round_trips_ms": {"Honolulu": 5.0},
        "distances_km": {"Honolulu": 0},
        "dollars_per_hour": {"g4dn.2xlarge": 1.241, "g4dn.4xlarge": 1.987},
        "no_gpu": None,
        "measured": [],
    }
    assert AS_OF in told["sources"]["dollars_per_hour"]


def test_a_zone_that_sells_no_gpu_is_told_from_one_of_which_nobody_knows() -> None:
    lines = {line.split()[0]: line for line in CliRunner().invoke(app, ["zones", "--top", "99"]).stdout.splitlines()}
    assert lines["eu-central-1-ist-1a"].split()[-2:] == ["none", "none"]
    assert lines["us-east-1-nyc-2a"].split()[-2:] == ["unknown", "unknown"]
    by_zone = {each["zone"]: each for each in json.loads(CliRunner().invoke(app, ["zones", "--json"]).stdout)["zones"]}
    assert by_zone["eu-central-1-ath-1a"]["no_gpu"].startswith("2026-07-20")
