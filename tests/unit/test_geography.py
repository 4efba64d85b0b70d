"""Places, distances and the delay model, against figures that were looked up elsewhere."""

from ipaddress import IPv4Address
from typing import Any, cast

import pytest
from moto.core.utils import get_service_model

from geography.cities import CITIES, city_of, find_city, local_network
from geography.codes import CONTINENTS, COUNTRIES, US_STATES
from geography.latency import round_trip_ms
from geography.places import REGIONS, ZONE_GROUPS, distance_km


@pytest.mark.parametrize(
    ("one", "other", "kilometres"),
    # Published great-circle distances between the cities' centres.
    [("Los Angeles", "New York", 3936), ("London", "Paris", 344), ("Sydney", "Auckland", 2156), ("Honolulu", "Tokyo", 6200)],
)
def test_distance(one: str, other: str, kilometres: float) -> None:
    assert distance_km(CITIES[one].place, CITIES[other].place) == pytest.approx(kilometres, rel=0.01)


def test_round_trips_are_plausible() -> None:
    oregon = REGIONS["us-west-2"]
    assert 5 <= round_trip_ms(CITIES["Los Angeles"].place, ZONE_GROUPS["us-west-2-lax-1"].place) < 10
    assert 20 < round_trip_ms(CITIES["Los Angeles"].place, oregon) < 35
    assert 65 < round_trip_ms(CITIES["Honolulu"].place, oregon) < 100


def test_every_city_has_a_network_of_its_own_and_is_found_by_it() -> None:
    assert len({local_network(city) for city in CITIES.values()}) == len(CITIES)
    for city in CITIES.values():
        assert city_of(local_network(city).network_address + 7) is city
        if city.public_network:
            assert city_of(city.public_network.network_address + 7) is city


def test_an_unknown_address_has_no_city() -> None:
    assert city_of(IPv4Address("127.0.0.1")) is None
    assert city_of(IPv4Address("127.200.0.1")) is None
    assert city_of(IPv4Address("127.200.255.1")) is None


@pytest.mark.parametrize("name", ["São Paulo", "sao paulo", " SAO PAULO "])
def test_a_city_is_found_without_regard_to_case_and_accents(name: str) -> None:
    assert find_city(name) is CITIES["São Paulo"]


def test_every_us_city_has_a_state_and_no_other_has() -> None:
    assert all((city.country == "US") == (city.us_state is not None) for city in CITIES.values())


def test_countries_are_those_of_another_list_of_aws() -> None:
    """Route 53 Domains' model: with two codes that ISO has withdrawn and Ascension's, and without islands where nobody lives."""
    model = cast("Any", get_service_model("route53domains"))
    assert (set(model.shape_for("CountryCode").enum) - {"AN", "TP", "AC"}) | {"UM"} == COUNTRIES


def test_every_city_can_be_mapped_by_its_codes() -> None:
    for city in CITIES.values():
        assert city.continent in CONTINENTS
        assert city.country in COUNTRIES
        assert city.us_state is None or (city.country == "US" and city.us_state in US_STATES)
