"""What an environment costs while it runs: list prices of its instances, and what is in no table here.

Leaves out guesses: a price that is not known is unknown, and the sum says so.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from automation.account.prices import TABLE, HourlyPrice, hourly_price, instance_price
from automation.engine.deployed import planned_sites
from automation.engine.results import DeployedSite
from automation.errors import EdgeError

if TYPE_CHECKING:
    from automation.engine.deployed import Deployed


@dataclass(frozen=True)
class SiteCost:
    """What a site's instances cost."""

    zone: str
    instance_type: str
    instances: int
    dollars_per_hour: float | None
    """Of one instance; None is unknown."""


@dataclass(frozen=True)
class Cost:
    """What an environment's instances cost."""

    environment: str
    basis: Literal["deployed", "stack file"]
    """What was reckoned: what runs, or what the stack file asks for."""
    sites: tuple[SiteCost, ...]

    @property
    def total(self) -> HourlyPrice:
        """All of them together."""
        return hourly_price((site.zone, site.instance_type) for site in self.sites for _ in range(site.instances))

    def described(self) -> dict[str, Any]:
        """As `edge cost --json` prints it."""
        sites = [asdict(site) for site in self.sites]
        return {"environment": self.environment, "basis": self.basis, "sites": sites, **self.total.described(), **TABLE}


def cost(environment: "Deployed") -> Cost:
    """What is deployed costs; where nobody can tell, what the stack file asks for: UsageError where that is malformed."""
    try:
        deployed = environment.inventory().sites
    except EdgeError:
        deployed: Mapping[str, DeployedSite] = {}
    if deployed:
        # As in the config, and as `edge status` has them; what is not in it any more comes last.
        order = [*environment.planned_replicas(), *deployed]
        zones = sorted(deployed, key=order.index)
        running = tuple(_site(zone, deployed[zone].instance_type, deployed[zone].instances) for zone in zones)
        return Cost(environment.name, "deployed", sites=running)
    planned = tuple(
        _site(site.zone, site.instance_type, site.replicas) for site in planned_sites(environment.stack_file, environment.name)
    )
    return Cost(environment.name, "stack file", sites=planned)


def _site(zone: str, instance_type: str, instances: int) -> SiteCost:
    return SiteCost(zone, instance_type, instances, instance_price(zone, instance_type))
