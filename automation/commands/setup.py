"""`edge zones`, `init`, `keys`, `doctor`: where to serve, a new environment, its keys, and whether it could be deployed."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from automation.commands.options import EnvironmentName, JsonFlag, LocalFlag, open_environment
from automation.commands.terminal import say, show, show_json, wrapped
from automation.errors import UsageError
from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT, is_project

if TYPE_CHECKING:
    from automation.account.candidates import Candidate
    from automation.commands.initial import Draft
    from automation.sites.doctor import Examination
    from geography.cities import City

_T = TypeVar("_T")

_COLUMNS = 80
_ORDER = ("failed", "warning", "unknown", "ok")
"""Of what doctor tells: what is wrong first."""
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "unknown": "yellow"}

Near = Annotated[list[str] | None, typer.Option("--near", metavar="CITY", help="Where users are; may be repeated.")]


def zones(  # noqa: PLR0913, PLR0917 - each is an option of the command
    near: Near = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many to show.")] = 15,
    measure: Annotated[bool, typer.Option("--measure", help="Time TCP handshakes with AWS first.")] = False,  # noqa: FBT002
    via: Annotated[str | None, typer.Option(metavar="CITY=USER@HOST", help="Measure from there, over SSH.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Where measured round trips go.")] = None,
    measured: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Of --measure, or edge bench --json.")] = None,
    as_json: JsonFlag = False,  # noqa: FBT002
) -> None:
    """Rank the zones for a site by distance and price.

    Round trips are estimated unless measured; prices are of a table.

    Example: edge zones --near Honolulu --near "Los Angeles"
    """
    from automation.account.candidates import SOURCES, candidates, cities
    from automation.commands import measuring

    files = list(measured or [])
    where = list(near or [])
    if measure:
        city, output = measuring.measured(where, via, output)
        files, where = [*files, output], list(dict.fromkeys([*where, city]))
    elif via or output:
        raise UsageError("--via and --output belong to --measure\n  -> edge zones --near CITY --measure")
    near_cities = cities(where)
    trips, sources = measuring.round_trips(files, near_cities)
    found = candidates(near_cities, trips)
    if as_json:
        told = SOURCES | ({"measured_for": sources} if sources else {})
        show_json({"sources": told, "zones": [each.described() for each in found]})
        return
    for line in _ranking(found[:top]):
        show(line)
    for line in _sources(len(found) - top, len(found)):
        say(line)
    for line in sources:
        say(f"without ~: {line}")


def init(  # noqa: PLR0913, PLR0917 - an option for each question
    env: Annotated[str | None, typer.Argument(metavar="[ENV]", help="The new environment's name, such as tokyo.")] = None,
    zone: Annotated[list[str] | None, typer.Option("--zone", metavar="ZONE", help="A site's zone; may be repeated.")] = None,
    near: Near = None,
    domain: Annotated[str | None, typer.Option(metavar="NAME", help="The service's name.")] = None,
    hosted_zone: Annotated[str | None, typer.Option(metavar="NAME", help="The hosted zone that it lies in.")] = None,
    client_cidr: Annotated[list[str] | None, typer.Option(metavar="CIDR", help="Callers; may be repeated.")] = None,
    ssh_cidr: Annotated[list[str] | None, typer.Option(metavar="CIDR", help="Who deploys; may be repeated.")] = None,
    model: Annotated[str | None, typer.Option(metavar="ID", help="Model on the Hugging Face Hub.")] = None,
    hugging_face_token_env: Annotated[str | None, typer.Option(metavar="NAME", help="Variable that holds the token.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Only the file, to be rehearsed: no secrets.")] = False,  # noqa: FBT002
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,  # noqa: FBT002
) -> None:
    """Begin an environment: stack file, keys, secrets.

    Without ENV: a project in the current folder, with the environment local.

    Example: edge init tokyo --near Tokyo
    """
    from automation.commands import initial

    if env is None:
        if zone or near or domain or hosted_zone or client_cidr or ssh_cidr or model or hugging_face_token_env or local or yes:
            raise UsageError("which environment these options are for is not said\n  -> edge init NAME OPTIONS")
        _begin_project()
        return
    if not local:
        from automation.engine.led_shells import refuse_led_shell

        refuse_led_shell(env, LOCAL_DIRECTORY, os.environ)
    initial.refuse_existing(env, PROJECT_ROOT)
    draft = initial.Draft(
        env,
        initial.chosen_zones(zone, []) if zone else (),
        tuple(client_cidr or ()),
        tuple(ssh_cidr or ()),
        domain,
        hosted_zone,
        model or initial.DEFAULT_MODEL,
        initial.token_from(hugging_face_token_env),
        for_rehearsal=local,
    )
    initial.check_given(draft)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask on\n  -> add --yes, and an option for each answer: edge init --help")
        draft = _asked(draft, near or [], is_model_given=model is not None)
    path = initial.create(_completed(draft), PROJECT_ROOT, say)
    say(f"Wrote {path.name}" + ("" if local else ", and stored the new keys in its stack, encrypted") + ".")
    rehearsal = f"edge up {env} --local"
    say(f"  -> {rehearsal}   # rehearses it, on this machine")
    say(
        f"     edge doctor {env}{' --local' if local else ''}   # looks it over"
        + ("" if local else " on AWS; then: edge up " + env)
    )


def _begin_project() -> None:
    from automation.commands.project import begin

    here = Path.cwd()
    if is_project(PROJECT_ROOT) and PROJECT_ROOT in {here, *here.parents}:
        raise UsageError(f"{PROJECT_ROOT} is a project already\n  -> edge init NAME   # begins an environment in it")
    say(f"Wrote {', '.join(begin(here))}.")
    say("  -> edge up local   # deploys three sites on this machine, simulated")
    say("     edge init NAME   # begins an environment of your own")


def doctor(
    env: EnvironmentName,
    local: LocalFlag = False,  # noqa: FBT002
    as_json: JsonFlag = False,  # noqa: FBT002
    details: Annotated[bool, typer.Option("--details", help="Also what is well, in full.")] = False,  # noqa: FBT002
) -> None:
    """Say what keeps an environment from serving.

    Looks at tools, account, zones, quotas, names, model and addresses, and changes nothing.
    Exit code 1 where something fails; unknown is what nobody could tell.

    Example: edge doctor prod
    """
    from automation.sites.doctor import examine

    environment = open_environment(env, local=local)
    found = examine(environment)
    if as_json:
        show_json(found.described())
    else:
        for line in _examination(found, in_full=details):
            show(line)
        failed = len(found.failed)
        show(f"{failed} of {len(found.checks)} checks failed." if failed else f"Nothing failed, of {len(found.checks)} checks.")
    if found.failed:
        raise typer.Exit(1)


def keys(env: EnvironmentName) -> None:
    """Make and store an environment's keys.

    The deployer's SSH key and the host-key secret, encrypted in its stack.

    Example: edge keys prod
    """
    from automation.account.keys import new_deployer_key, new_host_key_secret

    environment = open_environment(env, local=False)
    wanted: dict[str, Callable[[], str]] = {
        "edge-inference:sshPrivateKey": new_deployer_key,
        "edge-inference:hostKeySecret": new_host_key_secret,
    }
    missing = {key: make() for key, make in wanted.items() if not environment.has_config(key)}
    if not missing:
        raise UsageError(
            f"'{env}' has both keys already, and new ones would replace its hosts\n"
            f"  -> edge rotate {env} ssh-key   # or host-keys: asks first, and replaces one host after another"
        )
    environment.store_secrets(missing)
    for key in missing:
        say(f"made and stored {key}")


def _asked(draft: "Draft", near: Sequence[str], *, is_model_given: bool) -> "Draft":
    """The draft with a person's answers to what it leaves open; what would be refused is asked again."""
    from automation.commands.initial import check, hosted_zone_of

    def answered(question: str, default: str, *paths: str, **values: Callable[[str], object]) -> "Draft":
        def take(answer: str) -> "Draft":
            taken = replace(draft, **{name: value(answer) for name, value in values.items()})
            check(taken, *paths)
            return taken

        return _ask_until(question, default, take)

    def cidrs(answer: str) -> tuple[str, ...]:
        words = _words_of(answer)
        if not words and not draft.for_rehearsal:
            raise UsageError("at least one is needed, written like 93.184.216.34/32")
        return words

    if not draft.zones:
        draft = replace(draft, zones=_asked_zones(near))
    given_zone = draft.hosted_zone
    if not draft.domain:
        draft = answered(
            "Name of the service (empty: sites are called by address)",
            "",
            "routing",
            domain=lambda name: name or None,
            hosted_zone=lambda name: (given_zone or hosted_zone_of(name) or None) if name else None,
        )
    if draft.domain and not given_zone:
        offered = hosted_zone_of(draft.domain)
        draft = answered("Public hosted zone that it lies in", offered, "routing", hosted_zone=lambda name: name or None)
    own = "" if draft.for_rehearsal or (draft.client_cidrs and draft.ssh_cidrs) else _own_cidr()
    if not draft.ssh_cidrs:
        question = "Address that deploys, as a CIDR (over SSH)"
        draft = answered(question, own, "access.sshCidrs", ssh_cidrs=cidrs)
    if not draft.client_cidrs:
        draft = answered("Who may call the endpoints, as CIDRs", own, "access.clientCidrs", client_cidrs=cidrs)
    if not is_model_given:
        draft = answered("Model on the Hugging Face Hub (OWNER/NAME)", draft.model, "server", model=str)
    if draft.hugging_face_token is None and not draft.for_rehearsal:
        question = "Hugging Face token, for a gated model (not shown; empty: none)"
        draft = answered(question, "", "huggingFaceToken", hugging_face_token=lambda token: token or None)
    return draft


def _words_of(answer: str) -> tuple[str, ...]:
    """Words, parted by blanks or commas."""
    return tuple(answer.replace(",", " ").split())


def _asked_zones(near: Sequence[str]) -> tuple[str, ...]:
    from automation.account.candidates import DEFAULT_TYPE, candidates, cities
    from automation.commands.initial import chosen_zones

    def named(answer: str) -> "list[City]":
        return cities([name.strip() for name in answer.split(",") if name.strip()])

    users = cities(near) if near else _ask_until("Cities where users are, with commas (empty: all)", "", named)
    found = [each for each in candidates(users) if each.may_sell(DEFAULT_TYPE)][:15]
    for line in _ranking(found, numbered=True):
        say(line)
    for line in _sources(0, 0):
        say(line)
    listed = [each.zone for each in found]
    return _ask_until(
        "Zones of the sites, by number or name, with blanks", "1", lambda answer: chosen_zones(_words_of(answer), listed)
    )


def _ask_until(question: str, default: str, take: "Callable[[str], _T]") -> "_T":
    """What is made of an answer; asked again as long as it is refused."""
    is_secret = "not shown" in question
    while True:
        answer = typer.prompt(question, default, show_default=bool(default), hide_input=is_secret, err=True)
        try:
            return take(str(answer).strip())
        except UsageError as error:
            say("\n".join(f"  {line}" for line in str(error).splitlines()))


def _own_cidr() -> str:
    from automation.sites.own_address import OWN_ADDRESS_URL, own_address

    say(f"Asking {OWN_ADDRESS_URL} for this machine's address.")
    address = own_address()
    return f"{address}/32" if address else ""


def _completed(draft: "Draft") -> "Draft":
    """The draft with what follows from the rest; UsageError that names every option that is still missing."""
    from automation.commands.initial import hosted_zone_of

    own = "" if draft.for_rehearsal or (draft.ssh_cidrs and draft.client_cidrs) else _own_cidr()
    default = (own,) if own else ()
    draft = replace(
        draft,
        ssh_cidrs=draft.ssh_cidrs or default,
        client_cidrs=draft.client_cidrs or default,
        hosted_zone=draft.hosted_zone or (hosted_zone_of(draft.domain) if draft.domain else None),
    )
    missing = {
        "--zone ZONE   # edge zones --near CITY": not draft.zones,
        "--ssh-cidr A.B.C.D/32   # the machine that deploys": not (draft.ssh_cidrs or draft.for_rehearsal),
        "--client-cidr A.B.C.D/32   # who may call": not (draft.client_cidrs or draft.for_rehearsal),
    }
    if any(missing.values()):
        raise UsageError(
            "what the environment needs is not all said\n"
            + "\n".join(f"  -> {o}" for o, is_missing in missing.items() if is_missing)
        )
    return draft


def _ranking(found: "Sequence[Candidate]", *, numbered: bool = False) -> Iterator[str]:
    """A line for each place, with the round trip to each city, or to the nearest where that is too wide for a terminal."""
    names = list(found[0].round_trips_ms) if found else []
    lines = _rows(found, names, numbered=numbered)
    yield from lines if max(map(len, lines)) <= _COLUMNS else _rows(found, ["nearest"], numbered=numbered)


def _rows(found: "Sequence[Candidate]", cities: list[str], *, numbered: bool) -> list[str]:
    from automation.tables import table
    from geography.places import short_name

    header = ["zone", "in", *cities, "$/h", "GPU types"]
    rows = [
        [each.zone, short_name(each.place), *_trips(each, each_city=cities != ["nearest"]), _price(each), _types(each)]
        for each in found
    ]
    if numbered:
        header, rows = ["", *header], [[str(number), *row] for number, row in enumerate(rows, 1)]
    return table(header, rows, right=range(2 + numbered, 3 + numbered + len(cities)))


def _trips(candidate: "Candidate", *, each_city: bool) -> Iterator[str]:
    """Round trips to each city or to the nearest; `~` before what is estimated."""
    trips = candidate.round_trips_ms
    if not each_city:
        trips = {name: trips[name] for name in sorted(trips, key=lambda name: trips[name])[:1]}
    for name, milliseconds in trips.items():
        yield f"{'' if name in candidate.measured else '~'}{milliseconds:.0f}"


def _price(candidate: "Candidate") -> str:
    from automation.account.candidates import DEFAULT_TYPE

    dollars = candidate.dollars_per_hour.get(DEFAULT_TYPE)
    return f"{dollars:.3f}" if dollars is not None else "none" if candidate.no_gpu else "unknown"


def _types(candidate: "Candidate") -> str:
    """`g4dn.2xlarge +7`: the first type with a known price, and how many more."""
    types = list(candidate.dollars_per_hour)
    if not types:
        return "none" if candidate.no_gpu else "unknown"
    return types[0] + (f" +{len(types) - 1}" if len(types) > 1 else "")


def _sources(more: int, total: int) -> Iterator[str]:
    from automation.account.candidates import DEFAULT_TYPE
    from automation.account.prices import DATED

    if more > 0:
        yield f"{more} more: --top {total}"
    yield "~: round trip in ms to the city, or to the nearest of several: not measured, but"
    yield "   estimated from the distance (geography/latency.py)."
    yield f"$/h: on-demand {DEFAULT_TYPE}, list price of {DATED}."
    yield "GPU types: priced ones, +N more (--json); none: AWS has announced no GPU there."
    yield "Whether a zone sells to your account, which zones a Region has: edge doctor ENV"


def _examination(found: "Examination", *, in_full: bool) -> Iterator[str]:
    """What is wrong, a warning or unknown, each with its line to run; what is well by its subjects alone, unless asked for."""
    import shutil

    from automation.tables import coloured

    width = shutil.get_terminal_size().columns
    for check in sorted(found.checks, key=lambda each: _ORDER.index(each.state)):
        if check.state == "ok" and not in_full:
            continue
        state = coloured(f"{check.state:<8}", _COLOURS[check.state])
        lines = wrapped(f"{check.subject}: {check.finding}", width - 9)
        yield f"{state} {lines[0]}"
        yield from (f"{'':<9}  {line}" for line in lines[1:])
        for number, line in enumerate((check.fix or "").splitlines()):
            yield f"{'':<9}  {'-> ' if number == 0 else '   '}{line}"
    well = [check.subject.strip() for check in found.checks if check.state == "ok"]
    if well and not in_full:
        first, *more = wrapped(", ".join(dict.fromkeys(well)))
        yield f"{coloured('ok      ', _COLOURS['ok'])} {first}"
        yield from (f"{'':<9}{line}" for line in more)
