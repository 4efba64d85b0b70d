"""The deployer's way in: user data under real cloud-init, the `command` plugin against a real OpenSSH server."""

# asyncssh leaves the parameters of its key generator untyped:
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import subprocess
import threading
from typing import TYPE_CHECKING

import asyncssh
import pytest

from tests.engine.support import process_files, wait_for
from tests.host.machine import LOGIN, Machine
from tests.unit.plugins.driver import AbortedError

if TYPE_CHECKING:
    from tests.host.deployer import Deployer

pytestmark = pytest.mark.host


def in_network(machine: Machine, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["nsenter", f"--net={machine.network_path}", *command], capture_output=True, text=True, check=False)


def test_cloud_init_takes_the_user_data_whole(machine: Machine) -> None:
    assert "Valid" in machine.console("cloud-init schema --config-file /var/lib/cloud/seed/nocloud/user-data")
    assert "errors" not in machine.console("cloud-init schema --system 2>&1", check=False)


def test_a_command_runs_on_the_host_that_shows_the_derived_key(deployer: Deployer) -> None:
    state = deployer.command("id -un; sudo -n id -un; echo told >&2")
    assert (state["stdout"], state["stderr"]) == (f"{LOGIN}\nroot", "told")


def test_a_host_with_another_key_is_refused(deployer: Deployer) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    with pytest.raises(AbortedError, match=r"^dial 127.0.0.1:22: Host key is not trusted for host 127.0.0.1$"):
        deployer.command("touch /tmp/must-not-be", hostKey=other)
    assert deployer.output("ls /tmp") == ""


def test_the_host_has_one_key_to_show(deployer: Deployer) -> None:
    """Though other types lie beside it: distributions make them at the first start of sshd."""
    assert "rsa" in deployer.output("ls /etc/ssh")
    shown = in_network(deployer.machine, "ssh-keyscan", "127.0.0.1").stdout.splitlines()
    assert shown == [f"127.0.0.1 {deployer.host_key}"]


async def login(user: str, **credentials: object) -> None:
    options = {"known_hosts": None, "config": None, "agent_path": None, "client_keys": None, **credentials}
    async with asyncssh.connect("127.0.0.1", 22, username=user, **options):
        pass


@pytest.mark.parametrize("user", [LOGIN, "root"])
def test_no_password_opens_the_host(deployer: Deployer, user: str) -> None:
    deployer.machine.console(f"echo {user}:right | chpasswd")
    with deployer.machine.network(), pytest.raises(asyncssh.PermissionDenied):
        asyncio.run(login(user, password="right"))  # noqa: S106
    offered = in_network(deployer.machine, "ssh", "-v", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes",
                         "-o", "UserKnownHostsFile=/dev/null", f"{user}@127.0.0.1", "true")  # fmt: skip
    assert "Authentications that can continue: publickey\n" in offered.stderr


def test_the_drop_in_alone_rules_out_passwords(deployer: Deployer) -> None:
    """Whatever the distribution's own file says after it, and without cloud-init's own drop-in."""
    settings = "PasswordAuthentication yes\nKbdInteractiveAuthentication yes\nPermitRootLogin yes\nUsePAM yes"
    included = "Include /etc/ssh/sshd_config.d/10-edge-inference.conf"
    deployer.machine.console(f"printf '{included}\n{settings}\n' >/tmp/sshd_config")
    used = deployer.machine.console("sshd -T -f /tmp/sshd_config; rm /tmp/sshd_config").splitlines()
    assert {"passwordauthentication no", "permitrootlogin no", "kbdinteractiveauthentication no"} <= set(used)
    assert [line for line in used if line.startswith("hostkey ")] == ["hostkey /etc/ssh/ssh_host_ed25519_key"]


def test_root_is_not_let_in_even_with_the_deployers_key(deployer: Deployer) -> None:
    deployer.machine.console(f"mkdir -p -m 700 /root/.ssh; cp /home/{LOGIN}/.ssh/authorized_keys /root/.ssh/authorized_keys")
    with deployer.machine.network(), pytest.raises(asyncssh.PermissionDenied):
        asyncio.run(login("root", client_keys=[asyncssh.import_private_key(deployer.private_key)]))


def test_another_key_does_not_open_the_host(deployer: Deployer) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with pytest.raises(AbortedError, match="after 1 failed attempts: Permission denied"):
        deployer.command("true", privateKey=key, dialErrorLimit=1)


def test_a_long_line_arrives_whole(deployer: Deployer) -> None:
    assert len(deployer.output("head -c 70000 /dev/zero | tr '\\0' x")) == 70000
    assert len(deployer.output("head -c 70000 /dev/zero | tr '\\0' x; echo; echo end")) == 70004


def test_a_command_has_no_terminal(deployer: Deployer) -> None:
    assert deployer.output("tty; test -t 0 || test -t 1 || test -t 2 || echo none") == "not a tty\nnone"


def test_what_comes_on_standard_input_is_nowhere_else(deployer: Deployer) -> None:
    """This machine sees all processes of the other one, with their arguments and environments."""
    planted = "planted-on-standard-input"
    state: dict[str, object] = {}

    def deploy() -> None:
        state.update(
            deployer.command("read -r secret; mkfifo /tmp/go; touch /tmp/reading; read -r < /tmp/go; rm /tmp/go", f"{planted}\n")
        )

    thread = threading.Thread(target=deploy)
    thread.start()
    wait_for("the command", lambda: "reading" in deployer.machine.console("ls /tmp"))
    seen = [pid for name in ("cmdline", "environ") for pid, content in process_files(name) if planted.encode() in content]
    deployer.machine.console("echo >/tmp/go")
    thread.join()
    assert seen == []
    assert planted not in str({key: value for key, value in state.items() if key != "stdin"})
    assert deployer.machine.files_with(planted) == []


def test_only_locale_variables_reach_a_command(deployer: Deployer) -> None:
    """As the plugin says before it asks the host."""

    async def seen() -> object:
        async with asyncssh.connect(
            *("127.0.0.1", 22),
            username=LOGIN,
            config=None,
            agent_path=None,
            known_hosts=([asyncssh.import_public_key(deployer.host_key)], [], []),
            client_keys=[asyncssh.import_private_key(deployer.private_key)],
        ) as connection:
            return (await connection.run("echo $LC_EDGE $EDGE", env={"LC_EDGE": "locale", "EDGE": "other"}, check=True)).stdout

    with deployer.machine.network():
        assert asyncio.run(seen()) == "locale\n"


def test_a_host_that_dies_ends_the_command_and_is_waited_for_by_the_next(deployer: Deployer) -> None:
    """And an ordinary boot changes nothing: the same key, the same login."""
    machine, said = deployer.machine, list[str]()

    def deploy() -> None:
        try:
            deployer.output("touch /run/user-is-in; sleep 600", stdin="")
        except AbortedError as error:
            said.append(str(error))
        said.append(deployer.output("echo up"))

    machine.console("chmod 1777 /run")
    thread = threading.Thread(target=deploy)
    thread.start()
    wait_for("the command", lambda: "user-is-in" in machine.console("ls /run"))
    machine.cut_power()
    wait_for("a refused attempt", lambda: any(text.startswith("Dial 2/") for text in deployer.driver.engine.texts))
    machine.boot()
    thread.join()
    assert said[0].startswith("Connection lost: running "), said[0]
    assert said[1] == "up"
    machine.wait_until_booted()
