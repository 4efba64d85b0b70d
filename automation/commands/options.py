"""Arguments and options that several subcommands take."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from automation.commands.terminal import say
from automation.errors import UsageError
from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT, known_environments, stack_file
from components.zones import short_names

if TYPE_CHECKING:
    from automation.environment import Environment


VARIABLE = "EDGE_ENV"
"""Names the environment of commands that may leave it out."""


def _environments(incomplete: str) -> list[str]:
    return [name for name in known_environments(PROJECT_ROOT) if name.startswith(incomplete)]


def _zones(environment: str) -> list[str]:
    """The zones in an environment's stack file; none where it cannot be read."""
    from automation.engine.stack_file import look

    try:
        config = look(stack_file(environment, PROJECT_ROOT)).config
        zones = [str(site["zone"]) for site in config["edge-inference:sites"]]
    except (OSError, UsageError, KeyError, TypeError):
        return []
    return zones


def _completed_zones(ctx: typer.Context, incomplete: str) -> list[str]:
    """Those that begin so; where none does, the short names that do."""
    zones = _zones(ctx.params.get("env") or "")
    found = [zone for zone in zones if zone.startswith(incomplete)]
    return found or [name for zone in zones for name in short_names(zone)[:1] if name.startswith(incomplete)]


def is_environment(name: str) -> bool:
    """Whether there is an environment of that name."""
    return name in known_environments(PROJECT_ROOT)


def is_key(word: str) -> bool:
    """Whether a word that names no environment can only be meant as a key of the config."""
    if any(mark in word for mark in ".:["):
        return True
    from components.settings import KNOWN_KEYS, SECRET_NAMES

    return word in {*KNOWN_KEYS, *SECRET_NAMES}


def default_environment() -> str:
    """The environment that is meant where none is named: EDGE_ENV's, else the only one. UsageError where that is not clear."""
    if name := os.environ.get(VARIABLE):
        return name
    names = known_environments(PROJECT_ROOT)
    if len(names) == 1:
        return names[0]
    if not names:
        raise UsageError("there is no environment yet\n  -> edge init NAME")
    raise UsageError(
        f"which environment? There are {', '.join(names)}\n  -> name one: edge COMMAND ENV, or export {VARIABLE}={names[0]}"
    )


def full_zone(typed: str, environment: str) -> str:
    """The zone among an environment's sites that a short name such as `lax` means; UsageError where it means several.

    A replica's number stays behind it. What means none of them stays as it was typed: its site may be deployed, and in no file
    any more.
    """
    zones = _zones(environment)
    if any(typed.startswith(zone) for zone in zones):
        return typed
    name, _, number = typed.rpartition("-") if typed[-1].isdigit() else (typed, "", "")
    for word, end in ((typed, ""), (name, f"-{number}")):
        meant = [zone for zone in zones if word in short_names(zone)]
        if len(meant) > 1:
            raise UsageError(f"'{word}' may be {' or '.join(meant)}\n  -> type the one that is meant")
        if meant:
            return meant[0] + end
    return typed


EnvironmentName = Annotated[
    str,
    typer.Argument(
        metavar="ENV",
        envvar=VARIABLE,
        show_envvar=False,
        help="local, dev, prod: the name in Pulumi.ENV.yaml",
        autocompletion=_environments,
    ),
]
TypedEnvironmentName = Annotated[
    str, typer.Argument(metavar="ENV", help="The name in Pulumi.ENV.yaml; always typed.", autocompletion=_environments)
]
ZoneName = Annotated[
    str,
    typer.Argument(metavar="ZONE", help="A zone of its sites, such as lax: us-west-2-lax-1a.", autocompletion=_completed_zones),
]
FallbackFlag = Annotated[bool, typer.Option("--fallback", help="No capacity: put the next instanceTypes first.")]
OptionalZoneName = Annotated[
    str | None, typer.Argument(metavar="ZONE", help="One zone of its sites; without it all.", autocompletion=_completed_zones)
]
LocalFlag = Annotated[bool, typer.Option("--local", help="Rehearse on the local cloud, with stand-ins.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON, alone on standard output.")]
EventsFlag = Annotated[bool, typer.Option("--json", help="Print events as JSON lines on standard output, the result last.")]
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def open_environment(name: str, *, local: bool) -> "Environment":
    """The environment that a command is about; UsageError where there is none of that name, and where it is on AWS and this shell
    is led to the local cloud.
    """
    from automation.engine.led_shells import refuse_led_shell
    from automation.environment import Environment

    if not local and name != "local":
        refuse_led_shell(name, LOCAL_DIRECTORY, os.environ)
    return Environment(name, on_local_cloud=local, say=say)
