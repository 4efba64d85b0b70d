"""DeployedSites: an environment of which is asked, too, whether its sites serve and where its names lead."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pulumi.automation import CommandError

from automation.engine.deployed import Deployed, config_of
from automation.errors import EdgeError

if TYPE_CHECKING:
    from automation.sites.resolution import Routes
    from automation.sites.serving import Answer


class DeployedSites(Deployed):
    """What is deployed, and how it is at this moment."""

    def serving(self, outputs: Mapping[str, Any] | None = None) -> "dict[str, Answer]":
        """Whether each replica serves at this moment: asked as clients ask, for health and a token."""
        from automation.sites.serving import Asker

        return Asker(self, self.stack_config()).ask_all(outputs or self.outputs())

    def waves(self) -> list[list[str]]:
        """In which order the replicas that serve would change their server, those of a wave at once; none where that is unknown:
        a run says why.
        """
        from automation.sites.rollout_plan import served_replicas, waves_of
        from components.settings import validate

        try:
            stack = self.open(may_start=False)
            served = served_replicas(stack.deployment)
            settings = validate(config_of(stack)).settings if served else None
        except (EdgeError, CommandError):
            return []
        return waves_of(settings, served) if settings else []

    def routes(self) -> "Routes":
        """The records that lead users to the sites, and what the health checkers say: as Route 53 has them at this moment."""
        from automation.sites.resolution import Routes

        outputs = self.outputs()
        region = next(iter(outputs["sites"].values()))["region"]
        return Routes(self.arguments, outputs, self.aws_client("route53", region), on_local_cloud=self.on_local_cloud)
