"""`edge`: the command line over Environment and the local cloud. Thin: it parses, prints and ends with an exit code.

Everything that is not asked for stays unimported, so that help and completion come at once. Results go to standard output,
progress and questions to standard error.
"""

import json
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from automation.errors import CloudNotRunningError, EdgeError, UsageError
from automation.paths import LOCAL_DIRECTORY

if TYPE_CHECKING:
    from automation.environment import Changes, Environment

app = typer.Typer(
    name="edge",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="LLM inference at the edge: deploy and drive an environment's sites.\n\nExample: edge up local",
)
cloud_app = typer.Typer(no_args_is_help=True, help="The local cloud: a small AWS on this machine.\n\nExample: edge cloud status")
env_app = typer.Typer(no_args_is_help=True, help='Variables for other tools.\n\nExample: eval "$(edge env local)"')
app.add_typer(cloud_app, name="cloud")
app.add_typer(env_app, name="env")

EnvironmentName = Annotated[str, typer.Argument(metavar="ENV", help="local, dev, prod: the name in Pulumi.ENV.yaml")]
LocalFlag = Annotated[bool, typer.Option("--local", help="Rehearse on the local cloud, with stand-ins for what is yours.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON, alone on standard output.")]
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command()
def up(env: EnvironmentName, local: LocalFlag = False, as_json: JsonFlag = False, yes: YesFlag = False) -> None:  # noqa: FBT002
    """Deploy an environment: afterwards every site serves.

    Example: edge up local
    """
    from automation.progress import step_lines

    environment = _environment(env, local=local)
    if not environment.on_local_cloud and not yes:
        _show_run("Preview", environment, environment.preview, is_preview=True)
        _confirm(f"Deploy '{env}' to AWS?")
    changes = _show_run("Deploying", environment, environment.up)
    if as_json:
        _print_json(
            {
                "changes": dict(changes.counts),
                "seconds": round(changes.seconds, 1),
                "steps": {replica: dict(times) for replica, times in changes.steps.items()},
                "outputs": dict(changes.outputs),
            }
        )
        return
    for line in step_lines(changes.steps):
        _say(line)
    _say(_summary(changes))
    _show_endpoints(changes.outputs)


@app.command()
def preview(env: EnvironmentName, local: LocalFlag = False, as_json: JsonFlag = False) -> None:  # noqa: FBT002
    """Show what `up` would change; change nothing.

    Example: edge preview prod
    """
    environment = _environment(env, local=local)
    changes = _show_run("Preview", environment, environment.preview, is_preview=True)
    if as_json:
        _print_json({"changes": dict(changes.counts), "seconds": round(changes.seconds, 1)})
        return
    _say(_summary(changes, would=True))


@app.command()
def destroy(env: EnvironmentName, local: LocalFlag = False, as_json: JsonFlag = False, yes: YesFlag = False) -> None:  # noqa: FBT002
    """Remove everything that an environment deployed.

    Example: edge destroy local
    """
    environment = _environment(env, local=local)
    if not environment.on_local_cloud and not yes:
        _confirm(f"Destroy '{env}' on AWS? Its sites stop serving.")
    changes = _show_run("Destroying", environment, environment.destroy)
    if as_json:
        _print_json({"changes": dict(changes.counts), "seconds": round(changes.seconds, 1)})
        return
    _say(_summary(changes))
    if environment.on_local_cloud:
        _say("The local cloud itself still runs: edge cloud stop")


@app.command()
def outputs(env: EnvironmentName, local: LocalFlag = False, as_json: JsonFlag = False) -> None:  # noqa: FBT002
    """Print what is deployed: endpoint URLs, addresses, names.

    Example: edge outputs local --json
    """
    values = _environment(env, local=local).outputs()
    if as_json:
        _print_json(values)
    else:
        _show_endpoints(values)


@app.command()
def keys(env: EnvironmentName) -> None:
    """Make the deployer's SSH key and the host-key secret of an environment, and store them encrypted in its stack.

    Example: edge keys prod
    """
    from automation.keys import new_deployer_key, new_host_key_secret

    environment = _environment(env, local=False)
    wanted: dict[str, Callable[[], str]] = {
        "edge-inference:sshPrivateKey": new_deployer_key,
        "edge-inference:hostKeySecret": new_host_key_secret,
    }
    missing = {key: make() for key, make in wanted.items() if not environment.has_config(key)}
    if not missing:
        raise UsageError(
            f"'{env}' has both keys already, and new ones would replace its hosts\n"
            "  -> to rotate on purpose: pulumi config rm edge-inference:sshPrivateKey, then this again"
        )
    environment.store_secrets(missing)
    for key in missing:
        _say(f"made and stored {key}")


@env_app.command("local")
def env_local(
    stack: Annotated[str, typer.Option(help="The environment whose stack plain `pulumi` then acts on.")] = "local",
) -> None:
    """Print shell exports, so that plain `pulumi up -s local` works by hand.

    Example: eval "$(edge env local)" && pulumi preview -s local
    """
    for name, value in _environment(stack, local=True).shell_variables().items():
        # PATH refers to the shell's own.
        sys.stdout.write(f'export {name}="{value}"\n' if name == "PATH" else f"export {name}={shlex.quote(value)}\n")


@cloud_app.command("start")
def cloud_start(
    port: Annotated[int | None, typer.Option(help="Port of the API; by default 4599, or a free one.")] = None,
) -> None:
    """Start the local cloud in the background.

    Example: edge cloud start
    """
    from localcloud import client

    status = client.start(LOCAL_DIRECTORY, port=port, say=_say)
    _say(f"The local cloud runs at {status.url} (process {status.pid}).")


@cloud_app.command("stop")
def cloud_stop() -> None:
    """Stop the local cloud; what was deployed there is gone.

    Example: edge cloud stop
    """
    from localcloud import client

    if client.stop(LOCAL_DIRECTORY):
        _say("The local cloud is stopped, and what was deployed there is gone with it.")
    else:
        _say("The local cloud is not running.")


@cloud_app.command("status")
def cloud_status(as_json: JsonFlag = False) -> None:  # noqa: FBT002
    """Show the local cloud and its hosts.

    Example: edge cloud status
    """
    from localcloud import client

    status = client.status(LOCAL_DIRECTORY)
    if status is None:
        raise CloudNotRunningError("the local cloud is not running\n  -> edge cloud start")
    described = status.request("GET", "status")
    if as_json:
        _print_json(described)
        return
    _print(f"local cloud at {status.url}, process {status.pid}, since {status.started}")
    hosts: list[dict[str, Any]] = list(described["hosts"])
    for host in hosts:
        containers = ", ".join(f"{each['name']} {each['status']}" for each in host["containers"]) or "no container"
        _print(f"  {host['instance_id']}  {host['zone']}  {host['address'] or 'no address'}  {host['state']}  {containers}")
    if not hosts:
        _print("  no hosts")
    for problem in described["problems"]:
        _print(f"  problem: {problem}")


@cloud_app.command("logs")
def cloud_logs(lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.")] = 50) -> None:
    """Print the last lines of the local cloud's log.

    Example: edge cloud logs -n 100
    """
    log = LOCAL_DIRECTORY / "cloud.log"
    if not log.exists():
        raise UsageError("the local cloud was never started here\n  -> edge cloud start")
    _print("\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]))


def main() -> None:
    """The console script: user errors are one text and an exit code, never a traceback."""
    from localcloud.client import CloudError

    try:
        app()
    except CloudError as error:
        _say(f"error: {error}")
        sys.exit(1)
    except EdgeError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("interrupted; what was finished stays. Continue with the same command.")
        sys.exit(130)


def _environment(name: str, *, local: bool) -> "Environment":
    from automation.environment import Environment

    return Environment(name, on_local_cloud=local, say=_say)


def _show_run(title: str, environment: "Environment", run: "Callable[..., Changes]", *, is_preview: bool = False) -> "Changes":
    from automation.progress import ProgressLines

    where = "the local cloud (simulated AWS)" if environment.on_local_cloud else "AWS"
    _say(f"{title}: '{environment.name}' on {where}")
    with ProgressLines(_say, is_preview=is_preview) as progress:
        changes = run(on_event=progress.on_event)
    if environment.name != "local":
        for stand_in in environment.stand_ins:
            _say(f"  stand-in  {stand_in}")
    return changes


def _summary(changes: "Changes", *, would: bool = False) -> str:
    counted = ", ".join(f"{count} {operation}" for operation, count in sorted(changes.counts.items()))
    if not changes.changed:
        return f"No changes: {counted or 'nothing there'} ({changes.seconds:.1f} s)."
    return f"{'Would change' if would else 'Done'}: {counted} ({changes.seconds:.1f} s)."


def _show_endpoints(values: Any) -> None:
    """Endpoint URLs, and a command that shows one of them stream."""
    if values.get("service_url"):
        _print(f"service   {values['service_url']}")
    endpoints: dict[str, str | None] = values.get("endpoint_urls", {})
    for zone, url in endpoints.items():
        _print(f"endpoint  {zone:<18} {url or 'does not serve'}")
    if url := next(filter(None, endpoints.values()), None):
        _print("\nTry one:")
        _print(
            f"  curl -N {url}/generate_stream -H 'Content-Type: application/json' \\\n"
            '    -d \'{"inputs": "What is the edge?", "parameters": {"max_new_tokens": 20}}\''
        )


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to answer on\n  -> add --yes")
    typer.confirm(question, abort=True, err=True)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _print_json(value: object) -> None:
    _print(json.dumps(value, indent=2))
