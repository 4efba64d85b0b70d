# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from localcloud.plugins.aws import AwsPlugin
from tests.unit.plugins.driver import Driver

_STOCK_MOTO = """
import sys
from werkzeug.serving import make_server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """An emulated AWS without the local cloud's own rules; a process of its own, since those rules are patched into moto."""
    with subprocess.Popen(
        [sys.executable, "-c", _STOCK_MOTO], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.terminate()


@pytest.fixture(scope="session")
def session_aws(moto_endpoint: str) -> Driver:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "any")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        driver = Driver(AwsPlugin("127.0.0.1:1"))
        driver.configure({"region": "us-west-2", "maxRetries": 2})
    return driver


@pytest.fixture
def aws(session_aws: Driver) -> Driver:
    """The `aws` plugin on an emulated AWS; its clients are made once for all tests."""
    session_aws.engine.lines.clear()
    return session_aws
