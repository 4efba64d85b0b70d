"""Raw files: what a run measured, one JSON object a line, each with the name of its kind as its only key.

Reading checks every line, so that numbers can be made again, and another way. Writing needs the standard library alone, since it
also happens on vantage hosts (vantage.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, TextIO, cast

from ttft.errors import TtftError
from ttft.samples import Failure, Run, Sample, ServerView, Target

_REMEDY = "\n  -> a raw file is what `ttft URL --raw PATH` wrote"


def write_raw(run: Run, file: TextIO) -> None:
    """Writes a run as JSONL: set-up, targets, then every sample and failure in the order of their start."""
    for kind, value in _entries(run):
        file.write(json.dumps({kind: value}, default=str, separators=(",", ":")) + "\n")


def read_raw(lines: Iterable[str], name: str) -> Run:
    """The run in a raw file of that name. Raises TtftError with the line's number where it is not one."""
    from pydantic import JsonValue, TypeAdapter, ValidationError

    kinds: dict[str, TypeAdapter[Any]] = {
        "setup": TypeAdapter(dict[str, JsonValue]),
        "target": TypeAdapter(Target),
        "sample": TypeAdapter(Sample),
        "failure": TypeAdapter(Failure),
        "server_view": TypeAdapter(ServerView),
        "cpu_ms_per_request": TypeAdapter(dict[str, float]),
    }
    found: dict[str, list[Any]] = {kind: [] for kind in kinds}
    for number, line in enumerate(lines, start=1):
        try:
            ((kind, value),) = json.loads(line).items()
            found[kind].append(kinds[kind].validate_python(value))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise TtftError(f"{name}, line {number}: {place}: {first['msg']}{_REMEDY}") from error
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise TtftError(f"{name}, line {number} is no entry of a raw file{_REMEDY}") from error
    if not found["setup"] or not found["target"]:
        raise TtftError(f"{name} has no set-up or no targets in it{_REMEDY}")
    return Run(
        setup=found["setup"][-1],
        targets=found["target"],
        samples=found["sample"],
        failures=found["failure"],
        server_views=found["server_view"],
        cpu_ms_per_request={name: cpu for each in found["cpu_ms_per_request"] for name, cpu in each.items()},
    )


def merge(runs: list[Run]) -> Run:
    """Several runs, one from each vantage point, as one: set-up of the first, with every run's servers, notes and flags.

    Targets keep apart by their names and cities, so that nothing of one run is compared with another's.
    """
    setup = dict(runs[0].setup)
    for key in ("servers", "simulated", "dialect"):
        parts = [cast("Mapping[str, object]", run.setup.get(key) or {}) for run in runs]
        setup[key] = {
            name: any(part.get(name) for part in parts) if key == "simulated" else part[name] for part in parts for name in part
        }
    setup["notes"] = [note for run in runs for note in cast("list[object]", run.setup.get("notes") or [])]
    setup["interrupted"] = any(run.setup.get("interrupted") for run in runs)
    return Run(
        setup=setup,
        targets=[target for run in runs for target in run.targets],
        samples=[sample for run in runs for sample in run.samples],
        failures=[failure for run in runs for failure in run.failures],
        server_views=[view for run in runs for view in run.server_views],
        cpu_ms_per_request={name: cpu for run in runs for name, cpu in run.cpu_ms_per_request.items()},
    )


def _entries(run: Run) -> Iterator[tuple[str, object]]:
    yield "setup", run.setup
    for target in run.targets:
        yield "target", asdict(target)
    for each in sorted([*run.samples, *run.failures], key=lambda each: each.started_ms):
        yield "sample" if isinstance(each, Sample) else "failure", asdict(each)
    for view in run.server_views:
        yield "server_view", asdict(view)
    yield "cpu_ms_per_request", run.cpu_ms_per_request
