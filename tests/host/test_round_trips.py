"""`edge zones --measure` against a path of known delay: the kernel's own handshakes, carried late."""

import shutil
import socket
from contextlib import ExitStack

import pytest

from automation.account.round_trips import measure
from geography.cities import CITIES
from tests.host.delayed_path import delayed_path

pytestmark = pytest.mark.host


@pytest.mark.parametrize("round_trip_ms", [20.0, 80.0])
def test_a_handshake_takes_what_the_path_does(round_trip_ms: float) -> None:
    if not shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        pytest.skip("no `ip` to make network namespaces with")
    with ExitStack() as stack:
        try:
            path = stack.enter_context(delayed_path(round_trip_ms, number=3))
        except OSError as error:
            pytest.skip(f"no network namespaces here: {error}")
        with path.at_server():
            server = stack.enter_context(socket.create_server((path.server_address, 0)))
        with path.at_client():
            found = measure({"us-west-2": (path.server_address, server.getsockname()[1])}, CITIES["Honolulu"], rounds=9)
        delivered_ms = path.delivered_ms()
    # This machine may carry packets later than asked: the path says how late.
    assert found.described()["round_trips"]["us-west-2"]["median_ms"] == pytest.approx(delivered_ms, rel=0.2, abs=10)
    assert delivered_ms >= round_trip_ms
