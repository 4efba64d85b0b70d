from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttft.connection import Access, Client, trusted, unchunked
from ttft.selftest_server import SelftestServer

BODY = json.dumps({"inputs": "a", "parameters": {"max_new_tokens": 2}}).encode()
KEY = "planted-key-0123456789"


def client(url: str, access: Access | None = None) -> Client:
    return Client(url, access or Access(trusted(), 5.0))


def read_all(user: Client, body: bytes = BODY) -> tuple[bytes, bool]:
    """The body, and whether the request opened its connection."""
    stream = user.stream("/generate_stream", body, 5.0)
    payload = b""
    while not stream.ended:
        payload += b"".join(stream.payload(received) for _, received in stream.read())
    return payload, stream.marks.opened


def test_a_connection_is_kept_until_closed(server: SelftestServer) -> None:
    user = client(f"http://127.0.0.1:{server.port}")
    assert [read_all(user)[1] for _ in range(3)] == [True, False, False]
    user.close()
    assert read_all(user)[1]


def test_the_body_is_whole_however_it_is_framed(server: SelftestServer) -> None:
    bodies = [read_all(client(f"http://127.0.0.1:{server.port}{path}"))[0] for path in ("", "/split", "/closing")]
    assert bodies[0].count(b"data:") == 2
    assert bodies[0] == bodies[1] == bodies[2]


def test_the_steps_come_in_order(server: SelftestServer) -> None:
    stream = client(f"http://localhost:{server.port}").stream("/generate_stream", BODY, 5.0)
    marks = stream.marks
    steps = [marks.started, marks.resolved, marks.connected, marks.secured, marks.writing, marks.written, marks.headers]
    assert steps == sorted(steps)
    assert marks.started < marks.resolved < marks.connected < marks.written < marks.headers


def test_the_kernel_tells_the_round_trip(server: SelftestServer) -> None:
    stream = client(f"http://127.0.0.1:{server.port}").stream("/generate_stream", BODY, 5.0)
    smoothed, smallest = stream.tcp_round_trip_ms()
    assert smoothed is not None
    assert smallest is not None
    assert 0 < smallest <= smoothed


def test_the_kernels_clock_is_used_and_named(
    server: SelftestServer, serve_tls: Callable[[int], tuple[SelftestServer, Path]]
) -> None:
    plain = client(f"http://127.0.0.1:{server.port}")
    read_all(plain)
    secure, ca_file = serve_tls(365)
    tls = client(f"https://localhost:{secure.port}", Access(trusted(ca_file=ca_file), 5.0))
    read_all(tls)
    assert plain.clock == tls.clock == "kernel"


def test_dial_and_source_leave_the_name_alone(serve_tls: Callable[[int], tuple[SelftestServer, Path]]) -> None:
    server, ca_file = serve_tls(365)
    access = Access(trusted(ca_file=ca_file), 5.0)
    user = Client("https://site.example", access, "127.0.0.9", ("127.0.0.1", server.port))
    stream = user.stream("/generate_stream", BODY, 5.0)
    assert stream.marks.secured > stream.marks.connected
    assert stream.status == 200
    assert server.seen[-1].peer == "127.0.0.9"


def test_the_key_is_sent_but_not_shown(server: SelftestServer) -> None:
    access = Access(trusted(), 5.0, KEY)
    user = client(f"http://127.0.0.1:{server.port}", access)
    read_all(user)
    assert server.seen[-1].authorization == f"Bearer {KEY}"
    assert KEY not in f"{access} {access!r} {user!r} {access.hide(f'body says {KEY}')}"


@pytest.mark.parametrize("room", [None, 0, 10])
def test_head_and_body_leave_in_one_write(server: SelftestServer, monkeypatch: pytest.MonkeyPatch, room: int | None) -> None:
    """As requests makes them, and as they are repeated; what the kernel does not take at once follows."""
    writes: list[bytes] = []
    send = socket.socket.send

    def sending(sock: socket.socket, data: bytes) -> int:
        writes.append(data)
        if room == 0:
            raise BlockingIOError
        return send(sock, data[:room])

    monkeypatch.setattr(socket.socket, "send", sending)
    user = client(f"http://127.0.0.1:{server.port}")
    bodies = [read_all(user)[0] for _ in range(2)]
    assert bodies[0] == bodies[1]
    assert writes == [writes[0], writes[0]]
    assert writes[0].startswith(b"POST /generate_stream")
    assert writes[0].endswith(BODY)


def test_a_repeated_request_has_its_own_length(server: SelftestServer) -> None:
    user = client(f"http://127.0.0.1:{server.port}")
    read_all(user)
    longer = json.dumps({"inputs": "a b c", "parameters": {"max_new_tokens": 5}}).encode()
    assert read_all(user, longer)[0].count(b"data:") == 5


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=6), st.integers(1, 9))
def test_chunks_cut_anywhere_give_their_payload(chunks: list[bytes], step: int) -> None:
    wire = b"".join(b"%x;x=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    payload, rest, ended = b"", b"", False
    for start in range(0, len(wire), step):
        assert not ended or wire[start:] in {b"\n", b"\r\n", b"\n\r\n"}
        more, rest, ended = unchunked(rest + wire[start : start + step])
        payload += more
    assert payload == b"".join(chunks)
    assert ended
    assert rest == b""


def test_what_is_no_chunk() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        unchunked(b"hello\r\nworld\r\n")
