"""The order of a rollout: its waves, and the dependencies that they are."""

from dataclasses import replace

import pytest
from component_helpers import checked_config
from hypothesis import given
from hypothesis import strategies as st
from recorded_program import Deployed, deploy

from components.rollout import waves

KEYS = ("us-west-2a-1", "us-west-2a-2", "us-west-2-lax-1a-1")
SITES = [{"zone": "us-west-2a", "replicas": 2}, {"zone": "us-west-2-lax-1a"}]


@given(st.lists(st.text("ab"), unique=True, max_size=30), st.integers(1, 12))
def test_waves_hold_each_replica_once_the_canary_alone_and_never_too_many(replicas: list[str], max_away: int) -> None:
    planned = waves(replicas, max_away)
    assert [each for wave in planned for each in wave] == replicas
    assert all(0 < len(wave) <= max_away for wave in planned)
    assert not replicas or len(planned[0]) == 1


def waited_for(program: Deployed, key: str) -> set[str]:
    """The last steps of other replicas that a replica's last step waits for."""
    step = program.one("Command", f"{key}-ready")
    return {each.removesuffix("-ready").removeprefix("Command ") for each in step.depends_on if each.endswith("-ready")}


NOBODY = frozenset[str]()


@pytest.mark.parametrize(
    ("served", "drained", "expected"),
    [
        ((), [], [NOBODY, NOBODY, NOBODY]),
        (KEYS, [], [NOBODY, {KEYS[0]}, {KEYS[0], KEYS[1]}]),
        (KEYS, ["us-west-2-lax-1a"], [{KEYS[2]}, {KEYS[2], KEYS[0]}, NOBODY]),
        (KEYS[1:], [], [NOBODY, NOBODY, {KEYS[1]}]),
    ],
    ids=["first deployment", "all served", "a drained site first", "a new replica queues for nobody"],
)
def test_who_served_before_waits_for_the_waves_before(
    served: tuple[str, ...], drained: list[str], expected: list[set[str]]
) -> None:
    config = replace(checked_config(sites=SITES, drained=drained), served=frozenset(served))
    program = deploy(config)
    assert [waited_for(program, key) for key in KEYS] == expected


def test_two_may_be_away_at_once_after_the_canary() -> None:
    config = replace(checked_config(sites=SITES, rollout={"maxAway": 2}), served=frozenset(KEYS))
    assert [waited_for(deploy(config), key) for key in KEYS] == [set(), {KEYS[0]}, {KEYS[0]}]


def test_hosts_and_other_steps_never_wait_for_another_replica() -> None:
    program = deploy(replace(checked_config(sites=SITES), served=frozenset(KEYS)))
    for resource in program.resources:
        key = next((key for key in KEYS if resource.name.startswith(f"{key}-")), None)
        if key and not resource.name.endswith("-ready"):
            others = [each for each in resource.depends_on for other in KEYS if other != key and f" {other}-" in each]
            assert not others, resource.label
