"""The selftest server on loopback, plain and with certificates."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from automation.account.keys import new_certificate
from ttft.selftest_server import SelftestServer, Timing, selftest_server

QUICK = Timing(first_token_ms=5.0, token_ms=1.0)


@pytest.fixture
def server() -> Iterator[SelftestServer]:
    with selftest_server(QUICK) as made:
        yield made


@pytest.fixture
def serve_tls(tmp_path: Path) -> Iterator[Callable[[int], tuple[SelftestServer, Path]]]:
    """Starts a TLS server for localhost and site.example; its certificate began two days ago and lasts so many days."""
    started: list[SelftestServer] = []

    def start(days: int) -> tuple[SelftestServer, Path]:
        certificate, key = new_certificate(["localhost", "site.example"], datetime.now(UTC) - timedelta(days=2), days)
        path = tmp_path / "certificate.pem"
        path.write_text(key + certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        started.append(SelftestServer(QUICK, tls=context))
        return started[-1], path

    yield start
    for server in started:
        server.close()
