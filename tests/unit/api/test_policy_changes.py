"""Every pair of policies on a live name, change by change as the engine makes them: what is new, what differs, what is gone."""

from collections.abc import Iterable
from itertools import permutations
from typing import Any

import pytest

from components.dns_plan import Policy

from .conftest import Client
from .test_resolution_table import WEST, LiveZone, planned

SITES = (*WEST, "FRA", "WAW")
POLICIES: tuple[Policy, ...] = ("latency", "geoproximity", "geolocation")
NEAREST = {"Honolulu": "HNL", "Los Angeles": "LAX"}
Records = list[dict[str, Any]]


class ChangingZone(LiveZone):
    """A live zone, changed record by record, that is asked after every change."""

    def __init__(self, client: Client, policy: Policy) -> None:
        super().__init__(client, policy, SITES)
        self.records = planned(policy, SITES)

    def change_to(self, wanted: Records) -> Iterable[dict[str, str]]:
        """In the engine's order: creations and changes with targets first, then deletions with aliases first. Yields who gets
        which site after each."""
        before, after = (
            {(each["Name"], each.get("SetIdentifier")): each for each in records} for records in (self.records, wanted)
        )
        for key, record in after.items():
            if before.get(key) != record:
                yield self.apply("UPSERT" if key in before else "CREATE", record)
        for key, record in reversed(before.items()):
            if key not in after:
                yield self.apply("DELETE", record)
        self.records = wanted

    def apply(self, action: str, record: dict[str, Any]) -> dict[str, str]:
        changes = [{"Action": action, "ResourceRecordSet": self._own(record)}]
        self.route53.change_resource_record_sets(HostedZoneId=self.zone_id, ChangeBatch={"Changes": changes})
        return {city: self.site_for(city) for city in NEAREST}


@pytest.mark.parametrize(("old", "new"), [*permutations(POLICIES, 2)])
def test_a_policy_changes_without_a_moment_in_which_the_name_does_not_answer(old: Policy, new: Policy, client: Client) -> None:
    """Route 53 accepts each change beside what stands there. The old policy answers until the new one does."""
    zone = ChangingZone(client, old)
    seen = list(zone.change_to(planned(new, SITES)))
    assert len(seen) > len(SITES)
    assert all(set(answers.values()) <= set(SITES) for answers in seen)
    if "geolocation" not in {old, new}:  # it leads by country, whoever is nearer
        assert all(answers == NEAREST for answers in seen)


@pytest.mark.parametrize("policy", POLICIES)
def test_draining_takes_users_away_record_by_record_and_no_answer_with_them(policy: Policy, client: Client) -> None:
    zone = ChangingZone(client, policy)
    healthy = {city: zone.site_for(city) for city in NEAREST}
    seen = list(zone.change_to(planned(policy, SITES, ["HNL"])))
    assert "HNL" not in seen[-1].values()
    assert {city: site for city, site in seen[-1].items() if healthy[city] != "HNL"}.items() <= healthy.items()
    (*_, back) = zone.change_to(planned(policy, SITES))
    assert back == healthy
