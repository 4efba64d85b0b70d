"""`edge`: the command line over Environment and the local cloud. Here is the list of its commands, and how they end.

Everything that is not asked for stays unimported, so that help and completion come at once.
"""

import errno
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from automation.commands import (
    ask,
    bench,
    certificate,
    cloud,
    config,
    deployment,
    environments,
    logs,
    overview,
    place,
    plan,
    rotate,
    routes,
    setup,
    usage,
)
from automation.commands.options import VARIABLE, default_environment, full_zone, is_environment, is_key
from automation.commands.terminal import say, short_path, show
from automation.errors import EdgeError, UsageError
from components import PROJECT
from components.problems import printable

_SHORT_HELP_COLUMNS = 52
"""What a line of 80 leaves a command's first sentence."""


def take_as_typed(parameters: Iterable[Any]) -> None:
    """Leaves the values of parameters as they were typed: to make others of them, Typer imports pydantic, which takes as long as
    all the rest of a completion.
    """

    def process(parameter: Any, ctx: Any, value: object) -> object:
        return parameter.callback(ctx, parameter, value) if parameter.callback else value

    for parameter in parameters:
        parameter.process_value = partial(process, parameter)


class Command(TyperCommand):
    """A command that is completed at once: no value is needed where nothing is run.

    Its ENV may be left out, and its ZONE be short.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for each in self.params:
            # Required all the same; else Typer refuses it before anybody has looked for the default.
            each.required = each.required and each.envvar != VARIABLE

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer's."""
        if ctx.resilient_parsing:
            take_as_typed(self.get_params(ctx))
        elif self._lacks_environment(ctx, args):
            args = [default_environment(), *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """As Typer's, with zones by their full names."""
        for parameter in self.params:
            typed = ctx.params.get(parameter.name)
            if typed and "ZONE" in (parameter.metavar or ""):
                full = partial(full_zone, environment=ctx.params["env"])
                ctx.params[parameter.name] = full(typed) if isinstance(typed, str) else [full(each) for each in typed]
        return super().invoke(ctx)

    def _lacks_environment(self, ctx: Any, args: list[str]) -> bool:
        """Whether the words are those of a command whose ENV may be left out, and was."""
        arguments = [each for each in self.params if each.param_type_name == "argument"]
        if not arguments or arguments[0].envvar != VARIABLE:
            return False
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        if any(each.name == "help" for each in order):
            return False
        first = given.get("env")
        if not isinstance(first, str):
            return True
        if is_environment(first):
            return False
        needed = [each.name for each in arguments[1:] if each.required]
        takes_key = [each.name for each in arguments[1:2]] == ["key"]
        return any(not given.get(name) for name in needed) or (takes_key and is_key(first))


class Group(TyperGroup):
    """A group of commands, whose own options are flags: typed as what they are."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer's."""
        take_as_typed(self.get_params(ctx))
        return super().parse_args(ctx, args)


class BySection(Group):
    """Help that says in a line what each command does, by what it is for; each has its own help."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """A line for each command; the first of a section names it."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command and not command.hidden:
                found = sections.setdefault(str(getattr(command, "rich_help_panel", "")), [])
                found.append((name, command.get_short_help_str(_SHORT_HELP_COLUMNS)))
        with formatter.section("Commands (edge COMMAND --help tells more)"):
            for section, lines in sections.items():
                for number, (name, words) in enumerate(lines):
                    formatter.write(f"  {'' if number else section:<12} {name:<11}  {words}\n")


def _told_version(wanted: bool) -> None:  # noqa: FBT001
    if wanted:
        from importlib import metadata

        show(f"edge {metadata.version(PROJECT)}")
        raise typer.Exit


app = typer.Typer(
    name="edge",
    cls=BySection,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    # Plain help: no boxes that break in a file or a narrow window, and a third sooner.
    rich_markup_mode=None,
    help="LLM inference at the edge: deploy and drive an environment's sites.\n\n"
    "ENV may be left out where there is one environment, or EDGE_ENV names it.\n\nExample: edge up local",
)


@app.callback(help=app.info.help)
def _options(
    version: Annotated[  # noqa: FBT002
        bool, typer.Option("--version", is_eager=True, help="Print the version and end.", callback=_told_version)
    ] = False,
) -> None:
    """Of `edge` itself."""


cloud_app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The local cloud: a small AWS on this machine.\n\nExample: edge cloud status",
)
env_app = typer.Typer(
    cls=Group, no_args_is_help=True, rich_markup_mode=None, help='Variables for other tools.\n\nExample: eval "$(edge env local)"'
)

_SECTIONS = {
    "set up": (setup.zones, place.place, setup.init, setup.keys, config.config, setup.doctor),
    "deploy": (plan.plan, deployment.up, deployment.outputs),
    "use": (ask.ask,),
    "look at": (overview.status, logs.logs, overview.ssh, overview.cost, usage.usage),
    "routes": (routes.resolve, routes.routes),
    "measure": (bench.bench,),
    "look after": (
        deployment.drift,
        deployment.refresh,
        deployment.sweep,
        deployment.restart,
        routes.drain,
        certificate.certificate,
        rotate.rotate,
        deployment.cancel,
    ),
    "take down": (deployment.unprotect, deployment.destroy),
}
for section, commands in _SECTIONS.items():
    for command in commands:
        app.command(cls=Command, rich_help_panel=section)(command)
# Pulumi's own word for it.
app.command("preview", cls=Command, hidden=True)(plan.plan)
# Its own name is one of Python's.
app.command("list", cls=Command, rich_help_panel="look at")(environments.list_environments)
for command in (cloud.start, cloud.stop, cloud.status, cloud.logs):
    cloud_app.command(cls=Command)(command)
secret_app = typer.Typer(
    cls=Group, no_args_is_help=True, rich_markup_mode=None, help="Secrets by name.\n\nExample: edge secret list prod"
)
for name, command in (
    ("set", config.secret_set),
    ("get", config.secret_get),
    ("list", config.secret_list),
    ("unset", config.secret_unset),
):
    secret_app.command(name, cls=Command)(command)
app.add_typer(secret_app, name="secret", rich_help_panel="set up")
env_app.command("local", cls=Command)(cloud.variables)
app.add_typer(cloud_app, name="cloud", rich_help_panel="local cloud")
app.add_typer(env_app, name="env", rich_help_panel="local cloud")


def _words(error: OSError) -> str:
    """The system's own words, with the path, or the folder whose disk is full: what was written there has none."""
    if error.filename:
        return f"{error.filename}: {error.strerror}"
    if error.errno != errno.ENOSPC:
        return str(error)
    from automation.engine.state_files import full_disks
    from automation.paths import LOCAL_DIRECTORY

    folders = full_disks(LOCAL_DIRECTORY, Path.cwd(), Path(tempfile.gettempdir()), Path.home())
    return f"{error.strerror}: {folders[0] if folders else Path.cwd()}\n  -> make room there: df -h"


def _refuse_invisible(words: Sequence[str]) -> None:
    """UsageError for an argument with control characters: click's own messages would send them to the terminal."""
    for number, word in enumerate(words, 1):
        if (shown := printable(word).replace("\n", "\\n")) != word:
            raise UsageError(f"argument {number} holds characters that nobody sees, shown escaped here: {shown}")


def main() -> None:
    """The console script: user errors are one text and an exit code, never a traceback."""
    # `>&-`: what is written goes nowhere, and no file that is opened later gets it.
    sys.stdin, sys.stdout, sys.stderr = (
        stream or Path(os.devnull).open(mode)  # noqa: SIM115 - as long as the program runs
        for stream, mode in ((sys.stdin, "r"), (sys.stdout, "w"), (sys.stderr, "w"))
    )
    # A closed terminal and a service manager ask to stop as Ctrl-C does; the run itself decides how (engine.py).
    for number in (signal.SIGTERM, signal.SIGHUP):
        # `nohup` has it ignored, and means it.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        _refuse_invisible(sys.argv[1:])
        app()
    except EdgeError as error:
        say(f"error: {error}")
        for line in getattr(error, "summary", ()):
            say(line)
        if error.log:
            say(f"log: {short_path(error.log)}")
        sys.exit(error.exit_code)
    except Exception as error:
        # Imported late: help and completion need none of it.
        from localcloud.client import CloudError
        from ttft.errors import TtftError

        if not isinstance(error, CloudError | TtftError | OSError):
            raise
        # A folder that cannot be written, a full disk: the system's own words, with the path.
        words = _words(error) if isinstance(error, OSError) else str(error)
        say(f"error: {words}")
        sys.exit(error.exit_code if isinstance(error, TtftError) else 1)
    except KeyboardInterrupt:
        say("interrupted; what was finished stays. Continue with the same command.")
        sys.exit(130)
