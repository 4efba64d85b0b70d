"""A machine of the host tier: real sshd, sudo, cloud-init and dockerd in namespaces, booted from this machine's own root.

It has its own disk, network and processes: nothing of this machine changes, and all of it goes with its process 1. Leaves out
systemd, the GPU and its driver, for which it has stand-ins (machine/), and a way to any other network.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    from components.host_steps import ServingSpec

_SCRIPTS = Path(__file__).parent / "machine"
_PROGRAMS = {
    "init.sh": "usr/local/sbin/edge-init",
    "systemctl.sh": "usr/local/bin/systemctl",
    "nvidia-smi.sh": "usr/local/bin/nvidia-smi",
}
_STATE = Path("etc/edge-machine")
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
"""Nothing of the test run's own environment gets to the machine."""
_CLONE_NEWNET = 0x40000000
_BOOT_SECONDS = 300.0
LOGIN = "ec2-user"
NEEDED = ("cloud-init", "dockerd", "ip", "nsenter", "sshd", "sudo", "unshare", "curl")


class MachineError(Exception):
    """No such machine can be made here; the text says why."""


class Machine:
    """Hardware that is switched on, and can be booted and cut off the power as often as one likes."""

    address, ssh_port = "127.0.0.1", 22
    """Where its sshd is, in its own network."""
    home = "/opt/edge-inference"
    """Where the steps keep what they write."""
    owner = "root"
    """Who owns that."""

    def __init__(self, user_data: str, public_key: str) -> None:
        # Not pytest's own folder: its path is too long for sockets.
        self._directory = Path(tempfile.mkdtemp(prefix="edge-host-"))
        for name in ("disk", "docker", "root"):
            (self._directory / name).mkdir()
        command = ["unshare", "--mount", "--net", "--propagation", "private", "bash", _SCRIPTS / "hardware.sh", self._directory]
        pipe = subprocess.PIPE
        self._hardware = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=_ENVIRONMENT)
        self._running: subprocess.Popen[bytes] | None = None
        assert self._hardware.stdout is not None
        if (said := self._hardware.stdout.readline()) != "switched on\n":
            self.scrap()
            raise MachineError(said.strip())
        self._install_image(user_data, public_key)

    def _install_image(self, user_data: str, public_key: str) -> None:
        """What the machine image and its metadata service would bring."""
        for name, target in _PROGRAMS.items():
            (self.disk / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(_SCRIPTS / name, self.disk / target)
            (self.disk / target).chmod(0o755)
        # The one of Debian's package, whatever else this machine has.
        (self.disk / "usr/local/bin/docker").symlink_to("/usr/bin/docker")
        # dockerd takes `--gpus` when it finds this program.
        hook = self.disk / "usr/local/bin/nvidia-container-runtime-hook"
        hook.write_text("#!/bin/sh\n")
        hook.chmod(0o755)
        (self.disk / "etc/docker").mkdir(parents=True)
        (self.disk / "etc/docker/daemon.json").write_text(json.dumps({"cgroup-parent": f"/{self._directory.name}"}))
        seed = self.disk / "var/lib/cloud/seed/nocloud"
        seed.mkdir(parents=True)
        (seed / "user-data").write_text(user_data)
        (seed / "meta-data").write_text(json.dumps({"instance-id": "i-0123456789abcdef0", "public-keys": [public_key]}))
        (self.disk / _STATE).mkdir(parents=True)
        (self.disk / "etc/cloud").mkdir()
        shutil.copy(_SCRIPTS / "cloud.cfg", self.disk / "etc/cloud/cloud.cfg")
        (self.disk / "etc/hosts").write_text("127.0.0.1 localhost edge-host\n")

    @property
    def disk(self) -> Path:
        """What was written to the machine's disk."""
        return Path(f"/proc/{self._hardware.pid}/root{self._directory}/disk/upper")

    def boot(self) -> None:
        """Starts to boot."""
        enter = ["nsenter", f"--target={self._hardware.pid}", "--mount", "--net"]
        apart = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        command = [*enter, *apart, "bash", _SCRIPTS / "boot.sh", self._directory]
        with (self._directory / "console.log").open("ab") as console:
            self._running = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=console, stderr=subprocess.STDOUT, env=_ENVIRONMENT
            )

    def cut_power(self) -> None:
        """Ends every process at once."""
        if self._running is not None:
            self._running.communicate()
            self._running = None

    def scrap(self) -> None:
        """Ends the machine and removes what it was made of."""
        self.cut_power()
        self._hardware.communicate()
        groups = Path("/sys/fs/cgroup").glob(f"**/{self._directory.name}/**/")
        for group in sorted(groups, reverse=True):
            group.rmdir()
        shutil.rmtree(self._directory)

    def expects(self, spec: ServingSpec) -> None:
        """Nothing to do: the registry behaves as the image is named."""

    def reach(self, port: int) -> str:
        """Address and port that lead to a port of the machine, in its own network."""
        return f"{self.address}:{port}"

    @property
    def commands(self) -> str:
        """Command lines of all its processes."""
        return self.console("ps -eo args")

    def console(self, command: str, *, check: bool = True, stdin: bytes = b"") -> str:
        """Output of a shell command that root runs at the machine's own console, whatever sshd says."""
        ran = subprocess.run(
            [
                "nsenter",
                f"--target={self._init}",
                "--mount",
                "--net",
                "--pid",
                "--uts",
                "--ipc",
                "-r",
                "-w",
                "bash",
                "-c",
                command,
            ],
            input=stdin,
            capture_output=True,
            check=False,
            env=_ENVIRONMENT,
        )
        said = (ran.stdout + ran.stderr).decode()
        if check and ran.returncode:
            raise MachineError(f"{command}: status {ran.returncode}\n{said}")
        return said

    def wait_until_booted(self) -> None:
        """Returns when cloud-init is through; MachineError with the console's last lines where it never is."""
        deadline = time.monotonic() + _BOOT_SECONDS
        while True:
            with contextlib.suppress(MachineError, OSError):
                self.console("test -e /run/cloud-init/result.json && systemctl is-active ssh")
                return
            if time.monotonic() > deadline or self._running is None or self._running.poll() is not None:
                lines = (self._directory / "console.log").read_text().splitlines()
                raise MachineError("\n".join(lines[-5:]))
            time.sleep(0.1)

    @property
    def _init(self) -> int:
        """Process 1, as this machine counts."""
        if self._running is None:
            raise MachineError("the machine is off")
        children = Path(f"/proc/{self._running.pid}/task/{self._running.pid}/children").read_text().split()
        if not children:
            raise MachineError("the machine has not started yet")
        return int(children[0])

    @property
    def network_path(self) -> str:
        """The machine's network namespace, for `nsenter --net=`."""
        return f"/proc/{self._hardware.pid}/ns/net"

    @contextlib.contextmanager
    def network(self) -> Generator[None]:
        """Sockets that this thread opens meanwhile, and processes it starts, are in the machine's network."""
        libc = ctypes.CDLL(None, use_errno=True)

        def enter(path: str | Path) -> None:
            with Path(path).open("rb") as namespace:
                if libc.setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

        with Path("/proc/thread-self/ns/net").open("rb") as own:
            enter(self.network_path)
            try:
                yield
            finally:
                enter(f"/proc/self/fd/{own.fileno()}")

    def switch(self, name: str, *, on: bool) -> None:
        """Sets one of the stand-ins' switches."""
        switch = f"/{_STATE / name}"
        self.console(f"touch {switch}" if on else f"rm -f {switch}")

    def files_with(self, text: str) -> list[str]:
        """Files of the machine that hold a text: on its disk, in Docker's folder, and in memory."""
        found: list[str] = []
        roots = {f"{self.disk}": "", f"{self._directory}/docker": "/var/lib/docker"}
        roots |= {f"/proc/{self._init}/root{folder}": folder for folder in ("/run", "/tmp")}  # noqa: S108 - the machine's
        for root, shown in roots.items():
            grep = ["grep", "--recursive", "--files-with-matches", "--devices=skip", "--text", "--fixed-strings", text, root]
            lines = subprocess.run(grep, capture_output=True, text=True, check=False).stdout.splitlines()
            found += [line.replace(root, shown, 1) for line in lines]
        return found
