"""How far off is this tool, on this machine, now: the real client against the bundled server, whose delays are known.

The server keeps its own record of when each request came and each first token left, so its own lateness is not ours. Leaves
out the network: tests/host/ measures over a path with known delays.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ttft.connection import Access, Client, trusted
from ttft.samples import Target
from ttft.schedule import Plan, run

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

_USERS = (1, 32)
_REQUESTS = {1: 60, 32: 30}
"""Of each user."""
_OUTPUT_TOKENS = 32
_SECONDS_TO_MS = 1000


@dataclass(frozen=True)
class Accuracy:
    """What the client measured, beside what the server did, in milliseconds."""

    users: int
    requests: int
    failures: int
    truth_p50_ms: float
    truth_p99_ms: float
    measured_p50_ms: float
    measured_p99_ms: float
    cpu_ms_per_request: float

    @property
    def p50_error_ms(self) -> float:
        """Of the median."""
        return self.measured_p50_ms - self.truth_p50_ms

    @property
    def p99_error_ms(self) -> float:
        """Of the 99th percentile; a look at the tail, with fewer than a thousand requests no more."""
        return self.measured_p99_ms - self.truth_p99_ms

    def __str__(self) -> str:
        return (
            f"{self.users:>2} user{' ' if self.users == 1 else 's'}: median {self.measured_p50_ms:.2f} ms"
            f" (server {self.truth_p50_ms:.2f}, error {self.p50_error_ms:+.2f}),"
            f" p99 {self.measured_p99_ms:.2f} ms (server {self.truth_p99_ms:.2f}, error {self.p99_error_ms:+.2f}),"
            f" {self.cpu_ms_per_request:.1f} ms CPU per request, {self.requests} requests, {self.failures} failures"
        )


def selftest(users: Sequence[int] = _USERS) -> list[Accuracy]:
    """Measure the measuring, for each number of users. Takes about half a minute."""
    return [_accuracy(number) for number in users]


def _accuracy(users: int) -> Accuracy:
    with server_process() as port:
        url = f"http://127.0.0.1:{port}"
        plan = Plan(
            (Target("selftest", url),),
            rounds=1,
            connections=("warm",),
            output_tokens=_OUTPUT_TOKENS,
            concurrency=users,
            requests_per_turn=_REQUESTS.get(users, 30),
        )
        measured = run(plan)
        truth = truth_ms(url)[-len(measured.samples) :]
    ours = sorted(sample.ttft_ms for sample in measured.samples)
    return Accuracy(
        users,
        len(ours),
        len(measured.failures),
        quantile(truth, 0.5),
        quantile(truth, 0.99),
        quantile(ours, 0.5),
        quantile(ours, 0.99),
        measured.cpu_ms_per_request["selftest"],
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of all reaches: exact, nothing in between."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def truth_ms(url: str) -> list[float]:
    """From the request's coming to the first token's leaving, as the server saw it, in the order of the first tokens."""
    truth: dict[str, Any] = Client(url, Access(trusted(), 10.0)).ask("GET", "/truth").json()
    return [(first - came) * _SECONDS_TO_MS for came, first in zip(truth["came"], truth["first_token"])]  # noqa: B905 - 3.9


@contextmanager
def server_process(*options: str) -> Generator[int, None, None]:
    """The bundled server in a process of its own; gives its port. Options: those of `python -m ttft.selftest_server`."""
    command = [sys.executable, "-m", "ttft.selftest_server", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - our own
        assert server.stdout is not None  # noqa: S101 - a pipe was asked for
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


def main() -> None:
    """Print it."""
    for accuracy in selftest():
        print(accuracy)  # noqa: T201 - that is what it is for


if __name__ == "__main__":
    main()
