"""The tags that every resource carries, by which an environment finds what is its own in a shared account."""

from collections.abc import Mapping
from dataclasses import dataclass

from components.dns_plan import Replica
from components.settings import PROJECT

STACK_TAG = f"{PROJECT}:stack"
REPLICA_TAG = f"{PROJECT}:replica"


@dataclass(frozen=True)
class Tags:
    """Makes the tags of one stack's resources."""

    stack: str
    additional: Mapping[str, str]

    def of(self, name: str, replica: Replica | None = None) -> dict[str, str]:
        """The tags of the resource called `name`, which belongs to a replica or to all."""
        return {
            **self.additional,
            "Name": f"{PROJECT}-{self.stack}-{name}",
            STACK_TAG: self.stack,
            **({REPLICA_TAG: replica.key} if replica else {}),
        }
