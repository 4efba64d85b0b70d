"""serve.sh: one host's change as a transaction, under a real bash and Python, with stand-ins for docker and the server.

What users would notice is what these tests ask: whether the door was closed when the server went, and what serves in the end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from remote_host import Host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVER = "edge-inference-server"
WEIGHTS = "org--model@abc123"
FACTS = {"attention": r"using attention (\w+)", "prefix_caching": r"prefix caching (\w+)"}
NOTICE_SECONDS, CLOCK = 100, 500


class Engine:
    """The server in the container that runs, as the switches say; what it was asked, by whom it was asked."""

    def __init__(self, fake: Path, closed: Path) -> None:
        self.fake, self.closed = fake, closed
        self.asked: list[tuple[str, str, bool]] = []
        """Digest of the server, path, whether the door was closed."""
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                engine.answer(self)

            def do_POST(self) -> None:
                engine.answer(self)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length") or 0))
        digest = self.running()
        if not digest:
            request.close_connection = True
            return
        self.asked.append((digest, request.path, self.closed.exists()))
        status, text = 200, ""
        if request.path == "/health":
            until(lambda: not (self.switch("reading") and self.closed.exists()))
            status = 503 if self.switch("sick") in {digest, "all"} else 200
        elif request.path == "/metrics":
            text = f"# TYPE tgi_batch_current_size gauge\ntgi_batch_current_size {self.switch('busy') or 0}\n"
        else:
            status = 424 if self.switch("no-token") == digest else 200
            time.sleep(float(self.switch("slow") or 0) if digest == "digest2" else 0)
        request.send_response(status)
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text.encode())

    def running(self) -> str:
        container = self.fake / "containers" / SERVER
        try:
            return (container / "digest").read_text().strip() if (container / "state").read_text() == "running\n" else ""
        except FileNotFoundError:
            return ""

    def switch(self, name: str) -> str:
        path = self.fake / name
        return path.read_text() if path.exists() else ""

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Serving:
    """A host and the transactions on it."""

    def __init__(self, host: Host, engine: Engine) -> None:
        self.host, self.engine = host, engine

    @staticmethod
    def spec(digest: str = "digest1", **rollout: object) -> dict[str, Any]:
        return {
            "digest": digest,
            "weights": WEIGHTS,
            "options": ["-p", "8080:80", "-e", "A=b"],
            "image": "acme/tgi:1",
            "arguments": ["--model-id", "/model"],
            "ready_seconds": 20,
            "facts": FACTS,
            "trouble": "no kernel image",
            "fallback": ["-e", "ATTENTION=paged"],
            "busy_metrics": ["tgi_queue_size", "tgi_batch_current_size"],
            "proxy": None,
            "door": {"port": 8079, "health_path": "/health", "model": "tgi", "grace_seconds": 5, "proxy": None},
            "rollout": {
                "is_alone": False,
                "notice_seconds": NOTICE_SECONDS,
                "ttl_seconds": 60,
                "drain_seconds": 10,
                "max_ttft_ms": None,
                "max_slowdown": None,
                **rollout,
            },
        }

    def serve(self, digest: str = "digest1", *, status: int = 0, **rollout: object) -> tuple[dict[str, Any], str, str]:
        """What the last line says, the lines before it, and standard error."""
        out, err = self.host.run("serve", json.dumps(self.spec(digest, **rollout)), status=status)
        lines = out.splitlines()
        return (json.loads(lines.pop()) if status == 0 else {}), "\n".join(lines), err

    def is_asked(self) -> None:
        """A health checker asks the door."""
        asked = self.host.folder / "root/run/edge-inference/asked"
        asked.parent.mkdir(parents=True, exist_ok=True)
        asked.touch()
        os.utime(asked, (time.time() + 60, time.time() + 60))  # whatever the clock's speed makes of the minutes since

    @property
    def containers(self) -> dict[str, tuple[str, str]]:
        """Digest and state of each container, by name."""
        return {
            path.name.removeprefix(SERVER): ((path / "digest").read_text().strip(), (path / "state").read_text().strip())
            for path in (self.host.fake / "containers").iterdir()
        }

    @property
    def starts(self) -> list[str]:
        return [line for line in self.host.log("docker") if line.startswith("run -d")]

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.host.home / "serving.json").read_text())


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    host = Host(tmp_path)
    host.environment["EDGE_HOST_CLOCK"] = str(CLOCK)
    (host.home / "models" / WEIGHTS).mkdir(parents=True)
    engine = Engine(host.fake, host.folder / "root/run/edge-inference/closed")
    host.switch("address", f"127.0.0.1:{engine.server.server_address[1]}")
    yield Serving(host, engine)
    host.end()
    engine.close()


def assert_failure(err: str, cause: str, hint: str) -> None:
    """Step and cause in one line, the hint in the next."""
    lines = err.splitlines()
    place = next(index for index, line in enumerate(lines) if line.startswith("serve failed: "))
    assert cause in lines[place], lines
    assert lines[place + 1].startswith("  -> ")
    assert hint in lines[place + 1]


# The first server


def test_a_server_is_started_and_generates_a_token_before_it_counts(serving: Serving) -> None:
    outcome, said, err = serving.serve()
    assert said.splitlines()[0] == "serve: started org/model at abc123"
    assert said.endswith("serve: healthy, first token generated")
    assert err == ""
    assert (outcome["digest"], outcome["changed"], outcome["protected"], outcome["cut"]) == ("digest1", True, False, 0)
    assert outcome["first_token_ms"]["before"] is None
    assert outcome["first_token_ms"]["after"] > 0
    assert set(outcome["seconds"]) == {"drain", "stop", "load", "judge", "return"}
    assert ("digest1", "/v1/completions", False) in serving.engine.asked
    assert serving.containers == {"": ("digest1", "running")}
    assert (serving.host.folder / "root/run/edge-inference/proven").exists()


def test_it_comes_back_at_every_boot_and_serves_from_the_fetched_weights(serving: Serving) -> None:
    serving.serve()
    (command,) = serving.starts
    weights = serving.host.home / "models" / WEIGHTS
    for part in ("--restart unless-stopped", "--gpus all", f"-v {weights}:/model:ro", "-p 8080:80", "-e A=b"):
        assert part in command
    assert command.endswith("acme/tgi:1 --model-id /model")


def test_again_changes_nothing_and_asks_little(serving: Serving) -> None:
    """Docker takes a good part of the second that a converge without changes may take."""
    serving.serve()
    serving.host.clear_logs()
    outcome, _, _ = serving.serve()
    assert outcome["changed"] is False
    words = [line.split()[0] for line in serving.host.log("docker")]
    assert set(words) == {"inspect", "port", "rm"}
    assert len(words) < 10
    assert set(serving.host.log("systemctl")) == {"enable --now edge-inference-door.socket"}


def test_the_door_is_a_unit_with_a_socket_of_its_own(serving: Serving) -> None:
    serving.serve()
    units = serving.host.folder / "root/etc/systemd/system"
    assert "ListenStream=0.0.0.0:8079" in (units / "edge-inference-door.socket").read_text()
    assert f"{serving.host.remote}/door.py" in (units / "edge-inference-door.service").read_text()
    assert serving.host.log("systemctl") == [
        "daemon-reload",
        "stop edge-inference-door.service edge-inference-door.socket",
        "enable --now edge-inference-door.socket",
        "try-restart edge-inference-door.service",
        "enable --now edge-inference-door.socket",
    ]


# Away and back


def test_users_are_led_away_before_the_server_goes(serving: Serving) -> None:
    serving.serve()
    serving.is_asked()
    serving.engine.asked.clear()
    serving.host.clear_logs()
    outcome, said, _ = serving.serve("digest2")
    assert (outcome["changed"], outcome["protected"]) == (True, True)
    drained = [(path, closed) for digest, path, closed in serving.engine.asked if digest == "digest1"]
    first = next(index for index, (path, _) in enumerate(drained) if path == "/metrics")
    assert all(closed for _, closed in drained[first:]), "the last that it was asked"
    assert [path for path, _ in drained].count("/v1/completions") == 10, "its first tokens are timed, drained"
    assert all(closed for digest, _, closed in serving.engine.asked if digest == "digest2"), "judged before it returns"
    assert not serving.engine.closed.exists()
    assert outcome["seconds"]["drain"] >= (NOTICE_SECONDS + 60) / CLOCK
    assert outcome["seconds"]["return"] >= NOTICE_SECONDS / CLOCK
    assert "median time to first token over loopback, before: " in said
    assert "median time to first token over loopback, after: " in said
    assert serving.record["first_token_ms"] == outcome["first_token_ms"]
    changes = [line.split()[0] for line in serving.host.log("docker") if line.split()[0] in {"stop", "rename", "run"}]
    assert changes == ["stop", "rename", "run"]
    assert f"stop -t 30 {SERVER}" in serving.host.log("docker")
    assert serving.containers == {"": ("digest2", "running")}


def test_without_checkers_it_is_told_and_only_what_it_is_at_is_waited_for(serving: Serving) -> None:
    serving.serve()
    outcome, said, _ = serving.serve("digest2")
    assert "not protected: no health checker has asked this host" in said
    assert (outcome["protected"], outcome["seconds"]["return"]) == (False, 0.0)


def test_the_only_replica_is_changed_at_once(serving: Serving) -> None:
    serving.serve()
    serving.is_asked()
    serving.host.switch("busy", "3")
    outcome, said, _ = serving.serve("digest2", is_alone=True)
    assert "not protected: no other replica is there" in said
    assert outcome["protected"] is False


def test_what_it_is_at_is_waited_for(serving: Serving) -> None:
    serving.serve()
    serving.host.switch("busy", "2")
    process = serving.host.start("serve", json.dumps(serving.spec("digest2", drain_seconds=60)))
    until(lambda: ("digest1", "/metrics", True) in serving.engine.asked)
    assert serving.containers == {"": ("digest1", "running")}
    serving.host.switch("busy", "0")
    out, _ = process.communicate(timeout=60)
    assert json.loads(out.splitlines()[-1])["cut"] == 0
    assert serving.containers == {"": ("digest2", "running")}


def test_a_first_prompt_that_is_being_read_is_waited_for_though_the_metrics_do_not_show_it(serving: Serving) -> None:
    serving.serve()
    serving.host.switch("reading", "yes")
    process = serving.host.start("serve", json.dumps(serving.spec("digest2", drain_seconds=60)))
    until(lambda: serving.engine.asked.count(("digest1", "/health", True)) > 1)
    assert serving.containers == {"": ("digest1", "running")}
    serving.host.switch("reading", "")
    out, _ = process.communicate(timeout=60)
    assert json.loads(out.splitlines()[-1])["cut"] == 0


def test_what_outlasts_the_drain_is_cut_and_told(serving: Serving) -> None:
    serving.serve()
    serving.host.switch("busy", "2")
    outcome, said, _ = serving.serve("digest2", drain_seconds=1)
    assert outcome["cut"] == 2
    assert "2 requests outlast rollout.drainSeconds (1 s) and are cut" in said


def test_a_server_that_never_served_is_not_kept(serving: Serving) -> None:
    serving.host.switch("no-token", "digest1")
    serving.serve(status=1)
    serving.serve("digest2")
    assert serving.containers == {"": ("digest2", "running")}


# Failures


@pytest.mark.parametrize(
    ("switches", "rollout", "cause"),
    [
        ({"sick": "digest2", "dying": "digest2"}, {}, "the server's container ended"),
        ({"no-token": "digest2"}, {}, "healthy, but no token was generated"),
        ({"no-gpu": ""}, {}, "the server's container did not start: docker run: could not select device driver"),
        ({"slow": "0.05"}, {"max_ttft_ms": 30}, "and rollout.maxTtftMs is 30"),
        ({"slow": "0.2"}, {"max_slowdown": 1.5}, "times as long as before, and rollout.maxSlowdown is 1.5"),
    ],
)
def test_the_server_before_serves_again(serving: Serving, switches: dict[str, str], rollout: dict[str, Any], cause: str) -> None:
    serving.serve()
    serving.is_asked()
    for name, content in switches.items():
        serving.host.switch(name, content)
    _, _, err = serving.serve("digest2", status=1, **rollout)
    assert "the server's last words" in err
    assert_failure(err, cause, f"sudo docker logs --tail {50 if 'no-gpu' in switches else 200} {SERVER}-failed")
    assert "the server before it serves again" in err
    assert serving.containers == {"": ("digest1", "running"), "-failed": ("digest2", "exited")}
    assert serving.record["container"] == "id-of-digest1"
    assert serving.engine.asked[-1][:2] == ("digest1", "/v1/completions"), "waited for, to its first token"
    assert not serving.engine.closed.exists()
    for name in switches:
        (serving.host.fake / name).unlink()
    outcome, _, _ = serving.serve("digest2")
    assert outcome["changed"]
    assert serving.containers == {"": ("digest2", "running")}


def test_the_old_config_is_the_way_back(serving: Serving) -> None:
    serving.serve()
    serving.host.switch("no-token", "digest2")
    serving.serve("digest2", status=1)
    outcome, _, _ = serving.serve()
    assert outcome["changed"] is False
    assert serving.containers == {"": ("digest1", "running")}


def test_a_host_that_cannot_go_back_says_so(serving: Serving) -> None:
    serving.host.switch("no-token", "digest1")
    _, _, err = serving.serve(status=1)
    assert_failure(err, "this host serves nothing now", f"{SERVER}-failed")
    assert serving.containers == {"-failed": ("digest1", "exited")}


def test_a_server_before_that_does_not_come_back_is_told(serving: Serving) -> None:
    serving.serve()
    serving.host.switch("no-token", "digest2")
    process = serving.host.start("serve", json.dumps({**serving.spec("digest2"), "ready_seconds": 3}))
    until(lambda: serving.engine.running() == "digest2")
    serving.host.switch("sick", "digest1")
    _, err = process.communicate(timeout=60)
    assert "the server before it is started again, but has generated no token" in err


def test_a_server_before_that_ends_again_and_again_is_not_waited_for(serving: Serving) -> None:
    """As on a GPU that has no memory for either."""
    serving.serve()
    serving.host.switch("sick", "all")
    serving.host.switch("dying", "digest1\ndigest2")
    process = serving.host.start("serve", json.dumps({**serving.spec("digest2"), "ready_seconds": 3600}))
    _, err = process.communicate(timeout=60)
    assert_failure(err, "the server's container ended", f"{SERVER}-failed")
    assert "the server before it is started again, but has generated no token" in err


def test_a_dead_server_is_not_drained(serving: Serving) -> None:
    serving.serve()
    serving.is_asked()
    (serving.host.fake / "containers" / SERVER / "state").write_text("exited\n")
    outcome, said, _ = serving.serve("digest2")
    assert outcome["protected"] is False
    assert "waiting" not in said


def test_a_container_removed_by_hand_is_started_anew(serving: Serving) -> None:
    serving.serve()
    shutil.rmtree(serving.host.fake / "containers" / SERVER)
    serving.serve()
    assert serving.containers == {"": ("digest1", "running")}


def test_not_healthy_in_time(serving: Serving) -> None:
    serving.host.switch("sick", "digest1")
    spec = {**serving.spec(), "ready_seconds": 1}
    _, err = serving.host.run("serve", json.dumps(spec), status=1)
    assert_failure(err, "not healthy within 1 s", "docker logs")


# Detached


def test_a_caller_that_dies_does_not_end_it(serving: Serving) -> None:
    serving.serve()
    serving.host.switch("busy", "1")
    process = serving.host.start("serve", json.dumps(serving.spec("digest2", drain_seconds=60)))
    until(serving.engine.closed.exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    serving.host.switch("busy", "0")
    until(lambda: serving.engine.running() == "digest2" and not serving.engine.closed.exists())


def test_the_same_change_is_followed_and_another_one_waits(serving: Serving) -> None:
    serving.serve()
    serving.host.switch("busy", "1")
    spec = json.dumps(serving.spec("digest2", drain_seconds=60))
    first = serving.host.start("serve", spec)
    until(serving.engine.closed.exists)
    same, other = serving.host.start("serve", spec), serving.host.start("serve", json.dumps(serving.spec("digest3")))
    assert same.stdout
    assert other.stdout
    assert "already: following it" in same.stdout.readline()
    assert "another change is at work on the host" in other.stdout.readline()
    serving.host.switch("busy", "0")
    told = [json.loads(process.communicate(timeout=60)[0].splitlines()[-1]) for process in (first, same, other)]
    assert [each["digest"] for each in told] == ["digest2", "digest2", "digest3"]
    assert told[0] == told[1]
    assert len(serving.starts) == 3
    assert serving.containers == {"": ("digest3", "running")}


def test_a_change_that_was_killed_is_told(serving: Serving) -> None:
    serving.serve()
    serving.host.switch("busy", "1")
    process = serving.host.start("serve", json.dumps(serving.spec("digest2", drain_seconds=60)))
    until(serving.engine.closed.exists)
    worker = int((serving.host.home / "transaction/running").read_text().split()[1])
    os.killpg(worker, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert_failure(err, "the change was broken off on the host", "deploy again")


def until(reached: Any) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# The fallback


def in_trouble(serving: Serving, log: str = "RuntimeError: CUDA error: no kernel image is available\n") -> None:
    serving.host.switch("sick", "all")
    serving.host.switch("dying", "digest1")
    serving.host.switch("fallback-helps")
    serving.host.switch("server.log", log)


def test_trouble_with_attention_starts_once_more_with_the_fallback_and_says_so(serving: Serving) -> None:
    in_trouble(serving)
    _, said, _ = serving.serve()
    assert "starting once more with -e ATTENTION=paged" in said
    assert "started with the fallback" in said
    assert "-e A=b --label edge-inference.fallback=yes -e ATTENTION=paged acme/tgi:1 --model-id" in serving.starts[-1]
    assert serving.record["fallback"] is True
    serving.host.clear_logs()
    assert serving.serve()[0]["changed"] is False
    assert serving.starts == []


def test_other_trouble_does_not(serving: Serving) -> None:
    in_trouble(serving, "torch.OutOfMemoryError: CUDA out of memory")
    _, _, err = serving.serve(status=1)
    assert "CUDA out of memory" in err
    assert len(serving.starts) == 1


def test_fallback_is_tried_once(serving: Serving) -> None:
    in_trouble(serving)
    (serving.host.fake / "fallback-helps").unlink()
    _, _, err = serving.serve(status=1)
    assert len(serving.starts) == 2
    assert_failure(err, "this host serves nothing now", f"{SERVER}-failed")


# The record and the disk


def test_what_runs_is_recorded_and_told_in_a_line(serving: Serving) -> None:
    serving.host.switch("server.log", "INFO Using attention flashinfer - Prefix caching True\n")
    (serving.host.home / "models" / WEIGHTS / ".commit").write_text("0123456789abcdef" * 2)
    outcome, said, _ = serving.serve()
    assert "tgi serves org/model at 0123456789ab, attention flashinfer, prefix caching true\n" in said
    assert serving.record == {
        "engine": "tgi",
        "model": "org/model",
        "revision": "0123456789abcdef" * 2,
        "attention": "flashinfer",
        "prefix_caching": "true",
        "fallback": False,
        "image": "acme/tgi:1",
        "image_digest": "acme/tgi@sha256:1",
        "image_id": "sha256:new",
        "flags": ["--model-id", "/model"],
        "options": ["-p", "8080:80", "-e", "A=b"],
        "container": "id-of-digest1",
        "since": "now",
        "first_token_ms": outcome["first_token_ms"],
    }


def test_what_the_log_does_not_say_is_not_made_up(serving: Serving) -> None:
    assert "at abc123, attention not stated, prefix caching not stated" in serving.serve()[1]


def test_a_record_that_cannot_be_written_is_told(serving: Serving) -> None:
    (serving.host.home / "serving.json.new").mkdir()
    assert_failure(serving.serve(status=1)[2], "could not be recorded", "df")


def test_what_served_before_goes_and_what_was_fetched_for_later_stays(serving: Serving) -> None:
    home = serving.host.home
    for name in ("org--old@1", "org--next@1"):
        (home / "models" / name).mkdir()
    (home / "models.wanted").write_text("org--next@1\n")
    (home / "remote").mkdir()
    (home / "server-arguments").touch()
    (home / "serving.json").write_text(json.dumps({"image": "acme/old:1", "image_id": "sha256:old"}))
    old, new = home / "releases/old", home / "releases/new"
    for folder, age_seconds in ((old, -100), (new, 100)):
        folder.mkdir()
        os.utime(folder, (time.time() + age_seconds, time.time() + age_seconds))
    serving.serve()
    assert sorted(path.name for path in (home / "models").iterdir()) == ["org--model@abc123", "org--next@1"]
    assert "image rm acme/old:1" in serving.host.log("docker")
    assert sorted(path.name for path in (home / "releases").iterdir()) == ["new", "this"]
    assert not (home / "remote").exists()
    assert not (home / "server-arguments").exists()


def test_lines_are_short(serving: Serving) -> None:
    """A line of 64 KiB stops pulumi-command's reader for ever."""
    (serving.host.fake / "server.log").write_bytes(b"\xff\x1b[31m\xe2\x9c\x93" + b"x" * 100_000 + b"\nlast\n")
    serving.host.switch("no-token", "digest1")
    out, err = serving.host.run("serve", json.dumps(serving.spec()), status=1)
    assert all(len(line) < 4096 for line in (out + err).splitlines())
    assert (out + err).isascii()
    assert "last" in err.splitlines()
