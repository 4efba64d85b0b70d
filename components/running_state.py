"""What the running stack's state says of its resources before this run changes anything: asked once, from within the program.

Plain `pulumi` and `edge` both have it. Leaves out inputs, which the engine does not tell.
"""

from collections.abc import Mapping
from typing import Any, cast

import pulumi


def resource_outputs() -> dict[str, Mapping[str, Any]]:
    """Each resource's outputs by URN; nothing where the stack has no state yet."""
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    answer: Any = pulumi.runtime.invoke("pulumi:pulumi:readStackResourceOutputs", {"stackName": stack}).value
    found = cast("dict[str, Any]", answer or {})
    resources = cast("dict[str, dict[str, Any]]", found.get("outputs") or {})
    return {urn: each.get("outputs") or {} for urn, each in resources.items()}
