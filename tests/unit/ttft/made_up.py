"""Runs with a known truth, drawn and not measured: for everything that works on results."""

from dataclasses import replace

import numpy as np

from ttft.samples import Connection, Failure, Run, Sample, Target

_PLACES = {"Los Angeles": 0.0, "San Diego": 3.0, "Oregon": 26.0, "Seattle": 29.0, "Honolulu": -62.0}
"""On a line, in milliseconds of round trip, so that each city has a site of its own nearest. Nobody measured these."""


def sample(target: str = "a", **changes: object) -> Sample:
    """One warm sample of 30 ms network and 50 ms generation, changed as wished."""
    plain = Sample(
        target=target,
        connection="warm",
        round=0,
        prompt_tokens=128,
        prompt_label=128,
        started_ms=0.0,
        send_lag_ms=0.0,
        dns_ms=0.0,
        tcp_ms=0.0,
        tls_ms=0.0,
        write_ms=0.1,
        headers_ms=29.9,
        first_event_ms=50.0,
        ttft_ms=80.0,
        network_ms=30.0,
        generation_ms=50.0,
        split="headers",
        rtt_ms=29.5,
        min_rtt_ms=29.0,
        token_ms=(80.0, 100.0, 120.0),
        total_ms=121.0,
    )
    return replace(plain, **changes)  # pyright: ignore[reportArgumentType]


def faster(sample: Sample, by_ms: float) -> Sample:
    """The sample, had generation taken less."""
    return replace(sample, ttft_ms=sample.ttft_ms - by_ms, generation_ms=(sample.generation_ms or 0) - by_ms)


def failure(target: str = "a", **changes: object) -> Failure:
    """One refused connection, changed as wished."""
    plain = Failure(target, "warm", 0, 128, 0.0, "connect", "connection refused\n  -> is the server up?")
    return replace(plain, **changes)  # pyright: ignore[reportArgumentType]


def targets(cities: tuple[str | None, ...] = (None,), sites: tuple[str, ...] = ("Los Angeles", "Oregon")) -> list[Target]:
    """Every site for the clients of every city."""
    return [
        Target(
            name=f"{site} from {city}" if city else site,
            url=f"http://192.0.2.{index + 1}:8080",
            city=city,
            site=site,
        )
        for city in cities
        for index, site in enumerate(sites)
    ]


def run(
    measured: list[Target] | None = None,
    *,
    rounds: int = 40,
    connections: tuple[Connection, ...] = ("warm",),
    prompts: tuple[int, ...] = (128,),
    seed: int = 1,
    drift_ms: float = 0.0,
    simulated: tuple[str, ...] = (),
    tokens: int = 16,
) -> Run:
    """A run over targets whose network time is known, with noise, and drift that all share."""
    measured = measured or targets()
    rng = np.random.default_rng(seed)
    made = Run(
        setup={
            "started": "2026-11-23T19:00:00Z",
            "rounds": rounds,
            "output_tokens": tokens,
            "load": "closed loop, 1 at a time",
            "servers": {
                each.name: {"engine": "tgi", "version": "2.4.0", "model": "meta-llama/Llama-3.2-3B"} for each in measured
            },
            "simulated": {"network": "network" in simulated, "model": "model" in simulated},
        },
        targets=measured,
        cpu_ms_per_request={each.name: 1.2 for each in measured},
    )
    clock = 0.0
    for number in range(rounds):
        for connection in connections:
            for prompt in prompts:
                for target in (measured[int(index)] for index in rng.permutation(len(measured))):
                    plain = sample(
                        target.name,
                        connection=connection,
                        round=number,
                        prompt_tokens=prompt,
                        prompt_label=prompt,
                        started_ms=clock,
                    )
                    made.samples.append(_draw(plain, target, drift_ms * number / rounds, tokens, rng))
                    clock += made.samples[-1].total_ms + 100
    return made


def _draw(plain: Sample, target: Target, drift: float, tokens: int, rng: np.random.Generator) -> Sample:
    far = abs(_PLACES[target.city or "Los Angeles"] - _PLACES[target.site or target.name])
    rtt = 8 + far + float(rng.lognormal(0, 0.6))
    connecting = rtt if plain.connection == "cold" else 0.0
    generation = 22 + plain.prompt_label * 0.22 + drift + float(rng.lognormal(0.5, 0.7))
    ttft = connecting + rtt + generation
    arrivals = ttft + np.concatenate([[0.0], np.cumsum(rng.normal(21, 1.5, tokens - 1))])
    return replace(
        plain,
        tcp_ms=connecting,
        headers_ms=rtt - 0.1,
        first_event_ms=generation,
        ttft_ms=ttft,
        network_ms=connecting + rtt,
        generation_ms=generation,
        rtt_ms=rtt - 0.3,
        min_rtt_ms=rtt - 1,
        token_ms=tuple(float(each) for each in arrivals),
        total_ms=float(arrivals[-1]) + 1,
    )
