"""What failed, told once a cause: with all that it befell, whole, and without the text of the command."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation.engine.causes import by_cause, same_cause, without_command

FULL = 'Process exited with status 1: running "sudo \\"$HOME\\"/serve.sh {\\n}; exit 1":\nno GPU is visible'
CAPACITY = (
    "creating EC2 Instance: operation error EC2: RunInstances, https response error StatusCode: 500, RequestID: {id}, api error "
    "InsufficientInstanceCapacity: We currently do not have sufficient g4dn.2xlarge capacity in {zone}"
)


def test_one_cause_of_many_steps_is_one_text() -> None:
    steps = [f"us-west-2-lax-1a-{number}-ready" for number in range(1, 9)]
    assert by_cause(f"{step}: {FULL}" for step in steps) == [
        f"{', '.join(steps[:3])} and 5 more: Process exited with status 1:\nno GPU is visible"
    ]


def test_zones_ids_and_addresses_make_no_other_cause() -> None:
    request = "0a6f8a5e-0000-4000-8000-00000000000{}"
    zones = ("us-west-2a", "us-west-2-hnl-1a")
    told = [f"{zone}-1-host: {CAPACITY.format(id=request.format(n), zone=zone)}" for n, zone in enumerate(zones)]
    (text,) = by_cause(told)
    assert text.startswith("us-west-2a-1-host, us-west-2-hnl-1a-1-host: creating EC2 Instance")
    assert text.endswith("capacity in us-west-2a"), "whole"
    dials = [
        f"{zone}-1-scripts: after 129 failed attempts: dial tcp 100.64.0.{n}:22: i/o timeout" for n, zone in enumerate(zones)
    ]
    assert len(by_cause(dials)) == 1


def test_other_causes_stay_apart_and_what_has_no_name_stays_whole() -> None:
    told = ["the config is wrong\n  -> edge doctor prod", "us-west-2a-1-host: no capacity", "us-west-2a-1-ready: no GPU"]
    assert by_cause(told) == told


@pytest.mark.parametrize("text", [FULL, f"us-west-2a-1-ready: {FULL}"])
def test_the_script_that_failed_is_not_told(text: str) -> None:
    assert "serve.sh" not in without_command(text)
    assert without_command(text).endswith("status 1:\nno GPU is visible")


@given(st.lists(st.text(min_size=1)))
def test_no_cause_is_lost_and_none_is_told_twice(errors: list[str]) -> None:
    told = by_cause(errors)
    assert len(told) == len({same_cause(each) for each in errors})
