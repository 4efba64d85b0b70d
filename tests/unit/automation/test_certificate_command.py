"""`edge certificate`: what it takes, and what it says."""

import json
import shlex
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from automation import cli
from automation.account.acme_client import Authority
from automation.errors import UsageError
from automation.sites.certificate import LETS_ENCRYPT, STAGING, Renewal, renew
from components.certificates import Facts


class Edge:
    """Runs `edge certificate` on an environment that answers as it is told."""

    arguments, on_local_cloud, stack_file = "prod", False, Path("Pulumi.prod.yaml")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.is_new = self.has_tls = True
        self.asked: list[tuple[Authority, timedelta | None]] = []
        monkeypatch.setattr("automation.environment.Environment", lambda *_, **__: self)  # pyright: ignore

    def certificate(self, authority: Authority, if_expires_in: timedelta | None) -> Renewal:
        self.asked.append((authority, if_expires_in))
        facts = Facts(datetime.now(UTC) + timedelta(days=60, hours=6), "Let's Encrypt E7", 7)
        return Renewal("prod", self.is_new, ("a.dev", "*.sites.a.dev"), facts, Path("Pulumi.prod.yaml"), self.has_tls)

    def run(self, line: str = "") -> tuple[object, str, str]:
        """Exit code, standard output and standard error."""
        self._monkeypatch.setattr(sys, "argv", ["edge", "certificate", "prod", *shlex.split(line)])
        code: object = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Edge:
    return Edge(monkeypatch, capsys)


def test_it_says_what_there_is_where_it_is_and_what_comes_next(edge: Edge) -> None:
    code, out, err = edge.run()
    assert code == 0
    assert out.splitlines()[0].startswith("prod: a new certificate: 60 days left, until 20")
    assert out.splitlines()[1:] == ["  for a.dev and *.sites.a.dev", "  signed by Let's Encrypt E7"]
    assert "Stored in Pulumi.prod.yaml, encrypted. Commit that file.\n  -> edge up prod   # brings it" in err
    assert max(map(len, [*out.splitlines(), *err.splitlines()])) <= 80
    edge.has_tls = False
    assert "endpoint.tls is false: set it to true in Pulumi.prod.yaml first." in edge.run()[2]


def test_where_nothing_is_to_do_it_says_so_and_ends_well(edge: Edge) -> None:
    edge.is_new = False
    code, out, err = edge.run("--if-expires-in 30d")
    assert (code, "nothing to do, the stored certificate is good" in out, err) == (0, True, "")
    assert edge.asked[-1][1] == timedelta(days=30)
    edge.run("--if-expires-in 12h")
    assert edge.asked[-1][1] == timedelta(hours=12)


def test_json_is_alone_on_standard_output(edge: Edge) -> None:
    _, out, err = edge.run("--json")
    found: dict[str, Any] = json.loads(out)
    assert (found["new"], found["days_left"], found["names"], err) == (True, 60, ["a.dev", "*.sites.a.dev"], "")


@pytest.mark.parametrize(
    ("line", "server"),
    [
        ("", LETS_ENCRYPT),
        ("--staging", STAGING),
        ("--server https://ca.acme.dev/dir --email edge@acme.dev", "https://ca.acme.dev/dir"),
    ],
)
def test_whom_it_asks(edge: Edge, line: str, server: str) -> None:
    edge.run(line)
    ((authority, if_expires_in),) = edge.asked
    assert (authority.server, authority.email, if_expires_in) == (server, "edge@acme.dev" if "email" in line else None, None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--if-expires-in 3w", "--if-expires-in 3w is no time\n  -> days or hours, such as 30d or 12h"),
        ("--staging --server https://ca.acme.dev/dir", "--staging is Let's Encrypt's own"),
        ("--ca-bundle nowhere.pem", "nowhere.pem is no file"),
    ],
)
def test_what_makes_no_sense_is_refused(edge: Edge, line: str, words: str) -> None:
    code, out, err = edge.run(line)
    assert (code, out, words in err, edge.asked) == (2, "", True, [])


def test_nobody_on_the_internet_is_asked_for_the_local_clouds_names() -> None:
    local: Any = SimpleNamespace(on_local_cloud=True, commands=SimpleNamespace(edge=lambda verb: f"edge {verb} local"))  # pyright: ignore
    with pytest.raises(UsageError, match=r"edge certificate local --server URL"):
        renew(local, Authority(STAGING), None)
