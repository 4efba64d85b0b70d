from __future__ import annotations

import json
import signal
import socket
import threading
from collections import Counter
from dataclasses import asdict, replace
from itertools import groupby

import pytest

from ttft.samples import Failure, Run, Sample, Target
from ttft.schedule import Plan, run
from ttft.selftest_server import SelftestServer

KEY = "planted-key-0123456789"


def targets(server: SelftestServer, *paths: str) -> tuple[Target, ...]:
    return tuple(Target(path or "plain", f"http://127.0.0.1:{server.port}/{path}".rstrip("/")) for path in paths)


def quick(server: SelftestServer, *paths: str) -> Plan:
    return Plan(
        targets(server, *(paths or ("",))),
        rounds=3,
        gap_seconds=0.0,
        prompt_tokens=(40,),
        output_tokens=2,
        first_token_timeout_seconds=0.3,
        stall_timeout_seconds=0.3,
        seed=1,
    )


def mapping(found: Run, key: str) -> dict[str, object]:
    value = found.setup[key]
    assert isinstance(value, dict)
    return value  # pyright: ignore[reportUnknownVariableType] - a dict of whatever


def test_every_target_in_every_round_in_random_order(server: SelftestServer) -> None:
    plan = replace(quick(server, "", "openai", "held-back"), rounds=8, connections=("warm", "cold"))
    found = run(plan)
    assert not found.failures
    blocks = [list(block) for _, block in groupby(found.samples, key=lambda each: (each.round, each.connection))]
    assert len(blocks) == 16
    assert {len(block) for block in blocks} == {3}
    orders = {tuple(sample.target for sample in block) for block in blocks}
    assert all(len(set(order)) == 3 for order in orders)
    assert len(orders) > 1
    assert len({tuple(block[0].connection for block in blocks if block[0].round == number) for number in range(8)}) > 1


def test_primers_are_not_recorded(server: SelftestServer) -> None:
    found = run(replace(quick(server), connections=("warm",)))
    assert len(found.samples) == 3
    assert len(server.truth.came) == 3 + 1
    assert found.server_views[0].requests == 3


def test_a_seed_gives_the_same_order_and_prompts(server: SelftestServer) -> None:
    plan = quick(server, "", "split")
    orders = [[(sample.target, sample.connection) for sample in run(plan).samples] for _ in range(2)]
    assert orders[0] == orders[1]
    assert run(replace(plan, seed=None)).setup["seed"] != 1


def test_the_sweep_is_of_exact_lengths(server: SelftestServer) -> None:
    found = run(replace(quick(server), prompt_tokens=(20, 200, 2000), rounds=2))
    assert Counter((sample.prompt_label, sample.prompt_tokens) for sample in found.samples) == {
        (20, 20): 4,
        (200, 200): 4,
        (2000, 2000): 4,
    }


@pytest.mark.parametrize(
    ("path", "dialect"), [("", "tgi"), ("openai", "completions"), ("chat-only", "chat"), ("bare", "completions")]
)
def test_the_dialect_is_found_out(server: SelftestServer, path: str, dialect: str) -> None:
    found = run(quick(server, path))
    assert list(mapping(found, "dialect").values()) == [dialect]
    assert len(found.samples) == 6


def test_a_chosen_dialect_that_is_wrong_is_named(server: SelftestServer) -> None:
    found = run(replace(quick(server, "openai"), dialect="tgi"))
    assert Counter(each.kind for each in found.failures) == {"wrong_dialect": 6}


def test_a_dead_target_does_not_stop_the_others(server: SelftestServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = Target("dead", f"http://127.0.0.1:{listener.getsockname()[1]}")
    plan = quick(server)
    found = run(replace(plan, targets=(*plan.targets, dead)))
    assert Counter(each.target for each in found.samples) == {"plain": 6}
    assert Counter((each.target, each.kind) for each in found.failures) == {("dead", "connect"): 6}


def test_users_of_a_closed_loop(server: SelftestServer) -> None:
    found = run(replace(quick(server), concurrency=4, requests_per_turn=3, rounds=2, connections=("warm",)))
    assert len(found.samples) == 4 * 3 * 2
    assert len({seen.port for seen in server.seen if seen.route == "/generate_stream"}) == 4
    assert {each.send_lag_ms for each in found.samples} == {0.0}
    assert found.setup["load"] == "closed loop, 4 users of one target at a time"


def test_an_open_loop_charges_from_the_intended_time(server: SelftestServer) -> None:
    """One user for requests that arrive faster than it is answered: each must lag behind the one before."""
    plan = replace(quick(server), rate_per_second=10_000.0, concurrency=1, requests_per_turn=6, rounds=1, connections=("warm",))
    found = run(plan)
    lags = [each.send_lag_ms for each in found.samples]
    assert lags == sorted(lags)
    assert lags[-1] > 5 * 5.0 - 1
    assert all(each.ttft_ms > each.send_lag_ms for each in found.samples)
    assert "open loop" in str(found.setup["load"])


def test_progress_sees_every_result_in_the_calling_thread(server: SelftestServer) -> None:
    seen: list[Sample | Failure] = []
    threads: set[int] = set()

    def progress(result: Sample | Failure) -> None:
        seen.append(result)
        threads.add(threading.get_ident())

    found = run(quick(server, "", "hung"), progress)
    assert len(seen) == len(found.samples) + len(found.failures) == 12
    assert threads == {threading.get_ident()}


def test_ctrl_c_keeps_what_was_measured(server: SelftestServer) -> None:
    """Pressed while a request waits that would wait for a minute more."""
    plan = replace(quick(server, "", "hung-later"), rounds=1000, first_token_timeout_seconds=60.0)
    hung = server.hangs.wait

    def press() -> None:
        assert hung(20)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    found = run(plan)
    presser.join()
    assert found.setup["interrupted"] is True
    assert found.samples
    assert not found.failures


def test_the_servers_own_view(server: SelftestServer) -> None:
    (view,) = run(quick(server)).server_views
    assert view.prefill_ms is not None
    assert view.prefill_ms >= 5.0
    assert view.queue_ms == 0.0


def test_what_is_simulated_is_said(server: SelftestServer) -> None:
    assert run(quick(server)).setup["simulated"] == {"network": False, "model": True}
    said = run(replace(quick(server), simulated_network=True, simulated_model=False)).setup["simulated"]
    assert said == {"network": True, "model": False}


def test_the_key_goes_to_the_server_and_nowhere_else(server: SelftestServer, capfd: pytest.CaptureFixture[str]) -> None:
    plan = replace(quick(server, "", "unauthorized"), api_key=KEY)
    found = run(plan)
    assert {seen.authorization for seen in server.seen} == {f"Bearer {KEY}"}
    out = json.dumps([found.setup, *map(asdict, found.samples), *map(asdict, found.failures)], default=str)
    assert KEY not in out + repr(plan) + "".join(capfd.readouterr())
    assert {each.kind for each in found.failures} == {"unauthorized"}


def test_tcp_is_no_witness_of_a_network_that_is_simulated_above_it(server: SelftestServer) -> None:
    """Found on the local cloud: headers that a simulated distance delays looked held back, since loopback's round trip is 0."""
    real, simulated = (run(replace(quick(server, ""), simulated_network=known)).samples[0] for known in (None, True))
    assert real.min_rtt_ms is not None
    assert (simulated.min_rtt_ms, simulated.rtt_ms, simulated.split) == (None, None, "headers")
