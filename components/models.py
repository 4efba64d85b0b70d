"""What is known of a model before a GPU is bought: its size, whether it is gated, the commit to pin.

Asked in this order: the stack's config, the Hugging Face Hub, a small dated table. What stays unknown is said, never
guessed. Leaves out whether a token is accepted for the model: the host finds out while it fetches the weights.
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
_RUNTIME_GIB = 1.5
"""CUDA context, kernels and activations of one 4096-token prefill: an estimate, so that a fit is not promised too tightly."""
_USABLE_SHARE = 0.9
"""TGI leaves a tenth of the memory free (TGI_WIGGLE_ROOM, serving-facts 1); vLLM's default is the same share."""


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model; None is unknown."""

    parameters: int | None
    gated: bool | None
    revision: str | None
    source: str
    """Who said so."""


_TABLE = {
    "meta-llama/Llama-3.2-1B": (1_235_814_400, True, "4e20de362430cd3b72f300e6b0f18e50e7166e08"),
    "meta-llama/Llama-3.2-3B": (3_212_749_824, True, "13afe5124825b4f3751f836b40dafda64c1ed062"),
    "meta-llama/Llama-3.2-3B-Instruct": (3_212_749_824, True, "0cb88a4f764b7a12671c53f0838cd831a0843b95"),
    "meta-llama/Llama-3.1-8B-Instruct": (8_030_261_248, True, "0e9e39f249a16976918f6564b8830bc894c89659"),
}
"""Parameters, gated, newest commit. Commits as public repositories pin them, read 2026-11-23."""
_TABLE_SOURCE = "the built-in table of 2026-11-23"


@dataclass(frozen=True)
class HubAnswer:
    """What the Hub said of a model, or why it said nothing."""

    facts: ModelFacts | None
    silence: str | None


def ask_hub(model: str, token: str | None) -> HubAnswer:
    """Asks the Hub's API for a model's metadata, within a few seconds; HF_ENDPOINT names another Hub, as for HF's own tools."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    try:
        answer = requests.get(
            f"{endpoint}/api/models/{model}",
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
    )


def needed_gib(parameters: int) -> float:
    """GPU memory in GiB that a model needs at the least: float16 weights and the engine's own."""
    return parameters * _BYTES_PER_PARAMETER / 2**30 + _RUNTIME_GIB


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


def fit_problem(server: ServerSettings, facts: ModelFacts, instance_type: str, gpu_mib: int) -> Problem | None:
    """The problem of a model that cannot fit the memory (in MiB) of an instance type's GPU."""
    if facts.parameters is None:
        return None
    needed, usable = needed_gib(facts.parameters), gpu_mib / 1024 * _USABLE_SHARE
    if needed <= usable:
        return None
    return Problem(
        f"{PROJECT}:server.model",
        f'"{server.model}"',
        f"needs at least {needed:.1f} GiB of GPU memory in float16 ({facts.parameters / 1e9:.1f} billion parameters according to "
        f"{facts.source}); {instance_type} leaves {usable:.1f} GiB",
        "pulumi config set --path edge-inference:server.model meta-llama/Llama-3.2-3B-Instruct   # or a larger instanceType",
    )


def unknowns(server: ServerSettings, facts: ModelFacts, hub: HubAnswer) -> Iterator[str]:
    """Warnings that name what nobody could tell."""
    why = hub.silence or f"{facts.source} does not say"
    if facts.parameters is None:
        yield (
            f"the size of {server.model} is unknown ({why}): whether it fits the GPU was not checked; "
            "edge-inference:server.modelParameters settles it"
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
