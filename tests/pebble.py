"""Pebble, Let's Encrypt's own small ACME server for tests: built from its Go module once, run on loopback.

It validates by DNS through a server of the test's choice. Left out: everything else that it can do.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import requests
from go_program import built

from automation.account.keys import new_certificate

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

PACKAGE = "github.com/letsencrypt/pebble/v2/cmd/pebble"
_START_SECONDS = 60.0


class Pebble:
    """A running one."""

    def __init__(self, folder: Path, port: int, management_port: int) -> None:
        self.directory = f"https://localhost:{port}/dir"
        self.ca_bundle = folder / "own.pem"
        """By which the server itself is known; nothing that it issues."""
        self._management = f"https://localhost:{management_port}"

    @property
    def root(self) -> str:
        """The root of what it issues, in PEM."""
        return requests.get(f"{self._management}/roots/0", verify=str(self.ca_bundle), timeout=10).text

    @property
    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            return requests.get(self.directory, verify=str(self.ca_bundle), timeout=10).ok and bool(self.root)
        except requests.ConnectionError:
            return False

    def trusted(self) -> ssl.SSLContext:
        """Trusts what it issues, and nothing else."""
        return ssl.create_default_context(cadata=self.root)


@contextmanager
def running(folder: Path, dns_port: int, *, rejected_nonces_percent: int = 0) -> Generator[Pebble]:
    """Pebble, validating at once, by the DNS server on a port of loopback."""
    program = built("pebble", PACKAGE)
    port, management_port = _free_port(), _free_port()
    pebble = Pebble(folder, port, management_port)
    certificate, key = new_certificate(["localhost"])
    pebble.ca_bundle.write_text(certificate)
    (folder / "own-key.pem").write_text(key)
    config = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management_port}",
        "certificate": str(pebble.ca_bundle),
        "privateKey": str(folder / "own-key.pem"),
        "retryAfter": {"authz": 1, "order": 1},
        "keyAlgorithm": "ecdsa",
        "profiles": {"default": {"description": "90 days", "validityPeriod": 90 * 86400}},
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    variables = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": str(rejected_nonces_percent), "PEBBLE_AUTHZREUSE": "0"}
    with (folder / "pebble.log").open("w") as log:
        words = [program, "-config", folder / "pebble.json", "-dnsserver", f"127.0.0.1:{dns_port}"]
        process = subprocess.Popen(words, env={**os.environ, **variables}, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not pebble.is_up:
                assert process.poll() is None, (folder / "pebble.log").read_text()
                assert time.monotonic() < deadline, "Pebble does not start"
                time.sleep(0.05)
            yield pebble
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
