"""vLLM's OpenAI server over a simulated model: /v1/*, /health, /tokenize, /detokenize, /metrics, in its own shapes.

Held to recorded answers of the real one, 0.32.0 (tests/unit/hosts/test_recorded_engines.py). Left out on purpose: what nobody
here calls, CORS, and the hundred metrics that nobody here reads.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from localcloud.model_server.http import DONE, SIMULATED, Json, Refused, answering, event, stream
from localcloud.model_server.metrics import Metrics
from localcloud.model_server.simulation import BOS_TEXT, Simulation, Token, Work, tokenize
from localcloud.model_server.tgi_answers import chat_prompt
from localcloud.model_server.tgi_requests import Message

VERSION = "0.33.0"
IDLE_SECONDS = 5
"""After which uvicorn, by its default, closes a connection that nothing comes on."""
_FINGERPRINT = f"vllm-{VERSION}-simulated"
_HEADERS = {**SIMULATED, "server": "uvicorn", "vary": "Origin"}
Prompt = list[int] | list[list[int]] | str | list[str]
_Body = TypeVar("_Body", bound=BaseModel)


class StreamOptions(BaseModel):
    """stream_options of a request."""

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class Ask(BaseModel):
    """What both routes that generate take."""

    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None


class CompletionRequest(Ask):
    """Body of /v1/completions."""

    prompt: Prompt | None = None
    suffix: str | None = None


class ChatRequest(Ask):
    """Body of /v1/chat/completions."""

    messages: list[Message]
    max_completion_tokens: int | None = None


class TokenizeRequest(BaseModel):
    """Body of /tokenize."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    return_token_strs: bool | None = False


class DetokenizeRequest(BaseModel):
    """Body of /detokenize."""

    model: str | None = None
    tokens: list[int]


class Vllm:
    """One `vllm serve`."""

    def __init__(
        self,
        model_names: list[str],
        simulation: Simulation,
        *,
        max_model_len: int = 4096,
        has_chat_template: bool = True,
        api_key: str | None = None,
    ) -> None:
        self.model_names = model_names
        self.simulation = simulation
        self.max_model_len = max_model_len
        self.has_chat_template = has_chat_template
        self.api_key = api_key
        self.metrics = Metrics(max_model_len)
        handlers = {
            ("GET", "/health"): self._health,
            ("GET", "/version"): self._version,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/v1/models"): self._models,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/detokenize"): self._detokenize,
            ("POST", "/v1/completions"): self._completions,
            ("POST", "/v1/chat/completions"): self._chat,
        }
        routes = [
            Route(path, answering(handler, _HEADERS, self._refuse_keyless), methods=[method])
            for (method, path), handler in handlers.items()
        ]
        for route in routes:
            route.methods = (route.methods or set()) - {"HEAD"}  # FastAPI's routes answer it 405, Starlette's would not
        self.app = Starlette(routes=routes, exception_handlers=dict.fromkeys((404, 405), _detail))

    def _refuse_keyless(self, request: Request) -> None:
        """Every /v1 route wants the key; the scheme's letter case does not count, the key's does."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if self.api_key and request.url.path.startswith("/v1") and (scheme.lower(), given) != ("bearer", self.api_key):
            raise Refused(Json({"error": "Unauthorized"}, 401))

    async def _health(self, _request: Request) -> Response:
        return Response(None, 200)

    async def _version(self, _request: Request) -> Response:
        return Json({"version": VERSION})

    async def _metrics(self, _request: Request) -> Response:
        labels = f'engine="0",model_name="{self.model_names[0]}"'
        self.metrics.set("vllm:num_requests_running", self.simulation.running, labels)
        self.metrics.set("vllm:num_requests_waiting", self.simulation.queue_size, labels)
        return PlainTextResponse(self.metrics.render(), headers={"content-type": "text/plain; version=1.0.0; charset=utf-8"})

    async def _models(self, _request: Request) -> Response:
        return Json({"object": "list", "data": [_model(name, self.max_model_len) for name in self.model_names]})

    async def _tokenize(self, request: Request) -> Response:
        body = await _read(request, TokenizeRequest)
        text = chat_prompt(body.messages) if body.messages else body.prompt or ""
        pieces = tokenize(text, add_special_tokens=not body.messages)
        strings = [_vocabulary(piece.text) for piece in pieces] if body.return_token_strs else None
        ids = [piece.id for piece in pieces]
        return Json({"count": len(ids), "max_model_len": self.max_model_len, "tokens": ids, "token_strs": strings})

    async def _detokenize(self, request: Request) -> Response:
        """The simulated tokenizer's ids do not lead back to texts."""
        body = await _read(request, DetokenizeRequest)
        return Json({"prompt": "".join(f"<{token}>" for token in body.tokens)})

    async def _completions(self, request: Request) -> Response:
        body = await _read(request, CompletionRequest)
        self._check(body)
        if body.suffix is not None:
            raise _error(400, "suffix is only supported for models with FIM completion rendering", "suffix")
        if not body.prompt:
            text = "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)"
            raise _error(400, text, "prompt")
        works = [self._work(length, 16, body.max_tokens, body.stop) for length in _lengths(body.prompt)]
        return await self._answer(body, works, chat=False)

    async def _chat(self, request: Request) -> Response:
        body = await _read(request, ChatRequest)
        self._check(body)
        if not self.has_chat_template:
            raise _error(400, "As of transformers v4.44, default chat template is no longer allowed,"
                         " so you must provide a chat template if the tokenizer does not define one.")  # fmt: skip
        if not body.messages:
            raise _error(400, "Cannot apply chat template to an empty conversation. Provide at least one message.")
        length = len(tokenize(chat_prompt(body.messages), add_special_tokens=False))
        wanted = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
        return await self._answer(body, [self._work(length, None, wanted, body.stop)], chat=True)

    def _check(self, body: Ask) -> None:
        if body.model is not None and body.model not in self.model_names:
            aliases = ", ".join(self.model_names)
            text = f"The model `{body.model}` does not exist. Valid aliases: {aliases}."
            raise _error(404, text, "model", "NotFoundError")
        if body.max_tokens is not None and body.max_tokens < 1:
            raise _parameter_error("max_tokens", f"must be at least 1, got {body.max_tokens}.", body.max_tokens)
        if body.temperature is not None and body.temperature < 0:
            raise _parameter_error("temperature", f"must be non-negative, got {body.temperature}.", body.temperature)

    def _work(self, length: int, default: int | None, wanted: int | None, stop: str | list[str] | None) -> Work:
        most = self.max_model_len
        if length > most:
            text = (
                f"This model's maximum context length is {most} tokens. However, your prompt contains at least {most + 1} input"
                " tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt."
            )
            raise _error(400, f"{text} (parameter=input_tokens, value={most + 1})", "input_tokens")
        if wanted is not None and wanted > most:
            text = f"max_tokens={wanted} cannot be greater than max_model_len={most}. Please request fewer output tokens."
            raise _error(400, f"{text} (parameter=max_tokens, value={wanted})", "max_tokens")
        room = most - length
        return Work(length, min(wanted or default or room, room), [stop] if isinstance(stop, str) else stop or [])

    async def _answer(self, body: Ask, works: list[Work], *, chat: bool) -> Response:
        answer = _Answer(body.model or self.model_names[0], works, chat, self.simulation)
        if body.stream:
            headers = {"content-type": "text/event-stream; charset=utf-8"}
            return stream(answer.events(body.stream_options or StreamOptions()), headers, None)
        return Json(await answer.whole())


class _Answer:
    """One request's answer in OpenAI's shapes as vLLM writes them."""

    def __init__(self, model: str, works: list[Work], chat: bool, simulation: Simulation) -> None:  # noqa: FBT001
        self.works, self.chat, self.simulation = works, chat, simulation
        self.head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex[:16]}",
            "created": int(time.time()),
            "model": model,
        }

    def _usage(self) -> dict[str, int]:
        prompt = sum(work.prompt_tokens for work in self.works)
        completion = sum(work.generated_tokens for work in self.works)
        return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}

    async def whole(self) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        await asyncio.gather(*[self.simulation.run(work) for work in self.works])
        usage = {**self._usage(), "prompt_tokens_details": None, "completion_tokens_details": None}
        kind = "chat.completion" if self.chat else "text_completion"
        more = dict.fromkeys(("prompt_logprobs", "prompt_token_ids", "prompt_text")) if self.chat else {}
        return {
            **self.head,
            "object": kind,
            "choices": [self._choice(index, work) for index, work in enumerate(self.works)],
            "service_tier": None,
            "system_fingerprint": _FINGERPRINT,
            "usage": usage,
            **more,
            **dict.fromkeys(("kv_transfer_params", "ec_transfer_params", "metrics")),
        }

    def _choice(self, index: int, work: Work) -> dict[str, Any]:
        reason, stop_reason = _reasons(work)
        ended = {"logprobs": None, "finish_reason": reason, "stop_reason": stop_reason, "token_ids": None}
        if not self.chat:
            return {"index": index, "text": work.text, **ended,
                    **dict.fromkeys(("prompt_logprobs", "prompt_token_ids", "routed_experts"))}  # fmt: skip
        unused = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
        message = {"role": "assistant", "content": work.text, **unused}
        return {"index": index, "message": message, **ended, "routed_experts": None}

    async def events(self, options: StreamOptions) -> AsyncGenerator[bytes]:
        """The events of a streamed answer; chat opens with the role, with the first result. No comments keep it alive."""
        first = True
        async with aclosing(_merged(self.simulation, self.works)) as steps:
            async for index, token in steps:
                if first and self.chat:
                    opening = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
                    yield self._event([opening], {"prompt_token_ids": None, "prompt_text": None})
                first = False
                yield self._token_event(index, token, options)
        if options.include_usage:
            yield self._event([], {"usage": self._usage(), "system_fingerprint": _FINGERPRINT})
        yield DONE

    def _token_event(self, index: int, token: Token, options: StreamOptions) -> bytes:
        work = self.works[index]
        reason, stop_reason = _reasons(work)
        text = "" if token.special else token.text
        more: dict[str, Any] = {}
        if options.include_usage and options.continuous_usage_stats:
            more["usage"] = self._usage()
        if reason and not options.include_usage:
            more["system_fingerprint"] = _FINGERPRINT
        ended = {"logprobs": None, "finish_reason": reason}
        if self.chat:
            choice = {"index": index, "delta": {"content": text}, **ended, **({"stop_reason": stop_reason} if reason else {})}
        else:
            choice = {"index": index, "text": text, **ended, "stop_reason": stop_reason, "prompt_token_ids": None}
        return self._event([{**choice, "token_ids": None}], more)

    def _event(self, choices: list[dict[str, Any]], more: dict[str, Any]) -> bytes:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return event({**self.head, "object": kind, "choices": choices, **more})


async def _merged(simulation: Simulation, works: list[Work]) -> AsyncGenerator[tuple[int, Token]]:
    """The tokens of several prompts as they come, each with its prompt's place."""
    queue: asyncio.Queue[tuple[int, Token] | None] = asyncio.Queue()

    async def one(index: int, work: Work) -> None:
        try:
            async with aclosing(simulation.tokens(work)) as tokens:
                async for token in tokens:
                    queue.put_nowait((index, token))
        finally:
            queue.put_nowait(None)

    tasks = [asyncio.ensure_future(one(*each)) for each in enumerate(works)]
    try:
        still_open = len(tasks)
        while still_open:
            step = await queue.get()
            if step is None:
                still_open -= 1
            else:
                yield step
    finally:
        for task in tasks:
            task.cancel()


def _reasons(work: Work) -> tuple[str | None, str | None]:
    """finish_reason, and the stop string that ended it."""
    if work.finish_reason == "stop_sequence":
        return "stop", next(stop for stop in work.stop if work.text.endswith(stop))
    return ("stop" if work.finish_reason == "eos_token" else work.finish_reason), None


def _vocabulary(text: str) -> str:
    """A piece as a byte-level vocabulary spells it."""
    return text.replace(" ", "\u0120").replace("\n", "\u010a") or BOS_TEXT


def _lengths(prompt: Prompt) -> list[int]:
    """How many tokens each prompt of a request has; a list of numbers is one prompt."""
    if isinstance(prompt, str):
        return [len(tokenize(prompt))]
    lengths = [1 if isinstance(each, int) else len(tokenize(each) if isinstance(each, str) else each) for each in prompt]
    return [len(prompt)] if isinstance(prompt[0], int) else lengths


def _model(name: str, max_model_len: int) -> dict[str, Any]:
    created = int(time.time())
    permission = {
        "id": f"modelperm-{uuid.uuid4().hex[:16]}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    model = {"id": name, "object": "model", "created": created, "owned_by": "vllm", "root": "/model", "parent": None}
    return {**model, "max_model_len": max_model_len, "permission": [permission]}


async def _read(request: Request, model: type[_Body]) -> _Body:
    """Parse a body as FastAPI does under vLLM's own handler of its errors; raises Refused."""
    content = await request.body()
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        text = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        raise _error(400, text, kind="Bad Request")
    if not content:
        raise _invalid([{"type": "missing", "loc": "body", "msg": "Field required", "input": "None"}])
    try:
        return model.model_validate(json.loads(content))
    except json.JSONDecodeError as error:
        place = f"body.{error.pos}"
        told = {"type": "json_invalid", "loc": place, "msg": "JSON decode error"}
        raise _invalid([{**told, "input": "<dict of 0 items>", "ctx": {"error": error.msg}}]) from error
    except ValidationError as error:
        # Within a union the field's name alone counts.
        raise _invalid(
            [
                {"type": e["type"], "loc": ".".join(["body", *map(str, e["loc"][:1])]), "msg": e["msg"], "input": str(e["input"])}
                for e in error.errors()
            ]
        ) from error


def _invalid(found: list[dict[str, Any]]) -> Refused:
    plural = "s" if len(found) > 1 else ""
    lines = "\n".join(f"  {each}" for each in found)
    return _error(400, f"{len(found)} validation error{plural}:\n{lines}", found[0]["loc"], "Bad Request")


def _parameter_error(name: str, text: str, value: object) -> Refused:
    return _error(400, f"{name} {text.rstrip('.')}. (parameter={name}, value={value})", name)


def _error(status: int, message: str, parameter: str | None = None, kind: str = "BadRequestError") -> Refused:
    return Refused(Json({"error": {"message": message, "type": kind, "param": parameter, "code": status}}, status))


async def _detail(_request: Request, error: Exception) -> Response:
    status: int = getattr(error, "status_code", 500)
    text = {404: "Not Found", 405: "Method Not Allowed"}[status]
    own: dict[str, str] = getattr(error, "headers", None) or {}
    return JSONResponse({"detail": text}, status, {**own, **_HEADERS})
