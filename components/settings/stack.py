"""A stack's config as it comes, and what comes of it: the settings, or what can still be asked of AWS."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from components.problems import ConfigurationError, Problem
from components.settings.sections import (
    AccessSettings,
    EndpointSettings,
    HostSettings,
    NetworkSettings,
    RolloutSettings,
    RoutingSettings,
    Secrets,
    ServerSettings,
    SiteSettings,
)


@dataclass(frozen=True)
class Settings:
    """A stack's whole configuration."""

    stack: str
    sites: tuple[SiteSettings, ...]
    server: ServerSettings
    endpoint: EndpointSettings
    access: AccessSettings
    routing: RoutingSettings
    network: NetworkSettings
    host: HostSettings
    rollout: RolloutSettings
    drained: tuple[str, ...]
    """Zones of `sites` that get no users by the service's name."""
    tags: Mapping[str, str]
    protect: bool
    """Whether hosts and addresses are protected against deletion."""
    secrets: Secrets = field(repr=False)

    @property
    def regions(self) -> dict[str, list[SiteSettings]]:
        """The sites of every parent Region, in the order of the config."""
        return _by_region(self.sites)

    @property
    def is_routed(self) -> bool:
        """Whether users find the sites by a DNS name."""
        return self.routing.is_on


def _by_region(sites: Iterable[SiteSettings]) -> dict[str, list[SiteSettings]]:
    _by_region: dict[str, list[SiteSettings]] = {}
    for site in sites:
        _by_region.setdefault(site.parsed_zone.region, []).append(site)
    return _by_region


@dataclass(frozen=True)
class StackConfig:
    """A stack's config as the engine hands it over: full keys, values as text, objects as JSON."""

    stack: str
    values: Mapping[str, str] = field(repr=False)
    secret_keys: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Validated:
    """What came of a stack's config: settings where it has no problems, else what can still be asked of AWS."""

    settings: Settings | None
    problems: tuple[Problem, ...]
    stack: str
    sites: Mapping[int, SiteSettings]
    """The well-formed sites by their place in the config. They and the sections below, where those are well-formed, are judged
    by AWS and the Hub also when something else is wrong."""
    server: ServerSettings | None
    access: AccessSettings | None
    routing: RoutingSettings | None
    host: HostSettings | None
    endpoint: EndpointSettings | None
    hugging_face_token: SecretStr | None

    def require(self, stack: str) -> Settings:
        """The settings; ConfigurationError with all problems where there are any."""
        if self.settings is None:
            raise ConfigurationError(stack, self.problems)
        return self.settings

    @property
    def regions(self) -> dict[str, list[SiteSettings]]:
        """The well-formed sites of every parent Region, in the order of the config."""
        return _by_region(self.sites.values())
