"""Fixtures of the host tier: one machine, someone who deploys to it, and a registry in its network."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from automation.keys import new_deployer_key, new_host_key_secret
from components.host_identity import deployer_public_key, derive_host_key, user_data
from tests.host.deployer import Deployer
from tests.host.machine import NEEDED, Machine, MachineError
from tests.host.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


@pytest.fixture(scope="session")
def deployer() -> Iterator[Deployer]:
    """Someone who deploys to a machine that has booted."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes a machine out of namespaces")
    if missing := [name for name in NEEDED if not shutil.which(name, path=_PATH)]:
        pytest.skip(f"{', '.join(missing)} not installed: sudo tools/install_host_packages.sh installs what is needed")
    key = new_deployer_key()
    host_key = derive_host_key(new_host_key_secret(), "host-tier-1")
    try:
        machine = Machine(user_data(host_key), deployer_public_key(key))
    except MachineError as error:
        pytest.skip(f"no machine can be made here: {error}")
    with pytest.MonkeyPatch.context() as patch:
        # The plugin asks no local cloud where to connect: the machine's sshd listens on port 22.
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        try:
            machine.boot()
            machine.wait_until_booted()
            yield Deployer(machine, key, host_key.public)
        finally:
            machine.scrap()


@pytest.fixture(scope="session")
def machine(deployer: Deployer) -> Machine:
    """The machine itself."""
    return deployer.machine


@pytest.fixture(scope="session")
def registry(machine: Machine) -> Iterator[Registry]:
    """Where the machine pulls the model server's image."""
    machine.console("systemctl start docker")
    reason = machine.console("docker info >/dev/null || tail -n 3 /var/log/dockerd.log", check=False)
    machine.console("systemctl stop docker")
    if reason:
        pytest.skip(f"dockerd does not run here: {reason}")
    with machine.network():
        made = Registry()
    with made:
        yield made
