"""Where this host's server and its public listener are, and how they are asked: one GET, one status.

Shared by the door, which answers Route 53's health checkers, and by serve.py. Leaves out judging.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from typing import Any

SERVER, PROXY = "edge-inference-server", "edge-inference-proxy"

Config = dict[str, Any]
"""`health_path`, `model` (its name in requests), and `proxy`: None, or `port`, `tls` and `name`."""


async def server_address() -> str:
    """Where Docker has published the server's one port; empty where it does not run."""
    return (await _docker_port(SERVER)).rpartition("-> ")[2]


async def public_address(config: Config) -> str:
    """Where clients arrive: at the proxy if there is one, which has the host's own network."""
    proxy = config["proxy"]
    if not proxy:
        return await server_address()
    # A host of the local cloud has no loopback of its own: there, docker knows where the port is.
    return (await _docker_port(PROXY)).rpartition("-> ")[2] or f"127.0.0.1:{proxy['port']}"


async def _docker_port(container: str) -> str:
    """The first line of `docker port`, such as `80/tcp -> 0.0.0.0:8080`."""
    asked = await asyncio.create_subprocess_exec(
        "docker", "port", container, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    answer, _ = await asked.communicate()
    return answer.decode().partition("\n")[0]


async def public_status(address: str, config: Config, path: str, context: ssl.SSLContext | None = None) -> int:
    """The status of a GET at the public listener; OSError where it refuses or breaks off. `context` None: trusts anyone."""
    proxy = config["proxy"] or {}
    if proxy.get("tls"):
        return (await _request(address, "GET", path, name=proxy["name"], context=context or _any_certificate()))[0]
    return (await _request(address, "GET", path))[0]


async def server_text(address: str, path: str) -> str:
    """The body of a GET at the server; OSError where there is none."""
    status, body = await _request(address, "GET", path)
    if status != 200:  # noqa: PLR2004
        raise ConnectionError(f"{path}: status {status}")
    return body.decode(errors="replace")


async def server_status(address: str, path: str) -> int:
    """The status of a GET at the server; OSError where it refuses or breaks off."""
    return (await _request(address, "GET", path))[0]


async def generated(address: str, model: str, prompt: str) -> bool:
    """Whether the server generates one token after a prompt; OSError where it refuses or breaks off."""
    body = json.dumps({"model": model, "prompt": prompt, "max_tokens": 1}).encode()
    return (await _request(address, "POST", "/v1/completions", body))[0] == 200  # noqa: PLR2004


async def _request(  # noqa: PLR0913, PLR0917 - a request's parts
    address: str, method: str, path: str, body: bytes = b"", name: str = "", context: ssl.SSLContext | None = None
) -> tuple[int, bytes]:
    """Status and body of one request on a connection of its own."""
    host, _, port = address.rpartition(":")
    if not host:
        raise ConnectionRefusedError("no container listens")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name if context else None)
    try:
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: {name or address}\r\nUser-Agent: edge-inference\r\n{length}"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        status, headers = await _head(reader)
        return status, await _body(reader, headers)
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    version, _, rest = (await reader.readline()).decode("latin-1").partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise ConnectionResetError("no answer in HTTP")
    headers: dict[str, str] = {}
    while line := (await reader.readline()).decode("latin-1").strip():
        key, _, value = line.partition(":")
        headers[key.lower()] = value.strip()
    return int(rest[:3]), headers


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """All of a body: by its length, in chunks, or until the connection ends."""
    try:
        if "content-length" in headers:
            return await reader.readexactly(int(headers["content-length"]))
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await reader.read()
        parts: list[bytes] = []
        while size := int((await reader.readline()).partition(b";")[0] or b"0", 16):
            parts.append(await reader.readexactly(size))
            await reader.readline()
        return b"".join(parts)
    except (asyncio.IncompleteReadError, ValueError) as error:
        raise ConnectionResetError("the answer broke off") from error


def _any_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
