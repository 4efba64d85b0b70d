"""Whether a model with its token limits fits a GPU's memory, by engine: the rule that refuses before a GPU is bought.

Reckoned from sources and from real runs on a CPU (TGI 2.4.0); no GPU was measured. Leaves out which engine runs a model at all
(model_support.py), and what nobody knows of a model: that is no problem here, and models.py warns of it.
"""

from dataclasses import dataclass

from components.engines import Engine, shard_argument, shards
from components.models import HubAnswer, ModelFacts, known_facts
from components.problems import Problem
from components.remedies import set_line
from components.settings import PROJECT, ServerSettings

_GIB = 2**30
_VISIBLE_SHARE = 0.92
"""Of what EC2 states, a process sees this much: a T4's 16 GiB are 14.75 GiB to it."""
_VLLM_SHARE = 0.9
"""vLLM's default of --gpu-memory-utilization. TGI takes all: its own reserve is only for tokens beyond the limits."""
_RUNTIME_GIB = 1.75
"""CUDA context, kernels and activations: an estimate, so that a fit is not promised too tightly."""
_SMALLER_MODELS = ("meta-llama/Llama-3.2-3B-Instruct", "meta-llama/Llama-3.2-1B-Instruct")
_WARM_UP_TOKENS = 50
"""TGI's max_batch_prefill_tokens is max_input_tokens and these (launcher/src/main.rs)."""


@dataclass(frozen=True)
class _Memory:
    """What an engine needs of each GPU that it spreads a model over, in bytes."""

    weights: float
    per_input_token: float
    per_total_token: float
    usable: float

    @property
    def free(self) -> float:
        """What is left for tokens."""
        return self.usable - self.weights - _RUNTIME_GIB * _GIB

    def needed(self, server: ServerSettings) -> float:
        """For one prompt and answer of the longest kind: the KV cache, and the logits of the warm-up's prefill."""
        prefill = self.per_input_token * (server.max_input_tokens + _WARM_UP_TOKENS)
        return prefill + self.per_total_token * server.max_total_tokens

    def total_tokens(self, max_input_tokens: int) -> int:
        """The most total tokens that fit beside an input limit."""
        return int((self.free - self.per_input_token * (max_input_tokens + _WARM_UP_TOKENS)) / self.per_total_token)

    def tokens_by_input_share(self, share: float) -> int:
        """The most total tokens that fit where the input limit is a share of them."""
        return int((self.free - self.per_input_token * _WARM_UP_TOKENS) / (self.per_total_token + share * self.per_input_token))


_INPUT_SHARE = 0.75
"""Of the total limit, where the config sets none."""


def _memory(server: ServerSettings, facts: ModelFacts, gpu_mib: int, gpus: int | None = None) -> _Memory | None:
    """None where nobody knows the model's size. `gpus`: over how many it is spread, in place of what the settings say.

    TGI 2.4.0 loads a tied head twice (6.72 GiB for Llama 3.2 3B, not 5.98), and its warm-up keeps the logits of every token
    of a prefill, on every GPU. vLLM does neither. Weights and KV cache are divided.
    """
    if not facts.weight_bytes:
        return None
    is_tgi, spread = server.engine == "tgi", gpus or _shards(server)
    return _Memory(
        weights=(facts.weight_bytes + (facts.tied_head_bytes if is_tgi else 0)) / spread,
        per_input_token=(facts.logits_bytes_per_token or 0) if is_tgi else 0,
        per_total_token=(facts.kv_bytes_per_token or 0) / spread,
        usable=gpu_mib * 2**20 * _VISIBLE_SHARE * (1 if is_tgi else _VLLM_SHARE),
    )


def _shards(server: ServerSettings) -> int:
    return shards(Engine(server.engine), server.extra_arguments)


def fit_problem(server: ServerSettings, facts: ModelFacts, instance_type: str, gpu_mib: int, gpus: int = 1) -> Problem | None:
    """The problem of a model that cannot fit the memory (in MiB) of an instance type's GPUs, of which it has so many."""
    spread = _shards(server)
    if spread > gpus:
        return Problem(
            f"{PROJECT}:server.extraArguments",
            shard_argument(Engine(server.engine), spread),
            f"asks for {spread} GPUs of one host, and {instance_type} has {gpus}",
            f"a number of at most {gpus} there, or a larger instanceType of that site in {PROJECT}:sites",
        )
    memory = _memory(server, facts, gpu_mib)
    if memory is None or memory.free >= 0:
        return None
    needed = memory.weights / _GIB + _RUNTIME_GIB
    each = f" on each of {spread} GPUs" if spread > 1 else ""
    return Problem(
        f"{PROJECT}:server.model",
        f'"{server.model}"',
        f"needs at least {needed:.1f} GiB of GPU memory{each} {_held(facts)}; "
        f"{f'a GPU of {instance_type}' if gpus > 1 else instance_type} leaves {memory.usable / _GIB:.1f} GiB",
        _more_gpus(server, facts, gpu_mib, gpus) or _smaller_model(server, gpu_mib),
    )


def _held(facts: ModelFacts) -> str:
    if facts.quantization:
        return f"with its {facts.quantization.words} weights ({facts.weight_bytes / _GIB:.1f} GiB according to {facts.source})"
    return f"in float16 ({(facts.parameters or 0) / 1e9:.1f} billion parameters according to {facts.source})"


def _more_gpus(server: ServerSettings, facts: ModelFacts, gpu_mib: int, gpus: int) -> str | None:
    """The line that spreads the model over all GPUs of the host, where it fits then."""
    memory = _memory(server, facts, gpu_mib, gpus)
    if gpus <= _shards(server) or memory is None or memory.needed(server) > memory.free:
        return None
    path, word = f"{PROJECT}:server.extraArguments[{len(server.extra_arguments)}]", shard_argument(Engine(server.engine), gpus)
    # Behind `--`: the word begins with dashes.
    return f"{set_line(path, f'-- {word}')}   # all {gpus} GPUs of the host; or a smaller model"


def _smaller_model(server: ServerSettings, gpu_mib: int) -> str:
    for model in _SMALLER_MODELS:
        chosen = server.model_copy(update={"model": model})
        memory = _memory(chosen, known_facts(chosen, HubAnswer(None, None)), gpu_mib)
        if model != server.model and memory and memory.needed(chosen) <= memory.free:
            return f"{set_line('server.model', model)}   # or a larger instanceType"
    return "a larger instanceType of that site in edge-inference:sites"


def with_limits(server: ServerSettings, facts: ModelFacts, gpu_mib: int | None) -> ServerSettings:
    """The settings with limits that fit the smallest GPU (in MiB), where none are set and the usual ones are too large."""
    memory = _memory(server, facts, gpu_mib) if gpu_mib else None
    if memory is None or not memory.per_total_token or "max_total_tokens" in server.model_fields_set:
        return server
    if memory.needed(server) <= memory.free:
        return server
    if "max_input_tokens" in server.model_fields_set:
        return server.model_copy(update={"max_total_tokens": max(memory.total_tokens(server.max_input_tokens), 0)})
    room = max(memory.tokens_by_input_share(_INPUT_SHARE), 0)
    return server.model_copy(update={"max_total_tokens": room, "max_input_tokens": int(room * _INPUT_SHARE)})


def limit_problem(server: ServerSettings, facts: ModelFacts, instance_type: str, gpu_mib: int) -> Problem | None:
    """The problem of configured token limits that do not fit beside the weights; it names the limit that helps."""
    memory = _memory(server, facts, gpu_mib)
    configured = {"max_total_tokens", "max_input_tokens"} & server.model_fields_set
    if memory is None or not memory.per_total_token or not configured or memory.free < 0:
        return None
    asked = with_limits(server, facts, gpu_mib)
    if memory.needed(asked) <= memory.free and asked.max_total_tokens > asked.max_input_tokens:
        return None
    total = memory.total_tokens(server.max_input_tokens)
    helps_total = "max_total_tokens" in configured and total > server.max_input_tokens
    room = memory.tokens_by_input_share(_INPUT_SHARE)
    key, value, fitting = (
        ("maxTotalTokens", server.max_total_tokens, total)
        if helps_total
        else ("maxInputTokens", server.max_input_tokens, int(room * _INPUT_SHARE))
    )
    also = "" if helps_total else f"; with maxTotalTokens at most {room}"
    return Problem(
        f"{PROJECT}:server.{key}",
        str(value),
        f"{_needs(server, memory)}; beside the weights, {instance_type} has {memory.free / _GIB:.1f} GiB for tokens{also}",
        set_line(f"server.{key}", str(fitting)),
    )


def _needs(server: ServerSettings, memory: _Memory) -> str:
    kib = memory.per_total_token / 1024
    needs = f"the KV cache of {server.model} takes {kib:.0f} KiB a token of maxTotalTokens"
    if memory.per_input_token:
        needs += f", and TGI's warm-up {memory.per_input_token / 1024:.0f} KiB a token of maxInputTokens"
    return f"{needs}: {memory.needed(server) / _GIB:.1f} GiB"
