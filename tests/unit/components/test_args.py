"""The components as other programs meet them: a schema in Pulumi's own words, and every word of it explained."""

import re
from dataclasses import fields
from functools import cache
from itertools import chain

import pytest
from pulumi.provider.experimental.analyzer import Analyzer, AnalyzeResult, PropertyDefinition

from components import defaults
from components.args import HostArgs, RolloutArgs, ServerArgs, require_known
from components.engines import Engine, Server
from components.host_steps import Host, Rollout
from components.network import RegionNetwork, RegionNetworkArgs
from components.routing import ServiceRouting
from components.server import InferenceServer
from components.site import EdgeInferenceSite

COMPONENTS = (RegionNetwork, EdgeInferenceSite, InferenceServer, ServiceRouting)
SECRETS = {"sshPrivateKey", "privateKey", "hostKeySecret", "huggingFaceToken", "apiKeys", "certificate"}


@cache
def schema() -> AnalyzeResult:
    """What Pulumi's component provider makes of the annotations; an error where it cannot take one."""
    return Analyzer("edge-inference").analyze(list(COMPONENTS))


def inputs() -> dict[str, PropertyDefinition]:
    """Every argument, also of nested types, by `Type.argument`."""
    of_components = {name: each.inputs for name, each in schema()["component_definitions"].items()}
    of_types = {name: each.properties for name, each in schema()["type_definitions"].items()}
    return {f"{owner}.{name}": each for owner, of in (of_components | of_types).items() for name, each in of.items()}


def outputs() -> dict[str, PropertyDefinition]:
    return {
        f"{owner}.{name}": each for owner, of in schema()["component_definitions"].items() for name, each in of.outputs.items()
    }


def test_pulumis_component_provider_takes_every_component() -> None:
    """It knows no Literal, no union, no dataclass and no resource of another package: enums, plain types and ids instead."""
    assert set(schema()["component_definitions"]) == {each.__name__ for each in COMPONENTS}
    assert not schema()["dependencies"], "ids cross the border, not resources"
    # any type would be taken as an object
    assert all(each.properties or each.enum for each in schema()["type_definitions"].values())


@pytest.mark.parametrize("component", COMPONENTS)
def test_docstrings_name_token_and_children(component: type) -> None:
    assert f"Token `edge-inference:index:{component.__name__}`. Children: " in (component.__doc__ or "")


def test_every_argument_and_output_is_explained() -> None:
    for name, each in chain(inputs().items(), outputs().items()):
        assert (each.description or "").endswith("."), name


def test_every_optional_argument_says_what_holds_without_it() -> None:
    for name, each in inputs().items():
        said = "Default: " in (each.description or "")
        assert said == each.optional, name


def test_secrets_may_come_from_anywhere_and_are_sealed_here() -> None:
    found = {name: each for name, each in inputs().items() if name.partition(".")[2] in SECRETS}
    assert {name.partition(".")[2] for name in found} == SECRETS
    for name, each in found.items():
        assert not (each.items or each.additional_properties or each).plain, name  # which keys there are decides what is made
        assert name == "TlsArgs.certificate" or "A secret; the component seals it" in " ".join((each.description or "").split())


SAID_DEFAULTS = {
    "RegionNetwork.vpcCidr": defaults.VPC_CIDR,
    "EdgeInferenceSite.instanceType": defaults.INSTANCE_TYPE,
    "EdgeInferenceSite.volumeGib": str(defaults.VOLUME_GIB),
    "ServiceRouting.healthPath": defaults.HEALTH_PATH,
    "ServiceRouting.healthIntervalSeconds": str(defaults.HEALTH_INTERVAL_SECONDS),
    "ServiceRouting.healthFailureThreshold": str(defaults.HEALTH_FAILURE_THRESHOLD),
    "EndpointArgs.proxyImage": defaults.PROXY_IMAGE,
}


@pytest.mark.parametrize(("argument", "default"), SAID_DEFAULTS.items())
def test_a_default_in_words_is_the_one_that_holds(argument: str, default: str) -> None:
    assert re.search(rf"Default: `?{re.escape(default)}`?\.", " ".join((inputs()[argument].description or "").split()))


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({}, "west: RegionNetworkArgs needs region"),
        ({"region": "us-west-2", "vpc_cdir": "10.0.0.0/16"}, "west: RegionNetworkArgs knows no vpc_cdir; it has opt_in_groups, "),
    ],
)
def test_a_missing_or_misspelt_argument_is_told_by_name(args: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        require_known("west", args, RegionNetworkArgs)


@pytest.mark.parametrize(("args", "of"), [(ServerArgs, Server), (HostArgs, Host), (RolloutArgs, Rollout)])
def test_arguments_are_those_of_the_class_that_holds_their_defaults(args: type, of: type[Server | Host | Rollout]) -> None:
    described = schema()["type_definitions"][args.__name__]
    said = {described.properties_mapping[name]: each.description or "" for name, each in described.properties.items()}
    defaults = {field.name: field.default for field in fields(of)}
    assert said.keys() == defaults.keys()
    for name, default in defaults.items():
        if default not in {None, (), False}:
            shown = "Engine.TGI" if default is Engine.TGI else str(default)
            assert re.search(rf"Default: .*{re.escape(shown)}", said[name]), name
