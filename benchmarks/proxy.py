"""How much later the first token comes through the reverse proxy (real Caddy, TLS and API key) than from the server itself.

Both ways in one run, in pairs of changing order, in front of the simulated model server, all on this machine's loopback. So the
way between client and host is left out: it is the same for both, but for the round trips of a TLS handshake.
"""

import argparse
import asyncio
import http.client
import json
import multiprocessing
import random
import socket
import ssl
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from automation.account.keys import new_certificate
from components.proxy import DIRECTORY, Proxy, caddy_config, key_mark
from localcloud.hosts.doorway import bound_socket
from localcloud.model_server.simulation import Simulation, Timing
from localcloud.model_server.tgi import Tgi
from localcloud.model_server.tgi_requests import Limits
from localcloud.serving import serving

NAME = "site.localhost"
KEY = "0123456789abcdef0123456789abcdef"
BODY = json.dumps({"inputs": "What is the edge?", "parameters": {"max_new_tokens": 3}})
FIRST_TOKEN_MS = 50.0
WARM_UP_PAIRS = 20
START_SECONDS = 20.0


@dataclass(frozen=True)
class Way:
    """One way to the server."""

    connect: Callable[[], http.client.HTTPConnection]
    headers: dict[str, str]

    def first_token_ms(self, connection: http.client.HTTPConnection) -> float:
        """From the request's first byte to the first event; the rest is read too."""
        begin = time.perf_counter()
        connection.request("POST", "/generate_stream", BODY, self.headers)
        answer = connection.getresponse()
        line = answer.readline()
        seconds = time.perf_counter() - begin
        if answer.status != http.HTTPStatus.OK or not line.startswith(b"data:"):
            raise RuntimeError(f"no token: {answer.status} {line!r}")
        answer.read()
        return seconds * 1000

    def kept(self) -> Callable[[], float]:
        """Measures on one connection that stays."""
        connection = self.connect()
        return lambda: self.first_token_ms(connection)

    def anew(self) -> float:
        """Measures on a connection of its own, its set-up included."""
        begin = time.perf_counter()
        connection = self.connect()
        connection.connect()
        set_up_ms = (time.perf_counter() - begin) * 1000
        milliseconds = set_up_ms + self.first_token_ms(connection)
        connection.close()
        return milliseconds


class PinnedConnection(http.client.HTTPSConnection):
    """HTTPS to loopback under the site's name, its certificate verified."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__(NAME, port, timeout=30, context=context)
        self._trust = context

    def connect(self) -> None:
        """TCP and TLS."""
        raw = socket.create_connection(("127.0.0.1", self.port))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._trust.wrap_socket(raw, server_hostname=NAME)


def serve(port: int) -> None:
    """The simulated model server, until it is ended."""
    timing = Timing(first_token_ms=FIRST_TOKEN_MS, prompt_token_ms=0.0, token_ms=1.0)
    app = Tgi("simulated/model", Simulation(timing), limits=Limits()).app

    async def run() -> None:
        async with serving(app, bound_socket("127.0.0.1", port)):
            await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def both_ways() -> Generator[tuple[Way, Way]]:
    """The server itself, and the server through Caddy as the product configures it."""
    server_port, proxy_port = free_port(), free_port()
    certificate, key = new_certificate([NAME])
    proxy = Proxy("caddy", NAME, 443, tls=True, key_names=("mobile",), health_path="/health")
    with tempfile.TemporaryDirectory(prefix="edge-proxy-") as name:
        folder = Path(name)
        (folder / "certificate.pem").write_text(certificate)
        (folder / "private-key.pem").write_text(key)
        text = json.dumps(caddy_config(proxy)).replace(key_mark(1), KEY).replace(DIRECTORY, name)
        text = text.replace('":443"', f'"127.0.0.1:{proxy_port}"').replace(f":{proxy.server_port}", f":{server_port}")
        (folder / "caddy.json").write_text(text)
        server = multiprocessing.Process(target=serve, args=(server_port,))
        server.start()
        with (folder / "log").open("w") as log:
            run = ["caddy", "run", "--config", str(folder / "caddy.json")]
            caddy = subprocess.Popen(run, stdout=log, stderr=log)
        try:
            for port in (server_port, proxy_port):
                wait_for(port)
            context = ssl.create_default_context(cadata=certificate)
            json_only = {"Content-Type": "application/json"}
            yield (
                Way(lambda: http.client.HTTPConnection("127.0.0.1", server_port, timeout=30), json_only),
                Way(lambda: PinnedConnection(proxy_port, context), {**json_only, "Authorization": f"Bearer {KEY}"}),
            )
        finally:
            caddy.terminate()
            caddy.wait()
            server.terminate()
            server.join()


def free_port() -> int:
    """A TCP port that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_for(port: int) -> None:
    """Returns when something listens there."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def in_pairs(direct: Callable[[], float], proxied: Callable[[], float], pairs: int) -> tuple[list[float], list[float]]:
    """Measures both as often, in turns whose order is drawn, so that neither is always first."""
    found: dict[Callable[[], float], list[float]] = {direct: [], proxied: []}
    for number in range(WARM_UP_PAIRS + pairs):
        for way in random.sample([direct, proxied], 2):
            milliseconds = way()
            if number >= WARM_UP_PAIRS:
                found[way].append(milliseconds)
    return found[direct], found[proxied]


def report(what: str, direct: list[float], proxied: list[float]) -> None:
    """Prints a row of the table."""
    differences = [through - itself for itself, through in zip(direct, proxied, strict=True)]
    low, middle, high = statistics.quantiles(differences, n=4)
    ratio = statistics.median(proxied) / statistics.median(direct)
    print(
        f"| {what} | {statistics.median(direct):.2f} | {statistics.median(proxied):.2f} | {middle:+.2f}"
        f" | {low:+.2f} to {high:+.2f} | {ratio:.3f} |"
    )


def main() -> None:
    """Measures both ways, with and without the connection's set-up, and prints a table."""
    parser = argparse.ArgumentParser(description="The first token's delay through the reverse proxy.")
    parser.add_argument("--pairs", type=int, default=300)
    pairs: int = parser.parse_args().pairs
    print(
        "| connection | direct, median ms | proxied, median ms | difference, median ms | middle half of the differences | ratio |"
    )
    print("|---|---|---|---|---|---|")
    with both_ways() as (direct, proxied):
        report("kept", *in_pairs(direct.kept(), proxied.kept(), pairs))
        report("new for each request", *in_pairs(direct.anew, proxied.anew, pairs))


if __name__ == "__main__":
    main()
