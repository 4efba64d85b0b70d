"""Makes the two keys of an environment: the deployer's SSH key and the secret that all host keys are derived from."""

import secrets

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def new_deployer_key() -> str:
    """An ed25519 private key as an OpenSSH file's text. A secret."""
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        .decode()
    )


def new_host_key_secret() -> str:
    """32 random bytes as 64 hex digits. A secret."""
    return secrets.token_hex(32)
