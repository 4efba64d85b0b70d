"""The way to one replica's endpoint: by its address, under its site's name, through the local cloud's mapped ports.

Leaves out what is asked there.
"""

import json
import socket
import ssl
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

import urllib3

_CONNECT_SECONDS = 5.0
_PORTS = {"http": 80, "https": 443}


SUCCESSOR = "-next"
"""Behind the name of an API key whose rotation is under way: it is what will be left of the two."""


class Ports(Protocol):
    """Who knows by which port a host's port is reached: an Environment."""

    on_local_cloud: bool

    def port_of(self, address: str, port: int) -> int:
        """The port that stands for a host's, at its address."""
        ...


def api_key(config_value: "Callable[[str], str | None]") -> str | None:
    """One of the keys that an environment's endpoint takes, by its config; None where it asks for none. Not one that is about to
    be taken away: whether others still use it shall be seen.
    """
    named: dict[str, str] = json.loads(config_value("edge-inference:apiKeys") or "{}")
    successors = [key for name, key in named.items() if name.endswith(SUCCESSOR)]
    keys = [*successors, config_value("edge-inference:apiKey"), *named.values()]
    return next((key.strip() for key in keys if key), None)


def port_of(environment: Ports, address: str, url: str) -> int:
    """The port by which the endpoint of a URL is reached at a replica's address."""
    split = urlsplit(url)
    return environment.port_of(address, split.port or _PORTS[split.scheme])


def trust(certificate: str | None) -> ssl.SSLContext:
    """Who may answer for a site: who has the certificate (PEM), or one that a public CA has signed."""
    context = ssl.create_default_context(cadata=certificate)
    # Between a renewal and the next `up` the one before is shown, which a public CA may have signed by another intermediate.
    context.load_default_certs()
    # It may be signed by a CA that only its owner's clients trust.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def connections(environment: Ports, address: str, url: str, certificate: str | None) -> urllib3.HTTPConnectionPool:
    """Connections to the replica at an address; with TLS under the URL's name, and only to whom `trust` lets answer."""
    split = urlsplit(url)
    port = port_of(environment, address, url)
    if split.scheme == "http":
        return urllib3.HTTPConnectionPool(address, port)
    context = trust(certificate)
    return urllib3.HTTPSConnectionPool(
        address, port, ssl_context=context, server_hostname=split.hostname, assert_hostname=split.hostname
    )


def shown_certificate(environment: Ports, address: str, url: str) -> str | None:
    """The certificate (PEM) that the replica at an address shows at this moment, whoever signed it; None where it shows none."""
    split = urlsplit(url)
    context = ssl.create_default_context()
    # Looked at, and not relied upon.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, port_of(environment, address, url)), _CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=split.hostname) as connection,
        ):
            shown = connection.getpeercert(binary_form=True)
    except OSError:
        return None
    return ssl.DER_cert_to_PEM_cert(shown) if shown else None
