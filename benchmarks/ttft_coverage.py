"""How often the 95 % interval of the difference between two sites holds the truth: interleaved, and site after site.

A simulation through ttft's own summary: two sites 25 ms apart, skewed noise (lognormal), a session that drifts by 15 ms and
wanders (AR(1)). Nothing is measured. Prints a Markdown table. tests/unit/ttft/test_statistics.py runs a smaller one.
"""

import argparse

import numpy as np

from ttft.samples import Run, Sample, Target
from ttft.summary import Difference, summarize

TRUTH_MS = -25.0
"""a minus b."""
ROUNDS = (10, 30, 100)


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


def holds(found: Difference) -> bool:
    """Whether the interval holds the truth."""
    return found.low_ms is not None and found.high_ms is not None and found.low_ms <= TRUTH_MS <= found.high_ms


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    repetitions: int = parser.parse_args().repetitions
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
