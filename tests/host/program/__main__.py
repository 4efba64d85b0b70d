"""One InferenceServer on a host that is there already, for the real engine; what AWS would make is an empty component."""

import json
import os
from pathlib import Path

import pulumi

from components.server import InferenceServer

given = json.loads(Path(os.environ["HOST_TIER_GIVEN"]).read_text(encoding="utf-8"))
server = InferenceServer(
    "host-1",
    {
        "instance_id": "i-0123456789abcdef0",
        "address": "127.0.0.1",
        "private_key": given["private_key"],
        "host_key": given["host_key"],
        "server": given["server"],
        # Shorter than a stack's config may make it: a host with another key costs all of it.
        "host": {"login_user": given["login"], "connect_budget_seconds": 1},
        "hugging_face_token": given["token"],
    },
    pulumi.ResourceOptions(deleted_with=pulumi.ComponentResource("tests:host:Instance", "host-1")),
)
pulumi.export("ready", server.ready)
