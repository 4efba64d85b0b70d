"""`python -m ttft measure`: measures a plan that comes on standard input, and writes the raw samples to standard output.

For hosts that stand where users are: needs Python 3.10 and requests, nothing else. The plan, with its API key, is on no command
line; results are judged where the plan came from. Leaves out statistics and everything that is shown.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ttft.errors import TtftError
from ttft.files import write_raw
from ttft.samples import Failure, Sample, Target

if TYPE_CHECKING:
    from ttft.schedule import Plan

_LINE_EVERY_SECONDS = 2.0


def plan_to_json(plan: Plan) -> str:
    """The plan for the standard input of `measure`. Holds the API key: hand it to nobody else."""
    return json.dumps(asdict(plan))


def plan_from_json(text: str) -> Plan:
    """The plan that plan_to_json wrote; raises TtftError for anything else."""
    from ttft.schedule import Plan

    try:
        values: dict[str, Any] = json.loads(text)
        values["targets"] = [Target(**target) for target in values["targets"]]
        for name in ("targets", "connections", "prompt_tokens"):  # JSON has lists where the plan has tuples
            values[name] = tuple(values[name])
        return Plan(**values)
    except (ValueError, TypeError, KeyError) as error:
        # Not the text itself: it may hold the key.
        raise TtftError(f"standard input holds no plan ({type(error).__name__})") from None


def main() -> None:
    """Reads, measures, writes; progress and user errors are lines on standard error."""
    from ttft.schedule import run

    done: list[Sample | Failure] = []
    last_line = time.monotonic()

    def on_progress(made: Sample | Failure) -> None:
        nonlocal last_line
        done.append(made)
        if time.monotonic() - last_line >= _LINE_EVERY_SECONDS:
            last_line = time.monotonic()
            failed = sum(isinstance(each, Failure) for each in done)
            sys.stderr.write(f"{len(done)} requests{f', {failed} failed' if failed else ''}\n")
            sys.stderr.flush()

    try:
        write_raw(run(plan_from_json(sys.stdin.read()), on_progress), sys.stdout)
    except TtftError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
