"""`edge place`: where the sites should stand for given users, before a cent is spent.

The planning is placement's; here are options, words, and the files. Left out: asking AWS, deploying.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from automation.commands.terminal import say, show, show_json
from automation.errors import UsageError
from automation.paths import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placement import Answer, User

_NEEDS = "tools/setup.sh requirements-edge.txt"
_MOST_SITES = 20
_NAMED = 4


def place(  # noqa: PLR0913 - each is an option of the command
    *,
    users: Annotated[str, typer.Option("--users", "--countries", metavar="WHO", help="A CSV file, or codes: US,CA,US-HI.")] = "",
    ttft: Annotated[float, typer.Option(metavar="MS", help="Limit for the first token.")] = 200.0,
    share: Annotated[str, typer.Option(metavar="PERCENT", help="Of the users, to be inside it.")] = "95",
    connection: Annotated[
        Literal["warm", "cold", "cold-tls"], typer.Option(metavar="KIND", help="warm, cold or cold-tls.")
    ] = "warm",
    generation: Annotated[
        list[str] | None, typer.Option(metavar="[TYPE=]MS|FILE", help="Or a summary of ttft; unset: estimated.")
    ] = None,
    types: Annotated[list[str] | None, typer.Option("--type", metavar="TYPE", help="The preferred first.")] = None,
    policy: Annotated[
        Literal["latency", "geoproximity", "geolocation"],
        typer.Option(metavar="POLICY", help="latency (default), geoproximity, geolocation.", show_default=False),
    ] = "latency",
    sites: Annotated[int | None, typer.Option(metavar="N", min=1, max=_MOST_SITES, help="Unset: the fewest.")] = None,
    budget: Annotated[float | None, typer.Option(metavar="DOLLARS", min=1, help="Of all sites, a month.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="WHERE", help="Zone groups, Regions, countries.")] = None,
    without: Annotated[list[str] | None, typer.Option(metavar="WHERE", help="The same, forbidden.")] = None,
    measured: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Round trips.")] = None,
    write: Annotated[str | None, typer.Option(metavar="NAME", help="Begin an environment of them.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="A page with a map.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, alone on standard output.")] = False,
    # In docs/explanation/placement.md alone, since help has to fit a screen:
    prompt: Annotated[int, typer.Option(min=1, hidden=True, help="For the estimate.")] = 512,
    parameters: Annotated[float, typer.Option(min=0.01, hidden=True, help="Billions, for the estimate.")] = 3.2,
    with_unknown: Annotated[bool, typer.Option("--with-unknown", hidden=True, help="Also without a known price.")] = False,
    seconds: Annotated[float, typer.Option(min=1, hidden=True, help="The search's most.")] = 60.0,
) -> None:
    """Say which zones serve given users, at which price.

    Example: edge place --countries US --ttft 200 --share 95
    """
    from automation.commands import initial, place_words

    if not users:
        raise UsageError("whom to serve is not said\n  -> --users FILE.csv, or --countries US,CA,US-HI")
    if not 0 < ttft < float("inf"):
        raise UsageError(f"--ttft {ttft} is no time in ms\n  -> --ttft 200")
    file = Path(users) if users.endswith(".csv") or Path(users).is_file() else None
    if write:
        initial.refuse_existing(write, PROJECT_ROOT)
    try:
        from placement import PlacementError, Question, candidates, users_from, users_of
        from placement import place as answer_to
        from placement.generation import told
        from placement.measured import measured_round_trips
        from placement.world import cities_as_of

        kinds = types or ["g4dn.2xlarge"]
        try:
            everybody, whence = (users_from(file), str(file)) if file else (users_of(users.split(",")), cities_as_of())
            able = candidates(kinds, only=only or (), without=without or (), with_unknown=with_unknown)
            question = Question(
                tuple(everybody),
                able.able,
                told(generation or (), kinds, parameters, prompt),
                slo_ms=ttft,
                share=_share(share),
                connection=connection,
                policy=policy,
                sites=sites,
                dollars_per_month=budget,
                measured=measured_round_trips(measured or (), everybody),
                users_source=whence,
                seconds=seconds,
            )
            found = answer_to(question)
        except PlacementError as error:
            raise UsageError(str(error)) from error
    except ModuleNotFoundError as error:
        raise UsageError(f"the search needs {error.name}, which is not installed\n  -> {_NEEDS}") from error
    if html:
        from placement.answer_page import answer_page

        html.write_text(answer_page(found, _title(everybody, file.name if file else users)), encoding="utf-8")
        say(f"Page: {html}")
    if as_json:
        show_json(found.described() | {"left_out": {"no_gpu": able.no_gpu, "unknown": able.unknown}})
    else:
        for line in place_words.answer(found):
            show(line)
        for line in place_words.sources(found, able):
            say(line)
    if write:
        _begin(write, found)


def _share(text: str) -> float:
    try:
        percent = float(text.strip().rstrip("%"))
    except ValueError:
        percent = 0.0
    if not 0 < percent <= 100:  # noqa: PLR2004
        raise UsageError(f"--share {text} is no percentage\n  -> --share 95")
    return percent / 100


def _title(everybody: "Sequence[User]", whom: str) -> str:
    codes = whom.split(",")
    shown = whom if len(codes) <= _NAMED else f"{len(codes)} countries"
    return f"Where sites should stand for {shown}: {len(everybody)} places"


def _begin(name: str, found: "Answer") -> None:
    """Writes the stack file of an environment with the chosen sites."""
    from automation.commands import initial
    from components.defaults import INSTANCE_TYPE
    from geography.places import ZONE_GROUPS
    from placement.answer import table_of_places

    draft = initial.Draft(
        name,
        tuple(site.zone for site in found.sites),
        for_rehearsal=True,
        begun_by="edge place",
        policy=found.question.policy,
        geolocation=table_of_places(found.mapping) if found.mapping else {},
        instance_types={site.zone: site.instance_type for site in found.sites if site.instance_type != INSTANCE_TYPE},
        # AWS does not say before the opt-in whether it sells a type there: a known price stands for that.
        opt_in={
            site.zone: "true" if site.dollars_per_month is None else "anyway" for site in found.sites if site.group in ZONE_GROUPS
        },
    )
    path = initial.create(draft, PROJECT_ROOT, say)
    say(f"Wrote {path.name}. On AWS its optIn opts the account in to zone groups, for good.")
    say(f"  -> edge up {name} --local   # rehearses it, on this machine")
