"""The component InferenceServer, deployed by the real engine and `remote.Command` to a real host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from automation.account.keys import new_host_key_secret
from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT
from automation.provision.engine import EngineError, provide
from components.host_identity import derive_host_key
from components.host_steps import dial_attempts
from localcloud.plugins.install import install
from tests.host.deployer import REVISION, Deployer
from tests.host.image.huggingface_hub import TOKEN
from tests.host.machine import LOGIN, Machine

if TYPE_CHECKING:
    from tests.host.registry import Registry
    from tests.host.stand_in import StandIn

pytestmark = [pytest.mark.host, pytest.mark.engine, pytest.mark.real_only("tests/engine deploys to the local cloud's hosts")]

REFUSED = "hf_refused_but_secret"
STEPS = ["scripts", "prepare", "image", "weights", "proxy", "ready"]


class Stack:
    """A stack of its own, whose program reads what it deploys from a file."""

    def __init__(self, folder: Path, engine: Path, machine: Machine) -> None:
        self.machine, self.folder = machine, folder
        self.given = folder / "given.json"
        install(folder / "home", Path(sys.executable))
        options = {"virtualenv": sys.prefix}
        project = {
            "name": "host-tier",
            "main": str(Path(__file__).parent / "program"),
            "runtime": {"name": "python", "options": options},
        }
        (folder / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        (folder / "state").mkdir()
        (folder / "passphrase").write_text("host tier")
        self._environment = {
            **os.environ,
            "HOST_TIER_GIVEN": str(self.given),
            "PATH": f"{engine.parent}:{os.environ['PATH']}",
            "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(folder / "passphrase"),
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PYTHONPATH": str(PROJECT_ROOT),
        }
        self.pulumi("stack", "init", "test")

    def pulumi(self, *arguments: str, status: int = 0) -> str:
        """What `pulumi` says; it runs in the machine's network, where the host is 127.0.0.1."""
        ran = subprocess.run(
            ["nsenter", f"--net={self.machine.network_path}", "pulumi", *arguments, "--non-interactive", "--color=never"],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode != 0) == (status != 0), ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    def up(self, deployer: Deployer, server: dict[str, object], *, status: int = 0, **changes: object) -> str:
        known = {"login": LOGIN, "private_key": deployer.private_key, "host_key": deployer.host_key, "token": TOKEN}
        self.given.write_text(json.dumps({**known, "server": server, **changes}))
        return self.pulumi("up", "--yes", "--skip-preview", "--stack", "test", status=status)

    @property
    def state(self) -> str:
        """Everything that the backend keeps."""
        return "".join(path.read_text() for path in (self.folder / "state").rglob("*.json*"))


@pytest.fixture(scope="module")
def stack(machine: Machine | StandIn, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    assert isinstance(machine, Machine)
    try:
        engine = provide(LOCAL_DIRECTORY / "engine", print).path
    except EngineError as error:
        pytest.skip(f"no Pulumi engine: {error}")
    return Stack(tmp_path_factory.mktemp("stack"), engine, machine)


def test_the_engine_converges_a_real_host(stack: Stack, deployer: Deployer, registry: Registry) -> None:
    """Deploys, changes nothing, changes a flag, is refused by a host with another key, and shows no secret in any of it."""
    server: dict[str, object] = {"image": registry.image, "model": "gated/by-engine", "revision": REVISION}
    said = [stack.up(deployer, server)]
    for step in STEPS:
        assert f"command:remote:Command host-1-{step} created" in said[-1]
    assert "serve: healthy, first token generated" in said[-1]
    assert '"token"' in deployer.generate()
    first = deployer.run

    said.append(stack.up(deployer, server))
    assert "unchanged" in said[-1]
    assert "updated" not in said[-1]
    assert deployer.run == first

    said.append(stack.up(deployer, {**server, "max_input_tokens": 1000}))
    assert "    ~ 1 updated" in said[-1]
    assert deployer.run != first
    second = deployer.run

    impostor = derive_host_key(new_host_key_secret(), "host-tier-1").public
    said.append(stack.up(deployer, {**server, "max_input_tokens": 900}, status=1, host_key=impostor))
    attempts = dial_attempts(1)
    assert f"after {attempts} failed attempts: ssh: handshake failed: ssh: host key mismatch" in said[-1]
    assert deployer.run == second

    said.append(stack.up(deployer, {**server, "model": "gated/refused"}, status=1, token=REFUSED))
    assert "GatedRepoError: 401 Client Error" in said[-1]
    assert f"fetch-weights failed: the weights of gated/refused at {REVISION} were not fetched" in said[-1]
    assert deployer.run == second

    for secret in (TOKEN, REFUSED, deployer.private_key.splitlines()[4]):
        assert secret not in "".join(said)
        assert secret not in stack.state
