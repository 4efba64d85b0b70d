"""The part of Go's templates that `docker --format` is used with here.

Fields, `index` into a map, and `json`. Left out on purpose: conditions, lists, pipelines, variables.
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')


class TemplateError(ValueError):
    """A template that cannot be parsed or executed; the text is Docker's."""


def render(template: str, value: object) -> str:
    """Fill a template from JSON-like data."""
    return _ACTION.sub(lambda action: _evaluate(action[1], value), template)


def _evaluate(expression: str, value: object) -> str:
    match _WORD.findall(expression):
        case ["json", field]:
            return json.dumps(_field(field, value), separators=(",", ":"))
        case ["index", field, key] if key.startswith('"'):
            found = _field(field, value)
            return _text(cast("dict[str, object]", found).get(json.loads(key), ""))  # Docker's maps are of strings
        case [field]:
            return _text(_field(field, value))
        case words:
            raise _undefined(words[0])


def _field(word: str, value: object) -> object:
    if not word.startswith("."):
        raise _undefined(word)
    for name in [part for part in word.split(".") if part]:
        if not isinstance(value, dict) or name not in value:
            reason = f'map has no entry for key "{name}"'
            raise TemplateError(f'template parsing error: template: :1:2: executing "" at <{word}>: {reason}')
        value = cast("dict[str, Any]", value)[name]
    return value


def _undefined(word: str) -> TemplateError:
    return TemplateError(f'template parsing error: template: :1: function "{word}" not defined')


def _text(value: object) -> str:
    match value:
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case dict():
            pairs = sorted(cast("dict[str, object]", value).items())
            return "map[" + " ".join(f"{key}:{_text(item)}" for key, item in pairs) + "]"
        case list():
            return "[" + " ".join(_text(item) for item in cast("list[object]", value)) + "]"
        case _:
            return str(value)
