"""Times the steps that converge a host: the first time, and again with nothing changed.

Runs the steps' own texts under bash, without SSH and without the engine: on a host of the local cloud, or with `--real` on the
machine of tests/host (OpenSSH, sudo and Docker are real there; it takes root). GPU and model are stand-ins on both, on the first
Docker too, so the first time says nothing about AWS. The repeated one is what a host spends on a converge that changes nothing.
"""

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from automation.account.keys import new_deployer_key, new_host_key_secret
from components.build import server_args
from components.engines import Server
from components.host_identity import deployer_public_key, derive_host_key, user_data
from components.host_steps import ServingSpec, Step, install_scripts, serving_steps
from components.models import HubAnswer, known_facts
from components.settings import ServerSettings
from localcloud import client
from localcloud.hosts.host import Host
from localcloud.hosts.hosts import Hosts

INSTANCE = "i-0123456789abcdef0"
TOKEN = "hf_of_a_benchmark\n"
TIMED = 'began=${EPOCHREALTIME/./}; bash -c "$0" >/dev/null || exit; echo $((${EPOCHREALTIME/./} - began))'
"""Runs a command text; prints the microseconds that it took."""

Run = Callable[[str, str], float]
"""Runs a command text with a standard input on a host; the seconds that it took there."""


@dataclass(frozen=True)
class Instance:
    """The one instance of this world, with no address: nobody connects."""

    instance_id: str = INSTANCE
    zone: str = "us-west-2a"
    state: str = "running"
    user_data: bytes = b""
    public_key: str | None = None
    addresses: tuple[str, ...] = ()


class OneInstance:
    """A world with one instance."""

    def instances(self) -> Sequence[Instance]:
        """The one."""
        return [Instance()]

    def refusal(self, address: str, port: int, source: str) -> str | None:
        """Nobody asks."""
        del address, port, source
        return None


def default_spec() -> ServingSpec:
    """What the default settings serve."""
    server = ServerSettings()
    return ServingSpec(Server(**server_args(server, known_facts(server, HubAnswer(None, "not asked")))))


def steps(spec: ServingSpec) -> list[tuple[Step, str]]:
    """Every step, with its standard input."""
    return [install_scripts(), *((step, TOKEN if step.name == "weights" else "") for step in serving_steps(spec))]


def converge(run: Run, spec: ServingSpec) -> dict[str, float]:
    """Seconds of each step, one after the other."""
    return {step.name: run(step.on_instance(INSTANCE), stdin) for step, stdin in steps(spec)}


def measure(run: Run, spec: ServingSpec, repetitions: int) -> tuple[dict[str, float], list[dict[str, float]]]:
    """The first converge of a fresh host, and those after it."""
    return converge(run, spec), [converge(run, spec) for _ in range(repetitions)]


async def on_stand_in(directory: Path, hub: str, repetitions: int) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Measures on a host of the local cloud."""

    def runs(host: Host) -> Run:
        def run(text: str, stdin: str) -> float:
            began = time.monotonic()
            subprocess.run(
                ["bash", "-c", text], env=host.environment(), input=stdin, text=True, check=True, capture_output=True
            )  # fmt: skip
            return time.monotonic() - began

        return run

    hosts = Hosts(directory, OneInstance())
    await hosts.open(hub)
    try:
        while INSTANCE not in hosts.hosts or hosts.hosts[INSTANCE].state != "running":
            await hosts.changed.wait()
        return await asyncio.to_thread(measure, runs(hosts.hosts[INSTANCE]), default_spec(), repetitions)
    finally:
        await hosts.close()


@contextlib.contextmanager
def real_machine() -> Generator[tuple[Run, ServingSpec]]:
    """The machine of tests/host, and what it can serve."""
    from tests.host.machine import LOGIN, Machine
    from tests.host.registry import Registry

    key = derive_host_key(new_host_key_secret(), "benchmark")
    machine = Machine(user_data(key), deployer_public_key(new_deployer_key()))
    try:
        machine.boot()
        machine.wait_until_booted()

        def run(text: str, stdin: str) -> float:
            timed = f"sudo -u {LOGIN} bash -c {quote(TIMED)} {quote(text)}"
            return int(machine.console(timed, stdin=stdin.encode()).splitlines()[-1]) / 1e6

        with machine.network():
            registry = Registry()
        with registry:
            spec = default_spec()
            # A model that is not gated: the image's stand-in for the Hub lets in one token only, which is not ours.
            server = replace(spec.server, image=registry.image, model="acme/benchmark")
            yield run, replace(spec, server=server)
    finally:
        machine.scrap()


def show(title: str, first: dict[str, float], again: list[dict[str, float]]) -> None:
    """Prints a table."""
    print(title)
    print(f"{'seconds':<10} first   again: median     max")
    for step, seconds in first.items():
        repeated = [run[step] for run in again]
        print(f"{step:<10} {seconds:5.2f}          {statistics.median(repeated):5.2f}   {max(repeated):5.2f}")
    totals = [sum(run.values()) for run in again]
    print(f"{'all':<10} {sum(first.values()):5.2f}          {statistics.median(totals):5.2f}   {max(totals):5.2f}")


def main() -> None:
    """Measures and prints the figures."""
    parser = argparse.ArgumentParser(description="Time of the steps that converge a host, first and again.")
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--real", action="store_true", help="on the machine of tests/host; as root")
    arguments = parser.parse_args()
    if arguments.real:
        with real_machine() as (run, spec):
            show("OpenSSH's machine with a real Docker", *measure(run, spec, arguments.repetitions))
        return
    with tempfile.TemporaryDirectory(prefix="edge-converge-") as name:
        cloud = client.start(Path(name), port=0)  # for its Hub
        try:
            hosts = Path(name) / "benchmark"
            hosts.mkdir()
            hub = cloud.variables["HF_ENDPOINT"]
            show("a host of the local cloud", *asyncio.run(on_stand_in(hosts, hub, arguments.repetitions)))
        finally:
            client.stop(Path(name))


if __name__ == "__main__":
    main()
