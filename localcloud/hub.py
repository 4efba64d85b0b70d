"""The part of the Hugging Face Hub that the local cloud stands in for: metadata and access of a few models.

Left out on purpose: files and revisions; weights are placeholders.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_VALID_TOKEN, _WITHOUT_LICENCE = "hf_", "no-licence"
"""How a token that the Hub knows begins; what one holds whose owner has accepted no licence."""


class HubError(Exception):
    """The Hub's refusal: its HTTP status and its X-Error-Code."""

    def __init__(self, message: str, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Shape:
    """What a config.json says of a model's size."""

    layers: int
    heads: int
    kv_heads: int
    head_dimension: int
    hidden: int
    vocabulary: int
    tied: bool = True


@dataclass(frozen=True)
class Model:
    """One model as the Hub describes it."""

    elements: dict[str, int]
    """How many numbers of each kind its safetensors files hold."""
    gated: str | None
    sha: str
    shape: Shape
    kind: str = "llama"
    is_awq: bool = False


def _float(parameters: int) -> dict[str, int]:
    return {"BF16": parameters}


_LLAMA_1B, _LLAMA_3B = Shape(16, 32, 8, 64, 2048, 128_256), Shape(28, 24, 8, 128, 3072, 128_256)
_QWEN3_4B = Shape(36, 32, 8, 128, 2560, 151_936)
MODELS = {
    "meta-llama/Llama-3.2-1B-Instruct": Model(
        _float(1_235_814_400), "manual", "9213176726f574b556790deb65791e0c5aa438b6", _LLAMA_1B
    ),
    "meta-llama/Llama-3.2-1B": Model(_float(1_235_814_400), "manual", "4e20de362430cd3b72f300e6b0f18e50e7166e08", _LLAMA_1B),
    "meta-llama/Llama-3.2-3B-Instruct": Model(
        _float(3_212_749_824), "manual", "0cb88a4f764b7a12671c53f0838cd831a0843b95", _LLAMA_3B
    ),
    "meta-llama/Llama-3.2-3B": Model(_float(3_212_749_824), "manual", "13afe5124825b4f3751f836b40dafda64c1ed062", _LLAMA_3B),
    "meta-llama/Llama-3.1-8B-Instruct": Model(
        _float(8_030_261_248),
        "manual",
        "0e9e39f249a16976918f6564b8830bc894c89659",
        Shape(32, 32, 8, 128, 4096, 128_256, tied=False),
    ),
    "Qwen/Qwen2.5-0.5B-Instruct": Model(
        _float(494_032_768),
        None,
        "7ae557604adf67be50417f59c2c2f167def9a775",
        Shape(24, 14, 2, 64, 896, 151_936),
        kind="qwen2",
    ),
    "Qwen/Qwen3-4B": Model(_float(4_022_468_096), None, "1cfa9a7208912126459214e8b04321603b3df60c", _QWEN3_4B, kind="qwen3"),
    "Qwen/Qwen3-4B-AWQ": Model(
        {"I32": 457_712_640, "F16": 417_537_536},
        None,
        "136f16ffdca9c9e49527391169e042634b9ad0d6",
        _QWEN3_4B,
        kind="qwen3",
        is_awq=True,
    ),
}


def has_chat_template(name: str) -> bool:
    """Whether a model is tuned for chat; base models carry no template."""
    return "instruct" in name.lower() or "chat" in name.lower()


def metadata(name: str) -> tuple[int, dict[str, object]]:
    """What GET /api/models/NAME answers: HTTP status and body."""
    model = MODELS.get(name)
    if model is None:
        return 401, {"error": "Repository not found"}  # the Hub hides private ones from strangers
    return 200, {
        "_id": model.sha[:24],
        "id": name,
        "modelId": name,
        "private": False,
        "gated": model.gated or False,
        "disabled": False,
        "sha": model.sha,
        "pipeline_tag": "text-generation",
        "library_name": "transformers",
        "safetensors": {"parameters": model.elements, "total": sum(model.elements.values())},
        "siblings": [{"rfilename": filename} for filename in [*files(name), "model.safetensors"]],
    }


def check_access(name: str, token: str | None, revision: str = "main") -> None:
    """Raise HubError where the Hub refuses a download. Any full commit is taken as existing."""
    model = MODELS.get(name)
    url = f"https://huggingface.co/{name}"
    if token and not token.startswith(_VALID_TOKEN):
        raise HubError(f"401 Client Error. Invalid credentials in Authorization header for url: {url}", 401)
    if model is None:
        status = 404 if token else 401
        raise HubError(f"{status} Client Error. Repository Not Found for url: {url}.", status, "RepoNotFound")
    if model.gated and not token:
        raise HubError(
            f"401 Client Error. Cannot access gated repo for url {url}.\nAccess to model {name} is restricted."
            " You must have access to it and be authenticated to access it. Please log in.",
            401,
            "GatedRepo",
        )
    if model.gated and _WITHOUT_LICENCE in (token or ""):
        raise HubError(
            f"403 Client Error. Cannot access gated repo for url {url}.\nAccess to model {name} is restricted and you are not in"
            f" the authorized list. Visit {url} to ask for access.",
            403,
            "GatedRepo",
        )
    if revision != "main" and not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise HubError(f"404 Client Error. Revision Not Found for url: {url}.", 404, "RevisionNotFound")


def control(method: str, path: str, body: dict[str, object], token: str = "") -> tuple[int, dict[str, object]]:
    """Answer below /_localcloud/hub/: the Hub's api/models/NAME[/revision/R | /auth-check],
    NAME/resolve/R/config.json, and download/NAME.

    `download` is the stand-in's own way to fetch all files at once; its errors carry the code.
    """
    try:
        return _answer(method, path, body, token)
    except HubError as error:
        code = {"code": error.code} if path.startswith("download/") else {}
        return error.status, {"error": str(error), **code}


def _answer(method: str, path: str, body: dict[str, object], token: str) -> tuple[int, dict[str, object]]:
    if method == "GET" and (found := re.fullmatch(r"api/models/([^/]+/[^/]+?)(/revision/([^/]+))?", path)):
        return metadata(found[1])
    if method == "GET" and (found := re.fullmatch(r"api/models/([^/]+/[^/]+)/auth-check", path)):
        check_access(found[1], token or None)
        return 200, {}
    if method == "GET" and (found := re.fullmatch(r"([^/]+/[^/]+)/resolve/([^/]+)/config\.json", path)):
        check_access(found[1], token or None, found[2])
        return 200, files(found[1])["config.json"]
    if method == "POST" and (found := re.fullmatch(r"download/([^/]+/[^/]+)", path)):
        given = body.get("token")
        check_access(found[1], str(given) if given else None, str(body.get("revision", "main")))
        texts: dict[str, object] = {name: json.dumps(content) for name, content in files(found[1]).items()}
        return 200, {"files": {**texts, "model.safetensors": "placeholder of the local cloud: no weights"}}
    return 404, {"error": "Sorry, we can't find the page you are looking for."}


def files(name: str) -> dict[str, dict[str, Any]]:
    """The JSON files of a model's repository, by name, as far as the servers read them."""
    model = MODELS[name]
    tokenizer: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>"}
    if has_chat_template(name):
        tokenizer["chat_template"] = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return {
        "config.json": _config(model),
        "tokenizer.json": {"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}},
        "tokenizer_config.json": tokenizer,
        "generation_config.json": {"do_sample": True, "temperature": 0.6, "top_p": 0.9},
    }


_ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


def _config(model: Model) -> dict[str, Any]:
    shape = model.shape
    config: dict[str, Any] = {
        "architectures": [_ARCHITECTURES[model.kind]],
        "model_type": model.kind,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dimension,
        "hidden_size": shape.hidden,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "max_position_embeddings": 131072 if model.kind == "llama" else 32768,
        "torch_dtype": "bfloat16",
    }
    if model.is_awq:
        config["quantization_config"] = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
    return config
