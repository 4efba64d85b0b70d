"""RegionNetwork: the VPC of one parent Region with its way to the internet, and the opt-in to zone groups where asked for.

Sites add their subnets to it. Leaves out NAT and VPC endpoints: sites have public addresses, and Local Zones have no endpoints.
"""

from typing import TypedDict

import pulumi
import pulumi_aws as aws

from components.tags import Tags


class RegionNetworkArgs(TypedDict):
    """What a RegionNetwork is made from."""

    region: str
    vpc_cidr: str
    opt_in_groups: list[str]
    """Zone groups that the account is opted in to; destroying the stack never opts out."""
    tags: Tags


class RegionNetwork(pulumi.ComponentResource):
    """One VPC with an internet gateway and a route to it."""

    vpc_id: pulumi.Output[str]
    route_table_id: pulumi.Output[str]
    gateway: aws.ec2.InternetGateway
    """Public addresses need it, without saying so in their own properties."""
    internet_route: aws.ec2.Route
    opt_ins: dict[str, aws.ec2.AvailabilityZoneGroup]

    def __init__(self, name: str, args: RegionNetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("edge-inference:index:RegionNetwork", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        region, tags = args["region"], args["tags"]
        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=args["vpc_cidr"],
            enable_dns_support=True,
            enable_dns_hostnames=True,
            region=region,
            tags=tags.of(f"{name}-vpc"),
            opts=child,
        )
        self.gateway = aws.ec2.InternetGateway(
            f"{name}-gateway", vpc_id=vpc.id, region=region, tags=tags.of(f"{name}-gateway"), opts=child
        )
        table = aws.ec2.RouteTable(f"{name}-routes", vpc_id=vpc.id, region=region, tags=tags.of(f"{name}-routes"), opts=child)
        self.internet_route = aws.ec2.Route(
            f"{name}-internet",
            route_table_id=table.id,
            destination_cidr_block="0.0.0.0/0",
            gateway_id=self.gateway.id,
            region=region,
            opts=child,
        )
        self.opt_ins = {
            group: aws.ec2.AvailabilityZoneGroup(
                f"{name}-opt-in-{group}",
                group_name=group,
                opt_in_status="opted-in",
                region=region,
                # Account state, shared by all environments; AWS opts out only through Support.
                opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
            )
            for group in args["opt_in_groups"]
        }
        self.vpc_id = vpc.id
        self.route_table_id = table.id
        self.register_outputs({"vpc_id": self.vpc_id})
