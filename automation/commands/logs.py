"""`edge logs`: what the servers or proxies of an environment's hosts have written. Leaves out judging it."""

from typing import Annotated

import typer

from automation.commands.options import EnvironmentName, LocalFlag, OptionalZoneName, open_environment
from automation.commands.terminal import say, show_now

_LINES, _LINES_OF_EACH = 100, 20


def logs(  # noqa: PLR0913, PLR0917 - each has its default
    env: EnvironmentName,
    zone: OptionalZoneName = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,  # noqa: FBT002
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines",
            "-n",
            metavar="N",
            min=1,
            help=f"How many of the last lines: {_LINES}, of several hosts {_LINES_OF_EACH} each.",
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Such as 10m, 2h, 1d, 2026-11-30T12:00:00Z.")
    ] = None,
    proxy: Annotated[bool, typer.Option("--proxy", help="The proxy's log: requests, and what it says of itself.")] = False,  # noqa: FBT002
    replica: Annotated[int | None, typer.Option("--replica", metavar="N", min=1, help="One of the zone's hosts.")] = None,
    local: LocalFlag = False,  # noqa: FBT002
) -> None:
    """Print the last lines of one site's log, or of all.

    Where there are several hosts, each line begins with its host. Exit code 1 where a log could not be read.

    Example: edge logs prod lax -f
    """
    from automation.sites.logs import Wanted, chosen, read, require_proxy

    environment = open_environment(env, local=local)
    hosts, config = chosen(environment, zone, replica)
    if proxy:
        require_proxy(environment, config)
    if lines is None and since is None:
        lines = _LINES if len(hosts) == 1 else _LINES_OF_EACH
    wanted = Wanted(proxy=proxy, follow=follow, lines=lines, since=since)
    try:
        failures = read(
            environment, hosts, config, wanted, lambda key, line: show_now(f"{key} | {line}" if len(hosts) > 1 else line)
        )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    for reason in dict.fromkeys(failures.values()):
        say(f"error: no log of {', '.join(key for key in failures if failures[key] == reason)}: {reason}")
    if failures:
        raise typer.Exit(1)
