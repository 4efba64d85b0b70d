"""The reverse proxy on a host of the local cloud, over SSH: how a change starts, reloads, gives back and takes it along."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from host_rig import IMAGE, Instance, Rig, rig, write_model

from automation.account.keys import new_certificate
from automation.sites.usage import SCRIPT, parsed
from components.engines import Server
from components.host_steps import Rollout, ServingSpec, install_scripts, serving_steps
from components.proxy import Proxy
from tests.unit.hosts.test_caddy import KEY, NAME, b64

PROXY = Proxy("caddy:2.10.2-alpine", NAME, port=8443, tls=True, key_names=("mobile",), health_path="/health")
CERTIFICATE, PRIVATE_KEY = new_certificate([NAME])
INSPECT = "docker inspect edge-inference-proxy"


def steps(proxy: Proxy | None) -> dict[str, str]:
    """The texts of the steps by name."""
    spec = ServingSpec(Server(), port=8443, proxy=proxy, rollout=Rollout(is_alone=True))
    return {step.name: step.on_instance("i-1") for step in serving_steps(spec)}


def secrets(key: str = KEY, certificate: str = CERTIFICATE, private_key: str = PRIVATE_KEY) -> str:
    return f"{b64(certificate)}\n{b64(private_key)}\n{key}\n"


class Host:
    """A host with scripts, image and weights."""

    def __init__(self, r: Rig, instance: Instance) -> None:
        self.r, self.instance = r, instance
        self.home = r.hosts.hosts[instance.instance_id].root / "opt/edge-inference"

    async def converge(self, proxy: Proxy | None = PROXY, given: str | None = None) -> str:
        """What the last step says, after the one that lays the proxy ready."""
        await self.r.good(self.instance, steps(proxy)["proxy"], (secrets() if given is None else given) if proxy else "")
        said = await self.r.good(self.instance, steps(proxy)["ready"])
        assert json.loads(said.splitlines()[-1])["digest"]
        return said

    async def fail(self, proxy: Proxy, given: str) -> str:
        """What is said of a change that must fail."""
        for name, stdin in (("proxy", given), ("ready", "")):
            status, out, err = await self.r.run(self.instance, steps(proxy)[name], stdin)
            if status:
                return out + err
        raise AssertionError("it went well")

    async def identity(self) -> str:
        return await self.r.good(self.instance, f"{INSPECT} --format '{{{{.Id}}}} {{{{.State.StartedAt}}}}'")

    async def is_open_to(self, key: str) -> bool:
        call = f"curl -sk -o /dev/null -w '%{{http_code}}' https://{self.instance.addresses[0]}:8443/info"
        return await self.r.good(self.instance, f"{call} -H 'Authorization: Bearer {key}'") == "200"


def on_a_host(tmp_path: Path, scenario: Callable[[Host], Awaitable[None]]) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            instance = await r.boot()
            await r.good(instance, f"systemctl enable --now docker && docker pull -q {IMAGE}")
            scripts, archive = install_scripts()
            await r.good(instance, scripts.text, archive)
            host = Host(r, instance)
            write_model(host.home / "models/meta-llama--Llama-3.2-3B-Instruct@main")
            await scenario(host)

    asyncio.run(run())


def test_it_starts_once_and_reloads_for_what_changed(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        assert f"the proxy answers at https://{NAME}:8443" in await host.converge()
        await host.r.opened(host.instance, 8443)
        first = await host.identity()
        assert "no connection was cut" not in await host.converge()
        assert await host.is_open_to(KEY)
        said = await host.converge(given=secrets(KEY[::-1]))
        assert "no connection was cut" in said
        assert await host.is_open_to(KEY[::-1])
        assert not await host.is_open_to(KEY)
        both = replace(PROXY, key_names=("mobile", "web"))
        await host.converge(both, secrets(f"{KEY} {KEY[::-1]}", *new_certificate([NAME])))
        assert await host.is_open_to(KEY)
        assert await host.is_open_to(KEY[::-1])
        assert await host.identity() == first
        assert "a key has no value" in await host.fail(both, secrets(KEY))
        await host.converge(replace(PROXY, image="caddy:2.8.4-alpine"))
        assert await host.identity() != first

    on_a_host(tmp_path, scenario)


def test_edge_usage_is_told_who_called_and_not_who_was_refused(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        await host.converge()
        await host.r.opened(host.instance, 8443)
        assert await host.is_open_to(KEY)
        assert not await host.is_open_to(KEY[::-1])
        found = parsed(await host.r.good(host.instance, f"{SCRIPT}0"))
        assert found
        assert {name: each.requests for name, each in found.keys.items()} == {"mobile": 1}
        later = parsed(await host.r.good(host.instance, f"{SCRIPT}{datetime.now(UTC).timestamp()}"))
        assert later
        assert (later.begins, later.keys) == (found.begins, {})

    on_a_host(tmp_path, scenario)


def test_a_proxy_that_died_is_started(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        await host.converge()
        await host.r.good(host.instance, "docker stop edge-inference-proxy")
        await host.converge()
        await host.r.opened(host.instance, 8443)

    on_a_host(tmp_path, scenario)


def test_it_comes_back_with_docker(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        await host.converge()
        await host.r.good(host.instance, "systemctl stop docker")
        await host.r.closed(host.instance, 8443)
        await host.r.good(host.instance, "systemctl start docker")
        await host.r.opened(host.instance, 8443)

    on_a_host(tmp_path, scenario)


def test_secrets_are_in_root_only_files_and_go_with_the_proxy(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        out = await host.converge()
        shown = out + await host.r.good(host.instance, f"{INSPECT}; docker logs edge-inference-proxy")
        root = host.r.hosts.hosts[host.instance.instance_id].root
        for secret in (KEY, b64(PRIVATE_KEY), PRIVATE_KEY.splitlines()[1]):
            assert secret not in shown
            holders = [path for path in root.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")]
            for path in holders:
                assert (path.parent.name, path.stat().st_mode & 0o777) == ("proxy", 0o600)
                assert path.parent.stat().st_mode & 0o777 == 0o700
        await host.converge(None)
        assert (await host.r.run(host.instance, INSPECT))[0] == 1
        assert [path.name for path in host.home.glob("proxy*")] == []
        await host.converge(None)

    on_a_host(tmp_path, scenario)


def test_failures_say_what_to_look_at_and_no_secret_and_what_ran_goes_on(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        said = await host.fail(replace(PROXY, image="acme/none:1"), secrets())
        assert "stage-proxy failed: acme/none:1 was not pulled\n  -> check the name in edge-inference:endpoint.proxyImage" in said
        await host.converge()
        first = await host.identity()
        wrong = await host.fail(PROXY, secrets(private_key=new_certificate([NAME])[1]))
        assert "find or match certificate and key" in wrong, "the proxy's own last words"
        assert KEY not in said + wrong
        assert await host.is_open_to(KEY)
        assert await host.identity() == first
        assert not (host.home / "proxy.new").exists()

    on_a_host(tmp_path, scenario)


def test_a_proxy_that_does_not_start_leaves_the_server_before(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        await host.converge(None)
        wrong = await host.fail(PROXY, secrets(private_key=new_certificate([NAME])[1]))
        assert "the server before it serves again" in wrong
        assert f"https://{NAME}:8443 does not answer" in wrong
        assert (await host.r.run(host.instance, INSPECT))[0] == 1
        await host.r.opened(host.instance, 8443)

    on_a_host(tmp_path, scenario)
