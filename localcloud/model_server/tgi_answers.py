"""What TGI 2.4.0 answers: the shapes of its JSON bodies, events and headers (router/src/server.rs)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from localcloud.model_server.simulation import BOS_TEXT, Piece, Token, Work
from localcloud.model_server.tgi_requests import ChatRequest, CompletionRequest, Message, Parameters

VERSION, SHA = "2.4.0", "0a655a0ab5db15f08e45d8c535e263044b944190"
SYSTEM_FINGERPRINT = f"{VERSION}-sha-0a655a0"


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


def top_tokens(token: Token, count: int) -> list[dict[str, Any]]:
    """The likeliest tokens at one place; a simulated model has one candidate, as often as was asked for."""
    return [token_fields(token)] * count


def token_fields(token: Token) -> dict[str, Any]:
    """A token as /generate has it."""
    return {"id": token.id, "text": token.text, "logprob": token.logprob, "special": token.special}


def tokenized(pieces: list[Piece]) -> list[dict[str, Any]]:
    """A prompt's tokens as /tokenize has them."""
    return [{"id": piece.id, "text": piece.text, "start": piece.start, "stop": piece.stop} for piece in pieces]


def stream_event(generation: Generation, token: Token) -> dict[str, Any]:
    """One event of /generate_stream."""
    work, parameters = generation.work, generation.parameters
    body: dict[str, Any] = {"index": work.generated_tokens, "token": token_fields(token)}
    if parameters.top_n_tokens:
        body["top_tokens"] = top_tokens(token, parameters.top_n_tokens)
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


def details(generation: Generation, tokens: list[Token]) -> dict[str, Any]:
    """The details of /generate."""
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
        "tokens": [token_fields(token) for token in tokens],
    }
    if parameters.top_n_tokens:
        body["top_tokens"] = [top_tokens(token, parameters.top_n_tokens) for token in tokens]
    return body


def timing_headers(generation: Generation, now: float) -> dict[str, str]:
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


def openai_parameters(body: CompletionRequest | ChatRequest, **more: Any) -> Parameters:
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


def completion(model_id: str, generations: list[Generation]) -> dict[str, Any]:
    """The body of /v1/completions."""
    choices = [
        _text_choice(index, generation.work.text, _openai_reason(generation.work)) for index, generation in enumerate(generations)
    ]
    usages = [generation.usage() for generation in generations]
    usage = {key: sum(each[key] for each in usages) for key in usages[0]}
    return {**_openai("text_completion", model_id), "choices": choices, "usage": usage}


def completion_chunk(model_id: str, index: int, generation: Generation, token: Token) -> dict[str, Any]:
    """One event of a streamed /v1/completions."""
    reason = generation.work.finish_reason  # as it is: only chat says "stop" for eos_token
    body = {**_openai("text_completion", model_id), "choices": [_text_choice(index, token.text, reason or "")]}
    return {**body, "usage": generation.usage()} if reason else body


def chat_completion(model_id: str, body: ChatRequest, generation: Generation, tokens: list[Token]) -> dict[str, Any]:
    """The body of /v1/chat/completions. It counts the prompt's first token twice (recorded: 38 for a prompt of 37)."""
    usage = generation.usage()
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": generation.work.text},
        "logprobs": _logprobs(body, tokens),
        "finish_reason": _openai_reason(generation.work),
    }
    counted = usage | {name: usage[name] + 1 for name in ("prompt_tokens", "total_tokens")}
    return {**_openai("chat.completion", model_id), "choices": [choice], "usage": counted}


def chat_chunk(model_id: str, body: ChatRequest, generation: Generation, token: Token) -> dict[str, Any]:
    """One event of a streamed /v1/chat/completions."""
    last = generation.work.finish_reason is not None
    with_usage = last and body.stream_options is not None and body.stream_options.include_usage
    choice = {
        "index": 0,
        "delta": {"role": "assistant", "content": "" if token.special else token.text},
        "logprobs": _logprobs(body, [token]),
        "finish_reason": _openai_reason(generation.work) if last else None,
    }
    usage = generation.usage() if with_usage else None
    return {**_openai("chat.completion.chunk", model_id), "choices": [choice], "usage": usage}


def chat_prompt(messages: list[Message]) -> str:
    """The messages under Llama 3.2's template, which opens with a system turn of its own."""
    system, rest = ("", messages) if messages[0].role != "system" else (messages[0].text().strip(), messages[1:])
    dates = f"Cutting Knowledge Date: December 2023\nToday Date: {datetime.now(UTC):%d %b %Y}\n\n"
    turns = [("system", dates + system), *((message.role, message.text().strip()) for message in rest)]
    texts = [f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>" for role, text in turns]
    return BOS_TEXT + "".join(texts) + "<|start_header_id|>assistant<|end_header_id|>\n\n"


def _openai(kind: str, model_id: str) -> dict[str, Any]:
    created = int(time.time())
    return {"object": kind, "id": "", "created": created, "model": model_id, "system_fingerprint": SYSTEM_FINGERPRINT}


def _openai_reason(work: Work) -> str:
    return "stop" if work.finish_reason == "eos_token" else str(work.finish_reason)


def _text_choice(index: int, text: str, reason: str) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}


def _logprobs(body: ChatRequest, tokens: list[Token]) -> dict[str, Any] | None:
    if not body.logprobs:
        return None
    top = [{"token": token.text, "logprob": token.logprob} for token in tokens]
    return {"content": [{**each, "top_logprobs": [each] * (body.top_logprobs or 0)} for each in top]}
