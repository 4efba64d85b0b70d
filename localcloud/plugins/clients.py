# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false
# (boto3 has no types)
"""boto3 clients of the emulated AWS: one per service and Region, made once, and never for a real account."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from localcloud.plugins.base import THREADS, ProviderError

# boto3 makes its clients' methods at run time: there is no type to give them without a stub package.
Client: TypeAlias = Any

_DEFAULT_MAX_RETRIES = 5
_KEY_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_START = "start it with `edge cloud start`"


class Clients:
    """The endpoint of the local cloud and its clients."""

    def __init__(self) -> None:
        """Start without an endpoint; `connect` gives it."""
        self.endpoint = ""
        self.region = ""
        self.max_retries = _DEFAULT_MAX_RETRIES
        self._clients: dict[tuple[str, str, bool], Client] = {}
        self._lock = threading.Lock()
        self._account = ""
        self._key_id = self._secret_key = ""

    def connect(self, endpoint: str) -> None:
        """Take the endpoint over; raise `ProviderError` where it is missing, not on this machine, or silent."""
        if not endpoint:
            message = (
                f"AWS_ENDPOINT_URL is not set, so there is no local cloud to use: {_START}, and use what `edge env local` prints"
            )
            raise ProviderError(message)
        url = urlsplit(endpoint)
        if not _is_loopback(url.hostname or ""):
            message = (
                f"AWS_ENDPOINT_URL is {endpoint}, which is not on this machine: the local cloud's plugins never talk "
                "to a real account. Unset PULUMI_HOME to use the official plugins"
            )
            raise ProviderError(message)
        try:
            socket.create_connection((url.hostname, url.port or 80), timeout=5).close()
        except OSError as error:
            raise ProviderError(self._silent(endpoint)) from error
        self._key_id, self._secret_key = (os.environ.get(name, "") for name in _KEY_VARIABLES)
        if not self._key_id or not self._secret_key:
            message = f"{' and '.join(_KEY_VARIABLES)} must hold the local cloud's keys: use what `edge env local` prints"
            raise ProviderError(message)
        self.endpoint = endpoint

    def _silent(self, endpoint: str) -> str:
        return f"the local cloud at {endpoint} does not answer: {_START}"

    def get(self, service: str, region: object = None, *, retry: bool = True) -> Client:
        """Return the client of a service in a Region (default: the provider's); safe to share between threads."""
        key = (service, str(region or self.region), retry)
        with self._lock:
            if key not in self._clients:
                attempts = self.max_retries + 1 if retry else 1
                config = Config(
                    max_pool_connections=THREADS,
                    retries={"mode": "standard", "total_max_attempts": attempts},
                    connect_timeout=5,
                    read_timeout=60,
                )
                self._clients[key] = Session().client(
                    service,
                    region_name=key[1],
                    endpoint_url=self.endpoint,
                    # From nowhere else: the person's own must not travel.
                    aws_access_key_id=self._key_id,
                    aws_secret_access_key=self._secret_key,
                    config=config,
                )
            return self._clients[key]

    @property
    def account(self) -> str:
        """The account id, for ARNs."""
        if not self._account:
            self._account = str(self.get("sts").get_caller_identity()["Account"])
        return self._account

    def explain(self, error: Exception) -> str | None:
        """Return the line for an error of boto3, or None where it is not one."""
        match error:
            case EndpointConnectionError() | BotoConnectionError() | HTTPClientError():
                return self._silent(self.endpoint)
            case ClientError():
                return f"{error.operation_name}: {code(error)}: {error.response['Error'].get('Message', '')}"
            case _:
                return None


def code(error: Exception) -> str:
    """Return the error code that AWS gave, or an empty string."""
    return str(error.response["Error"].get("Code", "")) if isinstance(error, ClientError) else ""


@contextmanager
def tolerating(*codes: str) -> Generator[None]:
    """Go on after AWS's errors of these codes."""
    try:
        yield
    except ClientError as error:
        if code(error) not in codes:
            raise


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
