"""Taking a site out of the service's name, and putting it back, without losing a request.

Which records go is the program's to plan, from `edge-inference:drained`; here is the order: records, their TTL, the requests that
still run. Left out: closing connections. A client that holds one open is served for as long as the site runs.
"""

import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import urllib3

from automation.errors import DeploymentFailedError, EdgeError, UsageError
from automation.sites.endpoints import Ports, api_key, connections

if TYPE_CHECKING:
    from automation.engine.deployed import Say
    from automation.engine.events import OnEvent
    from automation.engine.results import Changes
    from automation.sites.resolution import Routes

_POLL_SECONDS = 2.0
_QUIET_POLLS = 3
"""In a row: TGI shows a request in neither gauge while it reads the first prompt of a batch, a second or two on a T4."""
_READ_SECONDS = 5.0
_BUSY = re.compile(
    r"^(?:tgi_queue_size|tgi_batch_current_size|vllm:num_requests_(?:running|waiting))(?:\{[^}]*\})? (\S+)$", re.MULTILINE
)
"""The gauges of requests that wait or run: TGI's, and vLLM's."""


class Drainable(Ports, Protocol):
    """What is asked of an Environment."""

    @property
    def arguments(self) -> str:
        """How `edge` is told of it."""
        ...

    def route53_speed(self) -> float:
        """How much faster than AWS's its clock goes."""
        ...

    def config_value(self, key: str) -> str | None:
        """A config value, decrypted."""
        ...

    def routes(self) -> "Routes":
        """The records as they are."""
        ...

    def store_drained(self, zones: Sequence[str]) -> None:
        """Stores which sites are drained."""
        ...

    def reroute(self, drained: Sequence[str], on_event: "OnEvent | None" = None) -> "Changes":
        """Stores them, and brings the records up to it."""
        ...


def take_out(environment: Drainable, zone: str, on_event: "OnEvent | None" = None) -> "Changes":
    """Takes a zone's site out of the records. UsageError for a zone without a site, EdgeError where nobody can take its users."""
    routes = environment.routes()
    _judge(routes, zone, environment.arguments)
    drained = [site.zone for site in routes.sites if site.drained]
    return _reroute(environment, drained, [*(each for each in drained if each != zone), zone], on_event)


def wait_until_unused(environment: Drainable, zone: str, say: "Say", sleep: Callable[[float], None] = time.sleep) -> None:
    """Returns when no resolver has the address of a site that was taken out, and no request waits or runs there."""
    routes = environment.routes()
    ttl_seconds = max(record.ttl_seconds or 0 for record in routes.records)
    say(f"Out of the records. Waiting {ttl_seconds} s, their TTL, until no resolver has the address, then for the last requests.")
    sleep(ttl_seconds / environment.route53_speed())
    key, certificate = api_key(environment.config_value), environment.config_value("edge-inference:tlsCertificate")
    for replica in next(site for site in routes.sites if site.zone == zone).replicas:
        if replica.url and replica.address:  # None where its last deployment failed
            with connections(environment, replica.address, replica.url, certificate) as pool:
                _wait_until_idle(pool, key, replica.address, say, sleep)


def put_back(environment: Drainable, zone: str, on_event: "OnEvent | None" = None) -> "Changes":
    """Sends users to a drained site again: each comes back within the records' TTL. UsageError where it is not drained."""
    drained = [site.zone for site in environment.routes().sites if site.drained]
    if zone not in drained:
        raise UsageError(f"{zone} is not drained\n  -> drained are: {', '.join(drained) or 'none'}")
    return _reroute(environment, drained, [each for each in drained if each != zone], on_event)


def _judge(routes: "Routes", zone: str, environment: str) -> None:
    zones = [site.zone for site in routes.sites]
    if zone not in zones:
        raise UsageError(f"there is no site in {zone}\n  -> its sites: {', '.join(zones)}")
    others = [site for site in routes.sites if site.zone != zone and not site.drained]
    if not others:
        raise EdgeError(f"{zone} is the last site that is not drained: without it the service's name would not answer")
    if not any(site.healthy for site in others):
        raise EdgeError(
            f"no other site is healthy, so {zone}'s users would be sent to one that does not answer\n"
            f"  -> edge routes {environment}   # what the health checkers say"
        )


def _reroute(environment: Drainable, before: list[str], after: list[str], on_event: "OnEvent | None") -> "Changes":
    """Brings the records, and nothing else, to the drained zones of `after`."""
    try:
        return environment.reroute(after, on_event)
    except DeploymentFailedError as error:
        if not any("--target" in text for text in error.errors):
            raise
        environment.store_drained(before)
        raise EdgeError(
            "the config has other changes that are not deployed, and new records depend on them; it is as it was\n"
            f"  -> edge up {environment.arguments}, then this again"
        ) from error


def _wait_until_idle(
    pool: urllib3.HTTPConnectionPool, key: str | None, address: str, say: "Say", sleep: Callable[[float], None]
) -> None:
    quiet = told = 0
    while quiet < _QUIET_POLLS:
        try:
            busy = _requests(pool, key)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            say(f"How busy {address} is cannot be read from here ({error}): requests that run there may need longer.")
            return
        quiet = 0 if busy else quiet + 1
        if busy != told:
            say(f"{address}: {busy} still to be answered. Ctrl-C ends the waiting; no new users come either way.")
            told = busy
        if quiet < _QUIET_POLLS:
            sleep(_POLL_SECONDS)


def _requests(pool: urllib3.HTTPConnectionPool, key: str | None) -> int:
    """How many requests wait or run at a replica, by its /metrics. ValueError where that does not say."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = pool.request("GET", "/metrics", headers=headers, timeout=_READ_SECONDS, retries=False)
    values = _BUSY.findall(answer.data.decode(errors="replace"))
    if answer.status != 200 or not values:  # noqa: PLR2004
        raise ValueError(f"/metrics answers {answer.status}")
    return round(sum(float(value) for value in values))
