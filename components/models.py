"""What is known of a model before a GPU is bought: its size, whether it is gated, the commit to pin.

Asked in this order: the stack's config, the Hugging Face Hub, a small dated table. What stays unknown is said, never
guessed. A token is tried on the Hub before a GPU is bought.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import requests

from components.model_config import FLOAT16_BYTES, ModelConfig, Quantization, Shape, read_config, stored_bytes
from components.problems import Problem
from components.remedies import secret_line
from components.settings import PROJECT, ServerSettings

_HUB_TIMEOUT_SECONDS = 4.0


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
    quantization: Quantization | None = None
    """How the weights are stored in fewer bits; None: they are not, as far as anybody says."""
    stored_bytes: int | None = None
    """The size of quantized weights, as they are stored and held."""
    kind: str | None = None
    """The `model_type` of its config.json, which engines know or do not know."""

    @property
    def weight_bytes(self) -> int:
        """The weights as they are held: float16, or as they are quantized; 0 where the size is unknown."""
        if self.stored_bytes is not None:
            return self.stored_bytes
        if self.quantization is None:
            return (self.parameters or 0) * FLOAT16_BYTES
        return (self.parameters or 0) * (self.quantization.bits or 0) // 8


@dataclass(frozen=True)
class _Known:
    """What the table has of a model."""

    commit: str
    kind: str
    parameters: int | None = None
    """None for quantized weights, whose parameters are packed."""
    shape: Shape | None = None
    gated: bool = False
    quantization: Quantization | None = None
    stored: int | None = None
    """Size of quantized weights in bytes, reckoned from their shape: 4 bits a weight, scales and zeros of groups of 128."""


def _llama(commit: str, parameters: int, shape: Shape) -> _Known:
    return _Known(commit, "llama", parameters, shape, gated=True)


def _qwen_awq(commit: str, stored: int, shape: Shape) -> _Known:
    return _Known(commit, "qwen3", None, shape, quantization=Quantization("awq", 4), stored=stored)


_LLAMA_1B = 1_235_814_400, Shape(16, 8, 64, 128_256, 2048, tied=True)
_LLAMA_3B = 3_212_749_824, Shape(28, 8, 128, 128_256, 3072, tied=True)
_LLAMA_8B = 8_030_261_248, Shape(32, 8, 128, 128_256, 4096, tied=False)
_QWEN3_06B = 751_632_384, Shape(28, 8, 128, 151_936, 1024, tied=True)
_QWEN3_17B = 2_031_739_904, Shape(28, 8, 128, 151_936, 2048, tied=True)
_QWEN3_4B = 4_022_468_096, Shape(36, 8, 128, 151_936, 2560, tied=True)
_QWEN3_8B = 8_190_735_360, Shape(36, 8, 128, 151_936, 4096, tied=False)
_TABLE = {
    "meta-llama/Llama-3.2-1B": _llama("4e20de362430cd3b72f300e6b0f18e50e7166e08", *_LLAMA_1B),
    "meta-llama/Llama-3.2-1B-Instruct": _llama("9213176726f574b556790deb65791e0c5aa438b6", *_LLAMA_1B),
    "meta-llama/Llama-3.2-3B": _llama("13afe5124825b4f3751f836b40dafda64c1ed062", *_LLAMA_3B),
    "meta-llama/Llama-3.2-3B-Instruct": _llama("0cb88a4f764b7a12671c53f0838cd831a0843b95", *_LLAMA_3B),
    "meta-llama/Llama-3.1-8B-Instruct": _llama("0e9e39f249a16976918f6564b8830bc894c89659", *_LLAMA_8B),
    "Qwen/Qwen3-0.6B": _Known("c1899de289a04d12100db370d81485cdf75e47ca", "qwen3", *_QWEN3_06B),
    "Qwen/Qwen3-1.7B": _Known("70d244cc86ccca08cf5af4e1e306ecf908b1ad5e", "qwen3", *_QWEN3_17B),
    "Qwen/Qwen3-4B": _Known("1cfa9a7208912126459214e8b04321603b3df60c", "qwen3", *_QWEN3_4B),
    "Qwen/Qwen3-4B-Instruct-2507": _Known("cdbee75f17c01a7cc42f958dc650907174af0554", "qwen3", *_QWEN3_4B),
    "Qwen/Qwen3-4B-AWQ": _qwen_awq("136f16ffdca9c9e49527391169e042634b9ad0d6", 2_665_925_632, _QWEN3_4B[1]),
    "Qwen/Qwen3-8B": _Known("b968826d9c46dd6066d109eabc6255188de91218", "qwen3", *_QWEN3_8B),
    "Qwen/Qwen3-8B-AWQ": _qwen_awq("4da05a8edb55c6046cce958586c33b61da07bb79", 6_098_479_104, _QWEN3_8B[1]),
    "Qwen/Qwen3.5-4B": _Known("851bf6e806efd8d0a36b00ddf55e13ccb7b8cd0a", "qwen3_5"),
}
"""Commits as public repositories pin them; Llama read 2026-11-23, Qwen 2026-11-30."""
_TABLE_SOURCE = "the built-in table of 2026-11-30"


@dataclass(frozen=True)
class HubAnswer:
    """What the Hub said of a model, or why it said nothing."""

    facts: ModelFacts | None
    silence: str | None
    config: ModelConfig = field(default_factory=ModelConfig)
    """What the model's config.json says, where the Hub hands it out."""


def ask_hub(model: str, token: str | None, hub: str | None = None) -> HubAnswer:
    """Asks the Hub for a model's metadata and its config.json, within a few seconds each; unless `hub` does, HF_ENDPOINT names
    another Hub, as for HF's own tools.
    """
    try:
        answer = _get(f"{_hub(hub)}/api/models/{model}", token)
        if answer.status_code != requests.codes.ok:
            return HubAnswer(None, f"the Hugging Face Hub answers {answer.status_code} for {model}")
        body: object = answer.json()
    except requests.RequestException as error:
        return HubAnswer(None, f"the Hugging Face Hub cannot be reached ({type(error).__name__})")
    if not isinstance(body, dict):
        return HubAnswer(None, "what answers in the Hugging Face Hub's place is not its API")
    metadata = cast("dict[str, Any]", body)
    config = _config(model, token, hub)
    if config is None:
        # A gated model's file is closed without a token; the API tells the method and kind all the same.
        told = metadata.get("config")
        config = read_config(cast("dict[str, Any]", told)) if isinstance(told, dict) else ModelConfig()
    return HubAnswer(_facts(metadata, config), None, config)


def _config(model: str, token: str | None, hub: str | None) -> ModelConfig | None:
    """A model's config.json; None where the Hub does not hand it out."""
    try:
        answer = _get(f"{_hub(hub)}/{model}/resolve/main/config.json", token)
        body: object = answer.json() if answer.status_code == requests.codes.ok else None
    except requests.RequestException:
        return None
    return read_config(cast("dict[str, Any]", body)) if isinstance(body, dict) else None


def _get(url: str, token: str | None) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.get(url, headers=headers, timeout=_HUB_TIMEOUT_SECONDS)


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
        fix = f"{secret_line('huggingFaceToken')}   # asks for a read token, and does not show it"
        return Problem(f"{PROJECT}:huggingFaceToken", None, reason, fix), None
    if answer.status_code == requests.codes.forbidden:
        reason = f"is valid, but its owner has not been given access to {model}, or it may not read gated repositories"
        return Problem(f"{PROJECT}:huggingFaceToken", None, reason, f"accept the licence at {page}, then run this again"), None
    return None, None if answer.ok else f"the Hugging Face Hub answers {answer.status_code} for {model}"


def _hub(named: str | None) -> str:
    return (named or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _facts(body: dict[str, Any], config: ModelConfig) -> ModelFacts:
    elements = cast("dict[str, Any]", (cast("dict[str, Any]", body.get("safetensors") or {})).get("parameters") or {})
    return ModelFacts(
        # Those of quantized weights are packed, several in a number.
        parameters=None if config.quantization else _parameters(body),
        gated=bool(body["gated"]) if "gated" in body else None,
        revision=body.get("sha"),
        source="the Hugging Face Hub",
        stored_bytes=stored_bytes(elements) if config.quantization else None,
    )


def known_facts(server: ServerSettings, hub: HubAnswer) -> ModelFacts:
    """What config, Hub and table say together; the commit is pinned by config or table only, since the Hub's moves."""
    table = _TABLE.get(server.model)
    parameters, gated = (table.parameters, table.gated) if table else (None, None)
    source, stored = _TABLE_SOURCE, table.stored if table else None
    if hub.facts:
        parameters = hub.facts.parameters or parameters
        gated = gated if hub.facts.gated is None else hub.facts.gated
        source, stored = hub.facts.source, hub.facts.stored_bytes or stored
    shape = hub.config.shape or (table.shape if table else None)
    return ModelFacts(
        parameters=server.model_parameters or parameters,
        gated=gated if server.model_gated is None else server.model_gated,
        revision=server.revision or (table.commit if table else None),
        source="the stack's config" if server.model_parameters else source,
        kv_bytes_per_token=shape.kv_bytes_per_token if shape else None,
        logits_bytes_per_token=shape.logits_bytes_per_token if shape else None,
        tied_head_bytes=shape.tied_head_bytes if shape else 0,
        quantization=hub.config.quantization or (table.quantization if table else None),
        stored_bytes=None if server.model_parameters else stored,
        kind=hub.config.kind or (table.kind if table else None),
    )


def model_problems(server: ServerSettings, facts: ModelFacts, has_token: bool) -> Iterator[Problem]:  # noqa: FBT001
    """A gated model without a token."""
    if facts.gated and not has_token:
        yield Problem(
            f"{PROJECT}:huggingFaceToken",
            None,
            f"is missing, and {server.model} is gated according to {facts.source}: its licence must be accepted on the "
            "model's page and its weights are fetched with a read token",
            f"{secret_line('huggingFaceToken')}   # asks for the token, and does not show it",
        )


def unknowns(server: ServerSettings, facts: ModelFacts, hub: HubAnswer) -> Iterator[str]:
    """Warnings that name what nobody could tell."""
    why = hub.silence or f"{facts.source} does not say"
    if not facts.weight_bytes:
        yield (
            f"the size of {server.model} is unknown ({why}): whether it fits the GPU was not checked; "
            "edge-inference:server.modelParameters settles it"
        )
    if facts.kv_bytes_per_token is None:
        unsaid = hub.silence or "its config.json does not say"
        yield (
            f"the KV cache of {server.model} is unknown ({unsaid}, and it is not in {_TABLE_SOURCE}): whether "
            f"{server.max_total_tokens} tokens fit the GPU was not checked; edge-inference:server.maxTotalTokens can be lowered "
            "where the server runs out of memory"
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
