"""Who a host is: its SSH host key, derived so that the deployer knows it before the host exists, and its first-boot data.

Leaves out the login keys: the key pair of the instance carries the deployer's public key.
"""

import hashlib
import re
import struct
from base64 import b64encode
from dataclasses import dataclass, field
from textwrap import indent

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_KEY_TYPE = b"ssh-ed25519"
_BLOCK_BYTES = 8
"""OpenSSH pads the private part to the cipher's block; 8 without a cipher (PROTOCOL.key in OpenSSH's sources)."""


@dataclass(frozen=True)
class HostKey:
    """An ed25519 SSH host key."""

    public: str
    """`ssh-ed25519 AAAA...`, one line without a comment."""
    private: str = field(repr=False)
    """OpenSSH private key file, the same text at every call. A secret."""


def derive_host_key(secret_hex: str, host: str) -> HostKey:
    """The key of the host named `host` (unique in its stack), from the stack's `hostKeySecret` (64 hex digits).

    HKDF-SHA256 (RFC 5869) gives the 32-byte seed. OpenSSH's file format carries a random check number, twice; it is derived
    too, since user data that differs at every run would stop and start the host.
    """
    seed = HKDF(hashes.SHA256(), 32, salt=None, info=b"edge-inference host key/" + host.encode()).derive(
        bytes.fromhex(secret_hex)
    )
    public = (
        Ed25519PrivateKey.from_private_bytes(seed)
        .public_key()
        .public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    )
    check_number = hashlib.sha256(b"check number/" + seed).digest()[:4]
    public_blob = _string(_KEY_TYPE) + _string(public)
    private_part = check_number * 2 + public_blob + _string(seed + public) + _string(b"")
    padding = bytes(range(1, _BLOCK_BYTES - len(private_part) % _BLOCK_BYTES + 1))
    if len(padding) == _BLOCK_BYTES:
        padding = b""
    blob = (
        b"openssh-key-v1\0"
        + _string(b"none")
        + _string(b"none")
        + _string(b"")
        + struct.pack(">I", 1)
        + _string(public_blob)
        + _string(private_part + padding)
    )
    text = b64encode(blob).decode()
    lines = "\n".join(text[start : start + 70] for start in range(0, len(text), 70))
    return HostKey(
        public=f"{_KEY_TYPE.decode()} {b64encode(public_blob).decode()}",
        private=f"-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}\n-----END OPENSSH PRIVATE KEY-----\n",
    )


def deployer_public_key(private_key: str) -> str:
    """The public line of the deployer's private key; ValueError where it is no unencrypted ed25519 private key."""
    try:
        key = serialization.load_ssh_private_key(private_key.encode(), password=None)
    except (ValueError, UnsupportedAlgorithm) as error:
        # The library's texts can quote the key.
        raise ValueError("not an unencrypted OpenSSH private key") from error
    except TypeError as error:
        raise ValueError("the key is protected by a passphrase, which nobody can type during a deployment") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("not an ed25519 key")  # noqa: TRY004 - it is the value that is wrong, not its type
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def user_data(key: HostKey) -> str:
    """Cloud-init's user data for a host: its own ed25519 key as the only one, no passwords, no root login. A secret.

    The HostKey line matters: distributions otherwise make and offer keys of other types beside it.
    """
    return f"""#cloud-config
ssh_deletekeys: true
ssh_keys:
  ed25519_private: |
{indent(key.private, "    ").rstrip()}
  ed25519_public: {key.public}
ssh_pwauth: false
disable_root: true
write_files:
  - path: /etc/ssh/sshd_config.d/10-edge-inference.conf
    permissions: "0600"
    content: |
      HostKey /etc/ssh/ssh_host_ed25519_key
      PasswordAuthentication no
      KbdInteractiveAuthentication no
      PermitRootLogin no
runcmd:
  - [sh, -c, "systemctl try-restart sshd || systemctl try-restart ssh"]
"""


def public_key_in(first_boot: str | None) -> str | None:
    """The public host key that a host of this user data shows; None where it says none."""
    found = re.search(r"^  ed25519_public: (ssh-ed25519 \S+)$", first_boot or "", re.MULTILINE)
    return found[1] if found else None


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value
