"""A server's own view of its prefill and queue, from /metrics before and after: a check of the client's split.

Leaves out everything else in /metrics. The means are of all requests that the server had in between, ours or not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import requests

from ttft.samples import ServerView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ttft.connection import Client

_LINE = re.compile(r"^(?P<name>[\w:]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)", re.MULTILINE)
_PREFILL = ("tgi_batch_inference_duration", "vllm:request_prefill_time_seconds")
_QUEUE = ("tgi_request_queue_duration", "vllm:request_queue_time_seconds")
_OK = 200


def look(client: Client) -> dict[str, float]:
    """Sums and counts of the metrics that matter; empty where the server offers none."""
    try:
        response = client.ask("GET", "/metrics")
    except (requests.RequestException, OSError):
        return {}
    return parsed(response.text) if response.status_code == _OK else {}


def parsed(text: str) -> dict[str, float]:
    """Prometheus' text format to `NAME_sum` and `NAME_count`, over all labels but TGI's decode batches."""
    found: dict[str, float] = {}
    for line in _LINE.finditer(text):
        name = line["name"]
        wanted = name.removesuffix("_sum").removesuffix("_count") in {*_PREFILL, *_QUEUE}
        if wanted and 'method="decode"' not in (line["labels"] or ""):
            found[name] = found.get(name, 0.0) + float(line["value"])
    return found


def view(target: str, before: Mapping[str, float], after: Mapping[str, float]) -> ServerView | None:
    """Means of what happened between two looks; None where nothing was seen."""
    prefill_ms, requests_seen = _mean_ms(_PREFILL, before, after)
    queue_ms, queued = _mean_ms(_QUEUE, before, after)
    seen = queued or requests_seen
    return ServerView(target, seen, prefill_ms, queue_ms) if seen else None


def _mean_ms(names: tuple[str, ...], before: Mapping[str, float], after: Mapping[str, float]) -> tuple[float | None, int]:
    for name in names:
        count = after.get(f"{name}_count", 0.0) - before.get(f"{name}_count", 0.0)
        if count > 0:
            return (after[f"{name}_sum"] - before.get(f"{name}_sum", 0.0)) / count * 1000, int(count)
    return None, 0
