"""vLLM's OpenAI server over a simulated model: /v1/*, /health, /tokenize, /metrics, in its own shapes.

Left out on purpose: everything that this project does not call.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

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
from localcloud.model_server.simulation import Simulation, Work, tokenize
from localcloud.model_server.tgi import Message, StreamOptions

VERSION = "0.33.0"


class Ask(BaseModel):
    """Body of both /v1/completions (prompt) and /v1/chat/completions (messages)."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None


class Vllm:
    """One `vllm serve`."""

    def __init__(  # noqa: PLR0913 - options by keyword
        self,
        model_names: list[str],
        simulation: Simulation,
        *,
        max_model_len: int = 4096,
        has_chat_template: bool = True,
        api_key: str | None = None,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        self.model_names = model_names
        self.simulation = simulation
        self.max_model_len = max_model_len
        self.has_chat_template = has_chat_template
        self.api_key = api_key
        self.keep_alive_seconds = keep_alive_seconds
        self.metrics = Metrics(max_model_len)
        handlers = {
            ("GET", "/health"): self._health,
            ("GET", "/version"): self._version,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/v1/models"): self._models,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/v1/completions"): self._completions,
            ("POST", "/v1/chat/completions"): self._chat,
        }
        self.app = Starlette(
            routes=[Route(path, self._answered(handler), methods=[method]) for (method, path), handler in handlers.items()]
        )

    def _answered(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                wanted = f"Bearer {self.api_key}"
                closed = self.api_key and request.url.path.startswith("/v1")
                if closed and request.headers.get("authorization") != wanted:
                    response: Response = Json({"error": "Unauthorized"}, 401)
                else:
                    response = await handler(request)
            except Refused as refused:
                response = refused.response
                if response.status_code in {400, 422}:  # vLLM answers 400 with OpenAI's error object
                    response = _error(400, bytes(response.body).decode())
            response.headers.update(SIMULATED)
            return response

        return answer

    async def _health(self, _request: Request) -> Response:
        return Response(None, 200)

    async def _version(self, _request: Request) -> Response:
        return Json({"version": VERSION})

    async def _metrics(self, _request: Request) -> Response:
        self.metrics.set("vllm:num_requests_running", self.simulation.running)
        self.metrics.set("vllm:num_requests_waiting", self.simulation.queue_size)
        return PlainTextResponse(self.metrics.render())

    async def _models(self, _request: Request) -> Response:
        models = [
            {
                "id": name,
                "object": "model",
                "created": int(time.time()),
                "owned_by": "vllm",
                "root": self.model_names[0],
                "parent": None,
                "max_model_len": self.max_model_len,
            }
            for name in self.model_names
        ]
        return Json({"object": "list", "data": models})

    async def _tokenize(self, request: Request) -> Response:
        body = await read_body(request, Ask)
        ids = [piece.id for piece in tokenize(_inputs(body), add_special_tokens=body.messages is None)]
        return Json({"count": len(ids), "max_model_len": self.max_model_len, "tokens": ids, "token_strs": None})

    async def _completions(self, request: Request) -> Response:
        return await self._answer(await read_body(request, Ask), chat=False)

    async def _chat(self, request: Request) -> Response:
        body = await read_body(request, Ask)
        if not self.has_chat_template:
            return _error(400, "As of transformers v4.44, default chat template is no longer allowed,"
                          " so you must provide a chat template if the tokenizer does not define one.")  # fmt: skip
        return await self._answer(body, chat=True)

    async def _answer(self, body: Ask, *, chat: bool) -> Response:
        model = body.model or self.model_names[0]
        if model not in self.model_names:
            return _error(404, f"The model `{model}` does not exist.", "NotFoundError")
        prompt_tokens = len(tokenize(_inputs(body), add_special_tokens=not chat))
        room = self.max_model_len - prompt_tokens
        wanted = body.max_completion_tokens or body.max_tokens or (room if chat else 16)
        if wanted > room or room < 1:
            return _error(400, f"This model's maximum context length is {self.max_model_len} tokens."
                          f" However, you requested {wanted + prompt_tokens} tokens.")  # fmt: skip
        stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
        work = Work(prompt_tokens, wanted, stop)
        answer = _Answer(model, work, chat, self.simulation)
        if body.stream:
            usage = body.stream_options is not None and body.stream_options.include_usage
            return stream(answer.events(usage), {}, self.keep_alive_seconds)
        return Json(await answer.whole())


class _Answer:
    """One request's answer in OpenAI's shapes as vLLM writes them."""

    def __init__(self, model: str, work: Work, chat: bool, simulation: Simulation) -> None:  # noqa: FBT001
        self.work, self.chat, self.simulation = work, chat, simulation
        self.head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def _reason(self) -> str | None:
        return "stop" if self.work.finish_reason in {"eos_token", "stop_sequence"} else self.work.finish_reason

    def _usage(self) -> dict[str, int]:
        work = self.work
        return {
            "prompt_tokens": work.prompt_tokens,
            "total_tokens": work.prompt_tokens + work.generated_tokens,
            "completion_tokens": work.generated_tokens,
        }

    async def whole(self) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        await self.simulation.run(self.work)
        said = {"message": {"role": "assistant", "content": self.work.text}} if self.chat else {"text": self.work.text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": self._reason()}
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self.head, "object": kind, "choices": [choice], "usage": self._usage()}

    async def events(self, with_usage: bool) -> AsyncGenerator[bytes]:  # noqa: FBT001
        """The events of a streamed answer; chat opens with the role, with the first result."""
        first = True
        async with aclosing(self.simulation.tokens(self.work)) as tokens:
            async for token in tokens:
                if first and self.chat:
                    yield self._chunk({"delta": {"role": "assistant", "content": ""}}, None)
                first = False
                text = "" if token.special else token.text
                said = {"delta": {"content": text}} if self.chat else {"text": text}
                yield self._chunk(said, self._reason())
        if with_usage:
            yield event({**self.head, "object": self._kind(), "choices": [], "usage": self._usage()})
        yield DONE

    def _kind(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _chunk(self, said: dict[str, Any], reason: str | None) -> bytes:
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": reason}
        return event({**self.head, "object": self._kind(), "choices": [choice]})


def _inputs(body: Ask) -> str:
    if body.messages is not None:
        return "".join(f"<|start_header_id|>{m.role}<|end_header_id|>{m.text()}" for m in body.messages)
    return body.prompt or ""


def _error(status: int, message: str, kind: str = "BadRequestError") -> Response:
    return Json({"error": {"message": message, "type": kind, "param": None, "code": status}}, status)
