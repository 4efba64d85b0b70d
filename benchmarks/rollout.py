"""Times a rollout: one changed limit over 3, 10 and 40 replicas, by `rollout.maxAway`, beside the time that it cannot fall below.

The limit of a wave is what Route 53 and the model take: checkers and TTL, the load, checkers again. On a local cloud of its own,
whose clock of checkers and TTL goes faster, by the same factor in the limit; the load is the simulated server's own, measured.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import yaml
from preview import many_zones

from automation import Environment
from automation.engine.events import Diagnostic, Event, ResourceDone, ResourceStarted
from automation.paths import LOCAL_DIRECTORY
from components.dns_plan import RECORD_TTL_SECONDS
from components.door import notice_seconds
from components.zones import parse_zone
from localcloud import client
from localcloud.api.zones import GROUPS

INTERVAL_SECONDS, THRESHOLD = 30, 3
CHECKERS = 16
CHECKERS_PER_SECOND = 60.0
"""How many questions of checkers one second of this machine may hold: more replicas have a slower clock."""
FASTEST_CLOCK = 10.0
CASES = ((3, 1), (10, 1), (10, 3), (40, 4), (40, 10))
"""Replicas, and how many may be away at once."""
PARTS = ("drain", "stop", "load", "judge", "return")


@dataclass(frozen=True)
class Rollout:
    """One measured rollout."""

    seconds: float
    """From the first last step's begin to the last one's end."""
    run_seconds: float
    parts: dict[str, float]
    """The median that each part of a transaction took on its host."""
    step_seconds: float
    """The median of a whole last step, as the engine saw it."""


def clock_of(replicas: int) -> float:
    """How much faster the clock of checkers and TTL goes."""
    return min(FASTEST_CLOCK, CHECKERS_PER_SECOND * INTERVAL_SECONDS / (CHECKERS * replicas))


def sites_of(replicas: int) -> list[dict[str, object]]:
    """So many replicas: a site for each, or two in the first ones where not so many zones sell the GPU."""
    sold = {zone for group in GROUPS.values() if group.instance_types for zone in group.zones}
    zones = [zone for zone in map(parse_zone, many_zones(1000)) if zone.name in sold or not zone.is_local][:replicas]
    doubled = replicas - len(zones)
    return [
        {"zone": zone.name, "replicas": 2 if number < doubled else 1, **({"optIn": "anyway"} if zone.is_local else {})}
        for number, zone in enumerate(zones)
    ]


def environment(directory: Path, replicas: int, max_away: int, longest: int) -> Environment:
    """An environment of so many replicas, whose servers accept so many tokens in all."""
    name = f"rollout{replicas}"
    config = {
        "aws:region": "us-west-2",
        "edge-inference:sites": sites_of(replicas),
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
    (directory / "stacks" / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump({"config": config}), encoding="utf-8")
    return Environment(name, on_local_cloud=True, directory=directory, stack_files=directory / "stacks")


def waves(replicas: int, max_away: int) -> int:
    """The canary, then so many at once."""
    return 1 + ceil((replicas - 1) / max_away)


def limit_seconds(number_of_waves: int, clock: float, load_seconds: float) -> float:
    """What it cannot fall below."""
    notice = notice_seconds(INTERVAL_SECONDS, THRESHOLD)
    return number_of_waves * ((notice + RECORD_TTL_SECONDS + notice) / clock + load_seconds)


def measured(changing: Environment) -> Rollout:
    """One rollout."""
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    outcomes: dict[str, dict[str, Any]] = {}

    def take(event: Event) -> None:
        if isinstance(event, Diagnostic) and '"digest"' in event.text:
            lines = [line for line in event.text.splitlines() if line.startswith('{"digest"')]
            outcomes.update({str(event.resource): json.loads(line) for line in lines})
        elif isinstance(event, ResourceStarted) and event.resource.name.endswith("-ready") and event.operation == "update":
            times = ended if isinstance(event, ResourceDone) else began
            times[event.resource.name] = event.seconds

    changes = changing.up(take)
    parts = {part: statistics.median(each["seconds"][part] for each in outcomes.values()) for part in PARTS}
    steps = statistics.median(ended[name] - began[name] for name in ended)
    return Rollout(max(ended.values()) - min(began.values()), changes.seconds, parts, steps)


def main() -> None:
    """Deploys each number of replicas once, rolls each case through it, and prints the figures."""
    parser = argparse.ArgumentParser(description="The time of a rollout beside its limit.")
    parser.add_argument("--clock", type=float, help="how much faster the clock of checkers and TTL goes")
    parser.add_argument("--replicas", type=int, nargs="*", default=sorted({replicas for replicas, _ in CASES}))
    arguments = parser.parse_args()
    print("| replicas | maxAway | waves | clock | rollout s | limit s | ratio | whole run s | step s | parts s |")
    for replicas in arguments.replicas:
        clock = arguments.clock or clock_of(replicas)
        with tempfile.TemporaryDirectory(prefix="edge-rollout-") as name:
            directory = Path(name)
            (directory / "stacks").mkdir()
            (directory / "engine").symlink_to(LOCAL_DIRECTORY / "engine")
            running = client.start(directory, port=0)
            running.request("PUT", "faults", {"quota_vcpus": 1000, "quota_addresses": 100})
            running.request("PUT", "health-checkers", {"speed": clock})
            try:
                environment(directory, replicas, 1, 4096).up()
                for number, away in enumerate(away for of, away in CASES if of == replicas):
                    found = measured(environment(directory, replicas, away, 3500 - number))
                    limit = limit_seconds(waves(replicas, away), clock, found.parts["load"])
                    parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in found.parts.items())
                    print(
                        f"| {replicas} | {away} | {waves(replicas, away)} | {clock:.1f} | {found.seconds:.1f} | {limit:.1f} |"
                        f" {found.seconds / limit:.2f} | {found.run_seconds:.1f} | {found.step_seconds:.1f} | {parts} |",
                        flush=True,
                    )
            finally:
                client.stop(directory)


if __name__ == "__main__":
    main()
