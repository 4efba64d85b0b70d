"""Judges a TLS certificate before it is brought to any host: right key, right time, right names.

Leaves out who signed it: clients decide whom they trust, and a private CA is as good as a public one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

_SOON = timedelta(days=14)


def certificate_faults(chain: str, private_key: str, names: Sequence[str], now: datetime) -> Iterator[tuple[str, str]]:
    """What keeps a certificate chain from serving these names: pairs of secret (tlsCertificate, tlsPrivateKey) and reason."""
    certificate, key_bytes = _certificate(chain), None
    try:
        key_bytes = _public_key_of(private_key)
    except ValueError as error:
        yield "tlsPrivateKey", str(error)
    if certificate is None:
        yield "tlsCertificate", "is no certificate chain in PEM (-----BEGIN CERTIFICATE-----)"
        return
    own = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key_bytes is not None and key_bytes != own:
        yield "tlsPrivateKey", "is not the key of tlsCertificate, whose first certificate must be the server's own"
    if faults := [*_time_faults(certificate, now), *_name_faults(certificate, names)]:
        yield "tlsCertificate", "; ".join(faults)


@dataclass(frozen=True)
class Facts:
    """What a certificate says of itself."""

    expires: datetime
    issuer: str
    """Who signed it, in a few words."""
    serial: int

    def days_left(self, now: datetime) -> int:
        """Whole days until it expires; negative after that."""
        return (self.expires - now).days


def facts_of(chain: str) -> Facts | None:
    """What a chain's first certificate says of itself; None where it is none."""
    certificate = _certificate(chain)
    if certificate is None:
        return None
    if certificate.issuer == certificate.subject:
        issuer = "itself"
    else:
        named = {each.oid: str(each.value) for each in certificate.issuer}
        words = (named.get(oid) for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME))
        issuer = " ".join(filter(None, words)) or "an unnamed CA"
    return Facts(certificate.not_valid_after_utc, issuer, certificate.serial_number)


def expires_soon(chain: str, now: datetime) -> datetime | None:
    """When a chain's first certificate expires, where that is within two weeks."""
    facts = facts_of(chain)
    return facts.expires if facts and facts.expires - now < _SOON else None


def covers(pattern: str, name: str) -> bool:
    """Whether a certificate's DNS name covers a name: `*` stands for exactly the first label (RFC 6125)."""
    pattern, name = pattern.lower(), name.lower()
    return pattern == name or (pattern.startswith("*.") and pattern[2:] == name.partition(".")[2])


def _certificate(chain: str) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificates(chain.encode())[0]
    except (ValueError, UnsupportedAlgorithm):
        return None


def _public_key_of(private_key: str) -> bytes:
    """The public half of a private key, for comparison; ValueError where it cannot be read."""
    try:
        key = serialization.load_pem_private_key(private_key.encode(), password=None)
    except TypeError as error:
        raise ValueError("is protected by a passphrase, which nobody can type on a host") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        # The library's texts can quote the key.
        raise ValueError("is no private key in PEM (-----BEGIN PRIVATE KEY-----)") from error
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _time_faults(certificate: x509.Certificate, now: datetime) -> Iterator[str]:
    if now > certificate.not_valid_after_utc:
        yield f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if now < certificate.not_valid_before_utc:
        yield f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"


def _name_faults(certificate: x509.Certificate, names: Sequence[str]) -> Iterator[str]:
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        given = alternative.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        given = []
    missing = [name for name in names if not any(covers(pattern, name) for pattern in given)]
    if missing:
        yield f"covers {', '.join(given) or 'no DNS name'}, but not {', '.join(missing)} (a wildcard stands for one label)"
