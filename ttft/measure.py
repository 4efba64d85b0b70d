"""One request, from its first step to its last token: a sample, or a failure with its name.

What came carries its time, so that the bytes are understood once there is time. Leaves out when to send what: schedule.py.
"""

from __future__ import annotations

import http.client
import math
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, NoReturn

import requests
import urllib3.exceptions

from ttft.connection import Client, Stream, TimedOut, now
from ttft.dialects import TOKEN, Dialect, NotThisDialectError
from ttft.events import EventParser
from ttft.faults import Fault, broken, not_a_stream, refused, within_stream
from ttft.samples import Connection, Failure, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ttft.samples import Split

_OK = 200
_END_SECONDS = 1.0
"""What the end of the HTTP answer may take once the server has said that it is done."""
_TOGETHER_MS = 1.0
"""Headers and first token this close left the server together."""
_UNEXPLAINED_MS = 20.0
"""Headers later than the round trips by this, and by half a round trip, waited for something else than the network."""
_FIRST_WINDOW_BYTES = 14_000
"""What a new or idle TCP connection sends before it waits for an acknowledgement (10 segments)."""


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds."""

    first_token_seconds: float = 30.0
    stall_seconds: float = 10.0


@dataclass(frozen=True)
class Order:
    """One request to make."""

    target: str
    connection: Connection
    round: int
    prompt_label: int
    body: bytes
    intended: float | None = None
    """When it should leave (open loop), in seconds of `now`; None: when it does."""
    is_network_simulated: bool = False
    """Delays are then made above TCP, whose own round-trip time says nothing of them."""


class RequestFaultError(Exception):
    """Ends a request with the name of what went wrong."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class _Tokens:
    """Reads a stream to its end and keeps when each real token came."""

    def __init__(self, stream: Stream, dialect: Dialect, patience: Patience) -> None:
        self.arrivals: list[float] = []
        self.prompt_tokens: int | None = None
        self.tcp_round_trip_ms: tuple[float | None, float | None] = (None, None)
        self._stream, self._dialect, self._patience = stream, dialect, patience
        self._parser = EventParser()
        self._done = False
        self._given_up = False

    def read_all(self) -> None:
        """Raises RequestFaultError where no whole stream with a real token came."""
        limit = self._stream.marks.written + self._patience.first_token_seconds
        while not (self._stream.ended or self._given_up):
            self._stream.give_up_at(limit)
            for arrived, received in self._reads():
                if arrived > limit:
                    self._give_up()
                    break
                self._understand(received, arrived)
                limit = self._limit_after(arrived, limit)
        if not self.arrivals:
            raise RequestFaultError(Fault("empty_stream", f"{self._dialect.route} ended without a real token", _OK))

    def _reads(self) -> list[tuple[float, bytes]]:
        try:
            return self._stream.read()
        except TimedOut:
            return [(math.inf, b"")]
        except (OSError, http.client.HTTPException) as error:
            self._broke(str(error) or type(error).__name__)

    def _limit_after(self, arrived: float, limit: float) -> float:
        """After a look at what came: until when something has to come again."""
        if self._done:
            return arrived + _END_SECONDS  # for the end of the HTTP answer
        return self.arrivals[-1] + self._patience.stall_seconds if self.arrivals else limit

    def _understand(self, received: bytes, arrived: float) -> None:
        is_first = not self.arrivals
        try:
            for event in self._parser.feed(self._stream.payload(received)):
                self._take(event, arrived)
        except (NotThisDialectError, ValueError) as error:
            raise RequestFaultError(Fault("wrong_dialect", str(error), _OK)) from error
        if is_first and self.arrivals:
            self.tcp_round_trip_ms = self._stream.tcp_round_trip_ms()
        if not received and not self._stream.ended:
            self._broke("the server closed the connection")

    def _take(self, event: bytes, arrived: float) -> None:
        said = self._dialect.read(event)
        if said is TOKEN:  # nearly always
            self.arrivals.append(arrived)
            return
        if said.error is not None:
            raise RequestFaultError(within_stream(said.error))
        if said.token:
            self.arrivals.append(arrived)
        self._done = self._done or said.done
        self.prompt_tokens = said.prompt_tokens or self.prompt_tokens

    def _give_up(self) -> None:
        """Time is over: a fault, unless the server has said that it is done."""
        patience = self._patience
        self._given_up = self._done
        if self._done:
            return
        if self.arrivals:
            words = f"{len(self.arrivals)} tokens came, then none for {patience.stall_seconds:g} s"
            raise RequestFaultError(Fault("stalled", words, _OK))
        words = f"headers came, but no token within {patience.first_token_seconds:g} s"
        raise RequestFaultError(Fault("first_token_timeout", words, _OK))

    def _broke(self, why: str) -> NoReturn:
        words = f"the stream broke after {len(self.arrivals)} tokens: {why}"
        raise RequestFaultError(Fault("cut", words, _OK))


def measure(client: Client, dialect: Dialect, order: Order, patience: Patience, origin: float) -> Sample | Failure:
    """Make one request. `origin` is the start of the run, in seconds of `now`.

    A warm request whose connection had been closed meanwhile is made again, once, over the connection that it opened.
    """
    begin = now()
    try:
        if order.connection == "cold":
            client.close()
        stream, tokens = _streamed(client, dialect, order, patience)
        if order.connection == "warm" and stream.marks.opened:
            begin = now()
            stream, tokens = _streamed(client, dialect, order, patience)
            _check_kept(stream)
    except RequestFaultError as error:
        client.close()
        fault, started_ms = error.fault, (begin - origin) * 1000
        message = client.hide(fault.message)
        return Failure(
            order.target, order.connection, order.round, order.prompt_label, started_ms, fault.kind, message, fault.status
        )
    return _sample(stream, tokens, order, origin)


def _streamed(client: Client, dialect: Dialect, order: Order, patience: Patience) -> tuple[Stream, _Tokens]:
    try:
        stream = client.stream(dialect.route, order.body, patience.first_token_seconds)
    except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
        raise RequestFaultError(broken(error, patience.first_token_seconds)) from error
    try:
        _check_headers(stream, dialect)
        tokens = _Tokens(stream, dialect, patience)
        tokens.read_all()
        if not stream.ended:
            client.close()
    except (http.client.HTTPException, OSError) as error:
        raise RequestFaultError(broken(error, patience.first_token_seconds)) from error
    return stream, tokens


def _check_kept(stream: Stream) -> None:
    if stream.marks.opened:
        words = "the server closes its connections after each answer: only cold connections can be measured"
        raise RequestFaultError(Fault("not_kept", words, _OK))


def _check_headers(stream: Stream, dialect: Dialect) -> None:
    if stream.status != _OK:
        raise RequestFaultError(refused(stream.status, stream.text(), dialect.route))
    if fault := not_a_stream(stream.content_type, dialect.route):
        raise RequestFaultError(fault)


def _sample(stream: Stream, tokens: _Tokens, order: Order, origin: float) -> Sample:
    marks = stream.marks
    lag_ms = max(0.0, (marks.started - order.intended) * 1000) if order.intended is not None else 0.0
    arrivals = tuple(lag_ms + (arrival - marks.started) * 1000 for arrival in tokens.arrivals)
    first = tokens.arrivals[0]
    rtt_ms, min_rtt_ms = (None, None) if order.is_network_simulated else tokens.tcp_round_trip_ms
    sample = Sample(
        target=order.target,
        connection=order.connection,
        round=order.round,
        prompt_tokens=tokens.prompt_tokens,
        prompt_label=order.prompt_label,
        started_ms=(marks.started - origin) * 1000 - lag_ms,
        send_lag_ms=lag_ms,
        dns_ms=(marks.resolved - marks.started) * 1000,
        tcp_ms=(marks.connected - marks.resolved) * 1000,
        tls_ms=(marks.secured - marks.connected) * 1000,
        write_ms=(marks.written - marks.writing) * 1000,
        headers_ms=(marks.headers - marks.written) * 1000,
        first_event_ms=(first - marks.headers) * 1000,
        ttft_ms=arrivals[0],
        network_ms=None,
        generation_ms=None,
        split="none",
        rtt_ms=rtt_ms,
        min_rtt_ms=min_rtt_ms,
        token_ms=arrivals,
        total_ms=arrivals[-1],
    )
    return with_split(sample, "tcp_rtt" if headers_held_back(sample, len(order.body)) else "headers")


def headers_held_back(sample: Sample, body_bytes: int) -> bool:
    """Whether the headers waited for more than the network and the router: then they say nothing about the network.

    True where they came together with the first token, or much later than the connection's round trips explain. A body that
    does not fit a new connection's first window costs further round trips, doubling each time.
    """
    if sample.first_event_ms < _TOGETHER_MS:
        return True
    if sample.min_rtt_ms is None:
        return False
    round_trips, window = 1, _FIRST_WINDOW_BYTES
    while body_bytes > window:
        round_trips, window = round_trips + 1, window * 2 + _FIRST_WINDOW_BYTES
    excess_ms = sample.headers_ms - round_trips * sample.min_rtt_ms
    return excess_ms > _UNEXPLAINED_MS and excess_ms > sample.min_rtt_ms / 2 and excess_ms > sample.first_event_ms / 2


def with_split(sample: Sample, split: Split) -> Sample:
    """The sample with its network and generation shares by early headers, by TCP's smallest round trip, or with none."""
    after_lag_ms = sample.ttft_ms - sample.send_lag_ms
    if split == "headers":
        generation_ms = sample.first_event_ms
    elif split == "tcp_rtt" and sample.min_rtt_ms is not None:
        generation_ms = sample.headers_ms + sample.first_event_ms - sample.min_rtt_ms
    else:
        return replace(sample, split="none", network_ms=None, generation_ms=None)
    return replace(sample, split=split, network_ms=after_lag_ms - generation_ms, generation_ms=generation_ms)


def settle_splits(samples: Sequence[Sample]) -> list[Sample]:
    """One kind of split for each target: a single slow packet does not make its headers held back, nor a quick one early."""
    kinds: dict[str, list[bool]] = {}
    for sample in samples:
        kinds.setdefault(sample.target, []).append(sample.split == "headers")
    early = {target: median(seen) > 1 / 2 for target, seen in kinds.items()}
    return [with_split(sample, "headers" if early[sample.target] else "tcp_rtt") for sample in samples]
