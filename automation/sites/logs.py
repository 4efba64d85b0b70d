"""What containers on an environment's hosts have written, read over SSH, of all hosts at once. Leaves out what it means."""

import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automation.errors import UsageError
from automation.sites.endpoints import api_key
from automation.sites.hosts import Host, hosts, of_zone, ssh, with_keys
from components.settings import StackConfig, validate

if TYPE_CHECKING:
    from automation.engine.deployed import Deployed

OnLine = Callable[[str, str], None]
"""Takes a host's key and a line of its log."""
_LENGTH = re.compile(r"(?:\d+[smhd])+")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?")
_SSH_FAILED = 255
"""What `ssh` itself exits with."""


@dataclass(frozen=True)
class Wanted:
    """Which lines of which container."""

    proxy: bool = False
    follow: bool = False
    lines: int | None = None
    """The last so many; None is all."""
    since: str | None = None
    """A length of time before now, such as `10m` or `1d`, or a time."""

    @property
    def command(self) -> str:
        """What prints them on a host. UsageError where nobody knows since when."""
        words = ["sudo", "docker", "logs"]
        words += ["--tail", str(self.lines)] if self.lines else []
        words += ["--since", _dockers(self.since)] if self.since else []
        words += ["--follow"] if self.follow else []
        return f"{shlex.join([*words, 'edge-inference-proxy' if self.proxy else 'edge-inference-server'])} 2>&1"


def chosen(environment: "Deployed", zone: str | None, number: int | None) -> tuple[list[Host], StackConfig]:
    """The hosts of a zone, one of them, or all, and the config with the keys to them. UsageError where there is none such."""
    outputs, config = environment.outputs_and_config()
    found = hosts(environment, outputs)
    if zone is None:
        if number is not None:
            raise UsageError(f"--replica needs a zone\n  -> edge logs {environment.arguments} {found[0].zone} --replica {number}")
        return with_keys(environment, found, config), config
    return with_keys(environment, of_zone(environment, found, zone, number), config), config


def require_proxy(environment: "Deployed", config: StackConfig) -> None:
    """UsageError where hosts have none: it ends TLS and asks for keys, and nothing else."""
    endpoint = validate(config).endpoint
    if not (endpoint and endpoint.tls) and api_key(config.values.get) is None:
        raise UsageError(
            f"'{environment.name}' has no proxy: neither endpoint.tls nor API keys are set\n"
            f"  -> edge logs {environment.arguments}   # the servers' own logs"
        )


def read(
    environment: "Deployed", read_from: Sequence[Host], config: StackConfig, wanted: Wanted, on_line: OnLine
) -> dict[str, str]:
    """Hands on what the hosts' containers have written: host by host, or as it comes where it is followed.

    Of the hosts whose log could not be read: why, and what to run.
    """
    command = wanted.command
    at_work: list[subprocess.Popen[str]] = []

    def lines_of(host: Host, take: Callable[[str], None]) -> str | None:
        if host.address is None or host.state not in {"running", None}:
            what = f"is {host.state}" if host.state != "running" else "has no address"
            return f"the host {what}\n  -> edge status {environment.arguments}"
        last = ""
        with ssh(environment, host, config) as words:
            process = _started([*words, command])
            at_work.append(process)
            with process:
                for last in process.stdout or ():
                    take(last.rstrip("\n"))
                said = process.stderr.read().strip() if process.stderr else ""
        if process.returncode == _SSH_FAILED:
            return (
                f"no SSH connection, or it broke{f' ({said})' if said else ''}\n"
                f"  -> edge doctor {environment.arguments}   # is this machine's address in access.sshCidrs?"
            )
        if not process.returncode:
            return None
        return f"{last.strip() or f'docker ended with status {process.returncode}'}\n  -> edge doctor {environment.arguments}"

    def whole(host: Host) -> tuple[list[str], str | None]:
        lines: list[str] = []
        return lines, lines_of(host, lines.append)

    with ThreadPoolExecutor(max(1, len(read_from))) as pool, ExitStack() as ends:
        # Before the pool waits for its threads, which wait for these.
        ends.callback(lambda: [process.kill() for process in at_work])
        if wanted.follow:
            done = [pool.submit(lines_of, host, lambda line, key=host.key: on_line(key, line)) for host in read_from]
            reasons = {host.key: each.result() for host, each in zip(read_from, done, strict=True)}
        else:
            reasons = dict[str, str | None]()
            for host, (lines, reason) in zip(read_from, pool.map(whole, read_from), strict=True):
                for line in lines:
                    on_line(host.key, line)
                reasons[host.key] = reason
    return {key: reason for key, reason in reasons.items() if reason}


def _started(words: Sequence[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603
        words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, encoding="utf-8", errors="replace"
    )


def _dockers(since: str) -> str:
    """As Docker takes it, which knows no days."""
    if _TIME.fullmatch(since):
        return since
    if not _LENGTH.fullmatch(since):
        raise UsageError(f"'{since[:40]}' is no time\n  -> --since 10m, 2h, 1d, or a time such as 2026-11-30T12:00:00Z")
    hours = sum(int(number) * 24 for number in re.findall(r"(\d+)d", since))
    return (f"{hours}h" if hours else "") + re.sub(r"\d+d", "", since)
