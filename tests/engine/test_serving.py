"""Oregon, Los Angeles and Honolulu as `prod` has them, rehearsed from its committed file: they serve, stay, heal, and go.

The tests run in this order: each finds what the one before has left.
"""

# boto3 has no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import InferenceClient
from openai import OpenAI
from support import HONOLULU, LOS_ANGELES, OREGON, Deployment, World, assert_contract, tokens

from automation.errors import NothingDeployedError
from automation.paths import PROJECT_ROOT
from automation.sites.bench import Clients
from automation.sites.hosts import find_host, run, ssh
from placement.measured import measured_round_trips
from placement.world import users_of
from ttft.schedule import Plan
from ttft.summary import summarize

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.engine

PROD_ZONES = {OREGON, LOS_ANGELES, HONOLULU}


def _git_sees() -> str:
    """The stack files against the last commit, and all new files; not the sources, which somebody may be editing."""
    commands = (["git", "diff", "HEAD", "--", "Pulumi*.yaml"], ["git", "ls-files", "--others", "--exclude-standard"])
    return "".join(
        subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stdout for command in commands
    )


class Prod(Deployment):
    """The deployed environment."""

    def __init__(self, world: World) -> None:
        super().__init__("prod", world, PROJECT_ROOT)
        self.world_before = world.inventory()
        self.git_saw = _git_sees()
        self.outputs = dict(self.up().outputs)

    @property
    def urls(self) -> dict[str, str]:
        return self.outputs["endpoint_urls"]

    def instance(self, zone: str) -> str:
        return self.outputs["sites"][zone]["replicas"][0]["instance_id"]


@pytest.fixture(scope="module")
def prod(world: World) -> Prod:
    return Prod(world)


def test_prod_as_committed_is_rehearsed_and_nothing_tracked_changes(prod: Prod) -> None:
    assert set(prod.urls) == PROD_ZONES
    assert any("domain" in stand_in for stand_in in prod.environment.stand_ins)
    assert _git_sees() == prod.git_saw


def test_outputs_satisfy_their_schema(prod: Prod) -> None:
    assert_contract(prod.outputs)
    assert prod.environment.outputs() == prod.outputs


def test_every_endpoint_streams_to_plain_http(prod: Prod) -> None:
    for url in prod.urls.values():
        assert len(tokens(url)) == 5


def test_every_endpoint_streams_to_hugging_faces_client(prod: Prod) -> None:
    for url in prod.urls.values():
        hugging_face = InferenceClient(url)
        assert len(list(hugging_face.text_generation("What is the edge?", stream=True, max_new_tokens=5))) == 5
        chunks = hugging_face.chat_completion([{"role": "user", "content": "Hello"}], stream=True, max_tokens=5)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_every_endpoint_streams_to_openais_client(prod: Prod) -> None:
    for url in prod.urls.values():
        openai = OpenAI(base_url=f"{url}/v1", api_key="none")
        completion = openai.completions.create(model="tgi", prompt="Hello", max_tokens=5, stream=True)
        assert "".join(chunk.choices[0].text for chunk in completion if chunk.choices)
        chat = openai.chat.completions.create(
            model="tgi", messages=[{"role": "user", "content": "Hello"}], max_tokens=5, stream=True
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chat if chunk.choices)


def test_what_is_deployed_can_be_looked_at(prod: Prod) -> None:
    status = prod.environment.status()
    assert {site.zone for site in status.sites if site.serves} == PROD_ZONES
    assert status.simulated
    assert status.dollars_per_hour == pytest.approx(0.752 + 0.902 + 1.241)
    for site in status.sites:
        (replica,) = site.replicas
        assert (replica.instance, replica.health, replica.model) == ("running", "healthy", site.model)
        assert site.dns_share
    examination = prod.environment.doctor()
    assert not examination.failed, examination.failed
    assert any(check.subject.startswith("DNS") and check.state == "ok" for check in examination.checks)


def test_a_host_can_be_logged_in_to(prod: Prod) -> None:
    host = find_host(prod.environment, HONOLULU)
    with ssh(prod.environment, host, prod.environment.stack_config()) as command:
        assert run(command, "sudo docker logs --tail 5 edge-inference-server 2>&1", seconds=30)


def test_every_site_is_measured_from_every_city(prod: Prod, tmp_path: Path) -> None:
    plan = Plan(targets=(), rounds=2, connections=("warm", "cold"), output_tokens=2, gap_seconds=0.0)
    measured = prod.environment.bench(plan, Clients(cities=("Honolulu", "Denver")))
    assert not measured.failures
    assert len(measured.samples) == 2 * len(PROD_ZONES) * 2 * 2
    summary = summarize(measured)
    assert (summary.simulated.network, summary.simulated.model) == (True, True)
    # `--measured` reads what `edge bench --json` writes of it, and takes no round trip of a simulated network.
    path = tmp_path / "bench.json"
    path.write_text(summary.model_dump_json())
    assert measured_round_trips([path], users_of(["US-HI"])) == {}


def test_a_second_up_changes_nothing_and_a_preview_expects_nothing(prod: Prod) -> None:
    assert prod.preview().touched == {}
    again = prod.up()
    assert again.touched == {}
    assert again.outputs == prod.outputs


def test_what_was_lost_or_changed_outside_is_told_and_mended(prod: Prod) -> None:
    """An instance is terminated and a rule revoked; the address stays, and a token comes from a new instance behind it."""
    ec2 = prod.world.aws("ec2")
    ec2.terminate_instances(InstanceIds=[prod.instance(LOS_ANGELES)])
    rule_name = f"{OREGON}-client-127.0.0.1/32"
    rules = ec2.describe_security_group_rules(Filters=[{"Name": "tag:Name", "Values": [f"edge-inference-prod-{rule_name}"]}])
    rule = rules["SecurityGroupRules"][0]
    ec2.revoke_security_group_ingress(GroupId=rule["GroupId"], SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]])

    assert prod.environment.refresh().counts["delete"] >= 2
    mended = prod.up()

    assert {f"Instance {LOS_ANGELES}-1-host", f"SecurityGroupIngressRule {rule_name}"} <= mended.touched.keys()
    assert not any(HONOLULU in name for name in mended.touched)
    _assert_replaced(prod, LOS_ANGELES, mended.outputs)


def test_an_instance_replaced_by_hand_is_converged_again(prod: Prod) -> None:
    """Plain `pulumi up --replace`, with what `edge env local` prints."""
    prod.environment.unprotect(HONOLULU)
    instance = prod.urns()[f"Instance {HONOLULU}-1-host"]
    prod.pulumi("up", "--yes", "--skip-preview", "--replace", instance)
    _assert_replaced(prod, HONOLULU, prod.environment.outputs())


def _assert_replaced(prod: Prod, zone: str, outputs: Mapping[str, Any]) -> None:
    """Another instance, the same address, and it serves."""
    replaced = prod.instance(zone)
    assert outputs["endpoint_urls"] == prod.urls
    prod.outputs = dict(outputs)
    assert prod.instance(zone) != replaced
    for url in prod.urls.values():
        assert tokens(url)


def test_dev_beside_it_comes_and_goes_without_a_trace(prod: Prod) -> None:
    """One account, one Region, one hosted zone."""
    world = prod.world
    before, records = world.inventory(), world.records()
    dev = Deployment("dev", world, PROJECT_ROOT)
    for url in dev.up().outputs["endpoint_urls"].values():
        assert tokens(url)
    assert world.records() > records
    dev.destroy()
    assert world.inventory() == before
    for url in prod.urls.values():
        assert tokens(url)
    with pytest.raises(NothingDeployedError):
        dev.environment.outputs()


def test_destroy_leaves_nothing_and_no_process(prod: Prod) -> None:
    prod.environment.unprotect()
    prod.destroy()
    assert prod.world.inventory() == prod.world_before
    assert prod.world.status.request("GET", "status")["hosts"] == []
    assert prod.world.host_processes() == []
