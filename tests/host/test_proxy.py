"""The proxy of a transaction on a real Docker engine, with a real Caddy in the container, before the server that it starts.

It is the one on PATH; docs/explanation/held-to.md says with which versions that was done.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from automation.account.keys import new_certificate
from components.host_steps import ServingSpec
from components.proxy import Proxy
from tests.engine.support import process_files
from tests.host.deployer import CONTAINER, Deployer, serving_spec
from tests.host.machine import Machine

if TYPE_CHECKING:
    from tests.host import stand_in
    from tests.host.registry import Registry
    from tests.host.stand_in import StandIn

    Host = Machine | StandIn

pytestmark = pytest.mark.host

KEY = "0123456789abcdef.planted-key"
NAME = "us-west-2-lax-1a.sites.llm.acme.dev"
CERTIFICATE, PRIVATE_KEY = new_certificate([NAME])
SECRETS = f"{b64encode(CERTIFICATE.encode()).decode()}\n{b64encode(PRIVATE_KEY.encode()).decode()}\n{KEY}\n"
BODY = """-H 'Content-Type: application/json' -d '{"inputs": "What is the edge?"}'"""
PROXY = Proxy("caddy:2.10.2-alpine", NAME, port=443, tls=True, key_names=("mobile",), health_path="/health")


@pytest.fixture(scope="module")
def spec(deployer: Deployer, registry: Registry | stand_in.Registry, machine: Host) -> ServingSpec:
    """What is served behind a proxy, whose image is this machine's own Caddy, or the local cloud's."""
    caddy = shutil.which("caddy")
    if isinstance(machine, Machine) and not caddy:
        pytest.skip("no caddy here: sudo tools/install_host_packages.sh installs it")
    spec = replace(serving_spec(registry.image, "acme/behind-a-proxy"), proxy=PROXY)
    deployer.converge(spec, steps=("scripts", "prepare", "image", "weights"))
    if isinstance(machine, Machine) and caddy:
        machine.console(f"docker import --change 'ENV PATH=/usr/bin' - {PROXY.image}", stdin=_root_file_system(Path(caddy)))
    return spec


def _root_file_system(caddy: Path) -> bytes:
    """A tar archive of a binary, as /usr/bin/caddy, and of what it is linked with."""
    linked = subprocess.run(["ldd", caddy], capture_output=True, text=True, check=False).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        archive.add(caddy, "usr/bin/caddy")
        for library in linked:
            if library.startswith("/"):
                archive.add(library)
    return buffer.getvalue()


def call(machine: Host, path: str, *options: str) -> str:
    """What the proxy answers to a request under its own name."""
    # A doorway of the local cloud opens a moment later than the proxy is ready.
    patient = "--retry 5 --retry-connrefused --retry-delay 1"
    trusted = f"--cacert {machine.home}/proxy/certificate.pem --connect-to ::{machine.reach(443)}"
    return machine.console(f"curl -s {patient} {trusted} https://{NAME}{path} {' '.join(options)}")


def both_keys(spec: ServingSpec) -> ServingSpec:
    """The same for two callers."""
    return replace(spec, proxy=replace(PROXY, key_names=("mobile", "web")))


def start(deployer: Deployer, spec: ServingSpec, secrets: str = SECRETS) -> str:
    """Output of the step that starts, reloads or removes the proxy, after the one that lays its files ready."""
    deployer.step(spec, "proxy", stdin=secrets)
    return deployer.step(spec, "ready")


def test_it_serves_on_https_to_those_who_know_the_key(deployer: Deployer, spec: ServingSpec, machine: Host) -> None:
    assert f"serve: the proxy answers at https://{NAME}:443" in start(deployer, spec)
    assert '"token"' in call(machine, "/generate_stream", BODY, f"-H 'Authorization: Bearer {KEY}'")
    assert "unauthorized" in call(machine, "/generate_stream", BODY)
    bindings = json.loads(deployer.inspect("{{json .HostConfig.PortBindings}}", CONTAINER))
    assert bindings == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}


def test_again_restarts_nothing(deployer: Deployer, spec: ServingSpec) -> None:
    before = deployer.inspect("{{.Id}} {{.State.StartedAt}}", "edge-inference-proxy")
    start(deployer, spec)
    assert deployer.inspect("{{.Id}} {{.State.StartedAt}}", "edge-inference-proxy") == before


def test_other_keys_and_another_certificate_are_a_reload(deployer: Deployer, spec: ServingSpec, machine: Host) -> None:
    before = deployer.inspect("{{.Id}} {{.State.StartedAt}}", "edge-inference-proxy")
    certificate, private_key = new_certificate([NAME])
    pair = [b64encode(pem.encode()).decode() for pem in (certificate, private_key)]
    assert "no connection was cut" in start(deployer, both_keys(spec), "\n".join([*pair, f"{KEY} {KEY[::-1]}", ""]))
    for key in (KEY, KEY[::-1]):
        assert '"token"' in call(machine, "/generate_stream", BODY, f"-H 'Authorization: Bearer {key}'")
    assert "no connection was cut" in start(deployer, spec)
    assert deployer.inspect("{{.Id}} {{.State.StartedAt}}", "edge-inference-proxy") == before


@pytest.mark.usefixtures("spec")
def test_secrets_are_in_root_only_files_alone(machine: Host) -> None:
    line = PRIVATE_KEY.splitlines()[1]
    shown = machine.console("docker inspect edge-inference-proxy; docker logs edge-inference-proxy").encode()
    shown += b"".join(content for name in ("cmdline", "environ") for _, content in process_files(name))
    for secret, file in ((KEY, "caddy.json"), (line, "private-key.pem")):
        assert secret.encode() not in shown
        assert machine.files_with(secret) == [f"{machine.home}/proxy/{file}"]
    modes = machine.console(f"stat -c '%U %a' {machine.home}/proxy {machine.home}/proxy/*").splitlines()
    assert modes == [f"{machine.owner} 700", *[f"{machine.owner} 600"] * 3]


@pytest.mark.real_only("commands on a host of the local cloud all run as the person who started it")
def test_the_login_user_cannot_read_them(deployer: Deployer, spec: ServingSpec) -> None:
    assert spec.proxy
    with pytest.raises(Exception, match="ermission denied"):
        deployer.output(f"cat {deployer.machine.home}/proxy/caddy.json")


@pytest.mark.usefixtures("spec")
def test_its_log_is_summed_up_by_the_names_of_the_keys(deployer: Deployer, spec: ServingSpec, machine: Host) -> None:
    """As `edge usage` asks, with what this release has brought to the host; the log holds nothing that was sent."""
    other = KEY[::-1]
    start(deployer, both_keys(spec), SECRETS.replace(KEY, f"{KEY} {other}"))
    before = usage(machine)
    for key, count in ((KEY, 2), (other, 1), (KEY[1:], 3)):
        for _ in range(count):
            call(machine, "/generate?planted-in-a-path", BODY, f"-H 'Authorization: Bearer {key}'")
    call(machine, "/health")
    after = usage(machine)
    more = {name: after[name]["requests"] - before.get(name, {"requests": 0})["requests"] for name in after}
    assert more == {"mobile": 2, "web": 1}
    assert all(each["bytes"] > 0 and each["seconds"] > 0 for each in after.values())
    shown = machine.console("docker logs edge-inference-proxy 2>&1")
    assert not [secret for secret in (KEY, other, "planted-in-a-path") if secret in shown]


@pytest.mark.real_only("the local cloud keeps the last lines of a log")
@pytest.mark.usefixtures("spec")
def test_its_log_is_bounded(deployer: Deployer) -> None:
    options = json.loads(deployer.inspect("{{json .HostConfig.LogConfig.Config}}", "edge-inference-proxy"))
    assert options == {"max-file": "3", "max-size": "10m"}


def usage(machine: Host) -> dict[str, Any]:
    """By key, what the host makes of its proxy's log."""
    said = machine.console(f"cd {machine.home}/releases && python3 -B ./$(ls -t | head -n 1)/usage.py 0")
    return json.loads(said)["keys"]


def test_it_comes_back_after_a_power_cut(deployer: Deployer, spec: ServingSpec, machine: Host) -> None:
    machine.cut_power()
    machine.boot()
    machine.wait_until_booted()
    before = deployer.inspect("{{.Id}} {{.State.StartedAt}}", "edge-inference-proxy")
    start(deployer, spec)
    assert deployer.inspect("{{.Id}} {{.State.StartedAt}}", "edge-inference-proxy") == before


def test_it_goes_with_its_secrets(deployer: Deployer, spec: ServingSpec, machine: Host) -> None:
    start(deployer, replace(spec, proxy=None))
    assert machine.console("docker ps --all --quiet --filter name=edge-inference-proxy") == ""
    assert machine.files_with(KEY) == []


@pytest.mark.real_only("the local cloud has no volumes")
def test_it_leaves_no_volume(deployer: Deployer, spec: ServingSpec) -> None:
    start(deployer, spec)
    start(deployer, replace(spec, proxy=None))
    assert deployer.machine.console("docker volume ls --quiet") == ""
