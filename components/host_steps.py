"""The steps that converge a host to "this model is being served", as command texts: pure, so that a diff is predictable.

A text changes exactly when its step must run again: it holds all that the step depends on, and the instance's id and host key,
since a new instance behind the same address has nothing yet. Secrets never stand in a text; they travel on standard input.
"""

import hashlib
import io
import json
import shlex
import tarfile
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from components.dns_plan import RECORD_TTL_SECONDS
from components.door import door_port, longest_prefill_seconds
from components.engines import BUSY_METRICS, SERVED_MODEL_NAME, Server, ServerProcess, server_process
from components.proxy import SECRETS_MARK, Proxy, caddy_config

_REMOTE_SCRIPTS = Path(__file__).parent / "remote"
_HOME = '"${EDGE_HOST_ROOT:-}/opt/edge-inference"'
"""Where the scripts live on a host. EDGE_HOST_ROOT is empty on a real host; see remote/common.sh."""
HOST_KEY_LINE = "# host key "
"""Begins the line of a command's text that tells the state by which key its host was known."""
_FIRST_BACKOFF_SECONDS, _BACKOFF_FACTOR, _LONGEST_BACKOFF_SECONDS = 0.1, 1.5, 5.0
"""pulumi-command's pauses between dials (v1.2.1, retry.go)."""
_IMAGE_MIB = 10 * 1024
"""Free disk without which no pull of an engine's image is begun: a floor, since a registry tells sizes only compressed."""


@dataclass(frozen=True)
class Host:
    """How a host is reached, and how long each step may take; args.py describes each field, the defaults are here."""

    login_user: str = "ec2-user"
    connect_budget_seconds: int = 600
    boot_budget_seconds: int = 600
    image_budget_seconds: int = 1800
    weights_budget_seconds: int = 1800
    ready_budget_seconds: int = 900


@dataclass(frozen=True)
class Rollout:
    """How a host that serves changes its server; args.py describes each field, the defaults are here."""

    drain_seconds: int = 300
    notice_seconds: int = 100
    is_alone: bool = False
    max_ttft_ms: float | None = None
    max_slowdown: float | None = None


@dataclass(frozen=True)
class ServingSpec:
    """What a host is to serve, and how long each step may take."""

    server: Server
    host: Host = Host()
    port: int = 8080
    """The TCP port that clients connect to."""
    proxy: Proxy | None = None
    """The reverse proxy at that port; None: the server itself is there."""
    rollout: Rollout = Rollout()

    @property
    def process(self) -> ServerProcess:
        """The container that serves."""
        return server_process(self.server)


@dataclass(frozen=True)
class Step:
    """One remote command of a host."""

    name: str
    text: str
    """The command, without what tells one instance from another: `on_instance` adds it."""

    def on_instance(self, instance_id: str, secrets_digest: str = "", host_key: str = "") -> str:
        """The whole command text for an instance with this public SSH host key, whose proxy's secrets have this digest."""
        return f"# on {instance_id}\n{HOST_KEY_LINE}{host_key}\n{self.text}".replace(SECRETS_MARK, secrets_digest)


@cache
def scripts_archive() -> bytes:
    """The remote scripts as a tar archive, the same bytes for the same scripts."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(_REMOTE_SCRIPTS.glob("*[!~]")):
            if path.suffix not in {".sh", ".py"}:
                continue
            content = path.read_bytes()
            entry = tarfile.TarInfo(path.name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def install_scripts() -> tuple[Step, str]:
    """The step that brings the scripts to the host, and its standard input: the archive in base64.

    Each release has a folder of its own: a change that still runs there goes on with the scripts that it began with.
    """
    digest = hashlib.sha256(scripts_archive()).hexdigest()[:16]
    text = (
        f"# scripts {digest}\n"
        f'set -e; folder={_HOME}/releases/{digest}; sudo mkdir -p "$folder"\n'
        'base64 --decode | sudo tar --extract --no-same-owner --directory "$folder"; sudo touch "$folder"'
    )
    return Step("scripts", text), b64encode(scripts_archive()).decode()


def serving_steps(spec: ServingSpec) -> list[Step]:
    """The steps after the scripts are there, in order; `weights` and `proxy` read secrets from standard input.

    Only the last one touches what serves: all before it lay things ready beside it.
    """
    process, host = spec.process, spec.host
    model = [spec.server.model, spec.server.revision]
    return [
        _step("prepare", "prepare-host", [host.boot_budget_seconds, process.minimum_driver]),
        _step("image", "pull-image", [process.image, _IMAGE_MIB, host.image_budget_seconds]),
        _step("weights", "fetch-weights", [process.image, *model, host.weights_budget_seconds]),
        _proxy_step(spec),
        _step("ready", "serve", [json.dumps(transaction(spec), separators=(",", ":"))]),
    ]


def transaction(spec: ServingSpec) -> dict[str, object]:
    """What remote/serve.py is told; its fields are read there by these names."""
    process, proxy = spec.process, spec.proxy
    return {
        "digest": _spec_digest(spec),
        "weights": f"{spec.server.model}@{spec.server.revision}".replace("/", "--"),
        "options": _run_options(spec),
        "image": process.image,
        "arguments": list(process.arguments),
        "ready_seconds": spec.host.ready_budget_seconds,
        "facts": dict(process.log_facts),
        "trouble": process.trouble,
        "fallback": _environment(process.fallback),
        "busy_metrics": BUSY_METRICS,
        "proxy": proxy and {
            "image": proxy.image,
            "url": proxy.url,
            "tls": proxy.tls,
            "asks_for_key": proxy.asks_for_key,
            "key_names": proxy.key_names,
            "secrets": SECRETS_MARK,
        },
        "door": {
            "port": door_port(spec.port),
            "health_path": process.health_path,
            "model": SERVED_MODEL_NAME,
            "grace_seconds": longest_prefill_seconds(spec.server.max_input_tokens),
            "proxy": proxy and {"port": proxy.port, "tls": proxy.tls, "name": proxy.name},
        },
        "rollout": {**asdict(spec.rollout), "ttl_seconds": RECORD_TTL_SECONDS},
    }  # fmt: skip


def _proxy_step(spec: ServingSpec) -> Step:
    proxy = spec.proxy
    if proxy is None:
        return _step("proxy", "stage-proxy", [])
    config = json.dumps(caddy_config(proxy), separators=(",", ":"))
    return _step("proxy", "stage-proxy", [proxy.image, spec.host.image_budget_seconds, config])


def dial_attempts(budget_seconds: int) -> int:
    """How many dials pulumi-command must be allowed so that a host which refuses at once is tried for `budget_seconds`.

    A dial that times out takes longer than one that is refused, so the whole wait can be up to twice the budget.
    """
    waited, pause, attempts = 0.0, _FIRST_BACKOFF_SECONDS, 1
    while waited < budget_seconds:
        waited += pause
        pause = min(pause * _BACKOFF_FACTOR, _LONGEST_BACKOFF_SECONDS)
        attempts += 1
    return attempts


def _step(name: str, script: str, arguments: Sequence[object]) -> Step:
    words = " ".join(shlex.quote(str(argument)) for argument in arguments)
    digest = hashlib.sha256(scripts_archive()).hexdigest()[:16]
    return Step(name, f"sudo {_HOME}/releases/{digest}/{script}.sh {words}".rstrip())


def _run_arguments(spec: ServingSpec) -> list[str]:
    """The arguments of `docker run` that depend on the spec: options, then the image and its own arguments."""
    return [*_run_options(spec), spec.process.image, *spec.process.arguments]


def _run_options(spec: ServingSpec) -> list[str]:
    process = spec.process
    published = f"127.0.0.1:{spec.proxy.server_port}" if spec.proxy else str(spec.port)
    return [
        "-p",
        f"{published}:{process.container_port}",
        "--label",
        f"edge-inference.engine={spec.server.engine}",
        *_environment(process.environment),
    ]


def _environment(variables: Mapping[str, str]) -> list[str]:
    return [part for key, value in variables.items() for part in ("-e", f"{key}={value}")]


def _spec_digest(spec: ServingSpec) -> str:
    described = "\0".join([spec.server.model, spec.server.revision, *_run_arguments(spec)])
    return hashlib.sha256(described.encode()).hexdigest()[:16]
