"""`edge status`, `cost`, `logs`, `ssh`: how an environment is, what it costs, and a look into its hosts."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from automation.commands.options import EnvironmentName, JsonFlag, LocalFlag, ZoneName, open_environment
from automation.commands.terminal import show, show_json
from automation.errors import EdgeError

if TYPE_CHECKING:
    from automation.sites.costs import Cost
    from automation.sites.status import ReplicaStatus, SiteStatus, Status

_COLUMNS = 80
_SSH_FAILED = 255
"""What `ssh` itself exits with."""
_STATES = {"healthy": "green", "unhealthy": "red", "unreachable": "red"}

ReplicaNumber = Annotated[int, typer.Option("--replica", metavar="N", min=1, help="Which of the zone's hosts.")]


def status(env: EnvironmentName, local: LocalFlag = False, as_json: JsonFlag = False) -> None:  # noqa: FBT002
    """Show how each site is at this moment.

    Machine, server, model in fact, load, share of the map's cities, uptime, price. Exit code 1 where a site does not serve.

    Example: edge status prod
    """
    from automation.sites.status import status as ask

    found = ask(open_environment(env, local=local))
    if as_json:
        show_json(found.described())
    else:
        for line in _status(found):
            show(line)
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


def logs(  # noqa: PLR0913, PLR0917 - each has its default
    env: EnvironmentName,
    zone: ZoneName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,  # noqa: FBT002
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=1, help="How many of the last lines.")] = 100,
    replica: ReplicaNumber = 1,
    local: LocalFlag = False,  # noqa: FBT002
) -> None:
    """Print the last lines of a site's server log.

    Example: edge logs prod us-west-2-lax-1a -f
    """
    command = f"sudo docker logs --tail {lines}{' --follow' if follow else ''} edge-inference-server 2>&1"
    try:
        _over_ssh(env, zone, replica, command, local=local)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def ssh(
    env: EnvironmentName,
    zone: ZoneName,
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help="Run on the host.")] = None,
    replica: ReplicaNumber = 1,
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


def _status(found: "Status") -> Iterator[str]:
    for site in found.sites:
        share = "" if site.dns_share is None else f", gets {site.dns_share:.0%} of the map's cities"
        yield f"{site.zone}  {site.instance_type}{share}{', drained' if site.drained else ''}"
        for replica in site.replicas:
            yield from _replica_lines(site, replica)
    if found.certificate:
        from automation.sites.certificate_age import SOON_DAYS

        is_soon = found.certificate.days_left < SOON_DAYS
        arguments = f"{found.environment}{' --local' if found.simulated and found.environment != 'local' else ''}"
        yield f"certificate: {found.certificate.words}"
        yield from (f"  -> edge certificate {arguments}   # then: edge up {arguments}",) if is_soon else ()
    unknown = sum(replica.dollars_per_hour is None for site in found.sites for replica in site.replicas)
    without = f", without {unknown} whose price is unknown" if unknown else ""
    yield f"${found.dollars_per_hour:.3f} per hour by list price{without}"
    if found.simulated:
        yield "Nothing is billed here: AWS, network and model server are simulated."


def _replica_lines(site: "SiteStatus", replica: "ReplicaStatus") -> Iterator[str]:
    from automation.tables import coloured

    uptime = "" if replica.uptime_seconds is None else f"up {_duration(replica.uptime_seconds)}  "
    price = "price unknown" if replica.dollars_per_hour is None else f"${replica.dollars_per_hour:.3f}/h"
    health = coloured(replica.health, _STATES[replica.health])
    yield f"  {health}  {replica.address or 'no address'}  {uptime}{price}"
    state = f"is {replica.instance}" if replica.instance else "is in an unknown state"
    yield f"    {f'{replica.instance_id} {state}' if replica.instance_id else 'no instance is known'}"
    revision = replica.revision[:12] if replica.revision else "an unknown revision"
    yield f"    serves {f'{replica.model} at {revision}' if replica.model else 'unknown (its record could not be read)'}"
    if replica.model not in {None, site.model}:
        yield f"      NOT {site.model}, as configured"
    if replica.queue is not None:
        speed = "" if replica.tokens_per_second is None else f", {replica.tokens_per_second:.1f} tokens/s"
        yield f"    {replica.queue} waiting, {replica.running} running{speed}"


def _cost(found: "Cost", *, simulated: bool) -> Iterator[str]:
    from automation.account.prices import AS_OF, HOURS_PER_MONTH, NOT_INCLUDED, SOURCE
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
    source = f"A month is {HOURS_PER_MONTH} h. On-demand Linux list prices of {AS_OF}: {SOURCE}. Not in it: {NOT_INCLUDED}."
    yield from textwrap.wrap(source, _COLUMNS, break_long_words=False, break_on_hyphens=False)


def _amounts(dollars: float) -> tuple[str, str]:
    from automation.account.prices import HOURS_PER_MONTH

    return f"{dollars:.3f}", f"{dollars * HOURS_PER_MONTH:.2f}"


def _duration(seconds: float) -> str:
    """`3 d 4 h`, `2 h 5 min`, `40 s`: the two largest parts."""
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((number for number, (value, _) in enumerate(parts) if value >= 1), 3)
    return " ".join(f"{value:.0f} {unit}" for value, unit in parts[first : first + 2])
