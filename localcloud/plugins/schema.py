"""What a resource or function accepts, read from the installed SDKs instead of a list kept by hand.

The official plugins refuse misspelt, mistyped, missing and output-only inputs; the SDK's generated classes hold all
that is needed to do the same. What the SDK does not say (ranges, exclusive pairs) is not here.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import inspect
import keyword
import re
import textwrap
import threading
import types
import typing
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import cast

import pulumi

# The SDK's own tables of property names; nothing public offers them.
from pulumi import _types  # pyright: ignore[reportPrivateUsage]

from localcloud.plugins.values import SIGNATURE, UNKNOWN, is_list, is_map

# The SDK imports its modules lazily, which two threads at once cannot see half done.
_import_lock = threading.RLock()


class UnknownTokenError(LookupError):
    """The SDK has no resource or function of this token."""


@dataclass(frozen=True)
class Problem:
    """One reason why inputs are refused: the path of the property (empty: the whole) and the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class Shape:
    """Accepted properties with their Python type, the required ones, and those that only come out."""

    accepted: Mapping[str, object]
    required: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()

    def problems(self, values: Mapping[str, object], path: str = "") -> Iterator[Problem]:
        """Yield what is wrong with values, which are in clear and may hold `UNKNOWN`."""
        prefix = f"{path}." if path else ""
        for name in sorted(self.required):
            if values.get(name) is None:
                yield Problem(f"{prefix}{name}", "is required, but missing")
        for name, value in values.items():
            if name.startswith("__") or value is None:
                continue
            if name in self.accepted:
                yield from _mismatches(value, self.accepted[name], f"{prefix}{name}")
            elif name in self.outputs:
                yield Problem(f"{prefix}{name}", "is an output of the resource and cannot be set")
            else:
                close = difflib.get_close_matches(name, self.accepted, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                yield Problem(f"{prefix}{name}", f"is not a property here{hint}")


def _module(token: str) -> tuple[types.ModuleType, str]:
    """Return the SDK module of `package:module[/file]:Name`, and the name."""
    package, module, name = token.split(":")
    parts = [f"pulumi_{package}"]
    if not module.startswith("index"):
        part = module.split("/")[0]
        parts.append(f"{part}_" if keyword.iskeyword(part) else part)
    try:
        return importlib.import_module(".".join(parts)), name
    except ModuleNotFoundError as error:
        raise UnknownTokenError(token) from error


def resource_class(token: str) -> type:
    """Return the SDK's class of a resource type; raise `UnknownTokenError` where it has none."""
    with _import_lock:
        module, name = _module(token)
        resource = getattr(module, name, None)
    if resource is None or getattr(resource, "pulumi_type", None) != token:
        raise UnknownTokenError(token)
    return resource


@functools.cache
def resource_shape(token: str) -> Shape:
    """Return the shape of a resource type; raise `UnknownTokenError` where the SDK has none."""
    resource = resource_class(token)
    arguments = getattr(importlib.import_module(resource.__module__), f"{resource.__name__}Args")
    shape = args_shape(arguments)
    properties = frozenset(_types.resource_py_to_pulumi_names(resource).values())
    return Shape(shape.accepted, shape.required, properties - shape.accepted.keys() - {"id", "urn"})


@functools.cache
def args_shape(arguments: type) -> Shape:
    """Return the shape of an `…Args` class: its constructor has the types, and no default where required."""
    names = _types.input_type_py_to_pulumi_names(arguments)
    hints = _hints(arguments.__init__)
    parameters = inspect.signature(arguments.__init__).parameters
    return Shape(
        {names[name]: hint for name, hint in hints.items() if name in names},
        frozenset(
            names[name]
            for name, parameter in parameters.items()
            if name in names and parameter.default is inspect.Parameter.empty
        ),
    )


def result_class(token: str) -> type:
    """Return the SDK's class of a function's result; raise `UnknownTokenError` where it has none."""
    function, _ = _function(token)
    # The hint is the result's `Awaitable…` form, whose base is the result.
    return cast("type", _hints(function)["return"]).__mro__[1]


def _function(token: str) -> tuple[typing.Callable[..., object], typing.Callable[..., object]]:
    """Return the SDK's two forms of a function: with plain arguments, and with outputs."""
    with _import_lock:
        module, camel = _module(token)
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", camel).lower()
        function = getattr(module, name, None)
        lifted = getattr(module, f"{name}_output", None)
    if function is None or lifted is None:
        raise UnknownTokenError(token)
    return function, lifted


def _hints(function: typing.Callable[..., object]) -> dict[str, object]:
    """Return resolved parameter types; `pulumi.Input` itself holds forward references to `Output[T]`."""
    names: dict[str, object] = {"Output": pulumi.Output, "T": type(None)}
    return typing.get_type_hints(function, localns=names)


@functools.cache
def function_shape(token: str) -> Shape:
    """Return the shape of a function's arguments; raise `UnknownTokenError` where the SDK has none.

    The SDK gives every argument a default. Which ones are required only shows in the source of the `_output`
    form, where an optional one is `Input[Optional[Optional[…]]]`.
    """
    function, lifted = _function(token)
    wire_names = {python: wire for wire, python in re.findall(r"__args__\['(\w+)'\] = (\w+)", inspect.getsource(function))}
    definition = cast("ast.FunctionDef", ast.parse(textwrap.dedent(inspect.getsource(lifted))).body[0])
    required = {
        argument.arg
        for argument in definition.args.args
        if argument.annotation is not None
        and not re.match(r"pulumi\.Input\[Optional\[Optional|Optional", ast.unparse(argument.annotation))
    }
    hints = _hints(function)
    return Shape(
        {wire: hints[python] for python, wire in wire_names.items()},
        frozenset(wire for python, wire in wire_names.items() if python in required),
    )


@functools.cache
def members(hint: object) -> tuple[object, ...]:
    """Return the plain types of a hint, without the wrappers that `Input`, `Optional` and the SDK add."""
    return tuple(_walk_members(hint))


def _walk_members(hint: object) -> Iterator[object]:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        for argument in typing.get_args(hint):
            yield from _walk_members(argument)
    elif origin in (Awaitable, pulumi.Output) or hint is type(None) or typing.is_typeddict(hint):
        return
    elif not (isinstance(hint, type) and _types.is_output_type(hint)):
        yield hint


def _mismatches(value: object, hint: object, path: str) -> Iterator[Problem]:
    """Yield why a value is not of any of the hint's types; the first type's reasons speak for all."""
    if value == UNKNOWN:
        return
    reasons = [list(_member_mismatches(value, member, path)) for member in members(hint)]
    if reasons and all(reasons):
        yield from max(reasons, key=lambda problems: problems[0].path != path)


def _member_mismatches(value: object, member: object, path: str) -> Iterator[Problem]:
    origin, arguments = typing.get_origin(member), typing.get_args(member)
    if member is typing.Any:
        return
    if isinstance(member, type) and issubclass(member, Enum):
        # The official plugins look at the type alone: another text is one for them, too.
        if not isinstance(value, str):
            yield Problem(path, f"must be a string, not {_kind(value)}")
    elif isinstance(member, type) and _types.is_input_type(member):
        if is_map(value):
            yield from args_shape(member).problems(value, path)
        else:
            yield Problem(path, f"must be an object, not {_kind(value)}")
    elif origin is not None and issubclass(origin, Mapping):
        yield from _map_mismatches(value, arguments[1], path)
    elif origin is not None and issubclass(origin, Sequence):
        if is_list(value):
            for index, item in enumerate(value):
                yield from _mismatches(item, arguments[0], f"{path}[{index}]")
        else:
            yield Problem(path, f"must be a list, not {_kind(value)}")
    elif not _is_scalar(value, member):
        yield Problem(path, f"must be {_NAMES.get(member, str(member))}, not {_kind(value)}")


def _map_mismatches(value: object, item_hint: object, path: str) -> Iterator[Problem]:
    if not is_map(value) or SIGNATURE in value:
        yield Problem(path, f"must be a map, not {_kind(value)}")
        return
    for key, item in value.items():
        yield from _mismatches(item, item_hint, f'{path}["{key}"]')


def _is_scalar(value: object, member: object) -> bool:
    if member is pulumi.Asset or member is pulumi.Archive:
        return is_map(value) and SIGNATURE in value
    if isinstance(value, bool):
        return member is bool
    if member is float:
        return isinstance(value, (int, float))
    return isinstance(member, type) and isinstance(value, member)


_NAMES: dict[object, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "a boolean",
    pulumi.Asset: "an asset",
    pulumi.Archive: "an archive",
}


def _kind(value: object) -> str:
    """Name the kind of a value, never the value: it may be secret."""
    if is_map(value):
        return "an asset or archive" if SIGNATURE in value else "an object"
    return "a list" if is_list(value) else _NAMES.get(type(value), type(value).__name__)
