"""Start a model server as its image's entrypoint does: flags, log lines, loading, exit codes.

Left out on purpose: everything about shards and GPUs but what a log reader looks for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud import hub
from localcloud.model_server.simulation import Simulation, Timing
from localcloud.model_server.tgi import Tgi
from localcloud.model_server.tgi_requests import Limits
from localcloud.model_server.vllm import IDLE_SECONDS as VLLM_IDLE_SECONDS
from localcloud.model_server.vllm import Vllm
from localcloud.serving import NEVER_SECONDS, serving

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator

    from starlette.applications import Starlette


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TGI_FLAGS = _names(
    "model-id revision validation-workers sharded num-shard quantize speculate dtype kv-cache-dtype "
    "max-concurrent-requests max-best-of max-stop-sequences max-top-n-tokens max-input-tokens "
    "max-input-length max-total-tokens waiting-served-ratio max-batch-prefill-tokens "
    "max-batch-total-tokens max-waiting-tokens max-batch-size cuda-graphs hostname port shard-uds-path "
    "master-addr master-port huggingface-hub-cache weights-cache-override cuda-memory-fraction "
    "rope-scaling rope-factor otlp-endpoint otlp-service-name cors-allow-origin api-key watermark-gamma "
    "watermark-delta ngrok-authtoken ngrok-edge tokenizer-config-path max-client-batch-size lora-adapters "
    "usage-stats"
)
_TGI_SWITCHES = _names("trust-remote-code disable-custom-kernels json-output ngrok disable-grammar-support env")
_TGI_CHOICES = {
    "dtype": ("float16", "bfloat16"),
    "quantize": ("awq", "eetq", "exl2", "gptq", "marlin", "bitsandbytes", "bitsandbytes-nf4", "bitsandbytes-fp4", "fp8"),
    "usage-stats": ("on", "off", "no-stack"),
}
_VLLM_FLAGS = _names(
    "model revision dtype max-model-len served-model-name attention-backend port host api-key "
    "gpu-memory-utilization max-num-seqs max-num-batched-tokens tokenizer quantization seed download-dir "
    "tensor-parallel-size kv-cache-dtype load-format"
)
_VLLM_SWITCHES = _names(
    "no-enable-prefix-caching enable-prefix-caching enforce-eager trust-remote-code "
    "no-enable-chunked-prefill enable-chunked-prefill no-enable-log-requests"
)


class StartError(Exception):
    """The server ends while starting: its log lines are in the message, its exit status beside it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Command:
    """A server's command line and environment, read."""

    engine: str
    model: str
    port: int
    options: Mapping[str, str]


def is_model_server(image: str) -> bool:
    """Whether an image (without tag or digest) is a model server's."""
    return image.endswith(("/text-generation-inference", "/vllm-openai"))


def parse(image: str, arguments: list[str], environment: Mapping[str, str]) -> Command:
    """Read the arguments of the image's entrypoint; raises StartError with the engine's own words."""
    if image.endswith("/text-generation-inference"):
        options = _parse_tgi(arguments)
        for name in _TGI_FLAGS:
            value = environment.get(name.upper().replace("-", "_"))
            if value is not None:
                options.setdefault(name, value)
        model = options.get("model-id", "bigscience/bloom-560m")
        return Command("tgi", model, int(options.get("port", "80")), options)
    options = _parse_vllm(arguments)
    if "VLLM_API_KEY" in environment:
        options.setdefault("api-key", environment["VLLM_API_KEY"])
    return Command("vllm", options.get("model", "Qwen/Qwen3-0.6B"), int(options.get("port", "8000")), options)


def _parse_tgi(arguments: list[str]) -> dict[str, str]:
    usage = "\n\nUsage: text-generation-launcher [OPTIONS]\n\nFor more information, try '--help'."
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        flag, separator, value = rest.pop(0).partition("=")
        name = {"-p": "port", "-e": "env"}.get(flag, flag.removeprefix("--"))
        if name in _TGI_SWITCHES:
            options[name] = "true"
            continue
        if not flag.startswith("-") or name not in _TGI_FLAGS:
            raise StartError(2, f"error: unexpected argument '{flag}' found{usage}")
        if not separator and (not rest or rest[0].startswith("--")):
            placeholder = name.upper().replace("-", "_")
            raise StartError(2, f"error: a value is required for '--{name} <{placeholder}>' but none was supplied{usage}")
        if name in options:
            raise StartError(
                2, f"error: the argument '--{name} <{name.upper().replace('-', '_')}>' cannot be used multiple times{usage}"
            )
        options[name] = value if separator else rest.pop(0)
        _check_tgi_value(name, options[name])
    return options


def _check_tgi_value(name: str, value: str) -> None:
    placeholder = name.upper().replace("-", "_")
    hint = "\n\nFor more information, try '--help'."
    choices = _TGI_CHOICES.get(name)
    if choices and value not in choices:
        listed = ", ".join(choices)
        raise StartError(2, f"error: invalid value '{value}' for '--{name} <{placeholder}>'\n  [possible values: {listed}]{hint}")
    number = name.startswith(("max-", "validation-")) or name == "port"
    if number and not value.isdigit():
        raise StartError(2, f"error: invalid value '{value}' for '--{name} <{placeholder}>': invalid digit found in string{hint}")


def _parse_vllm(arguments: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    rest = list(arguments)
    if rest and not rest[0].startswith("-"):
        options["model"] = rest.pop(0)  # the image's entrypoint is `vllm serve`
    while rest:
        flag, separator, value = rest.pop(0).partition("=")
        name = flag.removeprefix("--").replace("_", "-")
        if name == "served-model-name":
            names = [value] if separator else []
            while rest and not rest[0].startswith("-"):
                names.append(rest.pop(0))
            options[name] = " ".join(names)
            continue
        if name in _VLLM_SWITCHES:
            options[name] = "true"
        elif flag.startswith("--") and name in _VLLM_FLAGS and (separator or rest):
            options[name] = value if separator else rest.pop(0)
        else:
            text = f"api_server.py: error: unrecognized arguments: {flag}"
            raise StartError(2, f"usage: api_server.py [-h] [options]\n{text}")
    return options


def directory_config(directory: Path) -> tuple[dict[str, Any], bool]:
    """config.json of a model's directory, and whether its tokenizer has a chat template."""
    config: dict[str, Any] = json.loads((directory / "config.json").read_text())
    tokenizer = directory / "tokenizer_config.json"
    template = tokenizer.exists() and "chat_template" in json.loads(tokenizer.read_text())
    return config, template


def _line(level: str, target: str, message: str) -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ} {level:>5} {target}: {message}"


class Server:
    """One container's model server; `model_directory` is None when the model is named by its Hub id."""

    def __init__(
        self,
        command: Command,
        model_directory: Path | None,
        environment: Mapping[str, str],
        timing: Timing,
        say: Callable[[str], None],
    ) -> None:
        self.command = command
        self.model_directory = model_directory
        self.environment = environment
        self.timing = timing
        self.say = say
        self.has_flashinfer = True
        """Whether TGI's usual attention runs on this GPU."""

    @asynccontextmanager
    async def running(self, listener: socket.socket, load_seconds: float) -> AsyncGenerator[None]:
        """Load, then serve on the bound socket; until then connections are refused, as TGI does."""
        config, template = self._model()
        is_tgi = self.command.engine == "tgi"
        app = self._tgi(config, template) if is_tgi else self._vllm(template)
        await asyncio.sleep(load_seconds)
        async with serving(app, listener, idle_seconds=NEVER_SECONDS if is_tgi else VLLM_IDLE_SECONDS):
            self.say(_line("INFO", "text_generation_router::server", "Connected"))
            yield

    def _model(self) -> tuple[dict[str, Any], bool]:
        command = self.command
        if self.model_directory:
            try:
                return directory_config(self.model_directory)
            except (OSError, ValueError) as error:
                message = f"{command.model} does not appear to have a file named config.json"
                raise StartError(1, _line("ERROR", "download", f"OSError: {message}")) from error
        token = self.environment.get("HF_TOKEN") or self.environment.get("HUGGING_FACE_HUB_TOKEN")
        offline = self.environment.get("HF_HUB_OFFLINE", "0") not in {"", "0"}
        if offline:
            raise StartError(1, _line("ERROR", "download", "Cannot reach the Hub: HF_HUB_OFFLINE is set"))
        try:
            hub.check_access(command.model, token, command.options.get("revision", "main"))
        except hub.HubError as error:
            message = f"Download encountered an error: {error}"
            raise StartError(1, _line("ERROR", "download", message)) from error
        return hub.files(command.model)["config.json"], hub.has_chat_template(command.model)

    def _tgi(self, config: dict[str, Any], template: bool) -> Starlette:  # noqa: FBT001
        options = self.command.options
        launcher = "text_generation_launcher"
        longest = min(4096, int(config.get("max_position_embeddings", 4096)))
        limits = Limits(
            max_input_tokens=int(options.get("max-input-tokens", options.get("max-input-length", longest - 1))),
            max_total_tokens=int(options.get("max-total-tokens", longest)),
            max_concurrent_requests=int(options.get("max-concurrent-requests", 128)),
            max_best_of=int(options.get("max-best-of", 2)),
            max_stop_sequences=int(options.get("max-stop-sequences", 4)),
            max_client_batch_size=int(options.get("max-client-batch-size", 4)),
        )
        if limits.max_input_tokens >= limits.max_total_tokens:
            text = 'Error: ArgumentValidation("`max_input_tokens must be < `max_total_tokens`")'
            raise StartError(1, text)
        attention = self.environment.get("ATTENTION", "flashinfer")
        caching = self.environment.get("PREFIX_CACHING", "0" if attention == "paged" else "true")
        if "dtype" in options:
            name = options["dtype"].capitalize()
            self.say(_line("INFO", launcher, f"Args {{\n    dtype: Some(\n        {name},\n    ),\n}}"))
        self.say(_line("INFO", launcher, f"Using attention {attention} - Prefix caching {caching}"))
        self.say(_line("INFO", launcher, f"Starting check and download process for {self.command.model}"))
        self.say(_line("INFO", launcher, "Starting shard"))
        if attention == "flashinfer" and not self.has_flashinfer:
            text = "RuntimeError: CUDA error: no kernel image is available for execution on the device"
            raise StartError(1, _line("ERROR", launcher, f"Error when initializing model: {text}"))
        return Tgi(
            self.command.model,
            Simulation(self.timing),
            limits=limits,
            has_chat_template=template,
            api_key=options.get("api-key"),
        ).app

    def _vllm(self, template: bool) -> Starlette:  # noqa: FBT001
        options = self.command.options
        if options.get("dtype") == "bfloat16":
            text = (
                "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0."
                " Your Tesla T4 GPU has compute capability 7.5. You can use float16 instead by explicitly"
                " setting the `dtype` flag in CLI, for example: --dtype=half."
            )
            raise StartError(1, text)
        # vLLM 0.33 falls back to float16 on a T4.
        dtype = {"half": "float16", "auto": "float16"}.get(options.get("dtype", "auto"), options.get("dtype"))
        caching = "no-enable-prefix-caching" not in options
        self.say(f"INFO Initializing a V1 LLM engine with config: dtype=torch.{dtype}, enable_prefix_caching={caching}")
        self.say("INFO Using TRITON_ATTN attention backend")
        self.say(f"INFO Starting vLLM API server on http://0.0.0.0:{self.command.port}")
        return Vllm(
            options.get("served-model-name", self.command.model).split(),
            Simulation(self.timing),
            max_model_len=int(options.get("max-model-len", 4096)),
            has_chat_template=template,
            api_key=options.get("api-key"),
        ).app
