"""What a host does with its user data: the parts of #cloud-config that this project uses.

Left out on purpose: scripts, runcmd, packages, multipart and includes; they are logged and ignored,
since they would run on the person's own machine.
"""

from __future__ import annotations

import base64
import gzip
import logging
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import asyncssh
import yaml

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("localcloud")

_HONOURED = frozenset(
    {"ssh_keys", "ssh_deletekeys", "ssh_genkeytypes", "write_files", "users", "ssh_authorized_keys"}
    | {"disable_root", "ssh_pwauth", "preserve_hostname", "hostname"}  # so it is here anyway
)


class UserDataError(ValueError):
    """User data that cloud-init could not apply; the host boots without it."""


@dataclass(frozen=True)
class FileToWrite:
    """One entry of write_files."""

    path: str
    content: bytes
    mode: int
    append: bool


@dataclass(frozen=True)
class CloudConfig:
    """The honoured part of one #cloud-config."""

    host_key: asyncssh.SSHKey | None = None
    authorized_keys: tuple[str, ...] = ()
    files: tuple[FileToWrite, ...] = ()
    ignored: tuple[str, ...] = field(default=())

    def write_files(self, root: Path) -> None:
        """Write the files below a host's root directory; '..' cannot leave it."""
        for file in self.files:
            target = root.joinpath(*[part for part in file.path.split("/") if part not in {"", ".", ".."}])
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("ab" if file.append else "wb") as stream:
                stream.write(file.content)
            target.chmod(file.mode)


def parse(user_data: bytes) -> CloudConfig:
    """Read user data as cloud-init would; raises UserDataError where it would report an error."""
    if user_data[:2] == b"\x1f\x8b":
        user_data = gzip.decompress(user_data)
    if not user_data.strip():
        return CloudConfig()
    if not user_data.startswith(b"#cloud-config"):
        first_line = user_data.split(b"\n", 1)[0].decode(errors="replace")
        return CloudConfig(ignored=(first_line[:40],))
    try:
        loaded: object = yaml.safe_load(user_data)
    except yaml.YAMLError as error:
        raise UserDataError("the #cloud-config is not valid YAML") from error
    if not isinstance(loaded, dict):
        raise UserDataError("the #cloud-config is not a mapping")
    config = cast("dict[str, Any]", loaded)
    return CloudConfig(
        host_key=_host_key(config.get("ssh_keys")),
        authorized_keys=tuple(_authorized_keys(config)),
        files=tuple(map(_file, _mappings(config.get("write_files")))),
        ignored=tuple(sorted(set(config) - _HONOURED)),
    )


def _host_key(keys: dict[str, str] | None) -> asyncssh.SSHKey | None:
    if not keys or "ed25519_private" not in keys:
        return None
    try:
        key = asyncssh.import_private_key(keys["ed25519_private"])
    except (asyncssh.KeyImportError, ValueError) as error:
        raise UserDataError("ssh_keys.ed25519_private is not an OpenSSH private key") from error
    public = keys.get("ed25519_public")
    if public and asyncssh.import_public_key(public).public_data != key.public_data:
        raise UserDataError("ssh_keys.ed25519_public does not belong to ed25519_private")
    return key


def _authorized_keys(config: dict[str, Any]) -> list[str]:
    keys: list[str] = list(config.get("ssh_authorized_keys") or [])
    for user in _mappings(config.get("users")):
        if user.get("name") in {None, "ec2-user"}:
            keys += user.get("ssh_authorized_keys") or []
    return keys


def _mappings(entries: object) -> list[dict[str, Any]]:
    """The entries of a list that are mappings; `users: [default]` has others."""
    listed = cast("list[object]", entries) if isinstance(entries, list) else []
    return [cast("dict[str, Any]", entry) for entry in listed if isinstance(entry, dict)]


def _file(entry: dict[str, Any]) -> FileToWrite:
    encodings = str(entry.get("encoding", "text/plain")).lower()
    content: Any = entry.get("content", "")
    data = content if isinstance(content, bytes) else str(content).encode()
    try:
        if "b64" in encodings or "base64" in encodings:
            data = base64.b64decode(data)
        if "gz" in encodings:
            data = gzip.decompress(data)
        permissions = entry.get("permissions", "0644")  # unquoted, YAML has read the octal already
        mode = permissions if isinstance(permissions, int) else int(str(permissions), 8)
        return FileToWrite(str(entry["path"]), data, mode, bool(entry.get("append", False)))
    except (ValueError, OSError, EOFError, KeyError, zlib.error) as error:
        raise UserDataError(f"write_files: {entry.get('path', 'an entry without path')}") from error
