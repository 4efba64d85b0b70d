"""The one reader of stack files, Pulumi.NAME.yaml. What the engine's own reader refuses or misreads is refused (stack_yaml.py).

Reads nothing but the file; stack_edit.py changes its text. Leaves out what a value may be: components/settings, which plain
`pulumi up` asks too.
"""

import copy
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML

from automation.engine.stack_yaml import NOT_IN_TEXT, NoYamlError, plain_values
from automation.errors import UsageError
from automation.paths import PROJECT_ROOT
from components import PROJECT
from components.problems import Problem, listed, path_part, printable
from components.remedies import unset_line

MOST_BYTES = 256 * 1024
"""Of a file: many times what a hundred sites need."""
_TOP = ("config", "secretsprovider", "encryptedkey", "encryptionsalt", "environment")


@dataclass(frozen=True)
class StackFile:
    """What a stack file says."""

    content: dict[str, Any]
    """All of it; `config` by full keys."""
    problems: tuple[Problem, ...]
    """Everything in it that cannot be meant so, or that the engine refuses."""

    @property
    def config(self) -> dict[str, Any]:
        """The config by full keys."""
        return self.content["config"]

    @property
    def has_other_sources(self) -> bool:
        """Whether values come from elsewhere too (`environment:`), so that nothing is known to be missing."""
        return "environment" in self.content


def look(path: Path) -> StackFile:
    """A stack file with its problems; UsageError where it is none at all."""
    return look_at(path.name, text_of(path))


def look_at(name: str, text: str) -> StackFile:
    """As `look`, for a text that may become the file `name`."""
    try:
        return _read(text)
    except NoYamlError as error:
        raise _no_stack_file(name, error) from error


def text_of(path: Path) -> str:
    """The text of a stack file, lines ended as they are; UsageError where it is none."""
    try:
        return _text(path)
    except NoYamlError as error:
        raise _no_stack_file(path.name, error) from error


def write_whole(path: Path, text: str) -> None:
    """Writes a stack file, whole or not at all; a link stays one."""
    target = path.resolve()
    draft = target.with_name(f".{target.name}.new")
    draft.write_text(text, encoding="utf-8", newline="")
    draft.chmod(target.stat().st_mode & 0o777)
    draft.replace(target)


def _no_stack_file(name: str, error: NoYamlError) -> UsageError:
    return UsageError(f"{name} is no stack file: {printable(str(error))}")


def read(path: Path) -> StackFile:
    """A stack file without problems; UsageError that lists them otherwise."""
    found = look(path)
    if found.problems:
        count = "1 problem" if len(found.problems) == 1 else f"{len(found.problems)} problems"
        name = path.name.removeprefix("Pulumi.").removesuffix(".yaml")
        raise UsageError(f"{path.name} is no sound stack file, {count}:\n{listed(found.problems, name)}")
    return found


def holds_secret(value: object) -> bool:
    """Whether something encrypted is anywhere in a value."""
    if isinstance(value, list):
        return any(map(holds_secret, cast("list[object]", value)))
    found = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return "secure" in found or any(map(holds_secret, found.values()))


def project_file() -> dict[str, Any]:
    """The tracked Pulumi.yaml."""
    return copy.deepcopy(_project((PROJECT_ROOT / "Pulumi.yaml").read_text(encoding="utf-8")))


@lru_cache(maxsize=1)
def _project(text: str) -> dict[str, Any]:
    yaml: Any = YAML(typ="safe", pure=True)
    return yaml.load(text)


def project_defaults() -> dict[str, Any]:
    """What Pulumi.yaml says for stacks whose files say nothing, by full keys."""
    described: dict[str, Any] = project_file().get("config") or {}
    given: dict[str | None, Any] = {config_key(key): each.get("value", each.get("default")) for key, each in described.items()}
    return {key: value for key, value in given.items() if key and value not in (None, "", [], {})}


def config_key(key: str) -> str | None:
    """As the engine reads a key: without a namespace the project's; `a:config:b`, of old, is `a:b`."""
    parts = key.split(":")
    if len(parts) == 1:
        parts = [PROJECT, key]
    elif len(parts) == 3 and parts[1] == "config":  # noqa: PLR2004
        parts = [parts[0], parts[2]]
    return ":".join(parts) if len(parts) == 2 and all(parts) else None  # noqa: PLR2004


def _text(path: Path) -> str:
    with path.open("rb") as file:
        found = file.read(MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise NoYamlError(f"it has more than {MOST_BYTES // 1024} KiB")
    try:
        text = found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = found.count(b"\n", 0, error.start) + 1
        raise NoYamlError(f"line {line}: its text is no UTF-8") from error
    if foreign := NOT_IN_TEXT.search(text):
        line = text.count("\n", 0, foreign.start()) + 1
        raise NoYamlError(f"line {line}: the control character {foreign[0]} stands in it")
    return text


@lru_cache(maxsize=8)
def _read(text: str) -> StackFile:
    """What nobody changes: one command reads one text several times."""
    content, problems = plain_values(text)
    if not isinstance(content, dict):
        raise NoYamlError("it needs a map `config:`, as in Pulumi.local.yaml")
    whole = cast("dict[str, Any]", content)
    problems += _top_problems(whole)
    given: object = {} if whole.get("config") is None else whole["config"]
    if not isinstance(given, dict):
        raise NoYamlError("it needs a map `config:`, as in Pulumi.local.yaml")
    config: dict[str, Any] = {}
    for key, value in cast("dict[str, Any]", given).items():
        full = config_key(key)
        if full is None:
            problems.append(Problem(f"config.{key}", None, "is no key of a config", f"write it as {PROJECT}:KEY or aws:KEY"))
        elif full in config:
            problems.append(Problem(full, None, f"stands there twice, once as {key}", "leave one of them out"))
        else:
            config[full] = "" if value is None else value
            problems += _secret_problems(full, value)
    return StackFile({**whole, "config": config}, tuple(problems))


def _top_problems(content: dict[str, Any]) -> Iterator[Problem]:
    for key, value in content.items():
        if key not in _TOP:
            close = difflib.get_close_matches(key.lower(), _TOP, n=1)
            meant = f"did you mean {close[0]}?" if close else "the engine would pass over it"
            yield Problem(key, None, f"is no part of a stack file; {meant}", "config keys belong below `config:`, indented")
        elif key not in {"config", "environment"} and not isinstance(value, str):
            yield Problem(key, None, "is no text", "take back what `pulumi stack init` wrote there")


def _secret_problems(path: str, value: object) -> Iterator[Problem]:
    if isinstance(value, list):
        for index, each in enumerate(cast("list[object]", value)):
            yield from _secret_problems(f"{path}[{index}]", each)
    elif isinstance(value, dict):
        found = cast("dict[str, object]", value)
        if "secure" in found and (len(found) > 1 or not isinstance(found["secure"], str)):
            reason = "`secure` holds an encrypted text, and nothing stands beside it"
            yield Problem(path, None, reason, unset_line(path))
            return
        for key, each in found.items():
            yield from _secret_problems(f"{path}{path_part(key)}", each)
