"""start-proxy.sh on a real Docker engine, with a real Caddy in the container: behind it the server that converge started."""

from __future__ import annotations

import shutil
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from automation.keys import new_certificate
from components.host_steps import ServingSpec, serving_steps
from components.proxy import Proxy
from tests.host.deployer import CONTAINER, HOME, Deployer, serving_spec

if TYPE_CHECKING:
    from tests.host.machine import Machine
    from tests.host.registry import Registry

pytestmark = pytest.mark.host

KEY = "0123456789abcdef.planted-key"
NAME = "us-west-2-lax-1a.sites.llm.acme.dev"
CERTIFICATE, PRIVATE_KEY = new_certificate([NAME])
SECRETS = f"{b64encode(CERTIFICATE.encode()).decode()}\n{b64encode(PRIVATE_KEY.encode()).decode()}\n{KEY}\n"
PROXY = Proxy("caddy:2.10.2-alpine", NAME, port=443, tls=True, asks_for_key=True, health_path="/health")
CALL = f"curl -s --cacert {HOME}/proxy/certificate.pem --connect-to ::127.0.0.1:443 https://{NAME}"


@pytest.fixture(scope="module")
def spec(deployer: Deployer, registry: Registry, machine: Machine) -> ServingSpec:
    """What is served behind a proxy, whose image is this machine's own Caddy."""
    if not shutil.which("caddy"):
        pytest.skip("no caddy here: sudo tools/install_host_packages.sh installs it")
    spec = replace(serving_spec(registry.image, "acme/behind-a-proxy"), proxy=PROXY)
    deployer.converge(spec, steps=("scripts", "prepare", "image", "weights", "server", "ready"))
    libraries = "$(ldd /usr/bin/caddy | grep -o '/[^ ]*')"
    pack = f"tar --create --dereference /usr/bin/caddy {libraries} 2>/dev/null"
    machine.console(f"{pack} | docker import --change 'ENV PATH=/usr/bin' - {PROXY.image}")
    return spec


def start(deployer: Deployer, spec: ServingSpec) -> str:
    """Output of the step that starts, or removes, the proxy."""
    step = next(step for step in serving_steps(spec) if step.name == "proxy")
    return deployer.output(step.on_instance("i-0123456789abcdef0"), SECRETS if spec.proxy else None)


def test_it_serves_on_https_to_those_who_know_the_key(deployer: Deployer, spec: ServingSpec, machine: Machine) -> None:
    assert start(deployer, spec).splitlines()[-1] == f"start-proxy: answers at https://{NAME}:443"
    body = """-H 'Content-Type: application/json' -d '{"inputs": "What is the edge?"}'"""
    assert '" Edge"' in machine.console(f"{CALL}/generate_stream {body} -H 'Authorization: Bearer {KEY}'")
    assert "unauthorized" in machine.console(f"{CALL}/generate_stream {body}")
    assert machine.console(f"docker port {CONTAINER} 80/tcp").strip() == "127.0.0.1:8080"


def test_again_restarts_nothing(deployer: Deployer, spec: ServingSpec) -> None:
    before = deployer.inspect("{{.Id}} {{.State.StartedAt}}", "edge-inference-proxy")
    assert "already running as wanted" in start(deployer, spec)
    assert deployer.inspect("{{.Id}} {{.State.StartedAt}}", "edge-inference-proxy") == before


def test_secrets_are_in_root_only_files_alone(deployer: Deployer, spec: ServingSpec, machine: Machine) -> None:
    assert spec.proxy
    line = PRIVATE_KEY.splitlines()[1]
    shown = machine.console("docker inspect edge-inference-proxy; docker logs edge-inference-proxy; ps -ef; cat /proc/*/environ")
    for secret, file in ((KEY, "caddy.json"), (line, "private-key.pem")):
        assert secret not in shown
        assert machine.files_with(secret) == [f"{HOME}/proxy/{file}"]
    assert machine.console(f"stat -c '%U %a' {HOME}/proxy {HOME}/proxy/*").splitlines() == ["root 700", *["root 600"] * 3]
    with pytest.raises(Exception, match="ermission denied"):
        deployer.output(f"cat {HOME}/proxy/caddy.json")


def test_it_comes_back_after_a_power_cut(deployer: Deployer, spec: ServingSpec, machine: Machine) -> None:
    machine.cut_power()
    machine.boot()
    machine.wait_until_booted()
    assert start(deployer, spec).splitlines()[-1] == f"start-proxy: answers at https://{NAME}:443"
    assert "already running as wanted" in start(deployer, spec)


def test_it_goes_with_its_secrets_and_leaves_no_volume(deployer: Deployer, spec: ServingSpec, machine: Machine) -> None:
    start(deployer, replace(spec, proxy=None))
    assert machine.console("docker ps --all --quiet --filter name=edge-inference-proxy") == ""
    assert machine.console("docker volume ls --quiet") == ""
    assert machine.files_with(KEY) == []
