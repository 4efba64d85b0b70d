"""One InferenceServer on a host that is there already, for the real engine; what AWS would make is an empty component."""

import json
import os
from pathlib import Path

import pulumi

from components.host_steps import ServingSpec
from components.models import ModelFacts
from components.server import InferenceServer
from components.settings import HostSettings, ServerSettings

given = json.loads(Path(os.environ["HOST_TIER_GIVEN"]).read_text(encoding="utf-8"))
server = InferenceServer(
    "host-1",
    {
        "instance": pulumi.ComponentResource("tests:host:Instance", "host-1"),
        "instance_id": "i-0123456789abcdef0",
        "address": "127.0.0.1",
        "login": given["login"],
        "private_key": pulumi.Output.secret(given["private_key"]),
        "host_key": given["host_key"],
        "spec": ServingSpec(
            ServerSettings.model_validate(given["server"]),
            # Shorter than a stack's config may make it: a host with another key costs all of it.
            HostSettings().model_copy(update={"connect_budget_seconds": 1}),
            ModelFacts(None, None, given["revision"], "the test"),
        ),
        "hugging_face_token": pulumi.Output.secret(given["token"]),
        "proxy_secrets": None,
        "reachable_after": [],
    },
)
pulumi.export("ready", server.ready)
