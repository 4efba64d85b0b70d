"""Several sites and replicas under one name, in a Pulumi program of your own. Needs the package: pip install PATH.

Config as for one_site.py, but for vpcId and subnetId; and the name, in a public hosted zone of the account:

pulumi config set domain llm.YOUR.DOMAIN; pulumi config set hostedZoneId Z…
"""

import pulumi
import pulumi_aws as aws

from components.network import RegionNetwork
from components.routing import ServiceRouting
from components.site import EdgeInferenceSite

config = pulumi.Config()
network = RegionNetwork("oregon", {"region": "us-west-2"})
checkers = aws.ec2.get_managed_prefix_list_output(name="com.amazonaws.us-west-2.route53-healthchecks")


def site(zone: str, subnet_cidr: str, replicas: int) -> EdgeInferenceSite:
    """A site in the network."""
    return EdgeInferenceSite(
        zone,
        {
            "zone": zone,
            "replicas": replicas,
            "vpc_id": network.vpc_id,
            "subnet_cidr": subnet_cidr,
            "route_table_id": network.route_table_id,
            "client_cidrs": [config.require("callers")],
            "ssh_cidrs": [config.require("deployer")],
            "health_checkers": checkers.id,
            "ssh_private_key": config.require_secret("sshPrivateKey"),
            "host_key_secret": config.require_secret("hostKeySecret"),
            "hugging_face_token": config.require_secret("huggingFaceToken"),
        },
    )


sites = [site("us-west-2a", "10.64.0.0/24", replicas=1), site("us-west-2-lax-1a", "10.64.1.0/24", replicas=2)]
service = ServiceRouting(
    "service",
    {
        "domain": config.require("domain"),
        "hosted_zone_id": config.require("hostedZoneId"),
        "sites": [{"zone": each.zone, "addresses": each.addresses} for each in sites],
    },
)
pulumi.export("url", service.url)
pulumi.export("urls", [url for each in sites for url in each.urls])
