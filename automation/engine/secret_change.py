"""One secret of an environment: judged by the program's own settings with all others, then encrypted into its stack.

On AWS that is the stack file; on the local cloud the stack's own copy, which lasts as long as that cloud's world. No value is
ever told. Leaves out plain values: config_change.py.
"""

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import SecretStr

from automation.engine.locks import only_run
from automation.engine.stack_file import look
from automation.engine.stored_secrets import is_text, set_secrets, unset_secret
from automation.errors import NothingDeployedError, UsageError
from components import PROJECT
from components.problems import Problem, listed
from components.settings import SECRET_NAMES, StackConfig, tls_problems, validate

if TYPE_CHECKING:
    from automation.engine.deployed import Deployed

_NAMED = "apiKeys"
_REQUIRED = ("sshPrivateKey", "hostKeySecret")


@dataclass(frozen=True)
class SecretName:
    """A secret's key, or one of the named API keys."""

    key: str
    name: str | None = None

    @property
    def path(self) -> str:
        """Its full key path."""
        return f"{PROJECT}:{self}"

    def __str__(self) -> str:
        return self.key if self.name is None else f"{self.key}.{self.name}"


def parsed_secret(text: str, arguments: str) -> SecretName:
    """The secret that a person names, to whom `arguments` is the environment; UsageError for what is none."""
    key, dot, name = text.removeprefix(f"{PROJECT}:").partition(".")
    if key not in SECRET_NAMES:
        raise UsageError(
            f"'{text}' is no secret; they are {', '.join(SECRET_NAMES)}\n  -> edge config {arguments} {text}   # plain values"
        )
    if (key == _NAMED) != bool(dot):
        raise UsageError(f"'{text}' names no secret: {_NAMED} are set one by one, as {_NAMED}.NAME, and no other has a name")
    if dot and not re.fullmatch(r"[\w-]{1,64}", name):
        raise UsageError(f"'{name}' is no name of a key: 1 to 64 letters, digits, - and _")
    return SecretName(key, name or None)


def secret_names(deployed: "Deployed") -> list[str]:
    """The secrets that are set, API keys by name; of the local cloud those that it made up, too."""
    try:
        stack = deployed.open(may_start=False, may_create=False)
        path = Path(stack.workspace.work_dir) / deployed.stack_file.name
    except NothingDeployedError:
        path = deployed.stack_file
    config = look(path).config
    found: list[str] = []
    for key in SECRET_NAMES:
        value = config.get(f"{PROJECT}:{key}")
        if key == _NAMED and isinstance(value, dict) and "secure" not in value:
            found += [f"{key}.{name}" for name in cast("dict[str, Any]", value)]
        elif value:
            found.append(key)
    return found


def store_secret(deployed: "Deployed", secret: SecretName, value: str) -> None:
    """Stores a secret; UsageError, and no change, for one that the program would refuse."""
    if not is_text(value):
        raise UsageError(f"{secret} holds bytes that are no UTF-8: `locale` tells what this terminal writes")
    if secret.key == "acmeAccount":
        raise UsageError(f"{secret} is made and read by one command alone\n  -> edge certificate {deployed.arguments}")
    if not value.strip():
        raise UsageError(f"{secret}: nothing was given, and nothing is changed")
    with only_run(deployed.logs, deployed.name, "storing a secret"):
        stack = deployed.open(may_start=True)
        config = deployed.config_in_stack(stack)
        stored = _stored(config, secret, value)
        problems = _problems(with_secrets(config, stored), secret)
        if problems:
            raise UsageError(f"{secret} is not stored, and nothing is changed:\n{listed(problems, deployed.arguments)}")
        # One among others stays by itself, unless all of them were stored as one.
        is_single = secret.name and f"{PROJECT}:{_NAMED}" not in _sealed_whole(deployed, stack)
        set_secrets(stack, {secret.path: value.strip()} if is_single else stored)


def remove_secret(deployed: "Deployed", secret: SecretName) -> None:
    """Takes a secret away; UsageError for one that is not set, or that nothing could be deployed without."""
    if secret.key in _REQUIRED:
        raise UsageError(
            f"{secret} is needed by every deployment\n  -> edge secret set {deployed.arguments} {secret}   # another one"
        )
    with only_run(deployed.logs, deployed.name, "taking a secret away"):
        stack = deployed.open(may_start=False)
        config = deployed.config_in_stack(stack)
        if secret.path not in config.values and secret.name not in api_keys(config):
            raise UsageError(f"{secret} is not set\n  -> edge secret list {deployed.arguments}")
        stored = _stored(config, secret, None)
        after = with_secrets(config, stored) if stored else _without(config, secret.key)
        before = {(each.path, each.reason) for each in validate(config).problems}
        if problems := [each for each in validate(after).problems if (each.path, each.reason) not in before]:
            raise UsageError(f"{secret} stays, since without it there would be\n{listed(problems, deployed.arguments)}")
        if stored and f"{PROJECT}:{_NAMED}" in _sealed_whole(deployed, stack):
            set_secrets(stack, stored)
        else:
            unset_secret(stack, secret.path if stored else f"{PROJECT}:{secret.key}")


def secret_value(deployed: "Deployed", secret: SecretName) -> str:
    """A secret in clear; UsageError where it is not set."""
    config = deployed.config_in_stack(deployed.open(may_start=False))
    found = config.values.get(secret.path) if secret.name is None else api_keys(config).get(secret.name)
    if not found:
        raise UsageError(f"{secret} is not set\n  -> edge secret list {deployed.arguments}")
    return found.strip()


def change_secrets(deployed: "Deployed", stored: Mapping[SecretName, str], gone: Collection[SecretName], doing: str) -> None:
    """Stores some secrets and takes API keys away, in one: all of it or nothing. UsageError for what the program would refuse."""
    with only_run(deployed.logs, deployed.name, doing):
        stack = deployed.open(may_start=False)
        config = deployed.config_in_stack(stack)
        named = api_keys(config) | {secret.name: value for secret, value in stored.items() if secret.name}
        left = {name: value for name, value in named.items() if name not in {secret.name for secret in gone}}
        whole = {f"{PROJECT}:{_NAMED}": json.dumps(left)}
        single = {secret.path: value for secret, value in stored.items()}
        after = with_secrets(config, {secret.path: value for secret, value in stored.items() if not secret.name})
        after = with_secrets(after, whole) if left else _without(after, _NAMED)
        before = {(each.path, each.reason) for each in validate(config).problems}
        if problems := [each for each in validate(after).problems if (each.path, each.reason) not in before]:
            raise UsageError(f"nothing is changed, since there would be\n{listed(problems, deployed.arguments)}")
        path = Path(stack.workspace.work_dir) / deployed.stack_file.name
        text = path.read_bytes()
        is_sealed = whole.keys() & _sealed_whole(deployed, stack)
        try:
            set_secrets(stack, {key: value for key, value in single.items() if "." not in key} | whole if is_sealed else single)
            for secret in () if is_sealed else gone:
                unset_secret(stack, secret.path if left else f"{PROJECT}:{_NAMED}")
        except BaseException:
            path.write_bytes(text)
            raise


def api_keys(config: StackConfig) -> dict[str, str]:
    """The named API keys of a decrypted config."""
    with suppress(ValueError):
        found = json.loads(config.values.get(f"{PROJECT}:{_NAMED}") or "{}")
        return cast("dict[str, str]", found) if isinstance(found, dict) else {}
    return {}


def with_secrets(config: StackConfig, values: dict[str, str]) -> StackConfig:
    """A config with other secrets."""
    return replace(config, values={**config.values, **values}, secret_keys=config.secret_keys | values.keys())


def _without(config: StackConfig, key: str) -> StackConfig:
    full = f"{PROJECT}:{key}"
    left = {name: value for name, value in config.values.items() if name != full}
    return replace(config, values=left, secret_keys=config.secret_keys - {full})


def _stored(config: StackConfig, secret: SecretName, value: str | None) -> dict[str, str]:
    """By full key what is to be stored; empty where nothing is left."""
    if secret.name is None:
        return {secret.path: value} if value is not None else {}
    others = {name: key for name, key in api_keys(config).items() if name != secret.name}
    named = {**others, **({secret.name: value.strip()} if value is not None else {})}
    return {f"{PROJECT}:{_NAMED}": json.dumps(named)} if named else {}


def _sealed_whole(deployed: "Deployed", stack: Any) -> set[str]:
    """The keys whose value is one encrypted text."""
    config = look(Path(stack.workspace.work_dir) / deployed.stack_file.name).config
    return {key for key, value in config.items() if isinstance(value, dict) and "secure" in value}


def _problems(config: StackConfig, secret: SecretName) -> list[Problem]:
    """What is wrong with a secret, its neighbours as they are; a certificate is judged also before TLS is on."""
    validated = validate(config)
    problems = list(validated.problems)
    if secret.key.startswith("tls") and not (validated.endpoint and validated.endpoint.tls):
        pair = {name: _sealed(config, name) for name in ("tlsCertificate", "tlsPrivateKey")}
        problems += tls_problems(pair, (), validated.routing, validated.sites.values())
    return list({str(each): each for each in problems if each.path == secret.path}.values())


def _sealed(config: StackConfig, name: str) -> SecretStr | None:
    value = config.values.get(f"{PROJECT}:{name}")
    return SecretStr(value) if value else None
