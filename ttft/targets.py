"""Targets as a person writes them: URL or NAME=URL."""

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from ttft.errors import TtftError
from ttft.samples import Target

_NAMED = re.compile(r"(?P<name>[^/=:]+)=(?P<url>.+)", re.DOTALL)
_ROUTES = ("/generate_stream", "/generate", "/v1/chat/completions", "/v1/completions", "/v1")


def targets(arguments: Sequence[str], *, city: str | None = None, source_address: str | None = None) -> tuple[Target, ...]:
    """A target for each argument. Names are the URL without its scheme where none is given, numbered where a URL comes twice.

    Raises TtftError for what is no base URL, and for two targets of one name.
    """
    found: dict[str, Target] = {}
    for argument in arguments:
        named = _NAMED.fullmatch(argument)
        url = _base_url(named["url"] if named else argument)
        name = named["name"].strip() if named else _numbered(url.partition("://")[2], found)
        if name in found:
            raise TtftError(f"two targets are called {name!r}\n  -> give each its own NAME=URL")
        found[name] = Target(name=name, url=url, city=city, source_address=source_address, site=name)
    return tuple(found.values())


def _base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises for what is no port
    except ValueError as error:
        raise TtftError(f"{text!r} is no URL ({error})\n  -> ttft http://HOST:PORT") from None
    if parts.username or parts.password:
        # Not the text: it holds a password.
        raise TtftError("a URL holds a user name or password\n  -> leave it out; an API key: --api-key-env NAME")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        host = text.rpartition("://")[2] or "HOST:PORT"
        raise TtftError(f"{text!r} is no http or https URL\n  -> ttft http://{host}")
    return _without_route(parts)


def _without_route(parts: SplitResult) -> str:
    path = parts.path.rstrip("/")
    base = f"{parts.scheme}://{parts.netloc}"
    for route in _ROUTES:
        if path.endswith(route):
            dialect = {"/v1/chat/completions": "chat", "/v1/completions": "completions", "/v1": "auto"}.get(route, "tgi")
            raise TtftError(
                f"{parts.geturl()} is a route; a target is the server's base URL\n"
                f"  -> ttft {base}{path.removesuffix(route)} --dialect {dialect}"
            )
    if parts.query or parts.fragment:
        raise TtftError(f"{parts.geturl()} has a query or fragment; a target is the server's base URL\n  -> ttft {base}{path}")
    return f"{base}{path}"


def _numbered(name: str, taken: dict[str, Target]) -> str:
    number = 1
    numbered = name
    while numbered in taken:
        number += 1
        numbered = f"{name} ({number})"
    return numbered
