"""Each change of the config touches only what is its own, by the engine's own diff; what stays serves on.

The tests run in this order: each finds what the one before has left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
from support import LOS_ANGELES, OREGON, BackgroundUp, Deployment, Recording, World, assert_contract, tokens

from geography.cities import CITIES, local_network

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

pytestmark = pytest.mark.engine

SISTER = "us-west-2-lax-1b"
"""Another zone of Los Angeles' group."""
BOSTON = {"zone": "us-east-1-bos-1a", "optIn": "anyway"}
"""In another parent Region, of a group that the account is not opted in to."""
TWICE = {"zone": LOS_ANGELES, "replicas": 2}
REPLICA = f"{LOS_ANGELES}-2"
OTHER_CLIENT = "127.0.0.9"
ACCESS = {"clientCidrs": ["127.0.0.1/32"], "sshCidrs": ["127.0.0.1/32"]}
WIDER = {**ACCESS, "clientCidrs": ["127.0.0.1/32", f"{OTHER_CLIENT}/32"]}
SERVER = {"model": "Qwen/Qwen2.5-0.5B-Instruct", "maxTotalTokens": 3500}
NAME = {"domain": "llm.changing.internal", "hostedZone": "changing.internal", "createHostedZone": True}


class Changing(Deployment):
    """Deployed in Oregon and Los Angeles, in a hosted zone of its own."""

    def __init__(self, world: World, stack_files: Path) -> None:
        super().__init__("changing", world, stack_files)
        self.world_before = world.inventory()
        self.configure([OREGON, LOS_ANGELES], access=ACCESS)
        outputs = self.up().outputs
        self.urls: dict[str, str] = outputs["endpoint_urls"]
        self.routing: dict[str, Any] = outputs["routing"]

    def configure(self, sites: Iterable[str | Mapping[str, object]], **sections: object) -> None:
        super().configure(sites, **{"routing": NAME, **sections})

    def hosted_zones(self) -> dict[str, str]:
        """Ids by name."""
        zones = self.world.aws("route53").list_hosted_zones()["HostedZones"]
        return {zone["Name"].rstrip("."): zone["Id"].removeprefix("/hostedzone/") for zone in zones}

    def answer(self, name: object = NAME["domain"]) -> str:
        """Where a client in Los Angeles is sent, as a URL."""
        client = str(local_network(CITIES["Los Angeles"]).network_address + 1)
        answer = self.world.aws("route53").test_dns_answer(
            HostedZoneId=self.routing["hosted_zone_id"], RecordName=name, RecordType="A", ResolverIP=client
        )
        return f"http://{answer['RecordData'][0]}:8080"


@pytest.fixture(scope="module")
def changing(world: World, stack_files: Path) -> Changing:
    return Changing(world, stack_files)


def test_the_hosted_zone_is_there_and_its_name_servers_are_told(changing: Changing) -> None:
    assert changing.hosted_zones()["changing.internal"] == changing.routing["hosted_zone_id"]
    assert len(changing.routing["name_servers"]) == 4
    assert changing.answer() == changing.urls[LOS_ANGELES]


def _assert_only(run: Recording, operation: str, *owners: str, besides: str = "") -> None:
    """That a run does one thing only, and only to resources that belong to the owners; to an instance of each."""
    touched = {name: operations for name, operations in run.touched.items() if name != besides}
    assert {each for operations in touched.values() for each in operations} == {operation}
    assert [name for name in touched if not any(owner in name for owner in owners)] == []
    for owner in owners:
        assert [name for name in touched if name.startswith("Instance ") and owner in name]


def test_a_tag_is_changed_in_place_and_no_command_runs(changing: Changing) -> None:
    changing.configure([OREGON, LOS_ANGELES], access=ACCESS, tags={"team": "edge"})
    run = changing.preview()
    _assert_only(run, "update", OREGON, LOS_ANGELES, "us-west-2", besides="Zone routing-zone")
    assert not any(name.startswith(("Command ", "Record ")) for name in run.touched)


def test_a_client_is_let_in_by_rules_alone_and_the_order_of_sites_means_nothing(changing: Changing) -> None:
    for url in changing.urls.values():
        with pytest.raises(requests.ConnectionError):
            tokens(url, source=OTHER_CLIENT)
    changing.configure([LOS_ANGELES, OREGON], access=WIDER)
    rules = [f"SecurityGroupIngressRule {zone}-client-{OTHER_CLIENT}/32" for zone in (OREGON, LOS_ANGELES)]
    assert changing.up().touched == {rule: {"create"} for rule in rules}
    for url in changing.urls.values():
        assert tokens(url, source=OTHER_CLIENT)


def test_zones_a_replica_and_a_region_are_added_beside_what_serves(changing: Changing) -> None:
    """At once, since all of it is new: what is there already is not touched by any of it."""
    changing.configure([BOSTON, SISTER, OREGON, TWICE], access=WIDER)
    grown = changing.up()
    _assert_only(grown, "create", REPLICA, SISTER, "us-east-1")
    assert "opts the account in to the zone group us-east-1-bos-1. It cannot be undone here" in grown.text
    assert_contract(grown.outputs)
    sites = grown.outputs["sites"]
    urls = [replica["url"] for site in sites.values() for replica in site["replicas"]]
    assert len(set(urls)) == 5
    assert set(changing.urls.values()) < set(urls)
    for url in urls:
        assert tokens(url)
    changing.urls = dict(grown.outputs["endpoint_urls"])


def test_a_zone_and_a_region_are_removed_beside_what_serves(changing: Changing) -> None:
    """Los Angeles was first of its group: the group's record belongs to its sister zone, too."""
    changing.configure([SISTER, OREGON], access=WIDER)
    opt_in = "AvailabilityZoneGroup us-east-1-opt-in-us-east-1-bos-1"
    _assert_only(shrunk := changing.up(), "delete", LOS_ANGELES, "us-east-1", besides=opt_in)
    assert shrunk.touched[opt_in] == {"forget"}, "AWS keeps it"
    assert shrunk.outputs["endpoint_urls"] == {zone: changing.urls[zone] for zone in (SISTER, OREGON)}
    changing.urls = dict(shrunk.outputs["endpoint_urls"])
    for url in changing.urls.values():
        assert tokens(url)


def test_another_model_and_flag_are_converged_in_place(changing: Changing) -> None:
    changing.configure([SISTER, OREGON], access=WIDER, server=SERVER)
    converged = changing.up()
    steps = [f"Command {zone}-1-{step}" for zone in (SISTER, OREGON) for step in ("weights", "ready")]
    assert converged.touched == {step: {"update"} for step in steps}
    assert converged.outputs["endpoint_urls"] == changing.urls
    for zone, url in changing.urls.items():
        assert converged.outputs["sites"][zone]["model"] == SERVER["model"]
        assert requests.get(f"{url}/info", timeout=30).json()["max_total_tokens"] == 3500
        assert tokens(url)


def test_another_policy_is_one_run_in_which_the_name_always_answers(changing: Changing) -> None:
    mapping = {"default": OREGON, "usStates": {"CA": SISTER}}
    changing.configure(
        [SISTER, OREGON], access=WIDER, server=SERVER, routing={**NAME, "policy": "geolocation", "geolocation": mapping}
    )
    answers: list[str] = []
    running = BackgroundUp(changing)
    while running.is_alive:
        answers.append(changing.answer())
    assert running.end() is None
    assert set(answers) <= set(changing.urls.values()), "for a moment the farther one, whose new record was first"
    assert changing.answer() == changing.urls[SISTER]
    touched = running.recording.touched
    assert touched.pop("Record routing-service") == {"update"}
    assert {name.removeprefix("Record routing-"): operations for name, operations in touched.items()} == {
        **{key: {"delete"} for key in ("region-us-west-2", "group-us-west-2", "group-us-west-2-lax-1")},
        **{key: {"create"} for key in ("flat-us-west-2", "flat-us-west-2-lax-1", "place-default", "place-us-state-CA")},
        **{f"mapped-{zone}{which}": {"create"} for zone in (SISTER, OREGON) for which in ("", "-nearest")},
    }


def test_a_drained_site_serves_on_without_its_records_also_while_the_policy_changes(changing: Changing) -> None:
    changing.configure(
        [SISTER, OREGON], access=WIDER, server=SERVER, drained=[SISTER], routing={**NAME, "policy": "geoproximity"}
    )
    run = changing.up()
    assert_contract(run.outputs)
    assert run.outputs["routing"]["drained"] == [SISTER]
    deleted = {name for name, operations in run.touched.items() if operations == {"delete"}}
    assert {f"Record routing-leaf-{SISTER}-1", "Record routing-flat-us-west-2-lax-1"} <= deleted
    assert run.touched.keys() - deleted == {"Record routing-service"}
    assert changing.answer() == changing.urls[OREGON]
    assert changing.answer(f"{SISTER}.sites.{NAME['domain']}") == changing.urls[SISTER]
    assert tokens(changing.urls[SISTER])


def test_another_network_replaces_all_but_the_addresses(changing: Changing) -> None:
    changing.configure([OREGON], access=WIDER, server=SERVER, network={"vpcCidr": "10.65.0.0/16"})
    replaced = changing.up()
    assert replaced.touched["InternetGateway us-west-2-gateway"] == {"create-replacement", "replace", "delete-replaced"}
    assert replaced.outputs["endpoint_urls"] == {OREGON: changing.urls[OREGON]}
    assert tokens(changing.urls[OREGON])


def test_destroy_leaves_nothing(changing: Changing) -> None:
    changing.destroy()
    assert "changing.internal" not in changing.hosted_zones()
    assert changing.world.inventory() == changing.world_before
    assert changing.world.host_processes() == []
