"""What `make demo` does: deploys three sites on the local cloud, streams from each, and measures them from their users' cities.

Everything it shows is simulated, and it says so.
"""

import json
import sys
import time
from collections.abc import Iterator

import requests

from automation.commands.progress import ProgressLines, step_lines
from automation.environment import Environment
from automation.errors import EdgeError
from automation.paths import LOCAL_DIRECTORY
from automation.sites.bench import Clients, bench, bench_plan
from ttft import console
from ttft.report import write_report
from ttft.schedule import Plan
from ttft.summary import summarize

_PROMPT = "What is the edge?"
_PLAN = Plan(targets=(), rounds=12, connections=("warm",), output_tokens=2, gap_seconds=0.02)
"""A short look: enough rounds for an interval, few tokens."""


def main() -> None:
    """Deploys, streams, measures, and says how to go on."""
    started = time.monotonic()
    environment = Environment("local", say=_say)
    _say("Deploying three edge inference sites on the local cloud: a simulated AWS on this machine, no account needed.")
    try:
        with ProgressLines(_say) as progress:
            changes = environment.up(progress.on_event)
    except EdgeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    for line in step_lines(changes.steps):
        _say(line)
    done = f"{changes.changed} resources changed" if changes.changed else "nothing to change"
    _say(f"Deployed, {done} ({changes.seconds:.0f} s).\n")
    endpoints: dict[str, str] = changes.outputs["endpoint_urls"]
    for zone, url in endpoints.items():
        sys.stdout.write(f"{zone:<18} {url}\n    ")
        for token in _stream(url):
            sys.stdout.write(token)
            sys.stdout.flush()
        sys.stdout.write("\n")
    _say(f"\nA streamed answer came back from each of {len(endpoints)} sites (simulated model).")
    _measure(environment)
    _say(_how_to_go_on(time.monotonic() - started))


def _stream(url: str) -> Iterator[str]:
    """The tokens of one answer, as they arrive."""
    body = {"inputs": _PROMPT, "parameters": {"max_new_tokens": 24}}
    with requests.post(f"{url}/generate_stream", json=body, stream=True, timeout=30) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines(chunk_size=1):
            if line.startswith(b"data:"):
                yield json.loads(line.removeprefix(b"data:"))["token"]["text"]


def _measure(environment: Environment) -> None:
    """Every site from every site's city, on the console and as a page."""
    plan = bench_plan(environment, _PLAN, Clients())
    cities = dict.fromkeys(target.city for target in plan.targets)
    _say(f"Measuring every site for clients in {', '.join(filter(None, cities))}: {plan.rounds} rounds.")
    with console.Progress(plan.targets, len(plan.targets) * plan.rounds) as progress:
        run = bench(plan, Clients(), on_progress=progress, say=_say)
    summary = summarize(run)
    console.show(summary)
    report = LOCAL_DIRECTORY / "reports" / "demo.html"
    report.parent.mkdir(parents=True, exist_ok=True)
    write_report(summary, run, report)
    _say(f"\nReport: {report}")


def _how_to_go_on(seconds: float) -> str:
    return f"""
Done in {seconds:.0f} s. Look around:
  .venv/bin/edge routes local                   who is sent where
  .venv/bin/edge bench local --from Denver      measure from another city
  .venv/bin/edge outputs local                  endpoints and addresses
  .venv/bin/edge cloud status                   the hosts and what runs on them
  .venv/bin/edge ask local "{_PROMPT}"  asks as a user does
  eval "$(.venv/bin/edge env local)" && pulumi stack -s local
Rehearse the real environment's own file:       .venv/bin/edge up prod --local
Stop:                                           .venv/bin/edge destroy local; .venv/bin/edge cloud stop
Remove everything:                              make clean"""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
