"""Arguments and options that several subcommands take."""

from typing import TYPE_CHECKING, Annotated

import typer

from automation.commands.terminal import say
from automation.errors import UsageError
from automation.paths import PROJECT_ROOT, known_environments, stack_file

if TYPE_CHECKING:
    from automation.environment import Environment


def _environments(incomplete: str) -> list[str]:
    return [name for name in known_environments(PROJECT_ROOT) if name.startswith(incomplete)]


def _zones(ctx: typer.Context, incomplete: str) -> list[str]:
    """The zones in the stack file of the environment that stands before."""
    from automation.engine.stack_file import look

    try:
        config = look(stack_file(ctx.params.get("env") or "", PROJECT_ROOT)).config
        zones = [str(site["zone"]) for site in config["edge-inference:sites"]]
    except (OSError, UsageError, KeyError, TypeError):
        return []
    return [zone for zone in zones if zone.startswith(incomplete)]


EnvironmentName = Annotated[
    str, typer.Argument(metavar="ENV", help="local, dev, prod: the name in Pulumi.ENV.yaml", autocompletion=_environments)
]
ZoneName = Annotated[
    str, typer.Argument(metavar="ZONE", help="A zone of its sites, such as us-west-2-lax-1a.", autocompletion=_zones)
]
OptionalZoneName = Annotated[
    str | None, typer.Argument(metavar="[ZONE]", help="One zone of its sites; without it all.", autocompletion=_zones)
]
LocalFlag = Annotated[bool, typer.Option("--local", help="Rehearse on the local cloud, with stand-ins.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON, alone on standard output.")]
EventsFlag = Annotated[bool, typer.Option("--json", help="Print events as JSON lines on standard output, the result last.")]
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def open_environment(name: str, *, local: bool) -> "Environment":
    """The environment that a command is about; UsageError where there is none of that name."""
    from automation.environment import Environment

    return Environment(name, on_local_cloud=local, say=say)
