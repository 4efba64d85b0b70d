"""A certificate from an ACME server (RFC 8555), proved by DNS-01: account, order, challenges, certificate.

The protocol is certbot's library `acme`. Leaves out other challenges (no host could answer one for all), external account
binding, revocation, and where anything is stored.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, cast

import requests
from acme import challenges, crypto_util, errors, messages
from acme.client import ClientNetwork, ClientV2
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from automation.account.caa import Ask, forbidding
from automation.account.challenge_records import Values
from automation.errors import EdgeError

_TRIES = 20
"""Of one request whose nonce the server rejects: it may do so for any, and gives a new one with each rejection."""
_VALIDATION, _ISSUANCE = timedelta(minutes=5), timedelta(minutes=3)


@dataclass(frozen=True)
class Authority:
    """An ACME server, and how it is spoken to."""

    server: str
    """The URL of its directory."""
    ca_bundle: Path | None = None
    """The certificates by which the server itself is known, where the usual ones do not do."""
    email: str | None = None
    """The account's contact."""


@dataclass(frozen=True)
class Obtained:
    """A new certificate."""

    chain: str
    private_key: str
    """A secret."""
    terms_of_service: str | None
    """What the account agreed to, where it was made just now."""


class Records(Protocol):
    """Where the TXT records of challenges go."""

    def add(self, values: Values) -> None:
        """Adds texts, and returns when they are answered."""
        ...

    def remove(self, values: Values) -> None:
        """Takes them away again."""
        ...


def new_key() -> str:
    """A private key on P-256, in PEM. A secret."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*form).decode()


def is_key(text: str) -> bool:
    """Whether a text is a key that an account can have here."""
    try:
        found = serialization.load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return isinstance(found, ec.EllipticCurvePrivateKey) and isinstance(found.curve, ec.SECP256R1)


def obtain(  # noqa: PLR0913 - whom, as whom, for what, by which means
    authority: Authority,
    account_key: str,
    names: Sequence[str],
    records: Records,
    *,
    ask_caa: Ask,
    say: Callable[[str], None],
) -> Obtained:
    """A certificate for DNS names, with a key made now. EdgeError with the server's own reason where there is none.

    The TXT records are taken away again however it ends.
    """
    try:
        return _Order(authority, account_key, say).obtain(names, records, ask_caa)
    except requests.exceptions.SSLError as error:
        fix = "name the certificate of its CA: --ca-bundle FILE" if authority.ca_bundle is None else "is it the right file?"
        raise EdgeError(f"{authority.server} is not known by its certificate: {_cause(error)}\n  -> {fix}") from error
    except requests.exceptions.RequestException as error:
        raise EdgeError(f"{authority.server} does not answer: {_cause(error)}\n  -> curl -sS {authority.server}") from error
    except errors.ValidationError as error:
        reasons = "\n".join(f"  {line}" for line in sorted(_failures(error)))
        raise EdgeError(f"{authority.server} found no proof of the names:\n{reasons}") from error
    except errors.IssuanceError as error:
        raise EdgeError(f"{authority.server} issues no certificate: {_words(error.error)}") from error
    except messages.Error as error:
        raise EdgeError(f"{authority.server} refuses: {_words(error)}") from error
    except errors.TimeoutError as error:
        raise EdgeError(
            f"{authority.server} has not decided in {_VALIDATION.seconds // 60} minutes\n  -> try again later"
        ) from error
    except (errors.Error, JoseError, KeyError) as error:
        raise EdgeError(f"{authority.server} does not speak ACME as expected: {error or type(error).__name__}") from error


class _Network(ClientNetwork):
    """Tries a request again whose nonce was rejected, also more than once, which the library's own does not."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        for _ in range(_TRIES):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        raise EdgeError(f"the ACME server rejected a request's nonce {2 * _TRIES} times")


class _Order:
    """One order of one account."""

    def __init__(self, authority: Authority, account_key: str, say: Callable[[str], None]) -> None:
        self._authority, self._say = authority, say
        self._key = JWKEC.load(account_key.encode())
        network = _Network(self._key, alg=ES256, user_agent="edge-inference")
        if authority.ca_bundle:
            # The library hands it on to requests, which takes a path too.
            network.verify_ssl = cast("bool", str(authority.ca_bundle))
        self._client = ClientV2(ClientV2.get_directory(authority.server, network), network)

    def obtain(self, names: Sequence[str], records: Records, ask_caa: Ask) -> Obtained:
        meta = cast("messages.Directory.Meta", self._client.directory.meta)
        self._refuse_forbidden(names, meta.caa_identities or (), ask_caa)
        is_new = self._log_in()
        private_key = new_key()
        order = self._client.new_order(crypto_util.make_csr(private_key.encode(), domains=list(names)))
        order = self._prove(order, records)
        self._say("The names are proved; waiting for the certificate.")
        finished = self._client.finalize_order(order, _in(_ISSUANCE))
        return Obtained(str(finished.fullchain_pem), private_key, meta.terms_of_service if is_new else None)

    def _refuse_forbidden(self, names: Sequence[str], issuers: Sequence[str], ask_caa: Ask) -> None:
        for name in names:
            if issuers and (found := forbidding(name, [each.lower() for each in issuers], ask_caa)):
                at, texts = found
                listed = "\n".join(f"    {at} CAA {text}" for text in texts)
                raise EdgeError(
                    f"CAA records forbid {self._authority.server} to issue for {name}:\n{listed}\n"
                    f'  -> add this record, at {at}: CAA 0 {"issuewild" if name.startswith("*") else "issue"} "{issuers[0]}"'
                )

    def _log_in(self) -> bool:
        """Makes the account of the key, or finds it; whether it is new."""
        if self._client.external_account_required():
            raise EdgeError(
                f"{self._authority.server} takes accounts of its own customers alone (external account binding), and "
                "`edge certificate` has none\n  -> leave --server out: Let's Encrypt asks for none"
            )
        contact = messages.NewRegistration.from_data(email=self._authority.email, terms_of_service_agreed=True)
        try:
            self._client.new_account(contact)
        except errors.ConflictError as error:
            known = messages.RegistrationResource(body=messages.Registration(), uri=error.location)
            self._client.net.account = known
            if self._authority.email:
                self._client.update_registration(known, messages.Registration.from_data(email=self._authority.email))
            return False
        return True

    def _prove(self, order: messages.OrderResource, records: Records) -> messages.OrderResource:
        pending = dict(self._pending(order))
        values: dict[str, list[str]] = {}
        for challenge, name in pending.items():
            values.setdefault(name, []).append(challenge.chall.validation(self._key))
        if not pending:
            return order
        self._say(f"Adding TXT records until it has looked: {', '.join(sorted(values))}.")
        try:
            records.add(values)
            for challenge in pending:
                self._client.answer_challenge(challenge, challenge.chall.response(self._key))
            return self._client.poll_authorizations(order, _in(_VALIDATION))
        finally:
            self._tidy(records, values)

    def _tidy(self, records: Records, values: Mapping[str, Sequence[str]]) -> None:
        """However the rest ends: what cannot be taken away is told, and does no harm."""
        try:
            records.remove(values)
        except EdgeError as error:
            self._say(f"The TXT records of {', '.join(values)} are still there and may be removed by hand: {error}")

    def _pending(self, order: messages.OrderResource) -> Iterator[tuple[messages.ChallengeBody, str]]:
        """The DNS-01 challenges that are to be answered, and where their records go."""
        for body in _bodies(order.authorizations):
            if body.status == messages.STATUS_VALID:
                continue
            for challenge in body.challenges:
                if isinstance(challenge.chall, challenges.DNS01):
                    yield challenge, challenge.chall.validation_domain_name(body.identifier.value)
                    break
            else:
                offered = ", ".join(each.chall.typ for each in body.challenges)
                raise EdgeError(f"{self._authority.server} offers no DNS-01 for {body.identifier.value}, but {offered}")


def _in(time: timedelta) -> datetime:
    """A deadline as the library reads it: without a time zone."""
    return datetime.now() + time  # noqa: DTZ005


def _failures(error: errors.ValidationError) -> Iterator[str]:
    for body in _bodies(error.failed_authzrs):
        for challenge in body.challenges:
            if challenge.error and isinstance(challenge.chall, challenges.DNS01):
                name = body.identifier.value
                yield f"{name} (TXT of {challenge.chall.validation_domain_name(name)}): {_words(challenge.error)}"


def _bodies(authorizations: Any) -> Iterator[Any]:
    """What authorizations say: the library's fields have types that only itself knows."""
    return (each.body for each in authorizations)


def _words(error: Any) -> str:
    """The server's own reason, with its code, and what it says of single names."""
    text = f"{error.detail or error.description or error.title or 'without a reason'} ({error.code or error.typ})"
    return "; ".join([text, *(_words(each) for each in error.subproblems or ())])


def _cause(error: Exception) -> str:
    """The innermost reason, without the libraries' wrapping."""
    reason: Any = error.args[0] if error.args else error
    reason = getattr(reason, "reason", reason)
    return str(reason).rpartition(": ")[2][:300] or type(error).__name__
