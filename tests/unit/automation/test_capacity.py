"""GPUs are asked for before a run changes anything, given back whatever happens, and a zone without any is told with what is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs]
from checked_settings import settings, stack_config

from automation.account.prices import DATED
from automation.engine.deployed import Deployed
from automation.engine.run import Run
from automation.engine.stack_file import read
from automation.errors import CapacityError, UsageError
from automation.sites import capacity
from automation.sites.capacity import Fallback, kept, launches
from components.aws_facts import AwsFacts, HostedZoneFacts, InstanceTypeFacts, RegionFacts, ZoneFacts
from components.settings import Settings
from components.tags import DEPLOYMENT_TAG, DEPLOYMENT_VARIABLE

OREGON, LAX = "us-west-2a", "us-west-2-lax-1a"
TYPES = ["g4dn.2xlarge", "g5.4xlarge", "g4dn.xlarge"]
SITES: list[dict[str, Any]] = [{"zone": OREGON, "replicas": 2}, {"zone": LAX, "instanceTypes": TYPES}]


def state(*keys: str) -> dict[str, Any]:
    """An exported state with an instance for each of these replicas."""
    urn = "urn:pulumi:dev::edge-inference::aws:ec2/instance:Instance::"
    kind = "aws:ec2/instance:Instance"
    return {"resources": [{"urn": f"{urn}{key}-host", "type": kind, "id": f"i-{key}", "outputs": {}} for key in keys]}


def all_is_well(config: Settings, **changed: Any) -> AwsFacts:
    """What AWS says of a config that it would deploy."""
    zones = {site.zone: ZoneFacts(site.parsed_zone.group, site.zone, site.parsed_zone.is_local, True) for site in config.sites}
    names = {name for site in config.sites for name in site.types}
    facts: dict[str, Any] = {
        "zones": zones,
        "types": dict.fromkeys(names, InstanceTypeFacts(8, 1, 24576, "T4", frozenset({"x86_64"}))),
        "offered": dict.fromkeys(names, frozenset(zones)),
        "health_checkers": "pl-1",
        "ami": "ami-1",
    }
    return AwsFacts({"us-west-2": RegionFacts(**(facts | changed))}, HostedZoneFacts("Z1", "acme.dev"))


@dataclass
class Ec2:
    """A client that keeps what it is asked for, unless the zone has none."""

    none_in: dict[str, str] = field(default_factory=dict[str, str])
    """By zone, the error's code."""
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    given_back: list[str] = field(default_factory=list[str])
    back_fails: bool = False
    left: list[str] = field(default_factory=list[str])
    """What a killed run kept."""

    def create_capacity_reservation(self, **asked: Any) -> dict[str, Any]:
        if code := self.none_in.get(asked["AvailabilityZone"]):
            raise ClientError({"Error": {"Code": code, "Message": "in AWS's words"}}, "CreateCapacityReservation")
        self.asked.append(asked)
        return {"CapacityReservation": {"CapacityReservationId": f"cr-{len(self.asked)}"}}

    def cancel_capacity_reservation(self, CapacityReservationId: str) -> None:  # noqa: N803 - boto3's name
        if self.back_fails:
            raise ClientError({"Error": {"Code": "InternalError", "Message": "try later"}}, "CancelCapacityReservation")
        self.given_back.append(CapacityReservationId)

    def get_paginator(self, name: str) -> Any:
        offers = [{"InstanceType": name} for name in ("g4dn.2xlarge", "g9.huge")]

        def paginate(**_: object) -> list[dict[str, Any]]:
            if name == "describe_capacity_reservations":
                kept = [{"CapacityReservationId": each, "EndDateType": "limited"} for each in self.left]
                own = {"CapacityReservationId": "cr-of-the-config", "EndDateType": "unlimited"}
                return [{"CapacityReservations": [*kept, own]}]
            return [{"InstanceTypeOfferings": offers}]

        return SimpleNamespace(paginate=paginate)


@dataclass
class Rig:
    ec2: Ec2
    run: Run
    deployed: Deployed
    warned: list[str]

    def kept(self, only: str | None = None) -> Any:
        return kept(self.deployed, self.run, settings(sites=SITES), only)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rig]:
    def made(*deployed_keys: str, **ec2: Any) -> Rig:
        client, warned = Ec2(**ec2), list[str]()
        config = settings(sites=SITES)

        def facts(*_: object) -> AwsFacts:
            return all_is_well(config)

        monkeypatch.setattr(capacity, "ask_account", facts)

        def client_of(*_: object) -> Ec2:
            return client

        edge: Callable[[str], str] = lambda verb: f"edge {verb} dev"  # noqa: E731 - one line
        deployed = SimpleNamespace(
            name="dev",
            stack_file=Path("Pulumi.dev.yaml"),
            aws_client=client_of,
            commands=SimpleNamespace(edge=edge),
        )
        run = SimpleNamespace(
            stack=SimpleNamespace(deployment=state(*deployed_keys), workspace=SimpleNamespace(env_vars={"A": "b"})),
            config=stack_config(sites=SITES),
            watch=SimpleNamespace(warn=warned.append),
        )
        return Rig(client, cast("Run", run), cast("Deployed", deployed), warned)

    return made


def test_what_is_launched_is_what_is_not_there() -> None:
    def counted(deployment: dict[str, Any], only: str | None = None) -> dict[str, int]:
        return {each.zone: each.count for _, each in launches(deployment, settings(sites=SITES), only)}

    assert counted(state()) == {OREGON: 2, LAX: 1}
    assert counted(state(f"{OREGON}-1", f"{LAX}-1")) == {OREGON: 1}
    assert counted(state(), LAX) == {LAX: 1}
    assert counted(state(f"{OREGON}-1", f"{OREGON}-2", f"{LAX}-1")) == {}


RESERVATION = "aws:ec2/capacityReservation:CapacityReservation"


def test_a_host_that_has_a_reservation_is_launched_into_that() -> None:
    kept_for = {"urn": f"urn:pulumi:dev::edge-inference::{RESERVATION}::{LAX}-1-reservation", "type": RESERVATION}
    gone = {"resources": [*state(f"{OREGON}-1")["resources"], kept_for]}
    assert {each.zone: each.count for _, each in launches(gone, settings(sites=SITES))} == {OREGON: 1}


def test_of_a_site_that_reserves_it_is_only_asked(rig: Callable[..., Rig]) -> None:
    """Two reservations would need two GPUs."""
    here = rig(f"{OREGON}-1", f"{OREGON}-2")
    with kept(here.deployed, here.run, settings(sites=[SITES[0], {**SITES[1], "reserve": True}])):
        assert (len(here.ec2.asked), here.ec2.given_back) == (1, ["cr-1"])
    assert here.ec2.given_back == ["cr-1"]


def test_it_is_kept_while_the_run_is_at_work_and_tagged_as_the_deployments_own(rig: Callable[..., Rig]) -> None:
    here = rig()
    with here.kept():
        assert here.ec2.given_back == []
    assert here.ec2.given_back == ["cr-1", "cr-2"]
    first = here.ec2.asked[0]
    assert (first["InstanceCount"], first["InstanceMatchCriteria"], first["EndDateType"]) == (2, "open", "limited")
    tags = {each["Key"]: each["Value"] for each in first["TagSpecifications"][0]["Tags"]}
    assert here.run.stack.workspace.env_vars == {"A": "b", DEPLOYMENT_VARIABLE: tags[DEPLOYMENT_TAG]}
    assert len(tags[DEPLOYMENT_TAG]) == 32


def test_it_is_given_back_after_a_failure_and_what_stays_is_told(rig: Callable[..., Rig]) -> None:
    here = rig()
    with pytest.raises(ZeroDivisionError), here.kept():
        raise ZeroDivisionError
    assert here.ec2.given_back == ["cr-1", "cr-2"]
    stays = rig(back_fails=True)
    with stays.kept():
        pass
    assert "cr-1 is not given back" in stays.warned[0]
    assert "-> edge sweep dev" in stays.warned[0]


def test_what_a_killed_run_kept_is_given_back_first(rig: Callable[..., Rig]) -> None:
    here = rig(left=["cr-left"])
    with here.kept():
        assert here.ec2.given_back == ["cr-left"]


def test_a_zone_without_capacity_ends_the_run_before_it_begins(rig: Callable[..., Rig]) -> None:
    here = rig(none_in={LAX: "InsufficientInstanceCapacity"})
    with pytest.raises(CapacityError) as caught, here.kept():
        pytest.fail("the run began")
    assert here.ec2.given_back == ["cr-1"]
    assert str(caught.value).splitlines() == [
        f"{LAX} has no g4dn.2xlarge now, says AWS (InsufficientInstanceCapacity); nothing was changed",
        "  g4dn.2xlarge  $0.902 per hour  has no capacity now",
        "  g5.4xlarge    $2.231 per hour  next in instanceTypes",
        "  g4dn.xlarge   $0.631 per hour  next in instanceTypes",
        "  g9.huge       price unknown    offered there",
        f"  (list prices of {DATED})",
        "  -> edge up dev --fallback   # puts g5.4xlarge first in Pulumi.dev.yaml, and goes on",
        "  -> edge up dev   # later",
    ]
    assert (caught.value.exit_code, caught.value.has_hosts) == (11, False)


def test_a_site_with_hosts_is_not_offered_another_type(rig: Callable[..., Rig]) -> None:
    here = rig(f"{OREGON}-1", none_in={OREGON: "InsufficientInstanceCapacity"})
    with pytest.raises(CapacityError) as caught, here.kept():
        pass
    assert caught.value.has_hosts
    assert "--fallback" not in str(caught.value)


def test_where_aws_does_not_say_the_run_goes_on(rig: Callable[..., Rig]) -> None:
    here = rig(none_in={OREGON: "UnauthorizedOperation"})
    with here.kept():
        pass
    (warning,) = here.warned
    assert f"{OREGON}: whether it has 2 x g4dn.2xlarge now is unknown: in AWS's words" in warning
    assert len(here.ec2.given_back) == 1


def test_nothing_is_asked_for_a_config_that_the_program_refuses(rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    here = rig()

    def poor(*_: object) -> AwsFacts:
        return all_is_well(settings(sites=SITES), vcpu_quota=8.0)

    monkeypatch.setattr(capacity, "ask_account", poor)
    with here.kept():
        assert here.ec2.asked == []


# --fallback


FILE = """\
config:
  aws:region: us-west-2
  edge-inference:sites:
    - zone: us-west-2a # the Region
    - zone: us-west-2-lax-1a
      instanceTypes:
        - g4dn.2xlarge # the cheapest
        - g5.4xlarge
        - g4dn.xlarge
"""


@pytest.fixture
def environment(tmp_path: Path) -> Deployed:
    (tmp_path / "Pulumi.dev.yaml").write_text(FILE)
    return Deployed("dev", directory=tmp_path, stack_files=tmp_path, logs=tmp_path / "logs")


def short(*, has_hosts: bool = False) -> CapacityError:
    return CapacityError("none", LAX, has_hosts=has_hosts)


def test_each_type_comes_to_the_front_once(environment: Deployed) -> None:
    types, seen = Fallback(environment), list[list[str]]()
    for _ in range(2):
        types.move_on(short())
        seen.append(read(environment.stack_file).config["edge-inference:sites"][1]["instanceTypes"])
    assert seen == [["g5.4xlarge", "g4dn.2xlarge", "g4dn.xlarge"], ["g4dn.xlarge", "g5.4xlarge", "g4dn.2xlarge"]]
    assert "# the Region" in environment.stack_file.read_text()
    assert "# the cheapest" in environment.stack_file.read_text()
    before = environment.stack_file.read_text()
    with pytest.raises(CapacityError):
        types.move_on(short())
    assert environment.stack_file.read_text() == before


def test_hosts_that_serve_are_not_resized_and_a_rehearsal_writes_nothing(environment: Deployed) -> None:
    with pytest.raises(CapacityError):
        Fallback(environment).move_on(short(has_hosts=True))
    environment.on_local_cloud = True
    with pytest.raises(UsageError, match="a rehearsal changes no tracked file"):
        Fallback(environment).move_on(short())
    assert environment.stack_file.read_text() == FILE
