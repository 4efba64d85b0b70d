"""Which engine runs which kind of model on which GPU: refuses what is known not to run, and names what does.

A table of what sources say, with the source beside each line; no GPU was tried. What no source tells is unknown and warned of,
never refused; an image of one's own may be any version, so nothing is said of it. Leaves out memory: gpu_memory.py.
"""

from collections.abc import Iterator

from components.engines import option
from components.models import ModelFacts
from components.problems import Problem
from components.remedies import set_line, unset_line
from components.settings import PROJECT, ServerSettings

COMPUTE_CAPABILITY = {
    "V100": (7, 0), "T4": (7, 5), "T4g": (7, 5), "A100": (8, 0), "A10G": (8, 6), "L4": (8, 9), "L40S": (8, 9), "H100": (9, 0),
}  # fmt: skip
"""By the GPU's name as EC2 gives it; of others nothing is said."""
_AMPERE, _HOPPER = (8, 0), (9, 0)

_TGI_KINDS = frozenset(
    {
        "baichuan", "bloom", "cohere", "dbrx", "deepseek_v2", "falcon", "galactica", "gemma", "gemma2", "gpt2", "gpt_bigcode",
        "gpt_neox", "idefics", "idefics2", "llama", "llava_next", "mistral", "mixtral", "mpt", "opt", "paligemma", "phi", "phi3",
        "qwen2", "santacoder", "ssm", "starcoder2", "t5",
    }
)  # fmt: skip
"""TGI's own list, server/text_generation_server/models/__init__.py, as it was before 2.4.0."""
_AFTER_TGI = (
    "cohere2", "deepseek_v3", "ernie4_5", "exaone4", "falcon_h1", "gemma3", "gemma4", "glm4", "gpt_oss", "lfm2", "llama4",
    "mistral3", "olmo2", "qwen2_5_vl", "qwen3", "smollm3",
)  # fmt: skip
"""How kinds begin that were published after October 2024, when TGI 2.4.0 was."""
_TGI_IS_OLD = "TGI 2.4.0 is of October 2024 and its repository is archived"
_TGI_BUILT_FOR_AMPERE = ("awq", "gptq", "eetq", "exl2", "marlin")
"""Their kernels are compiled for 8.0, 8.6 and 9.0 in TGI's image (its Dockerfile)."""
_TGI_READS = frozenset({*_TGI_BUILT_FOR_AMPERE, "fbgemm_fp8", "fp8", "bitsandbytes"})
"""What TGI takes of a config.json by itself, or by --quantize."""
_VLLM_AMPERE_BACKENDS = ("FLASH_ATTN", "FLASHINFER")
"""They want 8.0 or newer (vLLM 0.33, and its change 45375); TRITON_ATTN takes any GPU."""
_VLLM_ON_T4 = frozenset({"awq", "gptq", "fp8"})
"""vLLM 0.33 has Marlin kernels for 7.5 that hold 4-bit and FP8 weights (its change 45375)."""
_TO_VLLM = set_line("server.engine", "vllm")
_WITHOUT = f"{unset_line('server.extraArguments')}   # or set the list again, without it"


def support_problems(server: ServerSettings, facts: ModelFacts, instance_type: str, gpu: str) -> Iterator[Problem]:
    """What is known not to run on the GPU of an instance type; nothing of an image of one's own."""
    if server.image:
        return
    on = f"the {gpu} of {instance_type}"
    capability = COMPUTE_CAPABILITY.get(gpu)
    if server.engine == "tgi":
        yield from _tgi_problems(server, facts, on, capability)
    elif capability and capability < _AMPERE:
        yield from _vllm_problems(server, on)


def _tgi_problems(server: ServerSettings, facts: ModelFacts, on: str, capability: tuple[int, int] | None) -> Iterator[Problem]:
    if facts.kind and facts.kind.startswith(_AFTER_TGI):
        reason = f"is a {facts.kind}, which TGI does not know: {_TGI_IS_OLD}. vLLM knows newer models"
        yield Problem(f"{PROJECT}:server.model", f'"{server.model}"', reason, _TO_VLLM)
        return
    if capability is None:
        return
    asked = option(server.extra_arguments, "--quantize")
    method = asked or (facts.quantization.method if facts.quantization else "")
    where = f"{PROJECT}:server.extraArguments" if asked else f"{PROJECT}:server.model"
    value = f"--quantize {asked}" if asked else f'"{server.model}"'
    if method in _TGI_BUILT_FOR_AMPERE and capability < _AMPERE:
        reason = f"needs kernels that TGI's image has for newer GPUs alone, not for {on}; vLLM has them for 4-bit weights"
        yield Problem(where, value, f"{method}: {reason}", _TO_VLLM)
    elif method in {"fp8", "fbgemm_fp8"} and capability < _HOPPER:
        reason = f"TGI runs it on an H100 alone, not on {on}; vLLM holds FP8 weights on older GPUs too"
        yield Problem(where, value, f"{method}: {reason}", _TO_VLLM)
    if option(server.extra_arguments, "--dtype") == "bfloat16" and capability < _AMPERE:
        yield _no_bfloat16(on)


def _vllm_problems(server: ServerSettings, on: str) -> Iterator[Problem]:
    backend = (option(server.extra_arguments, "--attention-backend") or "").upper()
    if backend in _VLLM_AMPERE_BACKENDS:
        reason = f"needs a newer GPU than {on}; TRITON_ATTN, which vLLM chooses there by itself, runs on any"
        yield Problem(f"{PROJECT}:server.extraArguments", f"--attention-backend {backend}", reason, _WITHOUT)
    if option(server.extra_arguments, "--dtype") == "bfloat16":
        yield _no_bfloat16(on)


def _no_bfloat16(on: str) -> Problem:
    reason = f"{on} has no bfloat16; float16, with which both engines are started, runs there"
    return Problem(f"{PROJECT}:server.extraArguments", "--dtype bfloat16", reason, _WITHOUT)


def support_unknowns(server: ServerSettings, facts: ModelFacts, gpus: dict[str, str]) -> Iterator[str]:
    """Warnings that name what no source tells. `gpus`: the GPU of each instance type in use."""
    if server.image:
        pinned = server.model_copy(update={"image": None})
        for name, gpu in gpus.items():
            for problem in support_problems(pinned, facts, name, gpu):
                yield f"{problem.path} {problem.reason}; whether {server.image} is another version is unknown"
        return
    if server.engine == "tgi":
        yield from _tgi_unknowns(server, facts)
    old = sorted({f"{gpu} of {name}" for name, gpu in gpus.items() if (COMPUTE_CAPABILITY.get(gpu) or _AMPERE) < _AMPERE})
    method = facts.quantization.method if facts.quantization else None
    if server.engine == "vllm" and method and method not in _VLLM_ON_T4 and old and not _is_weight_only(facts):
        yield (
            f"whether vLLM runs {facts.quantization.words if facts.quantization else method} on the {', '.join(old)} is unknown, "
            "because no source tells; 4-bit awq and gptq are known to have kernels there"
        )


def _is_weight_only(facts: ModelFacts) -> bool:
    """Whether compressed-tensors holds 4-bit integers, for which vLLM has the same kernels as for gptq."""
    found = facts.quantization
    return found is not None and found.method == "compressed-tensors" and found.bits == 4 and not found.is_float  # noqa: PLR2004


def _tgi_unknowns(server: ServerSettings, facts: ModelFacts) -> Iterator[str]:
    if facts.kind is None:
        yield f"whether TGI 2.4.0 knows {server.model} is unknown, because nobody says what kind of model it is; {_TGI_IS_OLD}"
    elif facts.kind not in _TGI_KINDS and not facts.kind.startswith(_AFTER_TGI):
        yield (
            f"whether TGI 2.4.0 knows a {facts.kind} is unknown, because it is not in its list of models; {_TGI_IS_OLD}, "
            f"and vLLM is the engine for newer models ({PROJECT}:server.engine)"
        )
    method = facts.quantization.method if facts.quantization else None
    if method and method not in _TGI_READS:
        yield f"whether TGI 2.4.0 reads {method} weights is unknown, because no source tells; vLLM does"
