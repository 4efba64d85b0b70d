"""The components as a Pulumi package, which the engine starts: `pulumi package get-schema ./components`.

The schema follows from the types and texts of the components and their arguments. Leaves out build.py: a stack's config.
"""

import inspect
import json
import sys
from pathlib import Path
from typing import Any, cast

import pulumi
from pulumi.errors import InputPropertiesError
from pulumi.provider import ConstructResult, main
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.provider.server import ComponentInitError

if not __package__:
    # The engine runs the folder, whose modules know themselves as those of a package.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from components import PROJECT, __version__
from components.network import RegionNetwork
from components.routing import ServiceRouting
from components.server import InferenceServer
from components.site import EdgeInferenceSite

COMPONENTS: list[type[pulumi.ComponentResource]] = [RegionNetwork, EdgeInferenceSite, InferenceServer, ServiceRouting]


class Package(ComponentProvider):
    """The components under the names that they have in Python programs, too."""

    def __init__(self) -> None:
        super().__init__(COMPONENTS, PROJECT, version=__version__)
        self.schema = json.dumps(_flush_left(json.loads(str(self.schema))))

    def construct(self, *args: Any, **keywords: Any) -> ConstructResult:
        """As the SDK's, but what a component refuses is told by its words alone, without a traceback."""
        try:
            return super().construct(*args, **keywords)
        except ComponentInitError as error:
            if isinstance(error.inner, ValueError):
                # Without a list of properties, the SDK fails at telling it.
                raise InputPropertiesError(str(error.inner), []) from error
            raise

    def map_inputs(self, inputs: Any, component_def: Any) -> Any:
        """As the SDK's, but whole numbers are ints: between engine and provider all are floats."""
        return _whole(super().map_inputs(inputs, component_def))


def _flush_left(schema: Any) -> Any:
    """The texts without the indentation that they have in the source."""
    if isinstance(schema, dict):
        found = cast("dict[str, Any]", schema)
        return {
            key: inspect.cleandoc(each) if key == "description" and isinstance(each, str) else _flush_left(each)
            for key, each in found.items()
        }
    return [_flush_left(each) for each in cast("list[Any]", schema)] if isinstance(schema, list) else schema


def _whole(value: object) -> object:
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_whole(each) for each in cast("list[object]", value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value


if __name__ == "__main__":
    main(Package(), sys.argv[1:])
