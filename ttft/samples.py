"""What a run measures, as plain data: targets, samples, errors. The raw JSONL file holds exactly these.

Leaves out every judgement: statistics.py makes numbers of samples, measure.py makes samples of requests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Connection = Literal["warm", "cold"]
"""warm: the request went over a connection that was open already; cold: it opened its own (DNS, TCP, TLS count)."""

Split = Literal["headers", "tcp_rtt", "none"]
"""What the network share of a sample rests on: early response headers; TCP_INFO's round-trip time, since the headers were
held back until the first token; or nothing, since neither was to be had."""

ErrorKind = Literal[
    "dns",  # the name does not resolve
    "connect",  # refused, unreachable, reset while connecting
    "connect_timeout",
    "tls",  # handshake or certificate
    "http",  # a status of 400 and above; `status` says which
    "wrong_dialect",  # the route is not there, or what it answers is no stream of this dialect
    "no_chat_template",  # 422: the model has no chat template (base models)
    "overloaded",  # 429, or 'Model is overloaded'
    "unauthorized",  # 401, 403
    "stream_error",  # an error event inside an answer of status 200
    "empty_stream",  # the stream ended, or said [DONE], without a real token
    "first_token_timeout",  # headers or connection came, no token did within the time
    "stalled",  # tokens came, then none for too long
    "cut",  # the connection broke before or within the stream
    "not_kept",  # the server closes its connections after each answer: there is nothing warm to measure
]


@dataclass(frozen=True)
class Target:
    """One endpoint under measurement."""

    name: str
    """Short and unique in the run, such as us-west-2-lax-1a; a URL's host and port where nothing better is known."""
    url: str
    """Base URL without the route: http://ADDRESS:PORT."""
    city: str | None = None
    """Where the client of this target stands, if the network between is simulated or the run has several vantage points."""
    site: str | None = None
    """What the endpoint is called in a sentence, the same for the clients of all cities ("Oregon"); None: the name."""
    source_address: str | None = None
    """Local address that connections start from."""
    connect_address: str | None = None
    """Connect here instead of to the URL's name, which still stands in Host, SNI and certificate (curl's --connect-to)."""
    connect_port: int | None = None
    """The same for the port."""


@dataclass(frozen=True)
class Sample:
    """One request that streamed at least one real (non-special, non-empty) token. All times in milliseconds.

    ttft_ms runs from the start of the request, which for a cold connection is before name resolution, to the arrival of the
    first real token; it is send_lag_ms + network_ms + generation_ms where `split` is not `none`.
    """

    target: str
    connection: Connection
    round: int
    """Targets of one round stand in random order and are compared with each other only."""
    prompt_tokens: int | None
    """Length of the prompt in tokens as the server counts it; None where it could not be asked."""
    prompt_label: int
    """Wanted prompt length, the point of a sweep."""
    started_ms: float
    """Since the start of the run."""
    send_lag_ms: float
    """How much later than intended the request was sent (open loop); 0 in a closed loop. Part of ttft_ms."""
    dns_ms: float
    tcp_ms: float
    tls_ms: float
    """0 on a warm connection and on plain HTTP."""
    write_ms: float
    headers_ms: float
    """From the end of writing to the response's headers: network and router, where the server sends headers at once."""
    first_event_ms: float
    """From the headers to the first token."""
    ttft_ms: float
    network_ms: float | None
    generation_ms: float | None
    split: Split
    rtt_ms: float | None
    """TCP_INFO's smoothed round-trip time of the connection once the first token was there: a second witness of the network."""
    min_rtt_ms: float | None
    token_ms: tuple[float, ...]
    """Arrival of every real token, on the clock of ttft_ms; the first is ttft_ms."""
    total_ms: float


@dataclass(frozen=True)
class Failure:
    """One request that gave no sample."""

    target: str
    connection: Connection
    round: int
    prompt_label: int
    started_ms: float
    kind: ErrorKind
    message: str
    """In words for a person: what was found, and what to try. Never holds a key."""
    status: int | None = None


@dataclass(frozen=True)
class ServerView:
    """What a server's own /metrics say of the requests between two looks, as means in milliseconds; None: not offered."""

    target: str
    requests: int
    prefill_ms: float | None
    queue_ms: float | None


@dataclass
class Run:
    """Everything that one run found. `setup` is printed with every number: versions, conventions, model, simulated or real."""

    setup: dict[str, object]
    targets: list[Target]
    samples: list[Sample] = field(default_factory=list[Sample])
    failures: list[Failure] = field(default_factory=list[Failure])
    server_views: list[ServerView] = field(default_factory=list[ServerView])
    cpu_ms_per_request: dict[str, float] = field(default_factory=dict[str, float])
    """CPU time of the threads that measured, per request, by target."""
