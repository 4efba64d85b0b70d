"""What both model servers' HTTP sides share: request bodies and event streams.

Left out on purpose: the date header.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from starlette.requests import Request
    from starlette.types import Send

SIMULATED = {"x-simulated-by": "edge-inference-local-cloud"}
KEEP_ALIVE_SECONDS = 15.0
_LONGEST_BODY_BYTES = 2 * 2**20
"""axum's default, which TGI leaves as it is."""

Body = TypeVar("Body", bound=BaseModel)
Handler = Callable[["Request"], Awaitable[Response]]


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """Ends a request with this response."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def compact(value: object) -> str:
    """JSON as serde writes it: no spaces, text unescaped."""
    return _ENCODER.encode(value)


class Json(JSONResponse):
    """A JSON response in serde's compact form."""

    def render(self, content: Any) -> bytes:
        """Serialise."""
        return compact(content).encode()


def event(value: object) -> bytes:
    """One server-sent event."""
    return f"data: {compact(value)}\n\n".encode()


DONE = b"data: [DONE]\n\n"


def stream(events: AsyncGenerator[bytes], headers: Mapping[str, str], keep_alive_seconds: float | None) -> Response:
    """An event stream whose headers leave at once, before the first event exists; with None no comments keep it alive."""
    return _EventStream(events, keep_alive_seconds, headers)


class _EventStream(StreamingResponse):
    """Writes a comment wherever no event has come for some time."""

    def __init__(self, events: AsyncGenerator[bytes], keep_alive_seconds: float | None, headers: Mapping[str, str]) -> None:
        super().__init__(self._noting(events), headers=headers)
        self._keep_alive_seconds = keep_alive_seconds
        self._written = 0.0

    async def _noting(self, events: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        time = asyncio.get_running_loop().time
        async with aclosing(events):
            async for each in events:
                self._written = time()
                yield each

    async def stream_response(self, send: Send) -> None:
        """Write the events, and comments beside them."""
        if self._keep_alive_seconds is None:
            await super().stream_response(send)
            return
        comments = asyncio.ensure_future(self._comment(send, self._keep_alive_seconds))
        try:
            await super().stream_response(send)
        finally:
            comments.cancel()

    async def _comment(self, send: Send, every_seconds: float) -> None:
        """One task for a stream, not one for each event: tokens are many."""
        time = asyncio.get_running_loop().time
        self._written = time()
        while True:
            await asyncio.sleep(self._written + every_seconds - time())
            if time() >= self._written + every_seconds:
                self._written = time()
                await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})


def answering(handler: Handler, headers: Mapping[str, str], refuse: Callable[[Request], None] = lambda _: None) -> Handler:
    """A route's handler: `refuse` may raise Refused before it, `headers` go on every response."""

    async def answer(request: Request) -> Response:
        try:
            refuse(request)
            response = await handler(request)
        except Refused as refused:
            response = refused.response
        response.headers.update(headers)
        return response

    return answer


def bare(headers: Mapping[str, str]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What answers a request that no route is for: the status, without a body."""

    async def answer(_request: Request, error: Exception) -> Response:
        own: dict[str, str] = getattr(error, "headers", None) or {}
        return Response(None, getattr(error, "status_code", 500), {**own, **headers})

    return answer


async def read_body(request: Request, model: type[Body]) -> Body:
    """Parse a body as axum's Json extractor would; raises Refused with its plain-text answers."""
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        text = "Expected request with `Content-Type: application/json`"
        raise Refused(PlainTextResponse(text, 415))
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > _LONGEST_BODY_BYTES:
            raise Refused(PlainTextResponse("Failed to buffer the request body: length limit exceeded", 413))
    try:
        return model.model_validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            text = f"Failed to parse the request body as JSON: {first['msg'].removeprefix('Invalid JSON: ')}"
            raise Refused(PlainTextResponse(text, 400)) from error
        text = f"Failed to deserialize the JSON body into the target type: {_serde(first)}"
        raise Refused(PlainTextResponse(text, 422)) from error


def _serde(error: ErrorDetails) -> str:
    *outer, name = [str(part) for part in error["loc"]] or [""]
    prefix = ".".join(outer)
    if error["type"] == "missing":
        return f"{prefix}: missing field `{name}`" if prefix else f"missing field `{name}`"
    path = ".".join([*outer, name])
    return f"{path}: invalid type: {error['msg']}" if path else f"invalid type: {error['msg']}"
