"""Which engine runs what on which GPU: refused with what does run, unknown where no source tells."""

from typing import Any

import pytest

from components.model_config import Quantization
from components.model_support import support_problems, support_unknowns
from components.models import HubAnswer, ModelFacts, known_facts
from components.settings import ServerSettings

AWQ, GPTQ, FP8 = Quantization("awq", 4), Quantization("gptq", 4), Quantization("fp8", 8, is_float=True)
W4, INT8 = Quantization("compressed-tensors", 4), Quantization("compressed-tensors", 8)


def facts(kind: str | None = "llama", quantization: Quantization | None = None) -> ModelFacts:
    return ModelFacts(1, gated=False, revision=None, source="the Hub", kind=kind, quantization=quantization)


def server(engine: str, *words: str, **more: Any) -> ServerSettings:
    return ServerSettings.model_validate({"engine": engine, "extraArguments": list(words), **more})


def refused(engine: str, model: ModelFacts, *words: str, gpu: str = "T4", **more: Any) -> str:
    return "\n".join(map(str, support_problems(server(engine, *words, **more), model, "g4dn.2xlarge", gpu)))


def unknown(engine: str, model: ModelFacts, gpu: str = "T4", **more: Any) -> str:
    return "\n".join(support_unknowns(server(engine, **more), model, {"g4dn.2xlarge": gpu}))


@pytest.mark.parametrize("kind", ["qwen3", "qwen3_moe", "qwen3_5", "gemma3_text", "gemma4", "llama4", "gpt_oss"])
def test_tgi_is_refused_for_newer_models_and_vllm_named(kind: str) -> None:
    said = refused("tgi", facts(kind), gpu="L40S")
    for words in ("October 2024", "archived", kind, "-> edge config ENV server.engine vllm"):
        assert words in said
    assert refused("vllm", facts(kind)) == ""


@pytest.mark.parametrize("gpu", ["T4", "A10G", "L4", "nobody knows"])
def test_the_default_is_neither_refused_nor_warned_of(gpu: str) -> None:
    usual = ServerSettings()
    model = known_facts(usual, HubAnswer(None, "not asked"))
    assert list(support_problems(usual, model, "x.y", gpu)) == []
    assert list(support_unknowns(usual, model, {"x.y": gpu})) == []


@pytest.mark.parametrize(
    ("engine", "quantization", "words", "gpu", "said"),
    [
        ("tgi", AWQ, (), "T4", "kernels"),
        ("tgi", GPTQ, (), "T4", "kernels"),
        ("tgi", None, ("--quantize", "eetq"), "T4", "kernels"),
        ("tgi", FP8, (), "L4", "H100"),
        ("tgi", None, ("--quantize=fp8",), "T4", "H100"),
        ("tgi", None, ("--dtype", "bfloat16"), "T4", "no bfloat16"),
        ("vllm", None, ("--dtype=bfloat16",), "T4", "no bfloat16"),
        ("vllm", None, ("--attention-backend", "FLASHINFER"), "T4", "TRITON_ATTN"),
        ("tgi", AWQ, (), "A10G", ""),
        ("tgi", AWQ, (), "nobody knows", ""),
        ("vllm", AWQ, (), "T4", ""),
        ("vllm", GPTQ, (), "T4", ""),
        ("vllm", FP8, (), "T4", ""),
        ("vllm", INT8, (), "T4", ""),
        ("vllm", None, ("--attention-backend", "FLASHINFER", "--dtype", "bfloat16"), "A10G", ""),
        ("tgi", None, ("--quantize", "bitsandbytes"), "T4", ""),
    ],
)
def test_what_a_gpu_cannot_run(
    engine: str, quantization: Quantization | None, words: tuple[str, ...], gpu: str, said: str
) -> None:
    found = refused(engine, facts(quantization=quantization), *words, gpu=gpu)
    assert said in found
    assert bool(found) is bool(said)


def test_what_no_source_tells_is_unknown_and_says_why() -> None:
    assert "is unknown, because" in unknown("tgi", facts("some_new_kind"))
    assert "is unknown, because" in unknown("tgi", facts(None))
    assert "compressed-tensors" in unknown("tgi", facts(quantization=W4))
    assert "8-bit compressed-tensors" in unknown("vllm", facts(quantization=INT8))
    for known in (AWQ, GPTQ, FP8, W4):
        assert unknown("vllm", facts(quantization=known)) == ""
    assert unknown("vllm", facts("some_new_kind")) == ""
    assert unknown("vllm", facts(quantization=INT8), gpu="L4") == ""


def test_of_an_image_of_ones_own_nothing_is_refused() -> None:
    image = "registry.acme.dev/tgi:3.3.7"
    assert refused("tgi", facts("qwen3"), image=image) == ""
    assert image in unknown("tgi", facts("qwen3"), image=image)
    assert unknown("tgi", facts("llama"), image=image) == ""
