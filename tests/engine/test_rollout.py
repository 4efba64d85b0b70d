"""What serves is changed while people of three cities stream: in order, and the first failure is the last.

Whoever resolves by TTL and never retries sees nothing of it. The tests run in this order on one deployment.
"""

# dnspython's answers have no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dns.message
import dns.query
import pytest
import requests
from support import CLOCK, HONOLULU, LOS_ANGELES, OREGON, READY_SECONDS, Deployment, From, World, instances, wait_for

from automation.errors import DeploymentFailedError
from automation.sites.hosts import find_host, run, ssh
from geography.cities import CITIES, local_network

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.engine

ZONES = (OREGON, LOS_ANGELES, HONOLULU)
CITY_OF = {OREGON: "Seattle", LOS_ANGELES: "Los Angeles", HONOLULU: "Honolulu"}
PEOPLE_OF_A_CITY = 10
TOKENS = 20
SMALL = "Qwen/Qwen2.5-0.5B-Instruct"
LATER: dict[str, Any] = {"model": SMALL, "extraArguments": ["--max-batch-size", "7"]}
"""What is served in the later tests."""


class Changing(Deployment):
    """Three sites under a routed name."""

    def __init__(self, name: str, world: World, stack_files: Path) -> None:
        super().__init__(name, world, stack_files)
        self.domain = f"{name}.edge.internal"
        self.set_up(ZONES)

    def set_up(self, zones: tuple[str, ...], types: Mapping[str, str] | None = None, **server: Any) -> None:
        self.configure(
            [{"zone": zone, "instanceType": (types or {}).get(zone, "g4dn.2xlarge")} for zone in zones],
            access={"clientCidrs": ["127.0.0.0/8"], "sshCidrs": ["127.0.0.1/32"]},
            routing={"domain": self.domain, "hostedZone": "edge.internal", "healthIntervalSeconds": 10},
            rollout={"drainSeconds": 60},
            host={"connectBudgetSeconds": 60},
            server=server,
        )

    def look(self) -> None:
        """Learns where it serves."""
        self.dns_port = int(self.world.status.request("GET", "dns")["port"])
        self.hosts = {zone: find_host(self.environment, zone) for zone in ZONES}
        self.secrets = self.environment.stack_config()

    def on_host(self, zone: str, command: str) -> str:
        with ssh(self.environment, self.hosts[zone], self.secrets) as words:
            return str(run(words, command, seconds=30))

    def container(self, zone: str) -> str:
        """Id of a site's server, and when it was started; empty without one."""
        asked = "sudo docker inspect --format '{{.Id}} {{.State.StartedAt}}' edge-inference-server 2>/dev/null || true"
        return self.on_host(zone, asked).strip()

    def instances(self) -> dict[str, str]:
        """Each site's instance."""
        sites = self.environment.outputs()["sites"]
        return {zone: sites[zone]["replicas"][0]["instance_id"] for zone in ZONES}

    def containers(self) -> dict[str, str]:
        """The same of all."""
        return {zone: self.container(zone) for zone in ZONES}

    def plain_up(self) -> tuple[int, str]:
        """Exit status of plain `pulumi up`, and what it prints."""
        done = self.shell()("up", "--yes", "--skip-preview", "--cwd", str(self.project))
        return done.returncode, done.stdout + done.stderr

    def lookup(self, city: str) -> str:
        source = str(local_network(CITIES[city])[9])
        answer = dns.query.udp(dns.message.make_query(self.domain, "A"), "127.0.0.1", READY_SECONDS, self.dns_port, source=source)
        (records,) = answer.answer
        (record,) = records
        return record.to_text()

    def longest(self) -> list[int]:
        """What each site's server accepts in all, in tokens."""
        urls = self.environment.outputs()["endpoint_urls"]
        return [requests.get(f"{urls[zone]}/info", timeout=30).json()["max_total_tokens"] for zone in urls]

    @contextmanager
    def streams(self) -> Generator[Streams]:
        """People who stream as long as this lasts, none of whom may have failed afterwards."""
        people = Streams(self)
        wait_for("streams", lambda: people.whole > len(people.threads))
        yield people
        people.end()
        assert people.failures == []


@pytest.fixture(scope="module")
def changing(world: World, stack_files: Path) -> Iterator[Changing]:
    deployed = Changing("change", world, stack_files)
    deployed.up()
    deployed.look()
    yield deployed
    deployed.destroy()


class Streams:
    """People who ask one question after the other, each on a connection of its own, and count the tokens."""

    def __init__(self, changing: Changing) -> None:
        self.changing = changing
        self.whole, self.failures = 0, list[str]()
        self._ended = threading.Event()
        cities = [city for city in CITY_OF.values() for _ in range(PEOPLE_OF_A_CITY)]
        self.threads = [threading.Thread(target=self._ask, args=(city,), daemon=True) for city in cities]
        for thread in self.threads:
            thread.start()

    def _ask(self, city: str) -> None:
        address, until = "", 0.0
        while not self._ended.is_set():
            if time.monotonic() >= until:
                address, until = self.changing.lookup(city), time.monotonic() + 60 / CLOCK
            try:
                tokens = self._tokens(address, str(local_network(CITIES[city])[9]))
            except (requests.RequestException, OSError) as error:
                self.failures.append(f"{city}, {address}: {error!r}")
                continue
            if tokens == TOKENS:
                self.whole += 1
            else:
                self.failures.append(f"{city}, {address}: cut after {tokens} tokens")
            time.sleep(random.uniform(0, 0.2))  # noqa: S311

    def _tokens(self, address: str, source: str) -> int:
        body = {"inputs": "What is the edge?", "parameters": {"max_new_tokens": TOKENS}}
        with requests.Session() as session:
            session.mount("http://", From(source))
            with session.post(f"http://{address}:8080/generate_stream", json=body, stream=True, timeout=60) as answer:
                answer.raise_for_status()
                return sum(b'"token"' in line for line in answer.iter_lines(chunk_size=1))

    def end(self) -> None:
        """Returns when all have had some more answers."""
        so_far = self.whole
        wait_for("streams afterwards", lambda: self.whole > so_far + len(self.threads) or bool(self.failures))
        self._ended.set()
        for thread in self.threads:
            thread.join(READY_SECONDS)


def assert_planned(changing: Changing) -> None:
    planned = changing.environment.plan().rollout
    assert planned
    assert [[each.key for each in wave] for wave in planned.waves] == [[f"{zone}-1"] for zone in ZONES]
    for zone, each in zip(ZONES, planned.changes, strict=True):
        assert each.what == ("maxInputTokens 3072 to 1000", "maxTotalTokens 4096 to 3500")
        assert (each.unprotected, each.based_on) == (None, each.key)
        assert {taker.zone for taker in each.takers} <= {*ZONES} - {zone}
        assert all((taker.farther_km or 0) > 0 for taker in each.takers)


def test_nobody_notices_that_one_site_after_the_other_gets_another_model(changing: Changing) -> None:
    with changing.streams():
        changing.set_up(ZONES, maxInputTokens=1000, maxTotalTokens=3500)
        assert_planned(changing)
        status, said = changing.plain_up()
    assert status == 0, said
    assert "not protected" not in said, said
    # The engine prints a command's lines as they come, and once more at its end.
    lines = {line[line.index("{") :] for line in said.splitlines() if '"digest"' in line}
    outcomes: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert changing.longest() == [3500, 3500, 3500]
    assert [(each["changed"], each["protected"], each["cut"]) for each in outcomes] == [(True, True, 0)] * 3
    assert all(each["first_token_ms"]["before"] > 0 and each["first_token_ms"]["after"] > 0 for each in outcomes)


def test_the_first_failure_is_the_last_and_its_site_serves_again(changing: Changing) -> None:
    before = changing.containers()
    with changing.streams():
        changing.set_up(ZONES, maxInputTokens=1000, maxTotalTokens=3500, extraArguments=["--no-such-flag"])
        status, said = changing.plain_up()
        assert status != 0
        assert said.count("the server before it serves again") >= 1, said
        after = changing.containers()
        assert [zone for zone in ZONES if after[zone] != before[zone]] == [OREGON], "others were touched after the canary"
        changing.set_up(ZONES, maxInputTokens=1000, maxTotalTokens=3500)
        status, said = changing.plain_up()
        assert status == 0, said
        assert changing.containers() == after, "the way back touched what had not changed"


def test_what_cannot_be_fetched_stops_its_own_site_only(changing: Changing) -> None:
    """The canary's: its disk is full. `edge up` goes on with the others, and the next one with it."""
    before = changing.containers()
    changing.world.set_faults(full_disk_zones=[OREGON])
    with changing.streams():
        changing.set_up(ZONES, model=SMALL)
        with pytest.raises(DeploymentFailedError) as raised:
            changing.up()
        after = changing.containers()
        assert [zone for zone in ZONES if after[zone] != before[zone]] == [LOS_ANGELES, HONOLULU], str(raised.value)
        assert list(raised.value.sites) == [OREGON]
        changing.world.set_faults(full_disk_zones=[])
        changing.up()
        assert changing.containers()[OREGON] != before[OREGON]


def test_no_server_is_taken_away_while_another_site_is_dead(changing: Changing) -> None:
    """Honolulu's server ends while Oregon's is changed: Los Angeles keeps its own. `edge up` mends it, then changes the rest."""
    before = changing.containers()
    changing.set_up(ZONES, **LATER)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(changing.plain_up)
        wait_for("the canary's change", lambda: changing.container(OREGON) not in {"", before[OREGON]})
        changing.on_host(HONOLULU, "sudo docker stop --time 0 edge-inference-server")
        status, said = running.result()
    assert status != 0
    assert f"{LOS_ANGELES}-1 keeps its server for now: {HONOLULU}-1 does not answer" in said, said
    assert changing.container(LOS_ANGELES) == before[LOS_ANGELES]
    canary = changing.container(OREGON)
    changing.up()
    after = changing.containers()
    assert after[OREGON] == canary
    assert all(after[zone] != before[zone] for zone in ZONES)


def test_hosts_are_resized_and_replaced_one_after_another(changing: Changing) -> None:
    ec2 = changing.world.aws("ec2")
    before = changing.instances()
    with changing.streams():
        changing.set_up(ZONES, {OREGON: "g4dn.4xlarge"}, **LATER)
        said = len(changing.said)
        changing.environment.up(replace_hosts=[LOS_ANGELES])
        assert "at once" not in " ".join(changing.said[said:])
    after = changing.instances()
    assert [zone for zone in ZONES if after[zone] != before[zone]] == [LOS_ANGELES]
    assert {each["InstanceId"]: each["InstanceType"] for each in instances(ec2)}[after[OREGON]] == "g4dn.4xlarge"


def test_a_zone_that_is_removed_is_drained_first(changing: Changing) -> None:
    with changing.streams():
        changing.set_up(ZONES[:2], {OREGON: "g4dn.4xlarge"}, **LATER)
        assert f"Instance {HONOLULU}-1-host" in changing.up().touched
    assert changing.up().touched == {}
