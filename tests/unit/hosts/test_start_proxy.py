"""start-proxy.sh on a host of the local cloud, over SSH: what it starts, leaves alone, gives away and takes along."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from host_rig import Instance, Rig, rig

from automation.account.keys import new_certificate
from components.engines import Server, server_process
from components.host_steps import ServingSpec, install_scripts, serving_steps
from components.proxy import Proxy
from tests.unit.hosts.test_caddy import KEY, NAME, b64

PROXY = Proxy("caddy:2.10.2-alpine", NAME, port=8443, tls=True, asks_for_key=True, health_path="/health")
CERTIFICATE, PRIVATE_KEY = new_certificate([NAME])
SERVER_PORT = PROXY.server_port
INSPECT = "docker inspect edge-inference-proxy"


def step(proxy: Proxy | None) -> str:
    spec = ServingSpec(Server(), proxy=proxy)
    assert server_process(spec.server).health_path == "/health"
    return next(step.text for step in serving_steps(spec) if step.name == "proxy")


def secrets(key: str = KEY, certificate: str = CERTIFICATE, private_key: str = PRIVATE_KEY) -> str:
    return f"{b64(certificate)}\n{b64(private_key)}\n{key}\n"


def on_a_serving_host(tmp_path: Path, scenario: Callable[[Rig, Instance], Awaitable[None]]) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            instance = await r.boot()
            await r.serve(instance, port=SERVER_PORT)
            scripts, archive = install_scripts()
            await r.good(instance, scripts.text, archive)
            await scenario(r, instance)

    asyncio.run(run())


async def identity(r: Rig, instance: Instance) -> str:
    return await r.good(instance, f"{INSPECT} --format '{{{{.Id}}}} {{{{.State.StartedAt}}}}'")


def test_it_starts_once_and_again_only_for_what_changed(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        said = await r.good(instance, step(PROXY), secrets())
        assert said.splitlines()[-1] == f"start-proxy: answers at https://{NAME}:8443"
        await r.opened(instance, 8443)
        first = await identity(r, instance)
        assert "already running as wanted" in await r.good(instance, step(PROXY), secrets())
        assert await identity(r, instance) == first
        seen = {first}
        for text, given in (
            (step(PROXY), secrets(KEY[::-1])),
            (step(PROXY), secrets(KEY[::-1], *new_certificate([NAME]))),
            (step(replace(PROXY, image="caddy:2.8.4-alpine")), secrets()),
            (step(replace(PROXY, image="caddy:2.8.4-alpine", port=9443)), secrets()),
        ):
            await r.good(instance, text, given)
            seen.add(await identity(r, instance))
        assert len(seen) == 5
        await r.closed(instance, 8443)
        await r.opened(instance, 9443)

    on_a_serving_host(tmp_path, scenario)


def test_a_proxy_that_died_is_started(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        await r.good(instance, step(PROXY), secrets())
        await r.good(instance, "docker stop edge-inference-proxy")
        await r.good(instance, step(PROXY), secrets())
        await r.opened(instance, 8443)

    on_a_serving_host(tmp_path, scenario)


def test_it_comes_back_with_docker(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        await r.good(instance, step(PROXY), secrets())
        await r.good(instance, "systemctl stop docker")
        await r.closed(instance, 8443)
        await r.good(instance, "systemctl start docker")
        await r.opened(instance, 8443)

    on_a_serving_host(tmp_path, scenario)


def test_secrets_are_in_root_only_files_and_go_with_the_proxy(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        out = await r.good(instance, step(PROXY), secrets())
        shown = out + await r.good(instance, f"{INSPECT}; docker logs edge-inference-proxy")
        root = r.hosts.hosts[instance.instance_id].root
        for secret in (KEY, b64(PRIVATE_KEY), PRIVATE_KEY.splitlines()[1]):
            assert secret not in shown
            holders = [path for path in root.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")]
            for path in holders:
                assert (path.parent.name, path.stat().st_mode & 0o777) == ("proxy", 0o600)
                assert path.parent.stat().st_mode & 0o777 == 0o700
        await r.good(instance, step(None))
        assert (await r.run(instance, INSPECT))[0] == 1
        assert not (root / "opt/edge-inference/proxy").exists()
        await r.good(instance, step(None))

    on_a_serving_host(tmp_path, scenario)


def test_failures_say_what_to_look_at_and_no_secret(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        status, out, err = await r.run(instance, step(replace(PROXY, image="acme/none:1")), secrets())
        assert status == 1
        assert "start-proxy failed: acme/none:1 was not pulled\n  -> check the name in edge-inference:endpoint.proxyImage" in err
        again = await r.run(instance, step(PROXY), secrets(private_key=new_certificate([NAME])[1]))
        assert again[0] == 1
        assert "find or match certificate and key" in again[2], "the proxy's own last words"
        assert f"start-proxy failed: https://{NAME}:8443/health does not answer" in again[2]
        assert "-> sudo docker logs --tail 200 edge-inference-proxy" in again[2]
        assert KEY not in out + err + again[1] + again[2]
        root = r.hosts.hosts[instance.instance_id].root
        assert not (root / "opt/edge-inference/proxy.new").exists()

    on_a_serving_host(tmp_path, scenario)
