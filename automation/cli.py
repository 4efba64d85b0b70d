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
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from automation.commands import ask, bench, certificate, cloud, config, deployment, overview, place, routes, setup
from automation.commands.terminal import say, short_path
from automation.errors import EdgeError, UsageError
from components.problems import printable


def take_as_typed(parameters: Iterable[Any]) -> None:
    """Leaves the values of parameters as they were typed: to make others of them, Typer imports pydantic, which takes as long as
    all the rest of a completion.
    """

    def process(parameter: Any, ctx: Any, value: object) -> object:
        return parameter.callback(ctx, parameter, value) if parameter.callback else value

    for parameter in parameters:
        parameter.process_value = partial(process, parameter)


class Command(TyperCommand):
    """A command that is completed at once: no value is needed where nothing is run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer's."""
        if ctx.resilient_parsing:
            take_as_typed(self.get_params(ctx))
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    """A group of commands, whose own options are flags: typed as what they are."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer's."""
        take_as_typed(self.get_params(ctx))
        return super().parse_args(ctx, args)


class BySection(Group):
    """Help that names all commands by what they are for, so that it fits a screen; each has its own help."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """A line for each section."""
        names: dict[str, list[str]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command and not command.hidden:
                names.setdefault(str(getattr(command, "rich_help_panel", "")), []).append(name)
        with formatter.section("Commands (edge COMMAND --help tells more)"):
            formatter.write_dl([(section, ", ".join(found)) for section, found in names.items()])


app = typer.Typer(
    name="edge",
    cls=BySection,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    # Plain help: no boxes that break in a file or a narrow window, and a third sooner.
    rich_markup_mode=None,
    help="LLM inference at the edge: deploy and drive an environment's sites.\n\nExample: edge up local",
)
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
    "deploy": (deployment.plan, deployment.up, deployment.outputs),
    "use": (ask.ask,),
    "look at": (overview.status, overview.logs, overview.ssh, overview.cost),
    "who gets which site": (routes.resolve, routes.routes),
    "measure": (bench.bench,),
    "look after": (
        deployment.drift,
        deployment.refresh,
        deployment.sweep,
        deployment.restart,
        routes.drain,
        certificate.certificate,
        deployment.cancel,
    ),
    "take down": (deployment.unprotect, deployment.destroy),
}
for section, commands in _SECTIONS.items():
    for command in commands:
        app.command(cls=Command, rich_help_panel=section)(command)
# Pulumi's own word for it.
app.command("preview", cls=Command, hidden=True)(deployment.plan)
for command in (cloud.start, cloud.stop, cloud.status, cloud.logs):
    cloud_app.command(cls=Command)(command)
secret_app = typer.Typer(
    cls=Group, no_args_is_help=True, rich_markup_mode=None, help="Secrets by name.\n\nExample: edge secret list prod"
)
for name, command in (("set", config.secret_set), ("list", config.secret_list), ("unset", config.secret_unset)):
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
