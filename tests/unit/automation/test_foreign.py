"""What others added inside our own groups and tables: only that, whatever else the account holds."""

from __future__ import annotations

from typing import Any

from automation.sites.foreign import find_foreign

REGION = "us-west-2"


class Pages:
    def __init__(self, page: dict[str, Any]) -> None:
        self._page = page

    def paginate(self, **_: object) -> list[dict[str, Any]]:
        return [self._page]


class Ec2:
    """What EC2 knows of one group and one table."""

    def get_paginator(self, name: str) -> Pages:
        rule = {"GroupId": "sg-1", "IsEgress": False, "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
        rules = [
            {**rule, "SecurityGroupRuleId": "sgr-ours", "CidrIpv4": "192.0.2.1/32"},
            {**rule, "SecurityGroupRuleId": "sgr-theirs", "CidrIpv4": "0.0.0.0/0"},
        ]
        routes = [
            {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local"},
            {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1"},
            {"DestinationCidrBlock": "10.9.0.0/16", "VpcPeeringConnectionId": "pcx-1"},
        ]
        pages = {
            "describe_security_group_rules": {"SecurityGroupRules": rules},
            "describe_route_tables": {"RouteTables": [{"RouteTableId": "rtb-1", "Routes": routes}]},
        }
        return Pages(pages[name])


def resource(kind: str, name: str, identity: str, **outputs: Any) -> dict[str, Any]:
    return {"type": kind, "urn": f"urn::{name}", "id": identity, "outputs": {"region": REGION, **outputs}}


def ec2(service: str, region: str) -> Ec2:
    assert (service, region) == ("ec2", REGION)
    return Ec2()


STATE = {
    "resources": [
        resource("aws:ec2/securityGroup:SecurityGroup", "lax-firewall", "sg-1"),
        resource("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "lax-ssh", "sgr-ours"),
        resource("aws:ec2/routeTable:RouteTable", "us-west-2-routes", "rtb-1"),
        resource("aws:ec2/route:Route", "us-west-2-internet", "r-1", routeTableId="rtb-1", destinationCidrBlock="0.0.0.0/0"),
        {"type": "pulumi:pulumi:Stack", "urn": "urn::stack"},
    ]
}


def test_rules_and_routes_that_the_state_does_not_know_are_told_with_their_removal() -> None:
    rule, route = find_foreign(STATE, ec2)
    assert (rule.inside, rule.what) == ("lax-firewall", "ingress rule sgr-theirs: tcp, 22, from 0.0.0.0/0")
    assert rule.remove.endswith(
        "revoke-security-group-ingress --region us-west-2 --group-id sg-1 --security-group-rule-ids sgr-theirs"
    )
    assert (route.inside, route.what) == ("us-west-2-routes", "route to 10.9.0.0/16 by pcx-1")
    assert route.remove.endswith("--route-table-id rtb-1 --destination-cidr-block 10.9.0.0/16")


def test_an_empty_state_asks_nobody() -> None:
    def nobody(service: str, region: str) -> object:
        raise AssertionError(f"{service} in {region} was asked")

    assert find_foreign({}, nobody) == ()
