"""TGI 2.4.0's HTTP API over a simulated model, shapes and errors as router/src/server.rs has them.

Left out on purpose: grammars and tools (answered as TGI does with --disable-grammar-support),
images, LoRA, sagemaker and vertex routes, /docs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from localcloud.model_server.http import (
    DONE,
    KEEP_ALIVE_SECONDS,
    SIMULATED,
    Json,
    Refused,
    event,
    read_body,
    stream,
)
from localcloud.model_server.metrics import Metrics
from localcloud.model_server.simulation import (
    BOS_TEXT,
    Piece,
    Simulation,
    Token,
    Work,
    tokenize,
)

VERSION, SHA = "2.4.0", "0a655a0ab5db15f08e45d8c535e263044b944190"
SYSTEM_FINGERPRINT = f"{VERSION}-sha-0a655a0"
_ON_EVERY_RESPONSE = {
    **SIMULATED,
    "access-control-allow-origin": "*",
    "vary": "origin, access-control-request-method, access-control-request-headers",
}


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


class CompletionRequest(BaseModel):
    """Body of /v1/completions."""

    prompt: str | list[str]
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


class InferError(Exception):
    """An error with TGI's JSON body; on event streams it travels as an event."""

    def __init__(self, status: int, error: str, error_type: str) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, "error_type": error_type}


def _invalid(message: str) -> InferError:
    return InferError(422, f"Input validation error: {message}", "validation")


@dataclass
class Generation:
    """One admitted request: its prompt's pieces, and what the simulation did."""

    inputs: str
    parameters: Parameters
    pieces: list[Piece]
    work: Work
    arrived: float

    @property
    def seed(self) -> int | None:
        """The seed that is reported: only when the request samples."""
        sampling = self.parameters.do_sample or self.parameters.temperature is not None
        return (self.parameters.seed or 42) if sampling else None

    def full_text(self) -> str:
        """The answer, after the prompt where that was asked for."""
        return (self.inputs if self.parameters.return_full_text else "") + self.work.text

    def usage(self) -> dict[str, int]:
        """OpenAI's usage object."""
        prompt, completion = self.work.prompt_tokens, self.work.generated_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }


def _check(condition: bool, message: str) -> None:  # noqa: FBT001 - an assertion with an answer
    if not condition:
        raise _invalid(message)


def _check_parameters(parameters: Parameters, limits: Limits) -> None:
    """The rules of router/src/validation.rs, in its order."""
    p = parameters
    sampling = p.do_sample or any(value is not None for value in (p.temperature, p.top_k, p.top_p, p.typical_p))
    best_of = 1 if p.best_of is None else p.best_of
    _check(best_of <= 1 or sampling, "you must use sampling when `best_of` is > 1")
    _check(p.temperature is None or p.temperature > 0, "`temperature` must be strictly positive")
    penalty = 1.0 if p.repetition_penalty is None else p.repetition_penalty
    _check(penalty > 0, "`repetition_penalty` must be strictly positive")
    _check(
        abs(p.frequency_penalty or 0.0) <= 2.0,  # noqa: PLR2004
        "`frequency_penalty` must be >= -2.0 and <= 2.0",
    )
    _check(p.top_p is None or 0 < p.top_p < 1, "`top_p` must be > 0.0 and < 1.0")
    _check(p.typical_p is None or 0 < p.typical_p < 1, "`typical_p` must be > 0.0 and < 1.0")
    _check(p.top_k is None or p.top_k > 0, "`top_k` must be strictly positive")
    _check(p.max_new_tokens != 0, "`max_new_tokens` must be strictly positive")
    most = limits.max_stop_sequences
    _check(len(p.stop) <= most, f"`stop` supports up to {most} stop sequences. Given: {len(p.stop)}")
    _check(best_of <= 1 or p.seed is None, "`seed` must not be set when `best_of` > 1")
    top_n, most = p.top_n_tokens or 0, limits.max_top_n_tokens
    _check(top_n <= most, f"`top_n_tokens` must be >= 0 and <= {most}. Given: {top_n}")


def _token(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "text": token.text,
        "logprob": token.logprob,
        "special": token.special,
    }


def _simple(pieces: list[Piece]) -> list[dict[str, Any]]:
    return [{"id": piece.id, "text": piece.text, "start": piece.start, "stop": piece.stop} for piece in pieces]


class Tgi:
    """One text-generation-launcher."""

    def __init__(  # noqa: PLR0913 - options by keyword
        self,
        model_id: str,
        simulation: Simulation,
        *,
        limits: Limits | None = None,
        has_chat_template: bool = True,
        api_key: str | None = None,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        self.model_id = model_id
        self.simulation = simulation
        self.limits = limits or Limits()
        self.has_chat_template = has_chat_template
        self.api_key = api_key
        self.keep_alive_seconds = keep_alive_seconds
        self.metrics = Metrics(self.limits.max_total_tokens)
        self.permits = self.limits.max_concurrent_requests
        self.app = self._build()

    def _build(self) -> Starlette:
        guarded = {
            "/": self._compat_generate,
            "/generate": self._generate,
            "/generate_stream": self._generate_stream,
            "/v1/chat/completions": self._chat_completions,
            "/v1/completions": self._completions,
            "/tokenize": self._tokenize,
        }
        opened = {
            "/": self._health,
            "/health": self._health,
            "/ping": self._health,
            "/info": self._info,
            "/metrics": self._metrics,
            "/v1/models": self._models,
        }
        routes = [Route(path, self._answered(f, guarded=True), methods=["POST"]) for path, f in guarded.items()]
        routes += [Route(path, self._answered(f), methods=["GET"]) for path, f in opened.items()]
        routes.append(Route("/chat_tokenize", self._answered(self._chat_tokenize), methods=["POST"]))

        async def bare(_request: Request, error: Exception) -> Response:
            status: int = getattr(error, "status_code", 500)
            headers: dict[str, str] = getattr(error, "headers", None) or {}
            return Response(None, status, {**headers, **_ON_EVERY_RESPONSE})

        return Starlette(routes=routes, exception_handlers={404: bare, 405: bare})

    def _answered(
        self, handler: Callable[[Request], Awaitable[Response]], *, guarded: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """Turn errors into answers, check the API key (POST only, any letter case, as TGI)."""

        async def answer(request: Request) -> Response:
            try:
                given = request.headers.get("authorization", "").lower()
                if guarded and self.api_key and given != f"bearer {self.api_key}".lower():
                    response = Response(None, 401)
                else:
                    response = await handler(request)
            except Refused as refused:
                response = refused.response
            except InferError as error:
                response = Json(error.body, error.status)
            response.headers.update(_ON_EVERY_RESPONSE)
            return response

        return answer

    # Information

    async def _health(self, _request: Request) -> Response:
        return Response(None, 200)

    async def _info(self, _request: Request) -> Response:
        limits = self.limits
        return Json(
            {
                "model_id": self.model_id,
                "model_sha": None,
                "model_pipeline_tag": None,
                "max_concurrent_requests": limits.max_concurrent_requests,
                "max_best_of": limits.max_best_of,
                "max_stop_sequences": limits.max_stop_sequences,
                "max_input_tokens": limits.max_input_tokens,
                "max_total_tokens": limits.max_total_tokens,
                "validation_workers": limits.validation_workers,
                "max_client_batch_size": limits.max_client_batch_size,
                "router": "text-generation-router",
                "version": VERSION,
                "sha": SHA,
                "docker_label": "sha-0a655a0",
            }
        )

    async def _models(self, _request: Request) -> Response:
        model = {"id": self.model_id, "object": "model", "created": 0, "owned_by": self.model_id}
        return Json({"object": "list", "data": [model]})

    async def _metrics(self, _request: Request) -> Response:
        self.metrics.set("tgi_queue_size", self.simulation.queue_size)
        self.metrics.set("tgi_batch_current_size", self.simulation.running)
        return PlainTextResponse(self.metrics.render())

    async def _tokenize(self, request: Request) -> Response:
        body = await read_body(request, GenerateRequest)
        return Json(_simple(tokenize(body.inputs)))

    async def _chat_tokenize(self, request: Request) -> Response:
        self.metrics.count("tgi_request_count")
        inputs = self._apply_chat_template(await read_body(request, ChatRequest))
        pieces = _simple(tokenize(inputs, add_special_tokens=False))
        return Json({"tokenize_response": pieces, "templated_text": inputs})

    # Generation

    def _admit(self, inputs: str, parameters: Parameters, arrived: float, *, add_special_tokens: bool = True) -> Generation:
        """Take a permit and validate, as infer.generate_stream; `_work` gives the permit back."""
        if self.permits == 0:
            self.metrics.count("tgi_request_failure", 'err="overloaded"')
            raise InferError(429, "Model is overloaded", "overloaded")
        try:
            generation = self._validated(inputs, parameters, arrived, add_special_tokens)
        except InferError:
            self.metrics.count("tgi_request_failure", 'err="validation"')
            raise
        self.permits -= 1
        return generation

    def _validated(
        self,
        inputs: str,
        parameters: Parameters,
        arrived: float,
        add_special_tokens: bool,  # noqa: FBT001
    ) -> Generation:
        limits = self.limits
        _check_parameters(parameters, limits)
        _check(bool(inputs), "`inputs` cannot be empty")
        truncate = parameters.truncate
        if truncate is not None and not 0 < truncate <= limits.max_input_tokens:
            most = limits.max_input_tokens
            raise _invalid(f"`truncate` must be strictly positive and less than {most}. Given: {truncate}")
        pieces = tokenize(inputs, add_special_tokens=add_special_tokens)
        pieces = pieces[-truncate:] if truncate else pieces
        length, total = len(pieces), limits.max_total_tokens
        new = parameters.max_new_tokens
        new = max(0, total - length) if new is None else new
        _check(
            length + new <= total,
            f"`inputs` tokens + `max_new_tokens` must be <= {total}. Given: {length} `inputs` tokens and {new} `max_new_tokens`",
        )
        most = limits.max_input_tokens
        _check(length <= most, f"`inputs` must have less than {most} tokens. Given: {length}")
        _check(parameters.grammar is None, "grammar is not supported")
        self.metrics.observe("tgi_request_input_length", length)
        self.metrics.observe("tgi_request_max_new_tokens", new)
        work = Work(length, new, parameters.stop)
        return Generation(inputs, parameters, pieces, work, arrived)

    async def _work(self, generation: Generation) -> AsyncGenerator[Token]:
        """The tokens of an admitted request, with the metrics that TGI keeps of them."""
        loop = asyncio.get_running_loop()
        metrics, work = self.metrics, generation.work
        last = 0.0
        try:
            async with aclosing(self.simulation.tokens(work)) as tokens:
                async for token in tokens:
                    now = loop.time()
                    method = 'method="decode"' if last else 'method="prefill"'
                    metrics.count("tgi_batch_inference_count", method)
                    metrics.count("tgi_batch_inference_success", method)
                    metrics.observe("tgi_batch_inference_duration", now - (last or work.started), method)
                    last = now
                    if work.finish_reason:
                        self._record(generation)
                    yield token
        finally:
            self.permits += 1

    def _record(self, generation: Generation) -> None:
        metrics, work = self.metrics, generation.work
        now = asyncio.get_running_loop().time()
        metrics.count("tgi_request_success")
        metrics.observe("tgi_request_duration", now - generation.arrived)
        metrics.observe("tgi_request_validation_duration", work.queued - generation.arrived)
        metrics.observe("tgi_request_queue_duration", work.started - work.queued)
        metrics.observe("tgi_request_inference_duration", now - work.started)
        per_token = (now - work.started) / work.generated_tokens
        metrics.observe("tgi_request_mean_time_per_token_duration", per_token)
        metrics.observe("tgi_request_generated_tokens", work.generated_tokens)

    async def _whole(
        self, inputs: str, parameters: Parameters, *, add_special_tokens: bool = True
    ) -> tuple[dict[str, str], dict[str, Any], Generation]:
        """`generate_internal`: headers, body, and what was done."""
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        self.metrics.count("tgi_request_count")
        best_of = 1 if parameters.best_of is None else parameters.best_of
        most = self.limits.max_best_of
        _check(0 < best_of <= most, f"`best_of` must be > 0 and <= {most}. Given: {best_of}")

        async def sequence() -> tuple[Generation, list[Token]]:
            admitted = self._admit(inputs, parameters, arrived, add_special_tokens=add_special_tokens)
            async with aclosing(self._work(admitted)) as tokens:
                return admitted, [token async for token in tokens]

        (generation, tokens), *others = await asyncio.gather(*[sequence() for _ in range(best_of)])
        body: dict[str, Any] = {"generated_text": generation.full_text()}
        if parameters.details or parameters.decoder_input_details:
            body["details"] = _details(generation, tokens)
            if others:
                body["details"]["best_of_sequences"] = [
                    {"generated_text": other.full_text(), **_details(other, other_tokens)} for other, other_tokens in others
                ]
        return _timing_headers(generation, loop.time()), body, generation

    async def _generate(self, request: Request) -> Response:
        body = await read_body(request, GenerateRequest)
        headers, answer, _ = await self._whole(body.inputs, body.parameters)
        return Json(answer, headers=headers)

    async def _compat_generate(self, request: Request) -> Response:
        body = await read_body(request, GenerateRequest)
        if body.stream:
            return self._stream_of(body)
        headers, answer, _ = await self._whole(body.inputs, body.parameters)
        return Json([answer], headers=headers)

    async def _generate_stream(self, request: Request) -> Response:
        return self._stream_of(await read_body(request, GenerateRequest))

    def _stream_of(self, body: GenerateRequest) -> Response:
        async def events() -> AsyncGenerator[bytes]:
            try:
                async with aclosing(self._stream(body.inputs, body.parameters)) as steps:
                    async for generation, token in steps:
                        yield event(_stream_response(generation, token))
            except InferError as error:
                yield event(error.body)

        return self._streaming(events(), len(body.inputs))

    async def _stream(
        self, inputs: str, parameters: Parameters, *, add_special_tokens: bool = True
    ) -> AsyncGenerator[tuple[Generation, Token]]:
        """`generate_stream_internal`: validation, too, happens after the headers have left."""
        arrived = asyncio.get_running_loop().time()
        self.metrics.count("tgi_request_count")
        if parameters.best_of not in {None, 1}:
            raise _invalid("`best_of` != 1 is not supported when streaming tokens")
        if parameters.decoder_input_details:
            raise _invalid("`decoder_input_details` == true is not supported when streaming tokens")
        generation = self._admit(inputs, parameters, arrived, add_special_tokens=add_special_tokens)
        async with aclosing(self._work(generation)) as tokens:
            async for token in tokens:
                yield generation, token

    def _streaming(self, events: AsyncGenerator[bytes], characters: int) -> Response:
        headers = {
            "x-compute-type": "gpu+optimized",
            "x-compute-characters": str(characters),
            "x-accel-buffering": "no",
        }
        return stream(events, headers, self.keep_alive_seconds)

    # OpenAI

    async def _completions(self, request: Request) -> Response:
        body = await read_body(request, CompletionRequest)
        self.metrics.count("tgi_request_count")
        if body.suffix is not None:
            message = "Suffix is not supported and can be achieved by preprocessing the prompt."
            raise InferError(422, message, "suffix not supported")
        prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
        most = self.limits.max_client_batch_size
        if len(prompts) > most:
            message = f"Number of prompts exceeds the maximum allowed batch size of {most}"
            raise InferError(422, message, "batch size exceeded")
        parameters = _openai_parameters(body, repetition_penalty=body.repetition_penalty, decoder_input_details=not body.stream)
        if body.stream:
            return self._streaming(self._completion_events(prompts, parameters), sum(map(len, prompts)))
        answers = await asyncio.gather(*[self._whole(prompt, parameters) for prompt in prompts])
        choices = [
            _text_choice(index, generation.work.text, _openai_reason(generation.work))
            for index, (_, _, generation) in enumerate(answers)
        ]
        usage = {key: sum(generation.usage()[key] for _, _, generation in answers) for key in answers[0][2].usage()}
        headers = {
            key: value if key == "x-compute-type" else str(sum(int(h[key]) for h, _, _ in answers))
            for key, value in answers[0][0].items()
            if key != "x-compute-time"
        }
        return Json({**self._openai("text_completion"), "choices": choices, "usage": usage}, headers=headers)

    async def _completion_events(self, prompts: list[str], parameters: Parameters) -> AsyncGenerator[bytes]:
        """Interleave the events of every prompt; errors are events; [DONE] ends it."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def one(index: int, prompt: str) -> None:
            try:
                async with aclosing(self._stream(prompt, parameters)) as steps:
                    async for generation, token in steps:
                        queue.put_nowait(event(self._completion_chunk(index, generation, token)))
            except InferError as error:
                queue.put_nowait(event(error.body))
            finally:
                queue.put_nowait(None)

        tasks = [asyncio.ensure_future(one(*item)) for item in enumerate(prompts)]
        try:
            open_streams = len(tasks)
            while open_streams:
                chunk = await queue.get()
                if chunk is None:
                    open_streams -= 1
                else:
                    yield chunk
            yield DONE
        finally:
            for task in tasks:
                task.cancel()

    def _completion_chunk(self, index: int, generation: Generation, token: Token) -> dict[str, Any]:
        reason = generation.work.finish_reason  # as it is: only chat says "stop" for eos_token
        body = {**self._openai("text_completion"), "choices": [_text_choice(index, token.text, reason or "")]}
        return {**body, "usage": generation.usage()} if reason else body

    async def _chat_completions(self, request: Request) -> Response:
        body = await read_body(request, ChatRequest)
        self.metrics.count("tgi_request_count")
        inputs = self._apply_chat_template(body)
        parameters = _openai_parameters(
            body,
            repetition_penalty=None if body.presence_penalty is None else body.presence_penalty + 2.0,
            decoder_input_details=not body.stream,
            top_n_tokens=body.top_logprobs,
            grammar=body.response_format or body.tools,
        )
        if body.stream:
            return self._streaming(self._chat_events(body, inputs, parameters), len(inputs))
        headers, answer, generation = await self._whole(inputs, parameters, add_special_tokens=False)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": generation.work.text},
            "logprobs": {"content": list(map(_logprob, answer["details"]["tokens"]))} if body.logprobs else None,
            "finish_reason": _openai_reason(generation.work),
        }
        completion = {**self._openai("chat.completion"), "choices": [choice], "usage": generation.usage()}
        return Json(completion, headers=headers)

    async def _chat_events(self, body: ChatRequest, inputs: str, parameters: Parameters) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(self._stream(inputs, parameters, add_special_tokens=False)) as steps:
                async for generation, token in steps:
                    yield event(self._chat_chunk(body, generation, token))
        except InferError:
            pass  # 2.4.0 drops errors here and sends [DONE] alone; mended in 2.4.1
        yield DONE

    def _chat_chunk(self, body: ChatRequest, generation: Generation, token: Token) -> dict[str, Any]:
        last = generation.work.finish_reason is not None
        with_usage = last and body.stream_options is not None and body.stream_options.include_usage
        choice = {
            "index": 0,
            "delta": {"role": "assistant", "content": "" if token.special else token.text},
            "logprobs": {"content": [_logprob(_token(token))]} if body.logprobs else None,
            "finish_reason": _openai_reason(generation.work) if last else None,
        }
        usage = generation.usage() if with_usage else None
        return {**self._openai("chat.completion.chunk"), "choices": [choice], "usage": usage}

    def _openai(self, kind: str) -> dict[str, Any]:
        return {
            "object": kind,
            "id": "",
            "created": int(time.time()),
            "model": self.model_id,
            "system_fingerprint": SYSTEM_FINGERPRINT,
        }

    def _apply_chat_template(self, body: ChatRequest) -> str:
        """Llama 3's template; a base model has none and answers 422."""
        if not self.has_chat_template:
            raise InferError(422, "Template error: template not found", "template_error")
        turns = [
            f"<|start_header_id|>{message.role}<|end_header_id|>\n\n{message.text().strip()}<|eot_id|>"
            for message in body.messages
        ]
        return BOS_TEXT + "".join(turns) + "<|start_header_id|>assistant<|end_header_id|>\n\n"


def _openai_parameters(
    body: CompletionRequest | ChatRequest,
    **more: Any,
) -> Parameters:
    """Parameters of an OpenAI request: 100 tokens unless told, greedy only at temperature 0."""
    greedy = body.temperature == 0
    return Parameters(
        temperature=None if greedy else body.temperature,
        do_sample=not greedy,
        top_p=body.top_p,
        frequency_penalty=body.frequency_penalty,
        max_new_tokens=100 if body.max_tokens is None else body.max_tokens,
        stop=body.stop or [],
        seed=body.seed,
        details=True,
        **more,
    )


def _openai_reason(work: Work) -> str:
    return "stop" if work.finish_reason == "eos_token" else str(work.finish_reason)


def _text_choice(index: int, text: str, reason: str) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}


def _logprob(token: dict[str, Any]) -> dict[str, Any]:
    return {"token": token["text"], "logprob": token["logprob"], "top_logprobs": []}


def _stream_response(generation: Generation, token: Token) -> dict[str, Any]:
    work, parameters = generation.work, generation.parameters
    body: dict[str, Any] = {"index": work.generated_tokens, "token": _token(token)}
    if parameters.top_n_tokens:
        body["top_tokens"] = [_token(token)]
    details = {
        "finish_reason": work.finish_reason,
        "generated_tokens": work.generated_tokens,
        "seed": generation.seed,
        "input_length": work.prompt_tokens,
    }
    last = work.finish_reason is not None
    return {
        **body,
        "generated_text": generation.full_text() if last else None,
        "details": details if last and parameters.details else None,
    }


def _details(generation: Generation, tokens: list[Token]) -> dict[str, Any]:
    work, parameters = generation.work, generation.parameters
    prefill = [
        {"id": piece.id, "text": piece.text, "logprob": None if index == 0 else -0.5}
        for index, piece in enumerate(generation.pieces)
    ]
    body: dict[str, Any] = {
        "finish_reason": work.finish_reason,
        "generated_tokens": work.generated_tokens,
        "seed": generation.seed,
        "prefill": prefill if parameters.decoder_input_details else [],
        "tokens": [_token(token) for token in tokens],
    }
    if parameters.top_n_tokens:
        body["top_tokens"] = [[_token(token)] for token in tokens]
    return body


def _timing_headers(generation: Generation, now: float) -> dict[str, str]:
    """Headers of /generate and what is built on it; times in whole milliseconds."""
    work = generation.work
    inference = now - work.started
    milliseconds = {
        "x-total-time": now - generation.arrived,
        "x-validation-time": work.queued - generation.arrived,
        "x-queue-time": work.started - work.queued,
        "x-inference-time": inference,
        "x-time-per-token": inference / work.generated_tokens,
    }
    return {
        "x-compute-type": "gpu+optimized",
        "x-compute-time": repr(now - generation.arrived),
        "x-compute-characters": str(len(generation.inputs)),
        **{name: str(int(seconds * 1000)) for name, seconds in milliseconds.items()},
        "x-prompt-tokens": str(work.prompt_tokens),
        "x-generated-tokens": str(work.generated_tokens),
    }
