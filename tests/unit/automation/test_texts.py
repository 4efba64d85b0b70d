"""What `edge status`, `cost` and `logs` print: on a terminal of 80 columns, into a pipe, and as JSON. No engine, no host."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from terminals import COLOURS, CTRL_C, in_a_terminal

from automation import cli
from automation.account.keys import new_deployer_key, new_host_key_secret
from automation.account.prices import DATED
from automation.engine.results import DeployedSite, Inventory
from automation.errors import NothingDeployedError
from automation.sites.hosts import Host
from automation.sites.status import ReplicaStatus, SiteStatus, Status
from components.settings import StackConfig

OREGON, HONOLULU = "us-west-2a", "us-west-2-hnl-1a"
MODEL = "meta-llama/Llama-3.2-3B-Instruct"
SERVING = ReplicaStatus(
    "us-west-2a-1", "i-0123456789abcdef0", "running", "203.0.114.250", 93784.0, "healthy", MODEL,
    "0cb88a4f764b7a12671c53f0838cd831a0843b95", 3, 2, 41.26, 0.752,
)  # fmt: skip
DEAD = ReplicaStatus("us-west-2-hnl-1a-1", None, None, None, None, "unreachable", None, None, None, None, None, None)
STATUS = Status(
    "prod",
    False,
    (
        SiteStatus(OREGON, "g4dn.2xlarge", MODEL, 0.62, False, (SERVING,)),
        SiteStatus(HONOLULU, "g4dn.2xlarge", MODEL, None, True, (DEAD,)),
    ),
    service_url="http://llm.acme.dev:8080",
)


class Edge:
    """`edge` in this process, or in a child on a terminal, with an environment that is all made up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self._capsys = monkeypatch, capsys
        self.environment = SimpleNamespace(name="prod", arguments="prod", on_local_cloud=False, planned_replicas=dict)

        def opened(*_: object, **__: object) -> SimpleNamespace:
            return self.environment

        self._set("automation.environment.Environment", opened)

    def _set(self, name: str, value: object) -> None:
        self.monkeypatch.setattr(name, value)

    def status(self, found: Status) -> None:
        def asked(*, rates: bool) -> Status:
            del rates
            return found

        self.environment.status = asked

    def piped(self, *words: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        code = self._run(*words)
        captured = self._capsys.readouterr()
        assert "\x1b" not in captured.out + captured.err
        assert "Traceback" not in captured.out + captured.err
        return code, captured.out, captured.err

    def shown(self, *words: str, answers: tuple[tuple[str, str], ...] = ()) -> tuple[int, str]:
        """Exit code and what a terminal of 80 columns showed, colours included."""

        def child() -> None:
            sys.exit(self._run(*words))

        code, shown = in_a_terminal(child, answers=answers)
        lines = COLOURS.sub("", shown).splitlines()
        assert max(map(len, lines), default=0) <= 80, lines
        assert "Traceback" not in shown
        return code, shown

    def _run(self, *words: str) -> int:
        self._set("sys.argv", ["edge", *words])
        try:
            cli.main()
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 0
        return 0


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Edge:
    return Edge(monkeypatch, capsys)


# Status


def test_status_says_what_is_known_and_what_is_not(edge: Edge) -> None:
    edge.status(STATUS)
    code, out, err = edge.piped("status", "prod")
    assert (code, err) == (1, ""), "a site that does not serve"
    assert out.splitlines() == [
        "service  http://llm.acme.dev:8080",
        f"model    {MODEL} at 0cb88a4f764b",
        "replica             city      state        up   load    share    $/h",
        "us-west-2a-1        Oregon    healthy      1 d   2+3      62%  0.752",
        "us-west-2-hnl-1a-1  Honolulu  unreachable  -       -  drained      ?",
        "load: requests that run + those that wait; share: of the map's cities",
        f"$0.752 per hour by list prices of {DATED}",
        "  without 1 whose price is unknown",
        "us-west-2-hnl-1a-1 does not answer; of its instance nothing is known",
        "  -> edge up prod   # makes again what is gone, stopped or dead",
    ]


def test_status_where_all_serve_ends_well(edge: Edge) -> None:
    edge.status(replace(STATUS, sites=STATUS.sites[:1]))
    code, out, _ = edge.piped("status", "prod")
    assert code == 0
    assert out.splitlines()[-1] == f"$0.752 per hour by list prices of {DATED}"


def test_status_of_the_local_cloud_says_that_all_is_simulated(edge: Edge) -> None:
    edge.status(replace(STATUS, simulated=True))
    assert edge.piped("status", "local")[1].splitlines()[-1].startswith("Nothing is billed here: ")


def test_status_names_a_model_that_is_not_the_one_of_the_config(edge: Edge) -> None:
    long = "another-owner-with-a-long-name/another-model-with-quite-a-long-name-3B-Instruct"
    other = replace(STATUS.sites[0], replicas=(replace(SERVING, model=long),))
    edge.status(replace(STATUS, sites=(other,)))
    out = edge.piped("status", "prod")[1]
    assert f"us-west-2a-1 serves\n  {long},\n  NOT {MODEL}, as configured\n  -> edge up prod\n" in out


def test_status_tells_one_cause_of_many_replicas_once(edge: Edge) -> None:
    gone = [replace(DEAD, name=f"{HONOLULU}-{number}", instance_id="i-1", instance="terminated") for number in (1, 2)]
    edge.status(replace(STATUS, sites=(replace(STATUS.sites[1], replicas=tuple(gone)),)))
    out = edge.piped("status", "prod")[1]
    assert out.count("does not answer") == out.count("-> edge up prod") == 1
    assert "us-west-2-hnl-1a-1, us-west-2-hnl-1a-2 does not answer; its instance is\n  terminated\n" in out


def test_watching_looks_again_until_ctrl_c(edge: Edge) -> None:
    looks: list[float] = []

    def slept(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            raise KeyboardInterrupt

    edge.status(STATUS)
    edge.monkeypatch.setattr("automation.commands.overview.time.sleep", slept)
    code, out, err = edge.piped("status", "prod", "--watch")
    assert (code, err, len(looks)) == (130, "", 2)
    assert out.count("service  http://llm.acme.dev:8080\n") == 2
    looks.clear()
    _, out, _ = edge.piped("status", "prod", "--watch", "--json")
    assert [json.loads(line)["environment"] for line in out.splitlines()] == ["prod", "prod"]


def test_status_on_a_terminal_is_coloured_and_fits(edge: Edge) -> None:
    edge.status(STATUS)
    code, shown = edge.shown("status", "prod")
    assert code == 1
    assert "\x1b[32mhealthy\x1b[0m" in shown
    assert "\x1b[31munreachable\x1b[0m" in shown


def test_status_as_json_is_alone_on_standard_output(edge: Edge) -> None:
    edge.status(STATUS)
    code, out, err = edge.piped("status", "prod", "--json")
    assert (code, err) == (1, "")
    described = json.loads(out)
    assert [(site["zone"], site["serves"]) for site in described["sites"]] == [(OREGON, True), (HONOLULU, False)]
    assert described["sites"][0]["replicas"][0]["tokens_per_second"] == 41.26
    assert described["sites"][1]["replicas"][0]["dollars_per_hour"] is None


# Cost


def deployed(**sites: DeployedSite) -> Callable[[], Inventory]:
    return lambda: Inventory(9, {name.replace("_", "-"): site for name, site in sites.items()}, None, (), ())


COST = [
    "What 'prod' runs:",
    "zone              type          hosts  $/h each  $/hour  $/month",
    "us-west-2a        g4dn.2xlarge      1     0.752   0.752   548.96",
    "us-west-2-hnl-1a  g4dn.2xlarge      2     1.241   2.482  1811.86",
    "all                                 3             3.234  2360.82",
]
SITES = {"us_west_2a": DeployedSite("g4dn.2xlarge", 1), "us_west_2_hnl_1a": DeployedSite("g4dn.2xlarge", 2)}


def test_cost_is_a_table_with_its_date_and_source(edge: Edge) -> None:
    edge.environment.inventory = deployed(**SITES)
    code, out, err = edge.piped("cost", "prod")
    assert (code, err) == (0, "")
    assert out.splitlines()[:5] == COST
    source = " ".join(out.splitlines()[5:])
    assert f"A month is 730 h. On-demand Linux list prices of {DATED}" in source
    assert "tsaol/aws-gpu" in source
    assert "Not in it: volumes" in source


def test_cost_on_a_terminal_is_the_same_table(edge: Edge) -> None:
    edge.environment.inventory = deployed(**SITES)
    code, shown = edge.shown("cost", "prod")
    assert code == 0
    assert shown.splitlines()[:5] == COST


def test_cost_says_unknown_where_the_table_does(edge: Edge) -> None:
    edge.environment.inventory = deployed(us_west_2a=DeployedSite("p9.huge", 2), us_west_2b=DeployedSite("g4dn.2xlarge", 1))
    lines = edge.piped("cost", "prod")[1].splitlines()
    assert lines[2].split() == ["us-west-2a", "p9.huge", "2", "unknown", "unknown", "unknown"]
    assert lines[4].split() == ["known", "0.752", "548.96"]


def test_cost_before_a_deployment_is_of_the_stack_file(edge: Edge, tmp_path: Path) -> None:
    def nothing() -> Inventory:
        raise NothingDeployedError("'prod' is not deployed on AWS\n  -> edge up prod")

    edge.environment.inventory, edge.environment.stack_file = nothing, tmp_path / "Pulumi.prod.yaml"
    edge.environment.stack_file.write_text("config: {'edge-inference:sites': [{zone: us-west-2a}]}", encoding="utf-8")
    assert edge.piped("cost", "prod")[1].startswith("What Pulumi.prod.yaml asks for:\n")
    edge.environment.stack_file.write_text("config: {'edge-inference:sites': many}", encoding="utf-8")
    code, out, err = edge.piped("cost", "prod")
    assert (code, out) == (2, "")
    assert err == ("error: Pulumi.prod.yaml does not say which sites it wants, or not well\n  -> edge doctor prod\n")


def test_cost_as_json(edge: Edge) -> None:
    edge.environment.inventory = deployed(**SITES)
    described = json.loads(edge.piped("cost", "prod", "--json")[1])
    assert (described["basis"], described["dollars_per_hour"], described["dollars_per_month"]) == ("deployed", 3.234, 2360.82)
    assert described["as_of"] == "2026-01-21"


# Logs


@pytest.fixture
def host(edge: Edge, tmp_path: Path) -> Path:
    """One host, and an `ssh` that says what it was asked and then what TEXT in its folder has it do."""
    config = {"edge-inference:sshPrivateKey": new_deployer_key(), "edge-inference:hostKeySecret": new_host_key_secret()}
    sites: dict[str, dict[str, Any]] = {OREGON: {}, HONOLULU: {}}

    def port_of(address: str, port: int) -> int:
        assert address == "127.0.0.1"
        return port

    edge.environment.outputs_and_config = lambda: ({"sites": sites}, edge.environment.stack_config())
    edge.environment.port_of = port_of
    edge.environment.stack_config = lambda: StackConfig("prod", config, frozenset(config))
    found = [Host(OREGON, 1, "i-1", "running", address="127.0.0.1"), Host(HONOLULU, 1, "i-2", "stopped")]

    def hosts(*_: Any) -> list[Host]:
        return found

    edge.monkeypatch.setattr("automation.sites.logs.hosts", hosts)
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\nfor last; do :; done\necho "asked: $last"\n. {tmp_path}/does\n')
    program.chmod(0o755)
    edge.monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "does").write_text("echo a line of the server\n")
    return tmp_path


@pytest.mark.usefixtures("host")
def test_logs_are_the_servers_own_lines(edge: Edge) -> None:
    code, shown = edge.shown("logs", "prod", OREGON, "-n", "7")
    assert code == 0
    assert shown.splitlines() == ["asked: sudo docker logs --tail 7 edge-inference-server 2>&1", "a line of the server"]


def test_following_logs_ends_with_ctrl_c_and_nothing_more_is_said(edge: Edge, host: Path) -> None:
    (host / "does").write_text("echo a line of the server\nexec sleep 60\n")
    code, shown = edge.shown("logs", "prod", OREGON, "-f", answers=(("a line of the server", CTRL_C),))
    assert code == 130
    assert "docker logs --tail 100 --follow edge-inference-server" in " ".join(shown.split())
    assert "error" not in shown


def test_a_connection_that_fails_says_what_to_look_at(edge: Edge, host: Path) -> None:
    (host / "does").write_text("exit 255\n")
    code, _, err = edge.piped("logs", "prod", OREGON)
    assert code == 1
    assert err.startswith("error: no log of us-west-2a-1: no SSH connection, or it broke\n  -> edge doctor prod")


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("us-west-2b",), 2, f"error: 'prod' has no site in 'us-west-2b'\n  -> its zones are {OREGON}, {HONOLULU}\n"),
        ((HONOLULU,), 1, "error: no log of us-west-2-hnl-1a-1: the host is stopped\n  -> edge status prod\n"),
        ((OREGON, "--replica", "2"), 2, "error: the site in us-west-2a has 1 replica, so there is no 2\n  -> --replica 1\n"),
    ],
)
def test_a_host_that_cannot_be_asked_is_refused_in_two_lines(edge: Edge, words: tuple[str, ...], code: int, said: str) -> None:
    assert edge.piped("logs", "prod", *words) == (code, "", said)
