"""Names are a promise: a resource under another name, type or parent is deleted and made anew, on running stacks too.

tests/data/names.json holds what release 6788d8e called everything; a new resource is added there, no line goes. Only the
commands `…-server` went: what starts a server is part of `…-ready`, and to delete a command runs nothing on a host.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from component_helpers import checked_config
from recorded_program import deploy

PROJECT_ROOT = Path(__file__).parents[3]
PINNED: dict[str, dict[str, list[str]]] = json.loads((PROJECT_ROOT / "tests" / "data" / "names.json").read_text())
EVERYTHING: dict[str, Any] = {
    "sites": [
        {"zone": "us-west-2a", "replicas": 2},
        {"zone": "us-west-2-lax-1a", "replicas": 2, "optIn": True},
        {"zone": "us-west-2-lax-1b", "optIn": True},
        {"zone": "us-east-1-bos-1a"},
    ],
    "access": {"clientCidrs": ["0.0.0.0/0", "93.184.0.0/16"], "sshCidrs": ["93.184.216.35/32", "93.184.216.36/32"]},
    "routing": {
        "policy": "geolocation",
        "domain": "llm.acme.dev",
        "hostedZone": "acme.dev",
        "createHostedZone": True,
        "geolocation": {
            "default": "us-west-2a",
            "continents": {"SA": "us-east-1-bos-1a"},
            "countries": {"CA": "us-west-2-lax-1b"},
            "usStates": {"NV": "us-west-2-lax-1a"},
        },
    },
    "drained": ["us-west-2-lax-1b"],
    "apiKey": "a-key-of-sixteen-letters",
}
STACKS = {
    "local": None,
    "dev": None,
    "prod": None,
    "everything": EVERYTHING,
    "geoproximity": {**EVERYTHING, "routing": {"policy": "geoproximity", "domain": "llm.acme.dev", "hostedZone": "acme.dev"}},
}


def sections(stack: str) -> dict[str, Any]:
    """A stack's config: its tracked file, with the helpers' own in place of what only an owner knows."""
    if given := STACKS[stack]:
        return given
    config = yaml.safe_load((PROJECT_ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    return {key.removeprefix("edge-inference:"): value for key, value in config.items() if key.startswith("edge-inference:")}


def names(stack: str) -> dict[str, list[str]]:
    """Every name by its type, below the types of its parents: what makes a URN."""
    deployed = deploy(checked_config(stack, **sections(stack)))
    found: dict[str, list[str]] = {}
    for each in deployed:
        found.setdefault(deployed.type_chain(each), []).append(each.name)
    return {chain: sorted(found[chain]) for chain in sorted(found)}


@pytest.mark.parametrize("stack", STACKS)
def test_every_name_stays(stack: str) -> None:
    found, pinned = names(stack), PINNED[stack]
    for chain, of_release in pinned.items():
        gone = set(of_release) - set(found.get(chain, []))
        assert not gone, f"{chain}: {sorted(gone)} would be deleted from every running stack"
    assert found == pinned, "a new name is a promise too: add it to tests/data/names.json"
