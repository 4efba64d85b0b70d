from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ttft.events import EventParser

PIECES = st.lists(
    st.sampled_from(
        [b"data:", b"data: ", b"data", b":", b": ping", b"event: x", b"\n", b"\r", b"\r\n", b"\n\n", b'{"a":1}', b" ", b"x"]
    ),
    max_size=40,
).map(b"".join)


def events(*parts: bytes) -> list[bytes]:
    parser = EventParser()
    return [event for part in parts for event in parser.feed(part)]


def test_data_stands_with_or_without_a_space() -> None:
    assert events(b"data: one\n\ndata:two\n\ndata:  three\n\n") == [b"one", b"two", b" three"]


def test_comments_and_other_fields_are_no_events() -> None:
    assert events(b":\n\n: ping\n\nevent: token\nid: 1\n\ndata: one\n\n") == [b"one"]


def test_lines_of_one_event_are_joined() -> None:
    assert events(b"data: a\ndata\ndata: b\n\n") == [b"a\n\nb"]


def test_an_event_ends_with_its_blank_line_only() -> None:
    assert events(b"data: a") == events(b"data: a\n") == []


def test_a_line_end_cut_in_two_is_one() -> None:
    assert events(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [b"a\nb"]


@given(PIECES | st.binary(max_size=60), st.data())
def test_any_cut_gives_the_same_events(stream: bytes, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    parts = [stream[start:stop] for start, stop in zip([0, *places], [*places, len(stream)], strict=True)]
    assert events(*parts) == events(stream)
