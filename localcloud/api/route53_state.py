"""What DNS and the health checkers may know of Route 53's state, and where the checkers' results go.

Consistent like `world`: every function takes its lock.
"""

# moto is partly untyped: pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import cast

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.route53.models import HealthCheck, route53_backends

from localcloud.api import health, world
from localcloud.api.route53 import LocalRoute53Backend, records
from localcloud.dns.server import HostedZone
from localcloud.health_checkers import Endpoint


def hosted_zones() -> list[HostedZone]:
    """The public hosted zones with their records as they are now."""
    with world.lock:
        return [HostedZone(zone.name, records(zone)) for zone in _backend().zones.values() if not zone.private_zone]


def is_healthy(health_check_id: str) -> bool:
    """The verdict of a health check."""
    with world.lock:
        return _backend().is_healthy(health_check_id)


def endpoints() -> list[Endpoint]:
    """What the health checks that are not disabled look at."""
    with world.lock:
        return [_endpoint(check) for check in _backend().health_checks.values() if not check.disabled]


def observe(health_check_id: str, checker: str, *, passed: bool, reason: str) -> None:
    """Take down a checker's result, unless the health check is gone or disabled meanwhile."""
    with world.lock:
        check = _backend().health_checks.get(health_check_id)
        if check and not check.disabled:
            health.observe(health_check_id, checker, check.failure_threshold, passed=passed, reason=reason)


def _backend() -> LocalRoute53Backend:
    return cast("LocalRoute53Backend", route53_backends[DEFAULT_ACCOUNT_ID]["aws"])


def _endpoint(check: HealthCheck) -> Endpoint:
    address = str(check.ip_address)
    return Endpoint(
        health_check_id=check.id,
        kind=str(check.type_),
        address=address,
        port=check.port,
        path=check.resource_path or "/",
        host=check.fqdn or address,
        sni=bool(check.enable_sni and check.fqdn),
        interval_seconds=check.request_interval,
        checkers=tuple(health.checkers(check.regions)),
    )
