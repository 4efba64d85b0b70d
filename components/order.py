"""Order between components that know only each other's ids: it rides on the Outputs that they exchange."""

from typing import Any

import pulumi


def after(value: pulumi.Input[Any], *others: pulumi.Input[Any]) -> pulumi.Output[Any]:
    """`value`, for whoever must come after all that `others` depend on, when it is made and, the other way round, destroyed.

    Give the `urn` of a resource: it is known before the resource is made, so that a preview goes on knowing `value`.
    """
    return pulumi.Output.all(value, *others).apply(lambda known: known[0])
