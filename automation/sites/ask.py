"""One question to a deployment, as a user asks: with key, TLS, the right route and model name; the tokens come as they arrive.

Left out: measuring. One first token is an impression, `edge bench` compares sites.
"""

import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from automation.errors import EdgeError
from automation.sites.endpoints import api_key, port_of, trust
from automation.sites.way import Way, city_of_site, find_way
from components import PROJECT
from components.engines import SERVED_MODEL_NAME

if TYPE_CHECKING:
    from automation.sites.deployed_sites import DeployedSites
    from ttft.connection import Client, Stream
    from ttft.dialects import Dialect
    from ttft.faults import Fault

_CONNECT_SECONDS, _FIRST_TOKEN_SECONDS, _STALL_SECONDS = 5.0, 60.0, 30.0
_OK, _UNPROCESSABLE = 200, 422
OnText = Callable[[str], None]


@dataclass(frozen=True)
class Question:
    """What is asked, and for whom."""

    text: str
    origin: str | None = None
    """City or address of the client; None is this machine."""
    zone: str | None = None
    """The site to ask, whatever the records say."""
    max_tokens: int = 128


@dataclass(frozen=True)
class Reply:
    """What came back."""

    way: Way
    city: str
    route: str
    text: str
    tokens: int
    first_token_ms: float
    """From before the connection is opened, by the kernel's time of arrival where it tells it."""
    total_ms: float
    simulated: bool
    """On the local cloud: the model, the network, and so every time."""

    def described(self) -> dict[str, Any]:
        """As `edge ask --json` prints it."""
        return {
            "zone": self.way.zone,
            "city": self.city,
            "address": self.way.address,
            "url": self.way.url,
            "chosen": self.way.chosen,
            "route": self.route,
            "text": self.text,
            "tokens": self.tokens,
            "first_token_ms": round(self.first_token_ms, 1),
            "total_ms": round(self.total_ms, 1),
            "simulated": self.simulated,
        }


def ask(environment: "DeployedSites", question: Question, on_text: OnText) -> Reply:
    """Asks, and tells the answer as it comes. EdgeError in words where no whole answer comes."""
    from ttft.connection import Access, Client, trusted
    from ttft.dialects import DIALECTS
    from ttft.measure import RequestFaultError

    outputs = environment.outputs()
    way = find_way(environment, outputs, question.origin, question.zone)
    config = environment.stack_config().values
    is_secure = way.url.startswith("https")
    access = Access(
        trust(config.get(f"{PROJECT}:tlsCertificate")) if is_secure else trusted(),
        _CONNECT_SECONDS,
        api_key(config.get),
    )
    client = Client(way.url, access, way.source_address, (way.address, port_of(environment, way.address, way.url)))
    dialect = DIALECTS["chat"]
    answer = StreamedAnswer(on_text)
    try:
        try:
            answer.read(client, dialect, question)
        except RequestFaultError as error:
            if error.fault.kind != "no_chat_template":
                raise
            # A base model: it only goes on with a text.
            dialect = DIALECTS["completions"]
            answer.read(client, dialect, question)
    except RequestFaultError as error:
        raise _in_words(environment, way, error.fault, client) from error
    finally:
        client.close()
    return Reply(
        way,
        city_of_site(outputs["sites"][way.zone]),
        dialect.route,
        "".join(answer.parts),
        len(answer.parts),
        answer.first_token_ms,
        answer.total_ms,
        environment.on_local_cloud,
    )


class StreamedAnswer:
    """One streamed answer: its parts, as they come, and when."""

    def __init__(self, on_text: OnText) -> None:
        self.parts: list[str] = []
        self.first_token_ms = self.total_ms = 0.0
        self._on_text, self._done = on_text, False

    def read(self, client: "Client", dialect: "Dialect", question: Question) -> None:
        """To its end. Raises ttft's RequestFaultError with the kind of what went wrong."""
        import requests
        import urllib3.exceptions

        from ttft.faults import Fault, broken, not_a_stream, refused
        from ttft.measure import RequestFaultError

        body = json.dumps(dialect.body(question.text, SERVED_MODEL_NAME, question.max_tokens)).encode()
        try:
            stream = client.stream(dialect.route, body, _FIRST_TOKEN_SECONDS)
            if stream.status != _OK:
                raise RequestFaultError(refused(stream.status, stream.text(), dialect.route))
            if fault := not_a_stream(stream.content_type, dialect.route):
                raise RequestFaultError(fault)
            self._follow(stream, dialect)
        except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            if self.parts:
                raise RequestFaultError(Fault("cut", str(error) or type(error).__name__, _OK)) from error
            raise RequestFaultError(broken(error, _FIRST_TOKEN_SECONDS)) from error
        if not self.parts:
            raise RequestFaultError(Fault("empty_stream", "it ended without a token", _OK))
        if not self._done:
            raise RequestFaultError(Fault("cut", "the server closed the connection", _OK))

    def _follow(self, stream: "Stream", dialect: "Dialect") -> None:
        from ttft.connection import TimedOut
        from ttft.dialects import NotThisDialectError
        from ttft.events import EventParser
        from ttft.faults import Fault
        from ttft.measure import RequestFaultError

        parser = EventParser()
        limit = stream.marks.written + _FIRST_TOKEN_SECONDS
        while not (stream.ended or self._done):
            stream.give_up_at(limit)
            try:
                for arrived, received in stream.read():
                    for event in parser.feed(stream.payload(received)):
                        self._take(event, dialect, (arrived - stream.marks.started) * 1000)
                    if not received and not stream.ended:
                        return
                    limit = arrived + _STALL_SECONDS if self.parts else limit
            except TimedOut as error:
                kind = "stalled" if self.parts else "first_token_timeout"
                raise RequestFaultError(Fault(kind, f"no token for {_STALL_SECONDS:g} s", _OK)) from error
            except (NotThisDialectError, ValueError) as error:
                raise RequestFaultError(Fault("wrong_dialect", str(error), _OK)) from error

    def _take(self, event: bytes, dialect: "Dialect", since_start_ms: float) -> None:
        from ttft.faults import within_stream
        from ttft.measure import RequestFaultError

        said = dialect.read(event)
        if said.error is not None:
            raise RequestFaultError(within_stream(said.error))
        self._done = self._done or said.done
        if said.token:
            self.first_token_ms = self.first_token_ms or since_start_ms
            self.total_ms = since_start_ms
            self.parts.append(_text(event))
            self._on_text(self.parts[-1])


def _text(event: bytes) -> str:
    """The text in an event that the dialect has called a token."""
    choice = json.loads(event)["choices"][0]
    delta = choice.get("delta") or {"content": choice.get("text")}
    return str(delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"))


def _in_words(environment: "DeployedSites", way: Way, fault: "Fault", client: "Client") -> EdgeError:
    """What went wrong at which site, and what to run."""
    site, arguments = f"the site in {way.zone}", environment.arguments
    up, logs = f"edge up {arguments}", f"edge logs {environment.name} {way.zone}{arguments.removeprefix(environment.name)}"
    status, said = f"edge status {arguments}", client.hide(fault.message)
    admitted = "" if environment.on_local_cloud else ", or access.clientCidrs does not hold this machine's address"
    silent = f"{site} does not answer at {way.address}: the host is off or unreachable{admitted}\n  -> {status}"
    known: dict[str, str] = {
        "dns": silent,
        "connect": silent,
        "connect_timeout": silent,
        "tls": f"{site} shows no certificate that is good for {way.url}: {said}\n  -> {up}   # shows the config's again",
        "unauthorized": f"{site} does not take the config's API key ({fault.status})\n  -> {up}   # brings it there",
        "wrong_dialect": f"{site} does not answer as a model server: {said.partition(';')[0]}\n  -> {status}",
        "overloaded": f"{site} takes no more requests now\n  -> {status}   # shows the load; then ask again",
        "first_token_timeout": f"{site} took the question, and no token came within {_FIRST_TOKEN_SECONDS:g} s\n  -> {logs}",
    }
    if fault.kind == "empty_stream":
        # TGI's chat route drops its errors (serving-facts).
        return EdgeError(
            f"{site} gave no token and no reason; question and --max-tokens may be more than server.maxTotalTokens\n"
            f"  -> ask for less: --max-tokens 20, or see {logs}"
        )
    if fault.kind in known:
        return EdgeError(known[fault.kind])
    if fault.status == _UNPROCESSABLE:
        return EdgeError(f"{site} refuses the question: {said}\n  -> ask for less: --max-tokens 20, or fewer words")
    if fault.kind == "http":
        return EdgeError(f"{site} does not take the question: {said}\n  -> {logs}")
    return EdgeError(f"{site} broke off its answer: {said}\n  -> {logs}")
