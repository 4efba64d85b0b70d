"""The `aws` plugin: the resources and functions that the stack program uses, on the emulated AWS.

It is only ever installed in the local cloud's PULUMI_HOME, and refuses any endpoint that is not on this machine.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterable

from localcloud.plugins import ec2, lookups, route53
from localcloud.plugins.base import Plugin, serve
from localcloud.plugins.clients import Clients
from localcloud.plugins.instance import Instance
from localcloud.plugins.schema import Problem
from localcloud.plugins.values import Properties

# Provider configuration that means something here, or that makes no difference on an emulated AWS.
_CONFIG = {"region", "maxRetries", "version", "pluginDownloadURL"}
_INDIFFERENT = {"accessKey", "secretKey", "token", "profile", "retryMode"}


class AwsPlugin(Plugin):
    """The provider `aws`."""

    configuration = frozenset({"region", "maxRetries"} | _INDIFFERENT)

    def __init__(self, engine_address: str) -> None:
        """Serve the engine; the local cloud is only asked for when the engine configures the provider."""
        self.clients = Clients()
        super().__init__(
            importlib.metadata.version("pulumi_aws"),
            {
                **ec2.resources(self.clients),
                "aws:ec2/instance:Instance": Instance(self.clients),
                **route53.resources(self.clients),
            },
            lookups.functions(self.clients),
            engine_address,
        )

    def config_problems(self, config: Properties) -> Iterable[Problem]:
        """Require a Region, and refuse what would silently do nothing."""
        if not config.get("region"):
            yield Problem("region", "is missing: run `pulumi config set aws:region us-west-2`")
        for name in config:
            if name not in _CONFIG | _INDIFFERENT and not name.startswith("skip"):
                yield Problem(name, "is provider configuration that the local cloud does not simulate")

    def configure(self, config: Properties) -> None:
        """Take over Region and retries, and make sure that the endpoint is local."""
        self.clients.connect(os.environ.get("AWS_ENDPOINT_URL", ""))
        self.clients.region = str(config["region"])
        if "maxRetries" in config:
            self.clients.max_retries = int(str(config["maxRetries"]))

    def explain(self, error: Exception) -> str:
        """Put errors of AWS, and an absent local cloud, in one line."""
        return self.clients.explain(error) or super().explain(error)


def main() -> None:
    """Run the plugin."""
    serve(AwsPlugin)


if __name__ == "__main__":
    main()
