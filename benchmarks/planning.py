"""Times the planning of DNS records for 40 sites over three parent Regions with two replicas each, by policy.

The planner alone, Route 53's rules as its checks included; no engine, no AWS. Left out: reading and validating the config.
"""

import argparse
import statistics
import time

from components.dns_plan import EVERYWHERE_ELSE, DnsPlan, Geolocation, Policy, Replica, RoutingChoices, plan_dns
from components.zones import parse_zone
from geography.codes import US_STATES
from geography.places import ZONE_GROUPS

REGIONS = ("us-west-2", "us-east-1", "eu-central-1")
SITES, REPLICAS = 40, 2
POLICIES: tuple[Policy, ...] = ("latency", "geoproximity", "geolocation")


def main() -> None:
    """Prints a table, one row for each policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=200)
    repetitions: int = parser.parse_args().repetitions
    print("| policy | records | min ms | median ms | middle half ms | max ms |\n|---|---|---|---|---|---|")
    for policy in POLICIES:
        records = len(plan(policy).records)  # and warm
        times_ms: list[float] = []
        for _ in range(repetitions):
            start = time.perf_counter()
            plan(policy)
            times_ms.append((time.perf_counter() - start) * 1000)
        low, median, high = statistics.quantiles(times_ms, n=4)
        print(f"| {policy} | {records} | {min(times_ms):.2f} | {median:.2f} | {low:.2f} to {high:.2f} | {max(times_ms):.2f} |")


def plan(policy: Policy) -> DnsPlan:
    """The records of 40 sites: every Local Zone group of the Regions, then the Regions' own zones. All US states are mapped."""
    names = [f"{group}{letter}" for group in ZONE_GROUPS for letter in "ab" if group.startswith(REGIONS)]
    names = [f"{region}{letter}" for region in REGIONS for letter in "ab"] + names
    zones = [parse_zone(name) for name in names[:SITES]]
    places = {EVERYWHERE_ELSE: zones[0]} | {
        Geolocation(us_state=code): zones[index % SITES] for index, code in enumerate(sorted(US_STATES))
    }
    choices = RoutingChoices(policy, "llm.acme.dev", places=places if policy == "geolocation" else {})
    replicas = [Replica(zone, number) for zone in zones for number in range(1, REPLICAS + 1)]
    assert (len(zones), {zone.region for zone in zones}) == (SITES, {*REGIONS})  # noqa: S101 - what the table's title says
    return plan_dns(choices, replicas)


if __name__ == "__main__":
    main()
