"""The stack program: edge inference sites in a parent Region and its Local Zones, and the name that leads users to the best."""

import pulumi

from components import build
from components.outputs import stack_outputs
from components.release import record_release
from components.stack_config import checked_config

config = checked_config()
record_release()
tags = build.tags(config)
networks = build.networks(config, tags)
sites = build.sites(config, networks, tags)
routing = build.routing(config, sites, tags)

for name, value in stack_outputs(config.settings, sites, routing).items():
    pulumi.export(name, value)
