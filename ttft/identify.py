"""What answers at an endpoint: TGI, vLLM or another OpenAI-compatible server, its version, its model, and whether it is real.

Leaves out guessing: what a server does not say stays None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import requests

if TYPE_CHECKING:
    from ttft.connection import Client

_OK = 200
_SIMULATED_HEADER = "x-simulated"
_ASK_SECONDS = 10.0


@dataclass(frozen=True)
class Server:
    """What an endpoint says of itself."""

    engine: str | None = None
    """tgi, vllm, openai (something that lists models); None: it says nothing that we know."""
    version: str | None = None
    model: str | None = None
    sha: str | None = None
    """The model's revision."""
    dtype: str | None = None
    """None where it is not said, as in TGI 2.4: the server's log has it."""
    simulated: bool = False
    """It announces itself as simulated by a header that begins with x-simulated."""


def identify(client: Client) -> Server:
    """Ask /info (TGI), then /v1/models and /version. An endpoint that cannot be reached gives an empty Server."""
    try:
        info, simulated = _ask(client, "/info")
        if "model_id" in info:
            engine = "tgi"
            model, sha, dtype = info["model_id"], info.get("model_sha"), info.get("model_dtype")
            return Server(engine, info.get("version"), model, sha, dtype, simulated)
        models, says_simulated = _ask(client, "/v1/models")
        simulated = simulated or says_simulated
        listed: list[dict[str, Any]] = models.get("data") or []
        if not listed:
            return Server(simulated=simulated)
        version, _ = _ask(client, "/version")
        engine = "vllm" if listed[0].get("owned_by") == "vllm" else "openai"
        return Server(engine, version.get("version"), listed[0].get("id"), simulated=simulated)
    except (requests.RequestException, OSError, AttributeError, LookupError, TypeError):  # or JSON of another shape
        return Server()


def _ask(client: Client, route: str) -> tuple[dict[str, Any], bool]:
    """The JSON object at a route, empty where there is none, and whether the answer is announced as simulated."""
    response = client.ask("GET", route, wait_seconds=_ASK_SECONDS)
    simulated = any(name.lower().startswith(_SIMULATED_HEADER) for name in response.headers)
    try:
        value: object = response.json() if response.status_code == _OK else None
    except ValueError:
        value = None
    return (cast("dict[str, Any]", value) if isinstance(value, dict) else {}), simulated
