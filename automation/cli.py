"""`edge`: the command line over Environment and the local cloud. Here is the list of its commands, and how they end.

Everything that is not asked for stays unimported, so that help and completion come at once.
"""

import sys

import typer

from automation.commands import bench, cloud, deployment, routes, setup
from automation.errors import EdgeError
from automation.terminal import say

app = typer.Typer(
    name="edge",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="LLM inference at the edge: deploy and drive an environment's sites.\n\nExample: edge up local",
)
cloud_app = typer.Typer(no_args_is_help=True, help="The local cloud: a small AWS on this machine.\n\nExample: edge cloud status")
env_app = typer.Typer(no_args_is_help=True, help='Variables for other tools.\n\nExample: eval "$(edge env local)"')

for command in (
    deployment.up,
    deployment.preview,
    deployment.destroy,
    deployment.outputs,
    routes.resolve,
    routes.routes,
    routes.drain,
    bench.bench,
    setup.keys,
):
    app.command()(command)
for command in (cloud.start, cloud.stop, cloud.status, cloud.logs):
    cloud_app.command()(command)
env_app.command("local")(cloud.variables)
app.add_typer(cloud_app, name="cloud")
app.add_typer(env_app, name="env")


def main() -> None:
    """The console script: user errors are one text and an exit code, never a traceback."""
    from localcloud.client import CloudError

    try:
        app()
    except CloudError as error:
        say(f"error: {error}")
        sys.exit(1)
    except EdgeError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("interrupted; what was finished stays. Continue with the same command.")
        sys.exit(130)
