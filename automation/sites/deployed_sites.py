"""DeployedSites: an environment of which is asked, too, whether its sites serve and where its names lead."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from automation.engine.deployed import Deployed

if TYPE_CHECKING:
    from automation.sites.resolution import Routes
    from automation.sites.serving import Answer


class DeployedSites(Deployed):
    """What is deployed, and how it is at this moment."""

    def serving(self, outputs: Mapping[str, Any] | None = None) -> "dict[str, Answer]":
        """Whether each replica serves at this moment: asked as clients ask, for health and a token."""
        from automation.sites.serving import Asker, replicas

        return Asker(self, self.stack_config()).ask_all(replicas(outputs or self.outputs()))

    def routes(self) -> "Routes":
        """The records that lead users to the sites, and what the health checkers say: as Route 53 has them at this moment."""
        from automation.sites.resolution import Routes

        outputs = self.outputs()
        region = next(iter(outputs["sites"].values()))["region"]
        return Routes(self.arguments, outputs, self.aws_client("route53", region), on_local_cloud=self.on_local_cloud)
