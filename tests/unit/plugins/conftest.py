# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from localcloud.plugins.aws import AwsPlugin
from tests.unit.plugins.driver import Driver


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """An emulated AWS without the local cloud's own rules."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def session_aws(moto_endpoint: str) -> Driver:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
        driver = Driver(AwsPlugin("127.0.0.1:1"))
        driver.configure({"region": "us-west-2", "maxRetries": 2})
    return driver


@pytest.fixture
def aws(session_aws: Driver) -> Driver:
    """The `aws` plugin on an emulated AWS; its clients are made once for all tests."""
    session_aws.engine.lines.clear()
    return session_aws
