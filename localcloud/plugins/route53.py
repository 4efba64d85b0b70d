# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportMissingTypeStubs=false
# (boto3 has no types)
"""The Route 53 resources: hosted zone, record, health check, with the checks that the upstream plugin makes itself.

What only AWS refuses (two latency records of one Region, mixed policies under one name) is left to the emulated AWS.
Left out: private zones, and the 10 to 30 seconds that upstream sleeps before it first asks whether a change is live.
Long, because a record's six policies and their checks belong together.
"""

from __future__ import annotations

import functools
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, cast

import botocore.session
from botocore.model import StringShape

from localcloud.plugins.base import Call, Resource
from localcloud.plugins.clients import Client, Clients, tolerating
from localcloud.plugins.ec2 import given, tag_list, tag_properties, wait_until
from localcloud.plugins.schema import Problem
from localcloud.plugins.values import UNKNOWN, Properties, is_list, is_map

_POLICIES = (
    "cidrRoutingPolicy",
    "failoverRoutingPolicies",
    "geolocationRoutingPolicies",
    "geoproximityRoutingPolicy",
    "latencyRoutingPolicies",
    "multivalueAnswerRoutingPolicy",
    "weightedRoutingPolicies",
)
_MAX_BIAS = 99
_COORDINATE = re.compile(r"-?\d{1,3}(\.\d{0,2})?")


@functools.cache
def _choices(shape: str) -> tuple[str, ...]:
    """Return the values that AWS's own model of Route 53 allows for a shape."""
    model = botocore.session.get_session().get_service_model("route53")
    return tuple(cast("list[str]", cast("StringShape", model.shape_for(shape)).enum))


def _not_among(value: object, shape: str, path: str) -> Iterator[Problem]:
    if isinstance(value, str) and value != UNKNOWN and value not in _choices(shape):
        yield Problem(path, f"{value} is not one of {', '.join(_choices(shape))}")


def _first(value: object) -> dict[str, Any]:
    """Return the one object of an upstream block, which arrives as a list of one or as the object itself."""
    if is_list(value):
        value = value[0] if value else {}
    return value if is_map(value) else {}


def bare_zone_id(zone_id: object) -> str:
    """Return a hosted zone's id without AWS's path in front."""
    return str(zone_id).removeprefix("/hostedzone/")


class Route53Resource(Resource):
    """What Route 53 resources share: a global service, and tags set by a call of their own."""

    tagged: ClassVar[str] = ""
    not_found: ClassVar[tuple[str, ...]] = ("NoSuchHostedZone", "NoSuchHealthCheck")

    def __init__(self, clients: Clients) -> None:
        """Use the clients of one provider configuration."""
        self.clients = clients

    @property
    def client(self) -> Client:
        """The Route 53 client."""
        return self.clients.get("route53")

    def tags(self, resource_id: str) -> Properties:
        """Return the tags of a zone or health check."""
        found = self.client.list_tags_for_resource(ResourceType=self.tagged, ResourceId=resource_id)
        return tag_properties(found["ResourceTagSet"].get("Tags"))

    def set_tags(self, resource_id: str, olds: object, news: object) -> None:
        """Make the tags what they now should be."""
        before = olds if is_map(olds) else {}
        after = news if is_map(news) else {}
        gone = [key for key in before if key not in after]
        added = tag_list({key: value for key, value in after.items() if before.get(key) != value})
        if gone or added:
            self.client.change_tags_for_resource(
                ResourceType=self.tagged,
                ResourceId=resource_id,
                **({"AddTags": added} if added else {}),
                **({"RemoveTagKeys": gone} if gone else {}),
            )

    def settle(self, call: Call, resource_id: str, inputs: Properties) -> None:
        """Tag it."""
        del call
        self.set_tags(resource_id, {}, inputs.get("tags"))

    def wait_live(self, call: Call, answer: Mapping[str, Any]) -> None:
        """Wait until a change has reached all name servers."""
        change = answer["ChangeInfo"]
        if change.get("Status") == "INSYNC":
            return
        change_id = change["Id"].removeprefix("/change/")
        wait_until(
            call,
            f"DNS change {change_id}",
            lambda: self.client.get_change(Id=change_id)["ChangeInfo"]["Status"] == "INSYNC",
        )


class Zone(Route53Resource):
    """`aws:route53/zone:Zone`, public."""

    tagged = "hostedzone"
    supported = frozenset({"name", "comment", "forceDestroy", "tags"})
    replace_on = frozenset({"name"})
    defaults: ClassVar[Mapping[str, object]] = {
        "comment": "Managed by Pulumi",
        "forceDestroy": False,
    }
    autoname = "name"

    def create(self, call: Call, inputs: Properties) -> str:
        """Create the zone."""
        answer = self.client.create_hosted_zone(
            Name=inputs["name"],
            CallerReference=str(uuid.uuid4()),
            HostedZoneConfig={"Comment": inputs["comment"]},
        )
        self.wait_live(call, answer)
        return bare_zone_id(answer["HostedZone"]["Id"])

    def read(self, call: Call, resource_id: str, known: Properties) -> Properties | None:
        """Return the zone and its name servers."""
        del call, known
        found = None
        with tolerating(*self.not_found):
            found = self.client.get_hosted_zone(Id=resource_id)
        if found is None:
            return None
        servers = sorted(found.get("DelegationSet", {}).get("NameServers", []))
        return {
            "arn": f"arn:aws:route53:::hostedzone/{resource_id}",
            "zoneId": resource_id,
            "name": found["HostedZone"]["Name"].removesuffix("."),
            "comment": found["HostedZone"].get("Config", {}).get("Comment", ""),
            "nameServers": servers,
            "primaryNameServer": servers[0] if servers else "",
            **self.tags(resource_id),
        }

    def update(self, call: Call, resource_id: str, olds: Properties, news: Properties, state: Properties) -> None:
        """Change comment and tags."""
        del call, state
        if olds.get("comment") != news.get("comment"):
            self.client.update_hosted_zone_comment(Id=resource_id, Comment=news["comment"])
        self.set_tags(resource_id, olds.get("tags"), news.get("tags"))

    def delete(self, call: Call, resource_id: str, state: Properties) -> None:
        """Delete the zone; its records first only with `forceDestroy`, else AWS refuses."""
        with tolerating(*self.not_found):
            if state.get("forceDestroy"):
                self._delete_records(resource_id, str(state["name"]))
            self.wait_live(call, self.client.delete_hosted_zone(Id=resource_id))

    def _delete_records(self, zone_id: str, name: str) -> None:
        pages = self.client.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone_id)
        doomed = [
            {"Action": "DELETE", "ResourceRecordSet": record}
            for page in pages
            for record in page["ResourceRecordSets"]
            if record["Type"] not in ("NS", "SOA") or record["Name"].removesuffix(".") != name
        ]
        if doomed:
            self.client.change_resource_record_sets(HostedZoneId=zone_id, ChangeBatch={"Changes": doomed})


class Record(Route53Resource):
    """`aws:route53/record:Record`: one record set, plain or alias, with at most one routing policy."""

    replace_on = frozenset({"name", "zoneId"})
    unordered = frozenset({"records"})
    supported = frozenset(
        {
            "aliases",
            "allowOverwrite",
            "failoverRoutingPolicies",
            "geolocationRoutingPolicies",
            "geoproximityRoutingPolicy",
            "healthCheckId",
            "latencyRoutingPolicies",
            "multivalueAnswerRoutingPolicy",
            "name",
            "records",
            "setIdentifier",
            "ttl",
            "type",
            "weightedRoutingPolicies",
            "zoneId",
        }
    )

    def problems(self, inputs: Properties) -> Iterable[Problem]:
        """Check what upstream's record.go checks: its ConflictsWith, RequiredWith, ExactlyOneOf and enumerations."""
        policies = [name for name in _POLICIES if inputs.get(name)]
        if len(policies) > 1:
            yield Problem(policies[0], f"conflicts with {', '.join(policies[1:])}")
        if policies and not inputs.get("setIdentifier"):
            yield Problem("setIdentifier", f"is required with {policies[0]}")
        if bool(inputs.get("aliases")) == bool(inputs.get("records")):
            yield Problem("aliases, records", "exactly one of them must be given")
        if inputs.get("aliases") and inputs.get("ttl") is not None:
            yield Problem("ttl", "conflicts with aliases: an alias has its target's")
        if inputs.get("records") and inputs.get("ttl") is None:
            yield Problem("ttl", "is required with records")
        yield from _not_among(inputs.get("type"), "RRType", "type")
        latency = _first(inputs.get("latencyRoutingPolicies"))
        path = "latencyRoutingPolicies[0].region"
        yield from _not_among(latency.get("region"), "ResourceRecordSetRegion", path)
        failover = _first(inputs.get("failoverRoutingPolicies"))
        path = "failoverRoutingPolicies[0].type"
        yield from _not_among(failover.get("type"), "ResourceRecordSetFailover", path)
        yield from self._geoproximity_problems(_first(inputs.get("geoproximityRoutingPolicy")))

    def _geoproximity_problems(self, policy: dict[str, Any]) -> Iterator[Problem]:
        bias = policy.get("bias", 0)
        if isinstance(bias, int) and not -_MAX_BIAS <= bias <= _MAX_BIAS:
            yield Problem("geoproximityRoutingPolicy.bias", f"must be between -{_MAX_BIAS} and {_MAX_BIAS}")
        for index, place in enumerate(policy.get("coordinates") or []):
            for name in ("latitude", "longitude"):
                value = _first(place).get(name, UNKNOWN)
                if value != UNKNOWN and not _COORDINATE.fullmatch(str(value)):
                    path = f"geoproximityRoutingPolicy.coordinates[{index}].{name}"
                    yield Problem(path, "must be a number with at most two decimals")

    def create(self, call: Call, inputs: Properties) -> str:
        """Create the record set; one that exists is an error unless `allowOverwrite`."""
        action = "UPSERT" if inputs.get("allowOverwrite") else "CREATE"
        self._apply(call, inputs, [(action, inputs)])
        parts = [bare_zone_id(inputs["zoneId"]), inputs["name"], inputs["type"]]
        return "_".join(str(part) for part in [*parts, inputs.get("setIdentifier")] if part)

    def update(self, call: Call, resource_id: str, olds: Properties, news: Properties, state: Properties) -> None:
        """Upsert; another type or set identifier is a deletion and a creation in one batch, as upstream."""
        del resource_id, state
        identity = ("type", "setIdentifier")
        if any(olds.get(name) != news.get(name) for name in identity):
            action = "UPSERT" if news.get("allowOverwrite") else "CREATE"
            self._apply(call, news, [("DELETE", olds), (action, news)])
        else:
            self._apply(call, news, [("UPSERT", news)])

    def _apply(self, call: Call, inputs: Properties, steps: list[tuple[str, Properties]]) -> None:
        zone_id = bare_zone_id(inputs["zoneId"])
        zone_name = self._zone_name(zone_id)
        changes = [{"Action": action, "ResourceRecordSet": _record_set(properties, zone_name)} for action, properties in steps]
        answer = self.client.change_resource_record_sets(
            HostedZoneId=zone_id, ChangeBatch={"Changes": changes, "Comment": "Managed by Pulumi"}
        )
        self.wait_live(call, answer)

    def _zone_name(self, zone_id: str) -> str:
        return self.client.get_hosted_zone(Id=zone_id)["HostedZone"]["Name"].removesuffix(".")

    def _find(self, known: Properties) -> tuple[str, dict[str, Any]] | None:
        """Return full name and record set, or None."""
        zone_id = bare_zone_id(known["zoneId"])
        with tolerating(*self.not_found):
            name = full_name(str(known["name"]), self._zone_name(zone_id))
            pages = self.client.get_paginator("list_resource_record_sets").paginate(
                HostedZoneId=zone_id,
                StartRecordName=name,
                StartRecordType=known["type"],
                PaginationConfig={"PageSize": 100},
            )
            for page in pages:
                for record in page["ResourceRecordSets"]:
                    found = record["Name"].replace("\\052", "*").removesuffix(".").lower()
                    if found != name or record["Type"] != known["type"]:
                        return None  # sorted: nothing of this name and type follows
                    if record.get("SetIdentifier", "") == known.get("setIdentifier", ""):
                        return name, record
        return None

    def read(self, call: Call, resource_id: str, known: Properties) -> Properties | None:
        """Return the record set as AWS has it."""
        del call
        if "zoneId" not in known:  # an import: the id is all there is
            known = dict(zip(("zoneId", "name", "type", "setIdentifier"), resource_id.split("_", 3), strict=False))
        found = self._find(known)
        if found is None:
            return None
        name, record = found
        values = {key: known[key] for key in ("zoneId", "name", "type")} | _record_properties(record)
        return {**values, "fqdn": name}

    def delete(self, call: Call, resource_id: str, state: Properties) -> None:
        """Delete the record set as it is now; a batch that AWS calls invalid is taken as gone, as upstream."""
        del resource_id
        found = self._find(state)
        if found is None:
            return
        with tolerating("InvalidChangeBatch"):
            answer = self.client.change_resource_record_sets(
                HostedZoneId=bare_zone_id(state["zoneId"]),
                ChangeBatch={"Changes": [{"Action": "DELETE", "ResourceRecordSet": found[1]}]},
            )
            self.wait_live(call, answer)


def full_name(name: str, zone_name: str) -> str:
    """Return a record's name with its zone's, as upstream expands it: lower case, no dot at the end."""
    name = name.removesuffix(".").lower()
    return name if name == zone_name or name.endswith(f".{zone_name}") else f"{name}.{zone_name}".lstrip(".")


def _record_set(inputs: Properties, zone_name: str) -> dict[str, Any]:
    """Return a record's inputs in AWS's form."""
    record: dict[str, Any] = {
        "Name": full_name(str(inputs["name"]), zone_name),
        "Type": inputs["type"],
        **given(
            inputs,
            {
                "setIdentifier": "SetIdentifier",
                "healthCheckId": "HealthCheckId",
                "ttl": "TTL",
                "multivalueAnswerRoutingPolicy": "MultiValueAnswer",
            },
        ),
    }
    if is_list(inputs.get("records")) and inputs["records"]:
        record["ResourceRecords"] = [{"Value": value} for value in inputs["records"]]  # type: ignore[union-attr]
    if alias := _first(inputs.get("aliases")):
        record["AliasTarget"] = {
            "DNSName": alias["name"],
            "HostedZoneId": alias["zoneId"],
            "EvaluateTargetHealth": alias["evaluateTargetHealth"],
        }
    if policy := _first(inputs.get("weightedRoutingPolicies")):
        record["Weight"] = policy["weight"]
    if policy := _first(inputs.get("latencyRoutingPolicies")):
        record["Region"] = policy["region"]
    if policy := _first(inputs.get("failoverRoutingPolicies")):
        record["Failover"] = policy["type"]
    if policy := _first(inputs.get("geolocationRoutingPolicies")):
        record["GeoLocation"] = given(policy, _GEOLOCATION)
    if policy := _first(inputs.get("geoproximityRoutingPolicy")):
        location = given(policy, _GEOPROXIMITY)
        if places := policy.get("coordinates"):
            location["Coordinates"] = given(_first(places), _COORDINATES)
        record["GeoProximityLocation"] = location
    return record


_GEOLOCATION = {
    "continent": "ContinentCode",
    "country": "CountryCode",
    "subdivision": "SubdivisionCode",
}
_GEOPROXIMITY = {"awsRegion": "AWSRegion", "localZoneGroup": "LocalZoneGroup", "bias": "Bias"}
_COORDINATES = {"latitude": "Latitude", "longitude": "Longitude"}


def _renamed(found: Mapping[str, Any], names: Mapping[str, str]) -> Properties:
    return {name: found[key] for name, key in names.items() if key in found}


def _record_properties(record: Mapping[str, Any]) -> Properties:
    """Return a record set of AWS as properties; those that it has not are left out."""
    names = {
        "setIdentifier": "SetIdentifier",
        "healthCheckId": "HealthCheckId",
        "multivalueAnswerRoutingPolicy": "MultiValueAnswer",
    }
    properties = _renamed(record, names)
    if "AliasTarget" in record:
        target = record["AliasTarget"]
        properties["aliases"] = [
            {
                "name": target["DNSName"].removesuffix(".").lower(),
                "zoneId": target["HostedZoneId"],
                "evaluateTargetHealth": target["EvaluateTargetHealth"],
            }
        ]
    else:
        properties["records"] = sorted(each["Value"] for each in record.get("ResourceRecords", []))
        properties["ttl"] = record.get("TTL")
    if "Weight" in record:
        properties["weightedRoutingPolicies"] = [{"weight": record["Weight"]}]
    if "Region" in record:
        properties["latencyRoutingPolicies"] = [{"region": record["Region"]}]
    if "Failover" in record:
        properties["failoverRoutingPolicies"] = [{"type": record["Failover"]}]
    if "GeoLocation" in record:
        properties["geolocationRoutingPolicies"] = [_renamed(record["GeoLocation"], _GEOLOCATION)]
    if "GeoProximityLocation" in record:
        location = record["GeoProximityLocation"]
        policy = _renamed(location, _GEOPROXIMITY)
        if "Coordinates" in location:
            policy["coordinates"] = [_renamed(location["Coordinates"], _COORDINATES)]
        properties["geoproximityRoutingPolicy"] = policy
    return properties


class HealthCheck(Route53Resource):
    """`aws:route53/healthCheck:HealthCheck` of an endpoint."""

    tagged = "healthcheck"
    replace_on = frozenset({"type", "requestInterval", "measureLatency", "referenceName"})
    unordered = frozenset({"regions"})
    defaults: ClassVar[Mapping[str, object]] = {"disabled": False, "measureLatency": False}

    _settings: ClassVar = {
        "disabled": "Disabled",
        "enableSni": "EnableSNI",
        "failureThreshold": "FailureThreshold",
        "fqdn": "FullyQualifiedDomainName",
        "invertHealthcheck": "Inverted",
        "ipAddress": "IPAddress",
        "port": "Port",
        "regions": "Regions",
        "resourcePath": "ResourcePath",
        "searchString": "SearchString",
    }
    _fixed: ClassVar = {
        "type": "Type",
        "requestInterval": "RequestInterval",
        "measureLatency": "MeasureLatency",
    }
    supported = frozenset({*_settings, *_fixed, "referenceName", "tags"})

    def problems(self, inputs: Properties) -> Iterable[Problem]:
        """Check the enumerations and ranges of upstream's schema."""
        yield from _not_among(inputs.get("type"), "HealthCheckType", "type")
        if inputs.get("requestInterval", UNKNOWN) not in (10, 30, UNKNOWN):
            yield Problem("requestInterval", "must be 10 or 30")
        threshold = inputs.get("failureThreshold", 1)
        if isinstance(threshold, int) and not 1 <= threshold <= 10:  # noqa: PLR2004
            yield Problem("failureThreshold", "must be between 1 and 10")
        port = inputs.get("port", 1)
        if isinstance(port, int) and not 1 <= port <= 65535:  # noqa: PLR2004
            yield Problem("port", "must be between 1 and 65535")
        regions = inputs.get("regions")
        if is_list(regions):
            if len(regions) < 3:  # noqa: PLR2004
                yield Problem("regions", "must be at least three")
            for index, region in enumerate(regions):
                yield from _not_among(region, "HealthCheckRegion", f"regions[{index}]")

    def create(self, call: Call, inputs: Properties) -> str:
        """Create the health check."""
        del call
        prefix = f"{inputs['referenceName']}-" if inputs.get("referenceName") else ""
        answer = self.client.create_health_check(
            CallerReference=f"{prefix}{uuid.uuid4().hex}",
            HealthCheckConfig=given(inputs, self._settings | self._fixed),
        )
        return answer["HealthCheck"]["Id"]

    def read(self, call: Call, resource_id: str, known: Properties) -> Properties | None:
        """Return the health check's configuration."""
        del call, known
        config = None
        with tolerating(*self.not_found):
            config = self.client.get_health_check(HealthCheckId=resource_id)["HealthCheck"]
        if config is None:
            return None
        found = _renamed(config["HealthCheckConfig"], self._settings | self._fixed)
        return {"arn": f"arn:aws:route53:::healthcheck/{resource_id}", **found, **self.tags(resource_id)}

    def update(self, call: Call, resource_id: str, olds: Properties, news: Properties, state: Properties) -> None:
        """Change settings and tags."""
        del call, state
        changed = {
            argument: news[name]
            for name, argument in self._settings.items()
            if news.get(name) is not None and olds.get(name) != news.get(name)
        }
        if changed:
            self.client.update_health_check(HealthCheckId=resource_id, **changed)
        self.set_tags(resource_id, olds.get("tags"), news.get("tags"))

    def delete(self, call: Call, resource_id: str, state: Properties) -> None:
        """Delete the health check."""
        del call, state
        with tolerating(*self.not_found):
            self.client.delete_health_check(HealthCheckId=resource_id)


def resources(clients: Clients) -> dict[str, Resource]:
    """Return the resource types of this module by token."""
    return {
        "aws:route53/zone:Zone": Zone(clients),
        "aws:route53/record:Record": Record(clients),
        "aws:route53/healthCheck:HealthCheck": HealthCheck(clients),
    }
