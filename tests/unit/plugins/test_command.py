# pyright: reportUnknownMemberType=false
# (asyncssh leaves the parameters of its key generator untyped)
"""The `command` plugin against a real SSH server in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from pulumi.runtime.proto import provider_pb2

from localcloud.plugins import connection
from localcloud.plugins.command import CommandPlugin
from localcloud.plugins.values import SIGNATURE, UNKNOWN, Properties, Secret
from tests.unit.plugins.driver import AbortedError, Driver

COMMAND = "command:remote:Command"
COPY = "command:remote:CopyToRemote"
PLANTED = "planted-secret-text"


@dataclass
class Server:
    """A host whose commands really run, under bash."""

    host_key: asyncssh.SSHKey
    client_key: asyncssh.SSHKey
    port: int = 0
    show: Callable[[asyncssh.SSHKey], None] = lambda _: None
    """Has another host key from now on."""
    started: threading.Event = field(default_factory=threading.Event)

    @property
    def connection(self) -> Properties:
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "ec2-user",
            "privateKey": self.client_key.export_private_key().decode(),
            "hostKey": self.host_key.export_public_key().decode(),
            "dialErrorLimit": 2,
            "perDialTimeout": 15,
        }

    async def feed(self, process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process) -> None:
        """Pass standard input on for as long as the command reads it."""
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while chunk := await process.stdin.read(65536):
                child.stdin.write(chunk)
                await child.stdin.drain()
            child.stdin.close()

    async def run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec("bash", "-c", process.command or "", stdin=pipe, stdout=pipe, stderr=pipe)
        self.started.set()
        feeding = asyncio.create_task(self.feed(process, child))
        await process.redirect(stdout=child.stdout, stderr=child.stderr, send_eof=False)
        status = await child.wait()
        feeding.cancel()
        await process.stdout.drain()
        await process.stderr.drain()
        process.exit(status)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server(asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[made.host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(made.client_key.export_public_key().decode()),
            process_factory=made.run,
            sftp_factory=True,
            encoding=None,
        )

    acceptor = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    made.port = acceptor.get_port()
    made.show = lambda key: acceptor.update(server_host_keys=[key])
    yield made

    async def close() -> None:
        acceptor.close()
        await acceptor.wait_closed()

    asyncio.run_coroutine_threadsafe(close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return Driver(CommandPlugin("127.0.0.1:1"))


def inputs(server: Server, **given: object) -> Properties:
    return {"connection": Secret(server.connection), **given}


def test_a_command_runs_and_its_output_comes_back(driver: Driver, server: Server) -> None:
    resource_id, _, state = driver.made(COMMAND, inputs(server, create="cat; echo; echo err >&2", stdin="hello"))
    assert resource_id.startswith("x")
    assert (state["stdout"], state["stderr"]) == ("hello", "err")
    assert isinstance(state["connection"], Secret)
    assert sorted(driver.engine.texts) == ["err", "hello"]
    assert all(line.ephemeral for line in driver.engine.lines)


def test_what_a_command_writes_is_in_clear_whatever_it_was_given(driver: Driver, server: Server) -> None:
    """As with the official plugin: a program that gives secrets names its additional secret outputs."""
    given = inputs(server, create=Secret(f"cat; echo {PLANTED}"), stdin=Secret("pin\n"))
    resource_id, olds, state = driver.made(COMMAND, given)
    assert state["stdout"] == f"pin\n{PLANTED}"
    assert isinstance(state["stdin"], Secret)
    again = driver.update(COMMAND, resource_id, state | {"stdout": Secret("old")}, olds, olds | {"create": "echo again"})
    assert again["stdout"] == "again"


@pytest.mark.parametrize(
    ("logging", "expected"), [("stdout", ["out"]), ("stderr", ["err"]), ("stdoutAndStderr", ["err", "out"]), ("none", [])]
)
def test_logging_chooses_what_is_shown_not_what_is_kept(
    driver: Driver, server: Server, logging: str, expected: list[str]
) -> None:
    _, _, state = driver.made(COMMAND, inputs(server, create="echo out; echo err >&2", logging=logging))
    assert sorted(driver.engine.texts) == expected
    assert (state["stdout"], state["stderr"]) == ("out", "err")


def test_a_failed_command_shows_all_that_it_wrote(driver: Driver, server: Server) -> None:
    text = 'echo "out"; echo err >&2; exit 3'
    with pytest.raises(AbortedError) as raised:
        driver.made(COMMAND, inputs(server, create=text))
    first, *rest = str(raised.value).splitlines()
    assert first == 'Process exited with status 3: running "echo \\"out\\"; echo err >&2; exit 3":'
    assert sorted(rest) == ["err", "out"]


def test_a_killed_command_is_named_by_its_signal_or_missing_status(driver: Driver, server: Server) -> None:
    with pytest.raises(AbortedError, match=r"^(Process exited with|wait: remote command exited without)"):
        driver.made(COMMAND, inputs(server, create="kill -9 $$"))


def test_a_long_line_is_kept_where_it_is_not_logged(driver: Driver, server: Server) -> None:
    _, _, state = driver.made(COMMAND, inputs(server, create="head -c 300000 /dev/zero | tr '\\0' x", logging="none"))
    assert len(str(state["stdout"])) == 300000


def test_the_longest_line_that_the_official_plugin_takes(driver: Driver, server: Server) -> None:
    _, _, state = driver.made(COMMAND, inputs(server, create="head -c 65535 /dev/zero | tr '\\0' x; echo; echo after"))
    assert str(state["stdout"]).endswith("x\nafter")


@pytest.mark.parametrize("redirection", ["", " >&2"])
def test_a_longer_line_which_it_would_hang_on_is_an_error(driver: Driver, server: Server, redirection: str) -> None:
    with pytest.raises(AbortedError, match="the official plugin hangs for ever: cut it"):
        driver.made(COMMAND, inputs(server, create=f"(head -c 65536 /dev/zero | tr '\\0' x; echo; echo after){redirection}"))


def test_output_that_is_no_utf8_fails_a_command_that_succeeds(driver: Driver, server: Server) -> None:
    with pytest.raises(AbortedError, match=r"^grpc: error while marshaling: string field contains invalid UTF-8$"):
        driver.made(COMMAND, inputs(server, create=r"printf 'a\xff\n'"))
    with pytest.raises(AbortedError, match="a\N{REPLACEMENT CHARACTER}"):
        driver.made(COMMAND, inputs(server, create=r"printf 'a\xff\n'; exit 3"))
    assert driver.engine.texts == ["a\N{REPLACEMENT CHARACTER}"] * 2


def test_a_command_that_does_not_read_a_long_standard_input_ends(driver: Driver, server: Server) -> None:
    _, _, state = driver.made(COMMAND, inputs(server, create="echo done", stdin="x" * 3_000_000))
    assert state["stdout"] == "done"


def test_update_delete_and_what_they_get(driver: Driver, server: Server, tmp_path: Path) -> None:
    given = inputs(server, create="echo made", delete=f"cat > {tmp_path}/deleted", stdin="in", addPreviousOutputInEnv=False)
    resource_id, olds, state = driver.made(COMMAND, given)
    again = driver.update(COMMAND, resource_id, state, olds, olds | {"create": "echo again"})
    assert again["stdout"] == "again", "without an update command, create is run"
    updated = driver.update(COMMAND, resource_id, state, olds, olds | {"update": "echo updated"})
    assert updated["stdout"] == "updated"
    driver.delete(COMMAND, resource_id, state)
    assert (tmp_path / "deleted").read_text() == "in"


def test_without_commands_nothing_runs(driver: Driver) -> None:
    nowhere: Properties = {"connection": {"host": "127.0.0.1", "port": 1}}
    resource_id, olds, state = driver.made(COMMAND, nowhere)
    assert state["stdout"] == ""
    kept = driver.update(COMMAND, resource_id, state | {"stdout": "kept"}, olds, olds)
    assert kept["stdout"] == "kept"
    driver.delete(COMMAND, resource_id, state)


def test_in_preview_the_output_of_a_change_is_unknown(driver: Driver) -> None:
    olds: Properties = {"connection": {"host": "h"}, "create": "a"}
    preview = driver.update(COMMAND, "id", olds | {"stdout": "old"}, olds, olds | {"create": "b"}, preview=True)
    assert preview["stdout"] == UNKNOWN


def test_defaults_are_filled_in_and_the_connection_is_sealed(driver: Driver) -> None:
    given: Properties = {"connection": {"host": "h", "privateKey": "k", "dialErrorLimit": 5.5, "agentSocketPath": "/s"}}
    checked, problems = driver.check(COMMAND, given | {"logging": "loud"})
    assert not problems
    full = {"host": "h", "user": "root", "port": 22, "dialErrorLimit": 5, "perDialTimeout": 15, "agentSocketPath": "/s"}
    assert checked == {"connection": Secret({**full, "privateKey": Secret("k")}), "logging": "loud"}
    assert driver.check(COMMAND, checked)[0] == checked
    unknown: Properties = {"connection": UNKNOWN}
    assert driver.check(COMMAND, unknown) == (unknown, [])


def changed(driver: Driver, olds: Properties, news: Properties) -> dict[str, str]:
    kinds = provider_pb2.PropertyDiff.Kind
    diff = driver.diff(COMMAND, olds, news)
    return {path: kinds.Name(each.kind) for path, each in diff.detailedDiff.items()}


def test_changes_are_told_as_the_official_plugin_tells_them(driver: Driver) -> None:
    """Each pair was held against pulumi-command 1.2.1."""
    olds: Properties = {"triggers": ["x"], "create": "a", "connection": Secret({"host": "a", "user": "root"})}
    assert changed(driver, olds, olds) == {}
    assert changed(driver, olds, olds | {"connection": Secret({"host": "b", "user": "root"})}) == {"connection": "UPDATE"}
    assert changed(driver, olds | {"connection": {"host": "a", "user": "root"}}, olds) == {"connection": "UPDATE"}
    assert changed(driver, olds, olds | {"create": Secret("a")}) == {"create": "UPDATE"}
    assert changed(driver, olds, olds | {"triggers": ["y"]}) == {"triggers[0]": "UPDATE"}
    assert changed(driver, olds, olds | {"triggers": ["x", "y"]}) == {"triggers[1]": "ADD"}
    assert changed(driver, olds, olds | {"triggers": [Secret("x")]}) == {"triggers[0]": "UPDATE"}
    assert changed(driver, olds, olds | {"triggers": Secret(["x"])}) == {"triggers": "UPDATE_REPLACE"}
    assert changed(driver, olds, olds | {"triggers": UNKNOWN}) == {"triggers": "UPDATE_REPLACE"}
    assert changed(driver, {"create": "a"}, {"create": "a", "triggers": ["x"]}) == {"triggers": "ADD_REPLACE"}
    assert changed(driver, {"create": "a", "triggers": ["x"]}, {"create": "a"}) == {"triggers": "DELETE_REPLACE"}


def test_a_host_key_that_stays_wrong_ends_at_the_limit(
    driver: Driver, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_FIRST_DELAY_SECONDS", 0.0)
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    wrong = server.connection | {"hostKey": other, "dialErrorLimit": 3}
    with pytest.raises(AbortedError, match=r"^after 3 failed attempts: ssh: handshake failed: ssh: host key mismatch$"):
        driver.made(COMMAND, {"connection": wrong, "create": f"touch {tmp_path}/ran", "stdin": Secret(PLANTED)})
    assert driver.engine.texts == [f"Dial {attempt}/3 failed: retrying" for attempt in (1, 2, 3)]
    assert not (tmp_path / "ran").exists()


def test_a_key_of_the_first_boot_costs_dials_until_the_host_has_its_own(
    driver: Driver, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_FIRST_DELAY_SECONDS", 0.0)
    server.show(asyncssh.generate_private_key("ssh-ed25519"))
    log = driver.engine.Log

    def cloud_init(request: Any, timeout: float) -> None:
        log(request, timeout)
        if request.message.startswith("Dial 2/"):
            server.show(server.host_key)

    monkeypatch.setattr(driver.engine, "Log", cloud_init)
    assert driver.made(COMMAND, inputs(server, create="echo in"))[2]["stdout"] == "in"
    assert driver.engine.texts == ["Dial 1/2 failed: retrying", "Dial 2/2 failed: retrying", "in"]


def test_without_a_host_key_any_is_taken(driver: Driver, server: Server) -> None:
    given = {key: value for key, value in server.connection.items() if key != "hostKey"}
    assert driver.made(COMMAND, {"connection": given, "create": "echo in"})[2]["stdout"] == "in"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"hostKey": "nonsense"}, "^failed to parse host key: "),
        ({"privateKey": "nonsense"}, "^connection.privateKey cannot be used: "),
    ],
)
def test_keys_that_cannot_be_read(driver: Driver, server: Server, change: Properties, expected: str) -> None:
    with pytest.raises(AbortedError, match=expected):
        driver.made(COMMAND, {"connection": server.connection | change, "create": "true"})


def test_a_closed_port_is_dialled_again_up_to_the_limit(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_FIRST_DELAY_SECONDS", 0.0)
    with pytest.raises(AbortedError, match=r"^after 2 failed attempts: dial tcp 127.0.0.1:1: connect: connection refused$"):
        driver.made(COMMAND, {"connection": {"host": "127.0.0.1", "port": 1, "dialErrorLimit": 2}, "create": "true"})
    assert driver.engine.texts == ["Dial 1/2 failed: retrying", "Dial 2/2 failed: retrying"]


def test_a_host_that_takes_no_connection_costs_the_dials_own_limit(driver: Driver) -> None:
    """A full backlog: the kernel answers no further connection."""
    with socket.socket() as deaf, contextlib.ExitStack() as callers:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address, port = deaf.getsockname()
        for _ in range(2):
            caller = callers.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex((address, port))
        given: Properties = {"host": address, "port": port, "dialErrorLimit": 0, "perDialTimeout": 1}
        with pytest.raises(AbortedError, match=f"^after 0 failed attempts: dial tcp 127.0.0.1:{port}: i/o timeout$"):
            driver.made(COMMAND, {"connection": given, "create": "true"})


def test_a_host_that_takes_the_connection_and_says_nothing_is_waited_for_for_ever(driver: Driver) -> None:
    """As the official plugin does: neither its limits nor a cancelled update end a handshake."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        given: Properties = {"host": "127.0.0.1", "port": silent.getsockname()[1], "dialErrorLimit": 0, "perDialTimeout": 1}
        ended, thread = in_background(lambda: driver.made(COMMAND, {"connection": given, "create": "true"}))
        taken, _ = silent.accept()
        driver.plugin.Cancel(None, driver.grpc)  # type: ignore[arg-type]
        assert not ended.wait(1.5), "longer than perDialTimeout"
        taken.close()
        thread.join()
    assert str(ended.error).startswith("after 0 failed attempts: ssh: handshake failed: ")


@pytest.mark.parametrize("given", ["agentSocketPath", "SSH_AUTH_SOCK"])
def test_an_agent_that_is_gone_fails_every_step_though_a_key_is_given(
    driver: Driver, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    gone = str(tmp_path / "agent.123")
    named: Properties = {given: gone} if given == "agentSocketPath" else {}
    if not named:
        monkeypatch.setenv(given, gone)
    with pytest.raises(AbortedError, match=f"^dial unix {gone}: connect: no such file or directory$"):
        driver.made(COMMAND, {"connection": server.connection | named, "create": "true"})
    monkeypatch.setenv("SSH_AUTH_SOCK", "")
    assert driver.made(COMMAND, inputs(server, create="echo in"))[2]["stdout"] == "in"


def test_a_wrong_user_key_is_dialled_again_as_the_host_may_not_have_it_yet(
    driver: Driver, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_FIRST_DELAY_SECONDS", 0.0)
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with pytest.raises(AbortedError, match=r"ssh: unable to authenticate, attempted methods .none publickey., no"):
        driver.made(COMMAND, {"connection": server.connection | {"privateKey": other, "dialErrorLimit": 1}, "create": "true"})


class Ended(threading.Event):
    """Whether a call has ended, and how."""

    error: BaseException | None = None


def in_background(call: Callable[[], object]) -> tuple[Ended, threading.Thread]:
    ended = Ended()

    def run() -> None:
        try:
            call()
        except AbortedError as error:
            ended.error = error
        ended.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return ended, thread


def cancelled_after(driver: Driver, event: threading.Event) -> threading.Thread:
    """Cancels the update as soon as something has happened."""

    def cancel() -> None:
        event.wait()
        driver.plugin.Cancel(None, driver.grpc)  # type: ignore[arg-type]

    thread = threading.Thread(target=cancel)
    thread.start()
    return thread


def test_a_cancelled_update_lets_a_running_command_end(driver: Driver, server: Server) -> None:
    """As the official plugin does: only its dialling heeds the update's context."""
    server.started.clear()
    thread = cancelled_after(driver, server.started)
    *_, state = driver.made(COMMAND, inputs(server, create="cat >/dev/null; sleep 0.5; echo done"))
    thread.join()
    assert state["stdout"] == "done"


def test_a_cancelled_update_ends_the_dialling(driver: Driver) -> None:
    dialled = threading.Event()
    dialled.set()
    thread = cancelled_after(driver, dialled)
    with pytest.raises(AbortedError, match=r"^context canceled$"):
        driver.made(COMMAND, {"connection": {"host": "127.0.0.1", "port": 1, "dialErrorLimit": -1}, "create": "true"})
    thread.join()


def test_what_is_not_simulated_is_refused(driver: Driver) -> None:
    _, problems = driver.check(COMMAND, {"connection": {"host": "h", "proxy": {"host": "p"}}})
    (problem,) = problems
    assert problem.startswith("connection.proxy is not simulated by the local cloud, whose hosts are dialled directly")


def test_variables_that_sshd_would_refuse_are_an_error(driver: Driver, server: Server) -> None:
    with pytest.raises(AbortedError, match=r'could not set environment variable "TOKEN": ssh: setenv failed'):
        driver.made(COMMAND, inputs(server, create="true", environment={"TOKEN": "x"}))
    assert "AcceptEnv" in driver.engine.texts[0]
    _, _, state = driver.made(COMMAND, inputs(server, create="echo ok", environment={"LC_ALL": "C"}))
    assert state["stdout"] == "ok"


class Cloud(BaseHTTPRequestHandler):
    """Answers as the local cloud's control interface: the second time, the host is there."""

    answers: list[tuple[int, dict[str, Any]]]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status, body = self.answers.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Cloud]]:
    kind = type("Cloud", (Cloud,), {"answers": [], "asked": []})
    listening = HTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listening.server_port}")
    yield kind
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_the_local_cloud_is_asked_for_the_port_at_every_attempt(server: Server, cloud: type[Cloud]) -> None:
    cloud.answers += [(404, {"error": "no rule admits port 22"}), (200, {"port": server.port})]
    driver = Driver(CommandPlugin("127.0.0.1:1"))
    given: Properties = {"connection": server.connection | {"port": 22}, "create": "echo in"}
    assert driver.made(COMMAND, given)[2]["stdout"] == "in"
    assert cloud.asked == ["/_localcloud/ports/127.0.0.1/22"] * 2
    assert driver.engine.texts == ["Dial 1/2 failed: retrying", "in"]


def test_a_local_cloud_that_is_gone_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    driver = Driver(CommandPlugin("127.0.0.1:1"))
    with pytest.raises(
        AbortedError, match=r"^the local cloud at http://127.0.0.1:1 does not answer: start it with `edge cloud start`$"
    ):
        driver.made(COMMAND, {"connection": {"host": "127.8.1.5"}, "create": "true"})


def asset(**given: object) -> Properties:
    return {SIGNATURE: "…", "hash": "…", **given}


def test_copies_follow_the_official_rules(driver: Driver, server: Server, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    (source / "a").write_text("a")
    (source / "sub" / "b").write_text("b")
    (target / "existing").mkdir(parents=True)
    copies: list[tuple[Properties, str, str, str]] = [
        (asset(text="text"), "new/text", "new/text", "text"),
        (asset(path=str(source / "a")), "new/file", "new/file", "a"),
        (asset(path=str(source / "a")), "existing", "existing/a", "a"),
        (asset(path=str(source)), "dir", "dir/source/sub/b", "b"),
        (asset(path=f"{source}/"), "content", "content/sub/b", "b"),
        (asset(assets={"one": asset(text="1"), "two": asset(path=str(source / "a"))}), "many", "many/two", "a"),
    ]
    for given, path, found, content in copies:
        driver.made(COPY, inputs(server, source=given, remotePath=str(target / path)))
        assert (target / found).read_text() == content
    with pytest.raises(AbortedError, match=r"is a directory; for a text it must be a file path"):
        driver.made(COPY, inputs(server, source=asset(text="x"), remotePath=str(target)))
    with pytest.raises(AbortedError, match=r"^cannot copy to /proc/none/x: "):
        driver.made(COPY, inputs(server, source=asset(text="x"), remotePath="/proc/none/x"))


def test_a_copy_is_made_again_when_source_or_target_changed(driver: Driver, server: Server, tmp_path: Path) -> None:
    target = tmp_path / "x"
    resource_id, olds, state = driver.made(COPY, inputs(server, source=asset(text="1"), remotePath=str(target)))
    target.write_text("drifted")
    driver.update(COPY, resource_id, state, olds, olds | {"connection": Secret(server.connection | {"dialErrorLimit": 9})})
    assert target.read_text() == "drifted"
    driver.update(COPY, resource_id, state, olds, olds | {"source": asset(text="2")})
    assert target.read_text() == "2"
    driver.delete(COPY, resource_id, state)
    assert target.exists()


def test_urls_are_refused(driver: Driver) -> None:
    _, problems = driver.check(COPY, {"connection": {"host": "h"}, "remotePath": "/x", "source": asset(uri="https://x")})
    assert problems == ["source must be a path-based file asset or a text asset"]
