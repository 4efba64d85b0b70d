"""Times TCP handshakes: a script of its own, run here or on another host over SSH. Standard library only, Python 3.9 or newer.

Takes a plan as JSON, its only argument, and writes what it found as JSON. Left out: what the times mean.
"""

import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional, Union


def handshake_ms(address: tuple[Any, ...], timeout_seconds: float) -> Optional[float]:  # noqa: UP045 - Python 3.9
    """From the SYN to the SYN/ACK, as `connect` sees it; None where nobody answers."""
    family = socket.AF_INET6 if len(address) > 2 else socket.AF_INET  # noqa: PLR2004 - IPv6 has flow and scope
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_seconds)
        start = time.perf_counter()
        try:
            connection.connect(address)
        except OSError:
            return None
        return (time.perf_counter() - start) * 1000


def measured(plan: dict[str, Any]) -> dict[str, Union[list[float], str]]:  # noqa: UP007 - Python 3.9
    """By target, the times of all rounds, or why there are none."""
    addresses: dict[str, tuple[Any, ...]] = {}
    found: dict[str, Union[list[float], str]] = {}  # noqa: UP007
    for name, (host, port) in plan["targets"].items():
        try:
            # Looked up once and before: the resolver's time is not the network's.
            addresses[name] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=socket.AF_INET)[0][4]
        except OSError as error:
            found[name] = f"{host}: {error}"
    times: dict[str, list[float]] = {name: [] for name in addresses}
    with ThreadPoolExecutor(plan["at_once"]) as pool:
        for _ in range(plan["rounds"]):
            # Round by round, so that a busy minute does not hit one target alone.
            results = pool.map(handshake_ms, addresses.values(), [plan["timeout_seconds"]] * len(addresses))
            for name, milliseconds in zip(addresses, results):  # noqa: B905 - Python 3.9
                if milliseconds is not None:
                    times[name].append(milliseconds)
    for name, each in times.items():
        found[name] = each or f"{addresses[name][0]} does not answer on TCP port {addresses[name][1]}"
    return found


if __name__ == "__main__":
    json.dump(measured(json.loads(sys.argv[1])), sys.stdout)
