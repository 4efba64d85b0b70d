"""What ttft says of a path whose delay is known: the same server beside the client and far away, in one run."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from automation.keys import new_certificate
from tests.host.delayed_path import delayed_path
from ttft.samples import Connection, Run, Sample, Target
from ttft.schedule import Plan, run
from ttft.selftest import server_process, truth_ms

pytestmark = pytest.mark.host

ROUNDS = 31
WITHIN_MS = 1.0
NAME = "site.example"
ROUND_TRIPS: dict[tuple[str, Connection], int] = {
    ("http", "warm"): 1,
    ("http", "cold"): 2,
    ("https", "warm"): 1,
    ("https", "cold"): 3,
}
"""Request and headers; TCP before it; TLS 1.3 between them."""


@pytest.fixture(autouse=True)
def ahead_of_other_work() -> Iterator[None]:
    """The client, the path and the servers run before whatever else this machine does: its load is not their error."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        pytest.skip("needs real-time priority")
    yield
    os.sched_setscheduler(0, *before)


class Rig:
    """A server beside the client, and one as far away as the path is long."""

    def __init__(self, round_trip_ms: float, scheme: str, directory: Path, stack: ExitStack) -> None:
        certificate, key = new_certificate([NAME])
        self._wanted_ms = self.round_trip_ms = round_trip_ms
        self.scheme, self.ca_file = scheme, directory / "certificate.pem"
        self.ca_file.write_text(key + certificate)
        self._options = ("--certificate", str(self.ca_file)) if scheme == "https" else ()
        try:
            self.path = stack.enter_context(delayed_path(round_trip_ms))
        except (OSError, subprocess.CalledProcessError, AssertionError) as error:
            pytest.skip(f"no delayed path can be made here: {error}")
        with self.path.at_client():
            self.near = self._served(stack, "127.0.0.1")
        with self.path.at_server():
            self.far = self._served(stack, self.path.server_address)

    def _served(self, stack: ExitStack, address: str) -> tuple[str, int]:
        return address, stack.enter_context(server_process("--address", address, *self._options))

    def target(self, name: str, where: tuple[str, int], behaviour: str = "") -> Target:
        address, port = where
        return Target(name, f"{self.scheme}://{NAME}:{port}{behaviour}", connect_address=address)

    def truth_ms(self) -> float:
        """What the far server itself took for a first token, the median."""
        host, port = self.far
        with self.path.at_client():
            return statistics.median(truth_ms(f"http://{host}:{port}"))

    def measure(self, *targets: Target) -> Run:
        plan = Plan(targets, rounds=ROUNDS, gap_seconds=0.02, output_tokens=2, ca_file=str(self.ca_file), seed=1)
        with self.path.at_client():
            found = run(plan)
        assert not found.failures
        self.round_trip_ms = self.path.delivered_ms()
        assert self.round_trip_ms == pytest.approx(self._wanted_ms, abs=WITHIN_MS), "this machine is too busy to carry packets"
        return found


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Callable[[float, str], Rig]]:
    with ExitStack() as stack:
        yield lambda round_trip_ms, scheme: Rig(round_trip_ms, scheme, tmp_path, stack)


def median(found: Run, target: str, connection: Connection, value: Callable[[Sample], float | None]) -> float:
    values = [value(sample) for sample in found.samples if (sample.target, sample.connection) == (target, connection)]
    assert len(values) == ROUNDS
    return statistics.median(each for each in values if each is not None)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("round_trip_ms", [30.0, 70.0])
def test_network_and_generation_of_a_known_path(rig: Callable[[float, str], Rig], round_trip_ms: float, scheme: str) -> None:
    """Handshakes cost time at both ends, too: that part is taken from the server beside the client."""
    made = rig(round_trip_ms, scheme)
    found = made.measure(made.target("near", made.near), made.target("far", made.far))
    for connection in ("warm", "cold"):
        near, far = (median(found, name, connection, lambda sample: sample.network_ms) for name in ("near", "far"))
        assert far - near == pytest.approx(ROUND_TRIPS[scheme, connection] * made.round_trip_ms, abs=WITHIN_MS)
        for name in ("near", "far"):
            assert median(found, name, connection, lambda sample: sample.generation_ms) == pytest.approx(50.0, abs=WITHIN_MS)


def test_a_plain_warm_request_costs_one_round_trip(rig: Callable[[float, str], Rig]) -> None:
    made = rig(30.0, "http")
    found = made.measure(made.target("far", made.far))
    network_ms = median(found, "far", "warm", lambda sample: sample.network_ms)
    assert network_ms == pytest.approx(made.round_trip_ms, abs=WITHIN_MS)
    assert median(found, "far", "warm", lambda sample: sample.min_rtt_ms) == pytest.approx(network_ms, abs=WITHIN_MS)
    truth = made.truth_ms()
    assert median(found, "far", "warm", lambda sample: sample.generation_ms) == pytest.approx(truth, abs=WITHIN_MS)


def test_headers_that_are_held_back_leave_the_split_to_tcp(rig: Callable[[float, str], Rig]) -> None:
    made = rig(30.0, "http")
    found = made.measure(made.target("far", made.far, "/held-back"))
    assert {sample.split for sample in found.samples} == {"tcp_rtt"}
    assert median(found, "far", "warm", lambda sample: sample.network_ms) == pytest.approx(made.round_trip_ms, abs=WITHIN_MS)
    assert median(found, "far", "warm", lambda sample: sample.generation_ms) == pytest.approx(made.truth_ms(), abs=WITHIN_MS)
