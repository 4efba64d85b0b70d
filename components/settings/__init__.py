"""The stack config as one typed, validated object.

values.py: what a single value may be. sections.py: the sections. stack.py: the whole. rules.py: what holds between sections.
wording.py: how problems are told. reading.py: puts them together. What AWS must answer is asked by preflight.py, what the
Hugging Face Hub knows of a model by models.py.
"""

from components import PROJECT
from components.settings.reading import validate
from components.settings.rules import OUR_TAGS
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
from components.settings.wording import SECRET_KEYS

__all__ = [
    "DRAINED",
    "OUR_TAGS",
    "PROJECT",
    "SECRET_KEYS",
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
    "validate",
]
