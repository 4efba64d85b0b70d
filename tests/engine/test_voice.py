"""The voice agent of docs/examples/voice with the real LiveKit Agents, text in place of audio, against simulated model servers.

LiveKit is too large for requirements-dev.txt: it has an environment of its own below .localcloud, made once.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import runpy
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT
from localcloud.model_server.simulation import Simulation, Timing
from localcloud.model_server.tgi import Tgi
from localcloud.serving import serving

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.engine

EXAMPLE = PROJECT_ROOT / "docs" / "examples" / "voice"
PATIENT = "import agent; agent.FIRST_TOKEN_SECONDS = 120; agent.main()"
"""The example as it is, but that a busy machine gets the time that it needs: nothing is said here about how fast it is."""
OREGON, DENVER = "us-west-2a", "us-west-2-den-1a"
SERVICE, OREGON_NAME, DENVER_NAME = "127.80.0.1", "127.80.0.2", "127.80.0.3"
"""Names that need no name server."""


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of an environment with LiveKit."""
    requirements = EXAMPLE / "requirements.txt"
    folder = LOCAL_DIRECTORY / f"voice-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    binary, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(binary), "-m", "pip", "install", "--quiet", "--no-input", "-r", str(requirements)]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"LiveKit Agents cannot be installed: {(done.stderr.splitlines() or ['pip said nothing'])[-1]}")
        ready.touch()
    return binary


class Servers:
    """Model servers at addresses of this machine, all at one port; counts what each connection was used for."""

    def __init__(self) -> None:
        self.port = 0
        self.used: Counter[tuple[str, int, str]] = Counter()
        """By address of the server, port of the client, and path."""

    @contextmanager
    def at(self, *addresses: str) -> Generator[None]:
        """Serves there, from a thread of its own."""
        loop, started, done = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

        async def serve() -> None:
            listeners = [self._listen(address) for address in addresses]
            started.set()
            servings = [serving(self._app(address), listener) for address, listener in zip(addresses, listeners, strict=True)]
            for each in servings:
                await each.__aenter__()
            await done.wait()
            for each in servings:
                await each.__aexit__(None, None, None)

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
        thread.start()
        assert started.wait(30)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(done.set)
            thread.join(30)
            loop.close()

    def _listen(self, address: str) -> socket.socket:
        listener = socket.create_server((address, self.port))
        self.port = listener.getsockname()[1]
        return listener

    def _app(self, address: str) -> Any:
        tgi = Tgi("/model", Simulation(Timing(20, 0, 1, 16)))

        async def app(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                self.used[address, scope["client"][1], scope["path"]] += 1
            await tgi.app(scope, receive, send)  # type: ignore[arg-type]

        return app

    def outputs(self) -> dict[str, Any]:
        """As `edge outputs --json` has them."""
        names = {OREGON: OREGON_NAME, DENVER: DENVER_NAME}
        return {
            "service_url": f"http://{SERVICE}:{self.port}",
            "endpoint_urls": {},
            "sites": {zone: {"name": name} for zone, name in names.items()},
        }


@pytest.fixture
def servers() -> Servers:
    return Servers()


def call(python: Path, outputs: Mapping[str, Any], folder: Path, *lines: str, **variables: str) -> list[str]:
    """Who gave each turn's first token, in a call where somebody says lines."""
    path = folder / "outputs.json"
    path.write_text(json.dumps(outputs))
    done = subprocess.run(
        [str(python), "-c", PATIENT, str(path)],
        cwd=EXAMPLE,
        env={"PYTHONPATH": str(EXAMPLE), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(folder), **variables},
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("agent: This text is simulated by the local cloud") == len(lines)
    turns = re.findall(r"^turn (\d+): first token after \d+ ms, from ([\d.]+):\d+$", done.stdout, re.MULTILINE)
    assert [int(number) for number, _ in turns] == list(range(1, len(lines) + 1)), done.stdout
    return [name for _, name in turns]


def test_all_turns_go_over_the_connection_that_was_opened_before_the_first(
    python: Path, servers: Servers, tmp_path: Path
) -> None:
    with servers.at(SERVICE, OREGON_NAME):
        assert call(python, servers.outputs(), tmp_path, "Hello?", "What is the edge?", "Goodbye.") == [SERVICE] * 3
    [(_, client, _)] = [each for each in servers.used if each[2] == "/v1/chat/completions"]
    assert servers.used[SERVICE, client, "/v1/chat/completions"] == 3
    assert servers.used[SERVICE, client, "/v1/models"]
    assert any(address == OREGON_NAME for address, _, _ in servers.used), "the next site's connection is open too"


def test_where_the_service_does_not_answer_the_nearest_site_does_by_its_name(
    python: Path, servers: Servers, tmp_path: Path
) -> None:
    with servers.at(OREGON_NAME, DENVER_NAME):
        assert call(python, servers.outputs(), tmp_path, "Hello?", "Still there?") == [OREGON_NAME] * 2
        assert call(python, servers.outputs(), tmp_path, "Hello?", EDGE_NEAREST=DENVER) == [DENVER_NAME]


def test_urls_are_the_services_then_the_sites_own(servers: Servers) -> None:
    base_urls = runpy.run_path(str(EXAMPLE / "agent.py"))["base_urls"]
    outputs = servers.outputs() | {"service_url": "https://llm.acme.dev", "endpoint_urls": {DENVER: "http://192.0.2.1:8080"}}
    assert base_urls(outputs, [DENVER]) == [
        "https://llm.acme.dev/v1",
        f"https://{DENVER_NAME}/v1",
        f"https://{OREGON_NAME}/v1",
    ]
    assert base_urls(outputs | {"service_url": None}) == ["http://192.0.2.1:8080/v1"]
