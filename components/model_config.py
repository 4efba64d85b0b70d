"""What a model's own config.json says that counts before a GPU is bought: its kind, its shape, how its weights are quantized.

Pure. Leaves out asking the Hub for it, and what is known without the Hub: models.py has both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

FLOAT16_BYTES = 2
_STORED_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
"""Bytes of one element as safetensors names its kind; all others (I8, U8, F8_E4M3, BOOL ...) take one."""


@dataclass(frozen=True)
class Shape:
    """What the KV cache and the output head follow from."""

    kv_layers: int
    """Layers whose keys and values are kept for every token. Others keep a window, or one state: left out, so that the sum is
    never too large."""
    kv_heads: int
    head_dimension: int
    vocabulary: int
    hidden: int
    tied: bool

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of every layer and head, in float16."""
        return 2 * FLOAT16_BYTES * self.kv_layers * self.kv_heads * self.head_dimension

    @property
    def logits_bytes_per_token(self) -> int:
        """One number in float16 for each word of the vocabulary."""
        return FLOAT16_BYTES * self.vocabulary

    @property
    def tied_head_bytes(self) -> int:
        """The output head in float16, where it is the input embedding once more."""
        return FLOAT16_BYTES * self.vocabulary * self.hidden if self.tied else 0


@dataclass(frozen=True)
class Quantization:
    """How weights are stored in fewer bits."""

    method: str
    """As config.json names it: awq, gptq, compressed-tensors, fp8, bitsandbytes ..."""
    bits: int | None = None
    is_float: bool = False
    """Whether the weights are floating-point numbers (FP8, FP4)."""

    @property
    def words(self) -> str:
        """`4-bit awq`."""
        return f"{f'{self.bits}-bit ' if self.bits else ''}{self.method}"


@dataclass(frozen=True)
class ModelConfig:
    """What a config.json says; None is: it does not say."""

    kind: str | None = None
    """Its `model_type`, such as llama."""
    shape: Shape | None = None
    quantization: Quantization | None = None


def read_config(body: Mapping[str, Any]) -> ModelConfig:
    """Reads a config.json. What is malformed counts as not said."""
    kind = body.get("model_type")
    # Of a model that also sees or hears, the part that answers.
    inner = body.get("text_config")
    text = {**body, **cast("dict[str, Any]", inner)} if isinstance(inner, dict) else body
    return ModelConfig(kind if isinstance(kind, str) else None, _shape(text), quantization_of(text))


def _shape(text: Mapping[str, Any]) -> Shape | None:
    heads, hidden, vocabulary = (_count(text, name) for name in ("num_attention_heads", "hidden_size", "vocab_size"))
    layers = _count(text, "num_hidden_layers")
    # Latent attention keeps something else than keys and values.
    if not (heads and hidden and vocabulary and layers) or "kv_lora_rank" in text:
        return None
    head_dimension = _count(text, "head_dim") or hidden // heads
    kv_heads = _count(text, "num_key_value_heads") or heads
    return Shape(_kv_layers(text, layers), kv_heads, head_dimension, vocabulary, hidden, text.get("tie_word_embeddings") is True)


def _kv_layers(text: Mapping[str, Any], layers: int) -> int:
    kinds = text.get("layer_types")
    if isinstance(kinds, list) and kinds:
        return sum(each in {"full_attention", "attention"} for each in cast("list[object]", kinds))
    pattern = _count(text, "sliding_window_pattern") or _count(text, "full_attention_interval")
    return layers // pattern if pattern else layers


def quantization_of(text: Mapping[str, Any]) -> Quantization | None:
    """What `quantization_config` says; None where the weights are as they were trained."""
    found = text.get("quantization_config")
    if not isinstance(found, dict):
        return None
    settings = cast("dict[str, Any]", found)
    method = settings.get("quant_method")
    if not isinstance(method, str):
        return None
    weights = _first_group(settings)
    bits = _count(settings, "bits") or _count(settings, "w_bit") or _count(weights, "num_bits")
    if bits is None and settings.get("load_in_4bit") is True:
        bits = 4
    is_float = "fp8" in method.lower() or weights.get("type") == "float"
    return Quantization(method.lower(), bits or (8 if "fp8" in method.lower() else None), is_float)


def _first_group(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What compressed-tensors says of the weights of its first group."""
    groups = settings.get("config_groups")
    for group in cast("dict[str, Any]", groups).values() if isinstance(groups, dict) else ():
        weights = cast("dict[str, Any]", group).get("weights") if isinstance(group, dict) else None
        if isinstance(weights, dict):
            return cast("dict[str, Any]", weights)
    return {}


def stored_bytes(elements: Mapping[str, Any]) -> int | None:
    """The size of weights of which so many elements of each kind are stored; None where nobody says."""
    sizes = [count * _STORED_BYTES.get(kind, 1) for kind, count in elements.items() if isinstance(count, int)]
    return sum(sizes) or None


def _count(found: Mapping[str, Any], name: str) -> int | None:
    value = found.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
