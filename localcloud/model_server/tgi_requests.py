"""What TGI 2.4.0 takes: the bodies of its routes, its limits, and the rules of router/src/validation.rs in their order.

Left out on purpose: grammars and tools, which are refused; images; LoRA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from localcloud.model_server.http import Json, Refused


@dataclass(frozen=True)
class Limits:
    """The router's limits, by TGI's names and defaults."""

    max_concurrent_requests: int = 128
    max_best_of: int = 2
    max_stop_sequences: int = 4
    max_top_n_tokens: int = 5
    max_input_tokens: int = 4095
    max_total_tokens: int = 4096
    validation_workers: int = 2
    max_client_batch_size: int = 4


class Parameters(BaseModel):
    """GenerateParameters; unknown fields are ignored, as TGI does."""

    best_of: int | None = Field(default=None, ge=0)
    temperature: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None
    do_sample: bool = False
    max_new_tokens: int | None = Field(default=100, ge=0)
    return_full_text: bool | None = None
    stop: list[str] = []
    truncate: int | None = Field(default=None, ge=0)
    details: bool = False
    decoder_input_details: bool = False
    seed: int | None = Field(default=None, ge=0)
    top_n_tokens: int | None = Field(default=None, ge=0)
    grammar: object = None


class GenerateRequest(BaseModel):
    """Body of /generate, /generate_stream, /tokenize and (with `stream`) of /."""

    inputs: str
    parameters: Parameters = Field(default_factory=lambda: Parameters.model_validate({"do_sample": True}))
    stream: bool = False


def _not_empty(prompts: list[str]) -> list[str]:
    if not prompts:
        raise ValueError("Empty array detected. Do not use an empty array for the prompt.")
    return prompts


class CompletionRequest(BaseModel):
    """Body of /v1/completions."""

    prompt: str | Annotated[list[str], AfterValidator(_not_empty)]
    max_tokens: int | None = Field(default=None, ge=0)
    temperature: float | None = None
    top_p: float | None = None
    stream: bool = False
    seed: int | None = Field(default=None, ge=0)
    suffix: str | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: list[str] | None = None


class ContentPart(BaseModel):
    """One part of a message's content."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One chat message."""

    role: str
    content: str | list[ContentPart]

    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """stream_options of a chat request."""

    include_usage: bool


class ChatRequest(BaseModel):
    """Body of /v1/chat/completions and /chat_tokenize."""

    messages: list[Message]
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=0)
    presence_penalty: float | None = None
    stop: list[str] | None = None
    stream: bool = False
    seed: int | None = Field(default=None, ge=0)
    temperature: float | None = None
    top_p: float | None = None
    tools: list[object] | None = None
    response_format: object = None
    stream_options: StreamOptions | None = None


class InferError(Refused):
    """An error with TGI's JSON body; on event streams it travels as an event."""

    def __init__(self, status: int, error: str, error_type: str) -> None:
        self.body = {"error": error, "error_type": error_type}
        super().__init__(Json(self.body, status))


def invalid(message: str) -> InferError:
    """What the validation refuses."""
    return InferError(422, f"Input validation error: {message}", "validation")


def check(condition: bool, message: str) -> None:  # noqa: FBT001 - an assertion with an answer
    """Refuses a request that breaks a rule."""
    if not condition:
        raise invalid(message)


def check_parameters(parameters: Parameters, limits: Limits) -> None:
    """The rules of router/src/validation.rs, in its order."""
    p = parameters
    sampling = p.do_sample or any(value is not None for value in (p.temperature, p.top_k, p.top_p, p.typical_p))
    best_of = 1 if p.best_of is None else p.best_of
    check(best_of <= 1 or sampling, "you must use sampling when `best_of` is > 1")
    check(p.temperature is None or p.temperature > 0, "`temperature` must be strictly positive")
    penalty = 1.0 if p.repetition_penalty is None else p.repetition_penalty
    check(penalty > 0, "`repetition_penalty` must be strictly positive")
    check(
        abs(p.frequency_penalty or 0.0) <= 2.0,  # noqa: PLR2004
        "`frequency_penalty` must be >= -2.0 and <= 2.0",
    )
    check(p.top_p is None or 0 < p.top_p < 1, "`top_p` must be > 0.0 and < 1.0")
    check(p.typical_p is None or 0 < p.typical_p < 1, "`typical_p` must be > 0.0 and < 1.0")
    check(p.top_k is None or p.top_k > 0, "`top_k` must be strictly positive")
    check(p.max_new_tokens != 0, "`max_new_tokens` must be strictly positive")
    most = limits.max_stop_sequences
    check(len(p.stop) <= most, f"`stop` supports up to {most} stop sequences. Given: {len(p.stop)}")
    check(best_of <= 1 or p.seed is None, "`seed` must not be set when `best_of` > 1")
    top_n, most = p.top_n_tokens or 0, limits.max_top_n_tokens
    check(top_n <= most, f"`top_n_tokens` must be >= 0 and <= {most}. Given: {top_n}")
