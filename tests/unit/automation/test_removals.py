"""What a config has no more goes first, but last where the only other that serves changes; meanwhile a run leaves it alone."""

from typing import Any

import pytest
from checked_settings import settings

from automation.sites.removals import removals, unplanned
from components.settings import Settings

OREGON, LAX, ATLANTA = "us-west-2a", "us-west-2-lax-1a", "us-east-1-atl-1a"


def names_of(config: Settings) -> list[str]:
    """The resources of a stack, by name, as far as they tell what is whose."""
    found = ["deployment", "routing", "routing-zone", "routing-service"]
    for region, sites in config.regions.items():
        found += [region, f"{region}-vpc", f"routing-region-{region}"]
        for site in sites:
            zone, group = site.zone, site.parsed_zone.group
            found += [zone, f"{zone}-subnet", f"{zone}-key", f"routing-group-{group}"]
            for key in (replica.key for replica in site.all_replicas):
                found += [key, f"{key}-host", f"{key}-address", f"{key}-ready"]
                found += [f"routing-{kind}-{key}" for kind in ("health", "site", "leaf")]
    return found


KINDS = {"host": "aws:ec2/instance:Instance", "address": "aws:ec2/eip:Eip", "ready": "command:remote:Command"}


def state(*zones: str) -> dict[str, Any]:
    """An exported state in which these sites serve."""
    resources: list[dict[str, Any]] = []
    for number, name in enumerate(names_of(settings(*zones)), 1):
        kind = KINDS.get(name.rpartition("-")[2], "other:index:Thing")
        outputs = {"publicIp": f"1.0.0.{number}", "create": '{"digest":"abc"'}
        urn = f"urn:pulumi:dev::edge-inference::edge-inference:index:EdgeInferenceSite${kind}::{name}"
        resources.append({"urn": urn, "type": kind, "id": name, "outputs": outputs})
    return {"resources": resources}


def left_alone(deployment: dict[str, Any], config: Settings) -> set[str]:
    return {urn.rpartition("::")[2] for urn in unplanned(deployment, config)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([OREGON, LAX], [OREGON]),
        ([OREGON, LAX], [LAX]),
        ([OREGON, ATLANTA], [OREGON]),
        ([f"{OREGON}*2"], [OREGON]),
        ([f"{OREGON}*12", LAX], [f"{OREGON}*1", LAX]),
        ([LAX], [ATLANTA]),
    ],
)
def test_all_that_a_config_has_no_more_is_left_alone_and_nothing_else(before: list[str], after: list[str]) -> None:
    deployed, config = set(names_of(settings(*before))), settings(*after)
    assert left_alone(state(*before), config) == deployed - set(names_of(config))


def test_one_beside_which_two_stay_is_drained_first_and_others_last() -> None:
    first = removals(state(OREGON, LAX, ATLANTA), settings(OREGON, LAX))
    assert (list(first.first), list(first.last), first.resources) == ([f"{ATLANTA}-1"], [], ())
    last = removals(state(OREGON, LAX), settings(OREGON))
    assert (list(last.first), list(last.last)) == ([], [f"{LAX}-1"])
    assert last.resources
    nothing = removals(state(OREGON, LAX), settings(OREGON, LAX))
    assert (nothing.first, nothing.last, nothing.resources) == ({}, {}, ())
