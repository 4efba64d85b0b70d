"""Times the search for sites: all zone groups and Regions, 5,000 cities, frontier to 10 sites; exact, and beside it greedy.

Greedy adds, one after the other, the site that serves the most more users. Each row runs in a process of its own, so that its
memory is its own. Left out: reading the command line, pages, stack files.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, cast

from components.dns_plan import Policy
from geography.gpu_offers import price_table
from geography.places import REGION_NAMES, REGIONS, ZONE_GROUPS, country_of
from placement.answer import place
from placement.exact import Program
from placement.question import Generation, Question
from placement.reckoning import Reckoning
from placement.world import Candidate, world_cities

POLICIES: tuple[Policy, ...] = ("latency", "geoproximity", "geolocation")
LIMITS_MS = (30, 60, 120)
"""What the network may take: the limit for TTFT less the time of the server."""
SITES = 10
MOST_SECONDS = 1800.0
TYPE = "g4dn.2xlarge"


def main() -> None:
    """Prints a table, one row for each policy and limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", nargs=2, metavar=("POLICY", "MS"), help="one row, as JSON")
    row: list[str] | None = parser.parse_args().row
    if row:
        print(json.dumps(measured(cast("Policy", row[0]), float(row[1]))))
        return
    columns = ("policy", "network ms", "sites", "users inside", "CPU s", "s", "largest gap %", "MiB", "greedy CPU s", "fewer")
    print("| " + " | ".join(columns) + " |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for policy in POLICIES:
        for limit in LIMITS_MS:
            command = [sys.executable, __file__, "--row", policy, str(limit)]
            environment = {**os.environ, "PYTHONPATH": "."}
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
            print("| " + " | ".join(str(cell) for cell in (policy, limit, *found)) + " |", flush=True)


def measured(policy: Policy, limit_ms: float) -> list[Any]:
    """One row's figures."""
    # A busy machine gets the time that it needs: what the search costs is its CPU time.
    question = Question(
        world_cities(),
        everywhere(),
        Generation({TYPE: 0.0}, "none"),
        slo_ms=limit_ms,
        share=1.0,
        policy=policy,
        most_sites=SITES,
        seconds=MOST_SECONDS,
    )
    start, used = time.perf_counter(), time.process_time()
    answer = place(question)
    exact_seconds, exact_cpu = time.perf_counter() - start, time.process_time() - used
    mebibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    used = time.process_time()
    sets = greedy(Program(Reckoning(question)), len(question.candidates), len(answer.frontier))
    greedy_cpu = time.process_time() - used
    reckoning = Reckoning(question)
    fewer = [point.share - reckoning.share_of(sites) for point, sites in zip(answer.frontier, sets, strict=False)]
    return [
        len(answer.frontier),
        f"{answer.frontier[-1].share:.2%}",
        f"{exact_cpu:.1f}",
        f"{exact_seconds:.1f}",
        f"{max(point.gap_percent for point in answer.frontier):.4f}",
        f"{mebibytes:.0f}",
        f"{greedy_cpu:.1f}",
        f"{max(fewer):.2%} of all users",
    ]


def everywhere() -> tuple[Candidate, ...]:
    """Every zone group and Region, whatever it sells."""
    places = {**{name: group.place for name, group in ZONE_GROUPS.items()}, **REGIONS}
    prices = price_table().dollars_per_hour
    return tuple(
        Candidate(
            group,
            ZONE_GROUPS[group].city if group in ZONE_GROUPS else REGION_NAMES[group],
            where,
            country_of(group),
            group in ZONE_GROUPS,
            TYPE,
            prices.get(group, {}).get(TYPE),
        )
        for group, where in places.items()
    )


def greedy(program: Program, candidates: int, most: int) -> list[Sequence[int]]:
    """The sets of 1, 2, 3 … sites."""
    found: list[Sequence[int]] = []
    sites: list[int] = []
    for _ in range(most):
        sites = [
            *sites,
            max((site for site in range(candidates) if site not in sites), key=lambda site: program.worth([*sites, site])),
        ]
        found.append(sites)
    return found


if __name__ == "__main__":
    main()
