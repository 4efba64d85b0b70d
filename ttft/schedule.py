"""A whole run: every target in every round, in random order with equal gaps, so that what drifts meets all of them alike.

Leaves out what the samples mean: statistics.py. Ctrl-C ends a run early and keeps what it has.
"""

from __future__ import annotations

import gc
import itertools
import json
import platform
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Union, cast  # noqa: UP035 - Python 3.9 evaluates Progress

from ttft import server_metrics
from ttft.connection import Access, Client, now, trusted
from ttft.dialects import DIALECTS, Dialect, DialectName
from ttft.identify import Server, identify
from ttft.measure import Order, Patience, measure, settle_splits
from ttft.prompts import Prompts, Tokenizer
from ttft.receiver import receiver
from ttft.samples import Connection, Failure, Run, Sample, Target

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

Result = Union[Sample, Failure]  # noqa: UP007 - Python 3.9 evaluates it
Progress = Callable[[Result], None]


@dataclass(frozen=True)
class Plan:
    """What to measure. Every field but `targets` has the value that a first look needs."""

    targets: tuple[Target, ...]
    dialect: DialectName | None = None
    """None: found out for each target."""
    model: str | None = None
    """The name to ask an OpenAI-compatible server for; None: the first that it lists."""
    rounds: int = 30
    connections: tuple[Connection, ...] = ("warm", "cold")
    prompt_tokens: tuple[int, ...] = (100,)
    output_tokens: int = 16
    gap_seconds: float = 0.2
    """Between the end of one turn and the begin of the next, the same for all."""
    concurrency: int = 1
    """Users of a target at a time, each with its own connection. In an open loop: how many there can be at most."""
    requests_per_turn: int = 1
    """Requests that each user makes in a turn, one after another; in an open loop, all users together."""
    rate_per_second: float | None = None
    """Open loop: requests arrive at random (Poisson) at this mean rate, whether or not earlier ones have been answered."""
    api_key: str | None = field(default=None, repr=False)
    verify: bool = True
    ca_file: str | None = None
    connect_timeout_seconds: float = 10.0
    first_token_timeout_seconds: float = 30.0
    stall_timeout_seconds: float = 10.0
    seed: int | None = None
    """Of the order and the prompts; None: drawn, and written into the set-up."""
    simulated_network: bool | None = None
    simulated_model: bool | None = None
    """What the caller knows; None: what the servers announce."""


CONVENTIONS = {
    "warm": "over a connection that is open already; from the first byte sent to the first real token",
    "cold": "over a connection of its own; from the begin of name resolution to the first real token",
    "first token": "the first non-special, non-empty token; a role, a comment or an error is none",
    "network": "all but generation: name, TCP, TLS, sending, and the way to the headers, the server's router included",
    "generation": "from the headers to the first token; where headers are held back, all but TCP's smallest round trip",
    "tls": "full handshakes, no resumption",
    "clock": "kernel: when packets came, by the system (Linux); with several users, packets of one stream that come within about "
    "2 ms may share the later one's time. user space: when this program had read them",
}


@dataclass
class _Site:
    """A target with all that it takes to measure it."""

    target: Target
    users: list[Client]
    dialect: Dialect
    server: Server
    prompts: Prompts
    metrics_before: dict[str, float] = field(default_factory=dict[str, float])
    cpu_seconds: float = 0.0
    requests: int = 0


def run(plan: Plan, on_progress: Progress | None = None) -> Run:
    """Measure. Every sample and failure goes to `on_progress`, from the calling thread, between requests.

    Targets that do not answer give failures, never an exception. Ctrl-C returns what was measured, with
    `setup["interrupted"]`; splits are settled by target only at the end.
    """
    return _Running(plan, on_progress or (lambda _result: None)).run()


class _Running:
    def __init__(self, plan: Plan, on_progress: Progress) -> None:
        self._seed = plan.seed if plan.seed is not None else random.SystemRandom().randrange(2**32)
        self._random = random.Random(self._seed)  # noqa: S311 - no secret
        self._plan, self._on_progress = plan, on_progress
        self._patience = Patience(plan.first_token_timeout_seconds, plan.stall_timeout_seconds)
        self._pool = ThreadPoolExecutor(plan.concurrency, thread_name_prefix="user")
        self._lock = threading.Lock()
        self._stopped = False
        self._sites: list[_Site] = []
        self._clients: list[Client] = []
        self._prompts: dict[tuple[str, DialectName], Prompts] = {}
        self._run = Run(setup=_setup(plan, self._seed), targets=list(plan.targets))
        self._origin = now()

    def run(self) -> Run:
        try:
            self._measure_all()
        except KeyboardInterrupt:
            self._run.setup["interrupted"] = True
        finally:
            self._stopped = True
            for client in self._clients:
                client.abort()
            self._pool.shutdown()
        return self._finished()

    def _measure_all(self) -> None:
        access = Access(
            trusted(ca_file=Path(self._plan.ca_file) if self._plan.ca_file else None, verify=self._plan.verify),
            self._plan.connect_timeout_seconds,
            self._plan.api_key,
        )
        for target in self._plan.targets:
            self._sites.append(self._prepared(target, access))
        self._origin = now()
        with _quiet():
            for number in range(self._plan.rounds):
                self._round(number)

    def _round(self, number: int) -> None:
        """All targets at each kind of connection and length, one after another: what is compared stands close together."""
        blocks = list(itertools.product(self._plan.connections, self._plan.prompt_tokens))
        for connection, length in self._random.sample(blocks, len(blocks)):
            for site in self._random.sample(self._sites, len(self._sites)):
                begin = now()
                orders = [self._order(site, connection, number, length) for _ in range(self._requests_per_turn())]
                time.sleep(max(0.0, self._plan.gap_seconds - (now() - begin)))
                self._turn(site, orders)
                gc.collect(0)

    def _requests_per_turn(self) -> int:
        users = 1 if self._plan.rate_per_second else self._plan.concurrency
        return self._plan.requests_per_turn * users

    def _order(self, site: _Site, connection: Connection, number: int, length: int) -> Order:
        prompt = site.prompts.make(length)
        body = site.dialect.body(prompt, site.server.model or "", self._plan.output_tokens)
        return Order(
            site.target.name,
            connection,
            number,
            length,
            json.dumps(body).encode(),
            is_network_simulated=self._plan.simulated_network is True,
        )

    def _turn(self, site: _Site, orders: Sequence[Order], *, recorded: bool = True) -> list[Result]:
        """Let the users of a site work off orders, and give the results; in an open loop each order waits for its time."""
        if recorded and self._plan.rate_per_second:
            orders = self._timed(orders, self._plan.rate_per_second)
        results: list[Result] = []
        queue = iter(orders)
        receiving_seconds = receiver().cpu_seconds
        futures = [self._pool.submit(self._user, user, site, queue, results) for user in site.users]
        try:
            for future in futures:
                future.result()
        finally:  # also when interrupted: what is measured is measured
            site.cpu_seconds += receiver().cpu_seconds - receiving_seconds
            if recorded:
                self._keep(site, list(results))
        return results

    def _timed(self, orders: Sequence[Order], rate_per_second: float) -> list[Order]:
        intended = now()
        timed: list[Order] = []
        for order in orders:
            intended += self._random.expovariate(rate_per_second)
            timed.append(replace(order, intended=intended))
        return timed

    def _user(self, client: Client, site: _Site, queue: Iterator[Order], results: list[Result]) -> None:
        """One user: the next order, and the next, until there is none. Runs in a thread of its own."""
        while not self._stopped:
            with self._lock:
                order = next(queue, None)
            if order is None:
                return
            if order.intended is not None:
                time.sleep(max(0.0, order.intended - now()))
            begin = time.thread_time()
            result = measure(client, site.dialect, order, self._patience, self._origin)
            with self._lock:
                site.cpu_seconds += time.thread_time() - begin
            if not self._stopped:
                results.append(result)

    def _keep(self, site: _Site, results: Sequence[Result]) -> None:
        site.requests += len(results)
        for result in results:
            if isinstance(result, Sample):
                self._run.samples.append(result)
            else:
                self._run.failures.append(result)
            self._on_progress(result)

    def _prepared(self, target: Target, access: Access) -> _Site:
        """Find out what answers, learn its tokens, and send one unrecorded request from each user: the primer."""
        dial = (target.connect_address, target.connect_port)
        users = [Client(target.url, access, target.source_address, dial) for _ in range(self._plan.concurrency)]
        self._clients += users
        server = identify(users[0])
        server = replace(server, model=self._plan.model or server.model)
        names: tuple[DialectName, ...] = ("tgi",) if server.engine == "tgi" else ("completions", "chat", "tgi")
        if self._plan.dialect:
            names = (self._plan.dialect,)
        sites = [self._site(target, users, server, name) for name in names]
        site = next((site for site in sites if self._primed(site)), sites[0])
        site.metrics_before = server_metrics.look(users[0])
        self._describe(site)
        return site

    def _site(self, target: Target, users: list[Client], server: Server, name: DialectName) -> _Site:
        return _Site(target, users, DIALECTS[name], server, self._prompts_for(target, users[0], name, server))

    def _primed(self, site: _Site) -> bool:
        """Whether the site speaks the dialect; one user finds out before the others follow."""
        primers = [self._order(site, "warm", -1, self._plan.prompt_tokens[0]) for _ in site.users]
        (first,) = self._turn(site, primers[:1], recorded=False)
        if isinstance(first, Failure):
            return first.kind not in {"wrong_dialect", "no_chat_template"}
        site.users = [*site.users[1:], site.users[0]]
        self._turn(site, primers[1:], recorded=False)
        return True

    def _prompts_for(self, target: Target, client: Client, dialect: DialectName, server: Server) -> Prompts:
        """One source of prompts for all targets at a URL, since they may share a prefix cache."""
        key = (target.url, dialect)
        if key not in self._prompts:
            tokenizer = Tokenizer(client, dialect, server.model or "")
            self._prompts[key] = Prompts(tokenizer, self._seed + len(self._prompts))
        return self._prompts[key]

    def _describe(self, site: _Site) -> None:
        name = site.target.name
        setup = cast("dict[str, Any]", self._run.setup)
        setup["servers"][name] = asdict(site.server)
        setup["dialect"][name] = site.dialect.name
        setup["clock"][name] = site.users[0].clock
        setup["prompts"][name] = site.prompts.how()
        if self._plan.simulated_model is None:
            setup["simulated"]["model"] |= site.server.simulated

    def _finished(self) -> Run:
        for site in self._sites:
            if site.requests:
                self._run.cpu_ms_per_request[site.target.name] = site.cpu_seconds * 1000 / site.requests
            after = server_metrics.look(site.users[0])
            seen = server_metrics.view(site.target.name, site.metrics_before, after)
            self._run.server_views += [seen] if seen else []
        for client in self._clients:
            client.close()
        self._run.samples = settle_splits(self._run.samples)
        return self._run


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """No garbage collection while the clock runs; what exists is set apart, so that collecting in the gaps is short."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _setup(plan: Plan, seed: int) -> dict[str, Any]:
    closed = f"closed loop, {plan.concurrency} user{'s' * (plan.concurrency > 1)} of one target at a time"
    opened = f"open loop, {plan.rate_per_second} requests per second (Poisson), charged from their intended time"
    return {
        "started": datetime.now(tz=timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 - Python 3.9
        "rounds": plan.rounds,
        "connections": list(plan.connections),
        "prompt_tokens": list(plan.prompt_tokens),
        "output_tokens": plan.output_tokens,
        "load": opened if plan.rate_per_second else closed,
        "requests_per_turn": plan.requests_per_turn,
        "gap_seconds": plan.gap_seconds,
        "seed": seed,
        "timeouts": {
            "connect_seconds": plan.connect_timeout_seconds,
            "first_token_seconds": plan.first_token_timeout_seconds,
            "stall_seconds": plan.stall_timeout_seconds,
        },
        "certificates": "not verified" if not plan.verify else "verified",
        "prompts": {},
        "versions": {
            "python": platform.python_version(),
            "requests": version("requests"),
            "urllib3": version("urllib3"),
            "system": f"{platform.system()} {platform.release()}",
        },
        "dialect": {},
        "clock": {},
        "servers": {},
        "simulated": {"network": bool(plan.simulated_network), "model": bool(plan.simulated_model)},
        "conventions": CONVENTIONS,
        "interrupted": False,
        "notes": [],
    }
