"""The tags that every resource carries, by which an environment finds what is its own in a shared account.

The deployment's id tells two stacks of one name apart: it is made at the first `up` and lives in the state alone.
"""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components import PROJECT
from components.dns_plan import Replica

STACK_TAG = f"{PROJECT}:stack"
DEPLOYMENT_TAG = f"{PROJECT}:deployment"
REPLICA_TAG = f"{PROJECT}:replica"
DEPLOYMENT_VARIABLE = "EDGE_NEW_DEPLOYMENT"
"""By which `edge` tells the program the id of a deployment that has none yet: it may have tagged something with it."""


@dataclass(frozen=True)
class Tags:
    """Makes the tags of one stack's resources."""

    stack: str
    additional: Mapping[str, pulumi.Input[str]]

    def of(self, name: str, replica: Replica | None = None) -> dict[str, pulumi.Input[str]]:
        """The tags of the resource called `name`, which belongs to a replica or to all."""
        return {
            **self.additional,
            "Name": f"{PROJECT}-{self.stack}-{name}",
            STACK_TAG: self.stack,
            **({REPLICA_TAG: replica.key} if replica else {}),
        }


def new_deployment_id() -> str:
    """32 hex digits that no other deployment has."""
    return uuid.uuid4().hex


def deployment_id() -> pulumi.Output[str]:
    """The deployment's id: what is drawn at the first `up`, here or by `edge`, stays in the state until `destroy`."""
    drawn = os.environ.get(DEPLOYMENT_VARIABLE) or new_deployment_id()
    # A Stash keeps the output that it was created with; the input of each later run is another.
    stash = pulumi.Stash("deployment", input=drawn, opts=pulumi.ResourceOptions(ignore_changes=["input"]))
    return stash.output
