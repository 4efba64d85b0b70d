"""One inference site in a Pulumi program and a VPC of your own. Needs the package: pip install PATH.

pulumi config set vpcId vpc-…; pulumi config set subnetId subnet-…   # in us-west-2-lax-1a, with a route to the internet
pulumi config set callers A.B.C.D/32; pulumi config set deployer A.B.C.D/32
pulumi config set --secret huggingFaceToken
ssh-keygen -t ed25519 -N '' -f deployer && pulumi config set --secret sshPrivateKey < deployer
openssl rand -hex 32 | pulumi config set --secret hostKeySecret
"""

import pulumi

from components.site import EdgeInferenceSite

config = pulumi.Config()
site = EdgeInferenceSite(
    "los-angeles",
    {
        "zone": "us-west-2-lax-1a",
        "vpc_id": config.require("vpcId"),
        "subnet_id": config.require("subnetId"),
        "client_cidrs": [config.require("callers")],
        "ssh_cidrs": [config.require("deployer")],
        "ssh_private_key": config.require_secret("sshPrivateKey"),
        "host_key_secret": config.require_secret("hostKeySecret"),
        "hugging_face_token": config.require_secret("huggingFaceToken"),
    },
)
pulumi.export("urls", site.urls)
