"""People of several cities who stream from a deployment on the local cloud, and what became of each of their questions.

They ask for the service's name as often as its records' TTL says, each question on a connection of its own, and try nothing
twice: what is lost is counted as lost. Left out: TLS and keys, which the demo's environment has not.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from automation.errors import EdgeError
from automation.sites.ask import Question, StreamedAnswer
from automation.sites.names import asked
from components.dns_plan import RECORD_TTL_SECONDS
from geography.cities import CITIES, local_network
from ttft.connection import Access, Client, trusted
from ttft.dialects import DIALECTS
from ttft.measure import RequestFaultError

if TYPE_CHECKING:
    from automation.environment import Environment

_QUESTION = "What is the edge?"
_CONNECT_SECONDS, _PAUSE_SECONDS, _JOIN_SECONDS = 5.0, 0.3, 30.0
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Outcome:
    """What became of one question."""

    city: str
    zone: str
    """Whose site was asked."""
    began: float
    """By the monotonic clock."""
    text: str
    first_token_ms: float
    failure: str = ""
    """Why no whole answer came; empty where one did."""


class Service:
    """A deployment as its users see it: a name, and the sites that may answer for it."""

    def __init__(self, environment: "Environment", speed: float) -> None:
        """`speed`: how many times faster than AWS's the clock of health checkers and resolvers goes."""
        outputs = environment.outputs()
        self.url: str = outputs["service_url"]
        self.ttl_seconds = RECORD_TTL_SECONDS / speed
        self._domain: str = outputs["routing"]["domain"]
        self._zones = {replica["address"]: zone for zone, site in outputs["sites"].items() for replica in site["replicas"]}
        self._dns_port = environment.dns_port() or 0
        self._access = Access(trusted(), _CONNECT_SECONDS)

    def address_for(self, source: str) -> str:
        """The address that the service's name has for somebody at an address. EdgeError where nobody answers."""
        told = asked(self._domain, (_LOOPBACK, self._dns_port), source)
        if not told:
            raise EdgeError(f"{self._domain} has no address for {source}\n  -> edge doctor local")
        return min(told)

    def address_of(self, zone: str) -> str:
        """The address of a site."""
        return next(address for address, each in self._zones.items() if each == zone)

    def ask(self, city: str, address: str, source: str, tokens: int) -> Outcome:
        """Asks the site at an address once, from somewhere in a city."""
        began, answer = time.monotonic(), StreamedAnswer(lambda _: None)
        client = Client(self.url, self._access, source, (address, None))
        failure = ""
        try:
            answer.read(client, DIALECTS["chat"], Question(_QUESTION, max_tokens=tokens))
        except RequestFaultError as error:
            failure = error.fault.kind
        finally:
            client.close()
        return Outcome(city, self._zones[address], began, "".join(answer.parts), answer.first_token_ms, failure)


def source_in(city: str, number: int = 0) -> str:
    """The address of somebody in a city."""
    return str(local_network(CITIES[city])[10 + number])


class People:
    """Several people in each city, who ask one question after the other until this ends."""

    def __init__(self, service: Service, cities: Sequence[str], each: int, tokens: int) -> None:
        self.outcomes: list[Outcome] = []
        self._service, self._tokens = service, tokens
        self._news, self._ended = threading.Condition(), threading.Event()
        self._threads = [
            threading.Thread(target=self._go_on, args=(city, source_in(city, number)), daemon=True)
            for city in cities
            for number in range(each)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)

    def since(self, moment: float, city: str | None = None) -> list[Outcome]:
        """What was asked since a moment, by everybody or in one city."""
        return [each for each in self.outcomes if each.began >= moment and city in {None, each.city}]

    def last(self, city: str, count: int) -> list[Outcome]:
        """What became of a city's newest questions; empty while there are fewer."""
        there = [each for each in self.outcomes if each.city == city]
        return there[-count:] if len(there) >= count else []

    def wait(self, what: str, is_so: Callable[[], bool], seconds: float) -> None:
        """Returns when it is so; EdgeError where it does not come to it in that time."""
        with self._news:
            if not self._news.wait_for(is_so, seconds):
                raise EdgeError(f"{what} did not happen within {seconds:g} s\n  -> edge status local   # shows why")

    def _go_on(self, city: str, source: str) -> None:
        address, until = "", 0.0
        while not self._ended.is_set():
            if time.monotonic() >= until:
                address = self._service.address_for(source)
                until = time.monotonic() + self._service.ttl_seconds
            outcome = self._service.ask(city, address, source, self._tokens)
            with self._news:
                self.outcomes.append(outcome)
                self._news.notify_all()
            self._ended.wait(_PAUSE_SECONDS)
