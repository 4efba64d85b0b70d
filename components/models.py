"""What is known of a model before a GPU is bought: its size, whether it is gated, the commit to pin.

Asked in this order: the stack's config, the Hugging Face Hub, a small dated table. What stays unknown is said, never
guessed. A token is tried on the Hub before a GPU is bought.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import requests

from components.problems import Problem
from components.settings import PROJECT, ServerSettings

_HUB_TIMEOUT_SECONDS = 4.0
_BYTES_PER_PARAMETER = 2
"""float16."""


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model; None is unknown."""

    parameters: int | None
    gated: bool | None
    revision: str | None
    source: str
    """Who said so."""
    kv_bytes_per_token: int | None = None
    """GPU memory of the KV cache for one token, in float16."""
    logits_bytes_per_token: int | None = None
    """GPU memory of one token's logits, in float16: two bytes for each word of the vocabulary."""
    tied_head_bytes: int = 0
    """The output head, where it is the input embedding once more: an engine may hold it twice."""

    @property
    def weight_bytes(self) -> int:
        """The weights in float16; 0 where the size is unknown."""
        return (self.parameters or 0) * _BYTES_PER_PARAMETER


_TABLE = {
    "meta-llama/Llama-3.2-1B": (1_235_814_400, True, "4e20de362430cd3b72f300e6b0f18e50e7166e08"),
    "meta-llama/Llama-3.2-1B-Instruct": (1_235_814_400, True, "9213176726f574b556790deb65791e0c5aa438b6"),
    "meta-llama/Llama-3.2-3B": (3_212_749_824, True, "13afe5124825b4f3751f836b40dafda64c1ed062"),
    "meta-llama/Llama-3.2-3B-Instruct": (3_212_749_824, True, "0cb88a4f764b7a12671c53f0838cd831a0843b95"),
    "meta-llama/Llama-3.1-8B-Instruct": (8_030_261_248, True, "0e9e39f249a16976918f6564b8830bc894c89659"),
}
"""Parameters, gated, newest commit. Commits as public repositories pin them, read 2026-11-23."""
_TABLE_SOURCE = "the built-in table of 2026-11-23"


@dataclass(frozen=True)
class _Geometry:
    """What a model's config.json says of its shape; the same for base and -Instruct."""

    layers: int
    kv_heads: int
    head_dimension: int
    vocabulary: int
    hidden: int
    tied: bool


_GEOMETRY = {
    "meta-llama/Llama-3.2-1B": _Geometry(16, 8, 64, 128_256, 2048, tied=True),
    "meta-llama/Llama-3.2-3B": _Geometry(28, 8, 128, 128_256, 3072, tied=True),
    "meta-llama/Llama-3.1-8B": _Geometry(32, 8, 128, 128_256, 4096, tied=False),
}


@dataclass(frozen=True)
class HubAnswer:
    """What the Hub said of a model, or why it said nothing."""

    facts: ModelFacts | None
    silence: str | None


def ask_hub(model: str, token: str | None, hub: str | None = None) -> HubAnswer:
    """Asks the Hub's API for a model's metadata, within a few seconds; unless `hub` does, HF_ENDPOINT names another Hub, as for
    HF's own tools.
    """
    try:
        answer = requests.get(
            f"{_hub(hub)}/api/models/{model}",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=_HUB_TIMEOUT_SECONDS,
        )
        if answer.status_code != requests.codes.ok:
            return HubAnswer(None, f"the Hugging Face Hub answers {answer.status_code} for {model}")
        body: object = answer.json()
    except requests.RequestException as error:
        return HubAnswer(None, f"the Hugging Face Hub cannot be reached ({type(error).__name__})")
    if not isinstance(body, dict):
        return HubAnswer(None, "what answers in the Hugging Face Hub's place is not its API")
    return HubAnswer(_facts(cast("dict[str, Any]", body)), None)


def token_problem(model: str, token: str, hub: str | None = None) -> tuple[Problem | None, str | None]:
    """Whether the Hub lets a token at a gated model's files, as `HfApi.auth_check` asks it: a problem, or why nobody knows."""
    try:
        answer = requests.get(
            f"{_hub(hub)}/api/models/{model}/auth-check",
            headers={"Authorization": f"Bearer {token}"},
            timeout=_HUB_TIMEOUT_SECONDS,
        )
    except (requests.RequestException, ValueError) as error:  # ValueError: a token that is no header's text
        return None, f"the Hugging Face Hub cannot be reached ({type(error).__name__})"
    page = f"https://huggingface.co/{model}"
    if answer.status_code == requests.codes.unauthorized:
        reason = f"is no valid token, says the Hugging Face Hub, and {model} ({page}) is gated"
        fix = "pulumi config set --secret edge-inference:huggingFaceToken   # paste a read token, end with Ctrl-D"
        return Problem(f"{PROJECT}:huggingFaceToken", None, reason, fix), None
    if answer.status_code == requests.codes.forbidden:
        reason = f"is valid, but its owner has not been given access to {model}, or it may not read gated repositories"
        return Problem(f"{PROJECT}:huggingFaceToken", None, reason, f"accept the licence at {page}, then run this again"), None
    return None, None if answer.ok else f"the Hugging Face Hub answers {answer.status_code} for {model}"


def _hub(named: str | None) -> str:
    return (named or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _facts(body: dict[str, Any]) -> ModelFacts:
    return ModelFacts(
        parameters=_parameters(body),
        gated=bool(body["gated"]) if "gated" in body else None,
        revision=body.get("sha"),
        source="the Hugging Face Hub",
    )


def known_facts(server: ServerSettings, hub: HubAnswer) -> ModelFacts:
    """What config, Hub and table say together; the commit is pinned by config or table only, since the Hub's moves."""
    parameters, gated, revision = _TABLE.get(server.model, (None, None, None))
    source = _TABLE_SOURCE
    if hub.facts:
        parameters = hub.facts.parameters or parameters
        gated = gated if hub.facts.gated is None else hub.facts.gated
        source = hub.facts.source
    return ModelFacts(
        parameters=server.model_parameters or parameters,
        gated=gated if server.model_gated is None else server.model_gated,
        revision=server.revision or revision,
        source="the stack's config" if server.model_parameters else source,
        **_sizes(server.model),
    )


def _sizes(model: str) -> dict[str, int]:
    """What a token takes in float16: keys and values of every layer and head, and logits; and a tied head."""
    shape = _GEOMETRY.get(model.removesuffix("-Instruct"))
    if shape is None:
        return {}
    return {
        "kv_bytes_per_token": 2 * _BYTES_PER_PARAMETER * shape.layers * shape.kv_heads * shape.head_dimension,
        "logits_bytes_per_token": _BYTES_PER_PARAMETER * shape.vocabulary,
        "tied_head_bytes": _BYTES_PER_PARAMETER * shape.vocabulary * shape.hidden if shape.tied else 0,
    }


def model_problems(server: ServerSettings, facts: ModelFacts, has_token: bool) -> Iterator[Problem]:  # noqa: FBT001
    """A gated model without a token."""
    if facts.gated and not has_token:
        yield Problem(
            f"{PROJECT}:huggingFaceToken",
            None,
            f"is missing, and {server.model} is gated according to {facts.source}: its licence must be accepted on the "
            "model's page and its weights are fetched with a read token",
            "pulumi config set --secret edge-inference:huggingFaceToken   # paste the token, end with Ctrl-D",
        )


def unknowns(server: ServerSettings, facts: ModelFacts, hub: HubAnswer) -> Iterator[str]:
    """Warnings that name what nobody could tell."""
    why = hub.silence or f"{facts.source} does not say"
    if facts.parameters is None:
        yield (
            f"the size of {server.model} is unknown ({why}): whether it fits the GPU was not checked; "
            "edge-inference:server.modelParameters settles it"
        )
    if facts.kv_bytes_per_token is None:
        yield (
            f"the KV cache of {server.model} is unknown (not in {_TABLE_SOURCE}): whether {server.max_total_tokens} tokens fit "
            "the GPU was not checked; edge-inference:server.maxTotalTokens can be lowered where the server runs out of memory"
        )
    if facts.gated is None:
        yield (
            f"whether {server.model} is gated is unknown ({why}): if it is, fetching the weights fails without "
            "edge-inference:huggingFaceToken; edge-inference:server.modelGated settles it"
        )
    if facts.revision is None:
        yield (
            f"no revision of {server.model} is pinned: each host serves the branch main as it is when it fetches the weights; "
            "edge-inference:server.revision pins one"
        )


def _parameters(body: dict[str, Any]) -> int | None:
    safetensors = cast("dict[str, Any]", body.get("safetensors") or {})
    total = safetensors.get("total") or sum(cast("dict[str, int]", safetensors.get("parameters") or {}).values())
    return int(total) or None
