"""The server's and the proxy's containers: how each is started, set aside for a new one, and brought back.

One GPU holds one model: the old server stops before the new one starts, and stays until the new one has generated a token.
Leaves out when that is done, and what for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import HOME, StepError, docker, try_docker, wait_until
from listener import PROXY, SERVER, public_address, public_status

PREVIOUS, FAILED = f"{SERVER}-previous", f"{SERVER}-failed"
RECORD = HOME / "serving.json"
STAGED, FILES, FILES_BEFORE = HOME / "proxy.next", HOME / "proxy", HOME / "proxy.before"
"""The proxy's files: as stage-proxy.sh has left them for it; as it runs; of the proxy that is set aside."""
_PROXY_BEFORE = f"{PROXY}-previous"
_ADMIN = "/run/edge-inference/admin.sock"
"""Caddy's admin API, inside its container: components/proxy.py says the same."""
_STOP_SECONDS = "30"
"""Until Docker kills: TGI takes 16 s to stop, and Docker's own patience is 10 s."""
_PROXY_SECONDS = 30.0
_PARTIAL_CHAIN = 0x80000
"""X509_V_FLAG_PARTIAL_CHAIN: trusts that very chain, whoever signed it, as curl does."""
_SECRET_FILES = ("caddy.json", "certificate.pem", "private-key.pem")

Spec = dict[str, Any]


def inspect(template: str, name: str = SERVER) -> str:
    """A fact of a container, or nothing."""
    return try_docker("inspect", "--type", "container", "--format", template, name)


def runs(digest: str) -> bool:
    """Whether the server of this digest runs."""
    return inspect('{{index .Config.Labels "edge-inference.spec"}} {{.State.Status}}') == f"{digest} running"


def record() -> dict[str, Any]:
    """What was written down of the server that serves, or served last."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(RECORD.read_text(encoding="utf-8"))
    return {}


def run_server(spec: Spec, *more: str) -> None:
    """Start the wanted server in the place of what runs; docker's options given here win."""
    _set_aside()
    try:
        docker(
            "run", "-d", "--name", SERVER, "--restart", "unless-stopped", "--gpus", "all", "--shm-size", "1g",
            "--label", f"edge-inference.spec={spec['digest']}", "--log-opt", "max-size=10m", "--log-opt", "max-file=3",
            "-v", f"{HOME}/models/{spec['weights']}:/model:ro", *spec["options"], *more, spec["image"], *spec["arguments"],
        )  # fmt: skip
    except StepError as error:
        raise StepError(
            f"the server's container did not start: {error.reason}", f"sudo docker logs --tail 50 {FAILED}"
        ) from error


def _set_aside() -> None:
    """Stop the server; one that has served is kept until the next one does."""
    found = inspect("{{.Id}}")
    if not found:
        return
    if found == record().get("container"):
        try_docker("rm", "-f", PREVIOUS)
        try_docker("stop", "-t", _STOP_SECONDS, SERVER)
        docker("rename", SERVER, PREVIOUS)
    else:
        docker("rm", "-f", SERVER)


def go_back() -> bool:
    """Keep the failed server, stopped, for its log, and start the one before; whether there is one that starts."""
    try_docker("rm", "-f", FAILED)
    try_docker("stop", "-t", _STOP_SECONDS, SERVER)
    try_docker("rename", SERVER, FAILED)
    if not inspect("{{.Id}}", PREVIOUS):
        return False
    try_docker("rename", PREVIOUS, SERVER)
    try_docker("start", SERVER)
    return inspect("{{.State.Running}}") == "true"


def forget_previous() -> None:
    """The new server serves: what was kept for the way back goes."""
    try_docker("rm", "-f", PREVIOUS, FAILED)


# The proxy


def proxy_change(wanted: Spec | None) -> str:
    """What the proxy needs: nothing, `reload` (no request is lost), or `restart` and `remove` (its clients must be elsewhere)."""
    running = inspect("{{.Config.Image}} {{.State.Status}}", PROXY)
    if wanted is None:
        return "remove" if running or FILES.exists() else ""
    if not STAGED.exists():
        return "" if running == f"{wanted['image']} running" else "restart"
    if running != f"{wanted['image']} running" or not (FILES / "caddy.json").exists():
        return "restart"
    old, new = ((folder / "caddy.json").read_text(encoding="utf-8") for folder in (FILES, STAGED))
    if json.loads(old) == json.loads(new) and all(_same(name) for name in _SECRET_FILES[1:]):
        shutil.rmtree(STAGED)
        return ""
    can_reload = _ADMIN in old and _listens(old) == _listens(new)
    return "reload" if can_reload else "restart"


def _same(name: str) -> bool:
    return (FILES / name).exists() and (FILES / name).read_bytes() == (STAGED / name).read_bytes()


def _listens(config: str) -> list[Any]:
    return [server["listen"] for server in json.loads(config)["apps"]["http"]["servers"].values()]


def stop_proxy() -> None:
    """Take the proxy away, until a new one is there or it is not wanted: it can be brought back."""
    if inspect("{{.Id}}", PROXY):
        try_docker("rm", "-f", "-v", _PROXY_BEFORE)
        try_docker("stop", "-t", _STOP_SECONDS, PROXY)
        docker("rename", PROXY, _PROXY_BEFORE)
    if FILES.exists():
        shutil.rmtree(FILES_BEFORE, ignore_errors=True)
        FILES.rename(FILES_BEFORE)


def run_proxy(spec: Spec) -> None:
    """Start the wanted proxy with the files that were staged for it."""
    proxy = spec["proxy"]
    shutil.rmtree(FILES, ignore_errors=True)
    with _private():
        shutil.copytree(STAGED if STAGED.exists() else FILES_BEFORE, FILES)
    docker(
        "run", "-d", "--name", PROXY, "--restart", "unless-stopped", "--network", "host",
        "--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE", "--log-opt", "max-size=10m", "--log-opt", "max-file=3",
        "--tmpfs", "/run/edge-inference", "-v", f"{FILES}:/etc/edge-inference:ro", proxy["image"],
        "caddy", "run", "--config", "/etc/edge-inference/caddy.json",
    )  # fmt: skip
    _judge_proxy(spec)


def reload_proxy(spec: Spec) -> None:
    """Give the running proxy its staged files; no connection is cut. The files before come back where it refuses the new ones."""
    shutil.rmtree(FILES_BEFORE, ignore_errors=True)
    with _private():
        shutil.copytree(FILES, FILES_BEFORE)
    _replace_files(STAGED)
    try:
        _reload()
        _judge_proxy(spec)
    except StepError:
        _replace_files(FILES_BEFORE)
        with contextlib.suppress(StepError):
            _reload()
        raise
    forget_proxy()


def _replace_files(source: Path) -> None:
    """Within the folder: the container sees that very folder."""
    for name in _SECRET_FILES:
        draft = FILES / f".{name}"
        with _private():
            shutil.copy2(source / name, draft)
        draft.replace(FILES / name)


@contextlib.contextmanager
def _private() -> Iterator[None]:
    """What is made meanwhile is root's alone from the start."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _reload() -> None:
    # --force: a certificate may be another one under the same name.
    docker(
        "exec", PROXY, "caddy", "reload", "--force", "--config", "/etc/edge-inference/caddy.json", "--address", f"unix/{_ADMIN}"
    )


def bring_proxy_back() -> None:
    """The new proxy goes, and the one that was taken away serves again, if there was one."""
    try_docker("rm", "-f", "-v", PROXY)
    shutil.rmtree(FILES, ignore_errors=True)
    if FILES_BEFORE.exists():
        FILES_BEFORE.rename(FILES)
    if inspect("{{.Id}}", _PROXY_BEFORE):
        try_docker("rename", _PROXY_BEFORE, PROXY)
        try_docker("start", PROXY)


def forget_proxy() -> None:
    """What was kept for the way back, or staged, goes with its secrets: it is at work, or not wanted."""
    try_docker("rm", "-f", "-v", _PROXY_BEFORE)
    for folder in (FILES_BEFORE, STAGED):
        shutil.rmtree(folder, ignore_errors=True)


def _judge_proxy(spec: Spec) -> None:
    """StepError unless the proxy answers under its own name with its own certificate, and asks for a key where it should."""
    proxy = spec["proxy"]
    restarts = inspect("{{.RestartCount}}", PROXY)

    def healthy_or_dead() -> bool:
        # Docker's restart policy would start it again and again.
        return inspect("{{.RestartCount}}", PROXY) != restarts or _status(spec, spec["door"]["health_path"]) == 200  # noqa: PLR2004

    wait_until(_PROXY_SECONDS, "the proxy", healthy_or_dead)
    if _status(spec, spec["door"]["health_path"]) != 200:  # noqa: PLR2004
        raise _proxy_error(f"{proxy['url']} does not answer")
    if proxy["asks_for_key"] and _status(spec, "/") != 401:  # noqa: PLR2004
        raise _proxy_error(f"{proxy['url']}/ answers without an API key")


def _proxy_error(reason: str) -> StepError:
    log = try_docker("logs", "--tail", "20", PROXY)
    return StepError(f"the proxy: {reason}; the last lines of its log:\n{cut(log)}", f"sudo docker logs --tail 200 {PROXY}")


def cut(log: str) -> str:
    """Foreign lines, each short enough for pulumi-command's reader."""
    return "\n".join(line[:2000] for line in log.splitlines())


def _status(spec: Spec, path: str) -> int:
    """The status that the proxy answers; 0 where it does not."""
    context = None
    if spec["proxy"]["tls"]:
        context = ssl.create_default_context(cafile=str(FILES / "certificate.pem"))
        context.verify_flags |= _PARTIAL_CHAIN
    with contextlib.suppress(OSError, ValueError, ssl.SSLError, asyncio.TimeoutError):
        return asyncio.run(_asked(spec, path, context))
    return 0


async def _asked(spec: Spec, path: str, context: ssl.SSLContext | None) -> int:
    address = await public_address(spec["door"])
    return await asyncio.wait_for(public_status(address, spec["door"], path, context), 5)
