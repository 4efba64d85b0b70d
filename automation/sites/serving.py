"""The one question that tells whether a replica serves: health and one real token through its public address, as clients ask.

With the API key and under the TLS name that clients use. Where `access.clientCidrs` keeps this machine out, the same is asked on
the host over SSH, and the answer says so. Left out: load, and mending.
"""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from time import monotonic, sleep
from typing import Any, Literal
from urllib.parse import urlsplit

import urllib3

from automation.errors import EdgeError
from automation.sites.endpoints import Ports, api_key, connections
from automation.sites.hosts import Host, run, ssh
from automation.sites.own_address import own_address
from components.engines import Engine, Server, server_process
from components.settings import PROJECT, StackConfig, validate

CONNECT_SECONDS, HEALTH_SECONDS, TOKEN_SECONDS = 5.0, 10.0, 60.0
"""A server answers nothing while it reads a long prompt, and a token waits for those who came before."""
_PAUSE_SECONDS = 1.0
_AT_ONCE = 16
_PROMPT: dict[str, object] = {"model": "tgi", "prompt": "Hello", "max_tokens": 1}
"""As remote/probe.py asks."""
_OK, _UNAUTHORIZED = 200, 401
_HOME = '"${EDGE_HOST_ROOT:-}/opt/edge-inference"'
_ON_HOST = """
set -u; PATH="$PATH:/usr/local/bin"; IFS= read -r key
address=$(docker port "$1" "$2/tcp" 2>/dev/null | head -n 1)
address=${address:-127.0.0.1:$2}
ask() {
  printf 'Authorization: Bearer %s\\n' "$key" | curl --silent --output /dev/null --write-out '%{http_code}\\n' --header @- \\
    --cacert {home}/proxy/certificate.pem --connect-to "::$address" "$@"
}
ask --max-time "$4" "$3/health"
ask --max-time "$5" --header 'Content-Type: application/json' --data "$6" "$3/v1/completions"
exit 0
""".replace("{home}", _HOME)
"""Arguments: container, its port, URL, seconds for health and for a token, the prompt. The key comes on standard input.

Docker names no port of a container on the host's network, as the proxy is. It ends well also where nothing answers curl: the
codes tell that, and a host that takes no commands is something else.
"""


@dataclass(frozen=True)
class Replica:
    """One replica, as the outputs tell of it."""

    zone: str
    number: int
    address: str | None
    url: str | None

    @property
    def key(self) -> str:
        """Names it within the environment: `us-west-2-lax-1a-1`."""
        return f"{self.zone}-{self.number}"


@dataclass(frozen=True)
class Answer:
    """What came of asking a replica."""

    state: Literal["serves", "slow", "refused", "dead"]
    """`slow`: it took the question, and gave no answer in time. `refused`: it has another key or certificate than the config."""
    finding: str
    """In words; a cause where it does not serve."""
    on_host: bool = False
    """Asked on the host, since this machine may not call it."""
    reached: bool = True
    """Whether anything answered at all: else it is unhealthy rather than unreachable."""

    @property
    def serves(self) -> bool:
        """Whether it generated a token."""
        return self.state == "serves"


def replicas(outputs: Mapping[str, Any]) -> Iterator[Replica]:
    """Every replica in a stack's outputs."""
    for zone, site in outputs.get("sites", {}).items():
        for number, each in enumerate(site["replicas"], 1):
            yield Replica(zone, number, each["address"], each["url"])


class Asker:
    """Asks the replicas of a stack, by its config; made once for any number of questions."""

    def __init__(self, ports: Ports, config: StackConfig) -> None:
        self._ports, self._config = ports, config
        self._key = api_key(config.values.get) or ""
        self._certificate = config.values.get(f"{PROJECT}:tlsCertificate")
        self._is_admitted = cache(self._judge_admission)

    def ask_all(
        self, asked: Iterable[Replica], *, token_seconds: float = TOKEN_SECONDS, patience: Mapping[str, float] | None = None
    ) -> dict[str, Answer]:
        """The answers by replica, all asked at once. `patience`: for how many seconds one that is dead is asked again."""
        waits = patience or {}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = {
                each.key: pool.submit(self.ask_patiently, each, waits.get(each.key, 0.0), token_seconds=token_seconds)
                for each in asked
            }
            return {key: answer.result() for key, answer in answers.items()}

    def ask(self, replica: Replica, *, token_seconds: float = TOKEN_SECONDS) -> Answer:
        """One replica."""
        if not replica.address or not replica.url:
            return Answer("dead", "it has no address yet", reached=False)
        try:
            return self._through_the_front(replica.address, replica.url, token_seconds)
        except urllib3.exceptions.ReadTimeoutError:
            return Answer("slow", f"{replica.url} took the question and gave no answer in time")
        except urllib3.exceptions.SSLError as error:
            return Answer("refused", f"{replica.url} does not show the config's certificate ({_words(error)})")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            silence = f"{replica.url} at {replica.address} does not answer ({_words(error)})"
            if self._is_admitted():
                return Answer("dead", silence, reached=False)
            return self._on_the_host(replica, replica.url, token_seconds, silence)

    def ask_patiently(self, replica: Replica, patience_seconds: float, *, token_seconds: float = TOKEN_SECONDS) -> Answer:
        """One replica, again and again until it serves or the time is over."""
        deadline = monotonic() + patience_seconds
        while not (answer := self.ask(replica, token_seconds=token_seconds)).serves and monotonic() < deadline:
            sleep(_PAUSE_SECONDS)
        return answer

    def _through_the_front(self, address: str, url: str, token_seconds: float) -> Answer:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        with connections(self._ports, address, url, self._certificate) as pool:
            health = pool.request("GET", "/health", timeout=_timeout(HEALTH_SECONDS), retries=False).status
            if health != _OK:
                return _judged(health, None)
            answer = pool.request(
                "POST", "/v1/completions", json=_PROMPT, headers=headers, timeout=_timeout(token_seconds), retries=False
            )
        return _judged(health, answer.status)

    def _on_the_host(self, replica: Replica, url: str, token_seconds: float, silence: str) -> Answer:
        host = Host(replica.zone, replica.number, address=replica.address)
        words = [*self._container(url), url, f"{HEALTH_SECONDS:.0f}", f"{token_seconds:.0f}", json.dumps(_PROMPT)]
        script = f"sudo bash -c {shlex.quote(_ON_HOST)} ask {' '.join(map(shlex.quote, words))}"
        try:
            with ssh(self._ports, host, self._config) as command:
                said = run(command, script, seconds=CONNECT_SECONDS + HEALTH_SECONDS + token_seconds, sent=f"{self._key}\n")
        except EdgeError:
            said = None
        codes = [int(word) for word in (said or "").split() if word.isdigit()]
        if len(codes) != 2:  # noqa: PLR2004 - health and token
            return Answer("dead", f"{silence}, and its host does not answer over SSH", reached=False)
        return _judged(*codes, on_host=True)

    def _container(self, url: str) -> tuple[str, str]:
        """The container that is in front on a host, and its port."""
        server = validate(self._config).server
        if self._key or url.startswith("https") or server is None:
            return "edge-inference-proxy", str(urlsplit(url).port or 443)
        return "edge-inference-server", str(server_process(Server(Engine(server.engine))).container_port)

    def _judge_admission(self) -> bool | None:
        """Whether this machine may call the endpoints, by `access.clientCidrs`; None where its own address is unknown."""
        access = validate(self._config).access
        address = IPv4Address("127.0.0.1") if self._ports.on_local_cloud else own_address()
        if access is None or address is None:
            return None
        return any(address in IPv4Network(cidr) for cidr in access.client_cidrs)


def _judged(health: int, token: int | None = None, *, on_host: bool = False) -> Answer:
    """An answer by status codes; 0 is curl's for none."""
    where = ", asked on the host: this machine may not call it" if on_host else ""
    if health == _OK and token == _OK:
        return Answer("serves", f"healthy, and it generates{where}", on_host)
    if health == _OK:
        if token == _UNAUTHORIZED:
            return Answer("refused", f"it does not take the config's apiKey (401){where}", on_host)
        finding = f"/health answers 200, and /v1/completions {f'answers {token}' if token else 'gives no token in time'}"
        return Answer("dead" if token else "slow", finding + where, on_host)
    finding = f"/health answers {health}" if health else "nothing answers"
    return Answer("dead", finding + where, on_host, reached=bool(health))


def _timeout(seconds: float) -> urllib3.Timeout:
    return urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds)


def _words(error: Exception) -> str:
    """The system's words without the library's wrapping."""
    cause = getattr(error, "reason", None) or error.__cause__ or error
    return str(cause).rpartition(": ")[2][:200] or type(error).__name__
