"""The program's sets against all sets, on random cases of every policy; who gets which site against the local Route 53."""

import random
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planned_records import as_api

from components.dns_plan import EVERYWHERE_ELSE, Geolocation, Policy, Replica, RoutingChoices, plan_dns
from components.zones import parse_zone
from geography.cities import City
from geography.latency import round_trip_ms
from geography.places import REGIONS, Place, distance_km
from localcloud.dns.rules import answer
from placement import Candidate, Generation, Question, User, candidates, place
from placement.exact import TIE_PERCENT, Program
from placement.order import Distances, ranks
from placement.question import MeasuredRoundTrip
from placement.reckoning import Reckoning, place_of
from placement.world import world_cities

TYPES = ("g4dn.2xlarge",)
EVERYWHERE = candidates(TYPES, with_unknown=True).able
POLICIES: tuple[Policy, ...] = ("latency", "geoproximity", "geolocation")


def cases(policy: Policy) -> st.SearchStrategy[Question]:
    """Some cities, some zones, some of them measured: else geoproximity would never lead anybody astray."""

    @st.composite
    def drawn(draw: st.DrawFn) -> Question:
        chance = random.Random(draw(st.integers(0, 2**32)))  # noqa: S311
        users = tuple(chance.sample(world_cities(), draw(st.integers(1, 40))))
        few = tuple(chance.sample(EVERYWHERE, draw(st.integers(1, 8))))
        measured = {
            (user.label, candidate.group): MeasuredRoundTrip(chance.uniform(1, 200), "made up")
            for user in users
            for candidate in few
            if chance.random() < 0.3
        }
        return Question(
            users,
            few,
            Generation({TYPES[0]: 20.0}, "made up"),
            slo_ms=draw(st.sampled_from((40.0, 60.0, 100.0, 150.0))),
            policy=policy,
            measured=measured,
            dollars_per_month=draw(st.none() | st.sampled_from((800.0, 2000.0))),
        )

    return drawn()


def by_hand(user: User, sites: tuple[Candidate, ...], policy: Policy) -> Candidate:
    """Whom Route 53 gives a user, from its rules alone."""

    def region(site: Candidate) -> str:
        return parse_zone(site.zone).region

    if policy == "latency":
        nearest = min(sorted({region(site) for site in sites}), key=lambda name: distance_km(user.place, REGIONS[name]))
        sites = tuple(site for site in sites if region(site) == nearest)
    return min(sorted(sites, key=lambda site: site.group), key=lambda site: distance_km(user.place, site.place))


def is_inside(question: Question, user: User, site: Candidate) -> bool:
    measured = question.measured.get((user.label, site.group))
    return (measured.median_ms if measured else round_trip_ms(user.place, site.place)) + 20.0 <= question.slo_ms


def worth_by_hand(question: Question, sites: tuple[Candidate, ...]) -> float:
    if question.policy == "geolocation":
        by_place: dict[Geolocation, list[User]] = {}
        for user in question.users:
            by_place.setdefault(place_of(user), []).append(user)
        inside = sum(
            max(sum(user.weight for user in users if is_inside(question, user, site)) for site in sites)
            for users in by_place.values()
        )
    else:
        inside = sum(user.weight for user in question.users if is_inside(question, user, by_hand(user, sites, question.policy)))
    dollars = sum(site.dollars_per_hour or 100.0 for site in sites)
    return 100 * inside / sum(user.weight for user in question.users) - TIE_PERCENT * dollars


@pytest.mark.parametrize("policy", POLICIES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_no_set_is_better(policy: Policy, data: st.DataObject) -> None:
    question = data.draw(cases(policy))
    program = Program(Reckoning(question))
    most = data.draw(st.integers(1, 4))
    solution = program.best(most, 60)
    budget = (question.dollars_per_month or float("inf")) / 730
    all_sets = (sites for size in range(1, most + 1) for sites in combinations(question.candidates, size))
    able = [sites for sites in all_sets if sum(site.dollars_per_hour or 100.0 for site in sites) <= budget]
    best = max((worth_by_hand(question, sites) for sites in able), default=0.0)
    found = tuple(question.candidates[site] for site in solution.sites)
    assert len(found) <= most
    assert sum(site.dollars_per_hour or 100.0 for site in found) <= budget + 1e-9
    assert (worth_by_hand(question, found) if found else 0.0) == pytest.approx(max(best, 0.0), abs=1e-5)
    assert solution.gap_percent == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_every_city_gets_the_site_that_the_local_clouds_route_53_answers(policy: Policy) -> None:
    question = Question(
        world_cities(), EVERYWHERE, Generation({TYPES[0]: 30.0}, "made up"), slo_ms=80, policy=policy, most_sites=12, sites=12
    )
    answered = place(question)
    zones = [parse_zone(site.zone) for site in answered.sites]
    places = {where: parse_zone(zone) for where, zone in answered.mapping.items()}
    plan = plan_dns(RoutingChoices(policy, "llm.example.com", places=places), [Replica(zone, 1) for zone in zones])
    records = [as_api(record, {zone.name: zone.group for zone in zones}) for record in plan.records]
    assert len(zones) >= 8
    for served in answered.served:
        user = question.users[served.user]
        client = City(user.name, user.place, user.continent or "", user.country or "", user.us_state, None)
        got = answer(records, lambda _check: True, client, "llm.example.com.", "A", chance=random.Random(1)).values  # noqa: S311
        assert got == (served.group,), user


@pytest.mark.parametrize("policy", POLICIES)
def test_while_a_site_is_down_its_users_get_what_route_53_answers_then(policy: Policy) -> None:
    from placement.answer import losses

    users = world_cities()[::25]
    question = Question(users, EVERYWHERE, Generation({TYPES[0]: 30.0}, "made up"), slo_ms=80, policy=policy, sites=5)
    answered = place(question)
    zones = [parse_zone(site.zone) for site in answered.sites]
    places = {where: parse_zone(zone) for where, zone in answered.mapping.items()}
    plan = plan_dns(RoutingChoices(policy, "llm.example.com", places=places), [Replica(zone, 1) for zone in zones])
    records: list[dict[str, Any]] = [as_api(record, {zone.name: zone.group for zone in zones}) for record in plan.records]
    for down, gets in losses(answered).items():
        for user, group in zip(users, gets, strict=True):
            client = City(user.name, user.place, user.continent or "", user.country or "", user.us_state, None)
            got = answer(records, lambda check, down=down: check != down, client, "llm.example.com.", "A").values
            assert got == (group,), (user, down)


def test_a_bias_bends_the_order() -> None:
    user = User("between", Place(40.0, -100.0), 1)
    few = [candidate for candidate in EVERYWHERE if candidate.group in {"us-west-2-lax-1", "us-east-1-chi-1"}]
    plain, bent = (
        ranks("geoproximity", [parse_zone(each.zone) for each in few], Distances([user]), bias)[0]
        for bias in ({}, {"us-west-2-lax-1": 60})
    )
    assert [each.group for each in few][int(plain.argmin())] == "us-east-1-chi-1"
    assert [each.group for each in few][int(bent.argmin())] == "us-west-2-lax-1"


def test_users_without_a_country_get_the_default_of_a_geolocation_table() -> None:
    assert place_of(User("a ship", Place(0, 0), 1)) == EVERYWHERE_ELSE
    assert place_of(User("Pristina", Place(42.67, 21.17), 1, "XK")) == EVERYWHERE_ELSE
    assert place_of(User("Portland", Place(45.5, -122.7), 1, "US", "OR")) == Geolocation(us_state="OR")
