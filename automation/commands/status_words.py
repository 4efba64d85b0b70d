"""`edge status` in words: the service, a row for each replica, and below what is wrong with the line to run.

Fits 80 columns. Leaves out asking: sites/status.py does.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from automation.commands.terminal import wrapped
from automation.tables import coloured, table
from components.zones import parse_zone
from geography.places import city_of, short_name

if TYPE_CHECKING:
    from automation.sites.status import ReplicaStatus, SiteStatus, Status

_STATES = {"healthy": "green", "unhealthy": "red", "unreachable": "red"}


def status_lines(found: "Status") -> Iterator[str]:
    """All of it."""
    arguments = f"{found.environment}{' --local' if found.simulated and found.environment != 'local' else ''}"
    yield f"service  {found.service_url or 'has no name: its sites are called by their addresses (edge outputs)'}"
    yield from _models(found)
    header = ["replica", "city", "state", "up", "load", "share", "$/h"]
    rows = [_row(site, replica) for site in found.sites for replica in site.replicas]
    head, *lines = table(header, rows, right=(4, 5, 6))
    yield head
    for line, row in zip(lines, rows, strict=True):
        yield line.replace(f"  {row[2]}", f"  {coloured(row[2], _STATES.get(row[2], 'yellow'))}", 1)
    yield "load: requests that run + those that wait; share: of the map's cities"
    yield from _price(found)
    yield from _wrong(found, arguments)
    if found.certificate:
        from automation.sites.certificate_age import SOON_DAYS

        yield f"certificate: {found.certificate.words}"
        if found.certificate.days_left < SOON_DAYS:
            yield f"  -> edge certificate {arguments}   # then: edge up {arguments}"
    if found.simulated:
        yield "Nothing is billed here: AWS, network and model server are simulated."


def _models(found: "Status") -> Iterator[str]:
    """What is served in fact, each model once."""
    served: dict[str, list[str]] = {}
    for replica in (each for site in found.sites for each in site.replicas):
        if replica.model:
            what = f"{replica.model} at {replica.revision[:12] if replica.revision else 'an unknown revision'}"
            served.setdefault(what, []).append(replica.name)
    for what, names in served.items():
        yield f"model    {what}" + ("" if len(served) == 1 else f"\n           by {', '.join(names)}")


def _row(site: "SiteStatus", replica: "ReplicaStatus") -> list[str]:
    share = "drained" if site.drained else "-" if site.dns_share is None else f"{site.dns_share:.0%}"
    return [
        replica.name,
        short_name(city_of(parse_zone(site.zone).group)),
        replica.health,
        "-" if replica.uptime_seconds is None else _duration(replica.uptime_seconds),
        "-" if replica.running is None else f"{replica.running}+{replica.queue or 0}",
        share,
        "?" if replica.dollars_per_hour is None else f"{replica.dollars_per_hour:.3f}",
    ]


def _price(found: "Status") -> Iterator[str]:
    from automation.account.prices import DATED

    unknown = sum(replica.dollars_per_hour is None for site in found.sites for replica in site.replicas)
    yield f"${found.dollars_per_hour:.3f} per hour by list prices of {DATED}"
    if unknown:
        yield f"  without {unknown} whose price is unknown"


def _wrong(found: "Status", arguments: str) -> Iterator[str]:
    """What does not serve, or not what it should, each cause once."""
    causes: dict[tuple[str, str], list[str]] = {}
    for site in found.sites:
        for replica in site.replicas:
            for cause in _causes(site, replica, arguments):
                causes.setdefault(cause, []).append(replica.name)
    for (what, remedy), names in causes.items():
        line = f"{', '.join(names)} {what}"
        yield from wrapped(line, indent="  ")
        yield f"  -> {remedy}"


def _causes(site: "SiteStatus", replica: "ReplicaStatus", arguments: str) -> Iterator[tuple[str, str]]:
    again = f"edge up {arguments}   # makes again what is gone, stopped or dead"
    if replica.health == "unhealthy":
        yield (
            "answers, and does not serve",
            f"edge logs {arguments} {site.zone}   # what its server says; then: edge up {arguments}",
        )
    elif replica.health == "unreachable":
        state = f"its instance is {replica.instance}" if replica.instance else "of its instance nothing is known"
        yield f"does not answer; {state}", again
    elif replica.model is None:
        yield "serves what is unknown: its record could not be read over SSH", f"edge doctor {arguments}"
    if replica.model not in {None, site.model}:
        yield f"serves {replica.model}, NOT {site.model}, as configured", f"edge up {arguments}"


def _duration(seconds: float) -> str:
    """`3 d`, `2 h`, `40 s`: the largest part."""
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((number for number, (value, _) in enumerate(parts) if value >= 1), 3)
    value, unit = parts[first]
    return f"{int(value)} {unit}"
