"""Measuring from elsewhere: ttft is carried over, runs on a bare Python, and leaves nothing there.

`ssh` is a stand-in that runs what it is given in a shell of this machine with an empty environment; the host tier has a real one.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from automation.errors import EdgeError
from automation.sites import vantage
from automation.sites.bench import Clients, Vantage, bench
from ttft.samples import Target
from ttft.schedule import Plan
from ttft.selftest_server import SelftestServer, Timing, selftest_server

KEY = "a-key-that-must-not-be-seen"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the far host has its temporary files, and a note of what `ssh` was called with."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "tmp").mkdir()
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text(
        f"""#!/bin/bash
printf '%s\\n' "$@" >{tmp_path}/called
exec env -i PATH=/usr/local/bin:/usr/bin:/bin TMPDIR={tmp_path / "tmp"} sh -c "${{@: -1}}"
"""
    )
    ssh.chmod(ssh.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def a_plan(server: SelftestServer) -> Plan:
    target = Target(name="site", url=f"http://127.0.0.1:{server.port}", site="Oregon")
    return Plan(targets=(target,), rounds=2, connections=("warm",), output_tokens=4, gap_seconds=0.0, api_key=KEY)


def test_a_run_from_elsewhere_comes_back_whole_and_leaves_nothing(elsewhere: Path) -> None:
    said: list[str] = []
    with selftest_server(Timing(first_token_ms=5.0, token_ms=1.0)) as server:
        run = bench(a_plan(server), Clients(via=(Vantage("ubuntu@host", "Honolulu"),)), say=said.append)
    assert [sample.target for sample in run.samples] == ["site from Honolulu"] * 2
    assert run.targets[0].city == "Honolulu"
    assert not run.failures
    assert list((elsewhere / "tmp").iterdir()) == []
    assert KEY not in (elsewhere / "called").read_text()
    assert "Measuring from ubuntu@host (Honolulu)" in said[0]


def test_two_hosts_measure_one_after_another_and_are_told_apart(elsewhere: Path) -> None:
    del elsewhere
    hosts = (Vantage("ubuntu@one", "Honolulu"), Vantage("ubuntu@two", "Denver"))
    with selftest_server(Timing(first_token_ms=5.0, token_ms=1.0)) as server:
        run = bench(a_plan(server), Clients(via=hosts), say=lambda _: None)
    assert {sample.target for sample in run.samples} == {"site from Honolulu", "site from Denver"}


def test_a_host_that_cannot_be_reached(elsewhere: Path) -> None:
    (elsewhere / "bin" / "ssh").write_text("#!/bin/sh\necho 'ssh: connect to host: Connection refused' >&2\nexit 255\n")
    with selftest_server() as server, pytest.raises(EdgeError, match=r"from ubuntu@host: ssh: .*refused\n  -> try it by hand"):
        vantage.measure_from("ubuntu@host", a_plan(server), lambda _: None)
