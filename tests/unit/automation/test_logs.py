"""The logs of hosts: which lines are asked for, of whom, and that one host that is dead keeps nothing from the others."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from automation.engine.deployed import Deployed
from automation.errors import UsageError
from automation.sites import logs
from automation.sites.hosts import Host
from automation.sites.logs import Wanted
from components.settings import StackConfig

CONFIG = StackConfig("prod", {}, frozenset())
OREGON, LAX, HONOLULU = (
    Host("us-west-2a", 1, "i-1", "running", address="127.0.0.1"),
    Host("us-west-2-lax-1a", 1, "i-2", "stopped", address="127.0.0.2"),
    Host("us-west-2-hnl-1a", 1, "i-3", "running", address="127.0.0.3"),
)
PROD = cast("Deployed", SimpleNamespace(name="prod", arguments="prod"))


def nothing(_key: str, _line: str) -> None:
    pass


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a shell does in place of each host, by its key; it gets the command as its argument."""
    scripts: dict[str, str] = {}

    @contextmanager
    def connected(_: object, host: Host, *_config: object) -> Generator[list[str]]:
        yield ["bash", "-c", scripts[host.key]]

    monkeypatch.setattr(logs, "ssh", connected)
    return scripts


@pytest.mark.parametrize(
    ("wanted", "command"),
    [
        (Wanted(), "sudo docker logs edge-inference-server 2>&1"),
        (Wanted(proxy=True, lines=5), "sudo docker logs --tail 5 edge-inference-proxy 2>&1"),
        (Wanted(since="1d12h", follow=True), "sudo docker logs --since 24h12h --follow edge-inference-server 2>&1"),
        (Wanted(since="2026-11-30T12:00:00Z"), "sudo docker logs --since 2026-11-30T12:00:00Z edge-inference-server 2>&1"),
    ],
)
def test_what_a_host_is_asked(wanted: Wanted, command: str) -> None:
    assert wanted.command == command


@pytest.mark.parametrize("since", ["yesterday", "10", "1x", "10m; reboot", "", "-1h"])
def test_no_time(since: str) -> None:
    with pytest.raises(UsageError, match="is no time\n  -> --since 10m"):
        _ = logs.read(PROD, [OREGON], CONFIG, Wanted(since=since or "''"), nothing)


def test_hosts_one_after_the_other_and_why_not(remote: dict[str, str]) -> None:
    remote |= {OREGON.key: "echo one; echo two", HONOLULU.key: "echo 'Error response from daemon: No such container'; exit 1"}
    lines: list[tuple[str, str]] = []
    failed = logs.read(PROD, [OREGON, LAX, HONOLULU], CONFIG, Wanted(), lambda key, line: lines.append((key, line)))
    assert lines[:2] == [("us-west-2a-1", "one"), ("us-west-2a-1", "two")]
    assert failed == {
        "us-west-2-lax-1a-1": "the host is stopped\n  -> edge status prod",
        "us-west-2-hnl-1a-1": "Error response from daemon: No such container\n  -> edge doctor prod",
    }


def test_a_host_that_cannot_be_reached(remote: dict[str, str]) -> None:
    remote[OREGON.key] = "echo 'Connection refused' >&2; exit 255"
    (reason,) = logs.read(PROD, [OREGON], CONFIG, Wanted(), nothing).values()
    assert reason.startswith("no SSH connection, or it broke (Connection refused)\n  -> edge doctor prod")


def test_lines_come_as_they_are_written_and_an_interruption_ends_it(remote: dict[str, str]) -> None:
    """Each host goes on for ever; the second one's line comes though the first has not ended."""
    remote |= {OREGON.key: "echo a; exec sleep 600", HONOLULU.key: "echo b; exec sleep 600"}
    both = threading.Barrier(2, timeout=30)

    def take(key: str, _line: str) -> None:
        both.wait()
        if key == HONOLULU.key:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        logs.read(PROD, [HONOLULU, OREGON], CONFIG, Wanted(follow=True), take)


def test_hosts_without_a_proxy_are_not_asked_for_its_log() -> None:
    with pytest.raises(UsageError, match="has no proxy"):
        logs.require_proxy(PROD, CONFIG)
    logs.require_proxy(PROD, StackConfig("prod", {"edge-inference:apiKey": "key"}, frozenset()))


def test_which_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_hosts(*_: object) -> list[Host]:
        return [OREGON, LAX]

    def outputs_and_config() -> tuple[dict[str, Any], StackConfig]:
        return {}, CONFIG

    monkeypatch.setattr(logs, "hosts", all_hosts)
    prod = cast("Deployed", SimpleNamespace(name="prod", arguments="prod", outputs_and_config=outputs_and_config))
    assert logs.chosen(prod, None, None)[0] == [OREGON, LAX]
    assert logs.chosen(prod, "us-west-2-lax-1a", 1)[0] == [LAX]
    with pytest.raises(UsageError, match="--replica needs a zone"):
        logs.chosen(prod, None, 2)
    with pytest.raises(UsageError, match="so there is no 2"):
        logs.chosen(prod, "us-west-2a", 2)
    with pytest.raises(UsageError, match="no site in 'us-west-2b'"):
        logs.chosen(prod, "us-west-2b", None)
