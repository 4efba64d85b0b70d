"""`edge bench --via` over a real OpenSSH: the tool is carried over, measures, and leaves nothing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from automation.sites.vantage import measure_from
from ttft.samples import Target
from ttft.schedule import Plan
from ttft.selftest_server import Timing, selftest_server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(
        not (shutil.which("sshd", path="/usr/sbin") and os.geteuid() == 0), reason="needs root and an OpenSSH server in /usr/sbin"
    ),
]

_SERVER = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
PidFile {folder}/pid
StrictModes no
UsePAM no
PasswordAuthentication no
"""
_CLIENT = """Host far
  HostName 127.0.0.1
  Port {port}
  User root
  IdentityFile {folder}/client
  UserKnownHostsFile {folder}/known
  StrictHostKeyChecking yes
"""


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A host that `ssh` knows by this name: an OpenSSH server on loopback with keys of its own."""
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "server").write_text(_SERVER.format(port=port, folder=tmp_path))
    (tmp_path / "config").write_text(_CLIENT.format(port=port, folder=tmp_path))
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path / "config"} "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    Path("/run/sshd").mkdir(exist_ok=True)
    # -D: it stays in the foreground; it says on standard error when it listens.
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", tmp_path / "server"], stderr=subprocess.PIPE, text=True)
    assert server.stderr
    assert any("Server listening" in line for line in server.stderr), "sshd did not start"
    yield "far"
    server.terminate()
    server.communicate()


def test_a_plan_is_measured_over_ssh(far: str) -> None:
    before = set(Path("/tmp").iterdir())  # noqa: S108 - where the far host keeps what is temporary
    with selftest_server(Timing(first_token_ms=5.0, token_ms=1.0)) as server:
        target = Target(name="site", url=f"http://127.0.0.1:{server.port}", site="Oregon")
        plan = Plan(targets=(target,), rounds=3, connections=("warm", "cold"), output_tokens=4, gap_seconds=0.0)
        run = measure_from(far, plan, lambda _: None)
    assert len(run.samples) == 6
    assert not run.failures
    left = {path.name for path in set(Path("/tmp").iterdir()) - before if (path / "ttft.pyz").exists()}  # noqa: S108
    assert not left
