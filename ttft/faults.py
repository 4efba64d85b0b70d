"""Names what went wrong with a request: kinds for counting, words for a person.

Leaves out what the command does about it; a fault never becomes a sample.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ReadTimeoutError
from urllib3.exceptions import SSLError as Urllib3SSLError

from ttft.connection import TimedOut
from ttft.dialects import error_text
from ttft.samples import ErrorKind

_BODY_CHARACTERS = 300
_OK, _BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 400, 401, 403, 404
_METHOD_NOT_ALLOWED, _UNPROCESSABLE, _TOO_MANY, _UNAVAILABLE = 405, 422, 429, 503


@dataclass(frozen=True)
class Fault:
    """Why a request gave no sample."""

    kind: ErrorKind
    message: str
    status: int | None = None


def broken(error: BaseException, waited_seconds: float) -> Fault:
    """Of an exception of requests, urllib3, http.client or the socket before the first token came."""
    for cause in _causes(error):
        if isinstance(cause, NameResolutionError):
            return Fault("dns", f"{cause}; check the name, or your resolver")
        if isinstance(cause, (ssl.SSLError, Urllib3SSLError)):
            return Fault("tls", _tls_message(cause))
        if isinstance(cause, NewConnectionError):
            return Fault("connect", f"no connection: {_after_colon(cause)}")
        if isinstance(cause, ConnectTimeoutError):
            return Fault("connect_timeout", f"{_after_colon(cause)}; is the port open to this address?")
        if isinstance(cause, (ReadTimeoutError, TimedOut)):
            return Fault(
                "first_token_timeout", f"no headers within {waited_seconds:g} s: the server took the request and is silent"
            )
    return Fault("cut", f"the connection broke before an answer came: {error}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in an exception, outermost first: reason, arguments, cause, context."""
    queue, seen = [error], set[int]()
    while queue:
        cause = queue.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = (getattr(cause, "reason", None), *cause.args, cause.__cause__, cause.__context__)
        queue += [each for each in inner if isinstance(each, BaseException)]


def _tls_message(cause: BaseException) -> str:
    for inner in _causes(cause):
        if isinstance(inner, ssl.SSLCertVerificationError):
            return f"the certificate is refused: {inner.verify_message}"
        if isinstance(inner, ssl.SSLError) and "WRONG_VERSION_NUMBER" in str(inner):
            return "the server does not speak TLS on this port; does the URL start with http://?"
    return f"the TLS handshake failed: {cause}"


def _after_colon(error: BaseException) -> str:
    """Urllib3 puts the connection object in front of its words."""
    return str(error).rpartition("): ")[2]


def refused(status: int, body: str, route: str) -> Fault:
    """Of an answer whose status is not 200."""
    try:
        said = error_text(json.loads(body)) or body
    except ValueError:
        said = body
    said = said.strip()[:_BODY_CHARACTERS]
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return Fault("unauthorized", f"the server wants another API key ({status})", status)
    if status == _TOO_MANY or (status == _UNAVAILABLE and "overloaded" in said.lower()):
        return Fault("overloaded", f"the server takes no more requests now ({status}): {said}", status)
    if status in {_BAD_REQUEST, _UNPROCESSABLE} and "template" in said.lower():
        words = f"the model has no chat template ({status}: {said}); base models answer --dialect tgi or completions"
        return Fault("no_chat_template", words, status)
    if status == _METHOD_NOT_ALLOWED or (status == _NOT_FOUND and "model" not in said.lower()):
        return Fault("wrong_dialect", f"{route} is not there ({status}); try another --dialect", status)
    if status < _BAD_REQUEST:
        return Fault("wrong_dialect", f"{route} answers {status} instead of a stream; is this the server's own URL?", status)
    return Fault("http", f"status {status}: {said}", status)


def within_stream(said: str) -> Fault:
    """Of an error event inside an answer of status 200: TGI reports overload on a stream that way."""
    if "overloaded" in said.lower():
        return Fault("overloaded", f"the server takes no more requests now (within an answer of status 200): {said}", _OK)
    return Fault("stream_error", f"an error within an answer of status 200: {said}", _OK)


def not_a_stream(content_type: str, route: str) -> Fault | None:
    """Of an answer that is no event stream; None where it is one."""
    if content_type.partition(";")[0].strip().lower() == "text/event-stream":
        return None
    return Fault("wrong_dialect", f"{route} answers {content_type or 'no content type'}, not an event stream", _OK)
