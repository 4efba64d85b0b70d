"""One of an environment's secrets made anew: what that replaces or reloads, told before anything changes; then it is stored.

An API key gets a successor beside it, and is taken away in a second step, so that no caller is refused. `up` brings all of it
about. Leaves out certificates: certificate.py.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from automation.account.keys import new_deployer_key, new_host_key_secret
from automation.engine.outputs import outputs_by_urn, recorded_outputs
from automation.engine.results import inventory_of
from automation.engine.secret_change import SecretName, change_secrets, parsed_secret, with_secrets
from automation.errors import UsageError
from automation.sites.endpoints import SUCCESSOR
from automation.sites.host_turns import changed_hosts, host_turns, refuse_protected
from components.host_changes import HOST_KEYS, SSH_KEY, deployed_hosts
from components.models import token_problem
from components.problems import ConfigurationError
from components.settings import Settings, StackConfig, validate

if TYPE_CHECKING:
    from automation.engine.deployed import Deployed

Kind = Literal["api-key", "ssh-key", "host-keys", "hugging-face-token"]
_OF_HOSTS: Mapping[Kind, tuple[str, Callable[[], str]]] = {
    "ssh-key": (SSH_KEY, new_deployer_key),
    "host-keys": (HOST_KEYS, new_host_key_secret),
}
"""What hosts are made with: the secret, and what makes another."""


@dataclass(frozen=True)
class Rotation:
    """A rotation that is possible, and was not begun."""

    kind: Kind
    stored: Mapping[SecretName, str] = field(repr=False)
    """The secrets that are stored."""
    taken_away: tuple[SecretName, ...] = ()
    turns: tuple[tuple[str, ...], ...] = ()
    """The replicas whose hosts are replaced, those of a turn together."""
    unprotected: str | None = None
    """Why users notice that."""
    unreserved: tuple[str, ...] = ()
    """Their zones that may not give a GPU again: nothing is reserved there."""
    key: str | None = None
    """The name of the API key."""
    silence: str | None = None
    """Why nobody knows whether the Hugging Face token is good."""

    @property
    def successor(self) -> str:
        """The name of the new API key, as long as the old one is valid too."""
        return f"{self.key}{SUCCESSOR}"

    @property
    def is_last_step(self) -> bool:
        """Whether an old API key goes."""
        return bool(self.taken_away)

    def described(self) -> dict[str, Any]:
        """As `edge rotate --json` prints it first."""
        key = {"key": self.key, "successor": self.successor, "finish": self.is_last_step} if self.key else {}
        return {"event": "rotation", "kind": self.kind, "replaced": [list(turn) for turn in self.turns], **key}


def plan_rotation(
    environment: "Deployed", kind: Kind, *, key: str | None = None, finish: bool = False, token: str | None = None
) -> Rotation:
    """What a rotation would do; UsageError, NothingDeployedError or ProtectedError for one that is not possible. Changes nothing.

    `key`: the name of an API key, `finish`: its second step. `token`: the new Hugging Face token.
    """
    stack = environment.open(may_start=False)
    if not inventory_of(stack.deployment).sites:
        raise environment.nothing_deployed()
    environment.refuse_foreign_account(stack)
    config = environment.config_in_stack(stack)
    settings = _settings(environment, config)
    if kind in _OF_HOSTS:
        return _of_hosts(environment, kind, stack.deployment, config, settings)
    if kind == "hugging-face-token":
        return _of_token(environment, settings, (token or "").strip())
    known = [str(name) for name in recorded_outputs(stack.deployment).get("api_keys") or ()]
    return _last_step(environment, settings, key, known) if finish else _first_step(environment, settings, key)


def store_rotation(environment: "Deployed", rotation: Rotation) -> None:
    """Stores the new secrets: all of them, or none."""
    change_secrets(environment, rotation.stored, rotation.taken_away, f"storing a new {rotation.kind}")


def _settings(environment: "Deployed", config: StackConfig) -> Settings:
    validated = validate(config)
    if validated.settings is None:
        raise UsageError(str(ConfigurationError(environment.name, validated.problems, environment.arguments)))
    return validated.settings


def _of_hosts(
    environment: "Deployed", kind: Kind, deployment: Mapping[str, Any], config: StackConfig, settings: Settings
) -> Rotation:
    name, make = _OF_HOSTS[kind]
    up = environment.commands.edge("up")
    if waiting := [key for key, why in changed_hosts(deployment, settings).items() if {SSH_KEY, HOST_KEYS} & {*why.split(", ")}]:
        raise UsageError(f"an earlier change of keys is not finished: {', '.join(waiting)} still to be replaced\n  -> {up}")
    untold = [key for key, each in deployed_hosts(outputs_by_urn(deployment)).items() if not each.host_key]
    if untold and name == HOST_KEYS:
        raise UsageError(f"the last run on {', '.join(untold)} was of an earlier release, or failed\n  -> {up}   # first")
    secret = SecretName(name)
    values = {secret.path: make()}
    turns = host_turns(deployment, _settings(environment, with_secrets(config, values)))
    hosts = tuple(tuple(turn.hosts) for turn in turns)
    refuse_protected(environment.commands, deployment, [key for turn in hosts for key in turn])
    unreserved = tuple(site.zone for site in settings.sites if not site.reserve)
    return Rotation(kind, {secret: values[secret.path]}, turns=hosts, unprotected=_unprotected(settings), unreserved=unreserved)


def _unprotected(settings: Settings) -> str | None:
    if sum(site.replicas for site in settings.sites) == 1:
        return "it is the only replica: nobody is served until the new host serves"
    if not settings.is_routed:
        return "no name leads users elsewhere (routing.policy is none): who calls a host that is away is not served"
    return None


def _of_token(environment: "Deployed", settings: Settings, token: str) -> Rotation:
    if not token:
        raise UsageError("no token was given, and nothing is changed\n  -> on standard input, or typed when asked for")
    problem, silence = token_problem(settings.server.model, token, environment.hub_endpoint())
    if problem:
        raise UsageError(f"the new token {problem.reason}; nothing is changed")
    return Rotation("hugging-face-token", {SecretName("huggingFaceToken"): token}, silence=silence)


def _first_step(environment: "Deployed", settings: Settings, key: str | None) -> Rotation:
    """A successor beside the key."""
    keys = settings.secrets.all_api_keys
    lasting = [name for name in keys if not _is_successor(name, keys)]
    if not lasting:
        line = f"{environment.commands.edge('secret set')} apiKeys.NAME"
        raise UsageError(f"'{environment.name}' has no API key\n  -> openssl rand -hex 32 | {line}   # the first one")
    chosen = _chosen(environment, key, lasting)
    if f"{chosen}{SUCCESSOR}" in keys:
        rotate = environment.commands.edge("rotate")
        raise UsageError(f"'{chosen}' has a successor already\n  -> {rotate} api-key --finish   # takes the old one away")
    successor = parsed_secret(f"apiKeys.{chosen}{SUCCESSOR}", environment.arguments)
    return Rotation("api-key", {successor: secrets.token_hex(32)}, key=chosen)


def _last_step(environment: "Deployed", settings: Settings, key: str | None, on_hosts: list[str]) -> Rotation:
    """The successor takes the key's name, and the old key goes."""
    keys = settings.secrets.all_api_keys
    begun = [name.removesuffix(SUCCESSOR) for name in keys if _is_successor(name, keys)]
    if not begun:
        rotate = environment.commands.edge("rotate")
        raise UsageError(f"no API key of '{environment.name}' has a successor\n  -> {rotate} api-key   # makes one")
    chosen = _chosen(environment, key, begun)
    successor = f"{chosen}{SUCCESSOR}"
    if successor not in on_hosts:
        raise UsageError(f"'{successor}' is not valid on the hosts yet\n  -> {environment.commands.edge('up')}   # first")
    named = SecretName("apiKey") if chosen == "apiKey" else SecretName("apiKeys", chosen)
    return Rotation("api-key", {named: keys[successor]}, (SecretName("apiKeys", successor),), key=chosen)


def _is_successor(name: str, keys: Mapping[str, str]) -> bool:
    return name.endswith(SUCCESSOR) and name.removesuffix(SUCCESSOR) in keys


def _chosen(environment: "Deployed", key: str | None, names: list[str]) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key not in names:
        said = "which key?" if key is None else f"'{key}' is not one of them:"
        line = f"{environment.commands.edge('rotate')} api-key --key {names[0]}"
        raise UsageError(f"{said} There are {', '.join(names)}\n  -> {line}")
    return key
