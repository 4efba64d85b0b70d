"""Servers are changed by plain `pulumi up` while users stream: one replica after the other, and the first failure is the last.

Whoever resolves by TTL and never retries sees nothing of it.
"""

# dnspython's answers have no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import dns.message
import dns.query
import pytest
import requests
from support import CLOCK, OREGON, READY_SECONDS, Deployment, World, wait_for

from automation.engine.rollout import Taker
from automation.sites.hosts import find_host, run, ssh

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.engine


class Changing(Deployment):
    """One site with two replicas under a routed name."""

    def __init__(self, name: str, world: World, stack_files: Path) -> None:
        super().__init__(name, world, stack_files)
        self.domain = f"{name}.edge.internal"
        self.set_server()

    def look(self) -> None:
        """Learns where it serves."""
        self.replicas: list[dict[str, Any]] = self.environment.outputs()["sites"][OREGON]["replicas"]
        self.dns_port = int(self.world.status.request("GET", "dns")["port"])

    def containers(self) -> list[str]:
        """Id and start of each replica's server."""
        asked = "sudo docker inspect --format '{{.Id}} {{.State.StartedAt}}' edge-inference-server"
        found: list[str] = []
        for number in (1, 2):
            host = find_host(self.environment, OREGON, number)
            with ssh(self.environment, host, self.environment.stack_config()) as command:
                found.append(str(run(command, asked, seconds=30)))
        return found

    def set_server(self, **server: object) -> None:
        self.configure(
            [{"zone": OREGON, "replicas": 2}],
            access={"clientCidrs": ["127.0.0.0/8"], "sshCidrs": ["127.0.0.1/32"]},
            routing={"domain": self.domain, "hostedZone": "edge.internal", "healthIntervalSeconds": 10},
            rollout={"drainSeconds": 30},
            server=server,
        )

    def streams(self) -> Streams:
        """People who stream; they end with the test."""
        self.people = Streams(self, 6)
        wait_for("streams", lambda: self.people.whole > 5)
        return self.people

    def change(self) -> tuple[int, str]:
        """Exit status of plain `pulumi up`, and what it prints."""
        done = self.shell()("up", "--yes", "--skip-preview", "--cwd", str(self.project))
        return done.returncode, done.stdout + done.stderr

    def lookup(self) -> str:
        answer = dns.query.udp(dns.message.make_query(self.domain, "A"), "127.0.0.1", READY_SECONDS, self.dns_port)
        (records,) = answer.answer
        (record,) = records
        return record.to_text()

    def model(self, number: int) -> str:
        return requests.get(f"{self.replicas[number - 1]['url']}/info", timeout=30).json()["max_total_tokens"]


@pytest.fixture(scope="module")
def changing(world: World, stack_files: Path) -> Iterator[Changing]:
    deployed = Changing("change", world, stack_files)
    deployed.up()
    deployed.look()
    yield deployed
    deployed.destroy()


class Streams:
    """People who ask one question after the other, each on a connection of its own, and count the tokens."""

    TOKENS = 20

    def __init__(self, changing: Changing, people: int) -> None:
        self.changing = changing
        self.whole, self.failures = 0, list[str]()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(people)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        address, until = "", 0.0
        while not self._ended.is_set():
            if time.monotonic() >= until:
                address, until = self.changing.lookup(), time.monotonic() + 60 / CLOCK
            try:
                tokens = self._tokens(address)
            except (requests.RequestException, OSError) as error:
                self.failures.append(f"{address}: {error!r}")
                continue
            if tokens == self.TOKENS:
                self.whole += 1
            else:
                self.failures.append(f"{address}: cut after {tokens} tokens")
            time.sleep(random.uniform(0, 0.1))  # noqa: S311

    def _tokens(self, address: str) -> int:
        body = {"inputs": "What is the edge?", "parameters": {"max_new_tokens": self.TOKENS}}
        with requests.post(f"http://{address}:8080/generate_stream", json=body, stream=True, timeout=60) as answer:
            answer.raise_for_status()
            return sum(b'"token"' in line for line in answer.iter_lines(chunk_size=1))

    def end(self) -> None:
        """Returns when all have had some more answers."""
        so_far = self.whole
        wait_for("streams afterwards", lambda: self.whole > so_far + 10 or bool(self.failures))
        self._ended.set()
        for thread in self._threads:
            thread.join(READY_SECONDS)


def test_nobody_notices_that_one_replica_after_the_other_gets_another_model(changing: Changing) -> None:
    streams = changing.streams()
    changing.set_server(maxInputTokens=1000, maxTotalTokens=3500)
    planned = changing.environment.plan().rollout
    assert planned
    first, second = planned.changes
    assert [[each.key for each in wave] for wave in planned.waves] == [[f"{OREGON}-1"], [f"{OREGON}-2"]]
    assert first.what == second.what == ("maxInputTokens 3072 to 1000", "maxTotalTokens 4096 to 3500")
    assert first.takers == second.takers == (Taker(OREGON, 0, 0.0),)
    assert (first.unprotected, first.based_on, second.based_on) == (None, f"{OREGON}-1", f"{OREGON}-2")
    status, said = changing.change()
    assert status == 0, said
    assert "not protected" not in said, said
    # The engine prints a command's lines as they come, and once more at its end.
    lines = {line[line.index("{") :] for line in said.splitlines() if '"digest"' in line}
    outcomes: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert [changing.model(number) for number in (1, 2)] == [3500, 3500]
    streams.end()
    assert streams.failures == []
    assert [(each["changed"], each["protected"], each["cut"]) for each in outcomes] == [(True, True, 0)] * 2
    assert all(each["first_token_ms"]["before"] > 0 and each["first_token_ms"]["after"] > 0 for each in outcomes)


def test_the_first_failure_is_the_last_and_its_replica_serves_again(changing: Changing) -> None:
    streams = changing.streams()
    before = changing.containers()
    changing.set_server(maxInputTokens=1000, maxTotalTokens=3500, extraArguments=["--no-such-flag"])
    changing.preview()
    status, said = changing.change()
    assert status != 0
    assert said.count("the server before it serves again") >= 1, said
    assert changing.containers()[1] == before[1], "another replica was touched after the canary had failed"
    changing.set_server(maxInputTokens=1000, maxTotalTokens=3500)
    changing.preview()
    status, said = changing.change()
    assert status == 0, said
    assert changing.containers()[1] == before[1], "the way back touched what had not changed"
    streams.end()
    assert streams.failures == []
