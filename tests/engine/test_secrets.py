"""Secrets are planted, a step fails in the middle of using one, then all goes well: nothing shows them anywhere.

The tests run in this order: each finds what the one before has left.
"""

from __future__ import annotations

import json
import secrets
import threading
from base64 import b64encode
from typing import TYPE_CHECKING, Self

import pytest
from support import OREGON, Deployment, Recording, World, process_files, tokens

from automation.account.keys import new_deployer_key, new_host_key_secret
from automation.errors import DeploymentFailedError
from components.host_identity import derive_host_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.engine

SAMPLE_SECONDS = 0.1


class Needles:
    """Marked secrets, and the search for any of them."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._spellings = {name: _spellings(value) for name, value in values.items()}

    def found_in(self, text: bytes, *, but: str = "") -> set[str]:
        """Names of the secrets that stand in a text."""
        return {name for name, spellings in self._spellings.items() if name != but and any(each in text for each in spellings)}


def _spellings(value: str) -> list[bytes]:
    """A text as it is, and as any base64 of a text around it shows it."""
    data = value.encode()
    encoded = [b64encode(b"\0" * offset + data)[4 if offset else 0 : -4] for offset in range(3)]
    return [data, *encoded]


class Watch:
    """Looks at the processes of this machine as long as it is entered."""

    def __init__(self, world: World, needles: Needles) -> None:
        self.found: set[str] = set()
        self.samples = 0
        self._world, self._needles = world, needles
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self.samples += 1
            for _, words in process_files("cmdline"):
                begin = b" ".join(words.split(b"\0")[:4]).decode()
                self.found |= {f"{name} in: {begin} ..." for name in self._needles.found_in(words)}
            cloud, of_hosts = self._world.status.pid, b"EDGE_HOST_ROOT="
            for pid, environ in process_files("environ"):
                if pid == cloud or of_hosts in environ:
                    self.found |= {f"{name} in an environment" for name in self._needles.found_in(environ)}


class Secretive(Deployment):
    """Deployed once with a step that fails, then as it should be."""

    def __init__(self, world: World, stack_files: Path) -> None:
        super().__init__("secretive", world, stack_files)
        token, deployer_key, host_key_secret = f"hf_{secrets.token_hex(20)}", new_deployer_key(), new_host_key_secret()
        host_key = derive_host_key(host_key_secret, f"{OREGON}-1").private
        self.needles = Needles(
            {
                "token": token,
                # The seed of an OpenSSH private key begins in its fourth line of base64.
                "deployer key": deployer_key.splitlines()[4],
                "host key secret": host_key_secret,
                "host key": host_key.splitlines()[4],
            }
        )
        with Watch(world, self.needles) as self.watch:
            # No such revision: the step fails that has the token.
            self.configure([OREGON], server={"revision": "v9"})
            self.environment.store_secrets(
                {
                    "edge-inference:huggingFaceToken": token,
                    "edge-inference:sshPrivateKey": deployer_key,
                    "edge-inference:hostKeySecret": host_key_secret,
                }
            )
            failed = Recording()
            with pytest.raises(DeploymentFailedError) as caught:
                self.environment.up(failed)
            self.failure = str(caught.value)
            self.configure([OREGON])
            self.success = self.up()
        self.told = failed.text + self.failure + self.success.text + json.dumps(dict(self.success.outputs))


@pytest.fixture(scope="module")
def secretive(world: World, stack_files: Path) -> Secretive:
    return Secretive(world, stack_files)


def test_the_step_failed_and_then_went_well(secretive: Secretive) -> None:
    assert f"{OREGON}-1-weights" in secretive.failure
    assert "Revision Not Found" in secretive.failure
    assert tokens(secretive.success.outputs["endpoint_urls"][OREGON])


def test_nothing_that_was_told_shows_a_secret(secretive: Secretive) -> None:
    assert "healthy, first token generated" in secretive.told
    assert secretive.needles.found_in(secretive.told.encode()) == set()


def test_the_state_shows_no_secret(secretive: Secretive) -> None:
    exported = json.dumps(secretive.exported())
    assert f"{OREGON}-1-weights" in exported
    assert secretive.needles.found_in(exported.encode()) == set()


def test_no_file_shows_a_secret(secretive: Secretive) -> None:
    """State, history, config, logs; and what is left on the host, where only its own key belongs."""
    directory = secretive.world.directory
    hosts = directory / "world" / "hosts"
    files = [path for top in ("world", "cloud.log", "cloud.json", "pulumi", "logs") for path in _files(directory / top)]
    assert secretive.world.log in files
    assert any("state" in path.parts for path in files)
    assert any(path.is_relative_to(hosts) for path in files)
    for path in files:
        but = "host key" if path.is_relative_to(hosts) else ""
        assert secretive.needles.found_in(path.read_bytes(), but=but) == set(), path


def test_no_process_showed_a_secret(secretive: Secretive) -> None:
    assert secretive.watch.samples > 10
    assert secretive.watch.found == set()


def test_the_needles_would_have_been_found(secretive: Secretive) -> None:
    shown = json.loads(secretive.pulumi("stack", "export", "--show-secrets"))
    found = secretive.needles.found_in(json.dumps(shown).encode())
    assert found == {"token", "deployer key", "host key"}  # the secret that host keys are derived from is no resource's input
    secretive.destroy()


def _files(top: Path) -> list[Path]:
    return [path for path in [top, *top.rglob("*")] if path.is_file()]
