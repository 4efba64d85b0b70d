"""The model server against TGI 2.4.0's wire format (serving-facts 1, router/src at v2.4.0)."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from http_client import Answer, ask, send

from localcloud.model_server.simulation import EOS_AFTER_TOKENS, Simulation, Timing, Token, Work, tokenize
from localcloud.model_server.tgi import Tgi
from localcloud.model_server.tgi_requests import Limits
from localcloud.serving import serving

CHAT = {"model": "tgi", "messages": [{"role": "user", "content": "Hello there"}], "max_tokens": 3}


class Gated(Simulation):
    """Makes no token before its gate is open."""

    def __init__(self) -> None:
        super().__init__(Timing(0, 0, 0, 1))
        self.gate = asyncio.Event()

    async def tokens(self, work: Work) -> AsyncGenerator[Token]:
        await self.gate.wait()
        async for token in super().tokens(work):
            yield token


def with_server(scenario: Callable[[int, Tgi], Any], **options: Any) -> Any:
    """Run a blocking scenario against a server in this process; gives it port and server."""

    async def run() -> Any:
        simulation = options.pop("simulation", None) or Simulation(Timing(0, 0, 0, 16))
        tgi = Tgi(options.pop("model_id", "/model"), simulation, **options)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with serving(tgi.app, listener):
                return await asyncio.to_thread(scenario, listener.getsockname()[1], tgi)

    return asyncio.run(run())


def asked(path: str, body: object | None = None, headers: dict[str, str] | None = None, **options: Any) -> Answer:
    return with_server(lambda port, _: ask(port, path, body, headers), **options)


def test_info_has_exactly_tgis_fields_and_says_so_only_in_a_header() -> None:
    answer = asked("/info")
    assert list(answer.json) == [
        "model_id", "model_sha", "model_pipeline_tag", "max_concurrent_requests", "max_best_of", "max_stop_sequences",
        "max_input_tokens", "max_total_tokens", "validation_workers", "max_client_batch_size", "router", "version", "sha",
        "docker_label",
    ]  # fmt: skip
    assert answer.json["model_id"] == "/model"
    assert (answer.json["max_input_tokens"], answer.json["max_total_tokens"]) == (4095, 4096)
    assert answer.headers["x-simulated-by"] == "edge-inference-local-cloud"


@pytest.mark.parametrize("path", ["/health", "/ping", "/"])
def test_health_is_an_empty_200(path: str) -> None:
    answer = asked(path)
    assert (answer.status, answer.body) == (200, b"")


def test_models() -> None:
    model = {"id": "/model", "object": "model", "created": 0, "owned_by": "/model"}
    assert asked("/v1/models").json == {"object": "list", "data": [model]}


def test_generate_stream_events() -> None:
    answer = asked("/generate_stream", {"inputs": "Hi", "parameters": {"max_new_tokens": 3, "details": True, "do_sample": True}})
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-compute-type"] == "gpu+optimized"
    assert answer.headers["x-compute-characters"] == "2"
    assert answer.headers["x-accel-buffering"] == "no"
    first, _, last = answer.events
    assert list(first) == ["index", "token", "generated_text", "details"]
    assert list(first["token"]) == ["id", "text", "logprob", "special"]
    assert (first["index"], first["generated_text"], first["details"]) == (1, None, None)
    assert last["generated_text"] == "".join(event["token"]["text"] for event in answer.events)
    assert last["details"] == {"finish_reason": "length", "generated_tokens": 3, "seed": 42, "input_length": 2}


def test_headers_leave_before_the_first_token() -> None:
    def scenario(port: int, tgi: Tgi) -> None:
        simulation = tgi.simulation
        assert isinstance(simulation, Gated)
        response = send(port, "/generate_stream", {"inputs": "Hi"}).getresponse()
        assert response.status == 200
        assert not simulation.gate.is_set()
        loop.call_soon_threadsafe(simulation.gate.set)
        assert response.read().startswith(b'data: {"index":1,')

    async def run() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        tgi = Tgi("/model", Gated())
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with serving(tgi.app, listener):
                await asyncio.to_thread(scenario, listener.getsockname()[1], tgi)

    loop: asyncio.AbstractEventLoop
    asyncio.run(run())


def test_keep_alive_comments_while_nothing_comes() -> None:
    def scenario(port: int, _tgi: Tgi) -> bytes:
        response = send(port, "/generate_stream", {"inputs": "Hi"}).getresponse()
        return response.read(6)

    assert with_server(scenario, simulation=Simulation(Timing(10_000, 0, 0, 1)), keep_alive_seconds=0.01) == b":\n\n:\n\n"


def test_chat_stream_chunks() -> None:
    answer = asked("/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}})
    *chunks, done = answer.events
    assert done == "[DONE]"
    assert list(chunks[0]) == ["object", "id", "created", "model", "system_fingerprint", "choices", "usage"]
    assert chunks[0]["object"] == "chat.completion.chunk"
    assert [chunk["choices"][0]["delta"]["role"] for chunk in chunks] == ["assistant"] * 3
    assert chunks[0]["choices"][0] == {
        "index": 0, "delta": {"role": "assistant", "content": "This"}, "logprobs": None, "finish_reason": None,
    }  # fmt: skip
    assert [chunk["usage"] for chunk in chunks[:2]] == [None, None]
    assert chunks[2]["choices"][0]["finish_reason"] == "length"
    assert chunks[2]["usage"]["completion_tokens"] == 3


def test_the_end_of_sequence_token_is_special() -> None:
    longest = {**CHAT, "stream": True, "max_tokens": EOS_AFTER_TOKENS + 50}
    last = asked("/v1/chat/completions", longest).events[-2]
    assert last["choices"][0]["delta"]["content"] == ""
    assert last["choices"][0]["finish_reason"] == "stop"
    generated = asked("/generate_stream", {"inputs": "x", "parameters": {"max_new_tokens": 300}}).events[-1]
    assert generated["token"]["special"] is True
    assert "<|eot_id|>" not in generated["generated_text"]


def test_chat_without_stream() -> None:
    answer = asked("/v1/chat/completions", CHAT)
    body = answer.json
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "This text is"}
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + 3
    for name in ("x-total-time", "x-validation-time", "x-queue-time", "x-inference-time", "x-time-per-token", "x-prompt-tokens"):
        assert answer.headers[name].isdigit()


def test_timing_headers_only_without_stream() -> None:
    assert "x-queue-time" in asked("/generate", {"inputs": "a"}).headers
    assert "x-queue-time" not in asked("/generate_stream", {"inputs": "a"}).headers


def test_completions() -> None:
    whole = asked("/v1/completions", {"prompt": "Hi", "max_tokens": 2}).json
    assert whole["choices"] == [{"index": 0, "text": "This text", "logprobs": None, "finish_reason": "length"}]
    *chunks, done = asked("/v1/completions", {"prompt": "Hi", "max_tokens": 2, "stream": True}).events
    assert done == "[DONE]"
    assert chunks[0]["choices"][0]["finish_reason"] == ""
    assert "usage" not in chunks[0]
    assert chunks[1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}


def test_completions_of_several_prompts_and_too_many() -> None:
    body = asked("/v1/completions", {"prompt": ["a", "b"], "max_tokens": 1}).json
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    refused = asked("/v1/completions", {"prompt": ["a"] * 5})
    assert (refused.status, refused.json["error_type"]) == (422, "batch size exceeded")


def test_compat_root() -> None:
    body = {"inputs": "Hi", "parameters": {"max_new_tokens": 1}}
    assert asked("/", body).json == [{"generated_text": "HiThis"}]
    assert asked("/", {**body, "stream": True}).events[0]["token"]["text"] == "This"


def test_missing_max_tokens_means_100() -> None:
    assert asked("/generate", {"inputs": "a", "parameters": {"details": True}}).json["details"]["generated_tokens"] == 100
    body = {"prompt": "a", "max_completion_tokens": 3, "ignore_eos": True}  # unknown to 2.4.0, ignored
    assert asked("/v1/completions", body).json["usage"]["completion_tokens"] == 100


def test_stop_sequence() -> None:
    parameters = {"stop": [" simulated"], "details": True}
    body = asked("/generate", {"inputs": "a", "parameters": parameters}).json
    assert body["generated_text"].endswith("simulated")
    assert body["details"]["finish_reason"] == "stop_sequence"


def test_tokenize_gives_text_and_place() -> None:
    text = "Hello, wörld"
    first, *pieces = asked("/tokenize", {"inputs": text}).json
    assert first == {"id": 128000, "text": "", "start": 0, "stop": 0}
    assert "".join(piece["text"] for piece in pieces) == text
    assert all(text[piece["start"] : piece["stop"]] == piece["text"] for piece in pieces)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"max_new_tokens": 0}, "`max_new_tokens` must be strictly positive"),
        ({"temperature": 0.0}, "`temperature` must be strictly positive"),
        ({"top_p": 1.0}, "`top_p` must be > 0.0 and < 1.0"),
        ({"stop": ["a"] * 5}, "`stop` supports up to 4 stop sequences. Given: 5"),
        ({"truncate": 0}, "`truncate` must be strictly positive and less than 4095. Given: 0"),
        ({"grammar": {"type": "regex", "value": "a"}}, "grammar is not supported"),
        (
            {"max_new_tokens": 4096},
            "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 2 `inputs` tokens and 4096 `max_new_tokens`",
        ),
    ],
)
def test_validation_errors(parameters: dict[str, object], said: str) -> None:
    body = {"inputs": "a", "parameters": parameters}
    refused = asked("/generate", body)
    expected = {"error": f"Input validation error: {said}", "error_type": "validation"}
    assert (refused.status, refused.json) == (422, expected)
    streamed = asked("/generate_stream", body)
    assert (streamed.status, streamed.events) == (200, [expected])


def test_input_too_long() -> None:
    refused = asked(
        "/generate", {"inputs": "a " * 3000, "parameters": {"max_new_tokens": 1}}, limits=Limits(max_input_tokens=100)
    )
    assert refused.json["error"] == "Input validation error: `inputs` must have less than 100 tokens. Given: " + str(
        len(tokenize("a " * 3000))
    )


def test_chat_drops_errors_on_streams() -> None:
    assert asked("/v1/chat/completions", {**CHAT, "max_tokens": 9999, "stream": True}).events == ["[DONE]"]
    assert asked("/v1/chat/completions", {**CHAT, "max_tokens": 9999}).status == 422
    events = asked("/v1/completions", {"prompt": "a", "max_tokens": 9999, "stream": True}).events
    assert [events[0]["error_type"], events[1]] == ["validation", "[DONE]"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_base_model_has_no_chat_template(stream: bool) -> None:
    refused = asked("/v1/chat/completions", {**CHAT, "stream": stream}, has_chat_template=False)
    expected = {"error": "Template error: template not found", "error_type": "template_error"}
    assert (refused.status, refused.json) == (422, expected)


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        ({}, {}, 422, "missing field `inputs`"),
        ({"inputs": 5}, {}, 422, "inputs: invalid type"),
        ("{", {}, 400, "Failed to parse the request body as JSON"),
        ({"inputs": "a"}, {"content-type": "text/plain"}, 415, "Expected request with `Content-Type: application/json`"),
    ],
)
def test_bodies_that_cannot_be_read(body: object, headers: dict[str, str], status: int, said: str) -> None:
    refused = asked("/generate", body, headers)
    assert refused.status == status
    assert said in refused.body.decode()


def test_unknown_paths_and_methods() -> None:
    assert (asked("/nothing").status, asked("/generate").status) == (404, 405)


def test_api_key_guards_posts_only_in_any_letter_case() -> None:
    assert asked("/generate", {"inputs": "a"}, api_key="Key").status == 401
    assert asked("/generate", {"inputs": "a"}, {"authorization": "bearer KEY"}, api_key="Key").status == 200
    assert asked("/info", api_key="Key").status == 200


def test_overload_is_429_and_an_event_on_streams() -> None:
    expected = {"error": "Model is overloaded", "error_type": "overloaded"}
    limits = Limits(max_concurrent_requests=0)
    refused = asked("/generate", {"inputs": "a"}, limits=limits)
    assert (refused.status, refused.json) == (429, expected)
    assert asked("/generate_stream", {"inputs": "a"}, limits=limits).events == [expected]


def test_a_caller_that_goes_away_gives_its_place_back() -> None:
    async def run() -> None:
        tgi = Tgi("/model", Simulation(Timing(60_000, 0, 0, 1)))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with serving(tgi.app, listener):
                port = listener.getsockname()[1]
                connection = await asyncio.to_thread(send, port, "/generate_stream", {"inputs": "a"})
                while not tgi.simulation.running:
                    await asyncio.sleep(0.001)
                connection.close()
                while tgi.simulation.running or tgi.permits != tgi.limits.max_concurrent_requests:
                    await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(run(), 10))


def test_metrics_tell_the_mean_prefill() -> None:
    def scenario(port: int, _tgi: Tgi) -> str:
        ask(port, "/generate", {"inputs": "a", "parameters": {"max_new_tokens": 4}})
        return ask(port, "/metrics").body.decode()

    text = with_server(scenario, simulation=Simulation(Timing(5, 0, 1, 1)))
    found = dict(re.findall(r"^(\S+) (\S+)$", text, re.MULTILINE))
    assert found["tgi_request_count"] == "1"
    assert found["tgi_request_success"] == "1"
    assert found["tgi_queue_size"] == "0"
    assert found['tgi_batch_inference_duration_count{method="prefill"}'] == "1"
    assert found['tgi_batch_inference_duration_count{method="decode"}'] == "3"
    assert float(found['tgi_batch_inference_duration_sum{method="prefill"}']) >= 0.005
    for name in ("queue", "validation", "inference"):
        assert f"tgi_request_{name}_duration_sum" in found
        assert found[f"tgi_request_{name}_duration_count"] == "1"
    assert "# TYPE tgi_batch_inference_duration histogram" in text


def test_text_says_that_it_is_simulated() -> None:
    assert "simulated" in asked("/generate", {"inputs": "a"}).json["generated_text"]


def test_bodies_are_compact_json() -> None:
    body = asked("/info").body.decode()
    assert body == json.dumps(json.loads(body), separators=(",", ":"))
