"""Life of a host: boot, SSH, doorways, stop, start, termination."""

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from host_rig import HOST_KEY, USER_DATA, Instance, new_key, rig
from http_client import ask

from localcloud.hosts import user_data
from localcloud.hosts.doorway import bound_socket


def test_a_command_runs_on_the_hosts_own_root_and_its_status_follows_all_output(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            instance = await r.boot()
            root = r.hosts.hosts["i-1"].root
            assert (
                await r.good(instance, "echo $HOME $EDGE_HOST_ROOT; pwd") == f"{root}/home/ec2-user {root}\n{root}/home/ec2-user"
            )
            long = "head -c 3000000 /dev/zero | tr '\\0' x; echo why >&2; exit 3"
            status, out, err = await r.run(instance, long)
            assert (status, len(out), err) == (3, 3_000_000, "why\n")
            assert await r.good(instance, "tr a-z A-Z", "secret") == "SECRET"
            assert await r.good(instance, "sudo -n env X=1 sh -c 'echo $X'") == "1"

    asyncio.run(run())


def test_only_the_key_of_the_key_pair_gets_in_and_only_as_ec2_user(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            instance = await r.boot()
            stranger = new_key()
            tried: list[dict[str, Any]] = [
                {"client_keys": [stranger]},
                {"username": "root"},
                {"client_keys": [], "password": "x"},
            ]
            for options in tried:
                with pytest.raises(asyncssh.PermissionDenied):
                    await r.connect(instance, **options)
            with pytest.raises(asyncssh.HostKeyNotVerifiable):
                await r.connect(instance, known_hosts=([stranger.export_public_key()], [], []))

    asyncio.run(run())


def test_the_host_key_is_ed25519_and_the_one_of_the_user_data(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            instance = await r.boot()
            async with r.connect(instance) as connection:
                key = connection.get_server_host_key()
                assert key.get_algorithm() == "ssh-ed25519"
                assert key.public_data == HOST_KEY.public_data
            broken = await r.boot("i-2", user_data=b"#cloud-config\nssh_keys: {ed25519_private: nonsense}")
            with pytest.raises(asyncssh.HostKeyNotVerifiable):
                await r.connect(broken)
            anything = await r.connect(broken, known_hosts=None)
            done = await anything.run("cloud-init status --wait --long")
            anything.close()
            assert done.exit_status == 1
            assert "not an OpenSSH private key" in str(done.stdout)

    asyncio.run(run())


def test_sftp_is_rooted_at_the_host(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            instance = await r.boot()
            async with r.connect(instance) as connection, connection.start_sftp_client() as sftp:
                assert await sftp.getcwd() == "/home/ec2-user"
                async with sftp.open("/opt/file", "w") as file:
                    await file.write("there")
                async with sftp.open("../../../../etc/mine", "w") as file:
                    await file.write("x")
            root = r.hosts.hosts["i-1"].root
            assert (root / "opt/file").read_text() == "there"
            assert (root / "etc/mine").exists()

    asyncio.run(run())


async def _process_of(connection: asyncssh.SSHClientConnection) -> tuple[int, object]:
    """Start a command that would run on, in a process group of its own; its pid."""
    process = await connection.create_process("timeout 1000 bash -c 'echo $$; sleep 1000'")
    return int(await process.stdout.readline()), process


async def _ended(pid: int) -> None:
    """Wait until a process has ended."""
    while Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z":
        await asyncio.sleep(0.01)


def test_a_command_dies_with_its_connection_and_with_its_host(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            instance = await r.boot()
            async with r.connect(instance) as connection:
                pid, _ = await _process_of(connection)
                connection.abort()
            await asyncio.wait_for(_ended(pid), 10)
            async with r.connect(instance) as connection:
                pid, process = await _process_of(connection)
                del r.world.listed["i-1"]
                r.hosts.reconcile()
                await asyncio.wait_for(_ended(pid), 10)
                assert process.exit_status is None  # type: ignore[attr-defined]

    asyncio.run(run())


def test_an_address_leads_to_its_host_only_while_it_is_associated(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            first = await r.boot("i-1")
            second = await r.boot("i-2")
            await r.good(first, "touch here")
            async with r.connect(first) as connection:
                await r.put(replace(first, addresses=second.addresses), replace(second, addresses=first.addresses))
                await connection.wait_closed()  # cut: its address went away
            await r.until(lambda: len(r.hosts.doorways) == 2)
            assert await r.good(second, "ls") == "here"

    asyncio.run(run())


def test_a_refused_connection_is_reset_and_the_reason_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            instance = await r.boot()
            r.world.reason = "no inbound rule of security group sg-1 admits 127.0.0.1 to TCP port 22"
            with pytest.raises(OSError), caplog.at_level("INFO"):  # noqa: PT011 - reset or closed, as the kernel has it
                await r.connect(instance)
            assert f"refused 127.0.0.1 -> {instance.addresses[0]}:22: no inbound rule" in caplog.text
            r.world.reason = None
            await r.good(instance, "true")

    asyncio.run(run())


def test_a_server_is_reached_through_its_published_port_streams_and_comes_back_after_a_reboot(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            instance = await r.boot()
            await r.serve(instance)
            address = instance.addresses[0]
            port = r.hosts.doorways[address, 8080].inside_port
            answer = await asyncio.to_thread(ask, port, "/generate_stream", {"inputs": "a", "parameters": {"max_new_tokens": 2}})
            assert len(answer.events) == 2
            with socket.create_connection((address, 8080)) as plain:
                plain.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                assert (await asyncio.to_thread(plain.recv, 15)).startswith(b"HTTP/1.")
            (r.hosts.hosts["i-1"].root / "run/x").touch()
            await r.put(replace(instance, state="stopped"))
            await r.closed(instance, 8080)
            assert not r.hosts.doorways
            await r.put(instance)
            await r.opened(instance, 8080)
            await r.good(
                instance, "[ ! -e $EDGE_HOST_ROOT/run/x ] && [ -e $EDGE_HOST_ROOT/opt/edge-inference/model/config.json ]"
            )

    asyncio.run(run())


def test_a_stop_that_is_over_before_anybody_looked_is_a_reboot_all_the_same(tmp_path: Path) -> None:
    """As `up` does for a changed instanceType: stop, change, start."""

    async def run() -> None:
        async with rig(tmp_path) as r:
            instance = await r.boot()
            await r.serve(instance)
            mark = r.hosts.hosts["i-1"].root / "run/x"
            mark.touch()
            await r.put(replace(instance, stops=1))
            await r.until(lambda: not mark.exists())
            await r.opened(instance, 8080)

    asyncio.run(run())


def test_termination_removes_all(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            instance = await r.boot()
            await r.serve(instance)
            del r.world.listed["i-1"]
            r.hosts.reconcile()
            await r.until(lambda: not r.hosts.hosts)
            await r.closed(instance, 8080)
            assert list((r.hosts.directory / "hosts").iterdir()) == []
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((instance.addresses[0], 8080))

    asyncio.run(run())


def _never_boots_in_los_angeles(fault: str, zone: str) -> bool:
    return (fault, zone) == ("never_boot", "us-west-2-lax-1a")


def test_a_host_may_never_boot(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path, has_fault=_never_boots_in_los_angeles) as r:
            await r.put(Instance("i-1", zone="us-west-2-lax-1a"))
            await r.boot("i-2")
            assert [(status["instance_id"], status["state"]) for status in r.hosts.status()] == [
                ("i-1", "stopped"),
                ("i-2", "running"),
            ]

    asyncio.run(run())


def test_a_host_may_show_the_key_of_its_first_boot_at_first(tmp_path: Path) -> None:
    faults = {"first_boot_key"}

    def has_fault(fault: str, _zone: str) -> bool:
        return fault in faults

    async def run() -> None:
        async with rig(tmp_path, has_fault=has_fault) as r:
            instance = await r.boot()
            with pytest.raises(asyncssh.HostKeyNotVerifiable):
                await r.good(instance, "true")
            assert await r.run(instance, "cloud-init status", known_hosts=None) == (0, "status: running\n", "")
            faults.clear()
            await r.hosts.hosts["i-1"].cloud_init_done.wait()
            assert await r.good(instance, "cloud-init status") == "status: done"

    asyncio.run(run())


def test_a_port_that_is_taken_on_this_machine_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            instance = Instance("i-1")
            with socket.create_server((instance.addresses[0], 20022)):
                await r.put(instance)
                await r.until(lambda: r.hosts.problems)
                (text,) = r.hosts.problems.values()
                assert text == f"{instance.addresses[0]}:20022 cannot be opened on this machine: Address already in use"
            r.hosts.reconcile()
            await r.opened(instance)
            assert not r.hosts.problems

    asyncio.run(run())


def test_user_data_writes_files_below_the_root(tmp_path: Path) -> None:
    text = (
        "#cloud-config\nruncmd: [[reboot]]\nusers: [default, {name: ec2-user, ssh_authorized_keys: [k1]}]\nwrite_files:\n"
        "- {path: /etc/../../../a/b, content: aGk=, encoding: b64, permissions: '0600'}\n"
        "- {path: /c, content: d, permissions: 0640}\n"
    )
    config = user_data.parse(text.encode())
    config.write_files(tmp_path)
    assert (tmp_path / "etc/a/b").read_text() == "hi"
    assert (tmp_path / "etc/a/b").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o640
    assert (config.authorized_keys, config.ignored) == (("k1",), ("runcmd",))
    assert user_data.parse(b"#!/bin/sh\nreboot").ignored == ("#!/bin/sh",)
    assert user_data.parse(USER_DATA.encode()).host_key is not None


@pytest.mark.parametrize(
    "text", ["#cloud-config\n- a", "#cloud-config\n{", "#cloud-config\nwrite_files: [{path: /a, content: aGk, encoding: b64}]"]
)
def test_user_data_that_cloud_init_could_not_apply(text: str) -> None:
    with pytest.raises(user_data.UserDataError):
        user_data.parse(text.encode())


def test_timing_is_checked_before_it_is_changed(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            for wrong in (
                {"token_ms": -1},
                {"concurrency": 0},
                {"token_ms": "5"},
                {"speed": 1},
                {"token_ms": 9, "concurrency": 1.5},
            ):
                with pytest.raises(ValueError, match=r"token_ms|concurrency|speed"):
                    r.hosts.set_timing(dict(wrong))
            assert r.hosts.timing.token_ms == 0
            r.hosts.set_timing({"token_ms": 2.5, "concurrency": 3})
            assert (r.hosts.timing.token_ms, r.hosts.timing.concurrency) == (2.5, 3)

    asyncio.run(run())


def test_no_side_of_a_doorway_waits_for_acknowledgements() -> None:
    async def run() -> None:
        with bound_socket("127.0.0.1", 0) as listener:
            listener.listen()
            with socket.create_connection(listener.getsockname()):
                accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
                with accepted:
                    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    asyncio.run(run())
