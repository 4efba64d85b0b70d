"""A plugin's package schema, as the official ones answer GetSchema: of what this one serves, read from the installed SDKs.

Left out: descriptions, defaults, the values of enumerations, which outputs are always there.
"""

from __future__ import annotations

import importlib
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum

import pulumi

# The SDK's own tables of property names; nothing public offers them.
from pulumi import _types  # pyright: ignore[reportPrivateUsage]

from localcloud.plugins.schema import Shape, args_shape, function_shape, members, resource_class, resource_shape, result_class

Spec = dict[str, object]
_SCALARS: Mapping[object, Spec] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    pulumi.Asset: {"$ref": "pulumi.json#/Asset"},
    pulumi.Archive: {"$ref": "pulumi.json#/Archive"},
}
_ANY: Spec = {"$ref": "pulumi.json#/Any"}


def package_schema(
    name: str,
    version: str,
    resources: Mapping[str, Collection[str] | None],
    functions: Iterable[str],
    configuration: Collection[str],
) -> Spec:
    """Return the schema of resource types, each with the inputs that are acted on (None: all), functions, and configuration."""
    writer = _Writer(name, has_files="/" in next(iter(resources)))
    provider = _some(args_shape(importlib.import_module(f"pulumi_{name}").ProviderArgs), configuration)
    return {
        "name": name,
        "version": version,
        # How an official bridged plugin says that `aws:ec2/vpc:Vpc` is of module `ec2`.
        **({"meta": {"moduleFormat": "(.*)(?:/[^/]*)"}} if writer.has_files else {}),
        "provider": writer.inputs(provider),
        "config": {"variables": writer.properties(provider.accepted)},
        "resources": {token: writer.resource(token, supported) for token, supported in resources.items()},
        "functions": {token: writer.function(token) for token in functions},
        "types": writer.types,
    }


def _some(shape: Shape, names: Collection[str] | None) -> Shape:
    if names is None:
        return shape
    accepted = {name: hint for name, hint in shape.accepted.items() if name in names}
    return Shape(accepted, shape.required & accepted.keys(), shape.outputs)


class _Writer:
    """Collects the nested types that properties refer to."""

    def __init__(self, package: str, *, has_files: bool) -> None:
        self.package, self.has_files = package, has_files
        self.types: Spec = {}

    def resource(self, token: str, supported: Collection[str] | None) -> Spec:
        shape = resource_shape(token)
        inputs = _some(shape, supported)
        hints = _types.resource_types(resource_class(token))
        outputs = {name: hints[name] for name in sorted(shape.outputs)}
        return {**self.inputs(inputs), "properties": self.properties({**inputs.accepted, **outputs})}

    def inputs(self, shape: Shape) -> Spec:
        return {"inputProperties": self.properties(shape.accepted), "requiredInputs": sorted(shape.required)}

    def function(self, token: str) -> Spec:
        shape = function_shape(token)
        return {
            "inputs": {"properties": self.properties(shape.accepted), "required": sorted(shape.required)},
            "outputs": {"properties": self.properties(_types.output_type_types(result_class(token)))},
        }

    def properties(self, hints: Mapping[str, object]) -> Spec:
        return {name: self._type(hint) for name, hint in hints.items()}

    def _type(self, hint: object) -> Spec:
        """Return the type of a hint; that of an enumeration is its text's."""
        if isinstance(hint, type) and _types.is_output_type(hint):
            return self._object(hint)
        specs: list[Spec] = []
        for member in members(hint):
            spec = self._member(member)
            specs += [spec] if spec not in specs else []
        return specs[0] if len(specs) == 1 else {"oneOf": specs}

    def _member(self, member: object) -> Spec:
        origin, arguments = typing.get_origin(member), typing.get_args(member)
        if isinstance(member, type) and issubclass(member, Enum):
            return {"type": "string"}
        if isinstance(member, type) and _types.is_input_type(member):
            return self._object(member)
        if origin is not None and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self._type(arguments[1])}
        if origin is not None and issubclass(origin, Sequence):
            return {"type": "array", "items": self._type(arguments[0])}
        return _ANY if member is typing.Any else _SCALARS[member]

    def _object(self, found: type) -> Spec:
        """Return a reference to a nested type, which is written down where it is met first: as an input, where it is one."""
        name = found.__name__.removesuffix("Args").removesuffix("Result")
        name = f"g{name[1:]}" if name.startswith("Get") else name
        module = found.__module__.split(".")[1]
        token = f"{self.package}:{module}/{name}:{name}" if self.has_files else f"{self.package}:{module}:{name}"
        if token not in self.types:
            written: Spec = {"type": "object"}
            self.types[token] = written  # first, for a type that holds itself
            if _types.is_input_type(found):
                shape = args_shape(found)
                written |= {"properties": self.properties(shape.accepted), "required": sorted(shape.required)}
            else:
                written["properties"] = self.properties(_types.output_type_types(found))
        return {"$ref": f"#/types/{token}"}
