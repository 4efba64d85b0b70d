"""Asks AWS what it has of a deployment, with boto3: all Regions, hosted zones and health checks. Reads only, decides nothing.

Where a state is lost, and with it the deployment's id, only an environment's name can be asked for, which others may bear.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

from automation.account.orphans import (
    Facts,
    Kind,
    Known,
    Record,
    Scope,
    Thing,
    in_order,
    known_to,
    orphans,
    route_id,
    scope_of,
)
from automation.errors import EdgeError
from components.settings import Validated
from components.tags import DEPLOYMENT_TAG, STACK_TAG

Client = Callable[[str, str], Any]
"""Makes a boto3 client of a service in a Region."""
_ALIVE = ["pending", "running", "stopping", "stopped"]
_TAGS_AT_ONCE = 10
"""ListTagsForResources takes ten ids."""
_TAGGED: tuple[tuple[Kind, str, str, str], ...] = (
    ("VPC", "vpcs", "Vpcs", "VpcId"),
    ("subnet", "subnets", "Subnets", "SubnetId"),
    ("internet gateway", "internet_gateways", "InternetGateways", "InternetGatewayId"),
    ("security group", "security_groups", "SecurityGroups", "GroupId"),
    ("volume", "volumes", "Volumes", "VolumeId"),
)
"""What is found by its tag alone: kind, call, member of the answer, id."""


def deployment_scope(deployment: Mapping[str, Any], config: Validated) -> Scope | None:
    """What to look for by an exported deployment and what its config says; None where the state has no id."""
    routing = config.routing
    is_on = routing is not None and routing.is_on
    return scope_of(
        deployment,
        zones=[site.zone for site in config.sites.values()],
        domain=routing.domain if routing and is_on else None,
        hosted_zone=routing.hosted_zone if routing and is_on else None,
        hosted_zone_id=routing.hosted_zone_id if routing and is_on else None,
    )


def find_orphans(scope: Scope, read_state: Callable[[], Mapping[str, Any]], client: Client) -> tuple[Thing, ...]:
    """What AWS has of a deployment and its state does not. EdgeError where AWS does not say.

    The state is read after AWS was asked: what a run made meanwhile is in it.
    """
    facts = ask_aws(scope, client)
    known: Known = known_to(read_state())
    return orphans(scope, known, facts)


def ask_aws(scope: Scope, client: Client) -> Facts:
    """What AWS has of a deployment, and what hangs on it. EdgeError where it does not say."""
    try:
        with ThreadPoolExecutor(4) as pool:
            tag = DEPLOYMENT_TAG, scope.deployment
            regions = [pool.submit(_region, client("ec2", region), region, tag) for region in sorted(scope.regions)]
            route53 = client("route53", min(scope.regions, default="us-east-1"))
            checks = tuple(_health_checks(route53))
            zones = _hosted_zones(route53, scope)
            records = tuple(record for zone_id in zones for record in _records(route53, zone_id))
            things = [thing for each in regions for thing in each.result()]
    except (BotoCoreError, ClientError) as error:
        raise EdgeError(f"what AWS has beside the state is unknown: {error}") from error
    return Facts((*things, *zones.values()), checks, records)


def find_namesakes(name: str, regions: Iterable[str], client: Client) -> tuple[Thing, ...]:
    """What carries an environment's name, of whichever deployment. EdgeError where AWS does not say."""
    tag = STACK_TAG, name
    try:
        found = [each for region in regions for each in _region(client("ec2", region), region, tag) if not each.on]
        checks = _health_checks(client("route53", "us-east-1"), tag) if found else ()
        return in_order([*found, *checks])
    except (BotoCoreError, ClientError) as error:
        raise EdgeError(f"whether AWS has objects with the name '{name}' is unknown: {error}") from error


def _region(ec2: Any, region: str, tag: tuple[str, str]) -> list[Thing]:
    own = [{"Name": f"tag:{tag[0]}", "Values": [tag[1]]}]
    deployment = tag[1] if tag[0] == DEPLOYMENT_TAG else None
    found: list[Thing] = []
    for kind, call, member, id_member in _TAGGED:
        # An attached volume goes, or stays, with its instance.
        filters = [*own, {"Name": "status", "Values": ["available"]}] if kind == "volume" else own
        found += [
            Thing(kind, each[id_member], region, each.get("AvailabilityZone", ""), deployment, details={"answer": each})
            for each in _all(ec2, f"describe_{call}", member, filters)
        ]
    alive = [*own, {"Name": "instance-state-name", "Values": _ALIVE}]
    for reservation in _all(ec2, "describe_instances", "Reservations", alive):
        for each in reservation["Instances"]:
            zone = each["Placement"]["AvailabilityZone"]
            found.append(Thing("instance", each["InstanceId"], region, zone, deployment, instance_type=each["InstanceType"]))
    active = [*own, {"Name": "state", "Values": ["active", "pending"]}]
    found += [
        Thing(
            "capacity reservation",
            each["CapacityReservationId"],
            region,
            each["AvailabilityZone"],
            deployment,
            instance_type=each["InstanceType"],
        )
        for each in _all(ec2, "describe_capacity_reservations", "CapacityReservations", active)
    ]
    pairs = ec2.describe_key_pairs(Filters=own)["KeyPairs"]
    found += [
        Thing("key pair", each["KeyPairId"], region, deployment=deployment, details={"name": each["KeyName"]}) for each in pairs
    ]
    for each in ec2.describe_addresses(Filters=own)["Addresses"]:
        found += _address(each, region, deployment)
    for each in _all(ec2, "describe_route_tables", "RouteTables", own):
        found += _route_table(each, region, deployment)
    found += _below(ec2, region, found)
    return found


def _address(each: Mapping[str, Any], region: str, deployment: str | None) -> Iterator[Thing]:
    allocation, group = each["AllocationId"], each.get("NetworkBorderGroup", "")
    # A border group is a zone group or the Region: the nearest to a zone that an address has.
    yield Thing("address", allocation, region, group, deployment, address=each["PublicIp"], details={"answer": each})
    if each.get("AssociationId"):
        on = frozenset({allocation, str(each.get("InstanceId") or allocation)})
        yield Thing("address association", each["AssociationId"], region, group, on=on)


def _route_table(each: Mapping[str, Any], region: str, deployment: str | None) -> Iterator[Thing]:
    table_id = each["RouteTableId"]
    yield Thing("route table", table_id, region, deployment=deployment, details={"answer": each})
    for route in each.get("Routes", []):
        if route.get("Origin") == "CreateRoute" and route.get("DestinationCidrBlock"):
            destination = route["DestinationCidrBlock"]
            details = {"table": table_id, "destination": destination}
            yield Thing("route", route_id(table_id, destination), region, on=frozenset({table_id}), details=details)
    for association in each.get("Associations", []):
        if not association.get("Main") and association.get("SubnetId"):
            on = frozenset({table_id, association["SubnetId"]})
            yield Thing("route table association", association["RouteTableAssociationId"], region, on=on)


def _below(ec2: Any, region: str, found: Iterable[Thing]) -> Iterator[Thing]:
    """Rules of our security groups, and interfaces in our subnets that nothing uses."""
    groups = [each.id for each in found if each.kind == "security group"]
    subnets = {each.id: each.zone for each in found if each.kind == "subnet"}
    if groups:
        for each in _all(ec2, "describe_security_group_rules", "SecurityGroupRules", [{"Name": "group-id", "Values": groups}]):
            details = {"group": each["GroupId"], "egress": each["IsEgress"]}
            yield Thing(
                "security group rule", each["SecurityGroupRuleId"], region, on=frozenset({each["GroupId"]}), details=details
            )
    if subnets:
        filters = [{"Name": "subnet-id", "Values": list(subnets)}, {"Name": "status", "Values": ["available"]}]
        for each in _all(ec2, "describe_network_interfaces", "NetworkInterfaces", filters):
            zone = subnets[each["SubnetId"]]
            on = frozenset({each["SubnetId"]})
            yield Thing("network interface", each["NetworkInterfaceId"], region, zone, on=on, goes_with_it=False)


def _all(client: Any, call: str, member: str, filters: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator(call).paginate(Filters=filters):
        yield from page[member]


def _health_checks(route53: Any, tag: tuple[str, str] | None = None) -> Iterator[Thing]:
    """Those that ask an address; of a tag, where one is given."""
    pages = route53.get_paginator("list_health_checks").paginate()
    asking = [each for page in pages for each in page["HealthChecks"] if each["HealthCheckConfig"].get("IPAddress")]
    tags = _route53_tags(route53, "healthcheck", [each["Id"] for each in asking])
    for each in asking:
        if tag and tags[each["Id"]].get(tag[0]) != tag[1]:
            continue
        yield Thing(
            "health check",
            each["Id"],
            deployment=tags[each["Id"]].get(DEPLOYMENT_TAG),
            address=each["HealthCheckConfig"]["IPAddress"],
        )


def _hosted_zones(route53: Any, scope: Scope) -> dict[str, Thing]:
    """The hosted zones that records can be in, by id: those that the state or the config names."""
    found = {each: each for each in scope.hosted_zone_ids}
    for name in scope.hosted_zone_names:
        for each in route53.list_hosted_zones_by_name(DNSName=name)["HostedZones"]:
            if each["Name"].rstrip(".") == name and not each.get("Config", {}).get("PrivateZone"):
                found.setdefault(each["Id"].rpartition("/")[2], name)
    existing: dict[str, Thing] = {}
    for zone_id in found:
        try:
            route53.get_hosted_zone(Id=zone_id)
        except route53.exceptions.NoSuchHostedZone:
            continue
        existing[zone_id] = Thing("hosted zone", zone_id)
    tags = _route53_tags(route53, "hostedzone", list(existing))
    return {key: Thing("hosted zone", key, deployment=tags[key].get(DEPLOYMENT_TAG)) for key in existing}


def _route53_tags(route53: Any, kind: str, ids: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {each: {} for each in ids}
    for start in range(0, len(ids), _TAGS_AT_ONCE):
        some = ids[start : start + _TAGS_AT_ONCE]
        for each in route53.list_tags_for_resources(ResourceType=kind, ResourceIds=some)["ResourceTagSets"]:
            found[each["ResourceId"]] = {tag["Key"]: tag["Value"] for tag in each["Tags"]}
    return found


def _records(route53: Any, zone_id: str) -> Iterator[Record]:
    for page in route53.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone_id):
        for each in page["ResourceRecordSets"]:
            alias = each.get("AliasTarget", {})
            if each["Type"] != "A" or (alias and alias["HostedZoneId"] != zone_id):
                continue
            yield Record(
                zone_id,
                each["Name"].rstrip("."),
                each.get("SetIdentifier", ""),
                each.get("HealthCheckId"),
                alias["DNSName"].rstrip(".") if alias else None,
                each,
            )
