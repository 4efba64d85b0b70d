"""What differs between the serving engines: image, command line, environment, paths. Adding an engine touches this file only.

Both are asked through the same request bodies. Leaves out the limits of a GPU: models.py judges what fits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

WEIGHTS_DIRECTORY = "/model"
"""Where the container finds the weights: served offline from a plain directory, fetched before (serving-facts 1)."""
SERVED_MODEL_NAME = "tgi"
"""The model's name in OpenAI requests to either engine. TGI reads any other as a LoRA id; vLLM also knows the model's own."""


class Engine(StrEnum):
    """A serving engine."""

    TGI = "tgi"
    """Hugging Face TGI."""
    VLLM = "vllm"
    """vLLM."""


@dataclass(frozen=True)
class Server:
    """What is served, and with which engine; args.py describes each field, the defaults are here."""

    engine: Engine = Engine.TGI
    image: str | None = None
    model: str = "meta-llama/Llama-3.2-3B-Instruct"
    revision: str = "main"
    max_input_tokens: int = 3072
    max_total_tokens: int = 4096
    prefix_caching: bool = True
    extra_arguments: Sequence[str] = ()


@dataclass(frozen=True)
class ServerProcess:
    """How the server's container is started."""

    image: str
    container_port: int
    health_path: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    minimum_driver: int
    """Major version of the NVIDIA driver that the image's CUDA wants."""
    log_facts: Mapping[str, str]
    """What only the log states, by name: a pattern (Python's, case ignored) with one group."""
    trouble: str = ""
    """A pattern (Python's) of log lines after which the server is started once more, with `fallback`."""
    fallback: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further environment of that second start."""


BUSY_METRICS = ("tgi_queue_size", "tgi_batch_current_size", "vllm:num_requests_waiting", "vllm:num_requests_running")
"""Gauges of /metrics that say how many requests wait and run, of any engine: a change may be one of engines."""


_SHARD_OPTIONS = {Engine.TGI: ("--num-shard",), Engine.VLLM: ("--tensor-parallel-size", "-tp")}
"""Neither engine takes more than one GPU of a host unless it is told: TGI counts `NVIDIA_VISIBLE_DEVICES=all` as one."""


def shards(engine: Engine, extra_arguments: Sequence[str]) -> int:
    """Over how many GPUs of its host a server spreads a model; what is no number counts as one."""
    value = option(extra_arguments, *_SHARD_OPTIONS[engine])
    return max(1, int(value)) if value and value.isascii() and value.isdecimal() else 1


def shard_argument(engine: Engine, gpus: int) -> str:
    """The argument that spreads a model over so many GPUs."""
    return f"{_SHARD_OPTIONS[engine][0]}={gpus}"


def option(arguments: Sequence[str], *names: str) -> str | None:
    """The last value of an option of a command line, `--name value` or `--name=value`; None where it has none."""
    found = None
    for index, word in enumerate(arguments):
        name, is_joined, value = word.partition("=")
        if name in names:
            found = value if is_joined else next(iter(arguments[index + 1 :]), None)
    return found


def server_process(server: Server) -> ServerProcess:
    """The container of the chosen engine."""
    return {Engine.TGI: _tgi, Engine.VLLM: _vllm}[server.engine](server)


def _tgi(server: Server) -> ServerProcess:
    """TGI 2.4.0, as in the source document. float16: the T4 has no bfloat16, and a report can state it; TGI takes no `--dtype`
    beside a `--quantize`.

    No `--revision`: with one the router asks the Hub even for a local directory. Attention is TGI's own choice first, flashinfer
    also on a T4, where nobody has seen it run; the fallback's kernels are built for it (serving-facts 1).
    """
    return ServerProcess(
        image=server.image or "ghcr.io/huggingface/text-generation-inference:2.4.0",
        container_port=80,
        health_path="/health",
        arguments=(
            "--model-id", WEIGHTS_DIRECTORY,
            *(() if option(server.extra_arguments, "--quantize") else ("--dtype", "float16")),
            "--max-input-tokens", str(server.max_input_tokens),
            "--max-total-tokens", str(server.max_total_tokens),
            *server.extra_arguments,
        ),
        environment={
            "HF_HUB_OFFLINE": "1",
            "USAGE_STATS": "off",
            **({} if server.prefix_caching else {"PREFIX_CACHING": "0"}),
        },
        log_facts={
            "dtype": r"dtype: Some\(\s*(\w+)",
            # What the launcher wants. Where its kernels cannot be imported, something else serves, and nobody states what.
            "attention": r"(?s)Using attention (?:= )?(\w+)(?!.*Could not import Flash Attention)",
            "prefix_caching": r"prefix caching (?:= )?(true|false|0|1)\b",
        },
        minimum_driver=535,
        trouble=r"only supports Ampere|no kernel image|CUDA error:|/flashinfer/|[Ff]lash[Ii]nfer.*([Ee]rror|[Ff]ailed)",
        fallback={"ATTENTION": "paged", "PREFIX_CACHING": "0"},
    )  # fmt: skip


def _vllm(server: Server) -> ServerProcess:
    """VLLM 0.33.0: its image runs `vllm serve` and brings CUDA 13; on a T4 its attention runs on Triton, which nobody here tried.

    Answers name the model by its id on the Hub; TGI's name for it works too (serving-facts 1).
    """
    return ServerProcess(
        image=server.image or "vllm/vllm-openai:v0.33.0",
        container_port=8000,
        health_path="/health",
        arguments=(
            WEIGHTS_DIRECTORY,
            "--served-model-name", server.model, SERVED_MODEL_NAME,
            "--dtype", "half",
            "--max-model-len", str(server.max_total_tokens),
            *(() if server.prefix_caching else ("--no-enable-prefix-caching",)),
            *server.extra_arguments,
        ),
        environment={"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
        minimum_driver=580,
        log_facts={
            "dtype": r"dtype=torch\.(\w+)",
            "attention": r"Using (?:AttentionBackendEnum\.)?(\w+)(?: attention)? backend",
            "prefix_caching": r"enable_prefix_caching=(\w+)",
        },
    )  # fmt: skip
