"""`ttft`: the command line. Thin: it parses, measures, writes files, prints, and ends with an exit code.

Everything that is not asked for stays unimported, so that help comes at once. The result goes to standard output; progress and
problems go to standard error, and so does the table where the summary is asked for on standard output.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.exceptions import TyperException

from ttft.errors import TtftError

if TYPE_CHECKING:
    from ttft.results import Summary
    from ttft.samples import Connection, Run
    from ttft.schedule import Plan
    from ttft.summary import Judgement

EXIT_SLO_MISSED, EXIT_USAGE, EXIT_NO_SAMPLES, EXIT_INTERRUPTED = 1, 2, 3, 130
_EPILOG = """\b
Examples:
  ttft http://127.0.0.1:8080
  ttft la=http://A:8080 oregon=http://B:8080 --rounds 100 --html x.html
  ttft https://NAME --api-key-env KEY --connection both --prompt-tokens 64,512
  ttft http://ADDRESS:8080 --slo 200 --json -
Also: ttft report FILE, ttft compare A B, ttft selftest (each with --help)
Exit codes: 0 done, 1 SLO missed, 2 usage, 3 a target is dead, 130 stopped"""

measure_app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
verbs_app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

JsonPath = Annotated[str | None, typer.Option("--json", metavar="PATH", help="Summary; - for standard output.")]
HtmlPath = Annotated[Path | None, typer.Option("--html", metavar="PATH", help="Report, one self-contained page.")]
SloMs = Annotated[float | None, typer.Option("--slo", metavar="MS", min=0, help="Wanted TTFT; sets the exit code.")]
SloShare = Annotated[float, typer.Option("--slo-share", min=0, max=1, metavar="P", help="Needed share.")]
DeviceMs = Annotated[float, typer.Option("--device-ms", metavar="MS", min=0, help="Spent on speech.")]


@measure_app.command(epilog=_EPILOG)
def measure(  # noqa: PLR0913 - each is an option of the command
    urls: Annotated[list[str], typer.Argument(metavar="[NAME=]URL...", show_default=False)],
    *,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="Each asks every target, in random order.")] = 30,
    connection: Annotated[
        Literal["warm", "cold", "both"], typer.Option(metavar="KIND", help="warm, cold (opened anew) or both.")
    ] = "warm",
    prompt_tokens: Annotated[str, typer.Option(metavar="N[,N]", help="Prompt lengths; a sweep.")] = "128",
    model: Annotated[str | None, typer.Option(metavar="NAME", help="To ask for, where a server has several.")] = None,
    output_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Length of answers.")] = 16,
    dialect: Annotated[
        Literal["auto", "tgi", "completions", "chat"], typer.Option(metavar="API", help="auto, tgi, completions or chat.")
    ] = "auto",
    concurrency: Annotated[int, typer.Option(min=1, metavar="N", help="Users at a time: closed loop.")] = 1,
    rate: Annotated[float | None, typer.Option(min=0.001, metavar="N", help="Requests a second: open loop.")] = None,
    requests: Annotated[int, typer.Option(min=1, metavar="N", help="Of each user in a turn.")] = 1,
    slo: SloMs = None,
    slo_share: SloShare = 0.95,
    device_ms: DeviceMs = 0.0,
    city: Annotated[str | None, typer.Option(metavar="NAME", help="Where this client stands.")] = None,
    source_address: Annotated[str | None, typer.Option(metavar="IP", help="Local address to call from.")] = None,
    simulated: Annotated[
        Literal["network", "model", "both"] | None, typer.Option(metavar="WHAT", help="Not real here: network, model or both.")
    ] = None,
    api_key_env: Annotated[str | None, typer.Option(metavar="NAME", help="Variable that holds the API key.")] = None,
    ca: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificates to trust (PEM).")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Trust any certificate.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0.1, metavar="S", help="Seconds to the first token.")] = None,
    connect_timeout: Annotated[float | None, typer.Option(min=0.1, metavar="S", help="Seconds to connect.")] = None,
    stall_timeout: Annotated[float | None, typer.Option(min=0.1, metavar="S", help="Seconds between tokens.")] = None,
    gap: Annotated[float | None, typer.Option(min=0, metavar="S", help="Seconds between requests.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of order and prompts.")] = None,
    json_path: JsonPath = None,
    raw: Annotated[Path | None, typer.Option(metavar="PATH", help="Raw samples, JSONL.")] = None,
    html: HtmlPath = None,
) -> int:
    """How much sooner does the first token come from A than from B, and why."""
    from ttft.schedule import Plan
    from ttft.summary import Judgement
    from ttft.targets import targets

    if rate is not None and concurrency > 1:
        raise TtftError("--rate and --concurrency exclude each other\n  -> --rate: open loop; --concurrency: closed loop")
    if ca is not None and not ca.is_file():
        raise TtftError(f"--ca {ca}: there is no such file")
    check_writable(json_path, raw, html)
    chosen: dict[str, Any] = {
        "connect_timeout_seconds": connect_timeout,
        "first_token_timeout_seconds": timeout,
        "stall_timeout_seconds": stall_timeout,
        "gap_seconds": gap,
        "seed": seed,
    }
    plan = Plan(
        targets=targets(urls, city=city, source_address=source_address),
        rounds=rounds,
        connections=connections(connection),
        prompt_tokens=lengths(prompt_tokens),
        output_tokens=output_tokens,
        dialect=None if dialect == "auto" else dialect,
        model=model,
        concurrency=concurrency,
        requests_per_turn=requests,
        rate_per_second=rate,
        api_key=_api_key(api_key_env),
        ca_file=None if ca is None else str(ca),
        verify=not insecure,
        simulated_network=True if simulated in ("network", "both") else None,
        simulated_model=True if simulated in ("model", "both") else None,
        **{name: value for name, value in chosen.items() if value is not None},
    )
    run = _run(plan)
    return finish(run, Judgement(slo, slo_share, device_ms), json_path=json_path, raw=raw, html=html)


@verbs_app.command()
def report(  # noqa: PLR0913 - as above
    file: Annotated[Path, typer.Argument(metavar="RAW|JSON", help="What --raw or --json wrote.")],
    *,
    slo: SloMs = None,
    slo_share: SloShare = 0.95,
    device_ms: DeviceMs = 0.0,
    json_path: JsonPath = None,
    html: HtmlPath = None,
) -> int:
    """Show a finished run again, held against another SLO if wished.

    Example: ttft report run.jsonl --html out.html
    """
    from ttft.summary import Judgement

    check_writable(json_path, None, html)
    judgement = Judgement(slo, slo_share, device_ms)
    read, run = _read(file, judgement)
    if run is not None:
        return finish(run, judgement, json_path=json_path, raw=None, html=html)
    if judgement != Judgement():
        raise TtftError(f"{file} is a summary, whose SLO and budget are fixed\n  -> ttft report RAW --slo MS")
    return _show(read, None, json_path=json_path, html=html)


@verbs_app.command()
def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="What --json or --raw wrote.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="The same of the later run.")],
) -> int:
    """Compare two runs: what became faster or slower.

    Example: ttft compare monday.json tuesday.json
    """
    from ttft import comparison, console

    console.show_comparison(comparison.compare(_read(before)[0], _read(after)[0]))
    return 0


@verbs_app.command()
def selftest() -> int:
    """Measure a bundled server with known delays, and print this tool's own error.

    Example: ttft selftest
    """
    from ttft import selftest as test

    test.main()
    return 0


def main() -> None:
    """The console script: a first word that is a verb chooses it, all else is measured. User errors show no traceback."""
    arguments = sys.argv[1:]
    verbs = {command.callback.__name__ for command in verbs_app.registered_commands if command.callback}
    app = verbs_app if arguments and arguments[0] in verbs else measure_app
    try:
        sys.exit(app(arguments, prog_name="ttft", standalone_mode=False))
    except TyperException as error:
        _say(f"error: {error.format_message()}\n  -> ttft {f'{arguments[0]} ' if app is verbs_app else ''}--help")
        sys.exit(EXIT_USAGE)
    except TtftError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("interrupted; nothing had been measured")
        sys.exit(EXIT_INTERRUPTED)


def _run(plan: "Plan") -> "Run":
    from ttft import schedule
    from ttft.console import Progress

    turns = len(plan.targets) * plan.rounds * len(plan.connections) * len(plan.prompt_tokens)
    requests = turns * plan.requests_per_turn * (1 if plan.rate_per_second else plan.concurrency)
    with Progress(plan.targets, requests) as progress:
        return schedule.run(plan, progress)


def finish(run: "Run", judgement: "Judgement", *, json_path: str | None, raw: Path | None, html: Path | None) -> int:
    """Writes what is wanted of a run, prints its result, and gives the exit code.

    Raw samples are written first: whatever happens after, they are kept. `json_path` `-`: the summary alone on standard output.
    """
    from ttft.files import write_raw
    from ttft.summary import summarize

    if raw is not None:
        with raw.open("w", encoding="utf-8") as file:
            write_raw(run, file)
    return _show(summarize(run, judgement), run, json_path=json_path, html=html)


def _show(summary: "Summary", run: "Run | None", *, json_path: str | None, html: Path | None) -> int:
    from ttft import console
    from ttft.report import write_report

    if html is not None:
        write_report(summary, run, html)
    if json_path is not None and json_path != "-":
        Path(json_path).write_text(summary.model_dump_json(indent=2) + "\n", encoding="utf-8")
    console.show(summary, sys.stderr if json_path == "-" else sys.stdout)
    if json_path == "-":
        sys.stdout.write(summary.model_dump_json(indent=2) + "\n")
    return _exit_code(summary)


def _exit_code(summary: "Summary") -> int:
    if summary.interrupted:
        return EXIT_INTERRUPTED
    if not summary.targets or any(not each.samples for each in summary.targets):
        return EXIT_NO_SAMPLES
    return EXIT_SLO_MISSED if summary.slo and not summary.slo.met else 0


def _read(file: Path, judgement: "Judgement | None" = None) -> "tuple[Summary, Run | None]":
    """A summary, and the run where the file holds raw samples."""
    from pydantic import ValidationError

    from ttft.files import read_raw
    from ttft.results import Summary
    from ttft.summary import summarize

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TtftError(f"{file} cannot be read ({error})\n  -> a file that ttft --raw or --json wrote") from None
    if text.startswith('{"setup":'):
        run = read_raw(text.splitlines(), str(file))
        return summarize(run, judgement), run
    try:
        return Summary.model_validate_json(text), None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise TtftError(f"{file} is no summary ({place}: {first['msg']})\n  -> a file that ttft --raw or --json wrote") from None


def lengths(text: str) -> tuple[int, ...]:
    """Prompt lengths from `--prompt-tokens`, each once; TtftError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise TtftError(f"--prompt-tokens {text!r}: lengths are whole numbers above 0\n  -> --prompt-tokens 128,512")
    return tuple(dict.fromkeys(map(int, parts)))


def connections(kind: Literal["warm", "cold", "both"]) -> "tuple[Connection, ...]":
    """Kinds of connections from `--connection`."""
    return ("warm", "cold") if kind == "both" else (kind,)


def _api_key(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not (key := os.environ.get(variable, "").strip()):
        # Who gave the key itself by mistake must not find it in a log.
        raise TtftError(
            "--api-key-env: there is no variable of that name, or it is empty\n  -> export NAME=…; --api-key-env NAME"
        )
    return key


def check_writable(json_path: str | None, *paths: Path | None) -> None:
    """Before anything is measured: a folder that is not there must not cost a run. Raises TtftError."""
    for path in (*paths, None if json_path in (None, "-") else Path(json_path or "")):
        if path is not None and (path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK)):
            raise TtftError(f"{path} cannot be written\n  -> a file in a folder that exists")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
