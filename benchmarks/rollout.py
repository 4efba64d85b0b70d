"""Times a rollout: one changed limit over 3, 10 and 40 sites, by `rollout.maxAway`, beside the time that it cannot fall below.

The limit of a wave is what Route 53 and the model take: checkers and TTL, the load, checkers again. On a local cloud of its own,
whose clock of checkers and TTL goes faster, by the same factor in the limit; the load is the simulated server's own, measured.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import yaml
from preview import many_zones

from automation import Environment
from automation.paths import LOCAL_DIRECTORY
from components.dns_plan import RECORD_TTL_SECONDS
from components.door import notice_seconds
from localcloud import client

INTERVAL_SECONDS, THRESHOLD = 10, 3
CASES = ((3, 1), (10, 1), (10, 3), (40, 4), (40, 10))
"""Sites, and how many may be away at once."""


@dataclass(frozen=True)
class Rollout:
    """One measured rollout."""

    seconds: float
    """From the first wave's begin to the last one's end, by the hosts' own words."""
    run_seconds: float
    load_seconds: float
    """The median that a changed server took to be ready."""


class Bench:
    """One environment on a local cloud."""

    def __init__(self, directory: Path, clock: float) -> None:
        self.clock, self._directory = clock, directory
        self._stack_files = directory / "stacks"
        self._stack_files.mkdir()

    def environment(self, sites: int, max_away: int, longest: int) -> Environment:
        """An environment of so many sites, whose servers accept so many tokens in all."""
        name = f"rollout{sites}"
        config = {
            "aws:region": "us-west-2",
            "edge-inference:sites": [{"zone": zone, "optIn": "anyway"} for zone in many_zones(sites)],
            "edge-inference:access": {"clientCidrs": ["127.0.0.0/8"], "sshCidrs": ["127.0.0.1/32"]},
            "edge-inference:routing": {
                "domain": f"{name}.edge.internal",
                "hostedZone": "edge.internal",
                "healthIntervalSeconds": INTERVAL_SECONDS,
                "healthFailureThreshold": THRESHOLD,
            },
            "edge-inference:rollout": {"maxAway": max_away},
            "edge-inference:server": {"maxTotalTokens": longest},
        }
        (self._stack_files / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump({"config": config}))
        return Environment(name, on_local_cloud=True, directory=self._directory, stack_files=self._stack_files)

    def limit(self, sites: int, max_away: int, load_seconds: float) -> float:
        """What it cannot fall below."""
        notice = notice_seconds(INTERVAL_SECONDS, THRESHOLD)
        waves = 1 + ceil((sites - 1) / max_away)
        return waves * ((notice + RECORD_TTL_SECONDS + notice) / self.clock + load_seconds)


def measured(environment: Environment) -> Rollout:
    """One rollout."""
    begun: dict[str, float] = {}
    ended: dict[str, float] = {}
    outcomes: list[dict[str, Any]] = []

    def take(event: Any) -> None:
        resource = getattr(event, "resource", None)
        name = getattr(resource, "name", resource) or ""
        if not str(name).endswith("-ready"):
            return
        if type(event).__name__ == "ResourceStarted" and event.operation == "update":
            begun[name] = event.seconds
        elif type(event).__name__ == "ResourceDone" and event.operation == "update":
            ended[name] = event.seconds
        elif '"digest"' in getattr(event, "text", ""):
            outcomes.extend(json.loads(line) for line in event.text.splitlines() if line.startswith('{"digest"'))

    changes = environment.up(take)
    loads = sorted(each["seconds"]["load"] for each in outcomes)
    return Rollout(max(ended.values()) - min(begun.values()), changes.seconds, loads[len(loads) // 2])


def main() -> None:
    """Deploys each number of sites once, rolls each case through it, and prints the figures."""
    parser = argparse.ArgumentParser(description="The time of a rollout beside its limit.")
    parser.add_argument("--clock", type=float, default=10.0, help="how much faster the clock of checkers and TTL goes")
    parser.add_argument("--sites", type=int, nargs="*", default=sorted({sites for sites, _ in CASES}))
    arguments = parser.parse_args()
    print("sites  away  waves  rollout s  limit s  ratio  (load s, whole run s)")
    for sites in arguments.sites:
        with tempfile.TemporaryDirectory(prefix="edge-rollout-") as name:
            directory = Path(name)
            (directory / "engine").symlink_to(LOCAL_DIRECTORY / "engine")
            running = client.start(directory, port=0)
            running.request("PUT", "faults", {"quota_vcpus": 1000, "quota_addresses": 100})
            running.request("PUT", "health-checkers", {"speed": arguments.clock})
            try:
                bench = Bench(directory, arguments.clock)
                bench.environment(sites, 1, 4096).up()
                for number, away in enumerate(away for of, away in CASES if of == sites):
                    found = measured(bench.environment(sites, away, 3500 - number))
                    limit = bench.limit(sites, away, found.load_seconds)
                    waves = 1 + ceil((sites - 1) / away)
                    print(
                        f"{sites:5}  {away:4}  {waves:5}  {found.seconds:9.1f}  {limit:7.1f}  {found.seconds / limit:5.2f}  "
                        f"({found.load_seconds:.1f}, {found.run_seconds:.1f})",
                        flush=True,
                    )
            finally:
                client.stop(directory)


if __name__ == "__main__":
    main()
