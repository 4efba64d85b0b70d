"""The story of `make demo`: three sites, three cities, a site that dies, a new model; all simulated, on this machine.

It ends with what Pulumi.local.yaml says, deployed and running. The old model stands in a copy of that file, below .localcloud/.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console

from automation.account.prices import hourly_price
from automation.commands.live_table import LiveTable
from automation.demo.lines import SiteLines
from automation.demo.people import People, Service, source_in
from automation.engine.local import start_cloud
from automation.engine.stack_file import read
from automation.engine.stack_yaml import as_json
from automation.environment import Environment
from automation.errors import EdgeError
from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT, stack_file
from automation.sites.bench import Clients, bench, bench_plan
from automation.sites.hosts import find_host, run, ssh
from components import PROJECT
from components.engines import Server
from ttft.report import write_report
from ttft.schedule import Plan
from ttft.summary import summarize

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from automation.engine.events import OnEvent
    from automation.engine.results import Changes
    from ttft.results import Difference

    Shown = Callable[[Environment], AbstractContextManager[OnEvent]]

HOMES = {"Portland": "us-west-2a", "Los Angeles": "us-west-2-lax-1a", "Honolulu": "us-west-2-hnl-1a"}
"""The cities where people ask, and the site that is nearest to each."""
SITES = {"us-west-2a": "Oregon", "us-west-2-lax-1a": "Los Angeles", "us-west-2-hnl-1a": "Honolulu"}
"""What each site is called."""
_REGION, _DYING = "us-west-2a", "Honolulu"
_OLD_MODEL, _NEW_MODEL = "meta-llama/Llama-3.2-1B-Instruct", Server.model
_SPEED = 20
"""How many times faster than AWS's the clock of health checkers and resolvers goes meanwhile."""
_PEOPLE_PER_CITY, _TOKENS, _LOOKS = 2, 16, 3
_PATIENCE_SECONDS = 120.0
_PLAN = Plan(targets=(), rounds=12, connections=("warm",), output_tokens=2, gap_seconds=0.02)
"""A short measurement: enough rounds for an interval, few tokens."""
_SIMULATED = f"""\
Everything here runs on this machine, without an account. Simulated: AWS, the
model and its speed, distances, and the clock of health checks and DNS, which
goes {_SPEED} times faster than AWS's. Real: the Pulumi engine, the program, SSH,
the scripts on the hosts, HTTP and DNS. So no time below is a promise.
"""


def main(shown: "Shown | None" = None) -> None:
    """Tells the story; ends with an error where something of it does not happen. `shown` shows a run's events."""
    begun = time.monotonic()
    _say(_SIMULATED)
    try:
        cloud = start_cloud(LOCAL_DIRECTORY, _say)
        cloud.request("PUT", "health-checkers", {"speed": _SPEED})
        try:
            _tell(shown or _shown)
        finally:
            cloud.request("PUT", "health-checkers", {"speed": 1})
    except EdgeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    _say(_how_to_go_on(time.monotonic() - begun))


def _tell(shown: "Shown") -> None:
    """The five parts of it. EdgeError where one does not come out."""
    environment = Environment("local")
    _say("1  Deploy three sites: one in a parent Region, two in Local Zones.")
    old = Environment("local", stack_files=_with_old_model(LOCAL_DIRECTORY / "demo"), say=_say)
    changes = _deploy(old, shown, all_at_once=True)
    price = hourly_price((zone, site["instance_type"]) for zone, site in changes.outputs["sites"].items())
    _say(f"   The same on AWS: {price}.")
    service = Service(environment, _SPEED)
    _three_cities(service)
    _site_dies(environment, service)
    _new_model(environment, service, shown)
    _measure(environment, LOCAL_DIRECTORY / "reports" / "demo.html")


def _deploy(environment: Environment, shown: "Shown", *, all_at_once: bool = False) -> "Changes":
    """Brings an environment up, and shows it: a live table on a terminal, else a line for each site."""
    with shown(environment) as on_event:
        changes = environment.up(on_event, all_at_once=all_at_once)
    _say(f"   {changes.seconds:3.0f} s  {changes.changed} resources changed")
    return changes


@contextmanager
def _shown(environment: Environment) -> "Generator[OnEvent]":
    is_terminal = sys.stdout.isatty()
    replicas = environment.planned_replicas()
    with LiveTable(Console(highlight=False), replicas) if is_terminal else SiteLines(_say, SITES) as shown:
        yield shown.on_event


def _three_cities(service: Service) -> None:
    """Each city by the service's name, beside the same question to the parent Region's site."""
    _say(f"\n2  Three cities ask {service.url} by its name.")
    _say("   asks from      is answered by   first token   from Oregon")
    answer = ""
    for city in HOMES:
        source = source_in(city)
        address = service.address_for(source)
        near = [service.ask(city, address, source, _TOKENS) for _ in range(_LOOKS)]
        far = [service.ask(city, service.address_of(_REGION), source, _TOKENS) for _ in range(_LOOKS)]
        if lost := next((each.failure for each in (*near, *far) if each.failure), None):
            raise EdgeError(f"{city} got no whole answer ({lost})\n  -> edge status local")
        times = (median(each.first_token_ms for each in asked) for asked in (near, far))
        _say("   {:<14} {:<16} {:>8.0f} ms {:>10.0f} ms".format(city, SITES[near[0].zone], *times))
        answer = near[0].text.strip()[:48]
    _say(f'   What came: "{answer} ..."')


def _site_dies(environment: Environment, service: Service) -> None:
    """A site's server is stopped while people stream, and started again."""
    zone = HOMES[_DYING]
    count = _PEOPLE_PER_CITY * len(HOMES)
    _say(f"\n3  {_DYING}'s site dies while {count} people stream. They try nothing twice.")
    with People(service, tuple(HOMES), _PEOPLE_PER_CITY, _TOKENS) as people:
        _warm_up(people)
        begun = time.monotonic()
        _on_host(environment, zone, "sudo docker stop --time 0 edge-inference-server")
        _say(f"     0 s  the server in {zone} is stopped")
        people.wait("an answer from elsewhere", lambda: _are_served(people, _DYING, begun, is_home=False), _PATIENCE_SECONDS)
        moved = time.monotonic()
        lost = [each for each in people.since(0, _DYING) if each.failure]
        newest = people.last(_DYING, 1)[0]
        _say(f"   {moved - begun:3.0f} s  {SITES[newest.zone]} answers {_DYING}, first token {newest.first_token_ms:.0f} ms")
        _say(f"          {len(lost)} questions were lost: cut off, or asked while DNS still led there")
        _on_host(environment, zone, "sudo docker start edge-inference-server")
        people.wait("the return to the site", lambda: _are_served(people, _DYING, moved, is_home=True), _PATIENCE_SECONDS)
        back = time.monotonic()
        _say(f"   {back - begun:3.0f} s  it serves again, and {_DYING} is back")
    others = [each for each in people.since(begun) if each.city != _DYING]
    _say(f"   The other cities got {len(others)} answers meanwhile, {sum(bool(each.failure) for each in others)} lost.")
    _say("   On AWS: up to 90 s by this config. A client that then asks another site")
    _say("   by its own name loses none (docs/how-to/send-requests.md).")


def _new_model(environment: Environment, service: Service, shown: "Shown") -> None:
    """Another model everywhere, one site after another, while people stream."""
    old, new = (model.rpartition("/")[2] for model in (_OLD_MODEL, _NEW_MODEL))
    _say(f"\n4  A new model while they stream: {old} to")
    _say(f"   {new}, each site drained first.")
    with People(service, tuple(HOMES), _PEOPLE_PER_CITY, _TOKENS) as people:
        _warm_up(people)
        begun = time.monotonic()
        _deploy(environment, shown)
    asked = people.since(begun)
    lost = [each for each in asked if each.failure]
    away = sum(each.zone != HOMES[each.city] for each in asked)
    _say(f"   {len(asked)} answers meanwhile: {len(asked) - len(lost)} whole, {len(lost)} lost; {away} by another city's site.")


def _measure(environment: Environment, report: Path) -> None:
    """Every site from every city, in one table and on a page."""
    _say("\n5  How much sooner: every site from every city, side by side.")
    run_ = bench(bench_plan(environment, _PLAN, Clients()), Clients(), say=_say)
    summary = summarize(run_)
    for city in HOMES:
        _say(f"   {city:<14} {_sooner([each for each in summary.differences if each.city == city])}")
    report.parent.mkdir(parents=True, exist_ok=True)
    write_report(summary, run_, report)
    _say(f"   The page: {report.as_uri()}")


def _sooner(differences: "list[Difference]") -> str:
    """Which site answers a city first, and by how much before the next; nothing is claimed without an interval."""
    shown = [each for each in differences if each.sooner]
    firsts = Counter(each.a_site if each.sooner == "a" else each.b_site for each in shown)
    if not firsts or firsts.most_common(1)[0][1] < len(SITES) - 1:
        return "no site is shown to be sooner than both others"
    first = firsts.most_common(1)[0][0]
    closest = min((each for each in shown if first in {each.a_site, each.b_site}), key=lambda each: abs(each.median_ms))
    other = closest.b_site if closest.sooner == "a" else closest.a_site
    low, high = sorted((abs(closest.low_ms or 0), abs(closest.high_ms or 0)))
    return f"{first} is {abs(closest.median_ms):.0f} ms sooner than {other} (95 %: {low:.0f} to {high:.0f})"


def _with_old_model(folder: Path) -> Path:
    """A folder with this environment's stack file in which the old model is served."""
    config = read(stack_file("local", PROJECT_ROOT)).config
    server = f"{PROJECT}:server"
    folder.mkdir(exist_ok=True)
    old = {**config, server: {**config.get(server, {}), "model": _OLD_MODEL}}
    stack_file("local", folder).write_text(as_json({"config": old}), encoding="utf-8")
    return folder


def _on_host(environment: Environment, zone: str, command: str) -> None:
    with ssh(environment, find_host(environment, zone), environment.stack_config()) as words:
        if not run(words, command, seconds=_PATIENCE_SECONDS):
            raise EdgeError(f"`{command}` failed in {zone}\n  -> edge logs local {zone}")


def _warm_up(people: People) -> None:
    """Waits until everybody has had an answer."""
    people.wait("the first answers", lambda: all(people.last(city, _PEOPLE_PER_CITY) for city in HOMES), _PATIENCE_SECONDS)


def _are_served(people: People, city: str, since: float, *, is_home: bool) -> bool:
    """Whether the newest answers of a city's people all came, whole, and from the site that is theirs, or from another."""
    newest = people.last(city, _PEOPLE_PER_CITY)
    return bool(newest) and all(
        each.began >= since and not each.failure and (each.zone == HOMES[city]) is is_home for each in newest
    )


def _how_to_go_on(seconds: float) -> str:
    return f"""
Done in {seconds:.0f} s. The three sites go on running, by AWS's own clock. Next:
  .venv/bin/edge status local                       what runs, how busy
  .venv/bin/edge ask local --from Denver "Hello?"   as somebody there
  .venv/bin/edge place --countries US --ttft 150    where your sites should be
Stop: .venv/bin/edge cloud stop. Remove everything: make clean."""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
