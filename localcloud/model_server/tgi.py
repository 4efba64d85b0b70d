"""TGI 2.4.0's HTTP API over a simulated model; what it takes and answers is in tgi_requests.py and tgi_answers.py.

Held to recorded answers of the real one (tests/unit/hosts/test_recorded_engines.py). Left out on purpose: grammars and tools,
images, LoRA, the routes of SageMaker and Vertex, the pages of /docs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from localcloud.model_server.http import (
    DONE,
    KEEP_ALIVE_SECONDS,
    SIMULATED,
    Json,
    Refused,
    answering,
    bare,
    event,
    read_body,
    stream,
)
from localcloud.model_server.metrics import Metrics
from localcloud.model_server.simulation import ModelFailedError, Simulation, Token, Work, tokenize
from localcloud.model_server.tgi_answers import (
    SHA,
    VERSION,
    Generation,
    chat_chunk,
    chat_completion,
    chat_prompt,
    completion,
    completion_chunk,
    details,
    openai_parameters,
    stream_event,
    timing_headers,
    tokenized,
)
from localcloud.model_server.tgi_requests import (
    ChatRequest,
    CompletionRequest,
    GenerateRequest,
    InferError,
    Limits,
    Parameters,
    check,
    check_parameters,
    invalid,
)

_HEADERS = {
    **SIMULATED,
    "access-control-allow-origin": "*",
    "vary": "origin, access-control-request-method, access-control-request-headers",
}


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
        self._has_generated = False
        """Whether the last generation went well: only then is the health check a cheap one."""
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
            "/docs": self._docs,
        }
        routes = [
            Route(path, answering(handler, _HEADERS, self._refuse_keyless), methods=["POST"]) for path, handler in guarded.items()
        ]
        routes += [Route(path, answering(handler, _HEADERS), methods=["GET"]) for path, handler in opened.items()]
        routes.append(Route("/chat_tokenize", answering(self._chat_tokenize, _HEADERS), methods=["POST"]))
        return Starlette(routes=routes, exception_handlers=dict.fromkeys((404, 405), bare(_HEADERS)))

    def _refuse_keyless(self, request: Request) -> None:
        """TGI guards its POST routes only, and compares keys in any letter case."""
        given = request.headers.get("authorization", "").lower()
        if self.api_key and given != f"bearer {self.api_key}".lower():
            raise Refused(Response(None, 401))

    # Information

    async def _health(self, _request: Request) -> Response:
        """A forward pass holds it up; after the start, and after a failure, it is a prefill of its own."""
        if self._has_generated:
            await self.simulation.forward_pass()
        else:
            await self.simulation.run(Work(1, 1))
            self._has_generated = True
        return Response(None, 200)

    async def _docs(self, _request: Request) -> Response:
        return RedirectResponse("/docs/", 303)

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
        if self.metrics.has_counted:  # a fresh server has no gauges
            self.metrics.set("tgi_queue_size", self.simulation.queue_size)
            self.metrics.set("tgi_batch_current_size", self.simulation.decoding)
        return PlainTextResponse(self.metrics.render())

    async def _tokenize(self, request: Request) -> Response:
        body = await read_body(request, GenerateRequest)
        return Json(tokenized(tokenize(body.inputs)))

    async def _chat_tokenize(self, request: Request) -> Response:
        self.metrics.count("tgi_request_count")
        inputs = self._apply_chat_template(await read_body(request, ChatRequest))
        pieces = tokenized(tokenize(inputs, add_special_tokens=False))
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
        check_parameters(parameters, limits)
        check(bool(inputs), "`inputs` cannot be empty")
        truncate = parameters.truncate
        if truncate is not None and not 0 < truncate <= limits.max_input_tokens:
            most = limits.max_input_tokens
            raise invalid(f"`truncate` must be strictly positive and less than {most}. Given: {truncate}")
        pieces = tokenize(inputs, add_special_tokens=add_special_tokens)
        pieces = pieces[-truncate:] if truncate else pieces
        length, total = len(pieces), limits.max_total_tokens
        new = parameters.max_new_tokens
        new = max(0, total - length) if new is None else new
        check(
            length + new <= total,
            f"`inputs` tokens + `max_new_tokens` must be <= {total}. Given: {length} `inputs` tokens and {new} `max_new_tokens`",
        )
        most = limits.max_input_tokens
        check(length <= most, f"`inputs` must have less than {most} tokens. Given: {length}")
        check(parameters.grammar is None, "grammar is not supported")
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
                    self._has_generated = True
                    if work.finish_reason:
                        self._record(generation)
                    yield token
        except ModelFailedError as error:
            self._has_generated = False
            metrics.count("tgi_request_failure", 'err="generation"')
            raise InferError(424, f"Request failed during generation: Server error: {error}", "generation") from error
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
    ) -> tuple[dict[str, str], dict[str, Any], Generation, list[Token]]:
        """`generate_internal`: headers, body, and what was done."""
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        self.metrics.count("tgi_request_count")
        best_of = 1 if parameters.best_of is None else parameters.best_of
        most = self.limits.max_best_of
        check(best_of <= most, f"`best_of` must be > 0 and <= {most}. Given: {best_of}")

        async def sequence() -> tuple[Generation, list[Token]]:
            admitted = self._admit(inputs, parameters, arrived, add_special_tokens=add_special_tokens)
            async with aclosing(self._work(admitted)) as tokens:
                return admitted, [token async for token in tokens]

        (generation, tokens), *others = await asyncio.gather(*[sequence() for _ in range(max(1, best_of))])
        body: dict[str, Any] = {"generated_text": generation.full_text()}
        if parameters.details or parameters.decoder_input_details:
            body["details"] = details(generation, tokens)
            if others:
                body["details"]["best_of_sequences"] = [
                    {"generated_text": other.full_text(), **details(other, other_tokens)} for other, other_tokens in others
                ]
        return timing_headers(generation, loop.time()), body, generation, tokens

    async def _generate(self, request: Request) -> Response:
        body = await read_body(request, GenerateRequest)
        headers, answer, *_ = await self._whole(body.inputs, body.parameters)
        return Json(answer, headers=headers)

    async def _compat_generate(self, request: Request) -> Response:
        body = await read_body(request, GenerateRequest)
        if body.parameters.return_full_text is None:
            body.parameters.return_full_text = True
        if body.stream:
            return self._stream_of(body)
        headers, answer, *_ = await self._whole(body.inputs, body.parameters)
        return Json([answer], headers=headers)

    async def _generate_stream(self, request: Request) -> Response:
        return self._stream_of(await read_body(request, GenerateRequest))

    def _stream_of(self, body: GenerateRequest) -> Response:
        async def events() -> AsyncGenerator[bytes]:
            try:
                async with aclosing(self._stream(body.inputs, body.parameters)) as steps:
                    async for generation, token in steps:
                        yield event(stream_event(generation, token))
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
            raise invalid("`best_of` != 1 is not supported when streaming tokens")
        if parameters.decoder_input_details:
            raise invalid("`decoder_input_details` == true is not supported when streaming tokens")
        generation = self._admit(inputs, parameters, arrived, add_special_tokens=add_special_tokens)
        async with aclosing(self._work(generation)) as tokens:
            async for token in tokens:
                yield generation, token

    def _streaming(self, events: AsyncGenerator[bytes], characters: int) -> Response:
        headers = {
            "content-type": "text/event-stream",
            "cache-control": "no-cache",
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
        parameters = openai_parameters(body, repetition_penalty=body.repetition_penalty, decoder_input_details=not body.stream)
        if body.stream:
            return self._streaming(self._completion_events(prompts, parameters), sum(map(len, prompts)))
        answers = await asyncio.gather(*[self._whole(prompt, parameters) for prompt in prompts])
        headers = {
            key: value if key == "x-compute-type" else str(sum(int(each[key]) for each, *_ in answers))
            for key, value in answers[0][0].items()
            if key != "x-compute-time"
        }
        return Json(completion(self.model_id, [generation for _, _, generation, _ in answers]), headers=headers)

    async def _completion_events(self, prompts: list[str], parameters: Parameters) -> AsyncGenerator[bytes]:
        """Interleave the events of every prompt; errors are events; [DONE] ends it."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def one(index: int, prompt: str) -> None:
            try:
                async with aclosing(self._stream(prompt, parameters)) as steps:
                    async for generation, token in steps:
                        queue.put_nowait(event(completion_chunk(self.model_id, index, generation, token)))
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

    async def _chat_completions(self, request: Request) -> Response:
        body = await read_body(request, ChatRequest)
        self.metrics.count("tgi_request_count")
        inputs = self._apply_chat_template(body)
        parameters = openai_parameters(
            body,
            repetition_penalty=None if body.presence_penalty is None else body.presence_penalty + 2.0,
            decoder_input_details=not body.stream,
            top_n_tokens=body.top_logprobs,
            grammar=body.response_format or body.tools,
        )
        if body.stream:
            return self._streaming(self._chat_events(body, inputs, parameters), len(inputs))
        headers, _, generation, tokens = await self._whole(inputs, parameters, add_special_tokens=False)
        return Json(chat_completion(self.model_id, body, generation, tokens), headers=headers)

    async def _chat_events(self, body: ChatRequest, inputs: str, parameters: Parameters) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(self._stream(inputs, parameters, add_special_tokens=False)) as steps:
                async for generation, token in steps:
                    yield event(chat_chunk(self.model_id, body, generation, token))
        except InferError:
            pass  # 2.4.0 drops errors here and sends [DONE] alone; mended in 2.4.1
        yield DONE

    def _apply_chat_template(self, body: ChatRequest) -> str:
        """A base model has no template and answers 422."""
        if not self.has_chat_template:
            raise InferError(422, "Template error: template not found", "template_error")
        if not body.messages:
            raise InferError(422, "Template error: undefined value (in <string>:20)", "template_error")
        return chat_prompt(body.messages)
