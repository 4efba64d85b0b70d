"""`edge status`, `cost`, `ssh`: how an environment is, what it costs, and a way into its hosts."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from automation.commands.options import EnvironmentName, JsonFlag, LocalFlag, ZoneName, open_environment
from automation.commands.terminal import show, show_json, show_json_line, wrapped
from automation.errors import EdgeError

if TYPE_CHECKING:
    from automation.sites.costs import Cost

_COLUMNS = 80
_SSH_FAILED = 255
"""What `ssh` itself exits with."""
_WATCH_SECONDS = 5.0
_CLEAR = "\x1b[H\x1b[2J"


def status(
    env: EnvironmentName,
    local: LocalFlag = False,  # noqa: FBT002
    as_json: JsonFlag = False,  # noqa: FBT002
    watch: Annotated[bool, typer.Option("--watch", help="Look again every few seconds, until Ctrl-C.")] = False,  # noqa: FBT002
) -> None:
    """Show whether each replica serves, and its load.

    With city, share of the map's cities and price; below, what is wrong and what to run. Exit code 1 where a site does not serve.

    Example: edge status prod
    """
    from automation.commands.status_words import status_lines

    environment = open_environment(env, local=local)
    try:
        while True:
            found = environment.status(rates=as_json)
            if as_json:
                (show_json_line if watch else show_json)(found.described())
            else:
                lines = list(status_lines(found))
                if watch and sys.stdout.isatty():
                    sys.stdout.write(_CLEAR)
                for line in lines:
                    show(line)
            if not watch:
                break
            sys.stdout.flush()
            time.sleep(_WATCH_SECONDS)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if not all(site.serves for site in found.sites):
        raise typer.Exit(1)


def cost(env: EnvironmentName, local: LocalFlag = False, as_json: JsonFlag = False) -> None:  # noqa: FBT002
    """Show what the instances cost, or would.

    By the hour and the month: what runs, else what the stack file asks for.

    Example: edge cost prod
    """
    from automation.sites.costs import cost as reckon

    environment = open_environment(env, local=local)
    found = reckon(environment)
    if as_json:
        show_json(found.described())
        return
    for line in _cost(found, simulated=environment.on_local_cloud and found.basis == "deployed"):
        show(line)


def ssh(
    env: EnvironmentName,
    zone: ZoneName,
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help="Run on the host.")] = None,
    replica: Annotated[int, typer.Option("--replica", metavar="N", min=1, help="Which of the zone's hosts.")] = 1,
    local: LocalFlag = False,  # noqa: FBT002
) -> None:
    """Log in to a site's host, or run a command there.

    Only the host with the derived key is talked to.

    Example: edge ssh prod us-west-2-lax-1a -- nvidia-smi
    """
    _over_ssh(env, zone, replica, " ".join(command) if command else None, local=local)


def _over_ssh(env: str, zone: str, replica: int, command: str | None, *, local: bool) -> None:
    """Hands the terminal to `ssh`, and its exit status on."""
    from automation.sites.hosts import find_host
    from automation.sites.hosts import ssh as connected

    environment = open_environment(env, local=local)
    host = find_host(environment, zone, replica)
    # Before anything is said on a terminal that is not ours any more.
    sys.stdout.flush()
    # The local cloud's hosts have no terminals: a shell there reads commands, without a prompt.
    options = ["-T"] if environment.on_local_cloud else []
    with connected(environment, host, environment.stack_config(), options=options) as words:
        status = subprocess.run([*words, *([command] if command else [])], check=False).returncode  # noqa: S603
    if status == _SSH_FAILED:
        raise EdgeError(
            f"no SSH connection to {host.key} ({host.address}), or it broke\n"
            f"  -> edge doctor {environment.arguments}   # is this machine's address in access.sshCidrs?"
        )
    if status:
        raise typer.Exit(status)


def _cost(found: "Cost", *, simulated: bool) -> Iterator[str]:
    from automation.account.prices import DATED, HOURS_PER_MONTH, NOT_INCLUDED, SOURCE
    from automation.tables import table

    what = f"What '{found.environment}' runs" if found.basis == "deployed" else f"What Pulumi.{found.environment}.yaml asks for"
    yield f"{what}{' (simulated here; on AWS it would cost)' if simulated else ''}:"
    rows: list[list[str]] = []
    for site in found.sites:
        price = site.dollars_per_hour
        hourly, monthly = ("unknown", "unknown") if price is None else _amounts(price * site.instances)
        rows.append(
            [site.zone, site.instance_type, str(site.instances), "unknown" if price is None else f"{price:.3f}", hourly, monthly]
        )
    total = found.total
    if not total.unknown:
        rows.append(["all", "", str(total.instances), "", *_amounts(total.dollars)])
    else:
        rows.append(["known", "", "", "", *_amounts(total.dollars)])
    yield from table(["zone", "type", "hosts", "$/h each", "$/hour", "$/month"], rows, right=(2, 3, 4, 5))
    source = f"A month is {HOURS_PER_MONTH} h. On-demand Linux list prices of {DATED}: {SOURCE}. Not in it: {NOT_INCLUDED}."
    yield from wrapped(source, _COLUMNS)


def _amounts(dollars: float) -> tuple[str, str]:
    from automation.account.prices import HOURS_PER_MONTH

    return f"{dollars:.3f}", f"{dollars * HOURS_PER_MONTH:.2f}"
