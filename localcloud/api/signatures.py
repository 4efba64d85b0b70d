"""Signature Version 4, checked as AWS does: computed with botocore's own code from the request as it came, and compared.

Moto's check builds path and query anew from what it has parsed, and so refuses Route 53's. Left out on purpose: signatures in the
query (presigned URLs), session tokens, payloads that are signed in chunks or not at all; they are refused.
"""

# botocore has no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localcloud.keys import Keys

_ALGORITHM = "AWS4-HMAC-SHA256"
_AUTHORIZATION = re.compile(
    _ALGORITHM + r" +Credential=(?P<key>[^/,]+)/(?P<day>\d{8})/(?P<region>[^/,]+)/(?P<service>[^/,]+)/aws4_request,"
    r" *SignedHeaders=(?P<headers>[a-z0-9;-]+), *Signature=(?P<signature>[0-9a-f]{64})"
)
_TIME = "%Y%m%dT%H%M%SZ"
_SKEW = timedelta(minutes=15)
"""How far a request's date may be from now, as STS says it in its refusals."""
_ALWAYS_SIGNED = {"host", "x-amz-date"}
_MUST_BE_SIGNED = "x-amz-"
_NEW_KEYS = 'The local cloud has new keys after each start: eval "$(edge env local)"'


@dataclass(frozen=True)
class Received:
    """A request as it came: the target as it stood in the first line, the headers in their order."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str:
        """The first header of that name (lower case), or an empty string."""
        return next((value for each, value in self.headers if each.lower() == name), "")


@dataclass(frozen=True)
class Claim:
    """Who a request says that it is from."""

    access_key_id: str
    day: str
    region: str
    service: str
    signed_headers: frozenset[str]
    signature: str


@dataclass(frozen=True)
class Problem:
    """Why a request is not taken for its owner's, in AWS's words; `kind` is a key of the codes below."""

    kind: str
    message: str


_QUERY_CODES = {
    "missing": "MissingAuthenticationToken",
    "key": "InvalidClientTokenId",
    "signature": "SignatureDoesNotMatch",
    "time": "SignatureDoesNotMatch",
}
_JSON_CODES = {
    "missing": "MissingAuthenticationTokenException",
    "key": "UnrecognizedClientException",
    "signature": "InvalidSignatureException",
    "time": "InvalidSignatureException",
}
_JSON_SERVICES = {"ssm", "servicequotas"}


def claim(request: Received) -> Claim | None:
    """What the headers say; None where they say nothing of the kind."""
    found = _AUTHORIZATION.fullmatch(request.header("authorization"))
    if not found:
        return None
    signed = frozenset(found["headers"].split(";"))
    return Claim(found["key"], found["day"], found["region"], found["service"], signed, found["signature"])


def key_problem(claimed: Claim | None, keys: Keys) -> Problem | None:
    """What is wrong before the body is read: no signature, or another world's key."""
    if claimed is None:
        return Problem("missing", "Request is missing Authentication Token")
    if hmac.compare_digest(claimed.access_key_id.encode(), keys.access_key_id.encode()):
        return None
    return Problem("key", f"The security token included in the request is invalid. {_NEW_KEYS}")


def problem(request: Received, claimed: Claim | None, keys: Keys, now: datetime | None = None) -> Problem | None:
    """What is wrong unless the owner of the keys has signed exactly this request, body included, a moment ago."""
    found = key_problem(claimed, keys)
    if found or claimed is None:
        return found
    date = request.header("x-amz-date")
    to_sign = {name for each, _ in request.headers if (name := each.lower()).startswith(_MUST_BE_SIGNED)} | _ALWAYS_SIGNED
    payload = request.header("x-amz-content-sha256")
    if (
        to_sign - claimed.signed_headers
        or not date.startswith(claimed.day)
        or (payload and payload != sha256(request.body).hexdigest())
        or not hmac.compare_digest(_expected(request, claimed, keys, date), claimed.signature)
    ):
        text = "The request signature we calculated does not match the signature you provided."
        return Problem("signature", f"{text} Check your AWS Secret Access Key and signing method.")
    return _time_problem(date, now or datetime.now(UTC))


def _expected(request: Received, claimed: Claim, keys: Keys, date: str) -> str:
    """The signature that the owner's request has."""
    headers = HTTPHeaders()
    for name, value in request.headers:
        if name.lower() in claimed.signed_headers:
            headers[name] = value
    url = f"http://{request.header('host')}{request.target}"
    signed = AWSRequest(request.method, url, headers, request.body)
    signed.context["timestamp"] = date
    signer = SigV4Auth(Credentials(keys.access_key_id, keys.secret_access_key), claimed.service, claimed.region)
    return str(signer.signature(signer.string_to_sign(signed, signer.canonical_request(signed)), signed))


def _time_problem(date: str, now: datetime) -> Problem | None:
    minutes = _SKEW.seconds // 60
    try:
        signed = datetime.strptime(date, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return Problem("time", f"Date must be in ISO8601 'basic format'. Got '{date}'.")
    if signed < now - _SKEW:
        text = f"Signature expired: {date} is now earlier than {now - _SKEW:{_TIME}} ({now:{_TIME}} - {minutes} min.)"
        return Problem("time", text)
    if signed > now + _SKEW:
        text = f"Signature not yet current: {date} is still later than {now + _SKEW:{_TIME}} ({now:{_TIME}} + {minutes} min.)"
        return Problem("time", text)
    return None


def refusal(service: str, problem: Problem) -> tuple[int, str, bytes]:
    """Status, content type and body with which a service refuses; a service that nobody knows does so as STS.

    EC2 has one code for all of it (https://github.com/aws/aws-sdk-java/issues/519).
    """
    if service in _JSON_SERVICES:
        body = json.dumps({"__type": _JSON_CODES[problem.kind], "message": problem.message})
        return 400, "application/x-amz-json-1.1", body.encode()
    if service == "ec2":
        message = f"AWS was not able to validate the provided access credentials. {problem.message}"
        inner = f"<Errors><Error><Code>AuthFailure</Code><Message>{escape(message)}</Message></Error></Errors>"
        return 401, "text/xml;charset=UTF-8", f"<Response>{inner}<RequestID>local</RequestID></Response>".encode()
    code = _QUERY_CODES[problem.kind]
    inner = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(problem.message)}</Message></Error>"
    return 403, "text/xml", f"<ErrorResponse>{inner}<RequestId>local</RequestId></ErrorResponse>".encode()
