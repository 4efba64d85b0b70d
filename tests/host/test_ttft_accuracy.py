"""What ttft says of a path whose delay is known: the same server beside the client and far away, in one run."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from automation.account.keys import new_certificate
from tests.host.canary import watched
from tests.host.delayed_path import delayed_path
from ttft.samples import Connection, Run, Sample, Target
from ttft.schedule import Plan, run
from ttft.selftest import server_process, truth_ms

pytestmark = pytest.mark.host

ROUNDS = 13
GENERATION_MS = 25.0
WITHIN_MS = 1.0
CALM_MS = 0.75
"""A machine that delivers packets or wakes sleepers later than this cannot say what the client does within a millisecond."""
NAME = "site.example"
HELD_BACK_WITHIN_MS = 2.0
"""TCP's smallest round trip ends in the kernel. The way from there to both processes counts as generation then: about 1 ms."""
OPENED_WITHIN_MS = 2.0
"""Of a connection of its own: two or three round trips, and a processor that slept through them computes a handshake slower."""
EXCHANGES: dict[tuple[str, Connection], int] = {
    ("http", "warm"): 1,
    ("http", "cold"): 1,
    ("https", "warm"): 1,
    ("https", "cold"): 2,
}
"""Request and headers; before it, where a TLS 1.3 connection is opened, its handshake. TCP's own is the kernels' alone."""


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
        self._wanted_ms = round_trip_ms
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
            self._plain_far = self._served(stack, self.path.server_address, plain=True)
        with self.path.at_client():
            self._plain_near = self._served(stack, "127.0.0.1", plain=True)

    def _served(self, stack: ExitStack, address: str, *, plain: bool = False) -> tuple[str, int]:
        options = () if plain else self._options
        started = server_process("--address", address, "--first-token-ms", str(GENERATION_MS), *options)
        return address, stack.enter_context(started)

    def target(self, name: str, where: tuple[str, int], behaviour: str = "") -> Target:
        address, port = where
        return Target(name, f"{self.scheme}://{NAME}:{port}{behaviour}", connect_address=address)

    def truth_ms(self) -> float:
        """What the far server itself took for a first token, the median."""
        host, port = self.far
        with self.path.at_client():
            return statistics.median(truth_ms(f"http://{host}:{port}"))

    def measure(self, *targets: Target) -> Run:
        plan = Plan(targets, rounds=ROUNDS, gap_seconds=0.01, output_tokens=1, ca_file=str(self.ca_file), seed=1)
        with watched() as disturbance, self.path.at_client():
            found = run(plan)
            self.connecting_ms = connecting_ms(self._plain_far)
            self.exchange_ms = exchange_ms(self._plain_far)
            self.farther_connecting_ms = self.connecting_ms - connecting_ms(self._plain_near)
            self.farther_exchange_ms = self.exchange_ms - exchange_ms(self._plain_near)
        # Packets pass two kernels, an exchange two processes besides.
        late_ms = max(self.path.delivered_ms(), self.connecting_ms, (self._wanted_ms + self.exchange_ms) / 2) - self._wanted_ms
        if max(late_ms, disturbance.late_ms) > CALM_MS:
            pytest.skip(f"disturbed machine: packets came {late_ms:.2f} ms late, sleepers woke {disturbance.late_ms:.2f} ms late")
        assert not found.failures
        return found


def connecting_ms(address: tuple[str, int]) -> float:
    """The round trip as a bare TCP handshake has it: what the carrier delivers, and the kernel's way to it and from it."""
    taken: list[float] = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        with socket.create_connection(address):
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken) * 1000


def exchange_ms(address: tuple[str, int]) -> float:
    """A round trip between processes, as the simplest of clients has it: a request on an open connection, its first byte back."""
    taken: list[float] = []
    with socket.create_connection(address) as connection:
        for _ in range(ROUNDS):
            time.sleep(0.01)  # as far apart as the run's own requests
            begin = time.perf_counter()
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: site\r\n\r\n")
            connection.recv(4096)
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken) * 1000


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
        truth = EXCHANGES[scheme, connection] * made.farther_exchange_ms
        truth += made.farther_connecting_ms if connection == "cold" else 0.0
        within_ms = OPENED_WITHIN_MS if connection == "cold" else WITHIN_MS
        assert far - near == pytest.approx(truth, abs=within_ms)
        for name in ("near", "far"):
            assert median(found, name, connection, lambda sample: sample.generation_ms) == pytest.approx(
                GENERATION_MS, abs=WITHIN_MS
            )


def test_a_plain_warm_request_costs_one_round_trip(rig: Callable[[float, str], Rig]) -> None:
    made = rig(30.0, "http")
    found = made.measure(made.target("far", made.far))
    network_ms = median(found, "far", "warm", lambda sample: sample.network_ms)
    assert network_ms == pytest.approx(made.exchange_ms, abs=WITHIN_MS)
    assert median(found, "far", "warm", lambda sample: sample.min_rtt_ms) == pytest.approx(made.connecting_ms, abs=WITHIN_MS)
    truth = made.truth_ms()
    assert median(found, "far", "warm", lambda sample: sample.generation_ms) == pytest.approx(truth, abs=WITHIN_MS)


def test_headers_that_are_held_back_leave_the_split_to_tcp(rig: Callable[[float, str], Rig]) -> None:
    made = rig(30.0, "http")
    found = made.measure(made.target("far", made.far, "/held-back"))
    assert {sample.split for sample in found.samples} == {"tcp_rtt"}
    assert median(found, "far", "warm", lambda sample: sample.network_ms) == pytest.approx(made.connecting_ms, abs=WITHIN_MS)
    generation_ms = median(found, "far", "warm", lambda sample: sample.generation_ms)
    assert generation_ms == pytest.approx(made.truth_ms(), abs=HELD_BACK_WITHIN_MS)
