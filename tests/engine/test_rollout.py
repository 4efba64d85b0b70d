"""What serves is changed while people of three cities stream: in order, and the first failure is the last.

Whoever resolves by TTL and never retries sees nothing of it. The tests run in this order on one deployment.
"""

# dnspython's answers have no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import http.client
import json
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dns.message
import dns.query
import pytest
import requests
from streams import PATH, Ask, Streams, question, streaming
from support import CLOCK, HONOLULU, LOS_ANGELES, OREGON, READY_SECONDS, Deployment, Recording, World, instances, wait_for

from automation.account.keys import new_deployer_key
from automation.errors import DeploymentFailedError, UsageError
from automation.sites.hosts import find_host, run, ssh
from geography.cities import CITIES, local_network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

pytestmark = pytest.mark.engine

ZONES = (OREGON, LOS_ANGELES, HONOLULU)
CITY_OF = {OREGON: "Seattle", LOS_ANGELES: "Los Angeles", HONOLULU: "Honolulu"}
PEOPLE_OF_A_CITY = 10
TOKENS, LONG_TOKENS = 20, 100
SLOW_TOKEN_MS = 50.0
"""Twice as long as usual: so many people's tokens are most of what the machine has to do."""
SMALL = "Qwen/Qwen2.5-0.5B-Instruct"
OTHER_ENGINE: dict[str, Any] = {"engine": "vllm", "maxInputTokens": 1000, "maxTotalTokens": 3500}
OTHER_IMAGE = "docker.io/vllm/vllm-openai:v0.11.1"
MEDIAN = "median time to first token over loopback, "
ATTACHED = "this very change is at work on the host already: following it"
LATER: dict[str, Any] = {"model": SMALL, "extraArguments": ["--max-batch-size", "7"]}
"""What is served in the later tests."""


class Changing(Deployment):
    """Three sites under a routed name."""

    def __init__(self, name: str, world: World, stack_files: Path) -> None:
        super().__init__(name, world, stack_files)
        self.domain = f"{name}.edge.internal"
        self.set_up(ZONES)

    def set_up(
        self,
        zones: tuple[str, ...],
        types: Mapping[str, str] | None = None,
        rollout: Mapping[str, object] | None = None,
        **server: Any,
    ) -> None:
        self.configure(
            [{"zone": zone, "instanceType": (types or {}).get(zone, "g4dn.2xlarge")} for zone in zones],
            access={"clientCidrs": ["127.0.0.0/8"], "sshCidrs": ["127.0.0.1/32"]},
            routing={"domain": self.domain, "hostedZone": "edge.internal", "healthIntervalSeconds": 10},
            rollout=rollout or {},
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

    def is_drained(self, zone: str) -> bool:
        """Whether its door is closed."""
        return "closed" in self.on_host(zone, 'ls "${EDGE_HOST_ROOT:-}/run/edge-inference"').split()

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

    def plain_up_slowed(self, output: Path) -> tuple[int, str]:
        """The same, in which the first server that changes takes its time for first tokens as soon as it is another."""
        running = self.begin(output, "up", "--yes", "--skip-preview", "--cwd", str(self.project))
        wait_for("the canary's measure", lambda: f"{MEDIAN}before" in output.read_text() or running.poll() is not None)
        timing = self.world.status.request("GET", "model")
        self.world.status.request("PUT", "model", {"first_token_ms": 1000.0})
        status = running.wait()
        self.world.status.request("PUT", "model", {"first_token_ms": timing["first_token_ms"]})
        return status, output.read_text()

    def lookup(self, city: str) -> str:
        source = str(local_network(CITIES[city])[9])
        answer = dns.query.udp(dns.message.make_query(self.domain, "A"), "127.0.0.1", READY_SECONDS, self.dns_port, source=source)
        (records,) = answer.answer
        (record,) = records
        return record.to_text()

    def longest(self) -> list[int]:
        """What each site's server accepts in all, in tokens."""
        urls = self.environment.outputs()["endpoint_urls"]
        return [requests.get(f"{urls[zone]}/v1/models", timeout=30).json()["data"][0]["max_model_len"] for zone in urls]

    def ask(self, address: str, city: str, tokens: int) -> http.client.HTTPResponse:
        """Someone of a city asks a site for so many tokens."""
        source = str(local_network(CITIES[city])[9])
        connection = http.client.HTTPConnection(address, 8080, timeout=60, source_address=(source, 0))
        connection.request("POST", PATH, json.dumps(question(tokens)), {"Content-Type": "application/json"})
        return connection.getresponse()

    def person(self, city: str) -> Ask:
        """Someone who asks by the name, on a connection of its own each time, and resolves it as often as its TTL says."""
        address, until = "", 0.0

        def ask() -> http.client.HTTPResponse:
            nonlocal address, until
            if time.monotonic() >= until:
                address, until = self.lookup(city), time.monotonic() + 60 / CLOCK
            return self.ask(address, city, TOKENS)

        return ask

    def streams(self) -> AbstractContextManager[Streams]:
        """Ten people of each city, none of whom may lose an answer."""
        return streaming([self.person(city) for city in CITY_OF.values() for _ in range(PEOPLE_OF_A_CITY)])

    def who_stays(self, zone: str, tokens: int = LONG_TOKENS) -> Ask:
        """Someone who asks one site for long answers, whatever DNS says."""
        return lambda: self.ask(str(self.hosts[zone].address), CITY_OF[zone], tokens)


@pytest.fixture(scope="module")
def changing(world: World, stack_files: Path) -> Iterator[Changing]:
    deployed = Changing("change", world, stack_files)
    deployed.up()
    deployed.look()
    usual = world.status.request("GET", "model")
    world.status.request("PUT", "model", {"token_ms": SLOW_TOKEN_MS})
    yield deployed
    world.status.request("PUT", "model", usual)
    deployed.destroy()


def assert_planned(changing: Changing) -> None:
    planned = changing.environment.plan().rollout
    assert planned
    assert [[each.key for each in wave] for wave in planned.waves] == [[f"{zone}-1"] for zone in ZONES]
    for zone, each in zip(ZONES, planned.changes, strict=True):
        assert each.what == ("engine tgi to vllm",)
        assert (each.unprotected, each.based_on) == (None, each.key)
        assert {taker.zone for taker in each.takers} <= {*ZONES} - {zone}
        assert all((taker.farther_km or 0) > 0 for taker in each.takers)


def test_nobody_notices_another_engine_nor_that_the_run_is_killed_in_the_middle(changing: Changing, tmp_path: Path) -> None:
    """Its image and limits with it. The canary goes on by itself while it waits for a long answer; the next run follows that."""
    killed, again = tmp_path / "killed", tmp_path / "again"
    up = ("up", "--yes", "--skip-preview", "--cwd", str(changing.project))
    with changing.streams():
        changing.set_up(ZONES, **OTHER_ENGINE)
        assert_planned(changing)
        with streaming([changing.who_stays(OREGON)] * 2):
            first = changing.begin(killed, *up)
            wait_for("the canary's drain", lambda: changing.is_drained(OREGON) or first.poll() is not None)
            first.kill()
            assert first.wait() == -signal.SIGKILL, killed.read_text()
            changing.pulumi("cancel", "--yes", "--cwd", str(changing.project))
            second = changing.begin(again, *up)
            wait_for("the second run at the canary", lambda: ATTACHED in again.read_text() or second.poll() is not None)
        status = second.wait()
    said = again.read_text()
    assert status == 0, said
    assert ATTACHED in said
    assert "not protected" not in said, said
    # The engine prints a command's lines as they come, and once more at its end.
    lines = {line[line.index("{") :] for line in said.splitlines() if '"digest"' in line}
    outcomes: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert changing.longest() == [3500, 3500, 3500]
    assert [(each["changed"], each["protected"], each["cut"]) for each in outcomes] == [(True, True, 0)] * 3
    assert all(each["first_token_ms"]["before"] > 0 and each["first_token_ms"]["after"] > 0 for each in outcomes)


def test_the_first_failure_is_the_last_and_its_site_serves_again(changing: Changing, tmp_path: Path) -> None:
    """A server that never starts; one that is healthy and yields no token; one that is too slow. Then the old config."""
    before = after = changing.containers()
    failing: dict[str, dict[str, Any]] = {
        "the server's container ended": {**OTHER_ENGINE, "extraArguments": ["--no-such-flag"]},
        "healthy, but no token was generated": {"extraArguments": ["--max-concurrent-requests", "0"]},
        "times as long as before, and rollout.maxSlowdown is 1.5; ": {**OTHER_ENGINE, "extraArguments": ["--max-num-seqs", "8"]},
    }
    with changing.streams():
        for number, (cause, server) in enumerate(failing.items()):
            is_slow = "maxSlowdown" in cause
            changing.set_up(ZONES, rollout={"maxSlowdown": 1.5} if is_slow else {}, **server)
            status, said = changing.plain_up_slowed(tmp_path / str(number)) if is_slow else changing.plain_up()
            assert status != 0, said
            assert cause in said, said
            assert "the server before it serves again" in said, said
            assert f"{MEDIAN}before: " in said
            assert bool(re.search(f"{MEDIAN}before: .*{MEDIAN}after: ", said, re.DOTALL)) == is_slow, said
            after = changing.containers()
            assert [zone for zone in ZONES if after[zone] != before[zone]] == [OREGON], "others were touched after the canary"
            assert after[OREGON].split()[0] == before[OREGON].split()[0], "it is the very server before"
        changing.set_up(ZONES, **OTHER_ENGINE)
        status, said = changing.plain_up()
        assert status == 0, said
        assert changing.containers() == after, "the way back touched what had not changed"


def test_another_image_is_noticed_only_by_who_outlasts_the_drain_and_a_full_disk_stops_its_own_site_only(
    changing: Changing,
) -> None:
    """Nothing else changes. The canary's disk is full: `edge up` goes on with the others. Those who do not leave Los Angeles are
    cut when its time is over, and that is told.
    """
    before, recording = changing.containers(), Recording()
    changing.world.set_faults(full_disk_zones=[OREGON])
    # Longer than the whole drain: none of them is between two answers when its time is over.
    staying = Streams([changing.who_stays(LOS_ANGELES, tokens=2000)] * 2)
    with changing.streams():
        changing.set_up(ZONES, rollout={"drainSeconds": 3}, **OTHER_ENGINE, image=OTHER_IMAGE)
        with pytest.raises(DeploymentFailedError) as raised:
            changing.environment.up(recording)
        staying.end()
        after = changing.containers()
        assert [zone for zone in ZONES if after[zone] != before[zone]] == [LOS_ANGELES, HONOLULU], str(raised.value)
        assert list(raised.value.sites) == [OREGON]
    changing.world.set_faults(full_disk_zones=[])
    assert staying.flaws
    told = re.findall(rf"{LOS_ANGELES}-1: [12] requests outlast rollout.drainSeconds \(3 s\) and are cut", recording.text)
    assert len(told) == 1, recording.text


def test_no_server_is_taken_away_while_another_site_is_dead(changing: Changing) -> None:
    """Honolulu's server ends while Oregon's is changed, whose disk has room again: Los Angeles keeps its own. `edge up` mends
    it, then changes the rest.
    """
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


def test_hosts_with_other_keys_are_reached_by_their_own_until_they_are_replaced_one_after_another(changing: Changing) -> None:
    """The first of two rotations is stored, and its run has yet to come; plain `pulumi up` leaves such hosts alone."""
    environment, before = changing.environment, changing.instances()
    rotation = environment.plan_rotation("host-keys")
    assert rotation.turns == tuple((f"{zone}-1",) for zone in ZONES)
    environment.store_rotation(rotation)
    status, said = changing.plain_up()
    assert status == 0, said
    assert "show SSH keys of the hostKeySecret before" in said, said
    assert changing.instances() == before
    with pytest.raises(UsageError, match="an earlier change of keys is not finished"):
        environment.plan_rotation("ssh-key")
    environment.store_secrets({"edge-inference:sshPrivateKey": new_deployer_key()})
    changing.look()
    assert all(changing.container(zone) for zone in ZONES), "known by the keys that the state has"
    with changing.streams():
        said_before = len(changing.said)
        changing.up()
        assert "not protected" not in " ".join(changing.said[said_before:])
    after = changing.instances()
    assert all(after[zone] != before[zone] for zone in ZONES)
    changing.look()
    assert all(changing.container(zone) for zone in ZONES)


def test_a_zone_that_is_removed_is_drained_first(changing: Changing) -> None:
    with changing.streams():
        changing.set_up(ZONES[:2], {OREGON: "g4dn.4xlarge"}, **LATER)
        assert f"Instance {HONOLULU}-1-host" in changing.up().touched


def test_beside_the_only_other_which_changes_a_zone_is_removed_last(changing: Changing) -> None:
    with changing.streams():
        changing.set_up(ZONES[:1], {OREGON: "g4dn.4xlarge"})
        touched = changing.up().touched
    assert {f"Command {OREGON}-1-ready", f"Instance {LOS_ANGELES}-1-host"} <= touched.keys()
    assert changing.preview().touched == {}
