"""`edge routes --html`: who gets which site of what is deployed, on a map.

Route 53 says who gets which site now. Who would get the next while one is down is reckoned, by the order in which the planner's
records would answer. Left out: times to first token, since nobody measured any here.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, cast

from automation.sites.resolution import estimates
from components.dns_plan import Policy
from components.zones import parse_zone
from geography.places import REGION_NAMES, ZONE_GROUPS
from placement.answer import ESTIMATED
from placement.order import Distances, ranks
from placement.page import Dot, Marker, Page, render
from placement.world import User, cities_as_of, plain, world_cities

if TYPE_CHECKING:
    from automation.sites.resolution import Client, Routes, Site

Got = Sequence[tuple["Client", str]]
_SMALL_CITY = 100_000.0
"""The weight of a city that is none of the 5,000 largest."""


def routes_page(environment: str, routes: "Routes", got: Got, *, on_local_cloud: bool) -> str:
    """The page, as HTML; `got` is each city's client with the zone that Route 53 gives it."""
    numbers = {site.zone: number for number, site in enumerate(routes.sites)}
    users = [_user(client) for client, _ in got]
    asked = "a simulated Route 53" if on_local_cloud else "Route 53"
    return render(
        Page(
            f"Who gets which site of {environment}",
            f"{routes.domain}, policy {routes.policy}: what {asked} answers {len(got)} cities.",
            ("state", "cities", "median ms", "replicas"),
            tuple(_markers(routes, got)),
            tuple(_dots(routes, got, users, numbers)),
            (),
            {
                "who gets which site": f"{asked}, asked by TestDNSAnswer for an address of each city",
                "who would while a site is down": "reckoned from the planned records and distance; Route 53 was not asked",
                "round trips": ESTIMATED,
                "size of the dots": cities_as_of(),
            },
            made=f"Made by edge routes {environment} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
            warnings=("Records and health are the local cloud's: nothing of this is AWS.",) if on_local_cloud else (),
        )
    )


def _user(client: "Client") -> User:
    city = client.city
    if city is None:
        raise ValueError(f"{client.name} has no place")
    known = (user for user in world_cities() if (plain(user.name), user.country) == (plain(city.name), city.country))
    weight = next((user.weight for user in known), _SMALL_CITY)
    return User(city.name, city.place, weight, city.country, city.us_state, city.continent)


def _markers(routes: "Routes", got: Got) -> Iterator[Marker]:
    for site in routes.sites:
        times = [estimates(client.city, site)[1] for client, zone in got if zone == site.zone]
        known = [each for each in times if each is not None]
        group = parse_zone(site.zone).group
        city = ZONE_GROUPS[group].city if group in ZONE_GROUPS else REGION_NAMES.get(group, group)
        state = "drained" if site.drained else "healthy" if site.healthy else "unhealthy"
        cells = (state, str(len(times)), f"{median(known):.0f}" if known else "", str(len(site.replicas)))
        others = [each for each in routes.sites if _serves(each) and each is not site]
        yield Marker(site.zone, city, site.place, cells, f"While {city} is down." if others and times and site.place else "")


def _serves(site: "Site") -> bool:
    return site.healthy and not site.drained and site.place is not None


def _dots(routes: "Routes", got: Got, users: Sequence[User], numbers: Mapping[str, int]) -> Iterator[Dot]:
    able = [site for site in routes.sites if _serves(site)]
    order = ranks(cast("Policy", routes.policy), [parse_zone(site.zone) for site in able], Distances(users), _biases(routes))
    sites = {site.zone: site for site in routes.sites}
    for row, (client, zone) in enumerate(got):
        left = [column for column, site in enumerate(able) if site.zone != zone]
        following = min(left, key=lambda column, row=row: int(order[row, column]), default=None)
        milliseconds = estimates(client.city, sites[zone])[1]
        words = "round trip unknown" if milliseconds is None else f"round trip {milliseconds:.0f} ms (estimated)"
        next_site = None if following is None else numbers[able[following].zone]
        yield Dot(client.name, users[row].place, users[row].weight, numbers[zone], words=words, next_site=next_site)


def _biases(routes: "Routes") -> dict[str, int]:
    """By zone group or Region, as the records have them: `us-west-2-hnl-1, bias 20`."""
    found = (record.choice.split(", bias ") for record in routes.records if record.policy == "geoproximity")
    return {parts[0]: int(parts[1]) for parts in found if len(parts) > 1}
