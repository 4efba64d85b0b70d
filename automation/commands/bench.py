"""`edge bench`: the proof. Measures a deployment's sites side by side; options and results are ttft's own."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from automation.commands.options import EnvironmentName, LocalFlag, open_environment
from automation.commands.terminal import say
from ttft.cli import DeviceMs, HtmlPath, JsonPath, SloMs


def bench(  # noqa: PLR0913 - each is an option of the command
    env: EnvironmentName,
    *,
    local: LocalFlag = False,
    city: Annotated[list[str] | None, typer.Option("--from", metavar="CITY", help="Local cloud: clients' cities.")] = None,
    via: Annotated[list[str] | None, typer.Option(metavar="[CITY=]USER@HOST", help="AWS: measure from there, over SSH.")] = None,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="Each asks every site once.")] = 30,
    connection: Annotated[Literal["warm", "cold", "both"], typer.Option(metavar="KIND", help="warm, cold or both.")] = "warm",
    prompt_tokens: Annotated[str, typer.Option(metavar="N[,N]", help="Prompt lengths; a sweep.")] = "128",
    output_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Length of answers.")] = 16,
    slo: SloMs = None,
    device_ms: DeviceMs = 0.0,
    json_path: JsonPath = None,
    raw: Annotated[Path | None, typer.Option(metavar="PATH", help="Raw samples, JSONL.")] = None,
    html: HtmlPath = None,
) -> None:
    """Measure the time to first token of every site.

    Example: edge bench local --from Honolulu
    """
    from automation.paths import LOCAL_DIRECTORY
    from automation.sites.bench import Clients, bench_plan, vantage
    from automation.sites.bench import bench as measure
    from ttft.cli import check_writable, connections, finish, lengths
    from ttft.console import Progress
    from ttft.schedule import Plan
    from ttft.summary import Judgement

    check_writable(json_path, raw, html)
    environment = open_environment(env, local=local)
    clients = Clients(tuple(city or ()), tuple(map(vantage, via or ())))
    plan = Plan(
        targets=(),
        rounds=rounds,
        connections=connections(connection),
        prompt_tokens=lengths(prompt_tokens),
        output_tokens=output_tokens,
    )
    plan = bench_plan(environment, plan, clients)
    requests = len(plan.targets) * plan.rounds * len(plan.connections) * len(plan.prompt_tokens)
    with Progress(plan.targets, requests) as progress:
        run = measure(plan, clients, on_progress=progress, say=say)
    if html is None:
        reports = LOCAL_DIRECTORY / "reports"
        reports.mkdir(parents=True, exist_ok=True)
        html = reports / f"{env}-{datetime.now(UTC):%Y%m%d-%H%M%S}.html"
    code = finish(run, Judgement(slo_ms=slo, device_ms=device_ms), json_path=json_path, raw=raw, html=html)
    say(f"Report: {html}")
    raise typer.Exit(code)
