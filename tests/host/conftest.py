"""Fixtures of the host tier: a machine, someone who deploys to it, and a registry in its network.

Each test runs twice: on a real machine, and on a host of the local cloud, whose stand-ins are held to the same. Tests of what a
stand-in does not have are marked `real_only`, with the reason.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from automation.account.keys import new_deployer_key, new_host_key_secret
from components.host_identity import deployer_public_key, derive_host_key, user_data
from tests.host import stand_in
from tests.host.deployer import Deployer
from tests.host.machine import NEEDED, Machine, MachineError
from tests.host.registry import Registry
from tests.host.stand_in import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the stand-in where a test is for the real machine only."""
    out = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and item.get_closest_marker("real_only")
        and item.callspec.params.get("deployer") == "stand-in"
    ]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]


def _machine(user_data: str, public_key: str) -> Machine:
    """A real one; skips where none can be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes a machine out of namespaces")
    if missing := [name for name in NEEDED if not shutil.which(name, path=_PATH)]:
        pytest.skip(f"{', '.join(missing)} not installed: sudo tools/install_host_packages.sh installs what is needed")
    try:
        return Machine(user_data, public_key)
    except MachineError as error:
        pytest.skip(f"no machine can be made here: {error}")


@pytest.fixture(scope="session", params=["real", "stand-in"])
def deployer(request: pytest.FixtureRequest) -> Iterator[Deployer]:
    """Someone who deploys to a machine that has booted."""
    key = new_deployer_key()
    host_key = derive_host_key(new_host_key_secret(), "host-tier-1")
    make = _machine if request.param == "real" else StandIn
    machine = make(user_data(host_key), deployer_public_key(key))
    with pytest.MonkeyPatch.context() as patch:
        # The plugin asks no local cloud where to connect.
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        try:
            machine.boot()
            machine.wait_until_booted()
            yield Deployer(machine, key, host_key.public)
        finally:
            machine.scrap()


@pytest.fixture(scope="session")
def machine(deployer: Deployer) -> Machine | StandIn:
    """The machine itself."""
    return deployer.machine


@pytest.fixture(scope="session")
def registry(machine: Machine | StandIn) -> Iterator[Registry | stand_in.Registry]:
    """Where the machine pulls the model server's image."""
    if isinstance(machine, StandIn):
        yield stand_in.Registry()
        return
    machine.console("systemctl start docker")
    reason = machine.console("docker info >/dev/null || tail -n 3 /var/log/dockerd.log", check=False)
    machine.console("systemctl stop docker")
    if reason:
        pytest.skip(f"dockerd does not run here: {reason}")
    with machine.network():
        made = Registry()
    with made:
        yield made
