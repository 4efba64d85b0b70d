"""remote/door.py: what a health checker is answered while the server serves, hangs, fails, dies, comes back, or is drained."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, cast

import pytest

from components.door import door_port, longest_prefill_seconds, notice_seconds
from localcloud.hosts import units
from tests.unit.remote_host import SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECKER = {"User-Agent": "Amazon-Route53-Health-Check-Service (ref abc; report http://amzn.to/1vsZADi)"}
GRACE_SECONDS = 4
CHECKERS_PATIENCE_SECONDS = 2.0


class Server(ThreadingHTTPServer):
    """A model server that answers, hangs or fails as it is told."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.health, self.token = 200, 200
        self.going_on = threading.Event()
        self.going_on.set()
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", port), Answers)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = cast("Server", self.server)
        server.asked.append(self.path)
        server.going_on.wait()
        self._answer(server.health)

    def do_POST(self) -> None:
        server = cast("Server", self.server)
        server.asked.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(server.token)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""


class Door:
    """The door's process, with its socket handed over as systemd does; docker tells where the server is."""

    def __init__(self, folder: Path) -> None:
        self.server: Server | None = Server()
        self.port: int = self.server.server_address[1]
        self.run = folder / "root/run/edge-inference"
        home, programs = folder / "root/opt/edge-inference", folder / "bin"
        home.mkdir(parents=True)
        programs.mkdir()
        config = {"health_path": "/health", "model": "tgi", "grace_seconds": GRACE_SECONDS, "proxy": None}
        (home / "door.json").write_text(json.dumps(config))
        docker = programs / "docker"
        docker.write_text(f'#!/bin/sh\n[ -e "{folder}/gone" ] || echo "80/tcp -> 127.0.0.1:{self.port}"\n')
        docker.chmod(0o755)
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        environment = {"EDGE_HOST_ROOT": str(folder / "root"), "PATH": f"{programs}:/usr/bin:/bin"}
        handed_over = [sys.executable, "-S", "-E", units.__file__.replace("units.py", "unit_runner.py"), str(listener.fileno())]
        self.process = subprocess.Popen(
            [*handed_over, sys.executable, SCRIPTS / "door.py"], env=environment, pass_fds=[listener.fileno()]
        )
        listener.close()

    def ask(self, headers: dict[str, str] = CHECKER) -> tuple[int, str]:
        """Status and words, in the time that a checker waits."""
        connection = http.client.HTTPConnection(*self.address, timeout=CHECKERS_PATIENCE_SECONDS * 5)
        connection.request("GET", "/health", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip()

    def until(self, status: int) -> str:
        """What is said with this status, when it comes."""
        deadline = time.monotonic() + 60
        while (answer := self.ask())[0] != status:
            assert time.monotonic() < deadline, answer
        return answer[1]

    def kill_server(self) -> None:
        assert self.server
        self.server.shutdown()
        self.server.server_close()
        self.server = None

    def start_server(self) -> Server:
        self.server = Server(self.port)
        return self.server


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path)
    yield door
    door.process.kill()
    door.process.wait()
    if door.server:
        door.server.going_on.set()
        door.kill_server()


def test_healthy_after_the_first_token_and_not_before(door: Door) -> None:
    assert door.server
    door.server.token = 424
    assert door.ask() == (503, "no token generated yet")
    door.server.token = 200
    assert door.until(200) == "serves"
    assert (door.run / "proven").exists()
    assert door.server.asked.count("/v1/completions") == 2
    door.ask()
    assert door.server.asked.count("/v1/completions") == 2, "one token proves it, until the server ends"


def test_who_asks_is_noted_of_checkers_alone(door: Door) -> None:
    door.ask({"User-Agent": "curl"})
    assert not (door.run / "asked").exists()
    door.ask()
    assert (door.run / "asked").exists()


def test_a_server_that_answers_with_an_error_is_unhealthy_with_the_next_question(door: Door) -> None:
    door.until(200)
    assert door.server
    door.server.health = 503
    assert door.ask() == (503, "status 503")


def test_a_server_that_ended_is_unhealthy_with_the_next_question_and_must_show_a_token_again(door: Door) -> None:
    door.until(200)
    door.kill_server()
    assert door.ask()[0] == 503
    assert not (door.run / "proven").exists()
    started = door.start_server()
    assert door.until(200) == "serves"
    assert "/v1/completions" in started.asked


def test_a_server_that_hangs_has_grace_and_every_checker_its_answer(door: Door) -> None:
    door.until(200)
    assert door.server
    door.server.going_on.clear()
    status, said = door.ask()
    assert (status, said[:13]) == (200, "no answer for")
    assert "no answer" in door.until(503)
    assert door.ask()[0] == 503, "the next question is no new grace"
    door.server.going_on.set()
    assert door.until(200) == "serves"


def test_draining_is_unhealthy_whatever_the_server_does(door: Door) -> None:
    door.until(200)
    (door.run / "closed").touch()
    assert door.ask() == (503, "draining")
    (door.run / "closed").unlink()
    assert door.until(200) == "serves"


def test_its_port_is_beside_the_serving_port_and_nobody_elses() -> None:
    assert (door_port(443), door_port(8080)) == (442, 8079)
    for port in set(range(1, 65536)) - {22}:
        assert abs(door_port(port) - port) == 1
        assert door_port(port) not in {22, 8080, 8081}


def test_patience() -> None:
    assert longest_prefill_seconds(512) == 5
    assert longest_prefill_seconds(3072) == 10
    assert longest_prefill_seconds(32_000) == 103
    assert notice_seconds(30, 3) == 100
