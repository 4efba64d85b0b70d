"""Who called how much: requests, bytes and seconds by the name of the API key, summed from the log of each replica's proxy.

Asked on the hosts, over SSH, all at once. A log is bounded, and goes with its container: the answer says where it begins. Left
out: keeping what was asked.
"""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from automation.errors import EdgeError, NothingDeployedError
from automation.sites.host_keys import Keys
from automation.sites.hosts import Host, other_keys, run, ssh
from automation.sites.serving import Replica, replicas

if TYPE_CHECKING:
    from automation.engine.deployed import Deployed
    from components.settings import StackConfig

SCRIPT = (
    """sudo bash -c 'cd "${EDGE_HOST_ROOT:-}/opt/edge-inference/releases" && """
    """exec python3 -B "./$(ls -t | head -n 1)/usage.py" "$1"' edge """
)
"""The newest release's folder; a host of an earlier release keeps no log of requests."""
_SSH_SECONDS = 60.0
_AT_ONCE = 16


@dataclass(frozen=True)
class KeyUsage:
    """What came with one key."""

    requests: int = 0
    bytes: int = 0
    """Sent to the callers."""
    seconds: float = 0.0
    """That the requests took, added up."""
    last: datetime | None = None
    """When the latest of them ended."""


@dataclass(frozen=True)
class ReplicaUsage:
    """What one replica's log has."""

    begins: datetime | None
    """Of its oldest line; None where it has none."""
    keys: Mapping[str, KeyUsage]


@dataclass(frozen=True)
class Usage:
    """What all replicas told."""

    environment: str
    since: datetime | None
    key_names: tuple[str, ...]
    """Of the keys that are valid, by the last run."""
    replicas: Mapping[str, ReplicaUsage]
    silent: tuple[str, ...]
    """Replicas that did not tell."""
    simulated: bool

    @property
    def keys(self) -> dict[str, KeyUsage]:
        """The sums over all replicas: the valid keys, then others in the logs; requests without a key have no name."""
        found = [each.keys for each in self.replicas.values()]
        seen = sorted({name for keys in found for name in keys} - {*self.key_names})
        return {name: _sum(keys[name] for keys in found if name in keys) for name in (*self.key_names, *seen)}

    @property
    def begins(self) -> datetime | None:
        """From when on all the logs are whole: the latest of their beginnings."""
        return max((each.begins for each in self.replicas.values() if each.begins), default=None)

    def described(self) -> dict[str, Any]:
        """As `edge usage --json` prints it."""
        return {
            "environment": self.environment,
            "simulated": self.simulated,
            "since": _told(self.since),
            "begins": _told(self.begins),
            "keys": _described(self.keys),
            "replicas": {
                key: {"begins": _told(each.begins), "keys": _described(each.keys)} for key, each in self.replicas.items()
            },
            "silent": list(self.silent),
        }


def usage(environment: "Deployed", since: datetime | None) -> Usage:
    """Asks every replica's host. NothingDeployedError where no proxy is, which would count."""
    outputs, config = environment.outputs_and_config()
    names = tuple(str(name) for name in outputs.get("api_keys") or ())
    asked = [each for each in replicas(outputs) if each.address]
    if not names and not any(str(each.url).startswith("https:") for each in asked):
        raise NothingDeployedError(
            f"'{environment.name}' has neither API keys nor TLS, so that no proxy counts its requests\n"
            f"  -> {environment.commands.edge('secret set')} apiKeys.NAME   # and {environment.commands.edge('up')}"
        )
    keys = other_keys(environment, config)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asking = {each.key: pool.submit(_ask, environment, each, config, keys.get(each.key, Keys()), since) for each in asked}
        found = {key: answer.result() for key, answer in asking.items()}
    silent = tuple(key for key, answer in found.items() if answer is None)
    return Usage(
        environment.name,
        since,
        names,
        {key: answer for key, answer in found.items() if answer},
        silent,
        environment.on_local_cloud,
    )


def _ask(
    environment: "Deployed", replica: Replica, config: "StackConfig", keys: Keys, since: datetime | None
) -> ReplicaUsage | None:
    host = Host(replica.zone, replica.number, address=replica.address, keys=keys)
    try:
        with ssh(environment, host, config) as command:
            said = run(command, f"{SCRIPT}{since.timestamp() if since else 0}", seconds=_SSH_SECONDS)
    except EdgeError:
        return None
    return parsed(said or "")


def parsed(said: str) -> ReplicaUsage | None:
    """What remote/usage.py printed; None where it is nothing of its kind."""
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        found: Any = json.loads(said)
        keys = {
            str(name): KeyUsage(int(each["requests"]), int(each["bytes"]), float(each["seconds"]), _time(each["last"]))
            for name, each in found["keys"].items()
        }
        return ReplicaUsage(_time(found["begins"]) if found["begins"] is not None else None, keys)
    return None


def _sum(parts: Iterable[KeyUsage]) -> KeyUsage:
    listed = list(parts)
    last = max((each.last for each in listed if each.last), default=None)
    seconds = sum(each.seconds for each in listed)
    return KeyUsage(sum(each.requests for each in listed), sum(each.bytes for each in listed), seconds, last)


def _described(keys: Mapping[str, KeyUsage]) -> dict[str, dict[str, Any]]:
    return {name: {**asdict(each), "seconds": round(each.seconds, 3), "last": _told(each.last)} for name, each in keys.items()}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)


def _told(time: datetime | None) -> str | None:
    return time.isoformat(timespec="seconds") if time else None
