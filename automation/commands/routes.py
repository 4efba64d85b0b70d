"""`edge resolve`, `routes`, `drain`: which site users get, why, and taking a site out for a while."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from automation.commands.deployment import told
from automation.commands.options import EnvironmentName, JsonFlag, LocalFlag, ZoneName, open_environment
from automation.commands.terminal import say, show, show_json
from automation.errors import UsageError

if TYPE_CHECKING:
    from automation.sites.resolution import Candidate, Client, Record, Replica, Resolution, Routes

_WIDTH = 80
_CITY_WIDTH = 16


def resolve(
    env: EnvironmentName,
    origin: Annotated[str, typer.Option("--from", metavar="CITY|ADDRESS", help="Where the client is.")],
    local: LocalFlag = False,  # noqa: FBT002
    measured: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Of edge zones --measure or bench; may be repeated.")
    ] = None,
    as_json: JsonFlag = False,  # noqa: FBT002
) -> None:
    """Say which site a client gets, and why.

    Example: edge resolve local --from Honolulu
    """
    environment = open_environment(env, local=local)
    resolution = environment.resolve(origin)
    sources: list[str] = []
    if measured:
        resolution, sources = _measured(resolution, measured)
    if as_json:
        show_json(resolution.described() | ({"measured_by": sources} if sources else {}))
        return
    for line in _explained(resolution):
        show(line)
    for line in sources:
        say(f"without ~: {line}")
    if environment.on_local_cloud:
        say("Records and health are the local cloud's: a simulated Route 53.")
    elif resolution.client.city:
        say("The client's address is a university's, from memory. AWS places it by its own database.")


def routes(
    env: EnvironmentName,
    local: LocalFlag = False,  # noqa: FBT002
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="A page with a map.")] = None,
    as_json: JsonFlag = False,  # noqa: FBT002
) -> None:
    """Print the records, and which city gets which site.

    Example: edge routes local
    """
    environment = open_environment(env, local=local)
    routes = environment.routes()
    got = [(client, routes.zone_for(client)) for client in routes.clients()]
    if html:
        from automation.commands.routes_page import routes_page

        html.write_text(routes_page(env, routes, got, on_local_cloud=environment.on_local_cloud), encoding="utf-8")
        say(f"Page: {html}")
    if as_json:
        show_json(_described(routes, got))
        return
    for line in (*_tree(routes), "", *_matrix(routes, got)):
        show(line)


def drain(
    env: EnvironmentName,
    zone: ZoneName,
    back: Annotated[bool, typer.Option("--back", help="Send users there again.")] = False,  # noqa: FBT002
    local: LocalFlag = False,  # noqa: FBT002
) -> None:
    """Send no more users to a site, which goes on running.

    Waits until the last of them is served.

    Example: edge drain prod us-west-2-lax-1a
    """
    from automation.sites.drain import put_back, take_out, wait_until_unused

    environment = open_environment(env, local=local)
    if back:
        with told(f"Sending users to {zone} again", environment) as on_event:
            put_back(environment, zone, on_event)
        say(f"{zone} is in the records again: its users come back as their resolvers' copies of the old ones expire.")
        return
    with told(f"Draining {zone}", environment) as on_event:
        take_out(environment, zone, on_event)
    wait_until_unused(environment, zone, say)
    say(f"{zone} is drained. It goes on running; nobody is sent there.")
    where = "" if env == "local" or not local else " --local"
    say(f"  -> edge drain {env} {zone}{where} --back   # sends its users there again")


def _explained(resolution: "Resolution") -> Iterator[str]:
    client = resolution.client
    yield f"{_named(client)} gets {resolution.zone}"
    yield f"  {resolution.url or resolution.address}"
    yield ""
    yield "Why: the path through the records"
    for record in resolution.path:
        yield from _record_lines(record)
    yield ""
    yield "Sites, the nearest first (distances, and round trips with ~, are estimated)"
    for candidate in resolution.candidates:
        mark = "*" if candidate.zone == resolution.zone else " "
        near = (
            "place unknown"
            if candidate.distance_km is None
            else f"{candidate.distance_km:>6.0f} km {_round_trip(candidate):>7} ms"
        )
        state = "drained" if candidate.drained else "healthy" if candidate.healthy else "unhealthy"
        yield f"{mark} {candidate.zone:<22} {near:>20}  {state}"
        for replica in candidate.replicas:
            yield f"    {replica.address or 'no address':<15} {_health(replica)}"
            if replica.health and replica.health.failure:
                yield f"      one says: {replica.health.failure}"

    if resolution.client.city is None:
        yield ""
        yield f"Where {resolution.client.address} is, no map here says; Route 53 places it by its own."
    if any(each.zone == resolution.zone and not each.healthy for each in resolution.candidates):
        yield ""
        yield "That site's last checks failed. Route 53 leaves it out after as many failures in"
        yield "a row as the threshold says, unless all sites fail: then all count as healthy."


def _measured(resolution: "Resolution", files: Sequence[Path]) -> tuple["Resolution", list[str]]:
    """With the round trips that files have for the client's city, and what those are."""
    from automation.commands.measuring import round_trips
    from automation.sites.resolution import with_measured

    city = resolution.client.city
    if city is None:
        raise UsageError(f"where {resolution.client.address} is, no map here says: --measured needs a city\n  -> --from CITY")
    trips, sources = round_trips(files, [city])
    return with_measured(resolution, {group: milliseconds for (_, group), milliseconds in trips.items()}), sources


def _round_trip(candidate: "Candidate") -> str:
    return f"{'' if candidate.is_measured else '~'}{candidate.round_trip_ms:.1f}"


def _named(client: "Client") -> str:
    return client.address if client.name == client.address else f"{client.name} ({client.address})"


def _record_lines(record: "Record") -> Iterator[str]:
    """What was asked, what decided, and what came of it."""
    decided = " ".join(filter(None, (record.policy, record.choice)))
    yield f"  {record.name}"
    yield f"    {decided} -> {record.alias_of or ', '.join(record.addresses)}"


def _health(replica: "Replica") -> str:
    health = replica.health
    if health is None:
        return "no record leads there: no run has seen it serve"
    if not health.checkers:
        return "no reports yet, which counts as healthy"
    return f"{health.successes} of {health.checkers} checkers got an answer"


def _tree(routes: "Routes") -> Iterator[str]:
    """The records below the service's name, each under the one that leads there. Names are without the domain."""
    yield f"{routes.domain}: policy {routes.policy}. Names below it are shown without it."
    health = {replica.address: _health(replica) for site in routes.sites for replica in site.replicas}
    shown: set[str] = set()

    def below(name: str, indent: str) -> Iterator[str]:
        if name in shown:
            yield f"{indent}(as above)"
            return
        shown.add(name)
        for record in routes.below(name):
            decided = " ".join(filter(None, (record.policy, record.choice)))
            target = (record.alias_of or ", ".join(record.addresses)).removesuffix(f".{routes.domain}")
            yield f"{indent}{decided} -> {target}"
            for address in record.addresses:
                yield f"{indent}  {record.set_identifier}: {health.get(address, 'no site of this deployment')}"
            if record.alias_of:
                yield from below(record.alias_of, f"{indent}  ")

    yield from below(routes.domain, "  ")
    for site in routes.sites:
        if site.drained:
            yield f"  drained: {site.zone}"


def _matrix(routes: "Routes", got: "Sequence[tuple[Client, str]]") -> Iterator[str]:
    """Cities by sites, in blocks of columns that fit on a terminal."""
    from automation.sites.resolution import estimates

    yield "Estimated round trip in ms between city and site, by distance on a map, not"
    yield "measured. * marks the site that the city gets."
    size = max(len(site.zone) for site in routes.sites) + 2
    fitting = (_WIDTH - _CITY_WIDTH) // size
    for first in range(0, len(routes.sites), fitting):
        sites = routes.sites[first : first + fitting]
        yield ""
        yield " " * _CITY_WIDTH + "".join(f"{site.zone} ".rjust(size) for site in sites).rstrip()
        for client, zone in got:
            cells = (_cell(estimates(client.city, site)[1], is_got=site.zone == zone).rjust(size) for site in sites)
            yield f"{client.name:<{_CITY_WIDTH}}{''.join(cells)}".rstrip()


def _cell(milliseconds: float | None, *, is_got: bool) -> str:
    return ("?" if milliseconds is None else f"{milliseconds:.0f}") + ("*" if is_got else " ")


def _described(routes: "Routes", got: "Sequence[tuple[Client, str]]") -> dict[str, Any]:
    """As `edge routes --json` prints it."""
    from automation.sites.resolution import estimates

    return {
        "domain": routes.domain,
        "policy": routes.policy,
        "records": [asdict(record) for record in routes.records],
        "sites": [
            {
                "zone": site.zone,
                "healthy": site.healthy,
                "drained": site.drained,
                "replicas": [asdict(each) for each in site.replicas],
            }
            for site in routes.sites
        ],
        "cities": [
            {
                "city": client.name,
                "zone": zone,
                "round_trip_ms": {site.zone: estimates(client.city, site)[1] for site in routes.sites},
            }
            for client, zone in got
        ],
        "estimated": ["round_trip_ms"],
    }
