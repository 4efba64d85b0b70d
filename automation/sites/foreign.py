"""What nobody manages inside a deployment's own security groups and route tables: rules and routes that somebody added by hand.

The engine's refresh looks at what the state knows, and at nothing else. Reads only; the line that takes a thing away is told.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

from automation.engine.results import Foreign
from automation.errors import EdgeError

_GROUP, _TABLE, _ROUTE = "aws:ec2/securityGroup:SecurityGroup", "aws:ec2/routeTable:RouteTable", "aws:ec2/route:Route"
_RULES = {"aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"}
_SOURCES = ("CidrIpv4", "CidrIpv6", "PrefixListId")
_TARGETS = ("GatewayId", "NatGatewayId", "InstanceId", "NetworkInterfaceId", "TransitGatewayId", "VpcPeeringConnectionId")


def find_foreign(deployment: Mapping[str, Any], client: Callable[[str, str], Any]) -> tuple[Foreign, ...]:
    """All of it, by one question of each kind to each Region. EdgeError where AWS does not answer."""
    resources = [each for each in cast("list[dict[str, Any]]", deployment.get("resources") or []) if not each.get("delete")]
    regions = {str(each["outputs"]["region"]) for each in resources if each["type"] in {_GROUP, _TABLE}}
    try:
        return tuple(found for region in sorted(regions) for found in _in_region(resources, region, client("ec2", region)))
    except (BotoCoreError, ClientError) as error:
        raise EdgeError(
            f"what others added to our security groups and routes cannot be read: {error}\n"
            "  -> needed: ec2:DescribeSecurityGroupRules, ec2:DescribeRouteTables   # aws sts get-caller-identity"
        ) from error


def _in_region(resources: list[dict[str, Any]], region: str, ec2: Any) -> Iterator[Foreign]:
    groups, tables = _named(resources, _GROUP, region), _named(resources, _TABLE, region)
    known_rules = {str(each["outputs"].get("securityGroupRuleId") or each["id"]) for each in resources if each["type"] in _RULES}
    if groups:
        pages = ec2.get_paginator("describe_security_group_rules").paginate(
            Filters=[{"Name": "group-id", "Values": list(groups)}]
        )
        for rule in (rule for page in pages for rule in page["SecurityGroupRules"]):
            if rule["SecurityGroupRuleId"] not in known_rules:
                yield _rule(rule, groups[rule["GroupId"]], region)
    routes = (each["outputs"] for each in resources if each["type"] == _ROUTE)
    known_routes = {(each.get("routeTableId"), each.get("destinationCidrBlock")) for each in routes}
    if tables:
        pages = ec2.get_paginator("describe_route_tables").paginate(Filters=[{"Name": "route-table-id", "Values": list(tables)}])
        for table in (table for page in pages for table in page["RouteTables"]):
            for route in table["Routes"]:
                goes_to = (table["RouteTableId"], route.get("DestinationCidrBlock"))
                # The route within the VPC comes with the table.
                if route.get("GatewayId") != "local" and goes_to not in known_routes:
                    yield _route(route, table["RouteTableId"], tables[table["RouteTableId"]], region)


def _named(resources: list[dict[str, Any]], kind: str, region: str) -> dict[str, str]:
    """The names of a type's resources by id."""
    return {
        str(each["id"]): str(each["urn"]).rpartition("::")[2]
        for each in resources
        if each["type"] == kind and each["outputs"]["region"] == region
    }


def _rule(rule: Mapping[str, Any], group: str, region: str) -> Foreign:
    way, preposition = ("egress", "to") if rule["IsEgress"] else ("ingress", "from")
    source = next((str(rule[key]) for key in _SOURCES if rule.get(key)), str(rule.get("ReferencedGroupInfo", "unknown")))
    first, last = rule.get("FromPort", -1), rule.get("ToPort", -1)
    ports = "all ports" if first == -1 else str(first) if first == last else f"{first} to {last}"
    protocol = "all protocols" if rule["IpProtocol"] == "-1" else rule["IpProtocol"]
    what = f"{way} rule {rule['SecurityGroupRuleId']}: {protocol}, {ports}, {preposition} {source}"
    remove = (
        f"aws ec2 revoke-security-group-{way} --region {region} --group-id {rule['GroupId']} "
        f"--security-group-rule-ids {rule['SecurityGroupRuleId']}"
    )
    return Foreign(group, what, remove)


def _route(route: Mapping[str, Any], table_id: str, table: str, region: str) -> Foreign:
    block, option = next(
        ((str(route[key]), option) for key, option in _DESTINATIONS.items() if route.get(key)),
        ("unknown", "--destination-cidr-block"),
    )
    target = next((str(route[key]) for key in _TARGETS if route.get(key)), "an unknown target")
    remove = f"aws ec2 delete-route --region {region} --route-table-id {table_id} {option} {block}"
    return Foreign(table, f"route to {block} by {target}", remove)


_DESTINATIONS = {
    "DestinationCidrBlock": "--destination-cidr-block",
    "DestinationIpv6CidrBlock": "--destination-ipv6-cidr-block",
    "DestinationPrefixListId": "--destination-prefix-list-id",
}
