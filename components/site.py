"""EdgeInferenceSite: a zone's subnet, security group and key pair; for each replica an address, a GPU instance and its server.

Leaves out names: routing.py gives the addresses their DNS records.
"""

from dataclasses import dataclass
from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from components.args import EndpointArgs, HostArgs, RolloutArgs, ServerArgs, VolumeType, endpoint_port, require_known
from components.defaults import AMI_PARAMETER, INSTANCE_TYPE, VOLUME_GIB, endpoint_url
from components.dns_plan import Replica
from components.door import door_port
from components.host_identity import HostKey, deployer_public_key, derive_host_key, public_key_in, user_data
from components.order import after
from components.server import InferenceServer, InferenceServerArgs
from components.tags import Tags
from components.zones import parse_zone

_SSH_PORT = 22


class EdgeInferenceSiteArgs(TypedDict):
    """What an EdgeInferenceSite is made from."""

    zone: str
    """The zone: a Local Zone (`us-west-2-lax-1a`) or one of a Region (`us-west-2a`)."""
    replicas: NotRequired[int]
    """How many instances serve, each with an address of its own. Default: 1."""
    vpc_id: pulumi.Input[str]
    """The VPC, a RegionNetwork's or any other with an internet gateway."""
    subnet_id: NotRequired[pulumi.Input[str]]
    """A subnet of the zone with a route to the internet; the hosts come after all that the id depends on. Default: one is made
    from `subnet_cidr` and `route_table_id`."""
    subnet_cidr: NotRequired[pulumi.Input[str]]
    """Network of the subnet to make, inside the VPC's; needs `route_table_id`, means nothing beside `subnet_id`. Default: none is
    made."""
    route_table_id: NotRequired[pulumi.Input[str]]
    """Route table of the subnet to make, which must lead to the internet; means nothing beside `subnet_id`. Default: none is
    made."""
    opted_in: NotRequired[pulumi.Input[str]]
    """What the subnet to make comes after where the account is being opted in: `opted_in[group]` of a RegionNetwork.
    Default: nothing."""
    client_cidrs: list[str]
    """Networks of the endpoint's callers. Names follow from them, so they are plain."""
    ssh_cidrs: list[str]
    """Networks that may reach port 22: the machine that runs `pulumi up`."""
    health_checkers: NotRequired[pulumi.Input[str]]
    """Prefix list of Route 53's health checkers, where a ServiceRouting leads here. Default: they are not let in."""
    instance_type: NotRequired[pulumi.Input[str]]
    """A GPU instance type that the zone offers. Default: `g4dn.2xlarge`."""
    volume_type: NotRequired[VolumeType]
    """EBS type of the root volume. Default: gp2 in a Local Zone, gp3 in a Region."""
    volume_gib: NotRequired[pulumi.Input[int]]
    """Size of the root volume in GiB. Default: 100."""
    ami: NotRequired[pulumi.Input[str]]
    """The AMI. Default: the Region's newest Deep Learning AMI at the first launch, kept from then on."""
    keeps_ami: NotRequired[bool]
    """Whether a running host keeps its AMI when `ami` becomes another. Default: True without `ami`, False with it."""
    network_border_group: NotRequired[pulumi.Input[str]]
    """The zone's network border group; no address of any other can be associated there. Default: AWS is asked."""
    ssh_private_key: pulumi.Input[str]
    """OpenSSH private key (ed25519, without a passphrase) of the deployer; its public key is derived. A secret; the component
    seals it."""
    host_key_secret: pulumi.Input[str]
    """64 hex digits (32 random bytes); the SSH host key of every host is derived from them and its name. A secret; the component
    seals it."""
    hugging_face_token: NotRequired[pulumi.Input[str]]
    """Read token for a gated model. A secret; the component seals it. Default: none."""
    server: NotRequired[ServerArgs]
    """What is served. Default: see ServerArgs."""
    host: NotRequired[HostArgs]
    """How the hosts are reached, and how long each step may take. Default: see HostArgs."""
    endpoint: NotRequired[EndpointArgs]
    """How the hosts are called. Default: plain HTTP on port 8080, without a key."""
    rollout: NotRequired[RolloutArgs]
    """How a host changes its server. Default: see RolloutArgs."""
    reserves: NotRequired[bool]
    """Whether each host has an open On-Demand Capacity Reservation, which it is launched after. Default: False."""
    protects_hosts: NotRequired[bool]
    """Whether addresses and instances are protected against deletion. Default: False."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Additional tags for every resource. Default: none."""


@dataclass(frozen=True)
class _Place:
    """Where a site's hosts stand."""

    subnet_id: pulumi.Input[str]
    made: list[pulumi.Resource]
    """The subnet, and what gives it its route, where the site makes them."""
    group: aws.ec2.SecurityGroup
    rules: list[pulumi.Resource]
    key_name: pulumi.Input[str]


class EdgeInferenceSite(pulumi.ComponentResource):
    """One zone that serves. The name begins those of all children.

    Token `edge-inference:index:EdgeInferenceSite`. Children: `aws.ec2` Subnet and RouteTableAssociation (unless `subnet_id` is
    given), SecurityGroup, KeyPair; an `aws.vpc` SecurityGroupIngressRule for each network, a SecurityGroupEgressRule; for each
    replica an `aws.ec2` Eip, Instance and EipAssociation, with `reserves` a CapacityReservation, and an InferenceServer.
    """

    zone: str
    """The site's zone."""
    addresses: list[pulumi.Output[str]]
    """Public address of each replica. Who uses one comes after the replica serves: a DNS record, a health check."""
    urls: list[pulumi.Output[str]]
    """URL of each replica's endpoint, by its address; with `endpoint.tls` by the name that the certificate is for."""
    instance_ids: list[pulumi.Output[str]]
    """Instance of each replica."""
    served: list[pulumi.Output[bool]]
    """True for each replica that came to the end of its last step."""

    def __init__(self, name: str, args: EdgeInferenceSiteArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        require_known(name, args, EdgeInferenceSiteArgs)
        require_known(name, args.get("endpoint", {}), EndpointArgs)
        super().__init__("edge-inference:index:EdgeInferenceSite", name, None, opts)
        self.zone, self._zone = args["zone"], parse_zone(args["zone"])
        self._name, self._args = name, args
        self._tags = Tags(pulumi.get_stack(), args.get("tags", {}))
        self._port = endpoint_port(args.get("endpoint", {}))
        subnet_id, made = self._subnet()
        group, rules = self._security_group()
        place = _Place(subnet_id, made, group, rules, self._key_pair().key_name)
        self.addresses, self.urls, self.instance_ids, self.served = [], [], [], []
        for number in range(1, args.get("replicas", 1) + 1):
            self._replica(Replica(self._zone, number), place)
        outputs = {"addresses": self.addresses, "urls": self.urls, "instance_ids": self.instance_ids, "served": self.served}
        self.register_outputs({"zone": self.zone, **outputs})

    def _subnet(self) -> tuple[pulumi.Input[str], list[pulumi.Resource]]:
        """The id of the site's subnet, and what was made for it."""
        args = self._args
        if "subnet_id" in args:
            return args["subnet_id"], []
        if "subnet_cidr" not in args or "route_table_id" not in args:
            raise ValueError(f"{self._name}: give subnet_id, or subnet_cidr and route_table_id, from which a subnet is made")
        subnet = aws.ec2.Subnet(
            f"{self._name}-subnet",
            vpc_id=args["vpc_id"],
            cidr_block=args["subnet_cidr"],
            availability_zone=after(self._zone.name, args["opted_in"]) if "opted_in" in args else self._zone.name,
            map_public_ip_on_launch=False,
            region=self._zone.region,
            tags=self._tags.of(f"{self._name}-subnet"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        attachment = aws.ec2.RouteTableAssociation(
            f"{self._name}-routes",
            route_table_id=args["route_table_id"],
            subnet_id=subnet.id,
            region=self._zone.region,
            opts=pulumi.ResourceOptions(parent=self),
        )
        return subnet.id, [subnet, attachment]

    def _security_group(self) -> tuple[aws.ec2.SecurityGroup, list[pulumi.Resource]]:
        """One rule per source: rules come and go alone, and AWS counts them alone."""
        args, port = self._args, self._port
        group = aws.ec2.SecurityGroup(
            f"{self._name}-firewall",
            description=f"Edge inference site {self._zone.name}",
            vpc_id=args["vpc_id"],
            region=self._zone.region,
            tags=self._tags.of(f"{self._name}-firewall"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        rules: list[pulumi.Resource] = [
            self._ingress(group, f"ssh-{cidr}", _SSH_PORT, _SSH_PORT, description="the deployer", cidr=cidr)
            for cidr in args["ssh_cidrs"]
        ]
        rules += [
            self._ingress(group, f"client-{cidr}", port, port, description="a client", cidr=cidr) for cidr in args["client_cidrs"]
        ]
        if "health_checkers" in args:
            checkers = args["health_checkers"]
            # A prefix list weighs as much as all its entries, once a rule: one range for the listener and the door beside it.
            ports = sorted((port, door_port(port)))
            rule = self._ingress(group, "health-checkers", *ports, description="Route 53 health checkers", prefix_list=checkers)
            rules.append(rule)
        rules.append(
            aws.vpc.SecurityGroupEgressRule(
                f"{self._name}-egress",
                security_group_id=group.id,
                description="image, weights and updates",
                ip_protocol="-1",
                cidr_ipv4="0.0.0.0/0",
                region=self._zone.region,
                tags=self._tags.of(f"{self._name}-egress"),
                opts=pulumi.ResourceOptions(parent=self),
            )
        )
        return group, rules

    def _ingress(  # noqa: PLR0913 - a rule's parts
        self,
        group: aws.ec2.SecurityGroup,
        key: str,
        from_port: int,
        to_port: int,
        *,
        description: str,
        cidr: str | None = None,
        prefix_list: pulumi.Input[str] | None = None,
    ) -> aws.vpc.SecurityGroupIngressRule:
        return aws.vpc.SecurityGroupIngressRule(
            f"{self._name}-{key}",
            security_group_id=group.id,
            description=description,
            ip_protocol="tcp",
            from_port=from_port,
            to_port=to_port,
            cidr_ipv4=cidr,
            prefix_list_id=prefix_list,
            region=self._zone.region,
            tags=self._tags.of(f"{self._name}-{key}"),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _key_pair(self) -> aws.ec2.KeyPair:
        # A public key is none of the secret that it is derived from.
        public = pulumi.Output.unsecret(pulumi.Output.from_input(self._args["ssh_private_key"]).apply(deployer_public_key))
        return aws.ec2.KeyPair(
            f"{self._name}-key",
            public_key=public,
            region=self._zone.region,
            tags=self._tags.of(f"{self._name}-key"),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _replica(self, replica: Replica, place: _Place) -> None:
        args, name, region = self._args, f"{self._name}-{replica.number}", self._zone.region
        host_key = self._host_key(name)
        address = aws.ec2.Eip(
            f"{name}-address",
            domain="vpc",
            network_border_group=self._border_group(),
            region=region,
            tags=self._tags.of(f"{name}-address", replica),
            # It is of no use in a VPC without a gateway, which in turn cannot go before it; and its border group may need the
            # opt-in. Group and subnet come after both.
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[place.group, *place.made], protect=args.get("protects_hosts", False)
            ),
        )
        kept = [self._reservation(name, replica, place)] if args.get("reserves", False) else []
        instance = self._instance(name, replica, place, host_key.apply(user_data), kept)
        association = aws.ec2.EipAssociation(
            f"{name}-association",
            allocation_id=address.id,
            instance_id=instance.id,
            region=region,
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        reachable = after(address.public_ip, association.urn, *(each.urn for each in (*place.made, *place.rules)))
        serving: InferenceServerArgs = {
            "instance_id": instance.id,
            "address": reachable,
            "private_key": args["ssh_private_key"],
            "host_key": _shown_key(instance, host_key),
            "server": args.get("server", {}),
            "host": args.get("host", {}),
            "endpoint": args.get("endpoint", {}),
            "rollout": args.get("rollout", {}),
        }
        if "hugging_face_token" in args:
            serving["hugging_face_token"] = args["hugging_face_token"]
        server = InferenceServer(name, serving, pulumi.ResourceOptions(parent=self, deleted_with=instance))
        tls = args.get("endpoint", {}).get("tls")
        self.addresses.append(server.address)
        self.urls.append(
            server.address.apply(lambda known: endpoint_url(tls["name"] if tls else known, self._port, tls=bool(tls)))
        )
        self.instance_ids.append(instance.id)
        # What a step with secrets on its standard input prints is secret; that it came to its end is not.
        self.served.append(pulumi.Output.unsecret(server.ready.apply(lambda _: True)))

    def _host_key(self, host: str) -> pulumi.Output[HostKey]:
        secret = pulumi.Output.secret(self._args["host_key_secret"])
        return secret.apply(lambda known: derive_host_key(known.strip(), host))

    def _border_group(self) -> pulumi.Input[str]:
        if "network_border_group" in self._args:
            return self._args["network_border_group"]
        return aws.get_availability_zone_output(
            name=self._zone.name,
            all_availability_zones=True,
            region=self._zone.region,
            opts=pulumi.InvokeOptions(parent=self),
        ).network_border_group

    def _ami(self) -> pulumi.Input[str]:
        if "ami" in self._args:
            return self._args["ami"]
        asked = pulumi.InvokeOptions(parent=self)
        found = aws.ssm.get_parameter_output(name=AMI_PARAMETER, region=self._zone.region, opts=asked)
        # A parameter's `value` is always a secret, and makes all of the answer one.
        return pulumi.Output.unsecret(found.insecure_value)

    def _reservation(self, name: str, replica: Replica, place: _Place) -> aws.ec2.CapacityReservation:
        """One that any host of its type runs in without naming it, also one that is there before it. One for each host: AWS then
        never has to make one larger or smaller.
        """
        return aws.ec2.CapacityReservation(
            f"{name}-reservation",
            availability_zone=self._zone.name,
            instance_type=self._args.get("instance_type", INSTANCE_TYPE),
            instance_platform="Linux/UNIX",
            instance_count=1,
            instance_match_criteria="open",
            region=self._zone.region,
            tags=self._tags.of(f"{name}-reservation", replica),
            # The zone may need the opt-in, after which the subnet comes.
            opts=pulumi.ResourceOptions(parent=self, depends_on=place.made),
        )

    def _instance(
        self, name: str, replica: Replica, place: _Place, first_boot: pulumi.Output[str], kept: list[aws.ec2.CapacityReservation]
    ) -> aws.ec2.Instance:
        args = self._args
        keeps_ami = args.get("keeps_ami", "ami" not in args)
        return aws.ec2.Instance(
            f"{name}-host",
            ami=self._ami(),
            instance_type=args.get("instance_type", INSTANCE_TYPE),
            subnet_id=place.subnet_id,
            vpc_security_group_ids=[place.group.id],
            key_name=place.key_name,
            # It holds the host's private key.
            user_data=pulumi.Output.secret(first_boot),
            metadata_options=aws.ec2.InstanceMetadataOptionsArgs(
                http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
            ),
            root_block_device=aws.ec2.InstanceRootBlockDeviceArgs(
                volume_type=args.get("volume_type", self._zone.volume_type),
                volume_size=args.get("volume_gib", VOLUME_GIB),
                encrypted=True,
                delete_on_termination=True,
            ),
            tags=self._tags.of(f"{name}-host", replica),
            volume_tags=self._tags.of(f"{name}-root", replica),
            region=self._zone.region,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=kept,
                # Two GPUs of a zone at once are neither in the quota nor often in stock.
                delete_before_replace=True,
                # What others have written down (the address), and what a zone may not give again (the GPU).
                protect=args.get("protects_hosts", False),
                # Changed user data would stop the host; a newer AMI would replace it. Both only when asked for.
                ignore_changes=["userData", "ami"] if keeps_ami else ["userData"],
            ),
        )


def _shown_key(instance: aws.ec2.Instance, derived: pulumi.Output[HostKey]) -> pulumi.Output[str]:
    """The key that a host shows is the one that it was made with: `hostKeySecret` may be another by now.

    Known also where the host could not be made: its steps are skipped then, but the engine refuses an unknown within a secret, as
    a connection is, and the run would end without outputs (engine 3.230).
    """

    def made_with(data: object) -> str | None:
        return public_key_in(data) if isinstance(data, str) else None

    known = pulumi.Output.all(instance.user_data.apply(made_with, run_with_unknowns=True), derived)
    return pulumi.Output.unsecret(known.apply(lambda known: known[0] or known[1].public))
