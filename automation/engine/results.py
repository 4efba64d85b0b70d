"""What an environment's operations give back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from automation.account.prices import HourlyPrice, Instances, PriceChange, hourly_price
from automation.engine.config_plan import ConfigPlan
from automation.engine.rollout import RolloutPlan

if TYPE_CHECKING:
    from automation.account.orphans import Thing


@dataclass(frozen=True)
class ResourceChange:
    """One resource that is not as it was, or would not be."""

    name: str
    kind: str
    """Such as `Instance`."""
    operation: str
    """The engine's word: create, update, delete, replace, ...; or forget (automation/engine/events.py)."""
    differs: tuple[str, ...] = ()
    """Names of the properties that differ, where the resource was there before."""
    urn: str = ""
    values: Mapping[str, tuple[Any, Any]] = field(default_factory=dict[str, tuple[Any, Any]])
    """By property that differs, as it was and as it is, without secrets; empty where the plugin does not tell."""


@dataclass(frozen=True)
class Changes:
    """What a run did: how many resources by operation (`create`, `update`, `same`, ...)."""

    counts: Mapping[str, int]
    seconds: float
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The stack's outputs after `up` and `refresh`: see docs/outputs.schema.json."""
    steps: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    """After `up`: seconds from the instance's launch to its first token, by replica and step (boot, docker, image, model,
    ready), of what was converged in this run."""
    resources: tuple[ResourceChange, ...] = ()
    """Every resource that was changed."""
    log: Path | None = None
    """The run's log: all that the engine said, without secrets."""
    orphans: "tuple[Thing, ...]" = ()
    """After `refresh`: what AWS has of the environment and its state does not."""

    @property
    def changed(self) -> int:
        """How many resources are not as they were."""
        return sum(count for operation, count in self.counts.items() if operation != "same")


@dataclass(frozen=True)
class Plan(Changes):
    """What `up` would do."""

    price: PriceChange = field(kw_only=True)
    """What it would make costs on AWS, and what runs now, by list prices."""
    rollout: RolloutPlan | None = None
    """What it would mean for users of the replicas that serve; None where none of them changes its server."""
    config: ConfigPlan = field(default_factory=lambda: ConfigPlan(is_first=False, changes=()))
    """What it changes in the config's own terms."""


@dataclass(frozen=True)
class Foreign:
    """One thing inside our own that the state does not know."""

    inside: str
    """Name of our resource that it is in."""
    what: str
    """In words: `rule sgr-1: in tcp 22 from 0.0.0.0/0`."""
    remove: str
    """The line that takes it away."""


@dataclass(frozen=True)
class Drift:
    """Where AWS is not as the state says; nothing was changed, here or there."""

    resources: tuple[ResourceChange, ...]
    """`delete`: it is gone; `update`: properties differ."""
    seconds: float
    log: Path | None = None
    foreign: tuple[Foreign, ...] = ()
    """What somebody added inside our own security groups and route tables."""

    def __bool__(self) -> bool:
        return bool(self.resources or self.foreign)


@dataclass(frozen=True)
class DeployedSite:
    """What the state knows of a zone's site."""

    instance_type: str
    instances: int


@dataclass(frozen=True)
class Inventory:
    """What an environment has deployed, by its state: nobody asks AWS for it."""

    resources: int
    sites: Mapping[str, DeployedSite]
    """By zone, where instances are."""
    account: str | None
    """The AWS account that it is deployed in; None where the state holds nothing that tells."""
    protected: tuple[str, ...]
    """Names of the resources that cannot be deleted until they are unprotected."""
    pending: tuple[str, ...]
    """Names of the resources whose creation was cut off: AWS may have made them all the same."""

    @property
    def instances(self) -> Instances:
        """Every instance."""
        return [(zone, site.instance_type) for zone, site in self.sites.items() for _ in range(site.instances)]

    @property
    def price(self) -> HourlyPrice:
        """What the instances cost, on AWS."""
        return hourly_price(self.instances)


def inventory_of(deployment: Mapping[str, Any]) -> Inventory:
    """Reads an exported deployment (`pulumi stack export`)."""
    resources = cast("list[dict[str, Any]]", deployment.get("resources") or [])
    real = [
        each for each in resources if each.get("custom") and not each.get("delete") and not each["type"].startswith("pulumi:")
    ]
    sites: dict[str, DeployedSite] = {}
    for outputs in (_outputs(each) for each in real if each["type"] == "aws:ec2/instance:Instance"):
        zone, instance_type = str(outputs.get("availabilityZone")), str(outputs.get("instanceType"))
        sites[zone] = DeployedSite(instance_type, sites[zone].instances + 1 if zone in sites else 1)
    pending = cast("list[dict[str, Any]]", deployment.get("pending_operations") or [])
    return Inventory(
        resources=len(real),
        sites=sites,
        account=next(filter(None, map(_account, real)), None),
        protected=tuple(_name(each["urn"]) for each in real if each.get("protect")),
        # What was cut off while it was changed is there, and in the state: the next run changes it again.
        pending=tuple(_name(each["resource"]["urn"]) for each in pending if each.get("type") == "creating"),
    )


def _account(resource: dict[str, Any]) -> str | None:
    """The account in a resource's ARN, which AWS gave it: arn:aws:ec2:REGION:ACCOUNT:..."""
    parts = str(_outputs(resource).get("arn", "")).split(":")
    return parts[4] if len(parts) > 4 and parts[4] else None  # noqa: PLR2004 - its place in an ARN


def _outputs(resource: dict[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", resource.get("outputs") or {})


def _name(urn: object) -> str:
    return str(urn).rpartition("::")[2]
