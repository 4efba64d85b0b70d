# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (boto3 has no types)
"""The `aws` plugin on stock moto: what it sends and reads back. The local cloud's own rules are tested with its API."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError

from localcloud.plugins.aws import AwsPlugin
from localcloud.plugins.base import Call
from localcloud.plugins.ec2 import InternetGateway
from localcloud.plugins.instance import Instance
from localcloud.plugins.lookups import Lookups
from localcloud.plugins.route53 import full_name
from localcloud.plugins.values import Properties, Secret
from tests.unit.plugins.driver import AbortedError, Driver, urn

VPC = "aws:ec2/vpc:Vpc"
SUBNET = "aws:ec2/subnet:Subnet"
GATEWAY = "aws:ec2/internetGateway:InternetGateway"
TABLE = "aws:ec2/routeTable:RouteTable"
ROUTE = "aws:ec2/route:Route"
ASSOCIATION = "aws:ec2/routeTableAssociation:RouteTableAssociation"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
KEY = "aws:ec2/keyPair:KeyPair"
INSTANCE = "aws:ec2/instance:Instance"
EIP = "aws:ec2/eip:Eip"
EIP_ASSOCIATION = "aws:ec2/eipAssociation:EipAssociation"
ZONE = "aws:route53/zone:Zone"
RECORD = "aws:route53/record:Record"
CHECK = "aws:route53/healthCheck:HealthCheck"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEu8yg8Sd5sVxqgkZqnVh3v8m6dB1WDyFoxVwTLQwD4o me"
AMI = "ami-04681a1dbd79675a5"
TAGS: Properties = {"Name": "site"}


@dataclass
class Network:
    vpc: str
    subnet: str
    group: str


@pytest.fixture
def network(aws: Driver) -> Network:
    vpc, _, _ = aws.made(VPC, {"cidrBlock": "10.0.0.0/16"})
    subnet, _, _ = aws.made(SUBNET, {"vpcId": vpc, "cidrBlock": "10.0.0.0/24", "availabilityZone": "us-west-2a"})
    group, _, _ = aws.made(GROUP, {"vpcId": vpc})
    return Network(vpc, subnet, group)


def gone(aws: Driver, token: str, resource_id: str, state: Properties, inputs: Properties) -> bool:
    return aws.read(token, resource_id, state, inputs)[0] == ""


def stays(aws: Driver, token: str, resource_id: str, state: Properties, inputs: Properties) -> bool:
    """Tell whether a refresh changes nothing and a new diff shows nothing."""
    return (
        aws.read(token, resource_id, state, inputs) == (resource_id, state, inputs)
        and not aws.diff(token, inputs, inputs).detailedDiff
    )


def test_every_resource_lives_and_dies(aws: Driver, network: Network) -> None:
    gateway, _, _ = aws.made(GATEWAY, {"vpcId": network.vpc})
    table, _, _ = aws.made(TABLE, {"vpcId": network.vpc})
    key, _, _ = aws.made(KEY, {"publicKey": PUBLIC_KEY})
    instance, _, _ = aws.made(INSTANCE, {"ami": AMI, "instanceType": "t3.micro", "subnetId": network.subnet, "keyName": key})
    eip, _, _ = aws.made(EIP, {"domain": "vpc"})
    zone, _, _ = aws.made(ZONE, {"name": "life.example"})
    everything: dict[str, Properties] = {
        VPC: {"cidrBlock": "10.1.0.0/16", "enableDnsHostnames": True, "tags": TAGS},
        SUBNET: {
            "vpcId": network.vpc,
            "cidrBlock": "10.0.1.0/24",
            "availabilityZone": "us-west-2b",
            "mapPublicIpOnLaunch": True,
            "tags": TAGS,
        },
        GATEWAY: {"tags": TAGS},
        TABLE: {"vpcId": network.vpc, "tags": TAGS},
        ROUTE: {"routeTableId": table, "destinationCidrBlock": "0.0.0.0/0", "gatewayId": gateway},
        ASSOCIATION: {"routeTableId": table, "subnetId": network.subnet},
        GROUP: {"vpcId": network.vpc, "description": "d", "tags": TAGS},
        INGRESS: {
            "securityGroupId": network.group,
            "ipProtocol": "tcp",
            "fromPort": 22,
            "toPort": 22,
            "cidrIpv4": "1.2.3.4/32",
            "description": "d",
            "tags": TAGS,
        },
        EGRESS: {"securityGroupId": network.group, "ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0", "tags": TAGS},
        KEY: {"publicKey": PUBLIC_KEY, "keyName": "mine", "tags": TAGS},
        EIP: {"domain": "vpc", "tags": TAGS},
        EIP_ASSOCIATION: {"allocationId": eip, "instanceId": instance},
        ZONE: {"name": "second.example", "tags": TAGS},
        CHECK: {
            "type": "HTTP",
            "ipAddress": "52.1.2.3",
            "port": 8080,
            "resourcePath": "/health",
            "requestInterval": 10,
            "failureThreshold": 3,
            "tags": TAGS,
        },
        RECORD: {
            "zoneId": zone,
            "name": "a.life.example",
            "type": "A",
            "ttl": 60,
            "records": ["52.1.2.3"],
            "setIdentifier": "one",
            "weightedRoutingPolicies": [{"weight": 10}],
        },
    }
    for token, given in everything.items():
        resource_id, inputs, state = aws.made(token, given)
        assert stays(aws, token, resource_id, state, inputs), token
        if "tags" in given:
            assert state["tagsAll"] == TAGS
        aws.delete(token, resource_id, state)
        assert gone(aws, token, resource_id, state, inputs), token
        aws.delete(token, resource_id, state)  # what is gone already is no error


def test_a_region_of_its_own(aws: Driver) -> None:
    vpc, inputs, state = aws.made(VPC, {"cidrBlock": "10.0.0.0/16", "region": "eu-west-1"})
    assert state["region"] == "eu-west-1"
    assert gone(aws, VPC, vpc, state | {"region": "us-west-2"}, inputs | {"region": "us-west-2"})
    aws.delete(VPC, vpc, state)


def test_tags_change_in_place(aws: Driver) -> None:
    vpc, inputs, state = aws.made(VPC, {"cidrBlock": "10.0.0.0/16", "tags": {"a": "1", "b": "1"}})
    after = aws.update(VPC, vpc, state, inputs, inputs | {"tags": {"b": "2", "c": "3"}})
    assert after["tags"] == {"b": "2", "c": "3"}


def test_a_new_group_lets_nothing_out(moto_endpoint: str, network: Network) -> None:
    client = boto3.client("ec2", "us-west-2", endpoint_url=moto_endpoint, aws_access_key_id="a", aws_secret_access_key="b")  # noqa: S106
    (group,) = client.describe_security_groups(GroupIds=[network.group])["SecurityGroups"]
    assert group["IpPermissionsEgress"] == []


def test_rules_change_in_place(aws: Driver, network: Network) -> None:
    given: Properties = {
        "securityGroupId": network.group,
        "ipProtocol": "tcp",
        "fromPort": 22,
        "toPort": 22,
        "cidrIpv4": "1.2.3.4/32",
    }
    rule, inputs, state = aws.made(INGRESS, given)
    news = inputs | {"cidrIpv4": "5.6.7.8/32"}
    assert not aws.diff(INGRESS, inputs, news).replaces
    assert aws.update(INGRESS, rule, state, inputs, news)["cidrIpv4"] == "5.6.7.8/32"


def test_another_kind_of_source_replaces_a_rule(aws: Driver) -> None:
    olds: Properties = {"securityGroupId": "sg-1", "ipProtocol": "-1", "cidrIpv4": "1.2.3.4/32"}
    news: Properties = {"securityGroupId": "sg-1", "ipProtocol": "-1", "prefixListId": "pl-1"}
    assert sorted(aws.diff(INGRESS, olds, news).replaces) == ["cidrIpv4", "prefixListId"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"ipProtocol": "-1"}, "exactly one of cidrIpv4"),
        ({"ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0", "prefixListId": "pl-1"}, "found cidrIpv4, prefixListId"),
        ({"ipProtocol": "tcp", "cidrIpv4": "0.0.0.0/0"}, "fromPort, toPort are required"),
    ],
)
def test_rules_that_upstream_refuses(aws: Driver, given: Properties, expected: str) -> None:
    (problem,) = aws.check(INGRESS, {"securityGroupId": "sg-1", **given})[1]
    assert expected in problem


def instance_inputs(network: Network) -> Properties:
    return {
        "ami": AMI,
        "instanceType": "t3.micro",
        "subnetId": network.subnet,
        "vpcSecurityGroupIds": [network.group],
        "userData": Secret("#cloud-config planted"),
        "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
        "rootBlockDevice": {"volumeType": "gp3", "volumeSize": 100, "encrypted": True},
        "tags": TAGS,
        "volumeTags": {"Name": "root"},
    }


def test_an_instance_is_as_asked_for_and_its_user_data_stays_secret(aws: Driver, network: Network) -> None:
    instance, inputs, state = aws.made(INSTANCE, instance_inputs(network))
    assert state["instanceState"] == "running"
    assert state["userData"] == Secret("#cloud-config planted")
    root = state["rootBlockDevice"]
    assert isinstance(root, dict)
    assert root["volumeSize"] == 100
    assert root["encrypted"] is True
    assert state["volumeTags"] == {"Name": "root"}
    assert stays(aws, INSTANCE, instance, state, inputs)
    aws.delete(INSTANCE, instance, state)
    assert gone(aws, INSTANCE, instance, state, inputs), "a terminated instance is gone, though AWS lists it for a while"


@pytest.mark.parametrize("name", ["ami", "subnetId", "keyName", "availabilityZone", "privateIp"])
def test_what_replaces_an_instance(aws: Driver, name: str) -> None:
    assert aws.diff(INSTANCE, {name: "a"}, {name: "b"}).replaces == [name]


def test_what_does_not_replace_an_instance(aws: Driver) -> None:
    olds: Properties = {
        "instanceType": "a",
        "userData": "a",
        "vpcSecurityGroupIds": ["a"],
        "tags": {},
        "rootBlockDevice": {"volumeSize": 1, "encrypted": True},
    }
    news: Properties = {
        "instanceType": "b",
        "userData": "b",
        "vpcSecurityGroupIds": ["b"],
        "tags": TAGS,
        "rootBlockDevice": {"volumeSize": 2, "encrypted": True},
    }
    response = aws.diff(INSTANCE, olds, news)
    assert len(response.detailedDiff) == 5
    assert not response.replaces
    assert aws.diff(INSTANCE, olds, news | {"userDataReplaceOnChange": True}).replaces == ["userData"]
    encrypted = aws.diff(INSTANCE, olds, olds | {"rootBlockDevice": {"volumeSize": 1, "encrypted": False}})
    assert encrypted.replaces == ["rootBlockDevice.encrypted"]


@pytest.mark.parametrize(
    ("before", "after", "replaced"),
    [("t3.micro", "t3.small", []), ("t3.micro", "t4g.micro", ["instanceType"]), ("t3.micro", "zz9.huge", [])],
)
def test_a_type_of_another_architecture_replaces_an_instance(aws: Driver, before: str, after: str, replaced: list[str]) -> None:
    assert aws.diff(INSTANCE, {"instanceType": before}, {"instanceType": after}).replaces == replaced


def test_an_instance_changes_in_place(aws: Driver, network: Network) -> None:
    instance, inputs, state = aws.made(INSTANCE, instance_inputs(network))
    group, _, _ = aws.made(GROUP, {"vpcId": network.vpc})
    news = inputs | {
        "instanceType": "t3.small",
        "vpcSecurityGroupIds": [group],
        "rootBlockDevice": {"volumeType": "gp3", "volumeSize": 200, "encrypted": True},
        "volumeTags": {"Name": "new"},
    }
    assert aws.update(INSTANCE, instance, state, inputs, news, preview=True)["publicIp"] == "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    after = aws.update(INSTANCE, instance, state, inputs, news)
    assert after["instanceType"] == "t3.small"
    assert after["instanceState"] == "running"
    assert after["userData"] == Secret("#cloud-config planted")
    assert after["vpcSecurityGroupIds"] == [group]
    assert after["volumeTags"] == {"Name": "new"}
    assert after["rootBlockDevice"]["volumeSize"] == 200  # type: ignore[index]
    assert "stopping the instance to change it" in aws.engine.texts


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"instanceType": "t3.micro"}, "ami is required"),
        ({"ami": "a", "instanceType": "t", "userData": "x" * 16385}, "userData must not be longer"),
        ({"ami": "a", "instanceType": "t", "metadataOptions": {"httpPutResponseHopLimit": 65}}, "must be between 1 and 64"),
        ({"ami": "a", "instanceType": "t", "ebsBlockDevices": []}, "ebsBlockDevices is not simulated"),
    ],
)
def test_instances_that_are_refused(aws: Driver, given: Properties, expected: str) -> None:
    (problem,) = aws.check(INSTANCE, given)[1]
    assert expected in problem


class NoCapacity:
    """An EC2 client whose zone never has room."""

    def __init__(self, *_: object, retry: bool = True) -> None:
        self.retries = retry

    def run_instances(self, **arguments: object) -> None:
        del arguments
        assert not self.retries, "boto3 must not retry silently beside the plugin"
        raise ClientError(
            {"Error": {"Code": "InsufficientInstanceCapacity", "Message": "no g4dn.2xlarge in us-west-2-hnl-1a"}}, "RunInstances"
        )


def test_a_launch_without_capacity_is_tried_again_and_then_fails(aws: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = aws.plugin.resources[INSTANCE]
    assert isinstance(instance, Instance)
    monkeypatch.setattr(instance.clients, "get", NoCapacity)
    monkeypatch.setattr(instance.clients, "max_retries", 1)
    with pytest.raises(AbortedError, match=r"RunInstances: InsufficientInstanceCapacity: no g4dn.2xlarge in us-west-2-hnl-1a"):
        aws.create(INSTANCE, {"ami": "a", "instanceType": "g4dn.2xlarge"})
    assert aws.engine.texts == ["launch refused (InsufficientInstanceCapacity): trying again, 1/1"]


class Mapped:
    """An EC2 client of a network that has a public address mapped, for so many requests."""

    def __init__(self, refusals: int) -> None:
        self.refusals, self.called = refusals, list[str]()

    def detach_internet_gateway(self, **_: object) -> None:
        self.called.append("detach")
        self.refusals -= 1
        if self.refusals >= 0:
            told = {"Error": {"Code": "DependencyViolation", "Message": "Network vpc-1 has some mapped public address(es)"}}
            raise ClientError(told, "DetachInternetGateway")  # pyright: ignore[reportArgumentType]

    def attach_internet_gateway(self, **_: object) -> None:
        self.called.append("attach")


def test_a_gateway_moves_when_the_addresses_of_its_network_are_gone(aws: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localcloud.plugins.ec2._DEPENDENCY_POLL_SECONDS", 0.0)
    gateway, client = aws.plugin.resources[GATEWAY], Mapped(2)
    assert isinstance(gateway, InternetGateway)
    told: list[str] = []
    call = Call(urn(GATEWAY), lambda line: told.append(line.message), Event())
    gateway.change(call, client, "igw-1", {"vpcId": "vpc-1"}, {"vpcId": "vpc-2"})
    assert client.called == ["detach", "detach", "detach", "attach"]
    assert told == ["still in use, trying again: Network vpc-1 has some mapped public address(es)"] * 2


def test_what_is_still_used_is_refused_after_a_short_wait(aws: Driver, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localcloud.plugins.ec2._DEPENDENCY_SECONDS", 0.0)
    aws.made(GATEWAY, {"vpcId": network.vpc})
    with pytest.raises(AbortedError, match=r"^DeleteVpc: DependencyViolation: "):
        aws.delete(VPC, network.vpc, {})


RECORD_INPUTS: Properties = {"zoneId": "z", "name": "n", "type": "A"}
PLAIN: Properties = RECORD_INPUTS | {"ttl": 60, "records": ["1.2.3.4"]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (RECORD_INPUTS, "exactly one of them must be given"),
        (RECORD_INPUTS | {"records": ["1.2.3.4"]}, "ttl is required with records"),
        (
            RECORD_INPUTS | {"ttl": 60, "aliases": [{"name": "a", "zoneId": "z", "evaluateTargetHealth": True}]},
            "ttl conflicts with aliases",
        ),
        (PLAIN | {"type": "B"}, "type B is not one of SOA, A"),
        (PLAIN | {"weightedRoutingPolicies": [{"weight": 1}]}, "setIdentifier is required with weightedRoutingPolicies"),
        (
            PLAIN | {"setIdentifier": "s", "latencyRoutingPolicies": [{"region": "us-west-2-lax-1"}]},
            "latencyRoutingPolicies[0].region us-west-2-lax-1 is not one of us-east-1",
        ),
        (
            PLAIN
            | {
                "setIdentifier": "s",
                "weightedRoutingPolicies": [{"weight": 1}],
                "latencyRoutingPolicies": [{"region": "us-west-2"}],
            },
            "latencyRoutingPolicies conflicts with weightedRoutingPolicies",
        ),
        (PLAIN | {"setIdentifier": "s", "geoproximityRoutingPolicy": {"bias": 100}}, "bias must be between -99 and 99"),
        (
            PLAIN
            | {
                "setIdentifier": "s",
                "geoproximityRoutingPolicy": {"coordinates": [{"latitude": "21.307", "longitude": "-157.85"}]},
            },
            "coordinates[0].latitude must be a number with at most two decimals",
        ),
    ],
)
def test_records_that_upstream_refuses(aws: Driver, given: Properties, expected: str) -> None:
    (problem,) = aws.check(RECORD, given)[1]
    assert expected in problem


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "PING"}, "type PING is not one of HTTP"),
        ({"type": "TCP", "requestInterval": 20}, "requestInterval must be 10 or 30"),
        ({"type": "TCP", "failureThreshold": 11}, "failureThreshold must be between 1 and 10"),
        ({"type": "TCP", "port": 0}, "port must be between"),
        ({"type": "TCP", "regions": ["us-east-1"]}, "regions must be at least three"),
        ({"type": "TCP", "regions": ["us-east-1", "us-west-1", "us-west-2-lax-1"]}, "regions[2] us-west-2-lax-1 is not one of"),
        ({"type": "CALCULATED", "childHealthchecks": []}, "childHealthchecks is not simulated"),
    ],
)
def test_health_checks_that_upstream_refuses(aws: Driver, given: Properties, expected: str) -> None:
    (problem,) = aws.check(CHECK, given)[1]
    assert expected in problem


def test_what_replaces_records_and_health_checks(aws: Driver) -> None:
    assert aws.diff(RECORD, PLAIN, PLAIN | {"name": "m"}).replaces == ["name"]
    assert not aws.diff(RECORD, PLAIN, PLAIN | {"ttl": 30, "setIdentifier": "s", "type": "AAAA"}).replaces
    for name in ("type", "requestInterval", "measureLatency"):
        assert aws.diff(CHECK, {name: 1}, {name: 2}).replaces == [name]
    assert not aws.diff(CHECK, {"port": 1}, {"port": 2}).replaces


def test_an_alias_and_a_changed_set_identifier(aws: Driver) -> None:
    zone, _, _ = aws.made(ZONE, {"name": "alias.example"})
    given = RECORD_INPUTS | {
        "zoneId": zone,
        "name": "llm",
        "setIdentifier": "us-west-2",
        "latencyRoutingPolicies": [{"region": "us-west-2"}],
        "aliases": [{"name": "us-west-2.alias.example", "zoneId": zone, "evaluateTargetHealth": True}],
    }
    record, inputs, state = aws.made(RECORD, given)
    assert state["fqdn"] == "llm.alias.example"
    assert stays(aws, RECORD, record, state, inputs)
    news = inputs | {"setIdentifier": "other"}
    after = aws.update(RECORD, record, state, inputs, news)
    assert gone(aws, RECORD, record, state, inputs)
    aws.delete(RECORD, record, after)
    assert gone(aws, RECORD, record, after, news)


POLICIES: list[Properties] = [
    {"weightedRoutingPolicies": [{"weight": 0}]},
    {"failoverRoutingPolicies": [{"type": "SECONDARY"}]},
    {"geolocationRoutingPolicies": [{"country": "*"}]},
    {"geolocationRoutingPolicies": [{"continent": "NA"}]},
    {"geolocationRoutingPolicies": [{"country": "US", "subdivision": "HI"}]},
]
"""But geoproximity, which stock moto forgets."""


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_policy_is_kept_and_another_target_is_a_change_in_place(aws: Driver, policy: Properties) -> None:
    zone, _, _ = aws.made(ZONE, {"name": "policy.example"})
    for name in ("one", "two"):
        aws.made(RECORD, PLAIN | {"zoneId": zone, "name": f"{name}.policy.example"})

    def alias(target: str) -> Properties:
        return {"aliases": [{"name": f"{target}.policy.example", "zoneId": zone, "evaluateTargetHealth": True}]}

    given = RECORD_INPUTS | policy | alias("one") | {"zoneId": zone, "name": "llm.policy.example", "setIdentifier": "s"}
    record, inputs, state = aws.made(RECORD, given)
    assert stays(aws, RECORD, record, state, inputs)
    assert policy.items() <= aws.read(RECORD, record, {}, {})[1].items(), "AWS has it"
    news = inputs | alias("two")
    assert not aws.diff(RECORD, inputs, news).replaces
    after = aws.update(RECORD, record, state, inputs, news)
    assert stays(aws, RECORD, record, after, news)
    assert after["aliases"] == alias("two")["aliases"]


def test_a_zone_tells_its_name_servers_and_who_made_it(aws: Driver) -> None:
    zone, _, state = aws.made(ZONE, {"name": "served.example", "tags": TAGS})
    aws.made(RECORD, PLAIN | {"zoneId": zone, "name": "a.served.example"})
    target = {"name": "a.served.example", "zoneId": zone, "evaluateTargetHealth": True}
    aws.made(RECORD, RECORD_INPUTS | {"zoneId": zone, "name": "served.example", "aliases": [target]})
    assert len(state["nameServers"]) == 4  # type: ignore[arg-type]
    lookups: list[Properties] = [{"name": "served.example"}, {"zoneId": zone}]
    for by in lookups:
        found, _ = aws.invoke("aws:route53/getZone:getZone", by)
        assert (found["zoneId"], found["name"], found["tags"]) == (zone, "served.example", TAGS)
        assert found["nameServers"] == state["nameServers"]
    found, _ = aws.invoke("aws:route53/getRecords:getRecords", {"zoneId": zone, "nameRegex": "^served"})
    records = {each["type"]: each for each in cast("list[dict[str, Any]]", found["resourceRecordSets"])}
    assert set(records) == {"A", "NS", "SOA"}
    assert records["A"]["aliasTarget"]["dnsName"].removesuffix(".") == "a.served.example"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("llm", "llm.x.example"), ("LLM.x.example.", "llm.x.example"), ("x.example", "x.example"), ("", "x.example")],
)
def test_full_names(name: str, expected: str) -> None:
    assert full_name(name, "x.example") == expected


def test_a_health_check_changes_in_place(aws: Driver) -> None:
    check, inputs, state = aws.made(CHECK, {"type": "HTTP", "ipAddress": "52.1.2.3", "port": 80, "failureThreshold": 3})
    after = aws.update(CHECK, check, state, inputs, inputs | {"failureThreshold": 5, "tags": TAGS})
    assert after["failureThreshold"] == 5
    assert after["tags"] == TAGS


def test_a_zone_says_its_name_servers(aws: Driver) -> None:
    zone, inputs, state = aws.made(ZONE, {"name": "Servers.example"})
    servers = cast("list[str]", state["nameServers"])
    assert len(servers) == 4
    assert (state["primaryNameServer"], state["zoneId"]) == (servers[0], zone)
    assert stays(aws, ZONE, zone, state, inputs)


@pytest.mark.parametrize(
    "policy",
    [
        {"geolocationRoutingPolicies": [{"country": "*"}]},
        {"geolocationRoutingPolicies": [{"continent": "EU"}]},
        {"geolocationRoutingPolicies": [{"country": "US", "subdivision": "HI"}]},
        {"failoverRoutingPolicies": [{"type": "SECONDARY"}]},
        {"weightedRoutingPolicies": [{"weight": 0}]},
    ],
)
def test_policies_read_back_as_written(aws: Driver, policy: Properties) -> None:
    zone, _, _ = aws.made(ZONE, {"name": "policy.example"})
    given = PLAIN | {"zoneId": zone, "name": "a.policy.example", "setIdentifier": "one", **policy}
    record, inputs, state = aws.made(RECORD, given)
    assert stays(aws, RECORD, record, state, inputs)
    aws.delete(RECORD, record, state)


def test_a_zone_with_records_goes_only_with_force(aws: Driver) -> None:
    zone, inputs, state = aws.made(ZONE, {"name": "full.example"})
    aws.made(RECORD, PLAIN | {"zoneId": zone, "name": "a.full.example"})
    with pytest.raises(AbortedError, match=r"HostedZoneNotEmpty"):
        aws.delete(ZONE, zone, state)
    aws.delete(ZONE, zone, state | {"forceDestroy": True})
    assert gone(aws, ZONE, zone, state, inputs)


def test_functions(aws: Driver, network: Network) -> None:
    instance, _, _ = aws.made(INSTANCE, instance_inputs(network))
    zone, _, _ = aws.made(ZONE, {"name": "lookup.example"})
    by_vpc = [{"name": "vpc-id", "values": [network.vpc]}]
    expected: dict[str, tuple[Properties, Properties]] = {
        "index/getAvailabilityZone": ({"name": "us-west-2a"}, {"zoneId": "usw2-az2", "region": "us-west-2"}),
        "index/getAvailabilityZones": ({"excludeNames": ["us-west-2a"]}, {"names": ["us-west-2b", "us-west-2c", "us-west-2d"]}),
        "index/getCallerIdentity": ({}, {"accountId": "123456789012"}),
        "ec2/getInstanceType": ({"instanceType": "g4dn.2xlarge"}, {"defaultVcpus": 8, "totalGpuMemory": 16384}),
        "ec2/getInstances": ({"filters": by_vpc}, {"ids": [instance]}),
        "ec2/getInstance": ({"filters": by_vpc}, {"id": instance, "ami": AMI, "subnetId": network.subnet}),
        "ec2/getEips": ({"tags": {"no": "such"}}, {"publicIps": []}),
        "ec2/getManagedPrefixList": ({"name": "com.amazonaws.us-west-2.s3"}, {"addressFamily": "IPv4"}),
        "servicequotas/getServiceQuota": ({"serviceCode": "vpc", "quotaCode": "L-F678F1CE"}, {"value": 5}),
        "route53/getZone": ({"name": "lookup.example."}, {"zoneId": zone, "privateZone": False}),
    }
    for token, (arguments, result) in expected.items():
        found, problems = aws.invoke(f"aws:{token}:{token.split('/')[1]}", arguments)
        assert not problems, token
        assert {key: found[key] for key in result} == result
    offered, _ = aws.invoke(
        "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings",
        {"locationType": "availability-zone", "filters": [{"name": "instance-type", "values": ["g4dn.2xlarge"]}]},
    )
    assert set(offered["locations"]) == {"us-west-2a", "us-west-2b", "us-west-2c"}  # type: ignore[call-overload]


def test_a_parameter_is_secret_and_also_readable_where_it_is_none(aws: Driver) -> None:
    name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    found, _ = aws.invoke("aws:ssm/getParameter:getParameter", {"name": name})
    assert isinstance(found["value"], Secret)
    assert str(found["insecureValue"]).startswith("ami-")


def test_an_image_is_found_by_its_name(aws: Driver) -> None:
    arguments: Properties = {"owners": ["amazon"], "nameRegex": "^amzn2-ami-hvm", "mostRecent": True}
    found, _ = aws.invoke("aws:ec2/getAmi:getAmi", arguments)
    assert str(found["id"]).startswith("ami-")


@pytest.mark.parametrize(
    ("token", "arguments", "expected"),
    [
        ("index/getAvailabilityZone", {"name": "us-west-2x"}, "no matching EC2 Availability Zone us-west-2x found"),
        ("index/getAvailabilityZone", {}, "multiple EC2 Availability Zones matched"),
        ("ssm/getParameter", {"name": "/none"}, "GetParameter: ParameterNotFound"),
        ("route53/getZone", {}, "either zoneId or name must be given"),
        ("ec2/getAmi", {"nameRegex": "^no such image$"}, "no matching AMI found"),
    ],
)
def test_functions_that_find_nothing(aws: Driver, token: str, arguments: Properties, expected: str) -> None:
    found, (problem,) = aws.invoke(f"aws:{token}:{token.split('/')[1]}", arguments)
    assert not found
    assert problem.startswith(expected)


def test_every_function_of_the_sdk_that_is_offered_exists_there() -> None:
    from localcloud.plugins.clients import Clients
    from localcloud.plugins.lookups import functions
    from localcloud.plugins.schema import function_shape

    assert len(functions(Clients())) == len([name for name in vars(Lookups) if name.startswith("get_")])
    for token in functions(Clients()):
        assert function_shape(token)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("", "AWS_ENDPOINT_URL is not set, so there is no local cloud to use: start it with `edge cloud start`"),
        ("http://127.0.0.1:1", "the local cloud at http://127.0.0.1:1 does not answer: start it with `edge cloud start`"),
        ("https://ec2.us-west-2.amazonaws.com", "which is not on this machine: the local cloud's plugins never talk to a real"),
        ("http://127.0.0.1.nip.io:80", "which is not on this machine"),
    ],
)
def test_only_a_local_cloud_that_answers_will_do(monkeypatch: pytest.MonkeyPatch, endpoint: str, expected: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(AbortedError) as raised:
        Driver(AwsPlugin("127.0.0.1:1")).configure({"region": "us-west-2"})
    assert expected in str(raised.value)


def test_keys_come_from_what_edge_env_prints_and_from_nowhere_else(monkeypatch: pytest.MonkeyPatch, moto_endpoint: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "one")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(AbortedError, match="must hold the local cloud's keys: use what `edge env local` prints"):
        Driver(AwsPlugin("127.0.0.1:1")).configure({"region": "us-west-2"})


def test_provider_configuration(aws: Driver) -> None:
    def problems(config: Properties) -> list[str]:
        return [f"{problem.path} {problem.reason}" for problem in aws.plugin.config_problems(config)]

    assert not problems({"region": "us-west-2", "maxRetries": "3", "skipCredentialsValidation": "true"})
    assert problems({}) == ["region is missing: run `pulumi config set aws:region us-west-2`"]
    assert problems({"region": "r", "defaultTags": "{}"}) == [
        "defaultTags is provider configuration that the local cloud does not simulate"
    ]


def test_a_client_is_made_once_for_a_region(aws: Driver) -> None:
    assert isinstance(aws.plugin, AwsPlugin)
    clients = aws.plugin.clients
    assert clients.get("ec2") is clients.get("ec2", "us-west-2")
    assert clients.get("ec2") is not clients.get("ec2", "eu-west-1")
