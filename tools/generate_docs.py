"""Writes what is documented from the code: JSON Schemas of stack config and ttft's summary, and the generated parts of docs/.

Run it after a change to config, commands, public Python or components; `--check` (CI) writes nothing and ends with 1 where
something is stale. A generated part of a page stands between `<!-- NAME -->` and `<!-- /NAME -->`.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema

from components.settings import DRAINED, PROJECT, SECTIONS, Secrets, SiteSettings
from tools import code_reference
from ttft.results import summary_schema

ROOT = Path(__file__).resolve().parents[1]
SCHEMA_FILE = ROOT / "docs" / "stack-config.schema.json"
SUMMARY_SCHEMA_FILE = ROOT / "docs" / "ttft-summary.schema.json"
REFERENCE = ROOT / "docs" / "reference"
_COMMAND = ".venv/bin/python tools/generate_docs.py"
_PROTECT_MEANING = "Hosts and addresses can be deleted or replaced only after `edge unprotect ENV`."

JsonObject = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Writes the files, or with `--check` tells which are stale; the exit status."""
    wanted = {SCHEMA_FILE: schema_text(), SUMMARY_SCHEMA_FILE: json.dumps(summary_schema(), indent=2) + "\n"}
    for file_name, part, made in PARTS:
        if (page := REFERENCE / file_name).exists():
            wanted[page] = filled(wanted.get(page) or page.read_text(encoding="utf-8"), part, made())
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        name = path.relative_to(ROOT)
        if "--check" in arguments:
            sys.stderr.write(f"{name} is not what the code says\n  -> {_COMMAND}\n")
        else:
            path.write_text(wanted[path], encoding="utf-8")
            sys.stdout.write(f"wrote {name}\n")
    return 1 if stale and "--check" in arguments else 0


def schema_text() -> str:
    """The JSON Schema of a stack file, Pulumi.ENV.yaml."""
    definitions = _definitions()
    section = {f"{PROJECT}:{key}": {"$ref": f"#/$defs/{model.__name__}"} for key, model in SECTIONS.items()}
    secrets = {
        f"{PROJECT}:{field.alias}": {**_secret_schema(field), "description": field.description}
        for field in Secrets.model_fields.values()
    }
    schema: JsonObject = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Stack file of {PROJECT}",
        "description": "Made by tools/generate_docs.py. Rules between fields are the program's: `pulumi preview` tells.",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "properties": {
                    f"{PROJECT}:sites": {
                        "description": "The edge inference sites, one for each zone.",
                        "type": "array",
                        "minItems": 1,
                        "items": {"$ref": "#/$defs/SiteSettings"},
                    },
                    **section,
                    f"{PROJECT}:drained": {
                        "description": DRAINED,
                        "type": "array",
                        "items": {"type": "string"},
                    },
                    f"{PROJECT}:tags": {
                        "description": "Additional tags of every resource.",
                        "type": "object",
                        "additionalProperties": {"type": "string"},
                    },
                    f"{PROJECT}:protect": {"description": _PROTECT_MEANING, "type": "boolean", "default": False},
                    **secrets,
                },
                "patternProperties": {f"^(?!{PROJECT}:)": {}},
                "additionalProperties": False,
            }
        },
        "$defs": {
            **definitions,
            "Secret": {
                "type": "object",
                "required": ["secure"],
                "properties": {"secure": {"type": "string"}},
                "additionalProperties": False,
            },
        },
    }
    return json.dumps(schema, indent=2) + "\n"


def table() -> str:
    """The Markdown table of every key of the stack config."""
    lines = ["| Key | Type, default | Meaning |", "| --- | --- | --- |"]
    lines += [f"| `{key}` | {kind} | {meaning} |" for key, kind, meaning in _rows()]
    return "\n".join(lines) + "\n"


def filled(page: str, part: str, text: str) -> str:
    """The page with a text between a part's markers; as it is where it has none."""
    marked = re.compile(rf"(<!-- {part} -->\n).*?(<!-- /{part} -->)", re.DOTALL)
    return marked.sub(lambda markers: f"{markers[1]}{text.strip()}\n{markers[2]}", page)


PARTS: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("config.md", "config table", table),
    ("options.md", "commands", code_reference.commands),
    ("exit-codes.md", "exit codes", code_reference.exit_codes),
    ("outputs.md", "outputs table", code_reference.outputs),
    ("python.md", "environment", code_reference.environment),
    ("python-types.md", "types", code_reference.results),
    ("components.md", "components", code_reference.components),
)
"""Page, part of it, and what makes its text."""


def _rows() -> Iterator[tuple[str, str, str]]:
    """Key, type with default, and meaning of every field."""
    definitions = _definitions()
    for key, model in {"sites[]": SiteSettings, **SECTIONS}.items():
        yield from _section_rows(key, definitions[model.__name__], definitions)
    yield "drained", "list of texts, none", DRAINED
    yield "tags", "map of texts, none", "Additional tags of every resource."
    yield "protect", "true or false, `false`", _PROTECT_MEANING
    for field in Secrets.model_fields.values():
        need = "required" if field.is_required() else "unset"
        kind = "map of secrets" if _is_map(field) else "secret"
        yield str(field.alias), f"{kind}, {need}", _in_table(str(field.description))


def _secret_schema(field: FieldInfo) -> JsonObject:
    one = {"$ref": "#/$defs/Secret"}
    return {"type": "object", "additionalProperties": one} if _is_map(field) else one


def _is_map(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is dict


def _section_rows(key: str, section: Mapping[str, Any], definitions: Mapping[str, JsonObject]) -> Iterator[tuple[str, str, str]]:
    """The rows of a section's fields; a section within it is its fields."""
    for name, described in section["properties"].items():
        inner = next((each["$ref"] for each in described.get("anyOf", []) if "$ref" in each), None)
        if inner:
            yield from _section_rows(f"{key}.{name}", definitions[inner.rpartition("/")[2]], definitions)
            continue
        is_required = name in section.get("required", [])
        kind = _in_table(f"{_kind(described)}, {_default(described, is_required=is_required)}")
        yield f"{key}.{name}", kind, _meaning(described)


def _definitions() -> dict[str, JsonObject]:
    """The models' own JSON Schemas by name, without pydantic's titles, which only repeat the keys."""
    models: list[tuple[type[BaseModel], Any]] = [(model, "validation") for model in (SiteSettings, *SECTIONS.values())]
    _, schema = models_json_schema(models, by_alias=True)
    definitions: dict[str, JsonObject] = schema["$defs"]
    for definition in definitions.values():
        definition.pop("title")
        for described in definition["properties"].values():
            described.pop("title", None)
    return definitions


def _kind(described: Mapping[str, Any]) -> str:
    """A field's type in words."""
    if alternatives := [each for each in described.get("anyOf", []) if each != {"type": "null"}]:
        return " or ".join(map(_kind, alternatives))
    if choices := described.get("enum") or [each for each in [described.get("const")] if each]:
        return " | ".join(f"`{value}`" for value in choices)
    kind = described["type"]
    if kind == "object":
        values = described.get("additionalProperties") or next(iter(described["patternProperties"].values()))
        return f"map of {_kind(values)}" + ("" if values["type"] == "integer" else "s")
    if kind == "array":
        return f"list of {_kind(described['items'])}s"
    if kind == "integer" and "minimum" in described and "maximum" in described:
        return f"{described['minimum']} to {described['maximum']}"
    return {"string": "text", "boolean": "true or false", "integer": "number", "number": "number"}[kind]


def _default(described: Mapping[str, Any], *, is_required: bool) -> str:
    if is_required:
        return "required"
    default = described.get("default")
    return "none" if default in ([], {}) else "unset" if default is None else f"`{json.dumps(default).strip(chr(34))}`"


def _meaning(described: Mapping[str, Any]) -> str:
    return _in_table(str(described["description"]))


def _in_table(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
