"""The program, through the engine's provider, and doctor, with boto3, ask AWS the same and learn the same: also what AWS refuses.

Both ask one emulated API: the program by the local cloud's own plugin, as in a run, here without an engine.
"""

# boto3 has no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

import json
from collections.abc import Callable, Iterator
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from automation.account.questions import ask_account
from components.aws_facts import AwsFacts
from components.provider_lookups import ask_aws
from components.settings import PROJECT, StackConfig, Validated, validate
from localcloud.api import faults
from localcloud.api.server import ApiServer
from localcloud.plugins.aws import AwsPlugin
from tests.unit.plugins.driver import Driver

from .conftest import Client, Site

OREGON, LAX, DEN = "us-west-2a", "us-west-2-lax-1a", "us-west-2-den-1a"
Both = Callable[..., tuple[AwsFacts, AwsFacts]]


class Provider(mocks.Mocks):
    """Leads the SDK's lookups to the plugin."""

    def __init__(self, plugin: Driver) -> None:
        self._plugin = plugin

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        raise AssertionError(args.name)

    def call(self, args: mocks.MockCallArgs) -> Any:
        found, problems = self._plugin.invoke(args.token, args.args)
        found.pop("value", None) if args.token.startswith("aws:ssm") else None  # a secret, of which the mocks know nothing
        return found, [("", problem) for problem in problems]


@pytest.fixture(scope="module")
def plugin(api: ApiServer) -> Iterator[Driver]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{api.port}")
        patch.setenv("AWS_ACCESS_KEY_ID", api.keys.access_key_id)
        patch.setenv("AWS_SECRET_ACCESS_KEY", api.keys.secret_access_key)
        driver = Driver(AwsPlugin("127.0.0.1:1"))
        driver.configure({"region": "us-west-2"})
        yield driver


@pytest.fixture
def both(client: Client, plugin: Driver) -> Both:
    """What the program and doctor learn of a config."""

    def ask(*zones: str, **more: Any) -> tuple[AwsFacts, AwsFacts]:
        validated = _config(*zones, **more)
        found: list[AwsFacts] = []
        mocks.set_mocks(Provider(plugin), project=PROJECT, stack="dev")
        pulumi.runtime.test(lambda: found.append(ask_aws(validated)))()
        return found[0], ask_account(validated, client)

    return ask


def _config(*zones: str, **more: Any) -> Validated:
    sections = {
        "sites": [{"zone": zone} for zone in zones],
        "access": {"clientCidrs": ["93.184.216.34/32"], "sshCidrs": ["93.184.216.34/32"]},
        "routing": {"domain": "llm.acme.dev", "hostedZone": "acme.dev"},
    } | more
    return validate(StackConfig("dev", {f"{PROJECT}:{key}": json.dumps(value) for key, value in sections.items()}))


def _zone(client: Client) -> str:
    made = client("route53").create_hosted_zone(Name="acme.dev", CallerReference="1")
    return made["HostedZone"]["Id"].rpartition("/")[2]


def test_both_learn_the_same(both: Both, client: Client, site: Site, ami: str) -> None:
    site.launch()
    site.launch(InstanceMarketOptions={"MarketType": "spot"})
    site.address()
    zone = _zone(client)
    record = {"Name": "llm.acme.dev", "Type": "CNAME", "TTL": 60, "ResourceRecords": [{"Value": "elsewhere.dev"}]}
    changes = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
    client("route53").change_resource_record_sets(HostedZoneId=zone, ChangeBatch=changes)
    faults.update({"deprecated_images": [ami]})
    program, doctor = both(OREGON, LAX, DEN, host={"amis": {"us-west-2": ami}})
    assert program == doctor
    region = program.regions["us-west-2"]
    assert (region.vcpus_used, region.addresses_used, region.ami) == (8, 1, ami)
    assert region.silent_zones == {DEN}
    assert region.unknown == program.unknown == {}
    assert program.hosted_zone
    assert program.hosted_zone.id == zone
    assert program.foreign_records == ("CNAME",)


def test_what_is_not_there(both: Both) -> None:
    program, doctor = both(
        OREGON,
        "us-west-2-xyz-1a",
        sites=[{"zone": OREGON, "instanceType": "g9.huge"}, {"zone": "us-west-2-xyz-1a"}],
        host={"amis": {"us-west-2": "ami-00000000000000000"}},
    )
    assert program.regions == doctor.regions
    region = program.regions["us-west-2"]
    assert (region.types["g9.huge"], region.ami, region.unknown) == (None, None, {})
    assert set(region.zones) == {OREGON}
    for facts in (program, doctor):
        assert (facts.hosted_zone, facts.unknown) == (None, {})
        assert "no matching" in str(facts.hosted_zone_trouble)
