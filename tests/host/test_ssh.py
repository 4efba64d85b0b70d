"""The deployer's way in: user data under real cloud-init, the `command` plugin against a real OpenSSH server.

And against the SSH server of a host of the local cloud, as far as that has it.
"""

# asyncssh leaves the parameters of its key generator untyped:
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import re
import shutil
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
    from tests.host.stand_in import StandIn

pytestmark = pytest.mark.host

SCRATCH = "${TMPDIR:-/tmp}"


def in_network(machine: Machine | StandIn, *command: str) -> subprocess.CompletedProcess[str]:
    enter = ["nsenter", f"--net={machine.network_path}"] if isinstance(machine, Machine) else []
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=False)


ONE_USER = "commands on a host of the local cloud all run as the person who started it; it has no passwords"


@pytest.mark.real_only("the local cloud reads user data by itself")
def test_cloud_init_takes_the_user_data_whole(machine: Machine) -> None:
    assert "Valid" in machine.console("cloud-init schema --config-file /var/lib/cloud/seed/nocloud/user-data")
    assert "errors" not in machine.console("cloud-init schema --system 2>&1", check=False)


def test_a_command_runs_on_the_host_that_shows_the_derived_key(deployer: Deployer) -> None:
    state = deployer.command("echo $USER; sudo -n echo as root; echo told >&2")
    assert (state["stdout"], state["stderr"]) == (f"{LOGIN}\nas root", "told")


@pytest.mark.real_only(ONE_USER)
def test_commands_run_as_the_login_user_and_root(deployer: Deployer) -> None:
    assert deployer.output("id -un; sudo -n id -un") == f"{LOGIN}\nroot"


def test_a_host_with_another_key_is_refused(deployer: Deployer) -> None:
    """Only at the limit: sshd may show another key before cloud-init has run."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    with pytest.raises(AbortedError, match=r"^after 2 failed attempts: ssh: handshake failed: ssh: host key mismatch$"):
        deployer.command(f"touch {SCRATCH}/must-not-be", hostKey=other, dialErrorLimit=2)
    assert "must-not-be" not in deployer.output(f"ls {SCRATCH}")


@pytest.mark.real_only(ONE_USER)
def test_only_root_can_read_the_hosts_private_key(deployer: Deployer) -> None:
    """Wherever cloud-init keeps the user data that brought it; this machine's seed stands for the metadata service."""
    machine = deployer.machine
    private = machine.console("cat /etc/ssh/ssh_host_ed25519_key").splitlines()[4]
    found = [path for path in machine.files_with(private) if "/seed/" not in path]
    assert "/etc/ssh/ssh_host_ed25519_key" in found
    modes = machine.console(f"stat --format '%U %a' {' '.join(found)}").split()
    assert set(modes) <= {"root", "600", "400"}, (found, modes)


@pytest.mark.real_only("a host of the local cloud shows such a key as a fault: tests/unit/hosts/test_hosts.py")
def test_a_key_of_the_first_boot_costs_dials_until_the_host_has_its_own(deployer: Deployer) -> None:
    machine, said = deployer.machine, list[str]()
    key = "/etc/ssh/ssh_host_ed25519_key"
    machine.console(
        f"mv {key} /root/own; ssh-keygen -q -t ed25519 -N '' -f /root/first; cp /root/first {key}; systemctl restart ssh"
    )
    already = len(deployer.driver.engine.texts)
    thread = threading.Thread(target=lambda: said.append(deployer.output("echo in")))
    thread.start()
    wait_for("refused dials", lambda: any(text.startswith("Dial 2/") for text in deployer.driver.engine.texts[already:]))
    machine.console(f"mv /root/own {key}; rm /root/first*; systemctl restart ssh")
    thread.join()
    assert said == ["in"]
    dials = [text for text in deployer.driver.engine.texts[already:] if text.startswith("Dial ")]
    assert len(dials) >= 2


def test_the_host_has_one_key_to_show(deployer: Deployer) -> None:
    """Though other types lie beside it on a real one: distributions make them at the first start of sshd."""
    machine = deployer.machine
    if isinstance(machine, Machine):
        assert "rsa" in deployer.output("ls /etc/ssh")
    elif not shutil.which("ssh-keyscan"):
        pytest.skip("no ssh-keyscan here")
    shown = in_network(machine, "ssh-keyscan", "-p", str(machine.ssh_port), machine.address).stdout.splitlines()
    assert [line.partition(" ")[2] for line in shown] == [deployer.host_key]


async def login(deployer: Deployer, user: str, **credentials: object) -> None:
    options = {"known_hosts": None, "config": None, "agent_path": None, "client_keys": None, **credentials}
    async with asyncssh.connect(deployer.machine.address, deployer.machine.ssh_port, username=user, **options):
        pass


@pytest.mark.real_only(ONE_USER)
@pytest.mark.parametrize("user", [LOGIN, "root"])
def test_no_password_opens_the_host(deployer: Deployer, user: str) -> None:
    deployer.machine.console(f"echo {user}:right | chpasswd")
    with deployer.machine.network(), pytest.raises(asyncssh.PermissionDenied):
        asyncio.run(login(deployer, user, password="right"))  # noqa: S106
    offered = in_network(deployer.machine, "ssh", "-v", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes",
                         "-o", "UserKnownHostsFile=/dev/null", f"{user}@127.0.0.1", "true")  # fmt: skip
    assert "Authentications that can continue: publickey\n" in offered.stderr


@pytest.mark.real_only("the local cloud has no sshd_config")
def test_the_drop_in_alone_rules_out_passwords(deployer: Deployer) -> None:
    """Whatever the distribution's own file says after it, and without cloud-init's own drop-in."""
    settings = "PasswordAuthentication yes\nKbdInteractiveAuthentication yes\nPermitRootLogin yes\nUsePAM yes"
    included = "Include /etc/ssh/sshd_config.d/10-edge-inference.conf"
    deployer.machine.console(f"printf '{included}\n{settings}\n' >/tmp/sshd_config")
    used = deployer.machine.console("sshd -T -f /tmp/sshd_config; rm /tmp/sshd_config").splitlines()
    assert {"passwordauthentication no", "permitrootlogin no", "kbdinteractiveauthentication no"} <= set(used)
    assert [line for line in used if line.startswith("hostkey ")] == ["hostkey /etc/ssh/ssh_host_ed25519_key"]


def test_root_is_not_let_in_even_with_the_deployers_key(deployer: Deployer) -> None:
    if isinstance(deployer.machine, Machine):
        deployer.machine.console(f"mkdir -p -m 700 /root/.ssh; cp /home/{LOGIN}/.ssh/authorized_keys /root/.ssh/authorized_keys")
    with deployer.machine.network(), pytest.raises(asyncssh.PermissionDenied):
        asyncio.run(login(deployer, "root", client_keys=[asyncssh.import_private_key(deployer.private_key)]))


def test_another_key_does_not_open_the_host(deployer: Deployer) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with pytest.raises(AbortedError, match="after 1 failed attempts: ssh: handshake failed: ssh: unable to authenticate"):
        deployer.command("true", privateKey=key, dialErrorLimit=1)


def test_a_long_line_arrives_whole(deployer: Deployer) -> None:
    assert len(deployer.output("head -c 65000 /dev/zero | tr '\\0' x")) == 65000
    with pytest.raises(AbortedError, match="on one of 65536 or more the official plugin hangs for ever"):
        deployer.output("head -c 70000 /dev/zero | tr '\\0' x; echo; echo end")


def test_a_command_has_no_terminal(deployer: Deployer) -> None:
    assert deployer.output("tty; test -t 0 || test -t 1 || test -t 2 || echo none") == "not a tty\nnone"


def test_what_comes_on_standard_input_is_nowhere_else(deployer: Deployer) -> None:
    """This machine sees all processes of the other one, with their arguments and environments."""
    planted = "planted-on-standard-input"
    state: dict[str, object] = {}

    def deploy() -> None:
        state.update(
            deployer.command(f"read -r secret; cd {SCRATCH}; mkfifo go; touch reading; read -r < go; rm go", f"{planted}\n")
        )

    thread = threading.Thread(target=deploy)
    thread.start()
    wait_for("the command", lambda: "reading" in deployer.machine.console(f"ls {SCRATCH}"))
    seen = [pid for name in ("cmdline", "environ") for pid, content in process_files(name) if planted.encode() in content]
    deployer.machine.console(f"echo >{SCRATCH}/go")
    thread.join()
    assert seen == []
    assert planted not in str({key: value for key, value in state.items() if key != "stdin"})
    assert deployer.machine.files_with(planted) == []


def test_only_locale_variables_reach_a_command(deployer: Deployer) -> None:
    """As the plugin says before it asks the host."""

    async def seen() -> object:
        async with asyncssh.connect(
            *(deployer.machine.address, deployer.machine.ssh_port),
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
            deployer.output(f"touch {SCRATCH}/user-is-in; sleep 600", stdin="")
        except AbortedError as error:
            said.append(str(error))
        said.append(deployer.output("echo up"))

    already = len(deployer.driver.engine.texts)
    thread = threading.Thread(target=deploy)
    thread.start()
    wait_for("the command", lambda: "user-is-in" in machine.console(f"ls {SCRATCH}"))
    machine.cut_power()
    wait_for("a refused attempt", lambda: any(text.startswith("Dial 2/") for text in deployer.driver.engine.texts[already:]))
    machine.boot()
    thread.join()
    assert re.match(r"(Connection lost|\[Errno 104\] Connection reset by peer): running ", said[0]), said[0]
    assert said[1] == "up"
    machine.wait_until_booted()
