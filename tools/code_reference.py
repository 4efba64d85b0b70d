"""The reference pages' text from the code itself: commands from their parsers, Python from signatures and docstrings.

Python is read, not run, so that nothing has to be imported for it. Leaves out where the text is written: generate_docs.py.
"""

import ast
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parents[1]
_ENVIRONMENT_ROOMS = ("automation/environment.py", "automation/sites/deployed_sites.py", "automation/engine/deployed.py")
_OF_DEPLOYED = ("outputs", "inventory", "orphans")
"""Of what all rooms of automation need, what a program needs too."""
_RESULT_ROOMS = (
    "automation/engine/results.py",
    "automation/engine/events.py",
    "automation/sites/ask.py",
    "automation/sites/resolution.py",
    "automation/sites/status.py",
)
_COMPONENT_ROOMS = tuple(
    f"components/{name}.py" for name in ("network", "site", "server", "routing", "certificates", "args", "dns_plan")
)
_COMPONENT_KINDS = ("ComponentResource", "TypedDict", "StrEnum", "Enum")


def commands() -> str:
    """Every command of `edge`: how it is called, what it does, its options."""
    import typer

    from automation.cli import app

    lines: list[str] = []
    for words, command in _leaves(typer.main.get_command(app), ("edge",)):
        lines += [f"## {' '.join(words)}", "", _help_text(command.help or ""), ""]
        context = typer.Context(command, info_name=words[-1])
        rows = [_parameter_row(each, context) for each in command.params if each.get_help_record(context)]
        usage = " ".join([*words, *(_argument(each) for each in command.params if each.param_type_name == "argument")])
        lines += [f"`{usage}`", "", "| argument or option | meaning |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def exit_codes() -> str:
    """The table of exit codes, from the errors that have them."""
    found = {0: "What was asked for is done."}
    for name, described in _documented(ROOT / "automation" / "errors.py").items():
        if isinstance(described, ast.ClassDef) and (code := _exit_code(described)) is not None:
            found[code] = re.sub(r" Exit code \d+\.$", "", _first_paragraph(ast.get_docstring(described) or name))
    found[7] = "`edge drift` found differences."
    return _table(("exit code", "meaning"), [(str(code), text) for code, text in sorted(found.items())])


def outputs() -> str:
    """The table of a stack's outputs, from their JSON Schema."""
    schema = json.loads((ROOT / "docs" / "outputs.schema.json").read_text(encoding="utf-8"))
    return _table(("output", "meaning"), list(_output_rows("", schema, schema["$defs"])))


def environment() -> str:
    """Environment and its methods."""
    lines: list[str] = []
    for number, room in enumerate(_ENVIRONMENT_ROOMS):
        for name, node in _documented(ROOT / room).items():
            if isinstance(node, ast.ClassDef) and name in {"Environment", "DeployedSites", "Deployed"}:
                lines += [] if number else [inspect.cleandoc(ast.get_docstring(node) or ""), ""]
                lines += _methods(node, _OF_DEPLOYED if name == "Deployed" else None)
    return "\n".join(lines)


def results() -> str:
    """What Environment's methods give, its events and its errors."""
    lines = ["## Errors", "", _errors()]
    for room in _RESULT_ROOMS:
        lines += [f"## Of {room}", ""]
        for name, node in _documented(ROOT / room).items():
            if isinstance(node, ast.ClassDef) and any(_is_dataclass(each) for each in node.decorator_list):
                lines += _class(name, node, level=3)
    return "\n".join(lines)


def components() -> str:
    """Every component with its arguments, and the types that they are made of."""
    lines: list[str] = []
    for room in _COMPONENT_ROOMS:
        for name, node in _documented(ROOT / room).items():
            bases = {each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in _bases(node)}
            if isinstance(node, ast.ClassDef) and bases & set(_COMPONENT_KINDS):
                lines += _class(name, node, level=2, where=room)
    return "\n".join(lines)


def _leaves(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below a group that is not hidden, with the words that call it."""
    children: Mapping[str, Any] | None = getattr(command, "commands", None)
    if children is None:
        yield words, command
        return
    for name, child in children.items():
        if not child.hidden:
            yield from _leaves(child, (*words, name))


def _help_text(text: str) -> str:
    """A command's help as Markdown; the example as code."""
    paragraphs = [" ".join(each.split()) for each in inspect.cleandoc(text).split("\n\n")]
    return "\n\n".join(re.sub(r"^Example: (.*)$", lambda found: f"Example: `{found[1]}`", each) for each in paragraphs)


def _argument(parameter: Any) -> str:
    name = parameter.metavar or str(parameter.name).upper()
    return name if parameter.required else f"[{name.strip('[]')}]"


def _parameter_row(parameter: Any, context: Any) -> str:
    """How a parameter is written and what it means, as its help has both."""
    called, meaning = parameter.get_help_record(context)
    return f"| `{_cell(called)}` | {_cell(meaning)} |"


def _exit_code(node: ast.ClassDef) -> int | None:
    for each in node.body:
        if isinstance(each, ast.Assign) and getattr(each.targets[0], "id", "") == "exit_code":
            return int(ast.literal_eval(each.value))
    return None


def _output_rows(path: str, schema: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A row for each property below a schema; `ZONE` and `[]` stand for what has no name of its own."""
    for name, described in schema.get("properties", {}).items():
        here = f"{path}{name}"
        alternatives = [described, *described.get("anyOf", [])]
        targets = [known[_target(each)] for each in alternatives if "$ref" in each]
        meaning = described.get("description") or next((each["description"] for each in targets if "description" in each), "")
        choices = described.get("enum")
        yield f"`{here}`", meaning or (", ".join(f"`{each}`" for each in choices) if choices else "")
        for below in targets:
            yield from _output_rows(f"{here}.", below, known)
        for mark, key in ((".ZONE.", "additionalProperties"), ("[].", "items")):
            inner: Any = described.get(key)
            if isinstance(inner, dict) and "$ref" in inner:
                target = _target(cast("Mapping[str, Any]", inner))
                yield from _output_rows(f"{here}{mark}", known[target], known)


def _target(reference: Mapping[str, Any]) -> str:
    """The name that a `$ref` leads to."""
    return str(reference["$ref"]).rpartition("/")[2]


def _documented(file: Path) -> dict[str, ast.stmt]:
    """The public classes and functions of a file by name, in its order."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    }


def _bases(node: ast.stmt) -> Sequence[ast.expr]:
    return node.bases if isinstance(node, ast.ClassDef) else ()


def _is_dataclass(decorator: ast.expr) -> bool:
    return "dataclass" in ast.unparse(decorator)


def _methods(node: ast.ClassDef, wanted: Sequence[str] | None) -> Iterator[str]:
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and not each.name.startswith("_") and (wanted is None or each.name in wanted):
            yield from (f"### {each.name}", "", "```python", _signature(each), "```", "")
            yield from (inspect.cleandoc(ast.get_docstring(each) or ""), "")


def _signature(node: ast.FunctionDef) -> str:
    """A method's call as one writes it, with types."""
    arguments = ast.unparse(node.args).removeprefix("self, ").removeprefix("self")
    gives = ast.unparse(node.returns).strip("'\"") if node.returns else "None"
    text = f"{node.name}({arguments}) -> {gives}".replace("'", "")
    return text if len(text) <= 100 else text.replace(", ", ",\n    ").replace("(", "(\n    ", 1)  # noqa: PLR2004


def _class(name: str, node: ast.ClassDef, *, level: int, where: str = "") -> Iterator[str]:
    """A class with a row for each field: its type, and the text below it."""
    yield from (f"{'#' * level} {name}", "", inspect.cleandoc(ast.get_docstring(node) or ""), "")
    if where:
        yield from (f"In `{where}`.", "")
    rows = list(_fields(node))
    if rows:
        yield from (_table(("field", "type", "meaning"), rows), "")


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    for each, following in zip(node.body, [*node.body[1:], None], strict=True):
        text = following.value if isinstance(following, ast.Expr) else None
        meaning = text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else ""
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name) and not each.target.id.startswith("_"):
            kind = re.sub(r"^NotRequired\[(.*)\]$", r"\1, optional", ast.unparse(each.annotation))
            yield f"`{each.target.id}`", f"`{_cell(kind)}`" if kind else "", _cell(meaning)
        elif isinstance(each, ast.Assign) and isinstance(each.value, ast.Constant) and meaning:
            yield f"`{ast.unparse(each.targets[0])}`", f"`{_cell(ast.unparse(each.value))}`", _cell(meaning)


def _errors() -> str:
    rows = [
        (f"`{name}`", str(_exit_code(node) or ""), _first_paragraph(ast.get_docstring(node) or ""))
        for name, node in _documented(ROOT / "automation" / "errors.py").items()
        if isinstance(node, ast.ClassDef) and name.endswith("Error")
    ]
    return _table(("error", "exit code of `edge`", "meaning"), [(a, b, re.sub(r" Exit code \d+\.$", "", c)) for a, b, c in rows])


def _first_paragraph(text: str) -> str:
    return " ".join(text.split("\n\n", maxsplit=1)[0].split())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
