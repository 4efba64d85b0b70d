"""The sections of the stack config as pydantic models; docs/reference/config.md and the stack file's schema are made from them.

Leaves out what holds between sections: rules.py judges that.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic.alias_generators import to_camel

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
from components.dns_plan import LARGEST_BIAS, Replica
from components.engines import Server
from components.host_steps import Host, Rollout
from components.settings.values import (
    ClientNetwork,
    Continent,
    Country,
    Domain,
    EachOnce,
    EndpointPort,
    EngineArgument,
    GroupName,
    Image,
    InstanceTypeName,
    OptIn,
    Share,
    SshNetwork,
    SubnetNetwork,
    UsState,
    VpcNetwork,
    ZoneName,
)
from components.zones import Zone, parse_zone


class Section(BaseModel):
    """An object of the config; unknown keys are refused, and so is `true` for a number, or `"yes"` for true."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


class SiteSettings(Section):
    """One edge inference site."""

    zone: ZoneName = Field(examples=["us-west-2-lax-1a"])
    """The zone: a Local Zone (us-west-2-lax-1a) or one of the parent Region (us-west-2a)."""
    replicas: int = Field(default=1, ge=1, le=20)
    """How many GPU instances serve in this zone, each with an address and a weighted DNS record of its own."""
    one_instance_type: InstanceTypeName = Field(default=INSTANCE_TYPE, alias="instanceType")
    """A GPU instance type that the zone offers; g4dn.2xlarge (one T4) is sold in almost every Local Zone."""
    instance_types: Annotated[list[InstanceTypeName], EachOnce] = []
    """Several such types in place of instanceType, the preferred one first. The first is used; `edge up --fallback` moves the
    next to the front where the zone has no capacity. All are judged beforehand."""
    reserve: bool = False
    """Keep a capacity reservation for each host, so that one that is replaced gets its GPU back. It costs as much as the host
    while none uses it, and nothing beside one that does."""
    volume_type: Literal["gp2", "gp3"] | None = None
    """EBS type of the root volume; unset: gp2 in a Local Zone (gp3 is not in all of them), gp3 in the Region."""
    volume_gib: int = Field(default=VOLUME_GIB, ge=75, le=16384)
    """Size of the root volume in GiB, for image, weights and Docker; the AMI's own snapshot needs 75."""
    opt_in: OptIn = False
    """Opt the account in to the zone's group if it is not. AWS opts out only through Support, so destroy never does. `true` wants
    to know first that the zone offers the type, which AWS may not say before; `anyway` does not."""
    subnet_cidr: SubnetNetwork | None = None
    """The site's subnet inside the VPC; unset: planned from the zone's name."""

    @model_validator(mode="after")
    def _one_list_of_types(self) -> "SiteSettings":
        if self.instance_types and "one_instance_type" in self.model_fields_set:
            raise ValueError("instanceTypes: is given beside instanceType; one of them says which types the site may have")
        return self

    @property
    def types(self) -> tuple[str, ...]:
        """The instance types that it may have, the one in use first."""
        return tuple(self.instance_types) or (self.one_instance_type,)

    @property
    def type_keys(self) -> dict[str, str]:
        """The key of each of them within the site."""
        if not self.instance_types:
            return {"instanceType": self.one_instance_type}
        return {f"instanceTypes[{index}]": name for index, name in enumerate(self.instance_types)}

    @property
    def instance_type(self) -> str:
        """The instance type in use."""
        return self.types[0]

    @property
    def parsed_zone(self) -> Zone:
        """The zone's name, taken apart."""
        return parse_zone(self.zone)

    @property
    def all_replicas(self) -> list[Replica]:
        """Its replicas, from number 1."""
        return [Replica(self.parsed_zone, number) for number in range(1, self.replicas + 1)]

    @property
    def root_volume_type(self) -> str:
        """The EBS volume type to ask for, never left to the AMI (aws-facts 3.4)."""
        return self.volume_type or self.parsed_zone.volume_type


class ServerSettings(Section):
    """What every site serves, and with which engine."""

    engine: Literal["tgi", "vllm"] = "tgi"
    """Serving engine: Hugging Face TGI 2.4.0, which knows no model published after October 2024 and whose repository is archived,
    or vLLM, for newer models and for 4-bit ones on a T4."""
    image: Image | None = None
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
    extra_arguments: list[EngineArgument] = []
    """Further arguments of the engine's own command line, one list item a word."""

    @model_validator(mode="after")
    def _room_for_an_answer(self) -> "ServerSettings":
        if self.max_input_tokens >= self.max_total_tokens:
            raise ValueError(
                f"maxTotalTokens: {self.max_total_tokens} leaves no room for an answer after maxInputTokens"
                f" {self.max_input_tokens}"
            )
        return self


class EndpointSettings(Section):
    """How a site is called."""

    tls: bool = False
    """HTTPS on the sites' names, with tlsCertificate and tlsPrivateKey. A reverse proxy on each host terminates it."""
    port: EndpointPort | None = Field(default=None, ge=1, le=65535)
    """TCP port; unset: 443 with tls, else 8080."""
    proxy_image: Image = PROXY_IMAGE
    """Image of the reverse proxy, which runs where tls or apiKey is set: Caddy 2.6 or newer. A registry of your own goes here."""

    @property
    def public_port(self) -> int:
        """The TCP port that clients connect to."""
        return self.port or public_port(tls=self.tls)

    def url(self, host: str) -> str:
        """The endpoint's URL under a name or address."""
        return endpoint_url(host, self.public_port, tls=self.tls)


class AccessSettings(Section):
    """Who may connect."""

    client_cidrs: Annotated[list[ClientNetwork], EachOnce] = Field(min_length=1)
    """Networks of the endpoint's callers; 0.0.0.0/0 must be spelled out and is warned about."""
    ssh_cidrs: Annotated[list[SshNetwork], EachOnce] = Field(min_length=1)
    """Networks that may reach port 22: the machine that runs `pulumi up`."""


class GeolocationSettings(Section):
    """Which site serves whom, for policy geolocation. The smallest place that a user is in decides."""

    default: ZoneName
    """Zone for everyone else, also for addresses that Route 53 cannot place."""
    continents: dict[Continent, ZoneName] = {}
    """Zone by continent: AF, AN, AS, EU, NA, OC, SA."""
    countries: dict[Country, ZoneName] = {}
    """Zone by country, ISO 3166-1: CA. Norway's `NO` needs no quotes: the engine reads it as text."""
    us_states: dict[UsState, ZoneName] = {}
    """Zone by US state, postal code: HI."""


class RoutingSettings(Section):
    """How users reach the best site."""

    policy: Literal["latency", "geoproximity", "geolocation", "none"] = "latency"
    """latency: the tree over parent Regions, zone groups and replicas; geoproximity: one flat set; geolocation: by place;
    none: addresses only."""
    domain: Domain | None = None
    """The service's name, one per environment, such as llm.YOUR.DOMAIN."""
    hosted_zone: Domain | None = None
    """Name of the public hosted zone that the domain lies in."""
    hosted_zone_id: str | None = Field(default=None, pattern=r"^Z[0-9A-Z]{1,31}$")
    """Id of the hosted zone in place of its name, where the account has several of one name."""
    create_hosted_zone: bool = False
    """Create the hosted zone, and delete it with the environment. Its name servers (see outputs) go into the parent domain."""
    bias: dict[GroupName, Annotated[int, Field(ge=-LARGEST_BIAS, le=LARGEST_BIAS)]] = {}
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


class NetworkSettings(Section):
    """The VPC of every parent Region."""

    vpc_cidr: VpcNetwork = VPC_CIDR
    """Private network of each VPC; Regions are not connected, so all use the same."""


class HostSettings(Section):
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


class RolloutSettings(Section):
    """How a change reaches the replicas that serve."""

    max_away: Share | None = None
    """How many replicas may be away at once, or which percentage of them (10%, rounded down); unset: the larger of 1 and 10%."""
    drain_seconds: int = Field(default=Rollout.drain_seconds, ge=0, le=3600)
    """How long a replica that users are led away from waits for what it is at; a stream that outlasts it is cut."""
    max_ttft_ms: float | None = Field(default=None, gt=0)
    """Longest median time to first token, in ms over loopback, with which a changed server may serve; unset: any."""
    max_slowdown: float | None = Field(default=None, ge=1)
    """How many times as long as the server before a changed one may take to its first token (1.5); unset: any."""

    def away(self, replicas: int) -> int:
        """How many of so many replicas may be away at once."""
        share = self.max_away or "10%"
        if isinstance(share, int):
            return share
        return max(1, replicas * int(share.removesuffix("%")) // 100)


class Secrets(Section):
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
    acme_account: SecretStr | None = None
    """Account at a CA, made and read by `edge certificate` alone."""
    api_key: SecretStr | None = None
    """What callers send as `Authorization: Bearer KEY` on every path but /health; unset: nobody is asked."""
    api_keys: dict[str, SecretStr] = {}
    """Further such keys by name, all valid at once: a key is changed by adding the new one, and later removing the old one."""

    @property
    def all_api_keys(self) -> dict[str, str]:
        """Every valid key by its name, `apiKey` for the one without."""
        named = {"apiKey": self.api_key} if self.api_key else {}
        return {name: key.get_secret_value().strip() for name, key in {**named, **self.api_keys}.items()}


DRAINED = (
    "Zones of `sites` that get no users by the service's name. Their hosts serve on, under their own names; not all at once."
)

SECTIONS: Mapping[str, type[Section]] = {
    "server": ServerSettings,
    "endpoint": EndpointSettings,
    "access": AccessSettings,
    "routing": RoutingSettings,
    "network": NetworkSettings,
    "host": HostSettings,
    "rollout": RolloutSettings,
}
"""The object-valued keys but `sites`, `drained` and `tags`; `protect` is the only plain one."""
