"""The stack config as one typed, validated object.

values.py: what a single value may be. sections.py: the sections. stack.py: the whole. rules.py: what holds between sections.
wording.py: how problems are told. reading.py: puts them together. What AWS must answer is asked by preflight.py, what the
Hugging Face Hub knows of a model by models.py.
"""

from components import PROJECT
from components.settings.reading import validate
from components.settings.rules import OUR_TAGS, tls_problems
from components.settings.sections import (
    DRAINED,
    SECTIONS,
    AccessSettings,
    EndpointSettings,
    GeolocationSettings,
    HostSettings,
    NetworkSettings,
    RolloutSettings,
    RoutingSettings,
    Secrets,
    ServerSettings,
    SiteSettings,
)
from components.settings.stack import Settings, StackConfig, Validated
from components.settings.wording import KNOWN_KEYS, SECRET_KEYS, SECRET_NAMES

__all__ = [
    "DRAINED",
    "KNOWN_KEYS",
    "OUR_TAGS",
    "PROJECT",
    "SECRET_KEYS",
    "SECRET_NAMES",
    "SECTIONS",
    "AccessSettings",
    "EndpointSettings",
    "GeolocationSettings",
    "HostSettings",
    "NetworkSettings",
    "RolloutSettings",
    "RoutingSettings",
    "Secrets",
    "ServerSettings",
    "Settings",
    "SiteSettings",
    "StackConfig",
    "Validated",
    "tls_problems",
    "validate",
]
