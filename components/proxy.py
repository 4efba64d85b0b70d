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
API_KEY_MARK = "@API_KEY@"
"""Stands for the keys in the rendered config; stage-proxy.sh puts them in its place, on the host."""
SECRETS_MARK = "@SECRETS@"
"""Stands for `secrets_digest` in the last step's text: a reload waits for its turn, as any change of what serves does."""
ADMIN_SOCKET = "/run/edge-inference/admin.sock"
"""Inside the container, where root alone gets to; remote/containers.py asks there for a reload."""
_SERVER_PORTS = (8080, 8081)


@dataclass(frozen=True)
class Proxy:
    """One host's reverse proxy."""

    image: str
    name: str
    """The name it is called by: with TLS, the site's own."""
    port: int
    """The TCP port that clients connect to."""
    tls: bool
    asks_for_key: bool
    health_path: str
    """Answered without a key: the door has none."""

    @property
    def server_port(self) -> int:
        """The server's port on the host's loopback: never the proxy's own, so that each can start while the other runs."""
        return next(port for port in _SERVER_PORTS if port != self.port)

    @property
    def url(self) -> str:
        """Where the proxy answers, without a path."""
        return f"{'https' if self.tls else 'http'}://{self.name}:{self.port}"


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
        "routes": _guarded(forward, proxy.health_path) if proxy.asks_for_key else [{"handle": [forward]}],
    }
    apps: dict[str, Any] = {"http": {"servers": {"edge-inference": server}}}
    if proxy.tls:
        server["tls_connection_policies"] = [{}]
        pair = {"certificate": f"{DIRECTORY}/certificate.pem", "key": f"{DIRECTORY}/private-key.pem"}
        apps["tls"] = {"certificates": {"load_files": [pair]}}
    # Caddy would otherwise offer its config, keys included, on a port and save a copy of it.
    return {"admin": {"listen": f"unix/{ADMIN_SOCKET}", "config": {"persist": False}}, "apps": apps}


def _guarded(forward: dict[str, Any], health_path: str) -> list[dict[str, Any]]:
    """The health path for all; everything else for those who know the key."""
    refusal = {
        "handler": "static_response",
        "status_code": 401,
        "headers": {"Content-Type": ["application/json"], "Www-Authenticate": ["Bearer"]},
        "body": '{"error":"a valid API key is needed: Authorization: Bearer KEY","error_type":"unauthorized"}',
    }
    return [
        # Rewritten: `/x/../health` matches too, and must not reach the server under another spelling.
        {"match": [{"path": [health_path]}], "handle": [{"handler": "rewrite", "uri": health_path}, forward], "terminal": True},
        {"match": [{"header": {"Authorization": [f"Bearer {API_KEY_MARK}"]}}], "handle": [forward], "terminal": True},
        {"handle": [refusal]},
    ]
