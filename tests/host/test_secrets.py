"""Marked secrets, each step made to fail in turn, and a search of all that was told and all that is left on the host.

Leaves out Pulumi's state and the front-end's output: tests/engine/test_secrets.py searches those.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from automation.account.keys import new_certificate
from components.host_steps import ServingSpec, install_scripts, serving_steps
from components.proxy import Proxy
from tests.engine.support import process_files
from tests.host.deployer import Deployer, serving_spec
from tests.unit.plugins.driver import AbortedError

if TYPE_CHECKING:
    from tests.host import stand_in
    from tests.host.registry import Registry

pytestmark = pytest.mark.host

TOKEN = "hf_no-licence_marked_token"  # noqa: S105 - opens nothing
API_KEY = "0123456789abcdef.marked-key"
NAME = "us-west-2-lax-1a.sites.llm.acme.dev"
CERTIFICATE, PRIVATE_KEY = new_certificate([NAME])
OTHER_CERTIFICATE, _ = new_certificate([NAME])
PROXY = Proxy("caddy:2.10.2-alpine", NAME, port=443, tls=True, key_names=("mobile",), health_path="/health")
BEFORE = ("scripts", "prepare", "image", "weights")


class Needles:
    """The secrets, and what has been told while they were used."""

    def __init__(self, deployer: Deployer) -> None:
        self.deployer = deployer
        self.told: list[str] = []
        encoded = b64encode(PRIVATE_KEY.encode()).decode()
        self.secrets = (TOKEN, API_KEY, PRIVATE_KEY.splitlines()[1], encoded, deployer.private_key.splitlines()[4])

    def fails(self, spec: ServingSpec, name: str, stdin: str | None = None) -> None:
        """Runs a step, with the secrets that it gets, that must fail."""
        step = install_scripts()[0] if name == "scripts" else next(step for step in serving_steps(spec) if step.name == name)
        self.deployer.machine.expects(spec)
        with pytest.raises(AbortedError) as raised:
            self.deployer.output(step.on_instance("i-0123456789abcdef0"), stdin)
        assert name in str(raised.value)
        self.told.append(str(raised.value))
        self.assert_found_nowhere(name)

    def assert_found_nowhere(self, after: str) -> None:
        """No word of the deployment, no container, no process, no file on the host holds a secret."""
        machine = self.deployer.machine
        containers = machine.console(
            "for each in $(docker ps --all --quiet); do docker inspect $each; docker logs $each; done", check=False
        )
        processes = b"".join(content for name in ("cmdline", "environ") for _, content in process_files(name))
        told = "\n".join([*self.told, *self.deployer.driver.engine.texts])
        for secret in self.secrets:
            assert secret not in told, after
            assert secret not in containers, after
            assert secret.encode() not in processes, after
            # What a proxy that failed leaves are its root-only files.
            files = [path for path in machine.files_with(secret) if not path.startswith(f"{machine.home}/proxy.next/")]
            assert files == [], after


def test_no_secret_is_found_whichever_step_fails(deployer: Deployer, registry: Registry | stand_in.Registry) -> None:
    machine, needles = deployer.machine, Needles(deployer)
    good = serving_spec(registry.image, "acme/marked", budget_seconds=10)

    needles.fails(good, "scripts", stdin="no archive")
    deployer.converge(good, TOKEN, BEFORE[:1])
    machine.switch("no-driver", on=True)
    needles.fails(serving_spec(registry.image, "acme/marked", budget_seconds=1), "prepare")
    machine.switch("no-driver", on=False)
    deployer.converge(good, TOKEN, BEFORE[1:2])
    needles.fails(serving_spec(registry.missing_image, "acme/marked"), "image")
    deployer.converge(good, TOKEN, BEFORE[2:3])
    needles.fails(serving_spec(registry.image, "gated/marked"), "weights", stdin=f"{TOKEN}\n")

    deployer.converge(good, TOKEN, BEFORE[3:4])
    machine.console(
        f"docker run -d --name other -p 9091:80 --entrypoint python3 {registry.image} -c 'import time; time.sleep(600)'"
    )
    needles.fails(serving_spec(registry.image, "acme/marked", port=9091), "ready")
    machine.console("docker rm -f other")
    dying = serving_spec(registry.image, "acme/dies", budget_seconds=60)
    deployer.converge(dying, TOKEN, BEFORE[3:4])
    needles.fails(dying, "ready")

    secrets = [b64encode(pem.encode()).decode() for pem in (OTHER_CERTIFICATE, PRIVATE_KEY)]
    missing = replace(good, proxy=replace(PROXY, image=registry.missing_image))
    needles.fails(missing, "proxy", stdin="\n".join([*secrets, API_KEY, ""]))
    wrong = replace(good, proxy=PROXY)
    needles.told.append(deployer.step(wrong, "proxy", stdin="\n".join([*secrets, API_KEY, ""])))
    needles.fails(wrong, "ready")
    needles.told.append(deployer.step(good, "proxy"))
    needles.assert_found_nowhere("the proxy's end")
