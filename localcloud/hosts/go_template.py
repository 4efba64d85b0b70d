"""The part of Go's templates that `docker --format` is used with here.

Fields, `index`, `json`, `len`, and `if … else … end`. Left out on purpose: pipelines, range, variables.
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
    parts = _ACTION.split(template)  # text, action, text, action, …, text
    rendered, rest = _block(parts, value, active=True)
    if rest:
        raise TemplateError("template parsing error: template: :1: unexpected {{end}}")
    return rendered


def _block(parts: list[str], value: object, *, active: bool) -> tuple[str, list[str]]:
    """Render up to this block's end or else; returns what is left, beginning with that action."""
    out: list[str] = []
    while True:
        if active:
            out.append(parts[0])
        if len(parts) == 1:
            return "".join(out), []
        action, parts = parts[1], parts[2:]
        if action in {"end", "else"}:
            return "".join(out), [action, *parts]
        if action.startswith("if "):
            truth = active and bool(_evaluate(action[3:], value))
            yes, rest = _block(parts, value, active=truth)
            no = ""
            if rest[:1] == ["else"]:
                no, rest = _block(rest[1:], value, active=active and not truth)
            if rest[:1] != ["end"]:
                raise TemplateError("template parsing error: template: :1: unexpected EOF")
            out += [yes, no]
            parts = rest[1:]
        elif active:
            out.append(_text(_evaluate(action, value)))


def _evaluate(expression: str, value: object) -> object:
    words = _WORD.findall(expression)
    match words:
        case ["json", argument]:
            return json.dumps(_operand(argument, value), separators=(",", ":"))
        case ["len", argument]:
            return len(cast("list[object]", _operand(argument, value) or []))
        case ["index", container, *keys]:
            found = _operand(container, value)
            for key in keys:
                found = _index(found, _operand(key, value))
            return found
        case [argument]:
            return _operand(argument, value)
        case _:
            raise TemplateError(f'template parsing error: template: :1: function "{words[0]}" not defined')


def _operand(word: str, value: object) -> object:
    if word.startswith('"'):
        return json.loads(word)
    if word.isdigit():
        return int(word)
    if not word.startswith("."):
        raise TemplateError(f'template parsing error: template: :1: function "{word}" not defined')
    for name in [part for part in word.split(".") if part]:
        if not isinstance(value, dict) or name not in value:
            reason = f'map has no entry for key "{name}"'
            raise TemplateError(f'template parsing error: template: :1:2: executing "" at <{word}>: {reason}')
        value = cast("dict[str, Any]", value)[name]
    return value


def _index(container: object, key: object) -> object:
    if isinstance(container, dict):
        return cast("dict[object, object]", container).get(key, "")  # Docker's maps are of strings
    if isinstance(container, list) and isinstance(key, int):
        items = cast("list[object]", container)
        if key < len(items):
            return items[key]
        raise TemplateError(f"template parsing error: error calling index: reflect: slice index out of range: {key}")
    raise TemplateError("template parsing error: error calling index: index of untyped nil")


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
