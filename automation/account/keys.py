"""Makes the two keys of an environment: the deployer's SSH key and the secret that all host keys are derived from.

And, for the local cloud alone, a certificate that nobody has to trust.
"""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
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


def new_certificate(names: Sequence[str], begins: datetime | None = None, days: int = 365) -> tuple[str, str]:
    """A self-signed certificate for DNS names, and its private key, in PEM. The key is a secret."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "edge-inference local cloud")])
    first = begins or datetime.now(UTC) - timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(first + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.decode(), pem.decode()
