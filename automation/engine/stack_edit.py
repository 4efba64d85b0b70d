"""Changes a stack file's text: one value is set or taken away, every other character stays. Pure.

ruamel.yaml says where things stand; the text is cut and joined by hand, since a file that is written anew loses comments and
layout. Leaves out whether the value makes sense: config_change.py asks the program's own settings.
"""

# The nodes of ruamel.yaml have no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import re
from collections.abc import Sequence
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from automation.engine.stack_file import config_key
from automation.engine.stack_yaml import NOT_IN_TEXT, NoYamlError, plain_values

Step = str | int
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./_-]*")
"""Texts that are written without quotes, unless YAML's readers take them for something else."""
_NO_TEXT = re.compile(r"(?i)(true|false|yes|no|on|off|null|y|n)")
_INDENT = 2


class EditError(Exception):
    """The text cannot be changed so; says why."""


def with_value(text: str, keys: Sequence[Step], value: object) -> str:
    """A stack file's text with one value of its config set, by its full key and the steps below it."""
    return _checked(text, _put(text, keys, value), keys, value)


def without(text: str, keys: Sequence[Step]) -> str:
    """A stack file's text without one value of its config; what is empty without it goes too."""
    return _checked(text, _cut(text, keys), keys, None)


def in_layout_of(before: str, after: str) -> str:
    """What another writer has made of a text, with the layout and comments that it had; as it is where that cannot be."""
    try:
        old, new = (_by_full_keys(plain_values(text)[0]) for text in (before, after))
        text = before
        for key in old["config"].keys() - new["config"].keys():
            text = without(text, (key,))
        for key, value in new["config"].items():
            if value != old["config"].get(key):
                text = with_value(text, (key,), value)
        added = {key: value for key, value in new.items() if key not in old}
        text = _ended(text) + "".join(f"{_scalar(key)}: {flow(value)}\n" for key, value in added.items())
        return text if _by_full_keys(plain_values(text)[0]) == new else after
    except (EditError, NoYamlError):
        return after


def value_at(config: object, keys: Sequence[Step]) -> object:
    """The value in a config (by full keys); KeyError where there is none."""
    found = config
    for key in keys:
        try:
            found = cast("Any", found)[key]
        except (IndexError, TypeError) as error:
            raise KeyError(key) from error
    return found


def flow(value: object) -> str:
    """A value on one line, as YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {flow(each)}" for key, each in cast("dict[Any, Any]", value).items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, cast("list[object]", value))) + "]"
    return _scalar(value)


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and not _NO_TEXT.fullmatch(value):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return NOT_IN_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted) if _is_quoted(value) else value


def _is_quoted(value: str) -> bool:
    """Whether a text without quotes would be read as anything else, or not at all: asked of the reader itself."""
    if not re.fullmatch(r"[\w.][\w./+=-]*(:[\w./+=-]+)*", value, re.ASCII):
        return True
    try:
        read, problems = plain_values(f"[{value}]")
    except NoYamlError:
        return True
    return read != [value] or bool(problems) or bool(_NO_TEXT.fullmatch(value))


def _put(text: str, keys: Sequence[Step], value: object) -> str:
    """The text with a value set."""
    if not text.strip() or _root(text) is None:
        return _ended(text) + f"config:{_below(_wrapped(keys, value), _INDENT)}\n"
    document = _Document(text)
    places, missing = document.path(("config", *keys))
    place, rest = places[-1], ("config", *keys)[missing:]
    if not rest:
        return document.replace(places, value)
    wrapped = _wrapped(rest[1:], value)
    if isinstance(place, SequenceNode):
        if rest[0] != len(place.value):
            raise EditError(f"has {len(place.value)} entries, so that the next one is [{len(place.value)}]")
        return document.append(place, None, wrapped)
    if isinstance(place, MappingNode):
        if not isinstance(rest[0], str):
            raise EditError("is no list")
        return document.append(place, rest[0], wrapped)
    if document.is_empty(place):
        return document.replace(places, _wrapped(rest, value))
    raise EditError("is a plain value, below which nothing can stand")


def _cut(text: str, keys: Sequence[Step]) -> str:
    """The text without a value, and without what would be empty then."""
    document = _Document(text)
    places, missing = document.path(("config", *keys))
    if missing <= len(keys):
        raise EditError("is not set")
    depth = len(keys)
    while depth > 1 and len(places[depth].value) == 1:
        if isinstance(keys[depth - 2], int):
            raise EditError("is all that stands in its entry; take the entry away")
        depth -= 1
    return document.remove(places[depth], ("config", *keys)[depth])


def _wrapped(steps: Sequence[Step], value: object) -> object:
    """A value below the steps that are yet to be made."""
    for step in reversed(steps):
        if isinstance(step, int) and step:
            raise EditError("is empty, so that its first entry is [0]")
        value = [value] if isinstance(step, int) else {step: value}
    return value


def _below(value: object, indent: int) -> str:
    """What stands behind `key:`: a value on the same line, or lines below it."""
    blanks = " " * indent
    if isinstance(value, dict) and value:
        entries = cast("dict[str, object]", value).items()
        return "".join(f"\n{blanks}{_scalar(key)}:{_below(each, indent + _INDENT)}" for key, each in entries)
    if isinstance(value, list) and any(isinstance(each, dict) for each in cast("list[object]", value)):
        return "".join(f"\n{blanks}- {_entry(each, indent + _INDENT)}" for each in cast("list[object]", value))
    return f" {flow(value)}"


def _entry(value: object, indent: int) -> str:
    """What stands behind `- `."""
    return _below(value, indent).lstrip()


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _root(text: str) -> Any:
    yaml: Any = YAML(pure=True)
    return yaml.compose(text)


class _Document:
    """A text and where its parts stand."""

    def __init__(self, text: str) -> None:
        self._text, self._root = text, _root(text)

    def path(self, keys: Sequence[Step]) -> tuple[list[Any], int]:
        """The nodes from the root on, as far as they are there, and how many steps that is."""
        places: list[Any] = [self._root]
        for number, key in enumerate(keys):
            found = _child(places[-1], key, is_config_key=number == 1)
            if found is None:
                return places, number
            places.append(found)
        return places, len(keys)

    def is_empty(self, node: Any) -> bool:
        """Whether nothing stands there: `key:`."""
        return isinstance(node, ScalarNode) and str(node.value) in {"", "~", "null"} and not node.style

    def replace(self, places: Sequence[Any], value: object) -> str:
        """The last of the nodes gets another value."""
        node, parent = places[-1], places[-2]
        start, end = self._span(parent, node)
        is_block = not parent.flow_style and (_is_nested(value) or _is_block(node))
        if not is_block:
            blank = " " if self._text[start - 1] == ":" else ""
            if _is_block(node):
                start, blank = len(self._text[:start].rstrip()), " "
            return f"{self._text[:start]}{blank}{flow(value)}{self._text[end:]}"
        if isinstance(parent, SequenceNode):
            return self._text[:start] + _entry(value, self._column(start)) + self._text[end:]
        key = next(key for key, each in parent.value if each is node)
        colon = self._text.index(":", key.end_mark.index) + 1
        indent = self._column(key.start_mark.index) + _INDENT
        return self._text[:colon] + _below(value, indent) + self._text[end:]

    def append(self, place: Any, key: str | None, value: object) -> str:
        """A list gets another entry, a map another key."""
        if place.flow_style:
            at = place.end_mark.index - 1
            end = len(self._text[:at].rstrip())
            comma = "" if self._text[end - 1] in "[{," else ","
            blank = " " if place.value else ""
            entry = flow(value) if key is None else f"{_scalar(key)}: {flow(value)}"
            return f"{self._text[:end]}{comma}{blank}{entry}{self._text[at:]}"
        first = place.value[0] if key is None else place.value[0][0]
        column = self._column(place.start_mark.index if key is None else first.start_mark.index)
        entry = f"- {_entry(value, column + _INDENT)}" if key is None else f"{_scalar(key)}:{_below(value, column + _INDENT)}"
        return self._insert_line(self._end(place), " " * column + entry)

    def remove(self, place: Any, key: Step) -> str:
        """A list loses an entry, a map a key."""
        entries: list[Any] = place.value
        index = key if isinstance(place, SequenceNode) else _index(place, str(key), is_config_key=place is self._config)
        entry = entries[cast("int", index)]
        begin = entry.start_mark.index if isinstance(place, SequenceNode) else entry[0].start_mark.index
        end = self._end_of(place, entry)
        if place.flow_style:
            after = re.compile(r"\s*,\s*").match(self._text, end)
            if after:
                return self._text[:begin] + self._text[after.end() :]
            before = self._text[:begin].rstrip().removesuffix(",").rstrip()
            return before + self._text[end:]
        line = self._text.rfind("\n", 0, begin) + 1
        starts = [self._start_of(place, each) for each in entries]
        begin = starts[cast("int", index)]
        if self._text[line:begin].strip():
            # The first of a list's entry: the next one takes its place behind the dash.
            return self._text[:begin] + self._text[starts[cast("int", index) + 1] :]
        newline = self._text.find("\n", end)
        if len(entries) == 1:
            # Of `config:` alone: a map that is empty.
            return self._text[: len(self._text[:line].rstrip())] + " {}" + self._text[end if newline < 0 else newline :]
        return self._text[:line] + ("" if newline < 0 else self._text[newline + 1 :])

    @property
    def _config(self) -> Any:
        return self.path(("config",))[0][-1]

    def _insert_line(self, end: int, line: str) -> str:
        """A line below the one where something ends."""
        newline = self._text.find("\n", end)
        if newline < 0:
            return f"{self._text}\n{line}\n"
        return f"{self._text[: newline + 1]}{line}\n{self._text[newline + 1 :]}"

    def _span(self, parent: Any, node: Any) -> tuple[int, int]:
        if isinstance(node, ScalarNode) and node.start_mark.index == node.end_mark.index and isinstance(parent, MappingNode):
            key = next(key for key, each in parent.value if each is node)
            at = self._text.index(":", key.end_mark.index) + 1
            return at, at
        return node.start_mark.index, self._end(node)

    def _start_of(self, place: Any, entry: Any) -> int:
        """Where an entry of a block's list or map starts, with its dash."""
        if isinstance(place, SequenceNode):
            return self._text.rindex("-", 0, entry.start_mark.index)
        return entry[0].start_mark.index

    def _end_of(self, place: Any, entry: Any) -> int:
        """Where an entry of a list or map ends."""
        if isinstance(place, SequenceNode):
            return self._end(entry)
        return self._span(place, entry[1])[1]

    def _end(self, node: Any) -> int:
        """Where a node's own text ends; a block's own mark is at the beginning of what follows its comments."""
        if _is_block(node):
            return self._end_of(node, node.value[-1])
        return len(self._text[: node.end_mark.index].rstrip())

    def _column(self, index: int) -> int:
        return index - (self._text.rfind("\n", 0, index) + 1)


def _is_block(node: Any) -> bool:
    return isinstance(node, MappingNode | SequenceNode) and not node.flow_style


def _is_nested(value: object) -> bool:
    """Whether a value is written over several lines."""
    return "\n" in _below(value, 0)


def _index(place: Any, key: str, *, is_config_key: bool) -> int | None:
    for index, (name, _) in enumerate(place.value):
        if key == (config_key(str(name.value)) if is_config_key else str(name.value)):
            return index
    return None


def _child(place: Any, key: Step, *, is_config_key: bool) -> Any:
    if isinstance(place, SequenceNode):
        return place.value[key] if isinstance(key, int) and key < len(place.value) else None
    if isinstance(place, MappingNode) and isinstance(key, str):
        index = _index(place, key, is_config_key=is_config_key)
        return None if index is None else place.value[index][1]
    return None


def _checked(before: str, after: str, keys: Sequence[Step], value: object) -> str:
    """The text, once read again as nothing but that value has changed; an anchor would change more."""
    try:
        read, _ = plain_values(after)
    except NoYamlError as error:
        raise EditError(f"cannot be changed by this command: {error}") from error
    wanted = _by_full_keys(plain_values(before)[0])
    _changed(wanted, ("config", *keys), value)
    if _without_empty(_by_full_keys(read)) != _without_empty(wanted):
        raise EditError("stands there in a way that this command does not change, as by an anchor; change the file by hand")
    return after


def _by_full_keys(content: object) -> dict[str, Any]:
    whole = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
    given = cast("dict[str, Any]", whole.get("config")) if isinstance(whole.get("config"), dict) else {}
    return {**whole, "config": {config_key(str(key)) or key: json.loads(json.dumps(value)) for key, value in given.items()}}


def _changed(content: Any, keys: Sequence[Any], value: object) -> None:
    *steps, last = keys
    for step, following in zip(steps, keys[1:], strict=True):
        is_list = isinstance(content, list)
        if is_list and step == len(cast("list[Any]", content)):
            content.append(None)
        if (content[step] if is_list else content.get(step)) is None:
            content[step] = [] if isinstance(following, int) else {}
        content = content[step]
    if value is None:
        del content[last]
    elif isinstance(content, list) and last == len(cast("list[Any]", content)):
        cast("list[Any]", content).append(value)
    else:
        content[last] = value


def _without_empty(value: object) -> object:
    """Without maps and lists that hold nothing: they go with their last entry."""
    if isinstance(value, dict):
        found = {key: _without_empty(each) for key, each in cast("dict[str, object]", value).items()}
        return {key: each for key, each in found.items() if each not in ({}, [], None)}
    if isinstance(value, list):
        found = [_without_empty(each) for each in cast("list[object]", value)]
        return [each for each in found if each not in ({}, [], None)]
    return value
