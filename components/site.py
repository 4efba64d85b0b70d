"""EdgeInferenceSite: a zone's subnet, security group and key pair; for each replica an address, a GPU instance and its server.

Leaves out names: routing.py gives the addresses their DNS records.
"""

from dataclasses import dataclass
from typing import TypedDict

import pulumi
import pulumi_aws as aws

from components.dns_plan import Replica
from components.host_identity import derive_host_key, user_data
from components.host_steps import ServingSpec
from components.network import RegionNetwork
from components.proxy import proxy_secrets
from components.server import InferenceServer
from components.settings import Settings, SiteSettings
from components.tags import Tags

_SSH_PORT = 22


class EdgeInferenceSiteArgs(TypedDict):
    """What an EdgeInferenceSite is made from."""

    site: SiteSettings
    settings: Settings
    network: RegionNetwork
    subnet_cidr: str
    border_group: str
    """The zone's network border group, as AWS says; an address of any other cannot be associated here."""
    health_checkers: str | None
    """Prefix list of Route 53's health checkers; None where nothing is routed."""
    ami: str
    spec: ServingSpec
    deployer_public_key: str
    tags: Tags


@dataclass(frozen=True)
class SiteReplica:
    """One replica of a site, with what routing and outputs need."""

    replica: Replica
    address: pulumi.Output[str]
    instance_id: pulumi.Output[str]
    server: InferenceServer


class EdgeInferenceSite(pulumi.ComponentResource):
    """One zone that serves."""

    replicas: list[SiteReplica]

    def __init__(self, name: str, args: EdgeInferenceSiteArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("edge-inference:index:EdgeInferenceSite", name, None, opts)
        self._name, self._args = name, args
        self._zone = args["site"].parsed_zone
        subnet, attachment = self._subnet()
        group, rules = self._security_group()
        key_pair = aws.ec2.KeyPair(
            f"{name}-key",
            public_key=args["deployer_public_key"],
            region=self._zone.region,
            tags=args["tags"].of(f"{name}-key"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        reachable_after = [args["network"].internet_route, attachment, *rules]
        self.replicas = [
            self._replica(Replica(self._zone, number), subnet, group, key_pair, reachable_after)
            for number in range(1, args["site"].replicas + 1)
        ]
        self.register_outputs({"addresses": [replica.address for replica in self.replicas]})

    def _subnet(self) -> tuple[aws.ec2.Subnet, aws.ec2.RouteTableAssociation]:
        network = self._args["network"]
        subnet = aws.ec2.Subnet(
            f"{self._name}-subnet",
            vpc_id=network.vpc_id,
            cidr_block=self._args["subnet_cidr"],
            availability_zone=self._zone.name,
            map_public_ip_on_launch=False,
            region=self._zone.region,
            tags=self._args["tags"].of(f"{self._name}-subnet"),
            opts=pulumi.ResourceOptions(parent=self, depends_on=self._opt_in()),
        )
        attachment = aws.ec2.RouteTableAssociation(
            f"{self._name}-routes",
            route_table_id=network.route_table_id,
            subnet_id=subnet.id,
            region=self._zone.region,
            opts=pulumi.ResourceOptions(parent=self),
        )
        return subnet, attachment

    def _opt_in(self) -> list[pulumi.Resource]:
        opt_in = self._args["network"].opt_ins.get(self._zone.group)
        return [opt_in] if opt_in else []

    def _security_group(self) -> tuple[aws.ec2.SecurityGroup, list[pulumi.Resource]]:
        """One rule per source: rules come and go alone, and AWS counts them alone."""
        group = aws.ec2.SecurityGroup(
            f"{self._name}-firewall",
            description=f"Edge inference site {self._zone.name}",
            vpc_id=self._args["network"].vpc_id,
            region=self._zone.region,
            tags=self._args["tags"].of(f"{self._name}-firewall"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        access, port = self._args["settings"].access, self._args["settings"].endpoint.public_port
        rules: list[pulumi.Resource] = [
            self._ingress(group, f"ssh-{cidr}", _SSH_PORT, "the deployer", cidr=cidr) for cidr in access.ssh_cidrs
        ]
        rules += [self._ingress(group, f"client-{cidr}", port, "a client", cidr=cidr) for cidr in access.client_cidrs]
        if checkers := self._args["health_checkers"]:
            rules.append(self._ingress(group, "health-checkers", port, "Route 53 health checkers", prefix_list=checkers))
        rules.append(
            aws.vpc.SecurityGroupEgressRule(
                f"{self._name}-egress",
                security_group_id=group.id,
                description="image, weights and updates",
                ip_protocol="-1",
                cidr_ipv4="0.0.0.0/0",
                region=self._zone.region,
                tags=self._args["tags"].of(f"{self._name}-egress"),
                opts=pulumi.ResourceOptions(parent=self),
            )
        )
        return group, rules

    def _ingress(  # noqa: PLR0913 - a rule's parts
        self,
        group: aws.ec2.SecurityGroup,
        key: str,
        port: int,
        description: str,
        *,
        cidr: str | None = None,
        prefix_list: str | None = None,
    ) -> aws.vpc.SecurityGroupIngressRule:
        return aws.vpc.SecurityGroupIngressRule(
            f"{self._name}-{key}",
            security_group_id=group.id,
            description=description,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            cidr_ipv4=cidr,
            prefix_list_id=prefix_list,
            region=self._zone.region,
            tags=self._args["tags"].of(f"{self._name}-{key}"),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _replica(
        self,
        replica: Replica,
        subnet: aws.ec2.Subnet,
        group: aws.ec2.SecurityGroup,
        key_pair: aws.ec2.KeyPair,
        reachable_after: list[pulumi.Resource],
    ) -> SiteReplica:
        args, name, region = self._args, f"{self._name}-{replica.number}", self._zone.region
        secrets = args["settings"].secrets
        host_key = derive_host_key(secrets.host_key_secret.get_secret_value().strip(), replica.key)
        address = aws.ec2.Eip(
            f"{name}-address",
            domain="vpc",
            network_border_group=args["border_group"],
            region=region,
            tags=args["tags"].of(f"{name}-address", replica),
            # It is of no use in a VPC without a gateway, which in turn cannot go before it; and its border group may need
            # the opt-in.
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[args["network"].gateway, *self._opt_in()], protect=args["settings"].protect
            ),
        )
        instance = self._instance(name, replica, subnet, group, key_pair, user_data(host_key))
        association = aws.ec2.EipAssociation(
            f"{name}-association",
            allocation_id=address.id,
            instance_id=instance.id,
            region=region,
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        token = secrets.hugging_face_token
        server = InferenceServer(
            name,
            {
                "instance": instance,
                "instance_id": instance.id,
                "address": address.public_ip,
                "login": args["settings"].host.login_user,
                "private_key": pulumi.Output.secret(secrets.ssh_private_key.get_secret_value()),
                "host_key": host_key.public,
                "spec": args["spec"],
                "hugging_face_token": pulumi.Output.secret(token.get_secret_value()) if token else None,
                "proxy_secrets": pulumi.Output.secret(proxy_secrets(args["settings"])),
                "reachable_after": [*reachable_after, association],
            },
            pulumi.ResourceOptions(parent=self),
        )
        return SiteReplica(replica, address.public_ip, instance.id, server)

    def _instance(  # noqa: PLR0913, PLR0917 - an instance's parts
        self,
        name: str,
        replica: Replica,
        subnet: aws.ec2.Subnet,
        group: aws.ec2.SecurityGroup,
        key_pair: aws.ec2.KeyPair,
        first_boot: str,
    ) -> aws.ec2.Instance:
        args, site = self._args, self._args["site"]
        is_pinned = self._zone.region in args["settings"].host.amis
        return aws.ec2.Instance(
            f"{name}-host",
            ami=args["ami"],
            instance_type=site.instance_type,
            subnet_id=subnet.id,
            vpc_security_group_ids=[group.id],
            key_name=key_pair.key_name,
            # It holds the host's private key.
            user_data=pulumi.Output.secret(first_boot),
            metadata_options=aws.ec2.InstanceMetadataOptionsArgs(
                http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
            ),
            root_block_device=aws.ec2.InstanceRootBlockDeviceArgs(
                volume_type=site.root_volume_type,
                volume_size=site.volume_gib,
                encrypted=True,
                delete_on_termination=True,
            ),
            tags=args["tags"].of(f"{name}-host", replica),
            volume_tags=args["tags"].of(f"{name}-root", replica),
            region=self._zone.region,
            opts=pulumi.ResourceOptions(
                parent=self,
                # Two GPUs of a zone at once are neither in the quota nor often in stock.
                delete_before_replace=True,
                # What others have written down (the address), and what a zone may not give again (the GPU).
                protect=args["settings"].protect,
                # Changed user data would stop the host; a newer AMI would replace it. Both only when asked for.
                ignore_changes=["userData"] if is_pinned else ["userData", "ami"],
            ),
        )
