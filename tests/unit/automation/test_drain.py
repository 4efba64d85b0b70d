"""`edge drain`: what is refused, in which order it waits, and what it says where it cannot look."""

import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from automation.account.keys import new_certificate
from automation.environment import Changes, Environment
from automation.errors import DeploymentFailedError, EdgeError, UsageError
from automation.sites import drain
from automation.sites.resolution import Health, Record, Replica, Site

OREGON, LOS_ANGELES = "us-west-2a", "us-west-2-lax-1a"
IDLE = "tgi_queue_size 0\ntgi_batch_current_size 0\n"


class FakeRoutes:
    """Two sites and a record of each."""

    def __init__(self, drained: Sequence[str] = (), dead: Sequence[str] = (), url: str = "http://127.0.0.1:8080") -> None:
        self._url = url
        self.records = tuple(
            Record(f"{zone}.sites.llm.acme.dev", "weighted", "100", zone, None, ("127.0.0.1",), 60, "check")
            for zone in (OREGON, LOS_ANGELES)
        )
        self.sites = tuple(self._site(zone, zone in drained, zone not in dead) for zone in (OREGON, LOS_ANGELES))

    def _site(self, zone: str, drained: bool, healthy: bool) -> Site:
        replica = Replica("127.0.0.1", self._url, Health(healthy, 16 if healthy else 0, 16, None))
        return Site(zone, None, drained, (replica,))


class FakeEnvironment:
    """Remembers which sites were to be drained."""

    def __init__(self, routes: FakeRoutes, port: int = 1) -> None:
        self.arguments = "prod --local"
        self.config = {"edge-inference:apiKey": "the-key"}
        self.stored: list[list[str]] = []
        self.fails: DeploymentFailedError | None = None
        self._routes, self._port = routes, port

    def routes(self) -> FakeRoutes:
        return self._routes

    def route53_speed(self) -> float:
        return 1.0

    def reroute(self, drained: list[str], on_event: object) -> Changes:
        del on_event
        self.stored.append(drained)
        if self.fails:
            raise self.fails
        return Changes({"delete": 2}, 1.0)

    def store_drained(self, zones: list[str]) -> None:
        self.stored.append(zones)

    def config_value(self, key: str) -> str | None:
        return self.config.get(key)

    def port_of(self, address: str, port: int) -> int:
        assert (address, port) in {("127.0.0.1", 8080), ("127.0.0.1", 443)}
        return self._port


def take_out(environment: FakeEnvironment, zone: str) -> None:
    drain.take_out(environment, zone)  # pyright: ignore[reportArgumentType] - as much of an environment as it needs


def put_back(environment: FakeEnvironment, zone: str) -> None:
    drain.put_back(environment, zone)  # pyright: ignore[reportArgumentType]


def test_the_site_is_added_to_the_drained_ones_and_taken_from_them() -> None:
    environment = FakeEnvironment(FakeRoutes())
    take_out(environment, LOS_ANGELES)
    assert environment.stored == [[LOS_ANGELES]]
    environment = FakeEnvironment(FakeRoutes(drained=[LOS_ANGELES]))
    put_back(environment, LOS_ANGELES)
    assert environment.stored == [[]]


def test_a_drain_that_was_interrupted_goes_on() -> None:
    environment = FakeEnvironment(FakeRoutes(drained=[LOS_ANGELES]))
    take_out(environment, LOS_ANGELES)
    assert environment.stored == [[LOS_ANGELES]]


@pytest.mark.parametrize(
    ("routes", "zone", "error", "said"),
    [
        (FakeRoutes(), "us-west-2-den-1a", UsageError, r"no site in us-west-2-den-1a\n  -> its sites: us-west-2a, us-west-2-lax"),
        (FakeRoutes(drained=[OREGON]), LOS_ANGELES, EdgeError, "the last site that is not drained"),
        (FakeRoutes(dead=[OREGON]), LOS_ANGELES, EdgeError, r"no other site is healthy.*\n  -> edge routes prod --local"),
    ],
)
def test_what_would_leave_users_without_a_site_changes_nothing(
    routes: FakeRoutes, zone: str, error: type[EdgeError], said: str
) -> None:
    environment = FakeEnvironment(routes)
    with pytest.raises(error, match=said):
        take_out(environment, zone)
    assert not environment.stored


def test_who_is_not_drained_cannot_come_back() -> None:
    environment = FakeEnvironment(FakeRoutes(drained=[OREGON]))
    with pytest.raises(UsageError, match=r"not drained\n  -> drained are: us-west-2a"):
        put_back(environment, LOS_ANGELES)
    assert not environment.stored


def test_other_changes_of_the_config_come_first_and_it_is_as_it_was() -> None:
    environment = FakeEnvironment(FakeRoutes())
    environment.fails = DeploymentFailedError("up", ["depends on 'x' which was was not specified in --target list."])
    with pytest.raises(EdgeError, match=r"it is as it was\n  -> edge up prod --local, then this again"):
        take_out(environment, LOS_ANGELES)
    assert environment.stored == [[LOS_ANGELES], []]


def test_another_failure_of_the_engine_is_its_own() -> None:
    environment = FakeEnvironment(FakeRoutes())
    environment.fails = DeploymentFailedError("up", ["AccessDenied"])
    with pytest.raises(DeploymentFailedError, match="AccessDenied"):
        take_out(environment, LOS_ANGELES)
    assert environment.stored == [[LOS_ANGELES]]


class Metrics:
    """A server whose /metrics says one text after the other, the last one for ever; `asked` has the keys it was sent."""

    def __init__(self) -> None:
        self.texts: list[str] = [IDLE]
        self.asked: list[str | None] = []
        self.status = 200
        metrics = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                metrics.asked.append(self.headers["Authorization"])
                text = metrics.texts.pop(0) if len(metrics.texts) > 1 else metrics.texts[0]
                self.send_response(metrics.status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    made = Metrics()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def wait(metrics: Metrics) -> Callable[..., tuple[list[str], list[float]]]:
    """Waits for Los Angeles; what was said, and how long was slept each time."""

    def run(port: int | None = None) -> tuple[list[str], list[float]]:
        said: list[str] = []
        slept: list[float] = []
        environment = FakeEnvironment(FakeRoutes(drained=[LOS_ANGELES]), port or metrics.server.server_port)
        drain.wait_until_unused(environment, LOS_ANGELES, said.append, slept.append)  # pyright: ignore[reportArgumentType]
        return said, slept

    return run


def test_it_waits_for_the_ttl_and_then_until_nothing_runs(
    metrics: Metrics, wait: Callable[..., tuple[list[str], list[float]]]
) -> None:
    busy = "# TYPE tgi_queue_size gauge\ntgi_queue_size 2\ntgi_batch_current_size 3\ntgi_batch_current_max_tokens 99\n"
    vllm = 'vllm:num_requests_running{model_name="m"} 1.0\nvllm:num_requests_waiting{model_name="m"} 0.0\n'
    metrics.texts = [busy, IDLE, vllm, IDLE]
    said, slept = wait()
    assert slept[0] == 60
    assert len(slept) == 1 + 5, "busy, idle, busy, then idle three times in a row"
    assert ["still" in line for line in said] == [False, True, True, True, True]
    assert "127.0.0.1: 5 still to be answered" in said[1]
    assert set(metrics.asked) == {"Bearer the-key"}
    assert not any("the-key" in line for line in said)


@pytest.mark.parametrize("text", ["", "some_other_metric 1\n"])
def test_metrics_that_do_not_tell_are_not_taken_for_idle(
    text: str, metrics: Metrics, wait: Callable[..., tuple[list[str], list[float]]]
) -> None:
    metrics.texts = [text]
    said, slept = wait()
    assert slept == [60]
    assert "cannot be read from here (/metrics answers 200)" in said[-1]


def test_a_site_that_cannot_be_looked_at_is_said_to_be_so(wait: Callable[..., tuple[list[str], list[float]]]) -> None:
    said, slept = wait(port=1)
    assert slept == [60]
    assert "How busy 127.0.0.1 is cannot be read from here" in said[-1]


@pytest.mark.parametrize("name", ["us-west-2-lax-1a.sites.llm.acme.dev", "somebody.else.dev"])
def test_with_tls_it_asks_the_address_for_the_site_s_name_and_trusts_the_config_s_certificate(
    name: str, metrics: Metrics, tmp_path: Path
) -> None:
    certificate, key = new_certificate(["llm.acme.dev", "*.sites.llm.acme.dev"])
    (tmp_path / "both.pem").write_text(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    metrics.server.socket = context.wrap_socket(metrics.server.socket, server_side=True)
    environment = FakeEnvironment(FakeRoutes(url=f"https://{name}"), metrics.server.server_port)
    environment.config["edge-inference:tlsCertificate"] = certificate
    said: list[str] = []
    drain.wait_until_unused(environment, LOS_ANGELES, said.append, lambda _: None)  # pyright: ignore[reportArgumentType]
    assert ("cannot be read" in said[-1]) == (name == "somebody.else.dev"), said
    assert bool(metrics.asked) == (name != "somebody.else.dev"), "the key goes to the right site only"


def test_sites_that_a_tracked_file_drains_are_not_changed_behind_its_back(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.prod.yaml").write_text("config:\n  edge-inference:drained: [us-west-2a]\n")
    environment = Environment("prod", on_local_cloud=True, directory=tmp_path, stack_files=tmp_path)
    with pytest.raises(UsageError, match=r"Pulumi.prod.yaml lists drained sites itself[\s\S]*edge up prod --local"):
        environment.store_drained([])
