"""Which models and token limits fit a GPU, by engine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.gpu_memory import fit_problem, limit_problem, with_limits
from components.models import HubAnswer, ModelFacts, known_facts
from components.settings import ServerSettings

NO_ANSWER = HubAnswer(None, "the Hub was not asked")
T4_MIB = 16384
TIGHT_MIB = 10_000
"""A GPU that has room for the 3B model and some hundred tokens."""


def limited(**server: object) -> ServerSettings:
    return ServerSettings.model_validate(server)


def known(server: ServerSettings) -> ModelFacts:
    return known_facts(server, NO_ANSWER)


def problem(server: ServerSettings, gpu_mib: int = T4_MIB) -> str:
    found = limit_problem(server, known(server), "g4dn.2xlarge", gpu_mib)
    return str(found) if found else ""


def test_the_default_model_fits_the_default_gpu() -> None:
    for engine in ("tgi", "vllm"):
        server = limited(engine=engine)
        assert fit_problem(server, known(server), "g4dn.2xlarge", T4_MIB) is None
        assert with_limits(server, known(server), T4_MIB) == server


def test_model_that_cannot_fit() -> None:
    server = limited(model="meta-llama/Llama-3.1-8B-Instruct")
    found = fit_problem(server, known(server), "g4dn.2xlarge", T4_MIB)
    assert found
    assert (found.path, found.value) == ("edge-inference:server.model", '"meta-llama/Llama-3.1-8B-Instruct"')
    for word in ("16.7 GiB", "8.0 billion", "table", "g4dn.2xlarge", "14.7 GiB"):
        assert word in found.reason
    assert "edge config ENV server.model " in found.fix


def test_sizes_as_real_tgi_had_them() -> None:
    """Recorded of TGI 2.4.0: the tied head is loaded twice, and a prefill's logits take 250 KiB a token."""
    facts = known(limited())
    assert round((facts.weight_bytes + facts.tied_head_bytes) / 2**30, 2) == 6.72
    assert facts.kv_bytes_per_token == 112 * 1024
    assert (facts.logits_bytes_per_token or 0) // 1024 == 250
    assert known(limited(model="meta-llama/Llama-3.1-8B-Instruct")).tied_head_bytes == 0


@pytest.mark.parametrize(
    ("engine", "longest_input", "total", "fits"),
    [
        ("tgi", 16_384, 20_480, True),
        ("tgi", 24_576, 32_768, False),
        ("tgi", 32_000, 64_747, False),
        ("vllm", 24_576, 32_768, True),
        ("vllm", 60_000, 64_747, False),
    ],
)
def test_limits_on_a_t4(engine: str, longest_input: int, total: int, fits: bool) -> None:
    assert (problem(limited(engine=engine, maxInputTokens=longest_input, maxTotalTokens=total)) == "") is fits


def test_the_refusal_names_the_limit_that_helps_and_its_line_does() -> None:
    by_input = problem(limited(maxInputTokens=24_576, maxTotalTokens=32_768))
    assert "edge-inference:server.maxInputTokens" in by_input
    assert "TGI's warm-up 250 KiB a token of maxInputTokens" in by_input
    by_total = problem(limited(maxInputTokens=2000, maxTotalTokens=64_000))
    assert "edge-inference:server.maxTotalTokens" in by_total


def test_usual_limits_shrink_to_what_fits_and_stay_where_nobody_knows() -> None:
    server = with_limits(limited(), known(limited()), TIGHT_MIB)
    assert 100 < server.max_input_tokens < server.max_total_tokens < 4096
    assert limit_problem(limited(), known(limited()), "g4dn.2xlarge", TIGHT_MIB) is None
    assert with_limits(limited(), known(limited()), None) == limited()
    unknown = limited(model="org/model")
    assert with_limits(unknown, known(unknown), TIGHT_MIB) == unknown


def test_a_smaller_model_is_offered_only_where_it_fits() -> None:
    server = limited()
    for gpu_mib, offered in ((8_600, "Llama-3.2-1B-Instruct"), (2_000, "a larger instanceType of that site")):
        found = fit_problem(server, known(server), "g4dn.2xlarge", gpu_mib)
        assert found
        assert offered in found.fix


def test_a_four_bit_copy_fits_where_the_model_does_not() -> None:
    whole, packed = limited(engine="vllm", model="Qwen/Qwen3-8B"), limited(engine="vllm", model="Qwen/Qwen3-8B-AWQ")
    assert fit_problem(whole, known(whole), "g4dn.2xlarge", T4_MIB)
    assert fit_problem(packed, known(packed), "g4dn.2xlarge", T4_MIB) is None
    assert with_limits(packed, known(packed), T4_MIB) == packed
    found = fit_problem(packed, known(packed), "g4dn.2xlarge", 4000)
    assert found
    assert "with its 4-bit awq weights (5.7 GiB according to the built-in table" in found.reason


@pytest.mark.parametrize(("engine", "word"), [("tgi", "--num-shard"), ("vllm", "--tensor-parallel-size")])
def test_several_gpus_of_one_host(engine: str, word: str) -> None:
    server = limited(engine=engine, model="meta-llama/Llama-3.1-8B-Instruct")
    found = fit_problem(server, known(server), "g4dn.12xlarge", T4_MIB, 4)
    assert found
    assert found.fix.startswith(f"edge config ENV 'server.extraArguments[0]' -- {word}=4 ")
    for words in ([f"{word}=4"], [word, "4"]):
        spread = limited(engine=engine, model=server.model, extraArguments=words)
        assert fit_problem(spread, known(spread), "g4dn.12xlarge", T4_MIB, 4) is None
    only = fit_problem(spread, known(spread), "g4dn.2xlarge", T4_MIB, 1)
    assert only
    assert "asks for 4 GPUs of one host, and g4dn.2xlarge has 1" in only.reason


def test_logits_stay_whole_on_every_gpu_of_tgi() -> None:
    """The limit on the prompt grows less than the memory does."""
    one, four = (limited(maxInputTokens=50_000, maxTotalTokens=60_000, extraArguments=words) for words in ([], ["--num-shard=4"]))
    assert "98 KiB" not in problem(one)
    assert "28 KiB a token of maxTotalTokens, and TGI's warm-up 250 KiB" in problem(four, 15_000)


def test_unknown_size_is_no_problem() -> None:
    assert fit_problem(limited(), ModelFacts(None, gated=None, revision=None, source=""), "g4dn.2xlarge", T4_MIB) is None


@given(st.sampled_from(["tgi", "vllm"]), st.integers(1, 100_000), st.integers(2, 120_000), st.integers(9_000, 50_000))
def test_the_line_that_a_refusal_prints_mends_it(engine: str, longest_input: int, total: int, gpu_mib: int) -> None:
    if longest_input >= total:
        return
    server = limited(engine=engine, maxInputTokens=longest_input, maxTotalTokens=total)
    found = None
    for _ in range(3):
        found = limit_problem(server, known(server), "g4dn.2xlarge", gpu_mib)
        if found is None:
            return
        key, value = found.fix.split("server.")[1].split()
        set_now = {"maxInputTokens": server.max_input_tokens, "maxTotalTokens": server.max_total_tokens, key: int(value)}
        if set_now["maxInputTokens"] >= set_now["maxTotalTokens"] or int(value) < 1:
            return
        server = limited(engine=engine, **set_now)
    raise AssertionError(found)
