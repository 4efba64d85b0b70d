"""What differs between TGI's own route and the two OpenAI routes: path, body, and what in the stream is a real token.

Leaves out answers that are not streamed, tools and several choices.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Callable

DialectName = Literal["tgi", "completions", "chat"]


class NotThisDialectError(ValueError):
    """An event that no server of the dialect sends."""


@dataclass(frozen=True)
class Said:
    """What one event says. `prompt_tokens` is the server's own count, where the event carries it."""

    token: bool = False
    done: bool = False
    error: str | None = None
    prompt_tokens: int | None = None


_decode = json.JSONDecoder().raw_decode
"""Without json.loads' guesses at the encoding, which cost as much as decoding a token's event."""
TOKEN = Said(token=True)
NOTHING = Said()
DONE = Said(done=True)


@dataclass(frozen=True)
class Dialect:
    """One way to ask for a stream of tokens."""

    name: DialectName
    route: str
    body: Callable[[str, str, int], dict[str, object]]
    """Of prompt, model and number of tokens."""
    _read: Callable[[dict[str, Any]], Said | None]

    def read(self, event: bytes) -> Said:
        """What an event's data says; raises NotThisDialectError for what this dialect does not know."""
        if event.startswith(b"[DONE]"):
            return DONE
        try:
            text = event.decode()
            value, end = _decode(text)
            if end == len(text) and (said := self._read(value)) is not None:
                return said
            if (error := error_text(value)) is not None:
                return Said(error=error)
        except (ValueError, LookupError, TypeError, AttributeError):
            pass
        raise NotThisDialectError(f"an event that {self.route} does not send: {event[:120]!r}")


def error_text(value: Any) -> str | None:
    """The message in an error body or event as TGI, vLLM and OpenAI write them; None where there is none."""
    if not isinstance(value, dict):
        return None
    said = cast("dict[str, Any]", value)
    error: Any = said.get("error", said if said.get("object") == "error" else None)
    if error is None:
        return None
    kind: Any = said.get("error_type")
    text = cast("dict[str, Any]", error).get("message") if isinstance(error, dict) else None
    return f"{text or error} ({kind})" if kind else f"{text or error}"


def _tgi_body(prompt: str, _model: str, tokens: int) -> dict[str, object]:
    return {"inputs": prompt, "parameters": {"max_new_tokens": tokens, "details": True}}


def _tgi_read(value: dict[str, Any]) -> Said | None:
    if "token" not in value:
        return None
    token = value["token"]
    real = bool(token["text"]) and not token["special"]
    if details := value.get("details"):
        return Said(token=real, prompt_tokens=details.get("input_length"))
    return TOKEN if real else NOTHING


def _completions_body(prompt: str, model: str, tokens: int) -> dict[str, object]:
    return {"model": model, "prompt": prompt, "max_tokens": tokens, "stream": True, "stream_options": {"include_usage": True}}


def _completions_read(value: dict[str, Any]) -> Said | None:
    return _openai_said(value, lambda choice: choice["text"])


def _chat_body(prompt: str, model: str, tokens: int) -> dict[str, object]:
    body = _completions_body(prompt, model, tokens)
    del body["prompt"]
    return {**body, "messages": [{"role": "user", "content": prompt}]}


def _chat_read(value: dict[str, Any]) -> Said | None:
    def text(choice: dict[str, Any]) -> object:
        delta = choice["delta"]
        return delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning")

    return _openai_said(value, text)


def _openai_said(value: dict[str, Any], text: Callable[[dict[str, Any]], object]) -> Said | None:
    """A chunk counts by its text: a role alone, a finish reason alone or a special token's empty text is no token."""
    if "choices" not in value:
        return None
    choices = value["choices"]
    real = bool(choices and text(choices[0]))
    if usage := value.get("usage"):
        return Said(token=real, prompt_tokens=usage.get("prompt_tokens"))
    return TOKEN if real else NOTHING


DIALECTS: dict[DialectName, Dialect] = {
    "tgi": Dialect("tgi", "/generate_stream", _tgi_body, _tgi_read),
    "completions": Dialect("completions", "/v1/completions", _completions_body, _completions_read),
    "chat": Dialect("chat", "/v1/chat/completions", _chat_body, _chat_read),
}
