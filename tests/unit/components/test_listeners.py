"""Whether a replica answers is told from the outside: refused is dead, busy is not, and nobody is dead where nobody answers."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from components import listeners
from components.listeners import Listener, answers, silent


@contextmanager
def server(answer: bytes | None) -> Generator[Listener]:
    """A listener that gives one answer to everybody; None: it takes the question and says nothing."""
    listening = socket.create_server(("127.0.0.1", 0))
    kept: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            kept.append(connection)
            connection.recv(4096)
            if answer is not None:
                connection.sendall(answer)
                connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Listener("127.0.0.1", listening.getsockname()[1], "/health")
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
        for connection in kept:
            connection.close()


def nobody() -> Listener:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return Listener("127.0.0.1", listening.getsockname()[1], "/health")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", False),
        (b"", False),
        (None, True),
    ],
    ids=["healthy", "asks for a key", "unhealthy", "breaks off", "reads a long prompt"],
)
def test_what_counts_as_an_answer(answer: bytes | None, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "_SECONDS", 0.3)
    with server(answer) as listener:
        assert answers(listener) is expected


def test_a_replica_is_silent_only_where_another_one_answers() -> None:
    with server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as alive:
        assert silent({"a": alive, "b": nobody()}) == {"b"}
        assert silent({"a": alive}) == frozenset()
    assert silent({"a": nobody(), "b": nobody()}) == frozenset(), "this machine may not be let in"
    assert silent({}) == frozenset()
