"""The stack config as one typed, validated object; README's table and docs/stack-config.schema.json are made from it.

Judges what can be judged without asking anyone. What AWS must answer is asked by preflight.py, what the Hugging Face Hub
knows of a model by models.py. Leaves out reading the engine: `stack_config.py` does.
"""

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv4Network
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from components import PROJECT
from components.certificates import certificate_faults
from components.defaults import (
    HEALTH_FAILURE_THRESHOLD,
    HEALTH_INTERVAL_SECONDS,
    INSTANCE_TYPE,
    PROXY_IMAGE,
    VOLUME_GIB,
    VPC_CIDR,
    endpoint_url,
    public_port,
)
from components.dns_plan import LARGEST_BIAS, site_name
from components.engines import Server
from components.host_identity import deployer_public_key
from components.host_steps import Host
from components.problems import ConfigurationError, Problem
from components.subnets import SUBNET_PREFIX_LENGTH, planned_subnets
from components.zones import Zone, is_region, is_zone_group, parse_zone
from geography.codes import CONTINENTS, COUNTRIES, US_STATES

_Value = TypeVar("_Value")

_DOCUMENTATION_NETWORKS = tuple(IPv4Network(network) for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"))
"""RFC 5737: addresses that stand in documents and belong to nobody."""
_PRIVATE_NETWORKS = tuple(IPv4Network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
_EXAMPLE_DOMAINS = re.compile(r"(^|\.)(example(\.(com|net|org))?|test|invalid|localhost|your\.domain|your-domain(\.\w+)?)$")
"""RFC 2606 and 6761, and the placeholders of this project's own documents."""
_HOST_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_DOMAIN = 200
_WIDEST_SSH_PREFIX = 8
_SSH_PORT = 22
_IMAGE = r"^[a-z0-9][a-zA-Z0-9._/:@-]*$"
_API_KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What a bearer token may consist of (RFC 6750, b64token)."""
_SHORTEST_API_KEY = 16


def _network(value: str) -> IPv4Network:
    try:
        return IPv4Network(value)
    except ValueError as error:
        try:
            network = IPv4Network(value, strict=False)
        except ValueError:
            raise ValueError("is no IPv4 network: write it like 93.184.216.34/32") from error
        raise ValueError(f"has host bits set; the network is {network}") from error


def _client_network(value: str) -> str:
    """A CIDR in canonical form: ValueError for host bits, IPv6 and documentation addresses."""
    if ":" in value:
        raise ValueError("is IPv6; sites have IPv4 addresses, since few Local Zones offer IPv6")
    network = _network(value)
    if any(network.subnet_of(documentation) for documentation in _DOCUMENTATION_NETWORKS):
        raise ValueError("is a documentation address (RFC 5737) and belongs to nobody, so nobody could connect")
    return str(network)


def _ssh_network(value: str) -> str:
    if IPv4Network(_client_network(value)).prefixlen < _WIDEST_SSH_PREFIX:
        raise ValueError("opens port 22 to the world; name the address of the machine that deploys, as a /32")
    return _client_network(value)


def _zone_name(value: str) -> str:
    return parse_zone(value).name


def _group_name(value: str) -> str:
    if not (is_region(value) or is_zone_group(value)):
        raise ValueError("names no zone group (us-west-2-lax-1) and no Region (us-west-2)")
    return value


def _continent(code: str) -> str:
    if code not in CONTINENTS:
        raise ValueError(f"is no continent of Route 53: {', '.join(sorted(CONTINENTS))}")
    return code


def _country(code: str) -> str:
    if code not in COUNTRIES:
        raise ValueError("is no country: ISO 3166-1 has two capital letters for each, such as CA, and GB, not UK")
    return code


def _us_state(code: str) -> str:
    if code not in US_STATES:
        raise ValueError("is no US state: the postal code has two capital letters, such as HI")
    return code


def _domain(value: str) -> str:
    name = value.rstrip(".").lower()
    if not _HOST_NAME.fullmatch(name):
        raise ValueError("is no domain name")
    if len(name) > _LONGEST_DOMAIN:
        raise ValueError(f"is longer than {_LONGEST_DOMAIN} characters, and the sites' names below it must fit DNS's 253")
    if _EXAMPLE_DOMAINS.search(name):
        raise ValueError("is an example name (RFC 2606, 6761) that no resolver will ever find")
    return name


def _vpc_network(value: str) -> str:
    network = _network(value)
    if not any(network.subnet_of(private) for private in _PRIVATE_NETWORKS):
        raise ValueError("is not a private network (RFC 1918: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16)")
    if not 16 <= network.prefixlen <= SUBNET_PREFIX_LENGTH - 5:  # noqa: PLR2004
        raise ValueError("must be a /16 to /19: AWS allows no larger VPC, and every zone gets a /24 of it")
    return str(network)


def _subnet(value: str) -> str:
    network = _network(value)
    if not 16 <= network.prefixlen <= 28:  # noqa: PLR2004
        raise ValueError("must be a /16 to /28: AWS makes no other subnets")
    return str(network)


def _without_repeats(values: list[str]) -> list[str]:
    """Each once: AWS refuses two rules for one network."""
    return list(dict.fromkeys(values))


def _endpoint_port(value: int) -> int:
    if value == _SSH_PORT:
        raise ValueError("is SSH's own: clients would be let in there, and the endpoint could not listen")
    return value


def _engine_argument(value: str) -> str:
    if value.startswith("--api-key"):
        raise ValueError("would show the key in command texts and on the host; set edge-inference:apiKey, which the proxy checks")
    return value


def _tag_key(value: str) -> str:
    if value.lower().startswith("aws:"):
        raise ValueError("begins with aws:, which AWS keeps for itself")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


class SiteSettings(_Section):
    """One edge inference site."""

    zone: Annotated[str, AfterValidator(_zone_name)] = Field(examples=["us-west-2-lax-1a"])
    """The zone: a Local Zone (us-west-2-lax-1a) or one of the parent Region (us-west-2a)."""
    replicas: int = Field(default=1, ge=1, le=20)
    """How many GPU instances serve in this zone, each with an address and a weighted DNS record of its own."""
    instance_type: str = Field(default=INSTANCE_TYPE, pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$")
    """A GPU instance type that the zone offers; g4dn.2xlarge (one T4) is sold in almost every Local Zone."""
    volume_type: Literal["gp2", "gp3"] | None = None
    """EBS type of the root volume; unset: gp2 in a Local Zone (gp3 is not in all of them), gp3 in the Region."""
    volume_gib: int = Field(default=VOLUME_GIB, ge=75, le=16384)
    """Size of the root volume in GiB, for image, weights and Docker; the AMI's own snapshot needs 75."""
    opt_in: bool | Literal["anyway"] = False
    """Opt the account in to the zone's group if it is not. AWS opts out only through Support, so destroy never does. `true` wants
    to know first that the zone offers the type, which AWS may not say before; `anyway` does not."""
    subnet_cidr: Annotated[str, AfterValidator(_subnet)] | None = None
    """The site's subnet inside the VPC; unset: planned from the zone's name."""

    @property
    def parsed_zone(self) -> Zone:
        """The zone's name, taken apart."""
        return parse_zone(self.zone)

    @property
    def root_volume_type(self) -> str:
        """The EBS volume type to ask for, never left to the AMI (aws-facts 3.4)."""
        return self.volume_type or self.parsed_zone.volume_type


class ServerSettings(_Section):
    """What every site serves, and with which engine."""

    engine: Literal["tgi", "vllm"] = "tgi"
    """Serving engine: Hugging Face TGI, or vLLM."""
    image: str | None = Field(default=None, pattern=_IMAGE)
    """Docker image; unset: the engine's pinned one. A registry of your own goes here."""
    model: str = Field(default=Server.model, pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
    """Model id on the Hugging Face Hub."""
    revision: str | None = Field(default=None, pattern=r"^[\w./-]+$")
    """Commit of the model's repository; unset: the pinned commit of a known model, else the branch main as it is on the day."""
    model_parameters: int | None = Field(default=None, gt=0)
    """Number of parameters, where neither the Hub nor the built-in table knows the model."""
    model_gated: bool | None = None
    """Whether the model needs an accepted licence and a token, where neither the Hub nor the built-in table knows."""
    max_input_tokens: int = Field(default=Server.max_input_tokens, ge=1)
    """Longest prompt that is accepted, in tokens; unset: less where the KV cache of a known model has less room."""
    max_total_tokens: int = Field(default=Server.max_total_tokens, ge=2)
    """Longest prompt and answer together, in tokens; unset: less where the KV cache of a known model has less room."""
    prefix_caching: bool = Server.prefix_caching
    """Reuse the computed prefix of earlier prompts. Off makes benchmarks with repeated prompts honest."""
    extra_arguments: list[Annotated[str, Field(pattern=r"^[\w@%+=:,./-]+$"), AfterValidator(_engine_argument)]] = []
    """Further arguments of the engine's own command line, one list item a word."""

    @model_validator(mode="after")
    def _room_for_an_answer(self) -> "ServerSettings":
        if self.max_input_tokens >= self.max_total_tokens:
            raise ValueError(
                f"maxTotalTokens: {self.max_total_tokens} leaves no room for an answer after maxInputTokens"
                f" {self.max_input_tokens}"
            )
        return self


class EndpointSettings(_Section):
    """How a site is called."""

    tls: bool = False
    """HTTPS on the sites' names, with tlsCertificate and tlsPrivateKey. A reverse proxy on each host terminates it."""
    port: Annotated[int, AfterValidator(_endpoint_port)] | None = Field(default=None, ge=1, le=65535)
    """TCP port; unset: 443 with tls, else 8080."""
    proxy_image: str = Field(default=PROXY_IMAGE, pattern=_IMAGE)
    """Image of the reverse proxy, which runs where tls or apiKey is set: Caddy 2.6 or newer. A registry of your own goes here."""

    @property
    def public_port(self) -> int:
        """The TCP port that clients connect to."""
        return self.port or public_port(tls=self.tls)

    def url(self, host: str) -> str:
        """The endpoint's URL under a name or address."""
        return endpoint_url(host, self.public_port, tls=self.tls)


class AccessSettings(_Section):
    """Who may connect."""

    client_cidrs: Annotated[list[Annotated[str, AfterValidator(_client_network)]], AfterValidator(_without_repeats)] = Field(
        min_length=1
    )
    """Networks of the endpoint's callers; 0.0.0.0/0 must be spelled out and is warned about."""
    ssh_cidrs: Annotated[list[Annotated[str, AfterValidator(_ssh_network)]], AfterValidator(_without_repeats)] = Field(
        min_length=1
    )
    """Networks that may reach port 22: the machine that runs `pulumi up`."""


_ZoneName = Annotated[str, AfterValidator(_zone_name)]


class GeolocationSettings(_Section):
    """Which site serves whom, for policy geolocation. The smallest place that a user is in decides."""

    default: _ZoneName
    """Zone for everyone else, also for addresses that Route 53 cannot place."""
    continents: dict[Annotated[str, AfterValidator(_continent)], _ZoneName] = {}
    """Zone by continent: AF, AN, AS, EU, NA, OC, SA."""
    countries: dict[Annotated[str, AfterValidator(_country)], _ZoneName] = {}
    """Zone by country, ISO 3166-1: CA. Norway must be quoted, `"NO"`: YAML reads it as false."""
    us_states: dict[Annotated[str, AfterValidator(_us_state)], _ZoneName] = {}
    """Zone by US state, postal code: HI."""


class RoutingSettings(_Section):
    """How users reach the best site."""

    policy: Literal["latency", "geoproximity", "geolocation", "none"] = "latency"
    """latency: the tree over parent Regions, zone groups and replicas; geoproximity: one flat set; geolocation: by place;
    none: addresses only."""
    domain: Annotated[str, AfterValidator(_domain)] | None = None
    """The service's name, one per environment, such as llm.YOUR.DOMAIN."""
    hosted_zone: Annotated[str, AfterValidator(_domain)] | None = None
    """Name of the public hosted zone that the domain lies in."""
    hosted_zone_id: str | None = Field(default=None, pattern=r"^Z[0-9A-Z]{1,31}$")
    """Id of the hosted zone in place of its name, where the account has several of one name."""
    create_hosted_zone: bool = False
    """Create the hosted zone, and delete it with the environment. Its name servers (see outputs) go into the parent domain."""
    bias: dict[Annotated[str, AfterValidator(_group_name)], Annotated[int, Field(ge=-LARGEST_BIAS, le=LARGEST_BIAS)]] = {}
    """By zone group or Region: 1 to 99 draws users from farther away than distance alone would, -1 to -99 fewer."""
    geolocation: GeolocationSettings | None = None
    """Which site serves whom, with policy geolocation."""
    health_interval_seconds: Literal[10, 30] = HEALTH_INTERVAL_SECONDS
    """How often each Route 53 checker asks /health; 10 costs more. Fixed once created."""
    health_failure_threshold: int = Field(default=HEALTH_FAILURE_THRESHOLD, ge=1, le=10)
    """Failed checks in a row after which a replica counts as unhealthy."""

    @property
    def is_on(self) -> bool:
        """Whether users find the sites by a DNS name."""
        return self.policy != "none"

    @model_validator(mode="after")
    def _named(self) -> "RoutingSettings":
        if self.policy == "none":
            return self
        zone = self.hosted_zone
        if not (self.domain and (zone or self.hosted_zone_id)):
            given = (("domain", self.domain), ("hostedZone", zone or self.hosted_zone_id))
            missing = " and ".join(name for name, value in given if not value)
            raise ValueError(f"missing {missing}: users are routed by a name (or set policy to none)")
        if self.hosted_zone_id and (zone or self.create_hosted_zone):
            other = "hostedZone" if zone else "createHostedZone"
            raise ValueError(f"hostedZoneId: {self.hosted_zone_id} is given beside {other}; one of them says which zone it is")
        if zone and self.domain != zone and not self.domain.endswith(f".{zone}"):
            raise ValueError(f"domain {self.domain} does not lie in the hosted zone {zone}")
        return self


class NetworkSettings(_Section):
    """The VPC of every parent Region."""

    vpc_cidr: Annotated[str, AfterValidator(_vpc_network)] = VPC_CIDR
    """Private network of each VPC; Regions are not connected, so all use the same."""


class HostSettings(_Section):
    """The GPU hosts."""

    amis: dict[
        Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")],
        Annotated[str, Field(pattern=r"^ami-[0-9a-f]{8,17}$")],
    ] = {}
    """AMI by parent Region; unset: the newest Deep Learning AMI at the first launch, kept from then on."""
    login_user: str = Field(default=Host.login_user, pattern=r"^[a-z_][a-z0-9_-]{0,31}$")
    """Login user of the AMIs: ec2-user on Amazon Linux, ubuntu on Ubuntu."""
    connect_budget_seconds: int = Field(default=Host.connect_budget_seconds, ge=10, le=3600)
    """How long a new host may take until it accepts SSH."""
    boot_budget_seconds: int = Field(default=Host.boot_budget_seconds, ge=10, le=3600)
    """How long cloud-init, the GPU driver and Docker may take."""
    image_budget_seconds: int = Field(default=Host.image_budget_seconds, ge=10, le=7200)
    """How long pulling the image may take."""
    weights_budget_seconds: int = Field(default=Host.weights_budget_seconds, ge=10, le=14400)
    """How long fetching the weights may take."""
    ready_budget_seconds: int = Field(default=Host.ready_budget_seconds, ge=10, le=3600)
    """How long the server may take to load the model and generate its first token."""


class Secrets(_Section):
    """What only the owner knows."""

    ssh_private_key: SecretStr
    """ed25519 private key of the deployer."""
    host_key_secret: SecretStr
    """64 hex digits; every host's SSH host key is derived from them."""
    hugging_face_token: SecretStr | None = None
    """Read token for gated models."""
    tls_certificate: SecretStr | None = None
    """Certificate chain (PEM, the server's own first) for the service's domain and every site's name."""
    tls_private_key: SecretStr | None = None
    """Private key (PEM, without a passphrase) of the certificate."""
    api_key: SecretStr | None = None
    """What callers send as `Authorization: Bearer KEY` on every path but /health; unset: nobody is asked."""


DRAINED = (
    "Zones of `sites` that get no users by the service's name. Their hosts serve on, under their own names; not all at once."
)
_DRAINED = TypeAdapter(Annotated[list[_ZoneName], AfterValidator(_without_repeats)])
_PROTECT = TypeAdapter(bool)
OUR_TAGS = ("Name", f"{PROJECT}:stack", f"{PROJECT}:deployment", f"{PROJECT}:replica")
"""Keys of the tags that components/tags.py gives to what belongs to a replica."""
_MOST_TAGS, _MOST_ROUTE53_TAGS = 50, 10
"""Of a resource, and of a health check or hosted zone (ChangeTagsForResource in Route 53's API reference)."""
_TAGS = TypeAdapter(dict[Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_tag_key)], str])


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
    by_region: dict[str, list[SiteSettings]] = {}
    for site in sites:
        by_region.setdefault(site.parsed_zone.region, []).append(site)
    return by_region


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


SECTIONS: Mapping[str, type[_Section]] = {
    "server": ServerSettings,
    "endpoint": EndpointSettings,
    "access": AccessSettings,
    "routing": RoutingSettings,
    "network": NetworkSettings,
    "host": HostSettings,
}
"""The object-valued keys but `sites`, `drained` and `tags`; `protect` is the only plain one."""
_SECRET_FIXES = {
    "sshPrivateKey": (
        "ssh-keygen -t ed25519 -N '' -f deployer && pulumi config set --secret edge-inference:sshPrivateKey < deployer"
    ),
    "hostKeySecret": "openssl rand -hex 32 | pulumi config set --secret edge-inference:hostKeySecret",
    "huggingFaceToken": "pulumi config set --secret edge-inference:huggingFaceToken   # paste the token, end with Ctrl-D",
    "tlsCertificate": "pulumi config set --secret edge-inference:tlsCertificate < fullchain.pem",
    "tlsPrivateKey": "pulumi config set --secret edge-inference:tlsPrivateKey < privkey.pem",
    "apiKey": "openssl rand -hex 32 | pulumi config set --secret edge-inference:apiKey",
}
_REQUIRED_SECRETS = frozenset({"sshPrivateKey", "hostKeySecret"})
_EXAMPLES = {
    "access.clientCidrs": "pulumi config set --path 'edge-inference:access.clientCidrs[0]' A.B.C.D/32   # a caller's address",
    "access.sshCidrs": "pulumi config set --path 'edge-inference:access.sshCidrs[0]' A.B.C.D/32   # this machine's address",
    "routing.domain": "pulumi config set --path edge-inference:routing.domain llm.YOUR.DOMAIN",
    "routing.hostedZone": "pulumi config set --path edge-inference:routing.hostedZone YOUR.DOMAIN",
    "routing.geolocation.default": "pulumi config set --path edge-inference:routing.geolocation.default ZONE   # one of `sites`",
    "sites": "pulumi config set --path 'edge-inference:sites[0].zone' us-west-2-lax-1a",
    "protect": "pulumi config set edge-inference:protect true",
}
_SECTION_FIXES = {
    "domain": _EXAMPLES["routing.domain"],
    "hostedZone": _EXAMPLES["routing.hostedZone"],
    "hostedZoneId": "pulumi config rm --path edge-inference:routing.hostedZoneId",
    "maxTotalTokens": (
        "pulumi config set --path edge-inference:server.maxInputTokens 3072 && "
        "pulumi config set --path edge-inference:server.maxTotalTokens 4096"
    ),
}
"""Lines to paste for rules over a whole section, by the field that the rule's text begins with."""
_NO_DEFAULT = "is missing: places without a zone of their own, and addresses that Route 53 cannot place, would get no answer"


def validate(config: StackConfig) -> Validated:
    """Reads a stack's whole config and reports everything that is wrong with it at once."""
    reader = _Reader(config)
    sections = {key: reader.section(key, model) for key, model in SECTIONS.items()}
    sites = reader.sites()
    drained = reader.typed("drained", _DRAINED, default=[])
    tags = reader.typed("tags", _TAGS, default={})
    protect = reader.typed("protect", _PROTECT, default=False)
    secrets = reader.secrets()
    endpoint, routing = cast("EndpointSettings | None", sections["endpoint"]), cast("RoutingSettings | None", sections["routing"])
    problems = [
        *reader.unknown_keys(),
        *reader.problems,
        *(() if reader.is_wrong("sites") else _place_problems(sites.values(), routing, drained or [])),
        *_subnet_problems(sites, cast("NetworkSettings | None", sections["network"])),
        *_tag_problems(tags or {}, routing),
        *(_tls_problems(reader, routing, sites.values()) if endpoint and endpoint.tls else ()),
    ]
    settings = None
    if not problems:
        settings = Settings(
            stack=config.stack,
            sites=tuple(sites.values()),
            drained=tuple(drained or ()),
            tags=tags or {},
            protect=protect or False,
            secrets=cast("Secrets", secrets),
            **cast("dict[str, Any]", sections),
        )
    return Validated(
        settings,
        tuple(problems),
        config.stack,
        sites,
        server=cast("ServerSettings | None", sections["server"]),
        access=cast("AccessSettings | None", sections["access"]),
        routing=routing,
        host=cast("HostSettings | None", sections["host"]),
        endpoint=endpoint,
        hugging_face_token=reader.secret("huggingFaceToken"),
    )


class _Reader:
    """Reads one config, collecting problems."""

    def __init__(self, config: StackConfig) -> None:
        self._config = config
        self.problems: list[Problem] = []
        self.in_clear: set[str] = set()
        """Secrets that are refused for it."""

    def unknown_keys(self) -> Iterator[Problem]:
        known = [*SECTIONS, "sites", "drained", "tags", "protect", *_SECRET_FIXES]
        for key in self._config.values:
            namespace, _, name = key.partition(":")
            if namespace == PROJECT and name not in known:
                yield _unknown_key(key, name, known)

    def section(self, key: str, model: type[_Section]) -> _Section | None:
        return self.typed(key, TypeAdapter(model), default={})

    def sites(self) -> dict[int, SiteSettings]:
        """The well-formed sites by their place; a zone that stands there twice counts once."""
        raw = self._json("sites", default=[])
        if not isinstance(raw, list) or not raw:
            shown = None if raw in ([], None) else json.dumps(raw)
            self._add("sites", shown, "no site: at least one zone must be chosen", _EXAMPLES["sites"])
            return {}
        sites: dict[int, SiteSettings] = {}
        for index, entry in enumerate(cast("list[object]", raw)):
            site = self._validated(f"sites[{index}]", TypeAdapter(SiteSettings), entry)
            if site is None:
                continue
            if site.zone in {other.zone for other in sites.values()}:
                self._add(
                    f"sites[{index}].zone",
                    json.dumps(site.zone),
                    "is there twice; a zone is one site, and `replicas` gives it more instances",
                    f"pulumi config rm --path 'edge-inference:sites[{index}]'",
                )
                continue
            sites[index] = site
        return sites

    def secret(self, name: str) -> SecretStr | None:
        """A secret's value, unless it stands in clear, or is wrong."""
        key = f"{PROJECT}:{name}"
        value = self._config.values.get(key)
        return SecretStr(value) if value and key in self._config.secret_keys and not self.is_wrong(name) else None

    def secrets(self) -> Secrets | None:
        given: dict[str, str] = {}
        for key, fix in _SECRET_FIXES.items():
            value = self._config.values.get(f"{PROJECT}:{key}", "")
            if value and f"{PROJECT}:{key}" not in self._config.secret_keys:
                self._add(key, None, "stands in clear in the stack's file; treat it as known to others, make a new one", fix)
                self.in_clear.add(key)
            elif value:
                given[key] = value
            elif key in _REQUIRED_SECRETS:
                self._add(key, None, "is missing", f"{fix}   # or: edge keys {self._config.stack}")
        self._judge_key(given)
        if not given.keys() >= _REQUIRED_SECRETS:
            return None
        return Secrets.model_validate(given)

    def _judge_key(self, given: Mapping[str, str]) -> None:
        if "sshPrivateKey" in given:
            try:
                deployer_public_key(given["sshPrivateKey"])
            except ValueError as error:
                self._add("sshPrivateKey", None, str(error), _SECRET_FIXES["sshPrivateKey"])
        if "hostKeySecret" in given and not re.fullmatch(r"[0-9a-f]{64}", given["hostKeySecret"].strip()):
            self._add("hostKeySecret", None, "is not 64 hex digits (32 random bytes)", _SECRET_FIXES["hostKeySecret"])
        token = given.get("huggingFaceToken", "").strip()
        if foreign := re.search(r"[^!-~]", token):
            found = unicodedata.name(foreign[0], f"U+{ord(foreign[0]):04X}")
            reason = (
                f"is no token: its character {foreign.start() + 1} is {found}, and tokens are letters, digits and signs of ASCII"
            )
            self._add("huggingFaceToken", None, reason, _SECRET_FIXES["huggingFaceToken"])
        api_key = given.get("apiKey", "").removesuffix("\n")
        if api_key and not (len(api_key) >= _SHORTEST_API_KEY and _API_KEY.fullmatch(api_key)):
            reason = f"is no key of at least {_SHORTEST_API_KEY} letters, digits and . _ ~ + / - (RFC 6750), without blanks"
            self._add("apiKey", None, reason, _SECRET_FIXES["apiKey"])

    def is_wrong(self, key: str) -> bool:
        """Whether something under a key has a problem."""
        return any(problem.path.startswith(f"{PROJECT}:{key}") for problem in self.problems)

    def typed(self, key: str, adapter: TypeAdapter[_Value], default: object) -> _Value | None:
        return self._validated(key, adapter, self._json(key, default))

    def _json(self, key: str, default: object) -> object:
        text = self._config.values.get(f"{PROJECT}:{key}")
        if not text:
            return default
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text

    def _validated(self, key: str, adapter: TypeAdapter[_Value], raw: object) -> _Value | None:
        try:
            return adapter.validate_python(raw, by_alias=True, by_name=False)
        except ValidationError as error:
            is_secret = f"{PROJECT}:{key.partition('[')[0]}" in self._config.secret_keys
            for detail in error.errors(include_url=False):
                problem = _problem_of(key, cast("dict[str, Any]", detail), raw)
                self.problems.append(replace(problem, value=None) if is_secret else problem)
            # A rule over the whole section is judged only when every key is known.
            unknown = {each["loc"][0] for each in error.errors() if each["type"] == "extra_forbidden" and len(each["loc"]) == 1}
            if unknown and isinstance(raw, dict) and len(unknown) == error.error_count():
                known = {name: value for name, value in cast("dict[str, object]", raw).items() if name not in unknown}
                self._validated(key, adapter, known)
            return None

    def _add(self, key: str, value: str | None, reason: str, fix: str) -> None:
        self.problems.append(Problem(f"{PROJECT}:{key}", value, reason, fix))


def _subnet_problems(sites: Mapping[int, SiteSettings], network: NetworkSettings | None) -> Iterator[Problem]:
    if network is None:
        return
    by_region: dict[str, dict[str, str | None]] = {}
    for index, site in sites.items():
        zones = by_region.setdefault(site.parsed_zone.region, {})
        zones[site.zone] = site.subnet_cidr
        try:
            planned_subnets(IPv4Network(network.vpc_cidr), zones)
        except ValueError as error:
            del zones[site.zone]
            path = f"{PROJECT}:sites[{index}].subnetCidr"
            yield Problem(path, site.subnet_cidr, str(error), f"pulumi config set --path '{path}' A.B.C.0/24   # a free one")


def _tag_problems(tags: Mapping[str, str], routing: RoutingSettings | None) -> Iterator[Problem]:
    """More tags than fit: AWS would refuse them after the hosts were made."""
    own = sorted(tags.keys() - set(OUR_TAGS))
    most, on = (_MOST_ROUTE53_TAGS, "a health check") if routing and routing.is_on else (_MOST_TAGS, "a resource")
    room = most - len(OUR_TAGS)
    if len(own) > room:
        reason = f"AWS takes {most} tags of {on}, and {len(OUR_TAGS)} are this program's: at most {room} of your own fit"
        fixes = [f"pulumi config rm --path '{PROJECT}:tags{_path_part(key)}'" for key in own[room:]]
        yield Problem(f"{PROJECT}:tags", f"{len(own)} tags", reason, "\n".join(fixes))


def _place_problems(sites: Iterable[SiteSettings], routing: RoutingSettings | None, drained: list[str]) -> Iterator[Problem]:
    """Names of zones, groups and Regions that no site is in; and a service without a site to go to."""
    zones, groups = [site.zone for site in sites], {site.parsed_zone.group for site in sites}
    named = {f"drained[{index}]": zone for index, zone in enumerate(drained)}
    if routing and routing.geolocation:
        given = routing.geolocation.model_dump(by_alias=True)
        named["routing.geolocation.default"] = given.pop("default")
        named |= {f"routing.geolocation.{kind}.{code}": zone for kind, of in given.items() for code, zone in of.items()}
    elif routing and routing.policy == "geolocation":
        path = f"{PROJECT}:routing.geolocation.default"
        yield Problem(path, None, _NO_DEFAULT, f"pulumi config set --path {path} {zones[0]}")
    for key, zone in named.items():
        if zone not in zones:
            fix = "rm" if key.startswith("drained") else "set"
            line = f"pulumi config {fix} --path '{PROJECT}:{key}'" + (f" {zones[0]}" if fix == "set" else "")
            yield Problem(f"{PROJECT}:{key}", json.dumps(zone), f"is none of `sites`, which has {', '.join(zones)}", line)
    for group in sorted((routing.bias if routing else {}).keys() - groups):
        path = f"{PROJECT}:routing.bias.{group}"
        reason = f"no site is there; there are sites in {', '.join(sorted(groups))}"
        yield Problem(path, None, reason, f"pulumi config rm --path '{path}'")
    if set(zones) <= set(drained):
        path = f"{PROJECT}:drained"
        reason = "every site is drained, and the service's name would not answer"
        yield Problem(path, json.dumps(drained), reason, f"pulumi config rm --path '{path}[0]'")


def _tls_problems(reader: _Reader, routing: RoutingSettings | None, sites: Iterable[SiteSettings]) -> Iterator[Problem]:
    if routing and not routing.is_on:
        yield Problem(
            f"{PROJECT}:endpoint.tls",
            "true",
            "no certificate fits a bare address, and routing.policy is none, so that the sites have no names",
            f"pulumi config set --path {PROJECT}:routing.policy latency\npulumi config set --path {PROJECT}:endpoint.tls false",
        )
        return
    given = {name: reader.secret(name) for name in ("tlsCertificate", "tlsPrivateKey")}
    for name, value in given.items():
        if value is None and name not in reader.in_clear:
            yield Problem(f"{PROJECT}:{name}", None, "is missing, and endpoint.tls is true", _SECRET_FIXES[name])
    certificate, key = given["tlsCertificate"], given["tlsPrivateKey"]
    if not certificate or not key or not routing or not routing.domain:
        return
    names = [routing.domain, *(site_name(routing.domain, site.parsed_zone) for site in sites)]
    faults = certificate_faults(certificate.get_secret_value(), key.get_secret_value(), names, datetime.now(UTC))
    for name, reason in faults:
        yield Problem(f"{PROJECT}:{name}", None, reason, _SECRET_FIXES[name])


def _problem_of(key: str, detail: dict[str, Any], raw: object) -> Problem:
    """A pydantic error in the words of this project."""
    is_key = bool(detail["loc"]) and detail["loc"][-1] == "[key]"
    path = key + "".join(_path_part(part) for part in (detail["loc"][:-1] if is_key else detail["loc"]))
    where = f"{PROJECT}:{path}"
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        model = SiteSettings if key.startswith("sites") else SECTIONS[key]
        if len(detail["loc"]) > 1:  # the only section within a section
            model = GeolocationSettings
        return _unknown_key(where, str(detail["loc"][-1]), [to_camel(name) for name in model.model_fields])
    if kind == "missing":
        reason = _NO_DEFAULT if path == "routing.geolocation.default" else "is missing"
        return Problem(where, None, reason, _fix(path))
    reason = str(detail["ctx"]["error"]) if kind == "value_error" else _lower_first(str(detail["msg"]))
    if is_key:
        return Problem(where, None, f"the key {reason}", f"pulumi config rm --path '{where}'")
    if value is raw and isinstance(value, dict):  # a rule over the whole section
        named = [name for name in _SECTION_FIXES if name in re.split(r"[\s:]+", reason.partition(": ")[0])]
        return Problem(where, None, reason, "\n".join(_SECTION_FIXES[name] for name in named))
    return Problem(where, json.dumps(value), reason, _fix(path))


def _path_part(part: int | str) -> str:
    """One step of a key path as `pulumi config --path` reads it."""
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if re.fullmatch(r"[\w-]+", part) else f'["{part}"]'


def _fix(path: str) -> str:
    """The line to paste for a key path."""
    index = re.search(r"\[\d+\]$", path)
    if index and (example := _EXAMPLES.get(path[: index.start()])):
        return example.replace("[0]", index[0])
    return _EXAMPLES.get(path, f"pulumi config set --path '{PROJECT}:{path}' VALUE")


def _unknown_key(where: str, name: str, known: list[str]) -> Problem:
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
    return Problem(where, None, f"no such key{meant}", f"pulumi config rm --path '{where}'")


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
