"""A small sample of the campaign of kills (campaign.py): what was printed recovers, and nothing is left over.

Each run of the tests kills the same; EDGE_CAMPAIGN_SEED chooses others, and `make campaign` always does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from campaign import Campaign, Kill, drawn, field_of_its_own

pytestmark = pytest.mark.engine

SEED = int(os.environ.get("EDGE_CAMPAIGN_SEED", "1"))
KILLS = 4


@pytest.fixture(scope="module")
def campaign(pulumi_binary: object) -> Iterator[Campaign]:
    assert pulumi_binary
    with field_of_its_own() as campaign:
        yield campaign


@pytest.mark.parametrize("kill", list(drawn(SEED, KILLS)), ids=lambda kill: f"{kill.operation}-{SEED}-{kill.number}")
def test_what_is_printed_after_a_kill_recovers(campaign: Campaign, kill: Kill) -> None:
    outcome = campaign.run(kill)
    assert not outcome.problems, "\n".join([str(outcome), *outcome.texts])
