"""Times the steps that converge a host: the first time, and again with nothing changed.

Runs the steps' own texts under bash on one host of the local cloud, without SSH and without the engine. Docker, GPU and model are
stand-ins, so the first time says nothing about AWS. The repeated one is the scripts' own time and the stand-ins' calls; real
`docker` and `nvidia-smi` commands take their own.
"""

import argparse
import asyncio
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.host_steps import ServingSpec, Step, install_scripts, serving_steps
from components.models import HubAnswer, known_facts
from components.settings import HostSettings, ServerSettings
from localcloud import client
from localcloud.hosts.host import Host
from localcloud.hosts.hosts import Hosts

INSTANCE = "i-0123456789abcdef0"
TOKEN = "hf_of_a_benchmark\n"


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


def steps() -> list[tuple[Step, str]]:
    """Every step of the default settings, with its standard input."""
    server = ServerSettings()
    spec = ServingSpec(server, HostSettings(), known_facts(server, HubAnswer(None, "not asked")))
    return [install_scripts(), *((step, TOKEN if step.name == "weights" else "") for step in serving_steps(spec))]


def converge(host: Host) -> dict[str, float]:
    """Seconds of each step, one after the other."""
    seconds: dict[str, float] = {}
    for step, stdin in steps():
        started = time.monotonic()
        subprocess.run(
            ["bash", "-c", step.on_instance(INSTANCE)],
            env=host.environment(), input=stdin, text=True, check=True, capture_output=True,
        )  # fmt: skip
        seconds[step.name] = time.monotonic() - started
    return seconds


async def measure(directory: Path, hub: str, repetitions: int) -> tuple[dict[str, float], list[dict[str, float]]]:
    """The first converge of a fresh host, and those after it."""
    hosts = Hosts(directory, OneInstance())
    await hosts.open(hub)
    try:
        while INSTANCE not in hosts.hosts or hosts.hosts[INSTANCE].state != "running":
            await hosts.changed.wait()
        host = hosts.hosts[INSTANCE]
        first = await asyncio.to_thread(converge, host)
        return first, [await asyncio.to_thread(converge, host) for _ in range(repetitions)]
    finally:
        await hosts.close()


def main() -> None:
    """Measures and prints the figures."""
    parser = argparse.ArgumentParser(description="Time of the steps that converge a host, first and again.")
    parser.add_argument("--repetitions", type=int, default=10)
    repetitions: int = parser.parse_args().repetitions
    with tempfile.TemporaryDirectory(prefix="edge-converge-") as name:
        cloud = client.start(Path(name), port=0)  # for its Hub
        try:
            hosts = Path(name) / "benchmark"
            hosts.mkdir()
            first, again = asyncio.run(measure(hosts, f"{cloud.url}/_localcloud/hub", repetitions))
        finally:
            client.stop(Path(name))
    print(f"{'seconds':<10} first   again: median     max")
    for step in first:
        repeated = [run[step] for run in again]
        print(f"{step:<10} {first[step]:5.2f}          {statistics.median(repeated):5.2f}   {max(repeated):5.2f}")
    totals = [sum(run.values()) for run in again]
    print(f"{'all':<10} {sum(first.values()):5.2f}          {statistics.median(totals):5.2f}   {max(totals):5.2f}")


if __name__ == "__main__":
    main()
