"""`edge cloud` and `edge env`: the local cloud, and the variables with which other tools act on it."""

import shlex
import sys
from typing import Annotated, Any

import typer

from automation.commands.options import JsonFlag, open_environment
from automation.commands.terminal import say, show, show_json
from automation.errors import CloudNotRunningError, UsageError
from automation.paths import LOCAL_DIRECTORY


def variables(
    stack: Annotated[str, typer.Option(help="The environment whose stack plain `pulumi` then acts on.")] = "local",
) -> None:
    """Print shell exports, so that plain `pulumi up -s local` works by hand.

    Example: eval "$(edge env local)" && pulumi preview -s local
    """
    for name, value in open_environment(stack, local=True).shell_variables().items():
        # PATH refers to the shell's own.
        sys.stdout.write(f'export {name}="{value}"\n' if name == "PATH" else f"export {name}={shlex.quote(value)}\n")


def start(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the API; by default 4599, or a free one.")] = None,
) -> None:
    """Start the local cloud in the background.

    Example: edge cloud start
    """
    from localcloud import client

    status = client.start(LOCAL_DIRECTORY, port=port, say=say)
    say(f"The local cloud runs at {status.url} (process {status.pid}).")


def stop() -> None:
    """Stop the local cloud; what was deployed there is gone.

    Example: edge cloud stop
    """
    from localcloud import client

    if client.stop(LOCAL_DIRECTORY):
        say("The local cloud is stopped, and what was deployed there is gone with it.")
    else:
        say("The local cloud is not running.")


def status(as_json: JsonFlag = False) -> None:  # noqa: FBT002
    """Show the local cloud and its hosts.

    Example: edge cloud status
    """
    from localcloud import client

    status = client.status(LOCAL_DIRECTORY)
    if status is None:
        raise CloudNotRunningError("the local cloud is not running\n  -> edge cloud start")
    described = status.request("GET", "status")
    if as_json:
        show_json(described)
        return
    show(f"local cloud at {status.url}, process {status.pid}")
    show(f"DNS at 127.0.0.1, port {described['dns_port']}; since {status.started}")
    hosts: list[dict[str, Any]] = list(described["hosts"])
    for host in hosts:
        containers = ", ".join(f"{each['name']} {each['status']}" for each in host["containers"]) or "no container"
        show(f"  {host['instance_id']}  {host['zone']}  {host['address'] or 'no address'}  {host['state']}")
        show(f"    {containers}")
    if not hosts:
        show("  no hosts")
    for problem in described["problems"]:
        show(f"  problem: {problem}")


def logs(lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 50) -> None:
    """Print the last lines of the local cloud's log.

    Example: edge cloud logs -n 100
    """
    from localcloud import client

    try:
        told = client.log_lines(LOCAL_DIRECTORY)
    except client.CloudError as error:
        raise UsageError("the local cloud was never started here\n  -> edge cloud start") from error
    show("\n".join(told[-lines:]))
