# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportMissingTypeStubs=false
# (boto3 has no types)
"""The network resources of EC2: VPC, subnet, gateway, routes, security groups and rules, addresses, key pairs, zone
groups. Which change replaces a resource is as upstream (`ForceNew` in terraform-provider-aws).
Left out, and refused: rules and routes inline in their group or table, IPv6, IPAM, network interfaces.
Long, because it is resource after resource of one service, read side by side with upstream's.
"""

from __future__ import annotations

import time
import zlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from localcloud.plugins.base import Call, ProviderError, Resource
from localcloud.plugins.clients import Client, Clients, code, tolerating
from localcloud.plugins.schema import Problem
from localcloud.plugins.values import UNKNOWN, Properties, is_map

_WAIT_SECONDS = 300.0
_POLL_SECONDS = 0.2
# How long a deletion, or a gateway's detachment, waits for what still uses the object. Upstream waits 10 to 20 minutes: on AWS,
# network interfaces linger. Here nothing does, and a wrong order must show soon.
_DEPENDENCY_SECONDS, _DEPENDENCY_POLL_SECONDS = 5.0, 0.5


def tag_list(tags: object) -> list[dict[str, str]]:
    """Return a map of tags in AWS's form."""
    return [{"Key": key, "Value": str(value)} for key, value in tags.items()] if is_map(tags) else []


def tag_specifications(kind: str, tags: object) -> dict[str, Any]:
    """Return the argument that tags an object at its creation; nothing where there are no tags."""
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": tag_list(tags)}]} if tags else {}


def tag_properties(tags: Iterable[Mapping[str, str]] | None) -> Properties:
    """Return `tags` and `tagsAll` of an object, from AWS's form."""
    found = {tag["Key"]: tag["Value"] for tag in tags or () if not tag["Key"].startswith("aws:")}
    return {"tags": found, "tagsAll": found}


def given(inputs: Properties, names: Mapping[str, str]) -> dict[str, Any]:
    """Return API arguments for those inputs that are given; `names` maps input to argument."""
    return {argument: inputs[name] for name, argument in names.items() if inputs.get(name) is not None}


def update_tags(client: Client, resource_id: str, olds: object, news: object) -> None:
    """Make an EC2 object's tags what they now should be."""
    before = olds if is_map(olds) else {}
    after = news if is_map(news) else {}
    gone = [{"Key": key} for key in before if key not in after]
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    if gone:
        client.delete_tags(Resources=[resource_id], Tags=gone)
    if changed:
        client.create_tags(Resources=[resource_id], Tags=tag_list(changed))


def wait_until(call: Call, what: str, done: Callable[[], bool]) -> None:
    """Poll until `done`; raise `ProviderError` after a few minutes."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while not done():
        if time.monotonic() > deadline:
            message = f"gave up waiting for {what} after {_WAIT_SECONDS:.0f} s"
            raise ProviderError(message)
        call.sleep(_POLL_SECONDS)


def while_in_use(call: Call, act: Callable[[], object]) -> None:
    """Do what AWS refuses while others depend on it: try again for a short time, then show the refusal."""
    deadline = time.monotonic() + _DEPENDENCY_SECONDS
    while True:
        try:
            act()
        except ClientError as error:
            if code(error) != "DependencyViolation" or time.monotonic() > deadline:
                raise
            call.status(f"still in use, trying again: {error.response['Error'].get('Message', '')}")
            call.sleep(_DEPENDENCY_POLL_SECONDS)
        else:
            return


class Ec2Resource(Resource):
    """What EC2 resources share: a Region of their own, tags, and reading or deleting by id."""

    kind: ClassVar[str] = ""  # the resource type in tag specifications and ARNs
    not_found: ClassVar[tuple[str, ...]] = ()  # error codes that mean: no such object

    def __init__(self, clients: Clients) -> None:
        """Use the clients of one provider configuration."""
        self.clients = clients

    def client(self, properties: Properties) -> Client:
        """Return the EC2 client of the resource's Region."""
        return self.clients.get("ec2", properties.get("region"))

    def arn(self, known: Properties, resource_id: str) -> str:
        """Return the ARN of an object of this kind."""
        region = known.get("region") or self.clients.region
        return f"arn:aws:ec2:{region}:{self.clients.account}:{self.kind}/{resource_id}"

    @abstractmethod
    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Return the real properties; raise AWS's not-found error or return None where there is none."""

    @abstractmethod
    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Call the API that deletes the object."""

    def change(self, call: Call, client: Client, resource_id: str, olds: Properties, news: Properties) -> None:
        """Change what can be changed in place, other than tags."""

    def read(self, call: Call, resource_id: str, known: Properties) -> Properties | None:
        """Return real properties with the Region."""
        del call
        found = None
        with tolerating(*self.not_found):
            found = self.find(self.client(known), resource_id, known)
        if found is None:
            return None
        region = known.get("region") or self.clients.region
        return {"region": region} | {key: value for key, value in found.items() if value is not None}

    def update(self, call: Call, resource_id: str, olds: Properties, news: Properties, state: Properties) -> None:
        """Change properties and tags in place."""
        client = self.client(news)
        self.change(call, client, resource_id, olds, news)
        if olds.get("tags") != news.get("tags"):
            update_tags(client, self.tagged_id(resource_id, state), olds.get("tags"), news.get("tags"))

    def tagged_id(self, resource_id: str, state: Properties) -> str:
        """Return the id that tags hang on, where it is not the resource's id."""
        del state
        return resource_id

    def delete(self, call: Call, resource_id: str, state: Properties) -> None:
        """Delete the object; wait briefly for what still uses it, then show AWS's refusal."""
        client = self.client(state)
        with tolerating(*self.not_found):
            while_in_use(call, lambda: self.remove(client, resource_id, state))


class Vpc(Ec2Resource):
    """`aws:ec2/vpc:Vpc`."""

    kind = "vpc"
    not_found = ("InvalidVpcID.NotFound",)
    supported = frozenset({"cidrBlock", "enableDnsHostnames", "enableDnsSupport", "instanceTenancy", "region", "tags"})
    replace_on = frozenset({"cidrBlock", "instanceTenancy", "region"})
    defaults: ClassVar[Mapping[str, object]] = {"enableDnsSupport": True, "instanceTenancy": "default"}

    _attributes: ClassVar = {
        "enableDnsSupport": "EnableDnsSupport",
        "enableDnsHostnames": "EnableDnsHostnames",
    }

    def create(self, call: Call, inputs: Properties) -> str:
        """Create the VPC."""
        del call
        arguments = given(inputs, {"cidrBlock": "CidrBlock", "instanceTenancy": "InstanceTenancy"})
        tags = tag_specifications("vpc", inputs.get("tags"))
        return self.client(inputs).create_vpc(**arguments, **tags)["Vpc"]["VpcId"]

    def settle(self, call: Call, resource_id: str, inputs: Properties) -> None:
        """Set the DNS attributes, which creation does not take."""
        self.change(call, self.client(inputs), resource_id, {}, inputs)

    def change(self, call: Call, client: Client, resource_id: str, olds: Properties, news: Properties) -> None:
        """Set the DNS attributes, one per request as AWS demands."""
        del call
        for name, attribute in self._attributes.items():
            if olds.get(name) != news.get(name):
                value = {"Value": bool(news.get(name, name == "enableDnsSupport"))}
                client.modify_vpc_attribute(VpcId=resource_id, **{attribute: value})

    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Describe the VPC, its attributes and what AWS made with it."""
        (vpc,) = client.describe_vpcs(VpcIds=[resource_id])["Vpcs"]
        attributes = {
            name: client.describe_vpc_attribute(VpcId=resource_id, Attribute=name)[attribute]["Value"]
            for name, attribute in self._attributes.items()
        }
        in_vpc = {"Name": "vpc-id", "Values": [resource_id]}
        main = {"Name": "association.main", "Values": ["true"]}
        default = {"Name": "group-name", "Values": ["default"]}
        tables = client.describe_route_tables(Filters=[in_vpc, main])["RouteTables"]
        groups = client.describe_security_groups(Filters=[in_vpc, default])["SecurityGroups"]
        table = tables[0]["RouteTableId"] if tables else None
        return {
            "arn": self.arn(known, resource_id),
            "cidrBlock": vpc["CidrBlock"],
            "instanceTenancy": vpc["InstanceTenancy"],
            "dhcpOptionsId": vpc.get("DhcpOptionsId"),
            "ownerId": vpc.get("OwnerId") or self.clients.account,
            "mainRouteTableId": table,
            "defaultRouteTableId": table,
            "defaultSecurityGroupId": groups[0]["GroupId"] if groups else None,
            **attributes,
            **tag_properties(vpc.get("Tags")),
        }

    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Delete the VPC."""
        del state
        client.delete_vpc(VpcId=resource_id)


class Subnet(Ec2Resource):
    """`aws:ec2/subnet:Subnet`."""

    kind = "subnet"
    not_found = ("InvalidSubnetID.NotFound",)
    supported = frozenset(
        {
            "vpcId",
            "cidrBlock",
            "availabilityZone",
            "availabilityZoneId",
            "mapPublicIpOnLaunch",
            "region",
            "tags",
        }
    )
    replace_on = frozenset({"vpcId", "cidrBlock", "availabilityZone", "availabilityZoneId", "region"})

    def create(self, call: Call, inputs: Properties) -> str:
        """Create the subnet."""
        del call
        arguments = given(
            inputs,
            {
                "vpcId": "VpcId",
                "cidrBlock": "CidrBlock",
                "availabilityZone": "AvailabilityZone",
                "availabilityZoneId": "AvailabilityZoneId",
            },
        )
        tags = tag_specifications("subnet", inputs.get("tags"))
        return self.client(inputs).create_subnet(**arguments, **tags)["Subnet"]["SubnetId"]

    def settle(self, call: Call, resource_id: str, inputs: Properties) -> None:
        """Set whether instances get a public address by themselves, which creation does not take."""
        self.change(call, self.client(inputs), resource_id, {}, inputs)

    def change(self, call: Call, client: Client, resource_id: str, olds: Properties, news: Properties) -> None:
        """Set whether instances get a public address by themselves."""
        del call
        public = bool(news.get("mapPublicIpOnLaunch"))
        if bool(olds.get("mapPublicIpOnLaunch")) != public:
            client.modify_subnet_attribute(SubnetId=resource_id, MapPublicIpOnLaunch={"Value": public})

    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Describe the subnet."""
        del known
        (subnet,) = client.describe_subnets(SubnetIds=[resource_id])["Subnets"]
        return {
            "arn": subnet["SubnetArn"],
            "vpcId": subnet["VpcId"],
            "cidrBlock": subnet["CidrBlock"],
            "availabilityZone": subnet["AvailabilityZone"],
            "availabilityZoneId": subnet.get("AvailabilityZoneId"),
            "mapPublicIpOnLaunch": subnet["MapPublicIpOnLaunch"],
            "ownerId": subnet.get("OwnerId"),
            **tag_properties(subnet.get("Tags")),
        }

    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Delete the subnet."""
        del state
        client.delete_subnet(SubnetId=resource_id)


class InternetGateway(Ec2Resource):
    """`aws:ec2/internetGateway:InternetGateway`."""

    kind = "internet-gateway"
    not_found = ("InvalidInternetGatewayID.NotFound",)
    replace_on = frozenset({"region"})

    def create(self, call: Call, inputs: Properties) -> str:
        """Create the gateway."""
        del call
        tags = tag_specifications("internet-gateway", inputs.get("tags"))
        gateway = self.client(inputs).create_internet_gateway(**tags)["InternetGateway"]
        return gateway["InternetGatewayId"]

    def settle(self, call: Call, resource_id: str, inputs: Properties) -> None:
        """Attach it to its VPC."""
        self.change(call, self.client(inputs), resource_id, {}, inputs)

    def change(self, call: Call, client: Client, resource_id: str, olds: Properties, news: Properties) -> None:
        """Move it from one VPC to another."""
        if olds.get("vpcId") == news.get("vpcId"):
            return
        if olds.get("vpcId"):
            while_in_use(call, lambda: client.detach_internet_gateway(InternetGatewayId=resource_id, VpcId=olds["vpcId"]))
        if news.get("vpcId"):
            client.attach_internet_gateway(InternetGatewayId=resource_id, VpcId=news["vpcId"])

    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Describe the gateway; `vpcId` is empty where it is not attached."""
        found = client.describe_internet_gateways(InternetGatewayIds=[resource_id])
        (gateway,) = found["InternetGateways"]
        attachments = gateway.get("Attachments") or [{"VpcId": ""}]
        return {
            "arn": self.arn(known, resource_id),
            "vpcId": attachments[0]["VpcId"],
            "ownerId": gateway.get("OwnerId"),
            **tag_properties(gateway.get("Tags")),
        }

    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Detach and delete the gateway; AWS refuses while addresses are mapped through it."""
        if state.get("vpcId"):
            with tolerating("Gateway.NotAttached"):
                client.detach_internet_gateway(InternetGatewayId=resource_id, VpcId=state["vpcId"])
        client.delete_internet_gateway(InternetGatewayId=resource_id)


class RouteTable(Ec2Resource):
    """`aws:ec2/routeTable:RouteTable`, with its routes as resources of their own."""

    kind = "route-table"
    not_found = ("InvalidRouteTableID.NotFound",)
    supported = frozenset({"vpcId", "region", "tags"})
    replace_on = frozenset({"vpcId", "region"})

    def create(self, call: Call, inputs: Properties) -> str:
        """Create the table."""
        del call
        tags = tag_specifications("route-table", inputs.get("tags"))
        table = self.client(inputs).create_route_table(VpcId=inputs["vpcId"], **tags)
        return table["RouteTable"]["RouteTableId"]

    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Describe the table."""
        (table,) = client.describe_route_tables(RouteTableIds=[resource_id])["RouteTables"]
        return {
            "arn": self.arn(known, resource_id),
            "vpcId": table["VpcId"],
            "ownerId": table.get("OwnerId"),
            **tag_properties(table.get("Tags")),
        }

    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Delete the table."""
        del state
        client.delete_route_table(RouteTableId=resource_id)


class Route(Ec2Resource):
    """`aws:ec2/route:Route` to an internet gateway."""

    not_found = ("InvalidRouteTableID.NotFound", "InvalidRoute.NotFound")
    supported = frozenset({"routeTableId", "destinationCidrBlock", "gatewayId", "region"})
    replace_on = frozenset({"routeTableId", "destinationCidrBlock", "region"})

    def problems(self, inputs: Properties) -> Iterable[Problem]:
        """Require a destination and a target."""
        for name in ("destinationCidrBlock", "gatewayId"):
            if not inputs.get(name):
                yield Problem(name, "is required: a route needs one destination and one target")

    def _arguments(self, inputs: Properties) -> dict[str, Any]:
        names = {
            "routeTableId": "RouteTableId",
            "destinationCidrBlock": "DestinationCidrBlock",
            "gatewayId": "GatewayId",
        }
        return given(inputs, names)

    def create(self, call: Call, inputs: Properties) -> str:
        """Create the route; upstream's id is the table's with a hash of the destination."""
        del call
        self.client(inputs).create_route(**self._arguments(inputs))
        destination = zlib.crc32(str(inputs["destinationCidrBlock"]).encode())
        return f"r-{inputs['routeTableId']}{destination}"

    def change(self, call: Call, client: Client, resource_id: str, olds: Properties, news: Properties) -> None:
        """Lead the route to another target."""
        del call, resource_id, olds
        client.replace_route(**self._arguments(news))

    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Find the route by its destination."""
        del resource_id
        found = client.describe_route_tables(RouteTableIds=[known["routeTableId"]])
        for route in found["RouteTables"][0]["Routes"]:
            if route.get("DestinationCidrBlock") == known["destinationCidrBlock"]:
                return {
                    "gatewayId": route.get("GatewayId") or "",
                    "origin": route.get("Origin"),
                    "state": route.get("State"),
                }
        return None

    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Delete the route."""
        del resource_id
        client.delete_route(RouteTableId=state["routeTableId"], DestinationCidrBlock=state["destinationCidrBlock"])


class RouteTableAssociation(Ec2Resource):
    """`aws:ec2/routeTableAssociation:RouteTableAssociation` of a subnet.

    Upstream moves an association to another table in place, and its id changes with it; Pulumi keeps ids, so here
    that is a replacement, deletion first.
    """

    not_found = ("InvalidAssociationID.NotFound", "InvalidRouteTableID.NotFound")
    supported = frozenset({"subnetId", "routeTableId", "region"})
    replace_on = supported
    delete_first = True

    def create(self, call: Call, inputs: Properties) -> str:
        """Associate subnet and table."""
        del call
        association = self.client(inputs).associate_route_table(SubnetId=inputs["subnetId"], RouteTableId=inputs["routeTableId"])
        return association["AssociationId"]

    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Find the association in its table."""
        found = client.describe_route_tables(RouteTableIds=[known["routeTableId"]])
        for association in found["RouteTables"][0]["Associations"]:
            if association["RouteTableAssociationId"] == resource_id:
                return {"subnetId": association.get("SubnetId")}
        return None

    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Take the association back."""
        del state
        client.disassociate_route_table(AssociationId=resource_id)


class SecurityGroup(Ec2Resource):
    """`aws:ec2/securityGroup:SecurityGroup`, with its rules as resources of their own."""

    kind = "security-group"
    not_found = ("InvalidGroup.NotFound", "InvalidGroupId.NotFound")
    supported = frozenset({"name", "namePrefix", "description", "vpcId", "revokeRulesOnDelete", "region", "tags"})
    replace_on = frozenset({"name", "namePrefix", "description", "vpcId", "region"})
    defaults: ClassVar[Mapping[str, object]] = {
        "description": "Managed by Pulumi",
        "revokeRulesOnDelete": False,
    }
    autoname = "name"

    def create(self, call: Call, inputs: Properties) -> str:
        """Create the group."""
        del call
        name = inputs.get("name") or f"{inputs['namePrefix']}{time.time_ns()}"
        tags = tag_specifications("security-group", inputs.get("tags"))
        arguments = given(inputs, {"description": "Description", "vpcId": "VpcId"})
        return self.client(inputs).create_security_group(GroupName=name, **arguments, **tags)["GroupId"]

    def settle(self, call: Call, resource_id: str, inputs: Properties) -> None:
        """Take away the rule that lets everything out, as the official plugin does: AWS adds it by itself."""
        del call
        client = self.client(inputs)
        (group,) = client.describe_security_groups(GroupIds=[resource_id])["SecurityGroups"]
        if group["IpPermissionsEgress"]:
            client.revoke_security_group_egress(GroupId=resource_id, IpPermissions=group["IpPermissionsEgress"])

    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Describe the group."""
        found = client.describe_security_groups(GroupIds=[resource_id])["SecurityGroups"]
        if not found:
            return None
        group = found[0]
        return {
            "arn": self.arn(known, resource_id),
            "name": group["GroupName"],
            "description": group["Description"],
            "vpcId": group.get("VpcId"),
            "ownerId": group.get("OwnerId"),
            **tag_properties(group.get("Tags")),
        }

    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Delete the group; AWS refuses while an instance or another group's rule uses it."""
        del state
        client.delete_security_group(GroupId=resource_id)


class SecurityGroupRule(Ec2Resource):
    """`aws:vpc/securityGroupIngressRule` and `…EgressRule`: one rule with one source or destination."""

    kind = "security-group-rule"
    not_found = ("InvalidSecurityGroupRuleId.NotFound", "InvalidPermission.NotFound", "InvalidGroup.NotFound")
    replace_on = frozenset({"securityGroupId", "region"})

    _sources: ClassVar = ("cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId")

    def __init__(self, clients: Clients, direction: str) -> None:
        """Serve rules of one direction, `ingress` or `egress`."""
        super().__init__(clients)
        self.direction = direction

    def problems(self, inputs: Properties) -> Iterable[Problem]:
        """Require exactly one source, and ports where the protocol has them."""
        sources = [name for name in self._sources if inputs.get(name) is not None]
        if len(sources) != 1:
            found = ", ".join(sources) or "none"
            yield Problem("", f"exactly one of {', '.join(self._sources)} must be given; found {found}")
        if inputs.get("ipProtocol") in ("tcp", "udp") and None in (
            inputs.get("fromPort"),
            inputs.get("toPort"),
        ):
            yield Problem("fromPort, toPort", "are required for tcp and udp")

    def replaces(self, path: str, olds: Properties, news: Properties) -> bool:
        """AWS changes a rule's source, but not the kind of its source."""
        kinds = [next((name for name in self._sources if each.get(name) is not None), None) for each in (olds, news)]
        return (path in self._sources and kinds[0] != kinds[1]) or super().replaces(path, olds, news)

    def create(self, call: Call, inputs: Properties) -> str:
        """Add the rule to its group."""
        del call
        names = {"fromPort": "FromPort", "toPort": "ToPort"}
        permission: dict[str, Any] = {"IpProtocol": inputs["ipProtocol"], **given(inputs, names)}
        described = given(inputs, {"description": "Description"})
        for source, (container, key) in {
            "cidrIpv4": ("IpRanges", "CidrIp"),
            "cidrIpv6": ("Ipv6Ranges", "CidrIpv6"),
            "prefixListId": ("PrefixListIds", "PrefixListId"),
            "referencedSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
        }.items():
            if inputs.get(source) is not None:
                permission[container] = [{key: inputs[source], **described}]
        authorize = getattr(self.client(inputs), f"authorize_security_group_{self.direction}")
        answer = authorize(
            GroupId=inputs["securityGroupId"],
            IpPermissions=[permission],
            **tag_specifications("security-group-rule", inputs.get("tags")),
        )
        return answer["SecurityGroupRules"][0]["SecurityGroupRuleId"]

    def change(self, call: Call, client: Client, resource_id: str, olds: Properties, news: Properties) -> None:
        """Change source, ports or description in place."""
        del call
        names = {
            "ipProtocol": "IpProtocol",
            "fromPort": "FromPort",
            "toPort": "ToPort",
            "cidrIpv4": "CidrIpv4",
            "cidrIpv6": "CidrIpv6",
            "prefixListId": "PrefixListId",
            "referencedSecurityGroupId": "ReferencedGroupId",
            "description": "Description",
        }
        if given(olds, names) != (rule := given(news, names)):
            client.modify_security_group_rules(
                GroupId=news["securityGroupId"],
                SecurityGroupRules=[{"SecurityGroupRuleId": resource_id, "SecurityGroupRule": rule}],
            )

    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Describe the rule."""
        found = client.describe_security_group_rules(SecurityGroupRuleIds=[resource_id])
        if not found["SecurityGroupRules"]:
            return None
        rule = found["SecurityGroupRules"][0]
        has_ports = rule["IpProtocol"] != "-1"
        return {
            "arn": self.arn(known, resource_id),
            "securityGroupRuleId": resource_id,
            "securityGroupId": rule["GroupId"],
            "ipProtocol": rule["IpProtocol"],
            "fromPort": rule.get("FromPort") if has_ports else None,
            "toPort": rule.get("ToPort") if has_ports else None,
            "cidrIpv4": rule.get("CidrIpv4"),
            "cidrIpv6": rule.get("CidrIpv6"),
            "prefixListId": rule.get("PrefixListId"),
            "referencedSecurityGroupId": rule.get("ReferencedGroupInfo", {}).get("GroupId"),
            "description": rule.get("Description") or None,
            **tag_properties(rule.get("Tags")),
        }

    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Take the rule out of its group."""
        revoke = getattr(client, f"revoke_security_group_{self.direction}")
        revoke(GroupId=state["securityGroupId"], SecurityGroupRuleIds=[resource_id])


class KeyPair(Ec2Resource):
    """`aws:ec2/keyPair:KeyPair` of an imported public key."""

    kind = "key-pair"
    not_found = ("InvalidKeyPair.NotFound",)
    supported = frozenset({"keyName", "keyNamePrefix", "publicKey", "region", "tags"})
    replace_on = frozenset({"keyName", "keyNamePrefix", "publicKey", "region"})
    autoname = "keyName"

    def create(self, call: Call, inputs: Properties) -> str:
        """Import the key; the resource's id is its name."""
        del call
        name = inputs.get("keyName") or f"{inputs['keyNamePrefix']}{time.time_ns()}"
        tags = tag_specifications("key-pair", inputs.get("tags"))
        answer = self.client(inputs).import_key_pair(KeyName=name, PublicKeyMaterial=str(inputs["publicKey"]).encode(), **tags)
        return answer["KeyName"]

    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Describe the key pair; AWS does not give the public key back in the form it came."""
        (pair,) = client.describe_key_pairs(KeyNames=[resource_id])["KeyPairs"]
        return {
            "arn": self.arn(known, resource_id),
            "keyName": pair["KeyName"],
            "keyPairId": pair["KeyPairId"],
            "keyType": pair.get("KeyType"),
            "fingerprint": pair["KeyFingerprint"],
            **tag_properties(pair.get("Tags")),
        }

    def tagged_id(self, resource_id: str, state: Properties) -> str:
        """Tags hang on the pair's own id."""
        del resource_id
        return str(state["keyPairId"])

    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Delete the key pair."""
        del state
        client.delete_key_pair(KeyName=resource_id)


class Eip(Ec2Resource):
    """`aws:ec2/eip:Eip`: an address, associated by a resource of its own."""

    kind = "elastic-ip"
    not_found = ("InvalidAllocationID.NotFound", "InvalidAddress.NotFound")
    supported = frozenset({"domain", "networkBorderGroup", "region", "tags"})
    replace_on = frozenset({"domain", "networkBorderGroup", "region"})

    def create(self, call: Call, inputs: Properties) -> str:
        """Allocate the address."""
        del call
        names = {"domain": "Domain", "networkBorderGroup": "NetworkBorderGroup"}
        tags = tag_specifications("elastic-ip", inputs.get("tags"))
        answer = self.client(inputs).allocate_address(**{"Domain": "vpc", **given(inputs, names)}, **tags)
        return answer["AllocationId"]

    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Describe the address and what it is associated with."""
        (address,) = client.describe_addresses(AllocationIds=[resource_id])["Addresses"]
        region = known.get("region") or self.clients.region
        dashed = address["PublicIp"].replace(".", "-")
        return {
            "arn": self.arn(known, resource_id),
            "allocationId": resource_id,
            "publicIp": address["PublicIp"],
            "publicDns": f"ec2-{dashed}.{region}.compute.amazonaws.com",
            "domain": address["Domain"],
            "networkBorderGroup": address.get("NetworkBorderGroup"),
            "publicIpv4Pool": address.get("PublicIpv4Pool") or "amazon",
            "associationId": address.get("AssociationId") or "",
            "instance": address.get("InstanceId") or "",
            "networkInterface": address.get("NetworkInterfaceId") or "",
            "privateIp": address.get("PrivateIpAddress") or "",
            **tag_properties(address.get("Tags")),
        }

    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Release the address, taking it from its instance first as the official plugin does."""
        (address,) = client.describe_addresses(AllocationIds=[resource_id])["Addresses"]
        if address.get("AssociationId"):
            client.disassociate_address(AssociationId=address["AssociationId"])
        group = given(state, {"networkBorderGroup": "NetworkBorderGroup"})
        client.release_address(AllocationId=resource_id, **group)


class CapacityReservation(Ec2Resource):
    """`aws:ec2/capacityReservation:CapacityReservation` of one instance, without an end."""

    kind = "capacity-reservation"
    not_found = ("InvalidCapacityReservationId.NotFound",)
    supported = frozenset(
        {"availabilityZone", "instanceCount", "instanceMatchCriteria", "instancePlatform", "instanceType", "region", "tags"}
    )
    replace_on = supported - {"tags"}
    defaults: ClassVar[Mapping[str, object]] = {"instanceMatchCriteria": "open"}

    def problems(self, inputs: Properties) -> Iterable[Problem]:
        """Upstream makes one larger or smaller in place; that is not simulated."""
        if inputs.get("instanceCount") not in {1, UNKNOWN}:
            yield Problem("instanceCount", "is another than 1, which the local cloud does not simulate")

    def create(self, call: Call, inputs: Properties) -> str:
        """Ask for the capacity."""
        del call
        names = {
            "availabilityZone": "AvailabilityZone",
            "instanceMatchCriteria": "InstanceMatchCriteria",
            "instancePlatform": "InstancePlatform",
            "instanceType": "InstanceType",
        }
        tags = tag_specifications(self.kind, inputs.get("tags"))
        answer = self.client(inputs).create_capacity_reservation(
            **given(inputs, names), InstanceCount=1, EndDateType="unlimited", **tags
        )
        return answer["CapacityReservation"]["CapacityReservationId"]

    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Describe it; one that was cancelled is listed for a while."""
        del known
        (found,) = client.describe_capacity_reservations(CapacityReservationIds=[resource_id])["CapacityReservations"]
        if found["State"] != "active":
            return None
        return {
            "arn": found["CapacityReservationArn"],
            "availabilityZone": found["AvailabilityZone"],
            "instanceCount": found["TotalInstanceCount"],
            "instanceMatchCriteria": found["InstanceMatchCriteria"],
            "instancePlatform": found["InstancePlatform"],
            "instanceType": found["InstanceType"],
            "endDateType": found["EndDateType"],
            "tenancy": found["Tenancy"],
            "ebsOptimized": found["EbsOptimized"],
            "ephemeralStorage": found["EphemeralStorage"],
            "ownerId": found["OwnerId"],
            **tag_properties(found.get("Tags")),
        }

    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Give the capacity back."""
        del state
        with tolerating("InvalidCapacityReservationState"):
            client.cancel_capacity_reservation(CapacityReservationId=resource_id)


class EipAssociation(Ec2Resource):
    """`aws:ec2/eipAssociation:EipAssociation` of an address with an instance."""

    not_found = ("InvalidAssociationID.NotFound",)
    supported = frozenset({"allocationId", "instanceId", "allowReassociation", "region"})
    replace_on = supported

    def create(self, call: Call, inputs: Properties) -> str:
        """Associate address and instance."""
        del call
        names = {
            "allocationId": "AllocationId",
            "instanceId": "InstanceId",
            "allowReassociation": "AllowReassociation",
        }
        return self.client(inputs).associate_address(**given(inputs, names))["AssociationId"]

    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Find the address that holds the association."""
        del known
        by_id = [{"Name": "association-id", "Values": [resource_id]}]
        for address in client.describe_addresses(Filters=by_id)["Addresses"]:
            return {
                "allocationId": address["AllocationId"],
                "instanceId": address.get("InstanceId"),
                "networkInterfaceId": address.get("NetworkInterfaceId"),
                "privateIpAddress": address.get("PrivateIpAddress"),
                "publicIp": address["PublicIp"],
            }
        return None

    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Take the address back."""
        del state
        client.disassociate_address(AssociationId=resource_id)


class AvailabilityZoneGroup(Ec2Resource):
    """`aws:ec2/availabilityZoneGroup:AvailabilityZoneGroup`: adopts a group; deleting it changes nothing, as upstream."""

    replace_on = frozenset({"groupName", "region"})

    def problems(self, inputs: Properties) -> Iterable[Problem]:
        """Check the two states that upstream knows."""
        if inputs.get("optInStatus") not in ("opted-in", "not-opted-in", UNKNOWN):
            yield Problem("optInStatus", "must be opted-in or not-opted-in")

    def create(self, call: Call, inputs: Properties) -> str:
        """Adopt the group, opting in only where the status differs."""
        client, name = self.client(inputs), str(inputs["groupName"])
        found = self.find(client, name, inputs)
        if found is None:
            message = f"there is no Availability Zone group {name} in {client.meta.region_name}"
            raise ProviderError(message)
        if found["optInStatus"] == "opt-in-not-required":
            message = f"{name} needs no opt-in: do not declare it"
            raise ProviderError(message)
        if found["optInStatus"] != inputs["optInStatus"]:
            self.change(call, client, name, {}, inputs)
        return name

    def change(self, call: Call, client: Client, resource_id: str, olds: Properties, news: Properties) -> None:
        """Ask for the status and wait until it is reached."""
        del olds
        client.modify_availability_zone_group(GroupName=resource_id, OptInStatus=news["optInStatus"])
        wait_until(
            call,
            f"{resource_id} to be {news['optInStatus']}",
            lambda: (self.find(client, resource_id, news) or {}).get("optInStatus") == news["optInStatus"],
        )

    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Describe the group by its zones."""
        del known
        zones = client.describe_availability_zones(
            AllAvailabilityZones=True, Filters=[{"Name": "group-name", "Values": [resource_id]}]
        )["AvailabilityZones"]
        zones = [zone for zone in zones if zone.get("GroupName") == resource_id]
        return {"groupName": resource_id, "optInStatus": zones[0]["OptInStatus"]} if zones else None

    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Do nothing: only AWS Support can opt out."""


def resources(clients: Clients) -> dict[str, Resource]:
    """Return the resource types of this module by token."""
    return {
        "aws:ec2/vpc:Vpc": Vpc(clients),
        "aws:ec2/subnet:Subnet": Subnet(clients),
        "aws:ec2/internetGateway:InternetGateway": InternetGateway(clients),
        "aws:ec2/routeTable:RouteTable": RouteTable(clients),
        "aws:ec2/route:Route": Route(clients),
        "aws:ec2/routeTableAssociation:RouteTableAssociation": RouteTableAssociation(clients),
        "aws:ec2/securityGroup:SecurityGroup": SecurityGroup(clients),
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": SecurityGroupRule(clients, "ingress"),
        "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": SecurityGroupRule(clients, "egress"),
        "aws:ec2/keyPair:KeyPair": KeyPair(clients),
        "aws:ec2/eip:Eip": Eip(clients),
        "aws:ec2/eipAssociation:EipAssociation": EipAssociation(clients),
        "aws:ec2/capacityReservation:CapacityReservation": CapacityReservation(clients),
        "aws:ec2/availabilityZoneGroup:AvailabilityZoneGroup": AvailabilityZoneGroup(clients),
    }
