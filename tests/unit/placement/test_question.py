"""What goes in: users, candidates, times; each with its source, and errors that say what to change."""

import json
from pathlib import Path
from typing import Any

import pytest

from geography.cities import CITIES
from geography.gpu_offers import NO_GPU, age_words, no_gpu, price_table
from geography.places import REGION_NAMES, REGIONS, ZONE_GROUPS, Place, country_of, distance_km
from placement import Candidate, Generation, PlacementError, Question, User, candidates, place, users_from, users_of
from placement.generation import estimated, told
from placement.measured import FORMAT, measured_round_trips
from placement.world import world_cities

TYPE = "g4dn.2xlarge"


def test_five_thousand_cities_each_with_its_codes() -> None:
    cities = world_cities()
    assert len(cities) == 5000
    assert [city.weight for city in cities] == sorted((city.weight for city in cities), reverse=True)
    assert all((city.country == "US") == (city.us_state is not None) for city in cities)


def test_the_cities_stand_where_the_other_table_has_them() -> None:
    by_name = {(city.name, city.country): city for city in reversed(world_cities())}
    both = [(by_name[name, city.country], city) for name, city in CITIES.items() if (name, city.country) in by_name]
    assert len(both) > 50
    assert all(distance_km(one.place, other.place) < 40 for one, other in both)
    assert all((one.continent, one.us_state) == (other.continent, other.us_state) for one, other in both)


def test_every_zone_groups_country_is_that_of_the_nearest_city() -> None:
    places = {name: group.place for name, group in ZONE_GROUPS.items()} | REGIONS
    borders = {"ap-east-1"}  # Hong Kong, beside Shenzhen
    for group, where in places.items():
        nearest = min(world_cities(), key=lambda city: distance_km(city.place, where))
        assert country_of(group) == nearest.country or group in borders, (group, nearest)
    assert REGIONS.keys() == REGION_NAMES.keys()


def test_prices_are_of_places_that_are_known_and_dated() -> None:
    table = price_table()
    assert set(table.dollars_per_hour) <= set(ZONE_GROUPS) | set(REGIONS)
    assert table.dollars_per_hour["us-east-1"][TYPE] == 0.752
    assert table.dollars_per_hour["eu-central-1"][TYPE] == 0.94
    assert not set(NO_GPU) & set(table.dollars_per_hour)
    assert table.as_of == "2026-01-21"


def test_a_figure_of_long_ago_is_called_old() -> None:
    from datetime import date

    assert age_words("2026-01-21", date(2026, 11, 30)) == ", old: 313 days"
    assert age_words("2026-01-21", date(2026, 7, 20)) == ""


def test_users_by_country_and_state() -> None:
    assert {user.country for user in users_of(["us", "CA"])} == {"US", "CA"}
    assert {user.us_state for user in users_of(["US-HI"])} == {"HI"}
    with pytest.raises(PlacementError, match="'XX'"):
        users_of(["US", "XX"])


def test_users_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text(
        "city,country,weight,latitude,longitude\nZürich,CH,3\n,,2,21.3,-157.8\nPortland,US-OR,1\nnew york,,1\nBergen,,0\n"
    )
    found = users_from(path)
    assert [(user.name, user.weight) for user in found] == [
        ("Zürich", 3),
        ("21.3 -157.8", 2),
        ("Portland", 1),
        ("New York City", 1),
    ]
    assert found[0].continent == "EU"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("city,weight\nHonolulo,1\n", "row 1: 'Honolulo' is none"),
        ("city,weight\nHonolulu,many\n", "row 1: weight 'many' is no number"),
        ("city,weight\nHonolulu,nan\n", "no number"),
        ("city,weight\nHonolulu,-1\n", "below 0"),
        ("latitude,longitude\n91,0\n", "latitude '91' is no number from -90 to 90"),
        ("weight\n1\n", "neither city nor latitude"),
        ("", "nobody is in it"),
        ("city,weight\nHonolulu,0\n", "nobody is in it"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "users.csv"
    path.write_text(text)
    with pytest.raises(PlacementError, match=words):
        users_from(path)


def test_a_zone_that_sells_no_gpu_is_no_candidate_and_an_unknown_one_only_when_asked_for() -> None:
    found = candidates([TYPE])
    groups = {each.group for each in found.able}
    assert "eu-central-1-ist-1" in found.no_gpu
    assert "us-east-1-nyc-2" in found.unknown
    assert not groups & {*found.no_gpu, *found.unknown}
    asked = {each.group: each for each in candidates([TYPE], with_unknown=True).able}
    assert asked["us-east-1-nyc-2"].dollars_per_hour is None
    assert "eu-central-1-ist-1" not in asked


def test_types_by_preference() -> None:
    by_group = {each.group: each.instance_type for each in candidates(["g6.2xlarge", TYPE]).able}
    assert by_group["us-west-2"] == "g6.2xlarge"
    assert by_group["us-west-2-lax-1"] == TYPE


def test_allowed_and_forbidden() -> None:
    groups = {each.group for each in candidates([TYPE], only=["DE", "us-west-2"], without=["us-west-2-hnl-1"]).able}
    assert {"eu-central-1", "eu-central-1-ham-1", "us-west-2", "us-west-2-lax-1"} <= groups
    assert not groups & {"us-west-2-hnl-1", "eu-central-1-waw-1", "us-east-1"}
    with pytest.raises(PlacementError, match="'Mars'"):
        candidates([TYPE], only=["Mars"])


def test_the_estimate_says_so_and_grows_with_the_prompt() -> None:
    short, long = estimated([TYPE], 3.2, 64), estimated([TYPE], 3.2, 512)
    assert short.by_type_ms[TYPE] == pytest.approx(20, abs=1)  # reading the weights takes longer
    assert 110 <= long.by_type_ms[TYPE] <= 165  # serving-facts' arithmetic
    assert "not measured" in long.source
    with pytest.raises(PlacementError, match=r"p5\.48xlarge"):
        estimated(["p5.48xlarge"], 3.2, 64)


def test_generation_by_summary_or_told(tmp_path: Path) -> None:
    target: dict[str, Any] = {"prompt_tokens": 128, "generation_ms": {"p50": 42.0}, "simulated": ["model"]}
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({"targets": [target, target | {"prompt_tokens": 1024, "generation_ms": {"p50": 99.0}}]}))
    found = told([f"{TYPE}={path}", "g6.2xlarge=7.5"], [TYPE, "g6.2xlarge", "g5.2xlarge"], 3.2, 200)
    assert (found.by_type_ms[TYPE], found.by_type_ms["g6.2xlarge"]) == (42.0, 7.5)
    assert "SIMULATED" in found.source
    assert "g5.2xlarge: estimate" in found.source
    for wrong in ("p5.48xlarge=3", str(tmp_path / "none.json"), "-1"):
        with pytest.raises(PlacementError):
            told([wrong], [TYPE], 3.2, 200)


def test_measured_round_trips_count_where_they_were_made_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "trips.json"
    path.write_text(
        json.dumps(
            {
                "format": FORMAT,
                "measured_at": "2026-11-30T09:00:00+00:00",
                "from": {"name": "Honolulu", "latitude": 21.3, "longitude": -157.86},
                "round_trips": {"us-west-2": {"median_ms": 61.5}},
            }
        )
    )
    users = tuple(users_of(["US-HI", "US-WA"]))
    trips = measured_round_trips([path], users)
    assert {user for user, _ in trips} == {"Honolulu, US-HI"}
    asked = Question(users, candidates([TYPE], only=["us-west-2"]).able, Generation({TYPE: 20.0}, "x"), measured=trips, sites=1)
    answer = place(asked)
    got = {users[each.user].label: each for each in answer.served}
    assert answer.sites[0].group in {each.group for each in asked.candidates}
    assert {each.is_measured for label, each in got.items() if label != "Honolulu, US-HI"} == {False}
    assert "but measured for" in answer.sources["round_trips_ms"]
    assert "from Honolulu" in answer.sources["round_trips_ms"]


def test_a_benchmarks_round_trips_are_taken_and_called_simulated(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    target = {"rtt_ms": 55.0, "simulated": ["network"], "site": "Los Angeles"}
    targets = [
        target | {"city": "Honolulu", "name": "us-west-2-lax-1a from Honolulu"},
        target | {"city": "Oahu's north", "name": "us-west-2a from Oahu's north"},
        target | {"city": "Portland", "name": "us-west-2a from Portland"},
        target | {"city": None, "name": "us-west-2b"},
    ]
    path.write_text(json.dumps({"setup": {"started": "2026-01-21T10:00:00+00:00"}, "targets": targets}))
    others = [User("oahu's North", Place(21.6, -158), 1), User("Portland", Place(43.66, -70.26), 1, "US", "ME")]
    trips = measured_round_trips([path], [*users_of(["US-HI", "US-OR"]), *others])
    assert trips["Honolulu, US-HI", "us-west-2-lax-1"].median_ms == 55.0
    assert "SIMULATED" in trips["Honolulu, US-HI", "us-west-2-lax-1"].source
    assert "2026-01-21, old: " in trips["Honolulu, US-HI", "us-west-2-lax-1"].source
    assert trips["oahu's North", "us-west-2"].median_ms == 55.0, "a city that is on no map, by its name"
    assert ("Portland, US-OR", "us-west-2") in trips
    assert ("Portland, US-ME", "us-west-2") not in trips


def test_who_was_said_to_sell_no_gpu_by_whom_and_how_long_ago() -> None:
    assert no_gpu("us-west-2-lax-1") is None
    for group, said in NO_GPU.items():
        assert (no_gpu(group) or "").startswith(said)
        assert age_words(said.partition(",")[0]) in (no_gpu(group) or "")


@pytest.mark.parametrize("text", ["[]", "{}", "nothing", '{"targets": [{}]}'])
def test_a_file_of_something_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trips.json"
    path.write_text(text)
    with pytest.raises(PlacementError, match="neither"):
        measured_round_trips([path], users_of(["US-HI"]))


def ask(**changes: Any) -> Question:
    users = (User("west", Place(34, -118), 3, "US", "CA"), User("east", Place(40.7, -74), 1, "US", "NY"))
    base: dict[str, Any] = {
        "users": users,
        "candidates": candidates([TYPE], only=["US"]).able,
        "generation": Generation({TYPE: 20.0}, "made up"),
        "slo_ms": 30.0,
        "share": 0.75,
    }
    return Question(**base | changes)


def test_the_fewest_sites_that_reach_the_share_are_chosen() -> None:
    answer = place(ask())
    assert [site.group for site in answer.sites] == ["us-west-2-lax-1"]
    assert (answer.is_reached, answer.share) == (True, 0.75)
    assert [point.share for point in answer.frontier] == [0.75, 1.0]
    assert [(each.help, each.country) for each in answer.outside] == [("site", "US")]


def test_the_answer_says_what_losing_a_site_costs() -> None:
    answer = place(ask(share=1.0))
    by_zone = {site.city: site for site in answer.sites}
    assert by_zone["Los Angeles"].without_it == pytest.approx(0.25)
    assert answer.share_range[1] == 1.0
    assert answer.dollars_per_month is not None


def test_a_budget_is_kept_and_told_where_it_buys_nothing() -> None:
    answer = place(ask(share=1.0, dollars_per_month=700.0))
    assert answer.dollars_per_month is not None
    assert answer.dollars_per_month <= 700
    assert not answer.is_reached
    with pytest.raises(PlacementError, match="--budget"):
        place(ask(dollars_per_month=100.0))


def test_what_would_help_whom_nobody_can_serve() -> None:
    far = User("a ship", Place(-50, -140), 1)
    slow = ask()
    answer = place(Question((*slow.users, far), slow.candidates, slow.generation, slo_ms=30.0, share=1.0))
    assert [(each.help, each.country) for each in answer.outside] == [("distance", "?")]
    with pytest.raises(PlacementError, match="nobody can be served within 15 ms: the server alone takes 20 ms"):
        place(ask(slo_ms=15.0))


def test_a_cold_connection_costs_round_trips() -> None:
    one = candidates([TYPE], only=["us-west-2-lax-1"]).able
    warm, cold = (place(ask(slo_ms=60.0, connection=kind, candidates=one)).frontier[0].p50_ms for kind in ("warm", "cold-tls"))
    assert cold - 20 == pytest.approx(3 * (warm - 20))


def test_where_the_order_costs_users_the_answer_says_what_would_mend_it() -> None:
    """Half way between two Regions: the nearer Region has only a far zone, the other has one next door."""
    users = (
        User("Salt Lake City", Place(40.76, -111.89), 1, "US", "UT"),
        User("Honolulu", Place(21.3, -157.8), 3, "US", "HI"),
        User("Chicago", Place(41.9, -87.6), 3, "US", "IL"),
    )
    few = [each for each in candidates([TYPE]).able if each.group in {"us-west-2-hnl-1", "us-east-1-mci-1"}]
    both = Question(users, tuple(few), ask().generation, slo_ms=60, sites=2)
    answer = place(both)
    assert answer.share == pytest.approx(6 / 7)
    assert answer.outside[0].help == "routing"
    assert {(mend.kind, mend.change, mend.share) for mend in answer.mends} >= {("policy", "geoproximity", 1.0)}


def test_nothing_to_choose_from() -> None:
    with pytest.raises(PlacementError, match="nobody is to be served"):
        place(Question((), ask().candidates, ask().generation))
    with pytest.raises(PlacementError, match="no zone is left"):
        place(Question(ask().users, (), ask().generation))


def test_an_unknown_price_makes_the_sum_unknown() -> None:
    unknown = tuple(
        Candidate(each.group, each.city, each.place, each.country, each.is_local, TYPE, None) for each in ask().candidates
    )
    answer = place(Question(ask().users, unknown, ask().generation, slo_ms=40.0))
    assert answer.dollars_per_month is None
    assert {point.dollars_per_month for point in answer.frontier} == {None}


def test_where_latency_keeps_users_from_a_near_zone_the_answer_names_the_sites_that_distance_would_reach() -> None:
    """To Los Angeles the nearest Region is Northern California: beside a site there, Oregon's zone in the city gets nobody."""
    answer = place(
        Question(tuple(users_of(["US-CA"])), ask().candidates, Generation({TYPE: 33.0}, "made up"), slo_ms=45.0, share=0.99)
    )
    assert not answer.is_reached
    assert len(answer.frontier) == 1  # more sites would serve nobody more
    mend = next(mend for mend in answer.mends if mend.kind == "sites")
    assert mend.share == pytest.approx(1.0)
    assert "us-west-1" in str(mend)
