"""What AWS has and the state does not: it is listed, explained where it is in the way, and removed; no neighbour is touched.

The tests run in this order: each finds what the one before has left. Orphans are made by taking resources out of the exported
state: what a kill between AWS's answer and the state's writing leaves, exactly, for every kind.
"""

# boto3 has no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support import LOS_ANGELES, OREGON, Deployment, World, forget, tokens

from automation.errors import DeploymentFailedError, OrphansError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.engine

DEPLOYMENT = "edge-inference:deployment"
UNTAGGED = (
    "aws:ec2/eipAssociation:EipAssociation",
    "aws:ec2/route:Route",
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "aws:route53/record:Record",
)


@pytest.fixture(scope="module")
def orphaned(world: World, stack_files: Path) -> Deployment:
    deployment = Deployment("orphaned", world, stack_files)
    deployment.configure([OREGON, LOS_ANGELES])
    return deployment


@pytest.fixture(scope="module")
def neighbours(orphaned: Deployment) -> Iterator[set[str]]:
    """What stands closest: another stack of the same name, one nested below our domain, the owner's own records."""
    world = orphaned.world
    ec2, route53 = world.aws("ec2"), world.aws("route53")
    tags = [{"Key": "edge-inference:stack", "Value": orphaned.name}, {"Key": DEPLOYMENT, "Value": "another"}]
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": tags}])["Vpc"]["VpcId"]
    specification = [{"ResourceType": "elastic-ip", "Tags": tags}]
    allocated = ec2.allocate_address(Domain="vpc", TagSpecifications=specification)
    address = allocated["PublicIp"]
    check = {"IPAddress": address, "Port": 80, "Type": "HTTP", "ResourcePath": "/health"}
    check_id = route53.create_health_check(CallerReference="neighbour", HealthCheckConfig=check)["HealthCheck"]["Id"]
    domain, zone_id = _routing(orphaned)
    nested = f"{OREGON}.sites.dev.{domain}"
    weighted = {"Type": "A", "SetIdentifier": "1", "Weight": 1, "TTL": 60, "HealthCheckId": check_id}
    records: list[dict[str, Any]] = [
        {"Name": nested, "ResourceRecords": [{"Value": address}], **weighted},
        {"Name": f"us-east-1.{domain}", "ResourceRecords": [{"Value": address}], **weighted},
        {"Name": domain, "Type": "TXT", "TTL": 60, "ResourceRecords": [{"Value": '"v=spf1 -all"'}]},
        {"Name": f"latency.{domain}", "Type": "MX", "TTL": 60, "ResourceRecords": [{"Value": f"10 mail.{domain}"}]},
    ]

    def change(action: str) -> None:
        changes = [{"Action": action, "ResourceRecordSet": each} for each in records]
        route53.change_resource_record_sets(HostedZoneId=zone_id, ChangeBatch={"Changes": changes})

    before = world.inventory()
    change("CREATE")
    yield world.inventory() - before
    change("DELETE")
    route53.delete_health_check(HealthCheckId=check_id)
    ec2.release_address(AllocationId=allocated["AllocationId"])
    ec2.delete_vpc(VpcId=vpc)


def _routing(deployment: Deployment) -> tuple[str, str]:
    routing = deployment.environment.outputs()["routing"]
    return routing["domain"], routing["hosted_zone_id"]


def _kinds(deployment: Deployment) -> Counter[str]:
    return Counter(each.kind for each in deployment.environment.orphans())


def test_a_state_of_the_release_before_gets_its_id_in_place(orphaned: Deployment, tmp_path: Path) -> None:
    before = orphaned.world.inventory()
    orphaned.up()
    assert orphaned.environment.orphans() == ()
    state = json.loads(orphaned.pulumi("stack", "export"))
    for each in state["deployment"]["resources"]:
        for values in (each.get("inputs") or {}, each.get("outputs") or {}):
            for tags in (values.get("tags"), values.get("tagsAll"), values.get("volumeTags")):
                (tags or {}).pop(DEPLOYMENT, None)
    file = tmp_path / "state.json"
    file.write_text(json.dumps(state))
    orphaned.pulumi("stack", "import", "--file", str(file))
    forget(orphaned, lambda each: each["type"] == "pulumi:index:Stash", tmp_path)
    with pytest.raises(Exception, match="keeps no deployment id"):
        orphaned.environment.orphans()
    made = orphaned.world.inventory() - before
    upgraded = orphaned.up()
    assert {operation for operations in upgraded.touched.values() for operation in operations} == {"update"}
    assert orphaned.world.inventory() - before == made
    assert orphaned.environment.orphans() == ()


def test_what_carries_no_tag_is_found_by_what_it_hangs_on(orphaned: Deployment, neighbours: set[str], tmp_path: Path) -> None:
    assert neighbours
    forget(orphaned, lambda each: each["type"] in UNTAGGED, tmp_path)
    found = _kinds(orphaned)
    assert found == {"address association": 2, "route": 1, "route table association": 2, "record": found["record"]}
    assert found["record"] == len([1 for name, kind, _ in orphaned.world.records() if kind == "A" and _is_ours(orphaned, name)])
    with pytest.raises(DeploymentFailedError) as caught:
        orphaned.up()
    told = str(caught.value)
    assert "made by a run that was killed before it was recorded" in told
    assert "-> edge sweep orphaned --local" in told
    assert all(each.id in told for each in orphaned.environment.orphans())
    assert not orphaned.environment.sweep(orphaned.environment.orphans()).left
    for url in orphaned.up().outputs["endpoint_urls"].values():
        assert tokens(url)


def _is_ours(deployment: Deployment, name: str) -> bool:
    domain, _ = _routing(deployment)
    return name.rstrip(".").endswith(domain) and ".dev." not in name and not name.startswith("us-east-1.")


def test_everything_that_no_state_knows_is_listed_and_removed_in_order(
    orphaned: Deployment, neighbours: set[str], tmp_path: Path
) -> None:
    world = orphaned.world
    made = forget(orphaned, lambda each: each["type"].startswith("aws:") and "AvailabilityZone" not in each["type"], tmp_path)
    kinds = {"record", "health check", "instance", "address", "subnet", "security group", "route table", "key pair"}
    found = orphaned.environment.orphans()
    assert {each.kind for each in found} == kinds | {"internet gateway", "VPC"}
    assert {each.id for each in found if each.kind in {"instance", "address", "VPC", "subnet"}} <= made
    failed = {check.subject: check for check in orphaned.environment.doctor().failed}
    assert "per hour" in failed["beside the state: instance"].finding
    orphaned.said.clear()
    orphaned.environment.refresh()
    assert any("-> edge sweep orphaned --local" in line for line in orphaned.said)

    with pytest.raises(OrphansError, match="not all that AWS has"):
        orphaned.destroy()
    swept = orphaned.environment.sweep(orphaned.environment.orphans())
    assert not swept.left
    assert neighbours <= world.inventory()
    orphaned.destroy()
    remains = world.inventory()
    assert neighbours <= remains
    assert not any("orphaned" in each for each in remains - neighbours)
    assert world.host_processes() == []


def test_of_what_has_our_name_while_the_state_holds_nothing_nobody_can_tell_whose_it_is(
    orphaned: Deployment, neighbours: set[str]
) -> None:
    """Another stack's of our name: as it would be with our own, had the state been lost."""
    before = orphaned.world.inventory()
    namesakes = {"VPC", "address"}
    (warning,) = (each for each in orphaned.environment.doctor().checks if each.subject == "beside the state")
    assert warning.state == "warning"
    assert all(kind in warning.finding for kind in namesakes)
    orphaned.said.clear()
    orphaned.preview()
    (told, *_) = [line for line in orphaned.said if "holds nothing" in line]
    assert "AWS has 2 objects with its name (tag edge-inference:stack)" in told
    assert orphaned.world.inventory() == before >= neighbours
