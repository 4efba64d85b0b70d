from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from ttft import receiver
from ttft.receiver import Arrivals, TimedOut, ask_for_timestamps, now

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ask_for_timestamps(ours)
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with ours, theirs:
        yield ours, theirs


def test_a_packet_has_the_time_at_which_it_came_not_that_of_the_look(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    arrivals = Arrivals(ours, 5.0)
    before = now()
    theirs.sendall(HEAD + END)
    after = now()
    time.sleep(0.05)  # this program is late
    ((arrived, received),) = arrivals.take()
    assert received == HEAD + END
    assert before <= arrived <= after + 0.04
    assert arrivals.clock == "kernel"


def test_without_the_kernels_word_the_look_counts(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "_STAMP_BYTES", 0)
    ours, theirs = ends
    arrivals = Arrivals(ours, 5.0)
    theirs.sendall(HEAD + END)
    looked = now()
    assert arrivals.take()[0][0] >= looked
    assert arrivals.clock == "user space"


def test_a_clock_that_was_set_makes_no_time_run_backwards(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = ends
    begin = now()
    arrivals = Arrivals(ours, 5.0)
    for difference_seconds in (1e6, -1e6):
        monkeypatch.setattr(receiver, "_difference_seconds", lambda by=difference_seconds: time.time() - now() + by)
        theirs.sendall(HEAD + END)
        assert begin <= arrivals.take()[-1][0] <= now()


def test_what_has_come_is_given_before_the_patience_ends(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    arrivals = Arrivals(ours, 0.05)
    theirs.sendall(HEAD)
    assert arrivals.take()[0][1] == HEAD
    with pytest.raises(TimedOut):
        arrivals.take()


def test_the_other_side_closes(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    arrivals = Arrivals(ours, 5.0)
    theirs.close()
    assert arrivals.take()[0][1] == b""


def test_a_broken_connection_is_an_error_of_its_own(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    arrivals = Arrivals(ours, 5.0)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    with pytest.raises(ConnectionResetError):
        arrivals.take()


def test_several_streams_at_once() -> None:
    """Each gets its own bytes, in order, whole."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pairs = [(socket.create_connection(listener.getsockname()), listener.accept()[0]) for _ in range(3)]
    streams = [Arrivals(ours, 5.0) for ours, _ in pairs]
    for number, (_, theirs) in enumerate(pairs):
        theirs.sendall(HEAD + b"%d" % number + END)
    for number, (arrivals, (ours, theirs)) in enumerate(zip(streams, pairs, strict=True)):
        assert b"".join(received for _, received in arrivals.take()) == HEAD + b"%d" % number + END
        ours.close()
        theirs.close()
