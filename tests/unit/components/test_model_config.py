"""What a config.json says: kind, shape, quantization; and that nothing malformed breaks the reading."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.model_config import Quantization, quantization_of, read_config, stored_bytes

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "hidden_size": 3072,
    "vocab_size": 128_256,
    "tie_word_embeddings": True,
}


def kv_bytes(**changed: Any) -> int | None:
    shape = read_config({**LLAMA, **changed}).shape
    return shape.kv_bytes_per_token if shape else None


def test_the_shape_of_a_llama() -> None:
    found = read_config(LLAMA)
    assert found.kind == "llama"
    assert found.shape
    assert (found.shape.kv_bytes_per_token, found.shape.logits_bytes_per_token) == (112 * 1024, 2 * 128_256)
    assert found.shape.tied_head_bytes == 2 * 128_256 * 3072


def test_layers_that_keep_no_keys_for_every_token_count_nothing() -> None:
    """What is left out makes the sum too small, so that nothing is refused that would fit."""
    assert kv_bytes(layer_types=["linear_attention"] * 21 + ["full_attention"] * 7) == 28 * 1024
    assert kv_bytes(full_attention_interval=4) == 28 * 1024
    assert kv_bytes(sliding_window_pattern=7) == 16 * 1024
    assert kv_bytes(kv_lora_rank=512) is None
    assert kv_bytes(num_hidden_layers=None) is None


def test_the_part_that_answers_counts_of_a_model_that_sees() -> None:
    found = read_config({"model_type": "gemma3", "text_config": {**LLAMA, "model_type": "gemma3_text"}})
    assert found.kind == "gemma3"
    assert found.shape


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"quant_method": "awq", "bits": 4}, Quantization("awq", 4)),
        ({"quant_method": "awq", "w_bit": 4}, Quantization("awq", 4)),
        ({"quant_method": "gptq", "bits": 8}, Quantization("gptq", 8)),
        ({"quant_method": "fp8"}, Quantization("fp8", 8, is_float=True)),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, Quantization("bitsandbytes", 4)),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}}},
            Quantization("compressed-tensors", 4),
        ),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}}},
            Quantization("compressed-tensors", 8, is_float=True),
        ),
        ({"quant_method": "compressed-tensors", "config_groups": None}, Quantization("compressed-tensors")),
        ({"bits": 4}, None),
        ("awq", None),
        (None, None),
    ],
)
def test_quantization(settings: object, expected: Quantization | None) -> None:
    assert quantization_of({"quantization_config": settings}) == expected


def test_stored_bytes_by_kind() -> None:
    assert stored_bytes({"I32": 10, "F16": 10, "F8_E4M3": 10, "BF16": "many"}) == 70
    assert stored_bytes({}) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
KEYS = st.sampled_from([*LLAMA, "head_dim", "layer_types", "text_config", "quantization_config", "sliding_window_pattern"])


@given(st.dictionaries(KEYS, JSON), st.dictionaries(st.sampled_from(["quant_method", "bits", "config_groups"]), JSON))
def test_anything_can_be_read(changed: dict[str, Any], quantization: dict[str, Any]) -> None:
    read_config({**LLAMA, "quantization_config": quantization, **changed})
