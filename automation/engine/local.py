"""How a stack of this project runs on the local cloud: its environment variables, its own project folder, its stand-ins.

Nothing tracked is modified: the stack's config is written to a folder below `.localcloud/world/`, where the state is too, so
that both live and die with the cloud's world.
"""

import copy
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from automation.account.keys import new_certificate, new_deployer_key, new_host_key_secret
from automation.engine.stack_file import project_file, read
from automation.engine.stack_yaml import as_json
from automation.errors import CloudNotRunningError, UsageError
from automation.paths import PROJECT_ROOT
from components.dns_plan import certificate_names
from geography.cities import CLIENT_NETWORK
from localcloud import client
from localcloud.plugins.install import install

PROJECT = "edge-inference"
"""The project's name, in Pulumi.yaml."""
_DRAINED = f"{PROJECT}:drained"
_HOSTED_ZONE = "edge.internal"
_LOOPBACK = "127.0.0.1/32"
_ADMITTED = {"clientCidrs": (_LOOPBACK, str(CLIENT_NETWORK)), "sshCidrs": (_LOOPBACK,)}
_STAND_IN_TOKEN = "hf_local_cloud_stand_in"  # noqa: S105 - opens nothing; the local cloud's Hub takes any


@dataclass(frozen=True)
class LocalStack:
    """A stack's own project folder on the local cloud."""

    folder: Path
    stand_ins: tuple[str, ...]
    """What was put in place of what the tracked file leaves to its owner."""
    secrets: dict[str, str]
    """Secret config by full key, to be stored through the engine."""
    taken_back: tuple[str, ...] = ()
    """Keys that somebody changed in the folder's own copy, as plain `pulumi config set` does: the tracked file is what counts."""


def start_cloud(directory: Path, say: Callable[[str], None]) -> client.CloudStatus:
    """The running local cloud, started if need be; says what a new start has lost."""
    running = client.status(directory)
    if running is not None:
        return running
    started = client.start(directory, say=say)
    if started.lost_stacks:
        say(
            f"The local cloud lives in memory and was started anew: what {', '.join(started.lost_stacks)} had deployed "
            "there is gone with it. Deploying from nothing."
        )
    return started


def require_cloud(directory: Path, up_command: str) -> client.CloudStatus:
    """The running local cloud; CloudNotRunningError, with the command that starts it and deploys, where there is none."""
    running = client.status(directory)
    if running is None:
        raise CloudNotRunningError(
            "the local cloud is not running, and with it went what was deployed there\n"
            f"  -> {up_command}   # starts it and deploys anew; nothing is left to destroy"
        )
    return running


def local_environment(directory: Path, cloud: client.CloudStatus) -> dict[str, str]:
    """The variables with which any stack of this project deploys to the local cloud."""
    (directory / "world" / "state").mkdir(parents=True, exist_ok=True)
    return {
        "PULUMI_HOME": str(directory / "pulumi"),
        "PULUMI_BACKEND_URL": backend(directory),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(_passphrase_file(directory)),
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
        **cloud.variables,
    }


def backend(directory: Path) -> str:
    """The URL of the folder that has the state of all local stacks."""
    return f"file://{directory / 'world' / 'state'}"


def install_plugins(directory: Path) -> None:
    """Puts the local cloud's own plugins where the engine looks for them."""
    install(directory / "pulumi", Path(sys.executable))


@dataclass(frozen=True)
class Rehearsal:
    """A tracked config as it is deployed on the local cloud."""

    config: dict[str, Any]
    """Without encrypted values; a secret that stands in clear stays, for the program to refuse."""
    stand_ins: tuple[str, ...]
    makers: Mapping[str, Callable[[], str]]
    """What makes each secret that it is to have."""


def rehearsal(name: str, tracked: Mapping[str, Any]) -> Rehearsal:
    """A stack's config with stand-ins for addresses, domain and secrets. Asks and writes nothing."""
    config = copy.deepcopy({key: value for key, value in tracked.items() if not is_secret(value)})
    stand_ins = [*_access_stand_ins(config), *_routing_stand_ins(config, name)]
    makers = _SECRETS | _endpoint_secrets(tracked, _map(config[f"{PROJECT}:routing"]) or {})
    stand_ins.append(f"{', '.join(key.partition(':')[2] for key in makers)}: made up for this local cloud")
    return Rehearsal(config, tuple(stand_ins), makers)


def prepare_stack(config_file: Path, directory: Path, cloud: client.CloudStatus) -> LocalStack:
    """Writes the project folder of a stack: the tracked config with stand-ins for addresses, domain and secrets."""
    name = config_file.name.removeprefix("Pulumi.").removesuffix(".yaml")
    tracked = read(config_file).config
    folder = directory / "world" / "projects" / name
    folder.mkdir(parents=True, exist_ok=True)
    _write_project(folder)
    rehearsed = rehearsal(name, tracked)
    routing = _map(rehearsed.config[f"{PROJECT}:routing"]) or {}
    if isinstance(hosted_zone := routing.get("hostedZone"), str) and routing.get("createHostedZone") is not True:
        cloud.request("PUT", "hosted-zones", {"name": hosted_zone})
    stored, taken_back = _write_config(folder, f"Pulumi.{name}.yaml", rehearsed.config)
    missing = {key: make() for key, make in rehearsed.makers.items() if key not in stored and key not in rehearsed.config}
    return LocalStack(folder, rehearsed.stand_ins, missing, taken_back)


def _write_config(folder: Path, file_name: str, config: Mapping[str, Any]) -> tuple[set[str], tuple[str, ...]]:
    """Writes the stack's own copy; the keys of the secrets that the engine had stored there, which stay, and of what somebody
    had changed there since it was written.

    Of the copy before, nothing else is taken but the sites that `edge drain` stored; what a tracked file had put there is not.
    """
    target, listed, last = folder / file_name, folder / "drained-by-file", folder / "as-written.json"
    before: dict[str, Any] = {"config": {}}
    with suppress(UsageError):
        before = read(target).content if target.exists() else before
    stored = {key: value for key, value in before["config"].items() if is_secret(value) and key not in config}
    drained = {} if listed.exists() else _kept_drained(before["config"], config)
    salt = {"encryptionsalt": before["encryptionsalt"]} if "encryptionsalt" in before else {}
    # JSON is YAML that every reader takes alike. Whole or not at all: a salt that is lost loses the secrets.
    written = folder / f"{file_name}.new"
    written.write_text(as_json({**salt, "config": {**config, **drained, **stored}}), encoding="utf-8")
    written.replace(target)
    changed = _changed(before["config"], last)
    last.write_text(json.dumps(config), encoding="utf-8")
    if _DRAINED in config:
        listed.touch()
    else:
        listed.unlink(missing_ok=True)
    return set(stored), changed


def _changed(found: Mapping[str, Any], last: Path) -> tuple[str, ...]:
    """The keys of plain values that are not as they were last written."""
    try:
        written: dict[str, Any] = json.loads(last.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    texts = [
        {key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in config.items()}
        for config in (written, {key: value for key, value in found.items() if not is_secret(value)})
    ]
    return tuple(key for key in sorted({*texts[0], *texts[1]} - {_DRAINED}) if texts[0].get(key) != texts[1].get(key))


_SECRETS: dict[str, Callable[[], str]] = {
    f"{PROJECT}:sshPrivateKey": new_deployer_key,
    f"{PROJECT}:hostKeySecret": new_host_key_secret,
    f"{PROJECT}:huggingFaceToken": lambda: _STAND_IN_TOKEN,
}
"""Never the real ones: nothing of theirs is needed on the local cloud."""


def _endpoint_secrets(tracked: Mapping[str, Any], routing: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """API keys where the environment has some; a certificate where its endpoint has TLS."""
    makers: dict[str, Callable[[], str]] = {}
    if is_secret(tracked.get(f"{PROJECT}:apiKey")):
        makers[f"{PROJECT}:apiKey"] = lambda: secrets.token_hex(16)
    if is_secret(named := tracked.get(f"{PROJECT}:apiKeys")):
        names = [name for name in _map(named) or {} if name != "secure"] or ["local"]
        makers[f"{PROJECT}:apiKeys"] = lambda: json.dumps({name: secrets.token_hex(16) for name in names})
    endpoint, domain = _map(tracked.get(f"{PROJECT}:endpoint")) or {}, routing.get("domain")
    if endpoint.get("tls") is True and isinstance(domain, str):
        pair = cache(lambda: new_certificate(certificate_names(domain)))
        makers |= {f"{PROJECT}:tlsCertificate": lambda: pair()[0], f"{PROJECT}:tlsPrivateKey": lambda: pair()[1]}
    return makers


def lists_drained(config_file: Path) -> bool:
    """Whether the tracked file says itself which sites are drained."""
    return _DRAINED in read(config_file).config


def _kept_drained(before: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What `edge drain` stored in the stack's own copy, as far as those sites are still there and the tracked file is silent."""
    zones = {zone for each in _list(config.get(f"{PROJECT}:sites")) if isinstance(zone := (_map(each) or {}).get("zone"), str)}
    drained = [zone for zone in _list(before.get(_DRAINED)) if isinstance(zone, str) and zone in zones]
    return {_DRAINED: drained} if drained and _DRAINED not in config else {}


def _access_stand_ins(config: dict[str, Any]) -> Iterator[str]:
    """Adds what can reach the local cloud, this machine and the cities' clients; what is malformed stays as it is."""
    access = _map(config.setdefault(f"{PROJECT}:access", {}))
    if access is None:
        return
    for key, stand_ins in _ADMITTED.items():
        networks: object = access.setdefault(key, [])
        if isinstance(networks, list) and not any(str(each).startswith("127.") for each in cast("list[object]", networks)):
            access[key] = [*cast("list[object]", networks), *stand_ins]
            yield f"access.{key}: {', '.join(stand_ins)}"


def _routing_stand_ins(config: dict[str, Any], name: str) -> Iterator[str]:
    """A domain where the file leaves it to its owner; a hosted zone by name where the file has the id of a real one."""
    routing = _map(config.setdefault(f"{PROJECT}:routing", {}))
    if routing is None or routing.get("policy") == "none":
        return
    if not {"domain", "hostedZone", "hostedZoneId"} & routing.keys():
        domain = f"{name}.{_HOSTED_ZONE}"
        routing |= {"domain": domain, "hostedZone": domain if routing.get("createHostedZone") is True else _HOSTED_ZONE}
        yield f"routing.domain: {domain}"
    elif routing.keys() >= {"domain", "hostedZoneId"} and "hostedZone" not in routing:
        del routing["hostedZoneId"]
        routing["hostedZone"] = routing["domain"]
        yield f"routing.hostedZone: {routing['domain']}, in place of routing.hostedZoneId"


def _map(value: object) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def is_secret(value: object) -> bool:
    """A secret, or a map of them by name, as `apiKeys` is."""
    found = _map(value) or {}
    return "secure" in found or (bool(found) and all(map(is_secret, found.values())))


def _write_project(folder: Path) -> None:
    """The tracked project, run where it is with the interpreter that runs this."""
    project = project_file()
    project["main"] = str(PROJECT_ROOT / project.get("main", ""))
    project["runtime"] = {"name": "python", "options": {"toolchain": "pip", **_virtual_environment()}}
    (folder / "Pulumi.yaml").write_text(as_json(project), encoding="utf-8")


def _virtual_environment() -> dict[str, str]:
    """Without one, the engine takes the Python that is first on PATH (command.py)."""
    return {"virtualenv": sys.prefix} if sys.prefix != sys.base_prefix else {}


def _passphrase_file(directory: Path) -> Path:
    """The passphrase that local stacks are encrypted with, made once for this checkout."""
    path = directory / "passphrase"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(16))
    return path
