"""A model server with known delays and known faults, to hold the client against: three dialects, every error it must name.

Run it in a process of its own (`python -m ttft.selftest_server`): it prints its port and keeps its own record of when each
request came and each first token left. Threads and blocking sockets: a sleep of a thread ends within 0.1 ms of its time.
Leaves out everything that the client does not ask for.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Any

from ttft.receiver import ask_for_timestamps, next_arrival

MODEL = "selftest"
LONG_WORD_MARK = "q"
"""A word with this letter is two tokens, so that a prompt of exact length has something to find out."""


@dataclass(frozen=True)
class Behaviour:
    """What one base path does differently."""

    generating: tuple[str, ...] = ("/generate_stream", "/v1/completions", "/v1/chat/completions")
    says_what_it_is: bool = True
    """/info, /v1/models, /tokenize and /metrics are there."""
    headers_early: bool = True
    role_opener: bool = False
    comment: bool = False
    pieces: int = 1
    """Writes per event."""
    tokens_per_write: int = 1
    chunked: bool = True
    """False: the end of the connection ends the answer."""
    refusal: tuple[int, str] | None = None
    """Status and body instead of a stream."""
    content_type: str = "text/event-stream"
    answers: bool = True
    """False: reads the request and says nothing."""
    error_after_tokens: int | None = None
    error: tuple[str, str] = ("Request failed during generation", "generation")
    """Text and type of that error."""
    hang_after_tokens: int | None = None
    hang_after_requests: int = 0
    """Of all that the server had."""
    cut_after_tokens: int | None = None
    only_done: bool = False
    only_special: bool = False


_NO_TEMPLATE = '{"error":"Template error: template not found","error_type":"template_error"}'
_OVERLOADED = '{"error":"Model is overloaded","error_type":"overloaded"}'
BEHAVIOURS: dict[str, Behaviour] = {
    "": Behaviour(),
    "role-opener": Behaviour(role_opener=True),
    "comment": Behaviour(comment=True),
    "split": Behaviour(pieces=3),
    "merged": Behaviour(tokens_per_write=2),
    "held-back": Behaviour(headers_early=False),
    "closing": Behaviour(chunked=False),
    "openai": Behaviour(generating=("/v1/completions", "/v1/chat/completions")),
    "chat-only": Behaviour(generating=("/v1/chat/completions",), says_what_it_is=False),
    "bare": Behaviour(says_what_it_is=False),
    "no-template": Behaviour(refusal=(422, _NO_TEMPLATE)),
    "overloaded": Behaviour(refusal=(429, _OVERLOADED)),
    "unauthorized": Behaviour(refusal=(401, "")),
    "broken": Behaviour(refusal=(500, '{"error":"Request failed during generation","error_type":"generation"}')),
    "not-a-stream": Behaviour(content_type="application/json"),
    "overloaded-stream": Behaviour(error_after_tokens=0, error=("Model is overloaded", "overloaded")),
    "error-first": Behaviour(error_after_tokens=0),
    "error-later": Behaviour(error_after_tokens=2),
    "only-done": Behaviour(only_done=True),
    "only-special": Behaviour(only_special=True),
    "silent": Behaviour(answers=False),
    "hung": Behaviour(hang_after_tokens=0),
    "hung-later": Behaviour(hang_after_tokens=0, hang_after_requests=8),
    "stalled": Behaviour(hang_after_tokens=2),
    "cut": Behaviour(cut_after_tokens=2),
    "cut-first": Behaviour(cut_after_tokens=0),
}


@dataclass(frozen=True)
class Timing:
    """The known delays."""

    first_token_ms: float = 50.0
    token_ms: float = 10.0
    jitter_ms: float = 0.0
    """Mean of what is drawn for each request and added, exponentially distributed."""


@dataclass(frozen=True)
class Seen:
    """Who asked for what, and with which key."""

    peer: str
    port: int
    route: str
    authorization: str | None


@dataclass
class Truth:
    """What the server itself saw, in seconds of the machine's monotonic clock (the client's perf_counter on Linux)."""

    came: list[float] = field(default_factory=list[float])
    first_token: list[float] = field(default_factory=list[float])


class SelftestServer:
    """Serves on a socket until closed; one thread for each connection."""

    def __init__(self, timing: Timing | None = None, *, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> None:
        self.timing = timing or Timing()
        self.truth = Truth()
        self.seen: list[Seen] = []
        self.hangs = threading.Event()
        """Set once a stream hangs."""
        self._tls = tls
        self._closed = threading.Event()
        self._connections: set[socket.socket] = set()
        self._listener = socket.create_server((address, 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening and cut every connection."""
        self._closed.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, suppress(OSError, ssl.SSLError):
                wrapped = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
                with wrapped, wrapped.makefile("rb") as incoming:
                    try:
                        ask_for_timestamps(connection)
                        while True:
                            came = next_arrival(wrapped)
                            request = _Request.read(incoming)
                            if not request or not self._answer(wrapped, request, came):
                                break
                    except ValueError:
                        wrapped.sendall(_whole(400, ""))
        finally:
            self._connections.discard(connection)

    def _answer(self, connection: socket.socket, request: _Request, came: float) -> bool:
        """Answer one request; false where the connection ends with it."""
        scenario, behaviour = request.behaviour()
        route = request.path.removeprefix(f"/{scenario}") if scenario else request.path
        peer, port = connection.getpeername()
        self.seen.append(Seen(peer, port, route, request.authorization))
        if route in behaviour.generating and request.method == "POST":
            return _Generation(self, connection, request, behaviour, route, came).run()
        reply = _ROUTES.get((request.method, route)) if behaviour.says_what_it_is or route == "/truth" else None
        body = json.dumps(reply(self, request)) if reply else None
        if route == "/metrics" and body:
            body = json.loads(body)
        connection.sendall(_whole(200 if body is not None else 404, body or ""))
        return True

    def wait_closed(self, seconds: float) -> None:
        """Sleep, but no longer than the server lives."""
        self._closed.wait(seconds)

    def metrics(self) -> str:
        """TGI's histograms as far as the client reads them: everything here is prefill."""
        pairs = list(zip(self.truth.came, self.truth.first_token, strict=False))
        total, count = sum(first - came for came, first in pairs), len(pairs)
        return (
            f'tgi_batch_inference_duration_sum{{method="prefill"}} {total}\n'
            f'tgi_batch_inference_duration_count{{method="prefill"}} {count}\n'
            f"tgi_request_queue_duration_sum 0\ntgi_request_queue_duration_count {count}\n"
        )


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    body: Any
    authorization: str | None

    @classmethod
    def read(cls, incoming: IO[bytes]) -> _Request | None:
        line = incoming.readline()
        if not line:
            return None
        method, path, _ = line.decode().split(" ")
        length, authorization = 0, None
        while (header := incoming.readline()) not in (b"\r\n", b""):
            if header.lower().startswith(b"content-length:"):
                length = int(header[15:])
            if header.lower().startswith(b"authorization:"):
                authorization = header[14:].strip().decode()
        return cls(method, path, json.loads(incoming.read(length)) if length else None, authorization)

    def behaviour(self) -> tuple[str, Behaviour]:
        scenario = self.path.split("/")[1]
        return (scenario, BEHAVIOURS[scenario]) if scenario in BEHAVIOURS else ("", BEHAVIOURS[""])

    def prompt(self) -> str:
        if messages := self.body.get("messages"):
            return " ".join(message["content"] for message in messages)
        return self.body.get("inputs") or self.body.get("prompt") or ""

    def max_tokens(self) -> int:
        return self.body.get("max_tokens") or self.body.get("parameters", {}).get("max_new_tokens") or 100


def _whole(status: int, body: str, content_type: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} -\r\ncontent-type: {content_type}\r\ncontent-length: {len(body.encode())}\r\n{_SIMULATED}\r\n"
    return (head + body).encode()


_SIMULATED = "x-simulated-by: ttft-selftest\r\n"


class _Generation:
    """One streamed answer."""

    def __init__(  # noqa: PLR0913, PLR0917 - all of one request
        self, server: SelftestServer, connection: socket.socket, request: _Request, behaviour: Behaviour, route: str, came: float
    ) -> None:
        self.server, self.connection, self.request, self.behaviour, self.route = server, connection, request, behaviour, route
        self.came = came
        self.tokens = request.max_tokens()
        self._held_head = b""

    def run(self) -> bool:
        """Answer; false where the connection ends with it."""
        behaviour = self.behaviour
        if behaviour.refusal:
            self.connection.sendall(_whole(*behaviour.refusal))
            return True
        if not behaviour.answers:
            self.server.wait_closed(60)
            return False
        if behaviour.headers_early:
            self.connection.sendall(self._head())
        return self._stream()

    def _head(self) -> bytes:
        framing = "transfer-encoding: chunked" if self.behaviour.chunked else "connection: close"
        return f"HTTP/1.1 200 OK\r\ncontent-type: {self.behaviour.content_type}\r\n{_SIMULATED}{framing}\r\n\r\n".encode()

    def _stream(self) -> bool:
        behaviour, timing = self.behaviour, self.server.timing
        if behaviour.role_opener and self.route.endswith("chat/completions"):
            self._write(self._chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]))
        if behaviour.comment:
            self._write(b":\n\n")
        waiting: list[bytes] = []
        begin_ms = timing.first_token_ms + timing.jitter_ms * random.expovariate(1.0)
        for index in range(self.tokens):
            due = self.came + (begin_ms + index * timing.token_ms) / 1000
            time.sleep(max(0.0, due - time.perf_counter()))
            if (ended := self._fault(index)) is not None:
                return ended
            waiting.append(self._token(index))
            if len(waiting) == behaviour.tokens_per_write or index == self.tokens - 1:
                if index < behaviour.tokens_per_write:
                    self._record_first()
                self._write(b"".join(waiting))
                waiting = []
        return self._end()

    def _record_first(self) -> None:
        now = time.perf_counter()
        self.server.truth.came.append(self.came)
        self.server.truth.first_token.append(now)
        if not self.behaviour.headers_early:
            self._held_head = self._head()

    def _fault(self, index: int) -> bool | None:
        """Break the stream where the behaviour says so; None where it goes on."""
        behaviour = self.behaviour
        if behaviour.only_done:
            return self._end()
        if index == behaviour.error_after_tokens:
            self._write(_event(dict(zip(("error", "error_type"), behaviour.error, strict=True))))
            return self._end()
        if index == behaviour.hang_after_tokens and len(self.server.truth.came) >= behaviour.hang_after_requests:
            self.server.hangs.set()
            self.server.wait_closed(60)
            return False
        return False if index == behaviour.cut_after_tokens else None

    def _token(self, index: int) -> bytes:
        last = index == self.tokens - 1
        text = "" if self.behaviour.only_special else " word"
        if self.route == "/generate_stream":
            token = {"id": 1, "text": text or "</s>", "logprob": -0.1, "special": not text}
            details = {"finish_reason": "length", "generated_tokens": self.tokens, "input_length": self._prompt_tokens()}
            return _event({"index": index + 1, "token": token, "generated_text": None, "details": details if last else None})
        said = {"delta": {"role": "assistant", "content": text}} if "chat" in self.route else {"text": text}
        return self._chunk([{"index": 0, **said, "finish_reason": "length" if last else None}])

    def _chunk(self, choices: list[dict[str, Any]], **more: object) -> bytes:
        kind = "chat.completion.chunk" if "chat" in self.route else "text_completion"
        return _event({"id": "1", "object": kind, "created": 0, "model": MODEL, "choices": choices, **more})

    def _prompt_tokens(self) -> int:
        return len(_tokens(self.request.prompt()))

    def _end(self) -> bool:
        if self.route != "/generate_stream":
            usage = {"prompt_tokens": self._prompt_tokens(), "completion_tokens": self.tokens}
            self._write(self._chunk([], usage=usage) + b"data: [DONE]\n\n")
        if self.behaviour.chunked:
            self.connection.sendall(b"0\r\n\r\n")
        return self.behaviour.chunked

    def _write(self, data: bytes) -> None:
        length = max(1, -(-len(data) // self.behaviour.pieces))
        for start in range(0, len(data), length):
            part = data[start : start + length]
            framed = b"%x\r\n%b\r\n" % (len(part), part) if self.behaviour.chunked else part
            self.connection.sendall(self._held_head + framed)
            self._held_head = b""
            if self.behaviour.pieces > 1:
                time.sleep(0.001)  # or the kernel would join them again


def _event(value: object) -> bytes:
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n".encode()


def _tokens(text: str) -> list[str]:
    """A start token, then words; a word with LONG_WORD_MARK is two tokens."""
    parts: list[str] = ["<s>"]
    for word in text.split():
        parts += [f" {word[:1]}", word[1:]] if LONG_WORD_MARK in word else [f" {word}"]
    return parts


def _tokenize(_server: SelftestServer, request: _Request) -> object:
    parts = _tokens(request.prompt())
    if "inputs" in request.body:
        return [{"id": index, "text": part, "start": 0, "stop": 0} for index, part in enumerate(parts)]
    return {"count": len(parts), "max_model_len": 4096, "tokens": list(range(len(parts))), "token_strs": parts}


def _info(_server: SelftestServer, request: _Request) -> object:
    if "/generate_stream" not in request.behaviour()[1].generating:
        return {}
    return {"model_id": MODEL, "model_sha": None, "version": "selftest", "router": "ttft-selftest"}


def _truth(server: SelftestServer, _request: _Request) -> object:
    return {"came": server.truth.came, "first_token": server.truth.first_token}


_ROUTES: dict[tuple[str, str], Callable[[SelftestServer, _Request], object]] = {
    ("GET", "/info"): _info,
    ("GET", "/v1/models"): lambda _server, _request: {"object": "list", "data": [{"id": MODEL, "object": "model"}]},
    ("GET", "/health"): lambda _server, _request: "",
    ("GET", "/metrics"): lambda server, _request: server.metrics(),
    ("GET", "/truth"): _truth,
    ("POST", "/tokenize"): _tokenize,
    ("POST", "/chat_tokenize"): lambda _server, request: {
        "tokenize_response": [{"text": part} for part in _tokens(request.prompt())]
    },
}


@contextmanager
def selftest_server(timing: Timing | None = None, tls: ssl.SSLContext | None = None) -> Generator[SelftestServer]:
    """A server inside this process, for tests that time nothing."""
    server = SelftestServer(timing, tls=tls)
    try:
        yield server
    finally:
        server.close()


def main() -> None:
    """Serve until the standard input closes; print the port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--first-token-ms", type=float, default=Timing.first_token_ms)
    parser.add_argument("--token-ms", type=float, default=Timing.token_ms)
    parser.add_argument("--jitter-ms", type=float, default=Timing.jitter_ms)
    parser.add_argument("--certificate", help="PEM file with certificate and key: serve TLS")
    arguments = parser.parse_args()
    tls = None
    if arguments.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments.certificate)
    server = SelftestServer(
        Timing(arguments.first_token_ms, arguments.token_ms, arguments.jitter_ms), tls=tls, address=arguments.address
    )
    print(server.port, flush=True)  # noqa: T201 - the parent reads it
    with suppress(KeyboardInterrupt):
        input_ended = threading.Event()
        threading.Thread(target=lambda: (_drain(), input_ended.set()), daemon=True).start()
        input_ended.wait()
    server.close()


def _drain() -> None:
    import sys

    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
