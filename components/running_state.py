"""What the running stack's state says of its resources before this run changes anything: asked from within the program.

Plain `pulumi` and `edge` both have it. Leaves out inputs, which the engine does not tell.
"""

import time
from collections.abc import Mapping
from typing import Any, cast

import pulumi

_CUT_OFF = ("failed to load checkpoint", "unexpected end of JSON input")
_WRITTEN_WITHIN_SECONDS = 3.0
_PAUSE_SECONDS = 0.1


def resource_outputs() -> dict[str, Mapping[str, Any]]:
    """Each resource's outputs by URN; nothing where the stack has no state yet."""
    found = cast("dict[str, Any]", _answer() or {})
    resources = cast("dict[str, dict[str, Any]]", found.get("outputs") or {})
    return {urn: each.get("outputs") or {} for urn, each in resources.items()}


def _answer() -> Any:
    """The engine's answer. A state in a file is written in place, also by the engine that asks: one that looks cut off is read
    again, until it must have been written.
    """
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    deadline = time.monotonic() + _WRITTEN_WITHIN_SECONDS
    while True:
        try:
            return pulumi.runtime.invoke("pulumi:pulumi:readStackResourceOutputs", {"stackName": stack}).value
        except Exception as error:
            if not any(each in str(error) for each in _CUT_OFF) or time.monotonic() >= deadline:
                raise
        time.sleep(_PAUSE_SECONDS)
