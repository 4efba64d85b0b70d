"""The way to one replica's endpoint: by its address, under its site's name, through the local cloud's mapped ports.

Leaves out what is asked there.
"""

import json
import ssl
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

import urllib3

_PORTS = {"http": 80, "https": 443}


class Ports(Protocol):
    """Who knows by which port a host's port is reached: an Environment."""

    on_local_cloud: bool

    def port_of(self, address: str, port: int) -> int:
        """The port that stands for a host's, at its address."""
        ...


def api_key(config_value: "Callable[[str], str | None]") -> str | None:
    """One of the keys that an environment's endpoint takes, by its config; None where it asks for none."""
    if key := config_value("edge-inference:apiKey"):
        return key.strip()
    named: dict[str, str] = json.loads(config_value("edge-inference:apiKeys") or "{}")
    return next((key.strip() for key in named.values()), None)


def port_of(environment: Ports, address: str, url: str) -> int:
    """The port by which the endpoint of a URL is reached at a replica's address."""
    split = urlsplit(url)
    return environment.port_of(address, split.port or _PORTS[split.scheme])


def connections(environment: Ports, address: str, url: str, certificate: str | None) -> urllib3.HTTPConnectionPool:
    """Connections to the replica at an address; with TLS under the URL's name, and only to who has the certificate (PEM)."""
    split = urlsplit(url)
    port = port_of(environment, address, url)
    if split.scheme == "http":
        return urllib3.HTTPConnectionPool(address, port)
    context = ssl.create_default_context(cadata=certificate)
    # It may be signed by a CA that only its owner's clients trust.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return urllib3.HTTPSConnectionPool(
        address, port, ssl_context=context, server_hostname=split.hostname, assert_hostname=split.hostname
    )
