"""Raw files: what a run measured, one JSON object a line, each with the name of its kind as its only key.

`ttft report RAW` and `ttft compare` read them back, so that every number can be made again, and another way.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from ttft.errors import TtftError
from ttft.samples import Failure, Run, Sample, ServerView, Target

_KINDS: dict[str, TypeAdapter[Any]] = {
    "setup": TypeAdapter(dict[str, JsonValue]),
    "target": TypeAdapter(Target),
    "sample": TypeAdapter(Sample),
    "failure": TypeAdapter(Failure),
    "server_view": TypeAdapter(ServerView),
    "cpu_ms_per_request": TypeAdapter(dict[str, float]),
}


def write_raw(run: Run, path: Path) -> None:
    """Writes a run as JSONL: set-up, targets, then every sample and failure in the order of their start."""
    with path.open("w", encoding="utf-8") as file:
        for kind, value in _lines(run):
            file.write(json.dumps({kind: value}, default=str, separators=(",", ":")) + "\n")


def read_raw(path: Path) -> Run:
    """The run in a raw file. Raises TtftError with the line's number where it is not one."""
    run = Run(setup={}, targets=[])
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                ((kind, value),) = json.loads(line).items()
                _add(run, kind, _KINDS[kind].validate_python(value))
            except (ValueError, KeyError, AttributeError) as error:
                raise TtftError(f"{path}, line {number}: {_reason(error)}\n  -> a raw file is what ttft --raw wrote") from error
    if not run.targets:
        raise TtftError(f"{path} has no targets in it\n  -> a raw file is what ttft --raw wrote")
    return run


def _lines(run: Run) -> Iterator[tuple[str, object]]:
    yield "setup", run.setup
    yield from (("target", asdict(target)) for target in run.targets)
    for each in sorted([*run.samples, *run.failures], key=lambda each: each.started_ms):
        yield "sample" if isinstance(each, Sample) else "failure", asdict(each)
    yield from (("server_view", asdict(view)) for view in run.server_views)
    yield "cpu_ms_per_request", run.cpu_ms_per_request


def _add(run: Run, kind: str, value: Any) -> None:
    match kind:
        case "setup":
            run.setup = value
        case "target":
            run.targets.append(value)
        case "sample":
            run.samples.append(value)
        case "failure":
            run.failures.append(value)
        case "server_view":
            run.server_views.append(value)
        case _:
            run.cpu_ms_per_request = value


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"no entry of a raw file ({error})"
