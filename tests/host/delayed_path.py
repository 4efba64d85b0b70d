"""A network path with a known delay: two network namespaces, a TUN device in each, and a process that carries packets late.

Unlike a proxy it delays every packet, handshakes too; unlike netem it needs no kernel module. Root only. Leaves out loss,
jitter and bandwidth.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import queue
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_PR_SET_TIMERSLACK = 29
_PACKET_BYTES = 65536


@dataclass(frozen=True)
class DelayedPath:
    """A client's and a server's network, so many milliseconds apart."""

    client_namespace: str
    server_namespace: str
    server_address: str
    _carrier: subprocess.Popen[str]

    def delivered_ms(self) -> float:
        """The round trip as packets had it since last asked: what was wanted, and how late this machine was with it."""
        assert self._carrier.stdin
        assert self._carrier.stdout
        self._carrier.stdin.write("report\n")
        self._carrier.stdin.flush()
        return float(self._carrier.stdout.readline())

    @contextlib.contextmanager
    def at_client(self) -> Generator[None]:
        """Sockets that this thread opens meanwhile, and threads and processes it starts, are in the client's network."""
        with _inside(self.client_namespace):
            yield

    @contextlib.contextmanager
    def at_server(self) -> Generator[None]:
        """The same in the server's."""
        with _inside(self.server_namespace):
            yield


@contextlib.contextmanager
def _inside(namespace: str) -> Generator[None]:
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(path: str) -> None:
        with Path(path).open("rb") as entered:
            if libc.setns(entered.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    with Path("/proc/thread-self/ns/net").open("rb") as own:
        enter(f"/run/netns/{namespace}")
        try:
            yield
        finally:
            enter(f"/proc/self/fd/{own.fileno()}")


@contextlib.contextmanager
def delayed_path(round_trip_ms: float, number: int = 1) -> Generator[DelayedPath]:
    """Make a path; paths of different numbers can stand at the same time, and start from the same client where `number` says so.

    Raises OSError or CalledProcessError where this machine does not allow it.
    """
    name = f"ttft{os.getpid()}-{number}"
    client, server = f"{name}c", f"{name}s"
    net = f"10.77.{number}"
    try:
        for namespace in (client, server):
            _ip("netns", "add", namespace)
        command = [sys.executable, __file__, f"{name}c", f"{name}s", str(round_trip_ms / 2)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as carrier:
            try:
                assert carrier.stdout
                assert carrier.stdout.readline() == "devices\n", "no TUN devices"
                for namespace, own, other in ((client, 1, 2), (server, 2, 1)):
                    _ip("link", "set", namespace, "netns", namespace)
                    for words in (
                        ("address", "add", f"{net}.{own}", "peer", f"{net}.{other}", "dev", namespace),
                        ("link", "set", namespace, "up"),
                        ("link", "set", "lo", "up"),
                    ):
                        _ip("-n", namespace, *words)
                yield DelayedPath(client, server, f"{net}.2", carrier)
            finally:
                carrier.terminate()
    finally:
        for namespace in (client, server):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", namespace)


def _ip(*words: str) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    subprocess.run(["ip", *words], check=True, capture_output=True, env={"PATH": path})


def _tun(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


def _carry(source: int, destination: int, delay_seconds: float, took_seconds: list[float]) -> None:
    """Hand packets on, each so long after it came: one thread reads, one sleeps and writes."""
    waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def read() -> None:
        while True:
            packet = os.read(source, _PACKET_BYTES)
            waiting.put((time.perf_counter(), packet))

    def write() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1000)  # nanoseconds, of this thread; the default is 50 us
        while True:
            came, packet = waiting.get()
            time.sleep(max(0.0, came + delay_seconds - time.perf_counter()))
            with contextlib.suppress(OSError):  # the device is down
                os.write(destination, packet)
            took_seconds.append(time.perf_counter() - came)

    for each in (read, write):
        threading.Thread(target=each, daemon=True).start()


def main() -> None:
    """Carry packets between two new TUN devices until the standard input closes: NAME NAME ONE-WAY-MS.

    For each line on it, write the median round trip in milliseconds since the last.
    """
    one, other, delay_ms = sys.argv[1:]
    ends = _tun(one), _tun(other)
    there: list[float] = []
    back: list[float] = []
    _carry(ends[0], ends[1], float(delay_ms) / 1000, there)
    _carry(ends[1], ends[0], float(delay_ms) / 1000, back)
    sys.stdout.write("devices\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        round_trip = statistics.median(there) + statistics.median(back)
        sys.stdout.write(f"{round_trip * 1000}\n")
        sys.stdout.flush()
        there.clear()
        back.clear()


if __name__ == "__main__":
    main()
