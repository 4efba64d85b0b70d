"""Users and sites that die, recover and are drained: real requests from cities, led by the local cloud's DNS server.

The clock of health checkers, TTL and draining runs faster here, all by the same factor. The tests run in this order on one
deployment.
"""

# dnspython leaves the types of its answers open:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncssh
import dns.message
import dns.query
import pytest
import requests
from resolution_table import PROD, ZONES, cells
from support import CLOCK, HONOLULU, LOS_ANGELES, OREGON, READY_SECONDS, Deployment, From, World, wait_for

from automation.paths import PROJECT_ROOT
from automation.sites.drain import take_out, wait_until_unused
from geography.cities import CITIES, local_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.engine

DOMAIN = "failover.edge.internal"
GUIDE = PROJECT_ROOT / "docs" / "how-to" / "send-requests.md"
SPEED = CLOCK
INTERVAL_SECONDS, THRESHOLD, TTL_SECONDS = 10, 3, 60
NOTICED_SECONDS = INTERVAL_SECONDS * (THRESHOLD + 1) / SPEED
"""By then the slowest checker has failed often enough: its first try may begin an interval after the death."""
BUSY_MACHINE_SECONDS = 10.0


class Failover(Deployment):
    """Oregon, Los Angeles with two replicas, and Honolulu under one name."""

    def __init__(self, world: World, stack_files: Path) -> None:
        super().__init__("failover", world, stack_files)
        self.configure(
            (OREGON, {"zone": LOS_ANGELES, "replicas": 2}, HONOLULU),
            access={"clientCidrs": ["127.0.0.0/8"], "sshCidrs": ["127.0.0.1/32"]},
            routing={
                "domain": DOMAIN,
                "hostedZone": "edge.internal",
                "healthIntervalSeconds": INTERVAL_SECONDS,
                "healthFailureThreshold": THRESHOLD,
            },
        )
        self.sites: dict[str, Any] = dict(self.up().outputs["sites"])
        self.dns_port = int(world.status.request("GET", "dns")["port"])

    def addresses(self, zone: str) -> list[str]:
        return [replica["address"] for replica in self.sites[zone]["replicas"]]

    def address(self, zone: str) -> str:
        return self.addresses(zone)[0]

    def lookup(self, name: str, source: str) -> tuple[str, int]:
        """Address and TTL that the DNS server answers a resolver at an address."""
        answer = dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", READY_SECONDS, self.dns_port, source=source)
        [records] = answer.answer
        [record] = records
        return record.to_text(), records.ttl

    def zone_for(self, city: str) -> str:
        zones = {address: zone for zone in self.sites for address in self.addresses(zone)}
        return zones[self.lookup(DOMAIN, client_address(city))[0]]

    def answers(self, city: str) -> set[str]:
        """What a city's resolvers are answered, by chance: one that should be among them is missed once in a million times."""
        return {self.lookup(DOMAIN, client_address(city))[0] for _ in range(20)}

    def on_host(self, address: str, command: str) -> None:
        """Runs a command on the host at an address, as the deployer."""
        key = asyncssh.import_private_key(self.environment.config_value("edge-inference:sshPrivateKey") or "")

        async def run() -> None:
            port = self.environment.port_of(address, 22)
            async with asyncssh.connect(
                address, port, config=None, username="ec2-user", client_keys=[key], known_hosts=None
            ) as host:
                await host.run(command, check=True)

        asyncio.run(run())

    def metric(self, zone: str, name: str) -> float:
        """A counter or gauge of a site's servers together; 0 before its first value."""

        def of(address: str) -> float:
            metrics = requests.get(f"http://{address}:8080/metrics", timeout=READY_SECONDS).text
            return float((re.search(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", metrics, re.MULTILINE) or ["", "0"])[1])

        return sum(map(of, self.addresses(zone)))


@pytest.fixture(scope="module")
def failover(world: World, stack_files: Path) -> Iterator[Failover]:
    deployed = Failover(world, stack_files)
    yield deployed
    deployed.destroy()


def client_address(city: str) -> str:
    return str(local_network(CITIES[city])[9])


def assert_table(deployed: Failover, down: str | None) -> None:
    """That the DNS server answers every city of the table by hand as that says."""
    wrong = [
        f"{city}: {got}, and not {expected}"
        for city, without, expected in cells(PROD)
        if without == down and (got := deployed.zone_for(city)) != ZONES[expected]
    ]
    assert not wrong, "\n".join(wrong)


class Person:
    """Somebody in a city who asks one question after the other, with the documented client."""

    def __init__(self, deployed: Failover, city: str, *others: str) -> None:
        """`others`: zones whose sites are asked by their own names where the service's name does not help."""
        self.deployed, self.source = deployed, client_address(city)
        self.names = [DOMAIN, *(f"{zone}.sites.{DOMAIN}" for zone in others)]
        self.failures: list[tuple[float, str]] = []
        self.addresses: list[str] = []
        """Where requests went."""
        self._kept: dict[str, tuple[str, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def resolve(self, name: str) -> str:
        """What this person's resolver answers: kept as long as the TTL allows, by the faster clock."""
        address, until = self._kept.get(name, ("", 0.0))
        if time.monotonic() >= until:
            address, ttl = self.deployed.lookup(name, self.source)
            assert ttl <= TTL_SECONDS
            self._kept[name] = address, time.monotonic() + ttl / SPEED
        self.addresses.append(address)
        return address

    def end(self) -> None:
        self._ended.set()
        self._thread.join(READY_SECONDS)
        assert not self._thread.is_alive()

    def _ask(self) -> None:
        people.current = self
        generate = documented_client(self.names, self.source)
        while not self._ended.is_set():
            try:
                assert generate("What is the edge?")
            except (requests.RequestException, AssertionError) as error:
                self.failures.append((time.monotonic(), repr(error)))


people = threading.local()


def documented_client(names: list[str], source: str) -> Callable[[str], str]:
    """`generate` as docs/how-to/send-requests.md prints it, for other names and from an address of this machine."""
    [code] = [
        block
        for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
        if "def generate(" in block
    ]
    session = requests.Session()
    session.mount("http://", From(source))
    # A session keeps connections, and a kept one would not ask for the name again: that client has none.
    session.headers["Connection"] = "close"
    space: dict[str, Any] = {}
    exec(code, space)  # noqa: S102 - the project's own page
    space["NAMES"] = names
    space["requests"] = SimpleNamespace(post=session.post, RequestException=requests.RequestException)
    return space["generate"]


@pytest.fixture(autouse=True)
def led_by_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names below the domain are resolved by the person whose thread asks."""
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **options: Any) -> Any:
        return real(people.current.resolve(host) if host.endswith(DOMAIN) else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_the_dns_server_sends_every_city_where_the_table_says(failover: Failover) -> None:
    assert_table(failover, None)


def test_resolve_says_which_site_and_why(failover: Failover) -> None:
    wait_for("the checkers' reports", lambda: _checkers(failover) > 0)
    said = failover.environment.resolve("honolulu").described()
    assert (said["zone"], said["address"]) == (HONOLULU, failover.address(HONOLULU))
    assert said["url"] == f"http://{failover.address(HONOLULU)}:8080"
    assert [record["name"] for record in said["path"]] == [
        DOMAIN,
        f"latency.{DOMAIN}",
        f"us-west-2.{DOMAIN}",
        f"hnl-1.us-west-2.{DOMAIN}",
    ]
    assert [(each["zone"], each["healthy"]) for each in said["candidates"]] == [
        (HONOLULU, True),
        (LOS_ANGELES, True),
        (OREGON, True),
    ]


def _checkers(deployed: Failover) -> int:
    return min(
        replica.health.checkers if replica.health else 0
        for site in deployed.environment.routes().sites
        for replica in site.replicas
    )


def test_a_dead_site_is_left_out_and_comes_back(failover: Failover) -> None:
    naive = Person(failover, "Honolulu")
    advised = Person(failover, "Honolulu", LOS_ANGELES, OREGON)
    wait_for("requests to Honolulu", lambda: failover.address(HONOLULU) in naive.addresses and bool(advised.addresses))
    failover.on_host(failover.address(HONOLULU), "sudo docker stop edge-inference-server")
    died = time.monotonic()
    wait_for("DNS to leave Honolulu out", lambda: failover.zone_for("Honolulu") == LOS_ANGELES)
    left_out = time.monotonic()
    assert left_out - died < NOTICED_SECONDS + BUSY_MACHINE_SECONDS
    assert_table(failover, "HNL")
    dead = failover.environment.resolve("Honolulu").described()
    assert (dead["zone"], dead["candidates"][0]["zone"], dead["candidates"][0]["healthy"]) == (LOS_ANGELES, HONOLULU, False)
    wait_for(
        "both to be served by Los Angeles",
        lambda: {p.addresses[-1] for p in (naive, advised)} <= {*failover.addresses(LOS_ANGELES)},
    )
    failover.on_host(failover.address(HONOLULU), "sudo docker start edge-inference-server")
    wait_for("DNS to take Honolulu in", lambda: failover.zone_for("Honolulu") == HONOLULU)
    wait_for("both to be served by Honolulu", lambda: {p.addresses[-1] for p in (naive, advised)} == {failover.address(HONOLULU)})
    naive.end()
    advised.end()
    assert naive.failures, "the window is real"
    assert max(when for when, _ in naive.failures) < left_out + TTL_SECONDS / SPEED + BUSY_MACHINE_SECONDS
    assert not advised.failures


def test_a_dead_replica_is_left_out_and_its_site_is_not(failover: Failover) -> None:
    dead, alive = failover.addresses(LOS_ANGELES)
    failover.on_host(dead, "sudo docker stop edge-inference-server")
    wait_for("the checkers to notice", lambda: failover.answers("Los Angeles") == {alive})
    assert_table(failover, None)
    failover.on_host(dead, "sudo docker start edge-inference-server")
    wait_for("both replicas again", lambda: failover.answers("Los Angeles") == {dead, alive})


def test_draining_and_back_lose_no_request(failover: Failover) -> None:
    crowd = [Person(failover, "Los Angeles") for _ in range(3)]
    wait_for("requests to Los Angeles", lambda: all(person.addresses for person in crowd))
    take_out(failover.environment, LOS_ANGELES)
    streams: list[LongStream] = []

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        if not streams:  # the TTL is over: the last request by an old answer
            streams.append(LongStream(failover.addresses(LOS_ANGELES)[-1]))

    wait_until_unused(failover.environment, LOS_ANGELES, failover.said.append, sleep)
    assert failover.metric(LOS_ANGELES, "tgi_batch_current_size") == 0, "called unused while a stream ran"
    assert streams[0].end() == LongStream.TOKENS
    assert_table(failover, "LAX")
    [described] = [site for site in failover.environment.routes().sites if site.drained]
    assert (described.zone, described.healthy) == (LOS_ANGELES, True)
    served = failover.metric(LOS_ANGELES, "tgi_request_count")
    assert served > 0
    so_far = len(crowd[0].addresses)
    wait_for("more requests", lambda: len(crowd[0].addresses) > so_far + 5)
    assert failover.metric(LOS_ANGELES, "tgi_request_count") == served
    failover.environment.undrain(LOS_ANGELES)
    assert_table(failover, None)
    wait_for("Los Angeles to serve again", lambda: all(p.addresses[-1] in failover.addresses(LOS_ANGELES) for p in crowd))
    for person in crowd:
        person.end()
        assert not person.failures


class LongStream:
    """One answer of many tokens, straight from a site."""

    TOKENS = 200

    def __init__(self, address: str) -> None:
        self.tokens = 0
        body = {"inputs": "What is the edge?", "parameters": {"max_new_tokens": self.TOKENS}}
        self._answer = requests.post(f"http://{address}:8080/generate_stream", json=body, stream=True, timeout=READY_SECONDS)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def end(self) -> int:
        """How many tokens came in all."""
        self._thread.join(READY_SECONDS)
        return self.tokens

    def _read(self) -> None:
        with self._answer as answer:
            for line in answer.iter_lines(chunk_size=1):
                self.tokens += line.startswith(b"data:")
