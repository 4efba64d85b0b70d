"""How far a client is from a host, and lines that take their time: as a schedule, on a clock that the test moves."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geography.cities import CITIES, local_network
from geography.latency import round_trip_ms
from geography.places import REGIONS, ZONE_GROUPS
from localcloud.hosts.distance import WINDOW_BYTES, Line, described, place_of_zone, round_trip_seconds

HONOLULU = str(local_network(CITIES["Honolulu"])[9])


class MovedClock:
    """A clock that a test moves, calling back on the way as an event loop does."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waiting: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object], /) -> None:
        self.waiting.append((when, callback))

    def move_to(self, now: float) -> None:
        while due := sorted((when, index) for index, (when, _) in enumerate(self.waiting) if when <= now):
            when, index = due[0]
            self.now = max(self.now, when)
            self.waiting.pop(index)[1]()
        self.now = now


class Way:
    """A line, what came out of it and when, and whether its sender may send."""

    def __init__(self, seconds: float, opens_at: float = 0.0) -> None:
        self.clock = MovedClock()
        self.arrived: list[tuple[float, object]] = []
        self.full: list[bool] = []
        self.line = Line(seconds, opens_at, self.clock, self.full.append)

    def put(self, what: object, size: int = 0) -> None:
        self.line.put(lambda: self.arrived.append((self.clock.now, what)), size)


def test_a_zone_is_where_its_group_or_its_region_is() -> None:
    assert place_of_zone("us-west-2-lax-1b") == ZONE_GROUPS["us-west-2-lax-1"].place
    assert place_of_zone("us-west-2a") == REGIONS["us-west-2"]
    assert place_of_zone("us-west-2-xyz-1a") is None


def test_a_city_is_as_far_as_the_model_says() -> None:
    wanted = round_trip_ms(CITIES["Honolulu"].place, REGIONS["us-west-2"]) / 1000
    assert round_trip_seconds(HONOLULU, "us-west-2c") == wanted
    assert round_trip_seconds(HONOLULU, "us-west-2-hnl-1a") < wanted / 10


@pytest.mark.parametrize("source", ["127.0.0.1", "127.255.3.17", "127.200.0.1", "127.200.255.1", "128.171.0.1"])
def test_who_is_in_no_city_of_this_machine_is_near(source: str) -> None:
    assert round_trip_seconds(source, "us-west-2a") == 0
    assert round_trip_seconds(HONOLULU, "us-west-2-xyz-1a") == 0


def test_what_was_simulated_is_told() -> None:
    told = described(["us-west-2a", "us-west-2-hnl-1a", "us-west-2a", "us-west-2-xyz-1a"])
    assert told["simulated"] is True
    assert told["cities"].keys() == CITIES.keys()
    honolulu = told["cities"]["Honolulu"]
    assert (honolulu["address"], honolulu["network"]) == ("127.200.2.1", "127.200.2.0/24")
    assert honolulu["round_trip_ms"] == {"us-west-2-hnl-1a": 5.0, "us-west-2a": 69.7}


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 9)), max_size=20).map(sorted),
    st.floats(0.001, 2),
    st.floats(0, 2),
)
def test_all_arrives_in_order_the_delay_after_it_was_sent_or_the_line_was_open(
    sent: list[tuple[float, int]], seconds: float, opens_at: float
) -> None:
    way = Way(seconds, opens_at)
    for when, what in sent:
        way.clock.move_to(when)
        way.put(what)
    way.clock.move_to(100)
    assert way.arrived == [(max(when, opens_at) + seconds, what) for when, what in sent]


def test_nothing_arrives_while_the_other_end_cannot_take_it_and_then_at_once() -> None:
    way = Way(1.0)
    way.put("a")
    way.line.hold()
    way.clock.move_to(2.0)
    way.put("b")
    assert way.arrived == []
    way.line.release()
    assert way.arrived == [(2.0, "a")]
    way.clock.move_to(9.0)
    assert way.arrived == [(2.0, "a"), (3.0, "b")]


def test_an_arrival_that_fills_the_other_end_is_the_last_for_now() -> None:
    way = Way(1.0)
    way.line.put(way.line.hold)
    way.put("b")
    way.clock.move_to(5.0)
    assert way.arrived == []
    way.line.release()
    assert way.arrived == [(5.0, "b")]


def test_the_sender_waits_while_the_window_is_full() -> None:
    way = Way(1.0)
    for when in range(4):
        way.clock.move_to(when / 4)
        way.put(when, WINDOW_BYTES // 4)
    assert way.full == [True]
    way.clock.move_to(1.0)
    assert way.full == [True]
    way.clock.move_to(1.25)
    assert way.full == [True, False]


def test_nothing_of_what_was_dropped_arrives_and_the_sender_may_go_on() -> None:
    way = Way(1.0)
    way.put("a", 2 * WINDOW_BYTES)
    way.line.drop()
    way.clock.move_to(2.0)
    way.put("b")
    way.clock.move_to(9.0)
    assert (way.arrived, way.full) == ([(3.0, "b")], [True, False])


def test_one_timer_at_a_time() -> None:
    way = Way(1.0)
    for what in range(10):
        way.put(what)
        way.line.hold()
        way.line.release()
    assert len(way.clock.waiting) == 1
