"""A site in a program that is not this project's: what it is not told it asks of AWS, and it seals what is secret."""

from typing import Any

import pulumi
import pytest
from component_helpers import HOST_KEY_SECRET, TOKEN, deployer_key
from recorded_program import Answers, Deployed, address_of, run_mocked

from components.host_identity import deployer_public_key
from components.routing import ServiceRouting
from components.site import EdgeInferenceSite, EdgeInferenceSiteArgs

ZONE = "us-west-2-lax-1a"
API_KEY = "a-key-of-sixteen-letters"


def asked(token: str, args: dict[str, Any]) -> dict[str, Any]:
    """AWS's answers."""
    match token:
        case "aws:index/getAvailabilityZone:getAvailabilityZone":
            assert (args["name"], args["region"], args["allAvailabilityZones"]) == (ZONE, "us-west-2", True)
            return {"networkBorderGroup": "border-of-los-angeles"}
        case "aws:ssm/getParameter:getParameter":
            assert args["region"] == "us-west-2"
            return {"insecureValue": "ami-0newest00", "value": pulumi.Output.secret("ami-0newest00")}
        case _:
            raise AssertionError(f"nobody needs {token}")


def args(**more: Any) -> EdgeInferenceSiteArgs:
    """The least that a site can be made from, in clear."""
    given: Any = {
        "zone": ZONE,
        "vpc_id": "vpc-theirs",
        "subnet_id": "subnet-theirs",
        "client_cidrs": ["93.184.216.34/32"],
        "ssh_cidrs": ["93.184.216.35/32"],
        "ssh_private_key": deployer_key(),
        "host_key_secret": HOST_KEY_SECRET,
        "hugging_face_token": TOKEN,
    }
    return given | more


def deploy(name: str = "los-angeles", **more: Any) -> Deployed:
    outputs: dict[str, Any] = {}

    def program() -> pulumi.Output[None]:
        site = EdgeInferenceSite(name, args(**more))
        made = {"urls": site.urls, "addresses": site.addresses, "instance_ids": site.instance_ids, "served": site.served}
        return pulumi.Output.from_input(made).apply(outputs.update)

    return Deployed(run_mocked(program, "theirs", Answers(asked)), outputs)


def test_what_is_not_given_is_asked_or_derived() -> None:
    deployed = deploy()
    instance = deployed.one("Instance", "los-angeles-1-host")
    assert instance.inputs["ami"] == "ami-0newest00"
    assert "ami" not in instance.secret_inputs
    assert set(instance.ignore_changes) == {"ami", "userData"}, "another one tomorrow must replace nothing"
    assert (instance.inputs["instanceType"], instance.inputs["rootBlockDevice"]["volumeType"]) == ("g4dn.2xlarge", "gp2")
    assert deployed.one("Eip", "los-angeles-1-address").inputs["networkBorderGroup"] == "border-of-los-angeles"
    assert deployed.one("KeyPair", "los-angeles-key").inputs["publicKey"] == deployer_public_key(deployer_key())
    assert "publicKey" not in deployed.one("KeyPair", "los-angeles-key").secret_inputs


def test_what_is_given_is_not_asked() -> None:
    deployed = deploy(ami="ami-0123456789abcdef0", network_border_group="given", replicas=2)
    assert {each.inputs["networkBorderGroup"] for each in deployed.of_kind("Eip")} == {"given"}
    for instance in deployed.of_kind("Instance"):
        assert (instance.inputs["ami"], instance.ignore_changes) == ("ami-0123456789abcdef0", ("userData",))


def test_a_subnet_of_theirs_is_used_as_it_is() -> None:
    deployed = deploy()
    assert not deployed.of_kind("Subnet")
    assert not deployed.of_kind("RouteTableAssociation")
    assert deployed.one("Instance", "los-angeles-1-host").inputs["subnetId"] == "subnet-theirs"
    assert deployed.one("SecurityGroup", "los-angeles-firewall").inputs["vpcId"] == "vpc-theirs"


def test_outputs() -> None:
    address = address_of("los-angeles-1-address")
    assert deploy().outputs == {
        "addresses": [address],
        "urls": [f"http://{address}:8080"],
        "instance_ids": ["id-of-los-angeles-1-host"],
        "served": [True],
    }
    tls = {"name": "llm.theirs.dev", "certificate": "chain", "private_key": "key"}
    assert deploy(endpoint={"tls": tls, "port": 8443}).outputs["urls"] == ["https://llm.theirs.dev:8443"]


def test_secrets_that_are_given_in_clear_are_sealed() -> None:
    tls = {"name": "llm.theirs.dev", "certificate": "chain-of-theirs", "private_key": "private-of-theirs"}
    deployed = deploy(endpoint={"tls": tls, "api_keys": {"theirs": API_KEY}})
    proxy = deployed.one("Command", "los-angeles-1-proxy")
    assert proxy.inputs["stdin"].endswith(f"\n{API_KEY}\n")
    sealed = {"Instance": "userData", "Command": "connection"}
    for kind, key in sealed.items():
        assert all(key in each.secret_inputs for each in deployed.of_kind(kind))
    for step in ("weights", "proxy"):
        assert "stdin" in deployed.one("Command", f"los-angeles-1-{step}").secret_inputs
    for each in deployed:
        shown = str({key: value for key, value in each.inputs.items() if key not in each.secret_inputs})
        for secret in (TOKEN, API_KEY, HOST_KEY_SECRET, deployer_key().splitlines()[2], "private-of-theirs"):
            assert secret not in shown, each.label


def test_names_tags_and_stack_are_theirs() -> None:
    deployed = deploy("edge", tags={"owner": pulumi.Output.from_input("them")})
    assert all(each.name.startswith("edge") for each in deployed)
    assert deployed.one("Eip", "edge-1-address").inputs["tags"] == {
        "Name": "edge-inference-theirs-edge-1-address",
        "owner": "them",
        "edge-inference:stack": "theirs",
        "edge-inference:replica": f"{ZONE}-1",
    }


@pytest.mark.parametrize("missing", [{"subnet_cidr": "10.0.0.0/24"}, {"route_table_id": "rtb-theirs"}, {}])
def test_half_a_subnet_is_told(missing: dict[str, str]) -> None:
    given: Any = {key: value for key, value in args(**missing).items() if key != "subnet_id"}
    with pytest.raises(ValueError, match="los-angeles: give subnet_id, or subnet_cidr and route_table_id"):
        run_mocked(lambda: EdgeInferenceSite("los-angeles", given), answers=Answers(asked))


def test_routing_without_a_hosted_zone_is_told() -> None:
    sites: Any = [{"zone": ZONE, "addresses": ["100.64.0.1"]}]
    with pytest.raises(ValueError, match="service: give hosted_zone_id, or hosted_zone, which is created"):
        run_mocked(lambda: ServiceRouting("service", {"domain": "llm.theirs.dev", "sites": sites}))
