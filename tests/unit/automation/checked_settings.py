"""Checked settings for these tests; a test names only what it is about."""

import json
from functools import cache
from typing import Any

from automation.account.keys import new_deployer_key
from components.settings import PROJECT, Settings, StackConfig, validate


@cache
def _key() -> str:
    return new_deployer_key()


def stack_config(*zones: str, **sections: Any) -> StackConfig:
    """A config with one replica in each zone; `zones` may have a number behind: `us-west-2a*2`."""
    described = [{"zone": zone, "replicas": int(count or 1)} for zone, _, count in (each.partition("*") for each in zones)]
    values: dict[str, Any] = {
        "sites": described,
        "access": {"clientCidrs": ["93.184.216.34/32"], "sshCidrs": ["93.184.216.35/32"]},
        "routing": {"domain": "llm.acme.dev", "hostedZone": "acme.dev"},
        "sshPrivateKey": _key(),
        "hostKeySecret": "0123456789abcdef" * 4,
        "huggingFaceToken": "hf_" + "secret" * 5,
    } | sections
    names = ("sshPrivateKey", "hostKeySecret", "huggingFaceToken", "apiKey", "apiKeys")
    secret = frozenset(f"{PROJECT}:{name}" for name in names if name in values)
    texts = {f"{PROJECT}:{key}": each if isinstance(each, str) else json.dumps(each) for key, each in values.items()}
    return StackConfig("dev", {"aws:region": "us-west-2", **texts}, secret)


def settings(*zones: str, **sections: Any) -> Settings:
    """The same, checked."""
    return validate(stack_config(*zones, **sections)).require("dev")
