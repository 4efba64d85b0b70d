"""Times `pulumi preview`, and the memory it takes, for prod and for 40 sites over three parent Regions.

Runs on a local cloud of its own in a temporary folder, against nothing that is deployed. So the times leave out the way to AWS:
they are the program's, the engine's and the plugin's own, there to hold later changes against.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import yaml

from automation import Environment
from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT
from localcloud import client
from localcloud.api.zones import GROUPS

REGION_ZONES = {"us-west-2": "abc", "us-east-1": "abcdf", "eu-central-1": "abc"}
"""The parent Regions, and the letters of their own zones that offer g4dn.2xlarge."""
SITES = 40
SAMPLE_SECONDS = 0.05
ROLES = {
    "program": "pulumi-language-python-exec",
    "aws plugin": "localcloud.plugins.aws",
    "command plugin": "localcloud.plugins.command",
    "engine": "preview",
}
"""A word of each process's command line; the language host, which knows the exec script too, is told apart before."""


@dataclass(frozen=True)
class Run:
    """One preview."""

    seconds: float
    resources: int
    peak_mib: dict[str, float]
    """Peak resident memory of each process, by role."""


class PeakMemory:
    """Watches the descendants of this process, by the kernel's own high-water mark; use it as a context manager."""

    def __init__(self) -> None:
        self.mib: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            for pid in descendants(os.getpid()):
                self._sample(pid)

    def _sample(self, pid: int) -> None:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        except OSError:  # it has just ended
            return
        role = role_of(words)
        peak = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
        if role:
            self.mib[role] = max(self.mib.get(role, 0.0), peak / 1024)


def role_of(words: list[str]) -> str | None:
    """What a process of a preview is, by its command line."""
    if any(word.endswith("language_host.py") for word in words):
        return "language host"
    return next((role for role, part in ROLES.items() if any(word.endswith(part) for word in words)), None)


def descendants(ancestor: int) -> Iterator[int]:
    """The process ids below one."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # pid (name) state ppid ...; the name may hold spaces and parentheses
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    waiting = [ancestor]
    while waiting:
        found = children.get(waiting.pop(), [])
        yield from found
        waiting += found


def many_zones(count: int) -> list[str]:
    """So many zones over three parent Regions.

    Three Regions sell GPUs in fewer zones than 40, so some zones stand in for their number alone: a preview asks the same
    questions about them.
    """
    zones = [
        *(f"{region}{letter}" for region, letters in REGION_ZONES.items() for letter in letters),
        *(zone for group in GROUPS.values() if group.region in REGION_ZONES for zone in group.zones if group.instance_types),
        *(zone for group in GROUPS.values() if group.region in REGION_ZONES for zone in group.zones if not group.instance_types),
    ]
    return zones[:count]


def forty_sites() -> dict[str, object]:
    """A config with 40 sites."""
    sites = [
        {"zone": zone, **({"optIn": "anyway"} if "-" in zone.removeprefix(region_of(zone)) else {})} for zone in many_zones(SITES)
    ]
    return {"config": {"aws:region": "us-west-2", "edge-inference:sites": sites}}


def region_of(zone: str) -> str:
    """The parent Region of a zone of this benchmark."""
    return next(region for region in REGION_ZONES if zone.startswith(region))


def preview(environment: Environment) -> Run:
    """One preview of an environment on its local cloud."""
    with PeakMemory() as memory:
        changes = environment.plan()
    return Run(changes.seconds, sum(changes.counts.values()), memory.mib)


def report(name: str, runs: list[Run]) -> None:
    """Prints what came of one environment's previews."""
    seconds = [run.seconds for run in runs]
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    print(f"{name}: {runs[0].resources} resources, {len(runs)} previews")
    print(f"  seconds   min {low:.1f}   median {middle:.1f}   max {high:.1f}")
    for role in sorted({role for run in runs for role in run.peak_mib}):
        print(f"  peak MiB  {max(run.peak_mib.get(role, 0.0) for run in runs):6.0f}   {role}")


def main() -> None:
    """Runs the previews and prints the figures."""
    parser = argparse.ArgumentParser(description="Time and memory of `pulumi preview` on a local cloud of its own.")
    parser.add_argument("--repetitions", type=int, default=3)
    repetitions: int = parser.parse_args().repetitions
    with tempfile.TemporaryDirectory(prefix="edge-preview-") as name:
        directory = Path(name)
        (LOCAL_DIRECTORY / "engine").mkdir(parents=True, exist_ok=True)
        (directory / "engine").symlink_to(LOCAL_DIRECTORY / "engine")
        shutil.copy(PROJECT_ROOT / "Pulumi.prod.yaml", directory)
        (directory / "Pulumi.forty.yaml").write_text(yaml.safe_dump(forty_sites(), sort_keys=False), encoding="utf-8")
        cloud = client.start(directory, port=0)
        try:
            cloud.request("PUT", "faults", {"quota_vcpus": 10_000, "quota_addresses": 1_000})
            for environment in ("prod", "forty"):
                opened = Environment(environment, on_local_cloud=True, directory=directory, stack_files=directory)
                report(environment, [preview(opened) for _ in range(repetitions)])
        finally:
            client.stop(directory)


if __name__ == "__main__":
    main()
