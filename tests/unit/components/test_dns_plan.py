"""The records: Route 53's rules as properties over random sets of sites, and the plans that AWS would refuse."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from components.dns_plan import (
    EVERYWHERE_ELSE,
    DnsPlan,
    Geolocation,
    Geoproximity,
    Latency,
    PlannedRecord,
    Policy,
    Replica,
    RoutingChoices,
    Weighted,
    _judge,  # pyright: ignore[reportPrivateUsage] # the rules, shown with plans that the planner never makes
    plan_dns,
    service_targets,
)
from components.zones import parse_zone
from geography.cities import CITIES, City
from geography.latency import round_trip_ms
from geography.places import REGIONS, ZONE_GROUPS, distance_km
from localcloud.api.zones import GROUPS

DOMAIN = "llm.acme.dev"
POLICIES: tuple[Policy, ...] = ("latency", "geoproximity", "geolocation")
ZONES = [zone for group in GROUPS.values() for zone in group.zones] + [
    f"{region}{letter}" for region in ("us-west-2", "us-east-1", "eu-central-1") for letter in "ab"
]
PLACES = [
    *(Geolocation(continent=code) for code in ("NA", "EU", "AS", "AF")),
    *(Geolocation(country=code) for code in ("NA", "US", "CA", "DE", "JP")),  # Namibia is NA, like North America
    *(Geolocation(us_state=code) for code in ("HI", "CA", "NY")),
]
Sites = dict[str, int]
"""Zones with their number of replicas."""
site_sets = st.dictionaries(st.sampled_from(ZONES), st.integers(1, 3), min_size=1, max_size=12)


@dataclass(frozen=True)
class Service:
    """Everything that a plan is made from."""

    policy: Policy
    sites: Sites
    default: str
    mapping: dict[Geolocation, str]
    bias: dict[str, int]
    drained: frozenset[str]

    @property
    def replicas(self) -> list[Replica]:
        return [Replica(parse_zone(zone), number) for zone, count in self.sites.items() for number in range(1, count + 1)]

    @property
    def routed(self) -> list[Replica]:
        """The replicas that users are to get."""
        return [replica for replica in self.replicas if replica.zone.name not in self.drained]

    @property
    def plan(self) -> DnsPlan:
        mapping = self.mapping | {EVERYWHERE_ELSE: self.default}
        places = {place: parse_zone(zone) for place, zone in mapping.items()} if self.policy == "geolocation" else {}
        return plan_dns(RoutingChoices(self.policy, DOMAIN, self.bias, places, self.drained), self.replicas)

    @property
    def records(self) -> dict[str, PlannedRecord]:
        """By key."""
        return {record.key: record for record in self.plan.records}


@st.composite
def services(draw: st.DrawFn, sites: st.SearchStrategy[Sites] = site_sets) -> Service:
    chosen = draw(sites)
    zones = st.sampled_from(sorted(chosen))
    groups = st.sampled_from(sorted({parse_zone(zone).group for zone in chosen}))
    return Service(
        draw(st.sampled_from(POLICIES)),
        chosen,
        draw(zones),
        draw(st.dictionaries(st.sampled_from(PLACES), zones, max_size=5)),
        draw(st.dictionaries(groups, st.integers(-99, 99), max_size=3)),
        draw(st.frozensets(zones, max_size=len(chosen) - 1)),
    )


def service(policy: Policy, sites: Sites, **mapping: str) -> Service:
    """A service without mapping, bias and drained sites; its first site is the default."""
    return Service(
        policy, sites, next(iter(sites)), {Geolocation(us_state=code): zone for code, zone in mapping.items()}, {}, frozenset()
    )


def of_kind(planned: DnsPlan, kind: type) -> list[PlannedRecord]:
    return [record for record in planned.records if isinstance(record.routing, kind)]


def leaves_below(planned: DnsPlan, name: str) -> Iterator[PlannedRecord]:
    """The address records that a question for `name` can end at, as often as there are ways to them."""
    for record in planned.records:
        if record.name == name:
            yield from leaves_below(planned, record.alias_of) if record.alias_of else [record]


# AWS's rules


@given(services())
def test_identifiers_are_unique_within_a_name(service: Service) -> None:
    assert max(Counter((record.name, record.set_identifier) for record in service.plan.records).values()) == 1


@given(services())
def test_keys_are_unique(service: Service) -> None:
    """They name the resources."""
    assert max(Counter(record.key for record in service.plan.records).values()) == 1


@given(services())
def test_one_name_has_one_policy(service: Service) -> None:
    by_name: dict[str, set[type]] = {}
    for record in service.plan.records:
        by_name.setdefault(record.name, set()).add(type(record.routing))
    assert all(len(kinds) == 1 for kinds in by_name.values())


@given(services())
def test_one_latency_record_for_each_parent_region(service: Service) -> None:
    latency = [record for record in service.plan.records if isinstance(record.routing, Latency)]
    regions = sorted({replica.zone.region for replica in service.routed}) if service.policy == "latency" else []
    assert sorted(record.set_identifier or "" for record in latency) == regions
    assert {record.name for record in latency} <= {f"latency.{DOMAIN}"}
    assert all(isinstance(record.routing, Latency) and record.routing.region == record.set_identifier for record in latency)


@given(services())
def test_one_geoproximity_record_for_each_zone_group(service: Service) -> None:
    """However many zones and replicas the group has."""
    located = [record.routing for record in service.plan.records if isinstance(record.routing, Geoproximity)]
    zones = [replica.zone for replica in service.routed]
    assert sorted((each.kind, each.location, each.bias) for each in located) == sorted(
        {("local_zone_group" if zone.is_local else "aws_region", zone.group, service.bias.get(zone.group, 0)) for zone in zones}
    )


@given(services())
def test_one_geolocation_record_for_each_place_that_is_mapped(service: Service) -> None:
    located = [record.routing for record in service.plan.records if isinstance(record.routing, Geolocation)]
    places = {EVERYWHERE_ELSE, *service.mapping} if service.policy == "geolocation" else set[Geolocation]()
    assert Counter(located) == Counter(places), "drained or not: their users must be led somewhere"


@given(services())
def test_every_leaf_has_a_replica_and_so_a_health_check(service: Service) -> None:
    """An address record carries the replica's health check; an alias evaluates its target's."""
    for record in service.plan.records:
        assert (record.replica is None) == (record.alias_of is not None)
        if record.replica:
            assert isinstance(record.routing, Weighted)
            assert record.routing.weight > 0, "weight 0 is not answered while another is healthy"


@given(services())
def test_targets_stand_before_their_aliases(service: Service) -> None:
    """All of them: an alias is created when its whole target is there."""
    planned = service.plan
    place = {record.key: index for index, record in enumerate(planned.records)}
    for record in planned.records:
        targets = [other for other in planned.records if other.name == record.alias_of]
        assert bool(targets) == (record.alias_of is not None), "no alias dangles"
        assert all(place[target.key] < place[record.key] for target in targets)


@given(services())
def test_the_domain_is_one_plain_alias(service: Service) -> None:
    """So that another policy is one change of one record, which every pair of policies has in common."""
    (top,) = (record for record in service.plan.records if record.name == DOMAIN)
    assert (top.key, top.set_identifier, top.routing) == ("service", None, None)
    assert top.alias_of == f"{service.policy}.{DOMAIN}"
    assert top.alias_of in service_targets(DOMAIN)


# Who is reached


@given(services())
def test_every_replica_can_be_reached_from_the_domain_unless_it_is_drained(service: Service) -> None:
    ways = Counter(leaf.replica.key for leaf in leaves_below(service.plan, DOMAIN) if leaf.replica)
    assert ways.keys() == {replica.key for replica in service.routed}
    assert service.policy == "geolocation" or set(ways.values()) == {1}


@given(services())
def test_each_site_has_a_plain_name_over_its_own_replicas(service: Service) -> None:
    """Drained ones too."""
    planned = service.plan
    assert set(planned.site_names) == set(service.sites)
    for zone, name in planned.site_names.items():
        assert name == f"{zone}.sites.{DOMAIN}"
        assert sorted(leaf.replica.key for leaf in leaves_below(planned, name) if leaf.replica) == [
            f"{zone}-{number}" for number in range(1, service.sites[zone] + 1)
        ]


@given(services(), st.data(), st.sampled_from(sorted(CITIES)))
def test_every_city_reaches_a_healthy_site_as_long_as_one_exists(service: Service, data: st.DataObject, city: str) -> None:
    keys = sorted(replica.key for replica in service.routed)
    healthy = data.draw(st.sets(st.sampled_from(keys), min_size=1))
    assert answers(service.plan, CITIES[city], healthy) <= healthy


@given(services(), st.data(), st.sampled_from(sorted(CITIES)))
def test_every_city_has_an_answer_also_when_nothing_is_healthy(service: Service, data: st.DataObject, city: str) -> None:
    del data
    assert answers(service.plan, CITIES[city], set()) <= {replica.key for replica in service.routed}


@given(services(), st.sampled_from(sorted(CITIES)))
def test_geolocation_leads_to_the_mapped_site_while_that_is_healthy(service: Service, city: str) -> None:
    service, there = replace(service, policy="geolocation"), CITIES[city]
    wanted = [Geolocation(us_state=there.us_state), Geolocation(country=there.country), Geolocation(continent=there.continent)]
    zone = next((service.mapping[place] for place in wanted if place in service.mapping), service.default)
    assume(zone not in service.drained)
    found = answers(service.plan, there, {replica.key for replica in service.routed})
    assert found == {f"{zone}-{number}" for number in range(1, service.sites[zone] + 1)}


def answers(planned: DnsPlan, city: City, healthy: set[str], name: str = DOMAIN) -> set[str]:
    """The replicas that a client may be sent to, by Route 53's rules: written for this test, from its Developer Guide."""
    records = [record for record in planned.records if record.name == name]
    assert records, f"{name} does not answer"
    good = [record for record in records if is_healthy(planned, record, healthy)] or records
    kind = records[0].routing
    if isinstance(kind, Weighted):
        chosen = [each for each in good if isinstance(each.routing, Weighted) and each.routing.weight] or good
    elif kind is None:
        chosen = good
    else:
        chosen = [min(good, key=lambda record: farness(record, city))]
        assert farness(chosen[0], city) < NEVER, "no answer for this place"
    return {
        key
        for each in chosen
        for key in ([each.replica.key] if each.replica else answers(planned, city, healthy, each.alias_of or ""))
    }


def is_healthy(planned: DnsPlan, record: PlannedRecord, healthy: set[str]) -> bool:
    if record.replica:
        return record.replica.key in healthy
    return any(is_healthy(planned, other, healthy) for other in planned.records if other.name == record.alias_of)


NEVER = float("inf")


def farness(record: PlannedRecord, city: City) -> float:
    """The record with the least of its name is the answer."""
    match record.routing:
        case Latency(region):
            return round_trip_ms(city.place, REGIONS[region])
        case Geoproximity(kind, location, bias):
            place = REGIONS[location] if kind == "aws_region" else ZONE_GROUPS[location].place
            return distance_km(city.place, place) * (1 - bias / 100)
        case Geolocation(continent, country, us_state):
            order = (
                us_state == city.us_state if us_state else False,
                country == city.country,
                continent == city.continent,
                country == "*",
            )
            return next((index for index, fits in enumerate(order) if fits), NEVER)
        case _:
            raise AssertionError(record)


# What changes when a config changes


@given(services(), site_sets)
def test_what_comes_or_goes_changes_nothing_of_the_others(service: Service, further: Sites) -> None:
    """Zones, replicas and whole Regions: a record in both plans is the same in both, and what is in one plan only belongs to
    zones, groups or Regions that the other does not have."""
    one, routed = service.sites, {replica.zone for replica in service.routed}
    before, after = (
        service.records,
        replace(
            service, sites={**one, **further} | {zone: max(count, further.get(zone, 0)) for zone, count in one.items()}
        ).records,
    )
    assert before.keys() <= after.keys()
    for key, record in before.items():
        assert after[key] == record
    for key in after.keys() - before.keys():
        match after[key].routing:
            case Latency(region):
                assert region not in {zone.region for zone in routed}
            case Geoproximity(location=location):
                assert location not in {zone.group for zone in routed}
            case _:
                replica = after[key].replica
                assert replica
                assert replica.number > one.get(replica.zone.name, 0)


@given(services(), st.data())
def test_a_drained_site_takes_its_own_records_away_and_nothing_else(service: Service, data: st.DataObject) -> None:
    """Its replicas' leaves, and what leads to them alone; back again it is as before."""
    zones = sorted({replica.zone.name for replica in service.routed})
    assume(len(zones) > 1)
    zone = parse_zone(data.draw(st.sampled_from(zones)))
    after = replace(service, drained=service.drained | {zone.name})
    gone = {key: record for key, record in service.records.items() if key not in after.records}
    assert after.records == {key: record for key, record in service.records.items() if key not in gone}
    assert {f"leaf-{zone.name}-{number}" for number in range(1, service.sites[zone.name] + 1)} == {
        key for key, record in gone.items() if record.replica
    }
    groups, regions = {replica.zone.group for replica in after.routed}, {replica.zone.region for replica in after.routed}
    for record in gone.values():
        match record.routing:
            case Latency(region):
                assert region == zone.region
                assert region not in regions
            case Geoproximity(location=location):
                assert location == zone.group
                assert location not in groups
            case _:
                assert record.replica or record.alias_of == service.plan.site_names[zone.name]


@given(services(), st.sampled_from(PLACES), st.data())
def test_a_place_mapped_anew_changes_its_own_records(service: Service, place: Geolocation, data: st.DataObject) -> None:
    before = replace(service, policy="geolocation")
    zone = data.draw(st.sampled_from(sorted(service.sites)))
    after = replace(before, mapping={**service.mapping, place: zone})
    old, new = before.records, after.records
    assert {key for key in old.keys() & new.keys() if old[key] != new[key]} <= {f"place-{place.label}"}
    mapped = {f"mapped-{each}{which}" for each in (zone, before.mapping.get(place)) for which in ("", "-nearest")}
    assert old.keys() ^ new.keys() <= {f"place-{place.label}", *mapped}


@given(services())
def test_order_of_the_config_does_not_matter(service: Service) -> None:
    turned = replace(service, sites=dict(reversed(service.sites.items())), mapping=dict(reversed(service.mapping.items())))
    assert turned.records == service.records


@given(services(), st.permutations(POLICIES))
def test_another_policy_changes_one_record_and_mixes_none(service: Service, policies: list[Policy]) -> None:
    """Until the old records go, all stand together: AWS accepts that, and the name answers before and after its change."""
    old, new = (replace(service, policy=policy) for policy in policies[:2])
    changed = {key for key in old.records.keys() & new.records.keys() if old.records[key] != new.records[key]}
    assert changed == {"service"}
    together = {**old.records, **new.records}
    ordered = sorted(together.values(), key=lambda record: record.key == "service")
    _judge(DnsPlan(tuple(ordered), {}))
    _judge(DnsPlan((*ordered[:-1], old.records["service"]), {}))


# Named cases


def tree(planned: DnsPlan) -> list[tuple[str, str | None, str, str | None]]:
    return [
        (record.name.removesuffix(DOMAIN), record.set_identifier, type(record.routing).__name__, record.alias_of)
        for record in planned.records
        if ".sites." not in record.name
    ]


def test_the_three_sites_of_the_source() -> None:
    """The tree of design 5, level by level."""
    assert tree(service("latency", {"us-west-2a": 1, "us-west-2-lax-1a": 1, "us-west-2-lax-1b": 2}).plan) == [
        ("region.us-west-2.", "us-west-2a-1", "Weighted", None),
        ("lax-1.us-west-2.", "us-west-2-lax-1a-1", "Weighted", None),
        ("lax-1.us-west-2.", "us-west-2-lax-1b-1", "Weighted", None),
        ("lax-1.us-west-2.", "us-west-2-lax-1b-2", "Weighted", None),
        ("us-west-2.", "us-west-2", "Geoproximity", f"region.us-west-2.{DOMAIN}"),
        ("us-west-2.", "us-west-2-lax-1", "Geoproximity", f"lax-1.us-west-2.{DOMAIN}"),
        ("latency.", "us-west-2", "Latency", f"us-west-2.{DOMAIN}"),
        ("", None, "NoneType", f"latency.{DOMAIN}"),
    ]


def test_geolocation_with_a_drained_site() -> None:
    """Hawaii's users are led to the nearest site, over the record that is left."""
    hawaii = service("geolocation", {"us-west-2a": 1, "us-west-2-hnl-1a": 1}, HI="us-west-2-hnl-1a")
    assert tree(replace(hawaii, drained=frozenset({"us-west-2-hnl-1a"})).plan) == [
        ("region.us-west-2.", "us-west-2a-1", "Weighted", None),
        ("geoproximity.", "us-west-2", "Geoproximity", f"region.us-west-2.{DOMAIN}"),
        ("us-west-2-hnl-1a.geolocation.", "nearest", "Weighted", f"geoproximity.{DOMAIN}"),
        ("us-west-2a.geolocation.", "nearest", "Weighted", f"geoproximity.{DOMAIN}"),
        ("us-west-2a.geolocation.", "us-west-2a", "Weighted", f"us-west-2a.sites.{DOMAIN}"),
        ("geolocation.", "us-state-HI", "Geolocation", f"us-west-2-hnl-1a.geolocation.{DOMAIN}"),
        ("geolocation.", "default", "Geolocation", f"us-west-2a.geolocation.{DOMAIN}"),
        ("", None, "NoneType", f"geolocation.{DOMAIN}"),
    ]


def test_two_sites_of_one_group_one_drained() -> None:
    """The group's record stays: its other zone serves."""
    both = service("latency", {"us-west-2-lax-1a": 1, "us-west-2-lax-1b": 1})
    gone = both.records.keys() - replace(both, drained=frozenset({"us-west-2-lax-1a"})).records.keys()
    assert gone == {"leaf-us-west-2-lax-1a-1"}


def test_all_sites_drained() -> None:
    with pytest.raises(ValueError, match="no site is left that is not drained"):
        _ = replace(service("latency", {"us-west-2a": 1}), drained=frozenset({"us-west-2a"})).plan


def test_namibia_is_not_north_america() -> None:
    assert Geolocation(country="NA").label != Geolocation(continent="NA").label


# What Route 53 refuses

LEAF = Replica(parse_zone("us-west-2a"), 1)
OREGON = Geoproximity("aws_region", "us-west-2")


def record(
    key: str,
    routing: Weighted | Latency | Geoproximity | Geolocation | None,
    *,
    name: str = DOMAIN,
    identifier: str | None = "the key",
    replica: Replica | None = LEAF,
    alias_of: str | None = None,
) -> PlannedRecord:
    return PlannedRecord(key, name, key if identifier == "the key" else identifier, routing, replica=replica, alias_of=alias_of)


@pytest.mark.parametrize(
    ("reason", "records"),
    [
        ("identifier '' is not 1 to 128", [record("a", Weighted(1), identifier="")]),
        ("identifier None is not 1 to 128", [record("a", Weighted(1), identifier=None)]),
        ("is not 1 to 128 characters", [record("a", Weighted(1), identifier="x" * 129)]),
        ("a set identifier needs a routing policy", [record("a", None)]),
        ("identifier same is there twice", [record(key, Weighted(1), identifier="same") for key in "ab"]),
        ("identifier None is there twice", [record(key, None, identifier=None) for key in "ab"]),
        ("have one routing policy", [record("a", Weighted(1)), record("b", Latency("us-west-2"))]),
        ("have one routing policy", [record("a", None, identifier=None), record("b", Latency("us-west-2"))]),
        (r"Latency\(region='us-west-2'\) already exists", [record(key, Latency("us-west-2")) for key in "ab"]),
        ("latency records know Regions only, not us-west-2-lax-1", [record("a", Latency("us-west-2-lax-1"))]),
        ("us-west-2.* already exists", [record("a", OREGON), record("b", replace(OREGON, bias=5))]),
        ("us-west-2-lax-1 is no aws_region", [record("a", Geoproximity("aws_region", "us-west-2-lax-1"))]),
        ("us-west-2-lax-1a is no local_zone_group", [record("a", Geoproximity("local_zone_group", "us-west-2-lax-1a"))]),
        ("bias 100 is not between -99 and 99", [record("a", replace(OREGON, bias=100))]),
        ("weight 256 is not between 0 and 255", [record("a", Weighted(256))]),
        ("country='CA'.* already exists", [record(key, Geolocation(country="CA")) for key in "ab"]),
        ("one of continent, country and US state", [record("a", Geolocation(continent="NA", country="CA"))]),
        ("one of continent, country and US state", [record("a", Geolocation())]),
        ("no default record", [record("a", Geolocation(continent="NA"))]),
        ("holds an address or is an alias", [record("a", Weighted(1), replica=None)]),
        ("holds an address or is an alias", [record("a", Weighted(1), alias_of=DOMAIN)]),
        ("gone.acme.dev, its alias target, does not exist", [record("a", Weighted(1), replica=None, alias_of="gone.acme.dev")]),
        ("no DNS name", [record("a", Weighted(1), name="x" * 64 + ".acme.dev")]),
        ("no DNS name", [record("a", Weighted(1), name="x." * 125 + "acme.dev")]),
        ("no DNS name", [record("a", Weighted(1), name="x..acme.dev")]),
    ],
)  # fmt: skip
def test_refused_plans(reason: str, records: list[PlannedRecord]) -> None:
    with pytest.raises(ValueError, match=reason):
        _judge(DnsPlan(tuple(records), {}))


def test_same_identifier_and_location_under_other_names_pass() -> None:
    """As on AWS, where they are unique by name and type."""
    records = [record(name, Latency("us-west-2"), name=f"{name}.acme.dev", identifier="same") for name in ("one", "two")]
    _judge(DnsPlan(tuple(records), {}))
