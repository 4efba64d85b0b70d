from __future__ import annotations

from ttft.connection import Access, Client, trusted
from ttft.identify import Server, identify
from ttft.selftest_server import SelftestServer
from ttft.server_metrics import look, parsed, view


def client(server: SelftestServer, path: str = "") -> Client:
    return Client(f"http://127.0.0.1:{server.port}{path}", Access(trusted(), 5.0))


def test_tgi_by_its_info(server: SelftestServer) -> None:
    assert identify(client(server)) == Server("tgi", "selftest", "selftest", simulated=True)


def test_another_server_by_its_models(server: SelftestServer) -> None:
    found = identify(client(server, "/openai"))
    assert (found.engine, found.model, found.simulated) == ("openai", "selftest", True)


def test_a_server_that_says_nothing(server: SelftestServer) -> None:
    assert identify(client(server, "/bare")) == Server(simulated=True)


def test_nobody_there(server: SelftestServer) -> None:
    server.close()
    assert identify(client(server)) == Server()
    assert look(client(server)) == {}


TGI = """
# TYPE tgi_batch_inference_duration histogram
tgi_batch_inference_duration_bucket{method="prefill",le="0.1"} 2
tgi_batch_inference_duration_sum{method="prefill"} %f
tgi_batch_inference_duration_count{method="prefill"} %d
tgi_batch_inference_duration_sum{method="decode"} 900
tgi_batch_inference_duration_count{method="decode"} 90
tgi_request_queue_duration_sum 0.5
tgi_request_queue_duration_count %d
"""
VLLM = """
vllm:request_prefill_time_seconds_sum{engine="0",model_name="m"} 0.3
vllm:request_prefill_time_seconds_count{engine="0",model_name="m"} 3
"""


def test_only_what_happened_in_between_counts() -> None:
    seen = view("a", parsed(TGI % (1.0, 10, 10)), parsed(TGI % (1.2, 14, 14)))
    assert seen is not None
    assert (seen.requests, seen.queue_ms) == (4, 0.0)
    assert round(seen.prefill_ms or 0, 6) == 50.0


def test_vllm_names() -> None:
    seen = view("a", {}, parsed(VLLM))
    assert seen is not None
    assert (seen.requests, round(seen.prefill_ms or 0, 6), seen.queue_ms) == (3, 100.0, None)


def test_nothing_seen_is_no_view() -> None:
    assert view("a", {}, {}) is None
    assert view("a", parsed(TGI % (1.0, 10, 10)), parsed(TGI % (1.0, 10, 10))) is None
