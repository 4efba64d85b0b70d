"""Recorded answers of the real engines, and what differs in an answer of ours; tests/data/engines/README.md says where from.

Texts and token ids are left out: a simulated model says what it likes. Numbers within error texts count as equal, since the
simulated tokenizer counts otherwise.
"""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

_DATA = Path(__file__).parents[2] / "data" / "engines"
_SECONDS = 10.0
_SAID = {"text", "content", "generated_text", "token", "templated_text", "prompt"}
"""Keys whose texts the model, or its tokenizer, makes."""
_VALUES_COUNT = {
    "content-type",
    "cache-control",
    "allow",
    "location",
    "x-compute-type",
    "x-accel-buffering",
    "connection",
    "vary",
}
"""Headers whose values a client can act on; of the others the names are compared."""


@dataclass(frozen=True)
class Recorded:
    """One exchange with a real engine, or with ours."""

    request: str
    status: int
    headers: list[list[str]]
    chunks: int | None
    body: str


def recorded(engine: str) -> dict[str, Recorded]:
    """All cases of an engine (`tgi-2.4.0` or `vllm`) by name."""
    cases: dict[str, dict[str, Any]] = json.loads((_DATA / f"{engine}.json").read_text(encoding="utf-8"))
    for case in cases.values():
        case["request"] = case["request"].replace("{6000 words}", "word " * 6000)
    return {name: Recorded(**case) for name, case in cases.items()}


def exchange(port: int, request: str) -> Recorded:
    """Sends a recorded request, byte by byte as it was, and reads one answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection:
        connection.sendall(request.encode())
        reader = connection.makefile("rb")
        status = int(reader.readline().split()[1])
        headers: list[list[str]] = []
        while line := reader.readline().strip().decode():
            name, _, value = line.partition(":")
            headers.append([name.lower(), value.strip()])
        by_name = dict(headers)
        chunks: list[bytes] | None = None
        if by_name.get("transfer-encoding") == "chunked":
            chunks = []
            while size := int(reader.readline(), 16):
                chunks.append(reader.read(size))
                reader.readline()
            body = b"".join(chunks)
        else:
            is_head = request.startswith("HEAD ")
            body = b"" if is_head else reader.read(int(by_name.get("content-length", "0")))
    return Recorded(request, status, headers, None if chunks is None else len(chunks), body.decode())


def differences(real: Recorded, ours: Recorded) -> list[str]:
    """What a client could notice, one line each."""
    found: list[str] = []
    if real.status != ours.status:
        found.append(f"status {real.status}, ours {ours.status}")
    found += _header_differences(real, ours)
    if real.chunks != ours.chunks:
        found.append(f"chunks {real.chunks}, ours {ours.chunks}")
    expected, got = _body_shape(real), _body_shape(ours)
    if expected != got:
        found.append(f"body {json.dumps(expected)}\n   ours {json.dumps(got)}")
    return found


def _header_differences(real: Recorded, ours: Recorded) -> list[str]:
    expected, got = ({name: value for name, value in each.headers if name != "date"} for each in (real, ours))
    got.pop("x-simulated-by", None)
    found = [f"header {name} is missing" for name in expected.keys() - got.keys()]
    found += [f"header {name}: {got[name]} is too much" for name in got.keys() - expected.keys()]
    both = expected.keys() & got.keys() & _VALUES_COUNT
    found += [f"header {name}: {expected[name]}, ours {got[name]}" for name in both if expected[name] != got[name]]
    return sorted(found)


def _body_shape(each: Recorded) -> Any:
    kind = dict(map(tuple, each.headers)).get("content-type", "").partition(";")[0]  # type: ignore[arg-type]
    if kind == "text/event-stream":
        return [_event_shape(block) for block in each.body.split("\n\n")]
    if kind == "application/json":
        return _shape(json.loads(each.body))
    if "/metrics" in each.request.split("\r\n", 1)[0]:
        lines = [line for line in each.body.splitlines() if line and not line.startswith("#")]
        return sorted({re.split(r"[{ ]", line)[0] for line in lines})
    # What comes after the colon are serde's own words, with the place in the body.
    return _without_numbers(each.body.partition(": ")[0])


def _event_shape(block: str) -> Any:
    if block.startswith("data: {"):
        return _shape(json.loads(block.removeprefix("data: ")))
    return block


def _shape(value: Any, key: str = "") -> Any:
    match value:
        case dict():
            items = cast("dict[str, Any]", value)
            return {name: _shape(each, name) for name, each in items.items()}
        case list():
            shapes: list[Any] = []
            for each in cast("list[Any]", value):
                shape = _shape(each, key)
                if shape not in shapes:
                    shapes.append(shape)
            return shapes
        case str():
            is_ours = key in _SAID or key in {"id", "system_fingerprint", "version"}
            return "text" if is_ours else _without_numbers(value)
        case bool() | None:
            return value
        case _:
            return "number"


def _without_numbers(text: str) -> str:
    return re.sub(r"-?\d+", "0", text)
