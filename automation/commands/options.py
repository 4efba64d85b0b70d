"""Arguments and options that several subcommands take."""

from typing import TYPE_CHECKING, Annotated

import typer

from automation.terminal import say

if TYPE_CHECKING:
    from automation.environment import Environment

EnvironmentName = Annotated[str, typer.Argument(metavar="ENV", help="local, dev, prod: the name in Pulumi.ENV.yaml")]
LocalFlag = Annotated[bool, typer.Option("--local", help="Rehearse on the local cloud, with stand-ins for what is yours.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON, alone on standard output.")]
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def open_environment(name: str, *, local: bool) -> "Environment":
    """The environment that a command is about; UsageError where there is none of that name."""
    from automation.environment import Environment

    return Environment(name, on_local_cloud=local, say=say)
