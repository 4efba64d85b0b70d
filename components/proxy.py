"""The reverse proxy of a host: what Caddy's config says, and the secrets that its start script reads from standard input.

It ends TLS and asks for the API key, so that neither depends on the engine. Leaves out certificates of its own making: a name
leads to several hosts, and none of them could answer a CA's challenge for it alone.
"""

import hmac
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

DIRECTORY = "/etc/edge-inference"
"""Where the container finds its config and secrets, mounted read-only."""
SECRETS_MARK = "@SECRETS@"
"""Stands for `secrets_digest` in the last step's text: a reload waits for its turn, as any change of what serves does."""
ADMIN_SOCKET = "/run/edge-inference/admin.sock"
"""Inside the container, where root alone gets to; remote/containers.py asks there for a reload."""
_SERVER_PORTS = (8080, 8081)
_ACCESS_LOG = "http.log.access"
"""Caddy's name of it."""
_NAME_IN_LOG = "{http.auth.user.id}"
"""The only value of a request's own that Caddy has written into its access log since before 2.8, as `user_id`."""


@dataclass(frozen=True)
class Proxy:
    """One host's reverse proxy."""

    image: str
    name: str
    """The name it is called by: with TLS, the site's own."""
    port: int
    """The TCP port that clients connect to."""
    tls: bool
    key_names: tuple[str, ...]
    """By which the log names those who were let in, in the order of the keys; empty where nobody is asked for a key."""
    health_path: str
    """Answered without a key: the door has none."""

    @property
    def asks_for_key(self) -> bool:
        """Whether only those who know a key are let in."""
        return bool(self.key_names)

    @property
    def server_port(self) -> int:
        """The server's port on the host's loopback: never the proxy's own, so that each can start while the other runs."""
        return next(port for port in _SERVER_PORTS if port != self.port)

    @property
    def url(self) -> str:
        """Where the proxy answers, without a path."""
        return f"{'https' if self.tls else 'http'}://{self.name}:{self.port}"


def key_mark(number: int) -> str:
    """Stands for a key, counted from 1, in the rendered config; stage-proxy.sh puts it in its place, on the host."""
    return f"@API_KEY_{number}@"


def secret_lines(certificate: str, private_key: str, *api_keys: str) -> str:
    """Standard input of stage-proxy.sh: certificate chain, its key (both in base64) and API keys, a line each. A secret.

    What is empty is not wanted, and has an empty line.
    """
    pair = [b64encode(each.encode()).decode() for each in (certificate, private_key)]
    return "".join(f"{line}\n" for line in (*pair, " ".join(key.strip() for key in api_keys)))


def secrets_digest(key: str, lines: str) -> str:
    """Changes with `secret_lines`, and tells nothing of them to who has not the key, which must be long and random."""
    return hmac.new(key.encode(), lines.encode(), "sha256").hexdigest()[:16]


def caddy_config(proxy: Proxy) -> dict[str, Any]:
    """Caddy's config (its JSON, 2.6 and newer) but for the key. localcloud/hosts/caddy.py understands exactly this much of it.

    Three things are left out on purpose. `flush_interval`: Caddy flushes event streams at once by itself, while an explicit -1
    also keeps a request running whose client has gone (caddyserver/caddy #4952), at the GPU's cost. Timeouts on answers:
    a long generation is none. Kept-alive connections to the server: an engine may close one at the moment it is used again
    (vLLM after 5 s), and a POST is not repeated.
    """
    forward = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"127.0.0.1:{proxy.server_port}"}],
        # The key ends here: engines log headers.
        "headers": {"request": {"delete": ["Authorization"]}},
        "transport": {"protocol": "http", "dial_timeout": "3s", "keep_alive": {"enabled": False}},
    }
    server: dict[str, Any] = {
        "listen": [f":{proxy.port}"],
        # HTTP/3 would need UDP, which the security group does not let in.
        "protocols": ["h1", "h2"],
        "automatic_https": {"disable": True},
        "read_header_timeout": "10s",
        "idle_timeout": "5m",
        "logs": {},
        "routes": [_health(forward, proxy.health_path), *(_guarded(forward, proxy.key_names) or [{"handle": [forward]}])],
    }
    apps: dict[str, Any] = {"http": {"servers": {"edge-inference": server}}}
    if proxy.tls:
        server["tls_connection_policies"] = [{}]
        pair = {"certificate": f"{DIRECTORY}/certificate.pem", "key": f"{DIRECTORY}/private-key.pem"}
        apps["tls"] = {"certificates": {"load_files": [pair]}}
    # Caddy would otherwise offer its config, keys included, on a port and save a copy of it.
    return {"admin": {"listen": f"unix/{ADMIN_SOCKET}", "config": {"persist": False}}, "logging": _logging(), "apps": apps}


def _logging() -> dict[str, Any]:
    """One short line for each request that was let in, of numbers and the key's name alone: remote/usage.py sums them up.

    Nothing that a client sent is in it: an address may tell who it is, and a path or a header may hold a secret.
    """
    left_out = ("request", "resp_headers", "bytes_read")
    encoder = {
        "format": "filter",
        "wrap": {"format": "json", "level_key": "", "name_key": "", "message_key": ""},
        "fields": {name: {"filter": "delete"} for name in left_out},
    }
    access = {"writer": {"output": "stdout"}, "encoder": encoder, "include": [_ACCESS_LOG]}
    return {"logs": {"default": {"exclude": [_ACCESS_LOG]}, "access": access}}


_NOT_LOGGED = {"handler": "vars", "skip_log": True, "log_skip": True}
"""Checkers ask several times a second, and whoever is refused may ask without end: they would push the others out of the log.
Caddy's name of it is the first before 2.8, the second since then."""


def _health(forward: dict[str, Any], health_path: str) -> dict[str, Any]:
    """The health path, open to all. Rewritten: `/x/../health` matches too, and must not reach the server in another spelling."""
    handle = [_NOT_LOGGED, {"handler": "rewrite", "uri": health_path}, forward]
    return {"match": [{"path": [health_path]}], "handle": handle, "terminal": True}


def _guarded(forward: dict[str, Any], key_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """A route for each key, and a refusal for everybody else; nothing where there is no key."""
    refusal = {
        "handler": "static_response",
        "status_code": 401,
        "headers": {"Content-Type": ["application/json"], "Www-Authenticate": ["Bearer"]},
        "body": '{"error":"a valid API key is needed: Authorization: Bearer KEY","error_type":"unauthorized"}',
    }
    routes: list[dict[str, Any]] = [
        {
            "match": [{"header": {"Authorization": [f"Bearer {key_mark(number)}"]}}],
            "handle": [{"handler": "map", "source": "", "destinations": [_NAME_IN_LOG], "defaults": [name]}, forward],
            "terminal": True,
        }
        for number, name in enumerate(key_names, 1)
    ]
    return [*routes, {"handle": [_NOT_LOGGED, refusal]}] if routes else []
