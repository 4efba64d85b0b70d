"""How often the 95 % interval of the difference between two sites holds the truth: interleaved, and site after site.

A simulation through ttft's own summary: two sites 25 ms apart, skewed noise (lognormal), a session that drifts by 15 ms and
wanders (AR(1)). Nothing is measured. Prints a Markdown table. tests/unit/ttft/test_statistics.py runs a smaller one.

--real measures: short runs of a server beside the client and one behind a delayed path (tests/host/delayed_path.py: root only).
The truth is the round trip as the path delivered its packets, and what a bare socket's requests take besides it and the servers'
own time; medians over the whole session.
"""

import argparse
import socket
import statistics
import time
from contextlib import ExitStack

import numpy as np

from tests.host.delayed_path import delayed_path
from ttft.receiver import ask_for_timestamps, next_arrival
from ttft.results import Difference
from ttft.samples import Run, Sample, Target
from ttft.schedule import Plan, run
from ttft.selftest import server_process, truth_ms
from ttft.summary import summarize

TRUTH_MS = -25.0
"""a minus b."""
ROUNDS = (10, 30, 100)
REAL_ROUNDS, REAL_ROUND_TRIP_MS = 10, 20.0
REAL_SERVER = ("--first-token-ms", "5", "--jitter-ms", "3")
"""Servers that wait as long on the average. Without jitter an interval is 0.2 ms wide, and no truth is known that well."""


def session(rng: np.random.Generator, rounds: int, *, interleaved: bool) -> Run:
    """One session of two sites. Site after site has the same moments, in another order."""
    moments = 2 * rounds
    wander = np.zeros(moments)
    for index in range(1, moments):
        wander[index] = 0.8 * wander[index - 1] + rng.normal(0, 1)
    common = np.linspace(0, 15, moments) + wander
    samples: list[Sample] = []
    for index in range(rounds):
        order = rng.permutation(2)
        for site, base in enumerate((50.0, 50.0 - TRUTH_MS)):
            moment = 2 * index + int(order[site]) if interleaved else site * rounds + index
            samples.append(_sample("ab"[site], index, base + float(common[moment] + rng.lognormal(1, 0.8))))
    return Run(setup={}, targets=[Target("a", "http://a"), Target("b", "http://b")], samples=samples)


def _sample(target: str, number: int, ttft_ms: float) -> Sample:
    return Sample(
        target=target,
        connection="warm",
        round=number,
        prompt_tokens=None,
        prompt_label=128,
        started_ms=0.0,
        send_lag_ms=0.0,
        dns_ms=0.0,
        tcp_ms=0.0,
        tls_ms=0.0,
        write_ms=0.0,
        headers_ms=0.0,
        first_event_ms=ttft_ms,
        ttft_ms=ttft_ms,
        network_ms=None,
        generation_ms=None,
        split="none",
        rtt_ms=None,
        min_rtt_ms=None,
        token_ms=(ttft_ms,),
        total_ms=ttft_ms,
    )


def holds(found: Difference, truth_ms: float = TRUTH_MS) -> bool:
    """Whether the interval holds the truth."""
    return found.low_ms is not None and found.high_ms is not None and found.low_ms <= truth_ms <= found.high_ms


def besides_generation_ms(address: str, port: int) -> float:
    """What the simplest of clients finds for first tokens on an open connection, less the servers' own time; the median."""
    body = b'{"inputs": "a", "parameters": {"max_new_tokens": 1}}'
    head = b"POST /generate_stream HTTP/1.1\r\nHost: site\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    taken: list[float] = []
    with socket.create_connection((address, port)) as connection:
        ask_for_timestamps(connection)
        for _ in range(REAL_ROUNDS):
            time.sleep(0.01)
            begin = time.perf_counter()
            connection.sendall(head + body)
            answer, came = b"", begin
            while b"data:" not in answer:
                came = next_arrival(connection)
                answer += connection.recv(4096)
            taken.append((came - begin) * 1000)
            while not answer.endswith(b"0\r\n\r\n"):
                answer += connection.recv(4096)
    generation_ms = truth_ms(f"http://{address}:{port}")[-REAL_ROUNDS:]
    return statistics.median(whole - part for whole, part in zip(taken, generation_ms, strict=True))


def real(repetitions: int) -> None:
    """Measure again and again, and print how often the interval held the truth."""
    found: list[Difference] = []
    delivered_ms: list[float] = []
    besides_ms: list[list[float]] = []
    with ExitStack() as stack:
        path = stack.enter_context(delayed_path(REAL_ROUND_TRIP_MS))
        with path.at_server():
            far_port = stack.enter_context(server_process("--address", path.server_address, *REAL_SERVER))
        with path.at_client(), server_process(*REAL_SERVER) as near_port:
            near, far = ("127.0.0.1", near_port), (path.server_address, far_port)
            targets = tuple(Target(name, f"http://{host}:{port}") for name, (host, port) in (("near", near), ("far", far)))
            plan = Plan(targets, "tgi", rounds=REAL_ROUNDS, connections=("warm",), output_tokens=1, gap_seconds=0.01)
            for _ in range(repetitions):
                besides_ms.append([besides_generation_ms(*near), besides_generation_ms(*far) - path.delivered_ms()])
                found += summarize(run(plan)).differences
                delivered_ms.append(path.delivered_ms())
    beside_near_ms, beside_far_ms = map(statistics.median, zip(*besides_ms, strict=True))
    true_ms = beside_near_ms - beside_far_ms - statistics.median(delivered_ms)
    held = sum(holds(each, true_ms) for each in found)
    estimates = [each.median_ms for each in found]
    width_ms = statistics.mean((each.high_ms or 0) - (each.low_ms or 0) for each in found)
    print("| runs | rounds | truth, ms | mean estimate, ms | held by its interval | mean width, ms |")
    print("|---|---|---|---|---|---|")
    means = f"{true_ms:.2f} | {statistics.mean(estimates):.2f}"
    print(f"| {len(found)} | {REAL_ROUNDS} | {means} | {held} | {width_ms:.2f} |")


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--real", action="store_true", help="measure over a delayed path (root only) instead of simulating")
    arguments = parser.parse_args()
    repetitions: int = arguments.repetitions
    if arguments.real:
        real(repetitions)
        return
    print(f"{repetitions} sessions each\n")
    print("| design | rounds | mean estimate, ms | coverage | mean width, ms |\n|---|---|---|---|---|")
    for interleaved in (True, False):
        for rounds in ROUNDS:
            rng = np.random.default_rng(rounds)
            found = [summarize(session(rng, rounds, interleaved=interleaved)).differences[0] for _ in range(repetitions)]
            design = "interleaved" if interleaved else "site after site"
            estimate = np.mean([each.median_ms for each in found])
            width = np.mean([(each.high_ms or 0) - (each.low_ms or 0) for each in found])
            coverage = np.mean([holds(each) for each in found])
            print(f"| {design} | {rounds} | {estimate:.1f} | {coverage:.3f} | {width:.1f} |", flush=True)


if __name__ == "__main__":
    main()
