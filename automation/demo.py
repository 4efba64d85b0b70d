"""What `make demo` does: deploys three sites on the local cloud and streams a completion from each.

Everything it shows is simulated, and it says so.
"""

import json
import sys
import time
from collections.abc import Iterator

import requests

from automation.environment import Environment
from automation.errors import EdgeError
from automation.progress import ProgressLines, step_lines

_PROMPT = "What is the edge?"


def main() -> None:
    """Deploys, streams, and says how to go on."""
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
    _say(f"\nA streamed answer came back from each of {len(endpoints)} sites (simulated model, {_elapsed(started)} in all).")
    _say(_how_to_go_on(next(iter(endpoints.values()))))


def _stream(url: str) -> Iterator[str]:
    """The tokens of one answer, as they arrive."""
    body = {"inputs": _PROMPT, "parameters": {"max_new_tokens": 24}}
    with requests.post(f"{url}/generate_stream", json=body, stream=True, timeout=30) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines(chunk_size=1):
            if line.startswith(b"data:"):
                yield json.loads(line.removeprefix(b"data:"))["token"]["text"]


def _how_to_go_on(url: str) -> str:
    return f"""
Look around:
  .venv/bin/edge outputs local              endpoints and addresses
  .venv/bin/edge cloud status               the hosts and what runs on them
  curl -N {url}/generate_stream -H 'Content-Type: application/json' \\
    -d '{{"inputs": "{_PROMPT}", "parameters": {{"max_new_tokens": 20}}}}'
  eval "$(.venv/bin/edge env local)" && pulumi stack -s local
Rehearse the real environment's own file:   .venv/bin/edge up prod --local
Stop:                                       .venv/bin/edge destroy local; .venv/bin/edge cloud stop
Remove everything:                          make clean"""


def _elapsed(started: float) -> str:
    return f"{time.monotonic() - started:.0f} s"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
