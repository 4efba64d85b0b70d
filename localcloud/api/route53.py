"""Route 53 on top of moto: strict records, atomic change batches, honest health checks.

moto accepts any record, drops geoproximity, confuses set identifiers across names on DELETE,
applies half of a failing batch and lets health checks look at private addresses. Left out: traffic
policies, DNSSEC. Deleting a health check that records still use is allowed, as on AWS.
"""

# moto is partly untyped, and its parts use each other's state:
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any, cast

from moto.core.responses import ActionResult
from moto.route53.exceptions import (
    HostedZoneNotEmpty,
    InvalidInput,
    NoSuchHealthCheck,
    Route53ClientError,
)
from moto.route53.models import FakeZone, HealthCheck, Route53Backend
from moto.route53.responses import Route53

from geography.cities import City
from geography.places import REGIONS
from localcloud.api import health
from localcloud.api import route53_records as rules
from localcloud.api.ec2_addresses import is_public
from localcloud.dns.rules import answer, client_in

CHECKED_TYPES = ("HTTP", "HTTPS", "TCP")
_DEFAULT_RESOLVER = City("a resolver in us-east-1", REGIONS["us-east-1"], "NA", "US", "VA", None)
"""Whom TestDNSAnswer asks for when it is told no address."""


def records(zone: FakeZone) -> list[rules.RecordSet]:
    """A zone's records, as the API's own dictionaries: what moto keeps as objects loses members."""
    return cast("list[rules.RecordSet]", zone.rrsets)


def _store(zone: FakeZone, new: Iterable[rules.RecordSet]) -> None:
    zone.rrsets = cast("Any", list(new))


def invalid_batch(problems: list[str]) -> Route53ClientError:
    """Route 53's refusal of a change batch, all reasons in one."""
    return Route53ClientError("InvalidChangeBatch", f"[{', '.join(problems)}]")


class LocalRoute53Backend(Route53Backend):
    """All hosted zones and health checks of the account."""

    def create_hosted_zone(self, name: str, **options: Any) -> FakeZone:
        """A caller reference makes one zone only; ids begin with Z; NS and SOA become records like all others."""
        reference = options.get("caller_reference")
        if reference and any(z.caller_reference == reference for z in self.zones.values()):
            raise Route53ClientError(
                "HostedZoneAlreadyExists",
                "A hosted zone has already been created with the specified caller reference.",
            )
        zone = super().create_hosted_zone(rules.absolute(name), **options)
        del self.zones[zone.resource_id]
        zone.resource_id = f"Z{zone.resource_id}"
        self.zones[zone.resource_id] = zone
        servers = zone.delegation_set.name_servers if zone.delegation_set else []
        soa = f"{servers[0]}. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"
        apex = {
            "NS": (172800, [f"{server}." for server in servers]),
            "SOA": (900, [soa]),
        }
        _store(
            zone,
            (
                {
                    "Name": zone.name,
                    "Type": kind,
                    "TTL": ttl,
                    "ResourceRecords": [{"Value": value} for value in values],
                }
                for kind, (ttl, values) in apex.items()
            ),
        )
        return zone

    def delete_hosted_zone(self, id_: str) -> FakeZone | None:
        """Only an empty zone: nothing but NS and SOA."""
        zone = self.get_hosted_zone(id_)
        if any(record["Type"] not in {"NS", "SOA"} for record in records(zone)):
            raise HostedZoneNotEmpty
        return self.zones.pop(zone.resource_id)

    def change_resource_record_sets(self, zoneid: str, change_list: list[dict[str, Any]]) -> None:
        """Apply a batch whole or not at all; every problem is reported."""
        zone = self.get_hosted_zone(zoneid)
        table = {rules.key(record): record for record in records(zone)}
        problems: list[str] = []
        written: list[rules.RecordSet] = []
        for change in change_list:
            action, record = change["Action"], rules.normalised(change["ResourceRecordSet"])
            rules.check_form(action, record)
            problem = _apply(table, zone, action, record)
            if problem:
                problems.append(problem)
            elif action != "DELETE":
                written.append(record)
        for record in written:
            problems += rules.conflicts(record, table.values(), zone.name)
            problems += self._target_problems(record, zone, table)
        if problems:
            raise invalid_batch(problems)
        _store(zone, table.values())

    def _target_problems(self, record: rules.RecordSet, zone: FakeZone, table: dict[rules.Key, rules.RecordSet]) -> list[str]:
        health_check = record.get("HealthCheckId")
        if health_check and health_check not in self.health_checks:
            raise NoSuchHealthCheck(health_check)
        alias = record.get("AliasTarget")
        if not alias:
            return []
        tried = (
            f"Tried to create an alias that targets {alias['DNSName']}, type {record['Type']} in "
            f"zone {alias['HostedZoneId']}, but "
        )
        if alias["HostedZoneId"] != zone.resource_id or not _within(alias["DNSName"], zone.name):
            return [tried + "the alias target name does not lie within the target zone"]
        if (alias["DNSName"], record["Type"]) not in {(name, kind) for name, kind, _ in table}:
            return [tried + "that target was not found"]
        return []

    def create_health_check(self, caller_reference: str, health_check_args: dict[str, Any]) -> HealthCheck:
        """A caller reference makes one health check only; endpoints must be public."""
        if any(c.caller_reference == caller_reference for c in self.health_checks.values()):
            raise Route53ClientError(
                "HealthCheckAlreadyExists",
                "A health check has already been created with the specified caller reference.",
            )
        _check_health_check(health_check_args)
        if health_check_args.get("type") not in CHECKED_TYPES or not health_check_args.get("ip_address"):
            raise InvalidInput(f"The local cloud checks {', '.join(CHECKED_TYPES)} at an IPAddress, nothing else.")
        if health_check_args["type"] == "HTTPS":  # moto would take 80
            health_check_args["port"] = health_check_args.get("port") or 443
        if health_check_args.get("request_interval") not in {None, 10, 30}:
            raise InvalidInput("RequestInterval must be 10 or 30 seconds.")
        return super().create_health_check(caller_reference, health_check_args)

    def update_health_check(self, health_check_id: str, health_check_args: dict[str, Any]) -> HealthCheck:
        """Keep what the request leaves out; moto would forget Regions and children."""
        given = {name: value for name, value in health_check_args.items() if value not in (None, [])}
        _check_health_check(given)
        health_check = super().update_health_check(health_check_id, given)
        health_check.health_check_version += 1
        if health_check.disabled:
            health.forget(health_check_id)
        return health_check

    def delete_health_check(self, health_check_id: str) -> None:
        """An unknown one is refused."""
        self.get_health_check(health_check_id)
        super().delete_health_check(health_check_id)
        health.forget(health_check_id)

    def is_healthy(self, health_check_id: str) -> bool:
        """The verdict on an endpoint. One that was deleted under a record counts as healthy: AWS says it "can't be predicted"."""
        check = self.health_checks.get(health_check_id)
        return check is None or (check.disabled or health.is_healthy(check.id, check.regions)) != check.inverted


def _within(name: str, zone_name: str) -> bool:
    return name == zone_name or name.endswith("." + zone_name)


def _apply(table: dict[rules.Key, rules.RecordSet], zone: FakeZone, action: str, record: rules.RecordSet) -> str | None:
    """Change the table; the reason where Route 53 would not."""
    name, kind, identifier = key = rules.key(record)
    text = f"resource record set [name='{name}', type='{kind}'"
    text += f", set identifier='{identifier}']" if identifier else "]"
    present = table.get(key)
    problem = None
    if not _within(name, zone.name):
        problem = f"RRSet with DNS name {name} is not permitted in zone {zone.name}"
    elif action != "DELETE":
        if action == "CREATE" and present:
            problem = f"Tried to create {text} but it already exists"
        table[key] = record
    elif present is None:
        problem = f"Tried to delete {text} but it was not found"
    elif present != record:
        problem = f"Tried to delete {text} but the values provided do not match the current values"
    elif name == zone.name and kind in {"NS", "SOA"}:
        problem = f"A HostedZone must contain at least one {kind} record for the zone itself."
    else:
        del table[key]
    return problem


def _check_health_check(args: dict[str, Any]) -> None:
    address = args.get("ip_address")
    try:
        public = not address or is_public(address)
    except ValueError as error:
        raise InvalidInput(f"Invalid parameter: IPAddress {error}") from error
    if not public:
        raise InvalidInput(f"Invalid parameter: IPAddress {address} is in a local, private, non-routable or multicast range.")
    if not 1 <= (args.get("port") or 80) <= 65535:  # noqa: PLR2004 (model)
        raise InvalidInput("Port must be between 1 and 65535.")
    if args.get("type") == "TCP" and not args.get("port"):
        raise InvalidInput("Port is required for a health check of type TCP.")
    if not 1 <= (args.get("failure_threshold") or 3) <= 10:  # noqa: PLR2004 (model)
        raise InvalidInput("FailureThreshold must be between 1 and 10.")
    regions = set(args.get("regions") or health.CHECKER_REGIONS)
    if len(regions) < 3 or not regions.issubset(health.CHECKER_REGIONS):  # noqa: PLR2004 (model)
        raise InvalidInput(f"Regions must name at least 3 of {', '.join(health.CHECKER_REGIONS)}.")


class Route53Responses(Route53):
    """Request parsing for Route 53."""

    def list_resource_record_sets(self) -> ActionResult:
        """In Route 53's order, paged by name, type and set identifier; moto drops the last."""
        zone = self.backend.get_hosted_zone(self._get_param("HostedZoneId"))
        limit = self._get_int_param("MaxItems", 300)
        start_name = self._get_param("StartRecordName")
        start_type = self._get_param("StartRecordType")
        if start_type and not start_name:
            raise InvalidInput("StartRecordType needs StartRecordName.")
        start = _order(start_name or "", start_type or "", self._get_param("StartRecordIdentifier"))
        found = sorted(
            (record for record in records(zone) if _order(*rules.key(record)) >= start),
            key=lambda record: _order(*rules.key(record)),
        )
        following = found[limit] if len(found) > limit else {}
        return ActionResult(
            {
                "ResourceRecordSets": found[:limit],
                "IsTruncated": bool(following),
                "NextRecordName": following.get("Name"),
                "NextRecordType": following.get("Type"),
                "NextRecordIdentifier": following.get("SetIdentifier"),
                "MaxItems": limit,
            }
        )

    def test_dns_answer(self) -> ActionResult:
        """What the DNS server would answer a resolver, or a client behind one, at some address."""
        zone = self.backend.get_hosted_zone(self._get_param("HostedZoneId"))
        if zone.private_zone or not zone.delegation_set:
            raise InvalidInput("TestDNSAnswer only supports querying public hosted zones.")
        kind = self._get_param("RecordType")
        if kind not in rules.TYPES:
            raise InvalidInput(f"RecordType '{kind}' is not one of {', '.join(rules.TYPES)}.")
        name = rules.absolute(self._get_param("RecordName"))
        client = self._simulated_client()
        found = answer(records(zone), self.local_backend.is_healthy, client, name, kind)
        return ActionResult(
            {
                "Nameserver": zone.delegation_set.name_servers[0],
                "RecordName": self._get_param("RecordName"),
                "RecordType": kind,
                "RecordData": list(found.values),
                "ResponseCode": found.code if _within(name, zone.name) else "REFUSED",
                "Protocol": "UDP",
            }
        )

    @property
    def local_backend(self) -> LocalRoute53Backend:
        """The backend, which is this module's."""
        return cast("LocalRoute53Backend", self.backend)

    def _simulated_client(self) -> City | None:
        address = self._get_param("EDNS0ClientSubnetIP")
        mask = self._get_param("EDNS0ClientSubnetMask")
        resolver = self._get_param("ResolverIP")
        if address is None and mask is not None:
            raise InvalidInput("EDNS0ClientSubnetMask needs EDNS0ClientSubnetIP.")
        try:
            if address:
                return client_in(ip_network(f"{address}/{mask or (64 if ':' in address else 24)}", strict=False))
            return client_in(ip_network(resolver)) if resolver else _DEFAULT_RESOLVER
        except ValueError as error:
            raise InvalidInput(f"Invalid parameter: {error}") from error

    def get_health_check_status(self) -> ActionResult:
        """The last result of each health checker; none yet for a new check, none any more for a disabled one."""
        check = self.backend.get_health_check(self._get_param("HealthCheckId"))
        return ActionResult(
            {
                "HealthCheckObservations": [
                    {
                        "Region": region,
                        "IPAddress": address,
                        "StatusReport": {"Status": found.status, "CheckedTime": found.checked},
                    }
                    for address, region in health.CHECKERS.items()
                    if (found := health.observations[check.id].get(address))
                ]
            }
        )


def _order(name: str, kind: str, identifier: str | None) -> tuple[list[str], str, str]:
    """Route 53 sorts by name with its labels reversed."""
    labels = rules.absolute(name).rstrip(".").split(".")[::-1] if name else []
    return labels, kind, identifier or ""
