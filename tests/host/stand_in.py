"""A host of the local cloud in the place of a machine: what holds for a real one is asked of it too, so that none drifts apart.

Needs no root. How its model server, its registry and its Hub behave is named as in the real one's image and registry.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud import hub
from localcloud.hosts.doorway import unprivileged
from localcloud.model_server import launcher
from tests.engine.support import process_files
from tests.host.machine import MachineError
from tests.unit.hosts.host_rig import Instance, rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from components.host_steps import ServingSpec

_Result = TypeVar("_Result")
_FOREVER_SECONDS = 3600.0
_REPOSITORY = "ghcr.io/huggingface/text-generation-inference"


@dataclass(frozen=True)
class Registry:
    """Images by what is special about them; the local cloud's registry knows names only."""

    image: str = f"{_REPOSITORY}:2.4.0"
    image_by_digest: str = f"{_REPOSITORY}@sha256:{'5a' * 32}"
    missing_image: str = f"{_REPOSITORY}:none"
    image_that_never_arrives: str = f"{_REPOSITORY}:9.9.9"


class _Server(launcher.Server):
    """The local cloud's model server, misbehaving as image/server.py does."""

    @contextlib.asynccontextmanager
    async def running(self, listener: socket.socket, load_seconds: float) -> AsyncGenerator[None]:
        if self._named("acme/dies"):
            raise launcher.StartError(1, "torch.OutOfMemoryError: CUDA out of memory.")
        async with super().running(listener, _FOREVER_SECONDS if self._named("acme/never-healthy") else load_seconds):
            yield

    def _tgi(self, config: dict[str, Any], template: bool) -> Starlette:
        return _GENERATES_NOTHING if self._named("acme/no-token") else super()._tgi(config, template)

    def _named(self, model: str) -> bool:
        return self.model_directory is not None and self.model_directory.name.startswith(f"{model.replace('/', '--')}@")


async def _healthy(_: Request) -> Response:
    return Response()


async def _fails(_: Request) -> Response:
    return JSONResponse({"error": "CUDA error", "error_type": "generation"}, 424)


_GENERATES_NOTHING = Starlette(routes=[Route("/health", _healthy), Route("/v1/completions", _fails, methods=["POST"])])


class _Models(dict[str, hub.Model]):
    """Every model of the organizations `gated` and `acme`."""

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key.startswith(("gated/", "acme/")) else default

    def __missing__(self, key: str) -> hub.Model:
        return hub.Model({"BF16": 1}, "manual" if key.startswith("gated/") else None, "0" * 40, hub.Shape(1, 1, 1, 64, 64, 256))


class _Hub(BaseHTTPRequestHandler):
    """The local cloud's own Hub with these models; one of them never arrives."""

    stopping: ClassVar[threading.Event]

    def do_GET(self) -> None:
        self._answer("GET", {})

    def do_POST(self) -> None:
        if self.path.endswith("/gated/never-arrives"):
            self.stopping.wait()
        self._answer("POST", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, method: str, body: dict[str, object]) -> None:
        status, answer = hub.control(method, self.path.removeprefix("/"), body)
        self.send_response(status)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""


class StandIn:
    """One host, with what `Machine` has."""

    ssh_port = unprivileged(22)

    def __init__(self, user_data: str, public_key: str) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="edge-stand-in-"))
        self.address = f"127.{177 + os.getpid() % 70}.0.1"
        self._instance = Instance(
            "i-0123456789abcdef0", user_data=user_data.encode(), public_key=public_key, addresses=(self.address,)
        )
        self._faults = set[str]()
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(hub, "MODELS", _Models())
        self._patch.setattr(launcher, "Server", _Server)
        _Hub.stopping = threading.Event()
        self._hub = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
        self._loop = asyncio.new_event_loop()
        self._threads = [threading.Thread(target=run) for run in (self._hub.serve_forever, self._loop.run_forever)]
        for thread in self._threads:
            thread.start()
        hub_endpoint = f"http://127.0.0.1:{self._hub.server_port}"
        self._open = rig(self._directory, hub_endpoint, has_fault=self._has_fault)
        self._rig = self._do(self._open.__aenter__())

    def _has_fault(self, fault: str, _zone: str) -> bool:
        return fault in self._faults

    def _do(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @property
    def _host(self) -> Any:
        return self._rig.hosts.hosts[self._instance.instance_id]

    @property
    def disk(self) -> Path:
        """The host's root folder."""
        return self._host.root

    @property
    def home(self) -> str:
        """Where the steps keep what they write."""
        return f"{self.disk}/opt/edge-inference"

    @property
    def owner(self) -> str:
        """Who owns what the steps write: there is no root here."""
        return Path(self.home).owner()

    def boot(self) -> None:
        self._do(self._rig.put(self._instance))

    def cut_power(self) -> None:
        self._do(self._rig.put(replace(self._instance, state="stopped")))
        self._do(self._rig.until(lambda: self._host.state == "stopped"))

    def wait_until_booted(self) -> None:
        self._do(self._rig.opened(self._instance))
        self._do(self._host.cloud_init_done.wait())

    def scrap(self) -> None:
        """Ends the host and all that was started for it."""
        _Hub.stopping.set()
        self._do(self._open.__aexit__(None, None, None))
        self._hub.shutdown()
        self._hub.server_close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        for thread in self._threads:
            thread.join()
        self._loop.close()
        self._patch.undo()
        shutil.rmtree(self._directory)

    def expects(self, spec: ServingSpec) -> None:
        """Has its registry behave as the image is named."""
        never = spec.process.image == Registry.image_that_never_arrives
        self._host.docker_cli.pull_seconds = _FOREVER_SECONDS if never else 0

    def console(self, command: str, *, check: bool = True) -> str:
        """Output of a shell command on the host."""
        ran = subprocess.run(
            ["bash", "-c", command], cwd=self.disk, env=self._host.environment(), capture_output=True, text=True, check=False
        )
        if check and ran.returncode:
            raise MachineError(f"{command}: status {ran.returncode}\n{ran.stdout}{ran.stderr}")
        return ran.stdout + ran.stderr

    @property
    def commands(self) -> str:
        """Command lines of all its processes."""
        mark = f"EDGE_HOST_ROOT={self.disk}".encode()
        mine = {process for process, environment in process_files("environ") if mark in environment}
        return "\n".join(text.replace(b"\0", b" ").decode() for process, text in process_files("cmdline") if process in mine)

    @contextlib.contextmanager
    def network(self) -> Any:
        """Its address is on this machine."""
        yield

    def reach(self, port: int) -> str:
        """Address and port that lead to a port of the host."""
        return f"{self.address}:{unprivileged(port)}"

    def switch(self, name: str, *, on: bool) -> None:
        """Sets one of the local cloud's faults."""
        fault = name.replace("-", "_")
        (self._faults.add if on else self._faults.discard)(fault)

    def files_with(self, text: str) -> list[str]:
        """Files of the host that hold a text."""
        grep = ["grep", "--recursive", "--files-with-matches", "--devices=skip", "--text", "--fixed-strings", text, self.disk]
        return subprocess.run(grep, capture_output=True, text=True, check=False).stdout.split()
