"""RegionNetwork: the VPC of one parent Region with its way to the internet, and the opt-in to zone groups where asked for.

Sites add their subnets to it. Leaves out NAT and VPC endpoints: sites have public addresses, and Local Zones have no endpoints.
"""

from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from components.args import require_known
from components.defaults import VPC_CIDR
from components.order import after
from components.tags import Tags


class RegionNetworkArgs(TypedDict):
    """What a RegionNetwork is made from."""

    region: str
    """The parent Region: `us-west-2`."""
    vpc_cidr: NotRequired[pulumi.Input[str]]
    """Private network of the VPC. Default: `10.64.0.0/16`."""
    opt_in_groups: NotRequired[list[str]]
    """Zone groups that the account is opted in to: `us-west-2-lax-1`. AWS opts out only through Support, so destroying the
    component never does. Default: none."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Additional tags for every resource. Default: none."""


class RegionNetwork(pulumi.ComponentResource):
    """One VPC with an internet gateway and a route to it. The name begins those of all children.

    Token `edge-inference:index:RegionNetwork`. Children: `aws.ec2` Vpc, InternetGateway, RouteTable, Route; for each group of
    `opt_in_groups` an AvailabilityZoneGroup, which stays when the component goes.
    """

    vpc_id: pulumi.Output[str]
    """The VPC. Who uses it comes after the gateway, without which AWS gives no public address, and goes before it."""
    route_table_id: pulumi.Output[str]
    """The route table that leads to the internet. Who uses it comes after the route."""
    opted_in: dict[str, pulumi.Output[str]]
    """The groups of `opt_in_groups`. Who uses one comes after the opt-in."""

    def __init__(self, name: str, args: RegionNetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        require_known(name, args, RegionNetworkArgs)
        super().__init__("edge-inference:index:RegionNetwork", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        region, tags = args["region"], Tags(pulumi.get_stack(), args.get("tags", {}))
        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=args.get("vpc_cidr", VPC_CIDR),
            enable_dns_support=True,
            enable_dns_hostnames=True,
            region=region,
            tags=tags.of(f"{name}-vpc"),
            opts=child,
        )
        gateway = aws.ec2.InternetGateway(
            f"{name}-gateway",
            vpc_id=vpc.id,
            region=region,
            tags=tags.of(f"{name}-gateway"),
            # It cannot move to another VPC: the old hosts hold addresses until the new ones are there, which need it.
            opts=pulumi.ResourceOptions(parent=self, replace_on_changes=["vpcId"]),
        )
        table = aws.ec2.RouteTable(f"{name}-routes", vpc_id=vpc.id, region=region, tags=tags.of(f"{name}-routes"), opts=child)
        route = aws.ec2.Route(
            f"{name}-internet",
            route_table_id=table.id,
            destination_cidr_block="0.0.0.0/0",
            gateway_id=gateway.id,
            region=region,
            opts=child,
        )
        opt_ins = {
            group: aws.ec2.AvailabilityZoneGroup(
                f"{name}-opt-in-{group}",
                group_name=group,
                opt_in_status="opted-in",
                region=region,
                # Account state, shared by all environments; AWS opts out only through Support.
                opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
            )
            for group in args.get("opt_in_groups", [])
        }
        self.vpc_id = after(vpc.id, gateway.urn)
        self.route_table_id = after(table.id, route.urn)
        self.opted_in = {group: after(group, opt_in.urn) for group, opt_in in opt_ins.items()}
        self.register_outputs({"vpc_id": self.vpc_id, "route_table_id": self.route_table_id, "opted_in": self.opted_in})
