"""The simulated TGI and vLLM, asked what the real ones were asked: status, headers, shape of the body, events, chunks."""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator

import pytest
from recorded import Recorded, differences, exchange, recorded
from starlette.applications import Starlette

from localcloud.model_server.simulation import ModelFailedError, Simulation, Timing, Token, Work
from localcloud.model_server.tgi import Tgi
from localcloud.model_server.tgi_requests import Limits
from localcloud.model_server.vllm import Vllm
from localcloud.serving import NEVER_SECONDS, serving

TGI, VLLM = recorded("tgi-2.4.0"), recorded("vllm")


def asked(app: Starlette, requests: list[str]) -> list[Recorded]:
    """The answers to requests, one after another, of one server."""

    async def run() -> list[Recorded]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with serving(app, listener):
                port = listener.getsockname()[1]
                return [await asyncio.to_thread(exchange, port, request) for request in requests]

    return asyncio.run(run())


def answered(app: Starlette, request: str) -> Recorded:
    return asked(app, [request])[0]


class Failing(Simulation):
    """Fails as the recorder's model did, in the first or a later forward pass."""

    def __init__(self, after_tokens: int, text: str) -> None:
        super().__init__(Timing(0, 0, 0, 16))
        self.after_tokens, self.text = after_tokens, text

    async def tokens(self, work: Work) -> AsyncGenerator[Token]:
        if self.after_tokens:
            async for token in super().tokens(work):
                yield token
                if work.generated_tokens == self.after_tokens:
                    break
        raise ModelFailedError(self.text)


def simulation(case: str) -> Simulation:
    if case.startswith("boomfirst"):
        return Failing(0, "made-up failure in prefill")
    if case.startswith("boomvalue"):
        return Failing(3, "made-up failure in decode")
    if case.startswith("runtime_error"):
        return Failing(3, "CUDA error: made-up, cannot be recovered from")
    return Simulation(Timing(250 if case.startswith("slow_prefill") else 0, 0, 0, 16))


def tgi(case: str) -> Starlette:
    # The recorder ran one server with a chat template, and one, of a base model, with a key and room for two requests.
    is_second = case.startswith(("api_key_", "base_", "overload_"))
    permits = 0 if case.startswith("overload_") else 2 if is_second else 128
    return Tgi(
        "/model",
        simulation(case),
        limits=Limits(max_concurrent_requests=permits, max_input_tokens=512, max_total_tokens=1024),
        has_chat_template=not is_second,
        api_key="secret" if is_second else None,
        keep_alive_seconds=0.1 if case.startswith("slow_prefill") else 15.0,
    ).app


def vllm(case: str) -> Starlette:
    is_second = case.startswith(("api_key_", "base_"))
    return Vllm(
        ["tgi"], Simulation(Timing(0, 0, 0, 16)), has_chat_template=not is_second, api_key="secret" if is_second else None
    ).app


KEPT = {
    "tgi e_grammar_bad": "grammars are left out: each is refused, with TGI's words for a server that has them switched off",
    "tgi http10": "our HTTP library says `connection: close` to a client of HTTP/1.0",
    "tgi invocations": "the route of SageMaker is left out",
    "tgi metrics": "metrics of batching and memory are left out; those that are there have TGI's names",
    "tgi metrics_after_requests": "the same",
    "vllm api_key_none": "vLLM's 401 has no `vary: Origin`, ours has",
    "vllm api_key_none_models": "the same",
    "vllm api_key_wrong": "the same",
    "vllm api_key_none_metrics": "of a hundred metrics there are the two that tell whether somebody is served",
    "vllm metrics": "the same",
    "vllm options_cors": "cross-origin requests of browsers are left out",
}
"""The differences that stay, with their reasons; docs/reference/local-cloud.md lists them for users."""


@pytest.mark.parametrize("case", [case for case in TGI if f"tgi {case}" not in KEPT])
def test_tgi_answers_as_the_real_one(case: str) -> None:
    assert differences(TGI[case], answered(tgi(case), TGI[case].request)) == []


@pytest.mark.parametrize("case", [case for case in VLLM if f"vllm {case}" not in KEPT])
def test_vllm_answers_as_the_real_one(case: str) -> None:
    assert differences(VLLM[case], answered(vllm(case), VLLM[case].request)) == []


@pytest.mark.parametrize("case", KEPT)
def test_what_is_kept_apart_still_differs(case: str) -> None:
    engine, _, name = case.partition(" ")
    real, app = (TGI[name], tgi(name)) if engine == "tgi" else (VLLM[name], vllm(name))
    assert differences(real, answered(app, real.request))


def test_metrics_have_the_real_ones_names_and_a_fresh_tgi_has_none() -> None:
    for engine, server, ask in (("tgi", tgi("stream"), TGI["stream"]), ("vllm", vllm("completions"), VLLM["completions"])):
        real = {"tgi": TGI, "vllm": VLLM}[engine]["metrics"]
        fresh, after = (metric_names(each.body) for each in asked(server, [real.request, ask.request, real.request])[::2])
        assert after <= set(real.body.split())
        assert fresh == (set() if engine == "tgi" else after)
        assert after


def metric_names(text: str) -> set[str]:
    return {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line and not line.startswith("#")}


def test_tgis_health_waits_behind_a_prefill_and_its_gauges_do_not_show_one() -> None:
    async def scenario() -> None:
        simulation = Simulation(Timing(0, 0, 0, 16))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with serving(Tgi("/model", simulation).app, listener):
                port = listener.getsockname()[1]
                await asyncio.to_thread(exchange, port, TGI["stream"].request)
                simulation.timing.first_token_ms = 60_000
                prefill = asyncio.ensure_future(simulation.run(Work(1, 2)))
                health = asyncio.ensure_future(asyncio.to_thread(exchange, port, TGI["api_key_none_health"].request))
                metrics = await asyncio.to_thread(exchange, port, TGI["metrics"].request)
                assert "tgi_batch_current_size 0" in metrics.body
                assert simulation.running == 1
                assert not health.done()
                prefill.cancel()
                assert (await health).status == 200

    asyncio.run(scenario())


def test_a_body_over_two_megabytes_is_refused_as_axum_does() -> None:
    body = '{"inputs": "' + "x" * 2**21 + '"}'
    request = f"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    answer = answered(tgi("stream"), request)
    assert (answer.status, answer.body) == (413, "Failed to buffer the request body: length limit exceeded")


def test_vllm_closes_an_idle_connection_and_tgi_does_not() -> None:
    async def closes(app: Starlette, idle_seconds: int) -> bool:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with serving(app, listener, idle_seconds=idle_seconds):
                reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
                writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
                try:
                    return await asyncio.wait_for(reader.read(1), 1.5) == b""
                except TimeoutError:
                    return False
                finally:
                    writer.close()

    assert asyncio.run(closes(vllm("health"), 1))
    assert not asyncio.run(closes(tgi("info"), NEVER_SECONDS))
