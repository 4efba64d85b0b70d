"""Property values of the provider protocol as plain Python data, with secrets and unknowns kept visible.

Numbers travel as floats: whole ones become `int` again. Assets and archives stay the dictionaries they are.
Output values and resource references are left out: the plugins tell the engine not to send them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard, cast

from google.protobuf import struct_pb2

# The two magic strings of the protocol (sdk/go/common/resource/plugin/rpc.go and properties.go).
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a type mark of the protocol, not a password

# A secret's text is searched for in outputs of other names only from this length on: tokens and keys are longer;
# the address and user name that travel in a secret connection are shorter, and may be shown.
_SEARCHED_SECRET_LENGTH = 16

Properties: TypeAlias = dict[str, object]


@dataclass(frozen=True)
class Secret:
    """A value that must never be stored or shown in clear."""

    value: object

    def __repr__(self) -> str:
        """Hide the value from logs and test output."""
        return "Secret(...)"


def is_list(value: object) -> TypeGuard[list[object]]:
    """Tell whether a decoded value is a list."""
    return isinstance(value, list)


def is_map(value: object) -> TypeGuard[dict[str, object]]:
    """Tell whether a decoded value is an object."""
    return isinstance(value, dict)


def decode(struct: struct_pb2.Struct) -> Properties:
    """Return the properties of a message; secrets are `Secret`, unknowns the string `UNKNOWN`."""
    return {key: _decode(value) for key, value in struct.fields.items()}


def _decode(value: struct_pb2.Value) -> object:
    match value.WhichOneof("kind"):
        case "string_value" | "bool_value" as kind:
            return getattr(value, kind)
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "list_value":
            return [_decode(item) for item in value.list_value.values]
        case "struct_value":
            fields = decode(value.struct_value)
            # Of a secret whose resource has failed, the engine sends the mark alone: what it was is not known.
            return Secret(fields.get("value", UNKNOWN)) if fields.get(SIGNATURE) == _SECRET else fields
        case _:
            pass
    return None


def encode(properties: Mapping[str, object]) -> struct_pb2.Struct:
    """Return the message of properties; the inverse of `decode`."""
    return struct_pb2.Struct(fields={key: _encode(value) for key, value in properties.items()})


def _encode(value: object) -> struct_pb2.Value:  # noqa: PLR0911 - one for each kind
    match value:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case Secret():
            return struct_pb2.Value(struct_value=encode({SIGNATURE: _SECRET, "value": value.value}))
        case bool():
            return struct_pb2.Value(bool_value=value)
        case int() | float():
            return struct_pb2.Value(number_value=value)
        case str():
            return struct_pb2.Value(string_value=value)
        case Mapping():
            return struct_pb2.Value(struct_value=encode(cast("Mapping[str, object]", value)))
        case Sequence():
            items = [_encode(item) for item in cast("Sequence[object]", value)]
            return struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))
        case _:
            message = f"a {type(value).__name__} cannot be a property value"
            raise TypeError(message)


def reveal(value: object) -> object:
    """Return the value with every secret in clear, for use inside the plugin only."""
    if isinstance(value, Secret):
        return reveal(value.value)
    if is_map(value):
        return {key: reveal(item) for key, item in value.items()}
    if is_list(value):
        return [reveal(item) for item in value]
    return value


def reveal_all(properties: Mapping[str, object]) -> Properties:
    """Return properties in clear, without the bookkeeping keys (`__defaults`) that the plugin adds itself."""
    return {key: reveal(value) for key, value in properties.items() if not key.startswith("__")}


def _leaves(value: object) -> Iterator[object]:
    """Yield the scalars and secrets of a value; a secret is not entered."""
    if is_map(value):
        for item in value.values():
            yield from _leaves(item)
    elif is_list(value):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def has_secret(value: object) -> bool:
    """Tell whether a value is or contains a secret."""
    return any(isinstance(leaf, Secret) for leaf in _leaves(value))


def seal(outputs: Mapping[str, object], *given: Mapping[str, object]) -> Properties:
    """Return outputs with everything secret that came in secret.

    A property is secret as a whole where a given property of its name holds a secret (`tagsAll` follows `tags`),
    and under any other name when the text of a long secret occurs in it.
    """
    names = {name for properties in given for name, value in properties.items() if has_secret(value)}
    if "tags" in names:
        names.add("tagsAll")
    texts = {
        text
        for properties in given
        for value in properties.values()
        for leaf in _leaves(value)
        if isinstance(leaf, Secret)
        for text in _leaves(reveal(leaf))
        if isinstance(text, str) and len(text) >= _SEARCHED_SECRET_LENGTH and text != UNKNOWN
    }
    return {name: Secret(reveal(value)) if name in names or _mentions(value, texts) else value for name, value in outputs.items()}


def _mentions(value: object, texts: set[str]) -> bool:
    return any(text in leaf for leaf in _leaves(value) if isinstance(leaf, str) for text in texts)


def overlay(given: object, actual: object) -> object:
    """Return a given input with its parts replaced by what was really found, for refresh.

    Only what was given is replaced: properties that the program left to AWS are not its inputs. A part that
    came in secret stays secret.
    """
    if isinstance(given, Secret):
        return Secret(overlay(given.value, actual))
    if is_map(given) and is_map(actual):
        return {key: overlay(item, actual.get(key)) for key, item in given.items()}
    if is_list(given) and is_list(actual) and len(given) == len(actual):
        return [overlay(item, found) for item, found in zip(given, actual, strict=True)]
    return given if actual is None else actual
