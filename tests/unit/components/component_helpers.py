"""Configs, settings and AWS answers for these tests; a test names only what it is about."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from automation.account.keys import new_deployer_key
from components.aws_facts import AwsFacts, HostedZoneFacts, InstanceTypeFacts, RegionFacts, ZoneFacts
from components.build import endpoint_args, host_args, server_args
from components.engines import Server
from components.host_steps import ServingSpec
from components.models import ModelFacts
from components.problems import Problem
from components.server import serving_spec as build_spec
from components.settings import PROJECT, ServerSettings, Settings, StackConfig, validate
from components.stack_config import CheckedConfig
from components.zones import parse_zone

HOST_KEY_SECRET = "0123456789abcdef" * 4
TOKEN = "hf_" + "secret" * 5
SECRET_KEYS = frozenset(
    f"{PROJECT}:{key}"
    for key in (
        "sshPrivateKey",
        "hostKeySecret",
        "huggingFaceToken",
        "tlsCertificate",
        "tlsPrivateKey",
        "acmeAccount",
        "apiKey",
        "apiKeys",
    )
)
G4DN = InstanceTypeFacts(vcpus=8, gpus=1, gpu_mib=16384, gpu="T4", architectures=frozenset({"x86_64"}))
ZONE = HostedZoneFacts("Z0HOSTED", "acme.dev")
MODEL = ModelFacts(3_212_749_824, gated=True, revision="0cb88a4f", source="the test")


@cache
def deployer_key() -> str:
    """One deployer key for the whole run."""
    return new_deployer_key()


def stack_config(
    stack: str = "dev", *, without: tuple[str, ...] = (), clear: tuple[str, ...] = (), **sections: Any
) -> StackConfig:
    """A stack's config as the engine hands it over: good as it stands, with the given sections in place of the usual ones.

    `without` leaves keys out; `clear` names secrets that stand in clear. A text is handed over as it is.
    """
    values: dict[str, Any] = {
        "sites": [{"zone": "us-west-2a"}, {"zone": "us-west-2-lax-1a"}],
        "access": {"clientCidrs": ["93.184.216.34/32"], "sshCidrs": ["93.184.216.35/32"]},
        "routing": {"domain": "llm.edge.acme.dev", "hostedZone": "acme.dev"},
        "sshPrivateKey": deployer_key(),
        "hostKeySecret": HOST_KEY_SECRET,
        "huggingFaceToken": TOKEN,
    } | sections
    texts = {
        f"{PROJECT}:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
        if key not in without
    }
    return StackConfig(
        stack, {"aws:region": "us-west-2", **texts}, SECRET_KEYS & texts.keys() - {f"{PROJECT}:{key}" for key in clear}
    )


def problems(config: StackConfig) -> dict[str, Problem]:
    """What `validate` finds, by key path without the project's name; each path at most once."""
    found = validate(config).problems
    by_path = {problem.path.removeprefix(f"{PROJECT}:"): problem for problem in found}
    assert len(by_path) == len(found), f"two problems under one path: {[problem.path for problem in found]}"
    return by_path


def settings(stack: str = "dev", **sections: Any) -> Settings:
    """Valid settings."""
    return validate(stack_config(stack, **sections)).require(stack)


def sites(*zones: str, **everywhere: Any) -> list[dict[str, Any]]:
    """The config's `sites` for these zones."""
    return [{"zone": zone, **everywhere} for zone in zones]


def region_facts(config: Settings, region: str, **changed: Any) -> RegionFacts:
    """What AWS says about a Region where everything that the settings ask for is there and allowed. `unknown` names what it did
    not say, which is None then.
    """
    of_region = config.regions.get(region, [])
    types = {name: G4DN for site in of_region for name in site.types}
    facts: dict[str, Any] = {
        "zones": {site.zone: zone_facts(site.zone) for site in of_region},
        "similar_zones": tuple(site.zone for site in of_region),
        "types": types,
        "offered": {name: frozenset(site.zone for site in of_region) for name in types},
        "vcpu_quota": 1000.0,
        "vcpus_used": 0,
        "address_quota": 1000.0,
        "addresses_used": 0,
        "rules_per_group": 200.0,
        "health_checkers": f"pl-checkers-{region}",
        "health_checkers_weight": 25,
        "ami": "ami-0newest00",
    }
    silent: dict[str, Any] = {what: None for what in changed.get("unknown", {}) if what in facts and facts[what] is not None}
    return RegionFacts(**(facts | silent | changed))


def zone_facts(zone: str, *, opted_in: bool = True) -> ZoneFacts:
    """A zone as AWS describes it. Its border group is named so that nobody can guess it from the zone's name."""
    parsed = parse_zone(zone)
    return ZoneFacts(parsed.group, f"border-of-{parsed.group}", parsed.is_local, opted_in)


def aws_facts(config: Settings, **changed: Any) -> AwsFacts:
    """What AWS says where nothing is wrong; `changed` goes to every Region."""
    return AwsFacts({region: region_facts(config, region, **changed) for region in config.regions}, ZONE)


def checked_config(stack: str = "dev", facts: Mapping[str, Any] | None = None, **sections: Any) -> CheckedConfig:
    """A config that passed every check; `facts` changes what AWS said of each Region."""
    config = settings(stack, **sections)
    return CheckedConfig(config, aws_facts(config, **(facts or {})), MODEL)


def serving_spec(model: ModelFacts = MODEL, **sections: Any) -> ServingSpec:
    """What a host is to serve."""
    config = settings(**sections)
    return build_spec(
        {
            "instance_id": "i-0",
            "address": "100.64.0.1",
            "private_key": "",
            "host_key": "",
            "server": server_args(config.server, model),
            "host": host_args(config.host),
            "endpoint": endpoint_args(config, config.sites[0].parsed_zone),
        }
    )


def server_of(**section: Any) -> Server:
    """What the config's section `server` asks for."""
    return Server(**server_args(ServerSettings.model_validate(section), ModelFacts(None, None, None, "")))
