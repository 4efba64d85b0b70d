"""Whether the replicas that served before answer at this moment, as far as this machine can see: asked at their public listeners.

Leaves out what follows from it (rollout.py), and whether tokens come: that is asked on the hosts.
"""

import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

_SECONDS = 2.0
_AT_ONCE = 32
_SERVER_ERROR = 500


@dataclass(frozen=True)
class Listener:
    """Where clients reach a replica."""

    address: str
    port: int
    path: str
    """Its health path."""
    tls_name: str | None = None
    """The name in its certificate; None without TLS."""


def answers(listener: Listener) -> bool:
    """Whether anything but an error comes back. No answer after it took the question is one: a server reads a long prompt."""
    try:
        connected = socket.create_connection((listener.address, listener.port), _SECONDS)
        if listener.tls_name:
            connected = _any_certificate().wrap_socket(connected, server_hostname=listener.tls_name)
    except OSError:
        return False
    connection = HTTPConnection(listener.tls_name or listener.address, listener.port)
    connection.sock = connected
    try:
        connection.request("GET", listener.path)
        return connection.getresponse().status < _SERVER_ERROR
    except TimeoutError:
        return True
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def silent(listeners: Mapping[str, Listener]) -> frozenset[str]:
    """The replicas that do not answer while another one does; none where none does, since this machine may not be let in."""
    if not listeners:
        return frozenset()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answering = dict(zip(listeners, pool.map(answers, listeners.values()), strict=True))
    return frozenset(key for key, answer in answering.items() if not answer) if any(answering.values()) else frozenset()


def _any_certificate() -> ssl.SSLContext:
    """Who has no valid certificate is no less alive."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
