"""By which keys hosts are reached that are still to be replaced, since `sshPrivateKey` or `hostKeySecret` changed: the state's.

Leaves out when they are replaced: host_turns.py.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from automation.engine.outputs import outputs_by_urn
from components.host_changes import deployed_hosts, planned_hosts
from components.settings import Settings

if TYPE_CHECKING:
    from automation.engine.command import Stack

_COMMAND = "command:remote:Command"


@dataclass(frozen=True)
class Keys:
    """Where a host knows other keys than the config's."""

    private: str | None = field(default=None, repr=False)
    """The deployer's private key that it lets in. A secret."""
    host: str | None = None
    """The public key that it shows."""


def keys_before(stack: "Stack", settings: Settings) -> dict[str, Keys]:
    """By replica, the keys of the hosts that have others than the config's."""
    wanted, state = planned_hosts(settings), deployed_hosts(outputs_by_urn(stack.deployment))
    both = {key: (each, wanted[key]) for key, each in state.items() if key in wanted}
    host = {key: old.host_key for key, (old, new) in both.items() if old.host_key and old.host_key != new.host_key}
    private = [key for key, (old, new) in both.items() if old.public_key and old.public_key != new.public_key]
    known = _private_keys(stack, private) if private else {}
    return {key: Keys(known.get(key), host.get(key)) for key in both if key in host or key in known}


def _private_keys(stack: "Stack", hosts: list[str]) -> dict[str, str]:
    """The private keys that the steps on these hosts used: the state has them, encrypted."""
    shown: dict[str, Any] = json.loads(stack.ask("stack", "export", "--show-secrets", "--stack", stack.name))["deployment"]
    steps = {urn.rpartition("::")[2]: outputs for urn, outputs in outputs_by_urn(shown).items() if f"{_COMMAND}::" in urn}
    connections = {key: _clear(steps[f"{key}-ready"].get("connection")) for key in hosts if f"{key}-ready" in steps}
    return {key: str(_clear(connection["privateKey"])) for key, connection in connections.items() if connection}


def _clear(value: Any) -> Any:
    """A value of a state shown with its secrets, each of which is wrapped, as JSON."""
    if isinstance(value, dict) and isinstance(wrapped := cast("Mapping[str, Any]", value).get("plaintext"), str):
        return json.loads(wrapped)
    return cast("Any", value)
