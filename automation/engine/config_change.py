"""One value of an environment's config: read, or judged by the program's own settings and then changed in its stack file.

The stack file is the one place of plain values, on AWS and on the local cloud. Leaves out secrets, which the engine encrypts:
secret_change.py.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from automation.engine.locks import only_run
from automation.engine.stack_edit import EditError, Step, value_at, with_value, without
from automation.engine.stack_file import config_key, look, look_at, text_of, write_whole
from automation.engine.stack_yaml import NoYamlError, plain_values
from automation.errors import UsageError
from components import PROJECT
from components.problems import Problem, listed, path_part
from components.settings import KNOWN_KEYS, SECRET_NAMES

if TYPE_CHECKING:
    from automation.engine.deployed import Deployed

_STEP = re.compile(r"""\.([\w-]+)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]|\[([\w-]+)\]""")
_TOP = re.compile(r"([\w-]+:)?[\w-]+")


def parsed(text: str, config: Any, environment: str, *, is_unset: bool = False) -> list[Step]:
    """The full key and the steps below it that a key path names: `server.model`, `sites[0].zone`, `sites[us-west-2a].replicas`.

    UsageError for what is none, and for a secret, unless it stands in clear and is to be taken away.
    """
    top = _TOP.match(text)
    key = config_key(top[0]) if top else None
    if not top or not key:
        raise _malformed(text)
    name = key.removeprefix(f"{PROJECT}:")
    if name in SECRET_NAMES and not (is_unset and not _holds_secure(config.get(key))):
        raise UsageError(
            f"{name} is a secret, and would stand in clear in the stack file\n"
            f"  -> edge secret set {environment} {text.removeprefix(f'{PROJECT}:')}   # or: edge secret list {environment}"
        )
    if ":" not in top[0] and name not in {*KNOWN_KEYS, *SECRET_NAMES} and key not in config:
        close = difflib.get_close_matches(name, KNOWN_KEYS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(KNOWN_KEYS)}, aws:region"
        raise UsageError(f"there is no key '{name}'; {hint}\n  -> edge config {environment}   # shows what is set")
    steps: list[Step] = [key]
    at = top.end()
    while at < len(text):
        step = _STEP.match(text, at)
        if not step:
            raise _malformed(text)
        at = step.end()
        steps.append(_step(step, steps, config, environment))
    return steps


def _step(step: re.Match[str], above: Sequence[Step], config: Any, environment: str) -> Step:
    plain, index, quoted, zone = step.groups()
    if index is not None:
        return int(index)
    if zone is None:
        return plain if plain is not None else re.sub(r"\\(.)", r"\1", quoted)
    sites = config.get(f"{PROJECT}:sites") if above == [f"{PROJECT}:sites"] else None
    listed_sites = cast("list[Any]", sites) if isinstance(sites, list) else []
    zones = [cast("dict[str, Any]", each).get("zone") if isinstance(each, dict) else None for each in listed_sites]
    if zone not in zones:
        known = f"`sites` has {', '.join(map(str, zones))}" if zones else "only a site is named by its zone"
        raise UsageError(f"'[{zone}]' names nothing: {known}\n  -> edge config {environment} sites")
    return zones.index(zone)


def _malformed(text: str) -> UsageError:
    return UsageError(
        f"'{text}' is no key path: write it like server.model, sites[0].replicas, sites[us-west-2a].replicas, "
        'routing.bias.us-west-2, tags["a b"]'
    )


def shown_path(steps: Sequence[Step]) -> str:
    """A key path as a person types it."""
    return str(steps[0]).removeprefix(f"{PROJECT}:") + "".join(map(path_part, steps[1:]))


def given_value(text: str, arguments: str) -> object:
    """The value that a person typed, as a scalar or in YAML's flow style; UsageError with what is wrong with it.

    `arguments` is how `edge` is told of the environment.
    """
    try:
        value, problems = plain_values(text)
    except NoYamlError as error:
        raise UsageError(f"the value is no YAML: {str(error).removeprefix('it is no YAML: ')}") from error
    if problems:
        raise UsageError("the value would not be read as it looks:\n" + listed(problems, arguments))
    if value == {} and text.strip() != "{}":
        raise UsageError("the value is empty\n  -> --unset takes a key away; '\"\"' is a text without letters")
    if _holds_secure(value):
        raise UsageError(f"`secure` marks what is encrypted, and only the engine encrypts\n  -> edge secret set {arguments} KEY")
    return value


def _holds_secure(value: object) -> bool:
    if isinstance(value, list):
        return any(map(_holds_secure, cast("list[object]", value)))
    found = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return "secure" in found or any(map(_holds_secure, found.values()))


def entries(config: Any, above: Sequence[Step] = ()) -> Iterator[tuple[list[Step], object]]:
    """Every plain value of a config with the way to it; a list of plain values is one."""
    if isinstance(config, dict) and config and "secure" not in config:
        for key, each in cast("dict[str, Any]", config).items():
            yield from entries(each, [*above, key])
    elif isinstance(config, list) and any(isinstance(each, dict | list) for each in cast("list[Any]", config)):
        for index, each in enumerate(cast("list[Any]", config)):
            yield from entries(each, [*above, index])
    else:
        yield [*above], cast("object", config)


def set_value(deployed: "Deployed", steps: Sequence[Step], value: object) -> None:
    """Writes a value into the stack file; UsageError, and no change, for one that the program would refuse."""
    _change(deployed, steps, partial(with_value, keys=steps, value=value))


def unset_value(deployed: "Deployed", steps: Sequence[Step]) -> None:
    """Takes a value out of the stack file; UsageError, and no change, where the program would refuse what is left."""
    _change(deployed, steps, partial(without, keys=steps), is_unset=True)


def _change(deployed: "Deployed", steps: Sequence[Step], edit: Callable[[str], str], *, is_unset: bool = False) -> None:
    path, shown = deployed.stack_file, shown_path(steps)
    with only_run(deployed.logs, deployed.name, "changing the config"):
        before = text_of(path)
        _refuse_secret(deployed, steps)
        try:
            after = edit(before)
        except EditError as error:
            above = shown_path(steps[:-1]) or shown if "entries" in str(error) else shown
            raise UsageError(f"{above} {error}\n  -> edge config {deployed.name} {shown_path(steps[:1])}") from error
        old = deployed.problems_in(look(path))
        new = deployed.problems_in(look_at(path.name, after))
        changed = f"{PROJECT}:{shown}" if str(steps[0]).startswith(PROJECT) else shown
        if refused := added(old, new, None if is_unset else changed):
            raise UsageError(f"{path.name} stays as it was: {shown} would bring\n{listed(refused, deployed.arguments)}")
        write_whole(path, after)


def _refuse_secret(deployed: "Deployed", steps: Sequence[Step]) -> None:
    """What is encrypted is not replaced by accident."""
    try:
        found = value_at(look(deployed.stack_file).config, steps)
    except KeyError:
        return
    if _holds_secure(found):
        raise UsageError(f"{shown_path(steps)} holds what is encrypted\n  -> edge secret list {deployed.arguments}")


def added(old: Sequence[Problem], new: Sequence[Problem], given: str | None) -> list[Problem]:
    """The problems that a change brings; `given` is the path of what was set, which must be right itself. Elsewhere, what was
    wrong may be told in other words once a part of it is mended.
    """
    before = {(each.path, each.reason, each.value) for each in old}
    known = {each.path for each in old}
    return [
        each
        for each in new
        if (each.path, each.reason, each.value) not in before
        and (each.path not in known or (given is not None and each.path.startswith(given)))
    ]
