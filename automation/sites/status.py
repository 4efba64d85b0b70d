"""How an environment is at this moment: of each replica the machine, the server, what it serves in fact, load, users and price.

Asks EC2, the endpoint, the host itself (over SSH) and Route 53, each on its own: one that does not answer leaves unknown what it
alone could have said. Left out: history, and mending.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import urllib3

from automation.account.prices import instance_price
from automation.errors import EdgeError
from automation.sites.certificate_age import Age, age_of, shown, stored
from automation.sites.endpoints import api_key, connections
from automation.sites.hosts import Host, hosts, run, ssh
from automation.sites.serving import Asker, Replica
from components.settings import PROJECT, StackConfig, validate
from components.zones import parse_zone

if TYPE_CHECKING:
    from concurrent.futures import Future

    from automation.engine.deployed import Deployed
    from automation.sites.resolution import Client, Routes

Health = Literal["healthy", "unhealthy", "unreachable"]

_ASK_SECONDS, _TOKEN_SECONDS = 5.0, 20.0
_SSH_SECONDS = 15.0
_WINDOW_SECONDS = 0.5
"""The shortest time over which tokens are counted."""
_RECORD = 'sudo cat "${EDGE_HOST_ROOT:-}/opt/edge-inference/serving.json"'
"""What the host wrote down when its server had generated a token (components/remote/serving_record.py)."""
_METRIC = re.compile(r"^(?P<name>[\w:]+)(?:\{[^}]*\})? (?P<value>\S+)$", re.MULTILINE)
_QUEUE = ("tgi_queue_size", "vllm:num_requests_waiting")
_RUNNING = ("tgi_batch_current_size", "vllm:num_requests_running")
_TOKENS = ("tgi_request_generated_tokens_sum", "vllm:generation_tokens_total")
"""TGI counts a request's tokens when it ends."""


@dataclass(frozen=True)
class ReplicaStatus:
    """One host and its server; None is unknown."""

    name: str
    instance_id: str | None
    instance: str | None
    """EC2's word for its state; `gone` where EC2 does not know the instance."""
    address: str | None
    uptime_seconds: float | None
    """Since the instance was launched."""
    health: Health
    """By a request for health and a token; on the host where this machine may not call it."""
    model: str | None
    """In fact, by the host's own record."""
    revision: str | None
    queue: int | None
    """Requests that wait."""
    running: int | None
    """Requests that are generated."""
    tokens_per_second: float | None
    """Over half a second, where it was asked for; TGI counts a request's tokens when it ends."""
    dollars_per_hour: float | None


@dataclass(frozen=True)
class SiteStatus:
    """One zone's site."""

    zone: str
    instance_type: str
    model: str
    """As it was deployed."""
    dns_share: float | None
    """Of the map's cities, how many Route 53 sends here (automation/sites/resolution.py): a share of places, not of users."""
    drained: bool
    replicas: tuple[ReplicaStatus, ...]

    @property
    def serves(self) -> bool:
        """Whether one of its replicas is healthy."""
        return any(replica.health == "healthy" for replica in self.replicas)


@dataclass(frozen=True)
class Status:
    """An environment as it is."""

    environment: str
    simulated: bool
    """On the local cloud: AWS, network and model server are simulated."""
    sites: tuple[SiteStatus, ...]
    certificate: Age | None = None
    """Of the certificate that expires first of those that replicas show; of the config's where none shows one to this machine.
    None without TLS."""
    service_url: str | None = None
    """The service's name as callers use it; None where it has none."""

    @property
    def dollars_per_hour(self) -> float:
        """Of the instances whose price is known."""
        return sum(each.dollars_per_hour or 0 for site in self.sites for each in site.replicas)

    def described(self) -> dict[str, Any]:
        """As `edge status --json` prints it."""
        sites = [{**asdict(site), "serves": site.serves} for site in self.sites]
        age = self.certificate
        certificate = {"expires": age.expires.isoformat(), "days_left": age.days_left} if age else None
        told = {"environment": self.environment, "simulated": self.simulated, "service_url": self.service_url}
        return {**told, "certificate": certificate, "sites": sites}


def status(environment: "Deployed", reading: "Future[tuple[dict[str, Any], StackConfig]]", *, rates: bool = True) -> Status:
    """Asks all sites at once. NothingDeployedError where there are none; a dead site is part of the answer, never an error.

    `reading`: outputs and config, which the engine may still be asked for. `rates`: count tokens, which takes its time.
    """
    for region in sorted({parse_zone(zone).region for zone in environment.planned_replicas()}):
        environment.aws_client("ec2", region)  # made meanwhile
    outputs, config = reading.result()
    asker, questions = Asker(environment, config), _Questions(environment, config, rates)
    with ThreadPoolExecutor(16) as pool:
        shares = pool.submit(_shares, environment, outputs)
        certificate = pool.submit(_certificate, environment, config, outputs)
        machines = hosts(environment, outputs)
        sites: dict[str, dict[str, Any]] = outputs["sites"]
        asked = {host.key: pool.submit(questions.replica, asker, host, sites[host.zone]) for host in machines}
        replicas = {host.key: asked[host.key].result() for host in machines}
        share = shares.result()
    routing: Mapping[str, Any] = outputs.get("routing") or {}
    drained: list[str] = routing.get("drained", [])
    return Status(
        environment.name,
        environment.on_local_cloud,
        tuple(
            SiteStatus(
                zone, site["instance_type"], site["model"], share.get(zone, 0.0) if share else None, zone in drained,
                tuple(replicas[host.key] for host in machines if host.zone == zone),
            )
            for zone, site in outputs["sites"].items()
        ),
        certificate.result(),
        outputs.get("service_url"),
    )  # fmt: skip


def _certificate(environment: "Deployed", config: StackConfig, outputs: Mapping[str, Any]) -> Age | None:
    endpoint = validate(config).endpoint
    if endpoint is None or not endpoint.tls:
        return None
    kept = stored(config)
    found = [*shown(environment, outputs).values()] or ([kept] if kept else [])
    return age_of(min(found, key=lambda each: each.expires)) if found else None


@dataclass(frozen=True)
class _Questions:
    """What replicas are asked."""

    environment: "Deployed"
    config: StackConfig
    rates: bool

    def replica(self, asker: Asker, host: Host, site: Mapping[str, Any]) -> ReplicaStatus:
        now, url = datetime.now(UTC), site["replicas"][host.number - 1]["url"]
        is_up = host.address is not None and host.state in {"running", None}
        with ThreadPoolExecutor(1) as pool:
            record = pool.submit(self._record, host) if is_up else None
            answer = asker.ask(
                Replica(host.zone, host.number, host.address if is_up else None, url), token_seconds=_TOKEN_SECONDS
            )
            load = self._load(str(host.address), url) if url and answer.reached and not answer.on_host else {}
            served = record.result() if record else {}
        price = instance_price(host.zone, host.instance_type or "")
        return ReplicaStatus(
            host.key,
            host.instance_id,
            host.state,
            host.address,
            (now - host.launched).total_seconds() if host.launched and is_up else None,
            "healthy" if answer.serves else "unhealthy" if answer.reached else "unreachable",
            served.get("model"),
            served.get("revision"),
            _whole(load.get("queue")),
            _whole(load.get("running")),
            load.get("tokens_per_second"),
            # What is reserved costs as much while its host is away.
            price if host.state in {"pending", "running", None} or site.get("reserved") else 0.0,
        )

    def _record(self, host: Host) -> dict[str, Any]:
        """What the host says that it serves; empty where it cannot be asked, or has not served yet."""
        try:
            with ssh(self.environment, host, self.config) as command:
                text = run(command, _RECORD, seconds=_SSH_SECONDS)
            return json.loads(text) if text else {}
        except (EdgeError, ValueError):
            return {}

    def _load(self, address: str, url: str) -> dict[str, float]:
        """A server's load, where it tells and this machine may ask."""
        key = api_key(self.config.values.get)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            with connections(self.environment, address, url, self.config.values.get(f"{PROJECT}:tlsCertificate")) as pool:
                before, began = _metrics(pool, headers), time.monotonic()
                if not self.rates:
                    return _requests(before)
                time.sleep(_WINDOW_SECONDS)
                after, seconds = _metrics(pool, headers), time.monotonic() - began
        except (urllib3.exceptions.HTTPError, OSError):
            return {}
        load = _requests(after)
        # TGI's counter appears with its first value.
        counter = next((name for name in _TOKENS if name in after), _TOKENS[0] if _QUEUE[0] in after else None)
        if counter:
            load["tokens_per_second"] = (after.get(counter, 0.0) - before.get(counter, 0.0)) / seconds
        return load


def _requests(metrics: Mapping[str, float]) -> dict[str, float]:
    return {
        word: metrics[name] for word, names in (("queue", _QUEUE), ("running", _RUNNING)) for name in names if name in metrics
    }


def _get(pool: urllib3.HTTPConnectionPool, path: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
    return pool.request("GET", path, headers=headers, timeout=_ASK_SECONDS, retries=False)


def _metrics(pool: urllib3.HTTPConnectionPool, headers: Mapping[str, str]) -> dict[str, float]:
    answer = _get(pool, "/metrics", headers)
    text = answer.data.decode(errors="replace") if answer.status == 200 else ""  # noqa: PLR2004
    found: Counter[str] = Counter()
    for line in _METRIC.finditer(text):
        found[line["name"]] += float(line["value"])  # pyright: ignore[reportArgumentType]
    return dict(found)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _shares(environment: "Deployed", outputs: Mapping[str, Any]) -> dict[str, float] | None:
    """Of the map's cities, the share that each zone gets; None where users are not routed, or Route 53 does not answer."""
    from automation.sites.resolution import Routes

    try:
        region = next(iter(outputs["sites"].values()))["region"]
        routes = Routes(
            environment.name, outputs, environment.aws_client("route53", region), on_local_cloud=environment.on_local_cloud
        )
        zones = Counter(zone for zone in (_zone_for(routes, client) for client in routes.clients()) if zone)
    except (EdgeError, StopIteration):
        return None
    if not zones:
        return None
    return {zone: count / zones.total() for zone, count in zones.items()}


def _zone_for(routes: "Routes", client: "Client") -> str | None:
    try:
        return routes.zone_for(client)
    except EdgeError:
        return None
