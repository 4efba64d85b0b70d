# dnspython leaves the types of a set's records open:
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""What the service's names answer, asked of their hosted zone's own name servers, and whether the zone is delegated.

Resolvers keep old answers for a TTL; the zone's own servers do not. On the local cloud its DNS server is the only one. Left out:
which client gets which site (resolution.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import dns.resolver
from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

_SECONDS = 5.0
Server = tuple[str, int]
"""Address and UDP port."""


@dataclass(frozen=True)
class NameAnswer:
    """What one name answered."""

    name: str
    expected: frozenset[str]
    """The addresses of the replicas behind it."""
    told: frozenset[str] | None
    """None where none of the servers answered."""

    @property
    def is_right(self) -> bool:
        """Whether it leads to one of ours and to nobody else."""
        return self.told is not None and bool(self.told) and self.told <= self.expected

    @property
    def finding(self) -> str:
        """In words."""
        if self.told is None:
            return f"{self.name}: none of its name servers answers"
        told = ", ".join(sorted(self.told)) or "nothing"
        return f"{self.name} answers {told}" + ("" if self.is_right else f", and {', '.join(sorted(self.expected))} is deployed")


def expected_answers(outputs: Mapping[str, Any]) -> list[tuple[str, frozenset[str]]]:
    """The service's name and those of its sites, each with the addresses that it may answer."""
    sites: Mapping[str, Any] = outputs.get("sites", {})
    addresses = {zone: frozenset(each["address"] for each in site["replicas"] if each["address"]) for zone, site in sites.items()}
    named = [(site["name"], addresses[zone]) for zone, site in sites.items() if site["name"] and addresses[zone]]
    routing: Mapping[str, Any] = outputs.get("routing") or {}
    domain: str | None = routing.get("domain")
    return [(domain, frozenset[str]().union(*addresses.values())), *named] if domain else named


def ask_names(outputs: Mapping[str, Any], servers: Sequence[Server]) -> Iterator[NameAnswer]:
    """Every name of a deployment, asked of the first of the servers that answers."""
    for name, expected in expected_answers(outputs):
        told = next((found for found in (asked(name, server) for server in servers) if found is not None), None)
        yield NameAnswer(name, expected, told)


def name_servers(route53: Any, zone_id: str) -> list[Server]:
    """The servers of a hosted zone on AWS; empty where nobody tells them."""
    try:
        names: list[str] = route53.get_hosted_zone(Id=zone_id)["DelegationSet"]["NameServers"]
    except (BotoCoreError, ClientError, KeyError):
        return []
    return [(address, 53) for name in names for address in _resolved(name)]


def delegation(route53: Any, zone_id: str) -> tuple[Literal["ok", "failed", "unknown"], str, str | None]:
    """Whether a zone's name leads to its own name servers: state, finding, and the records that its parent domain needs."""
    try:
        described = route53.get_hosted_zone(Id=zone_id)
    except (BotoCoreError, ClientError):
        return "unknown", "AWS did not name the zone's name servers", None
    name, own = described["HostedZone"]["Name"], {each.rstrip(".") for each in described["DelegationSet"]["NameServers"]}
    try:
        told = {str(each.target).rstrip(".") for each in dns.resolver.resolve(name, "NS", lifetime=_SECONDS)}
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        told = set[str]()
    except dns.exception.DNSException as error:
        return "unknown", f"no resolver answers for {name} ({type(error).__name__})", None
    if told & own:
        return "ok", f"{name.rstrip('.')} leads to this zone's name servers", None
    leads = f"leads to {', '.join(sorted(told))}" if told else "is delegated to nobody"
    servers = "\n".join(f"{name} NS {each}." for each in sorted(own))
    return "failed", f"{name.rstrip('.')} {leads}; in the parent domain it needs these records:", servers


def asked(name: str, server: Server, source: str | None = None) -> frozenset[str] | None:
    """The addresses of a name by one server, asked from one of this machine's addresses; None where it does not answer."""
    address, port = server
    try:
        answer = dns.query.udp(dns.message.make_query(name, "A"), address, _SECONDS, port, source)
    except (dns.exception.DNSException, OSError):
        return None
    return frozenset(record.to_text() for records in answer.answer if records.rdtype == dns.rdatatype.A for record in records)


def _resolved(name: str) -> list[str]:
    try:
        return [str(each) for each in dns.resolver.resolve(name, "A", lifetime=_SECONDS)]
    except dns.exception.DNSException:
        return []
