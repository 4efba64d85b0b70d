r"""YAML as the engine's reader (go-yaml v3) takes it: the events of ruamel.yaml, made plain values, every trap with its line.

Reads text alone, and knows nothing of stack files: stack_file.py does.

Seen on the engine 3.230 by `pulumi config --json` (tests/engine/test_stack_files.py asks again). Refused there as here: keys that
stand twice, tabs as indentation, control characters, unknown anchors, `<<` twice or of what is no map, `.inf`, a key that is a
list, escapes of JSON (`\/`, surrogates). Read there as text, as here: `22:22`, `NO`, `yes`, `on`, `0o9`, `1e400`. Read there
without a word, refused here: a date (becomes `2024-01-01 00:00:00 +0000 UTC`), `010` (8), `0x10` (16), `1_000` (1000), integers
beyond 2^53 (rounded), a key `null` (dropped), tags such as `!foo` (passed over), a second document (passed over), UTF-16. Its own
limits are 10,000 levels and no size: a file of 10 MB took it 20 s.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from components.problems import Problem, path_part

MOST_LEVELS = 20
MOST_VALUES = 20_000
"""What aliases stand for is counted each time."""
NOT_IN_TEXT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_LARGEST_EXACT = 2**53
_SURROGATE, _SLASH = re.compile("[\ud800-\udfff]"), re.compile(r"(?<!\\)(\\\\)*\\/")
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?([Tt ]+\d\d?:\d\d?:\d\d?.*)?")
_INTEGER = re.compile(r"[-+]?(0|[1-9]\d*)")
_ODD_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|\d+)")
_FLOAT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_STR_TAGS = {"!", "tag:yaml.org,2002:str"}


class NoYamlError(Exception):
    """Nothing more can be read; says where, and why."""


@dataclass(frozen=True)
class _Event:
    """What is used of an event of ruamel.yaml."""

    kind: str
    """Its class, such as `ScalarEvent`."""
    line: int
    value: str = ""
    tag: str = ""
    anchor: str = ""
    is_plain: bool = False
    """Without quotes."""
    has_odd_escape: bool = False
    has_directive: bool = False


def plain_values(text: str) -> tuple[object, list[Problem]]:
    """The value of the only document, an empty map where there is none, and its problems; NoYamlError where it cannot be read."""
    reader = _Reader(text)
    return reader.whole(), reader.problems


def as_json(value: object) -> str:
    """A value as JSON that every reader of YAML takes alike."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return NOT_IN_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def below(path: str, key: str) -> str:
    """The path of a key: a config key stands for itself."""
    return key if path in {"", "config"} else f"{path}{path_part(key)}"


class _Reader:
    """Makes values of events, and collects problems on the way."""

    def __init__(self, text: str) -> None:
        yaml: Any = YAML(typ="safe", pure=True)
        self._text = text
        self._events: Iterator[Any] = iter(yaml.parse(text))
        self._line = 1
        self.problems: list[Problem] = []
        self._anchors: dict[str, tuple[object, int]] = {}
        self._values = 0

    def whole(self) -> object:
        """The only document; an empty map where there is none."""
        self._next()
        start = self._next()
        if start.kind == "StreamEndEvent":
            return {}
        if start.has_directive:
            raise self._end("directives (%YAML, %TAG) do not belong in it")
        value = self._value(self._next(), "", 0)
        self._next()
        if self._next().kind != "StreamEndEvent":
            raise self._end("a second document begins, which the engine would pass over")
        return {} if value is None else value

    def _next(self) -> _Event:
        try:
            event = self._described(next(self._events))
        except MarkedYAMLError as error:
            told: Any = error
            mark = told.problem_mark or told.context_mark
            where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
            raise NoYamlError(f"it is no YAML: {where}{told.problem or told.context}") from error
        except (YAMLError, AssertionError, ValueError, OverflowError) as error:
            raise NoYamlError(f"it is no YAML: line {self._line}: {' '.join(str(error).split())}") from error
        self._line = event.line
        return event

    def _described(self, event: Any) -> _Event:
        style, value = getattr(event, "style", None), str(getattr(event, "value", ""))
        begin, end = event.start_mark, event.end_mark
        return _Event(
            type(event).__name__,
            begin.line + 1,
            value,
            str(getattr(event, "tag", None) or ""),
            str(getattr(event, "anchor", None) or ""),
            is_plain=not style,
            has_odd_escape=bool(_SURROGATE.search(value) or (style == '"' and _SLASH.search(self._text, begin.index, end.index))),
            has_directive=bool(getattr(event, "version", None) or getattr(event, "tags", None)),
        )

    def _end(self, reason: str) -> NoYamlError:
        return NoYamlError(f"line {self._line}: {reason}")

    def _problem(self, path: str, found: str | None, reason: str, fix: str) -> None:
        self.problems.append(Problem(path or "the file", found, f"line {self._line}: {reason}", fix))

    def _value(self, event: _Event, path: str, depth: int) -> object:
        self._count(1)
        if depth > MOST_LEVELS:
            raise self._end(f"it is nested more than {MOST_LEVELS} deep")
        if event.kind == "AliasEvent":
            return self._alias(event.anchor)
        before = self._values
        value = self._of(event, path, depth)
        if event.anchor:
            self._anchors[event.anchor] = value, self._values - before + 1
        return value

    def _alias(self, name: str) -> object:
        if name not in self._anchors:
            raise self._end(f"there is no anchor &{name} before it")
        value, size = self._anchors[name]
        self._count(size)
        return value

    def _count(self, more: int) -> None:
        self._values += more
        if self._values > MOST_VALUES:
            raise self._end(f"it has more than {MOST_VALUES} values, with what aliases stand for")

    def _of(self, event: _Event, path: str, depth: int) -> object:
        if event.tag and not (event.kind == "ScalarEvent" and event.tag in _STR_TAGS):
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(path, None, f"the tag {tag} is not used in stack files", "leave the tag out; quote what is text")
        if event.kind == "MappingStartEvent":
            return self._map(path, depth)
        if event.kind == "SequenceStartEvent":
            found: list[object] = []
            while (following := self._next()).kind != "SequenceEndEvent":
                found.append(self._value(following, f"{path}[{len(found)}]", depth + 1))
            return found
        if event.has_odd_escape:
            self._problem(path, None, "an escape in it is none of the engine's", "write the character itself")
        return self._plain(event.value, path) if event.is_plain and not event.tag else event.value

    def _map(self, path: str, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        lines: dict[str, int] = {}
        merged: list[dict[str, object]] = []
        while (event := self._next()).kind != "MappingEndEvent":
            is_merge = event.kind == "ScalarEvent" and event.value == "<<" and event.is_plain
            key = self._key(event, path)
            where = below(path, key)
            if key in lines:
                self._problem(where, None, f"stands there twice, first on line {lines[key]}", "leave one of them out")
            lines.setdefault(key, self._line)
            value = self._value(self._next(), where, depth + 1)
            if is_merge:
                merged += self._merged(value, where)
            else:
                found[key] = value
        # The first of several maps that are merged goes before the later ones, and what stands there itself before all.
        return dict(chain.from_iterable(each.items() for each in (*reversed(merged), found)))

    def _merged(self, value: object, path: str) -> list[dict[str, object]]:
        maps = cast("list[object]", value) if isinstance(value, list) else [value]
        if not all(isinstance(each, dict) for each in maps):
            self._problem(path, None, "only maps can be merged", "quote << where it is a key")
            return []
        return cast("list[dict[str, object]]", maps)

    def _key(self, event: _Event, path: str) -> str:
        is_single = event.kind in {"ScalarEvent", "AliasEvent"}
        found = self._value(event, below(path, event.value), 0) if is_single else None
        if isinstance(found, dict | list) or found is None:
            raise self._end("a key of a map is no text")
        return found if isinstance(found, str) else str(found).lower()

    def _plain(self, text: str, path: str) -> object:
        """What a scalar without quotes is, by the rules of go-yaml."""
        if text in _WORDS:
            return _WORDS[text]
        if _NO_NUMBER.fullmatch(text):
            self._problem(path, text, "is no number that a config can hold", f'write a number, or "{text}" where text is meant')
        elif _DATE.fullmatch(text):
            self._problem(path, text, "the engine makes a date with a time of it", f'quote it: "{text}"')
        elif text[0] in "0123456789+-.":
            return self._number(text, path)
        return text

    def _number(self, text: str, path: str) -> object:
        bare = text.replace("_", "")
        if _INTEGER.fullmatch(text):
            if abs(number := _integer(text)) > _LARGEST_EXACT:
                self._problem(path, text[:40], "the engine rounds so large a number", "quote it where text is meant")
            return number
        if _ODD_INTEGER.fullmatch(bare) or (_FLOAT.fullmatch(bare) and bare != text):
            meant = _go_number(bare)
            fix = f'write {meant}, or "{text}" where text is meant'
            self._problem(path, text[:40], f"the engine reads the number {meant} in it", fix)
            return text
        if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
            return int(number) if number.is_integer() and abs(number) < _LARGEST_EXACT else number
        return text


def _integer(text: str) -> int:
    """An integer that may be longer than Python converts: then any that is too large."""
    return int(text) if len(text) < 40 else _LARGEST_EXACT * 2  # noqa: PLR2004


def _go_number(bare: str) -> object:
    """What Go makes of an integer that is not written plainly: a leading 0 is octal, unless a digit says otherwise."""
    sign, digits = ("-", bare[1:]) if bare.startswith("-") else ("", bare.removeprefix("+"))
    octal = re.fullmatch(r"0[0-7]+", digits)
    try:
        number: object = int(f"0o{digits[1:]}" if octal else digits, 0)
    except ValueError:
        number = float(digits) if _FLOAT.fullmatch(digits) else digits
    whole = int(number) if isinstance(number, float) and number.is_integer() else number
    return f"{sign}{str(whole)[:40]}" if len(digits) < 1000 else "of so many digits"  # noqa: PLR2004
