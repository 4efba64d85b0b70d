"""`edge up`, `preview`, `destroy`, `outputs`: an environment from nothing to serving, and back."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from automation.commands.options import EnvironmentName, JsonFlag, LocalFlag, YesFlag, open_environment
from automation.terminal import confirm, say, show, show_json

if TYPE_CHECKING:
    from automation.environment import Changes, Environment


def up(env: EnvironmentName, local: LocalFlag = False, as_json: JsonFlag = False, yes: YesFlag = False) -> None:  # noqa: FBT002
    """Deploy an environment: afterwards every site serves.

    Example: edge up local
    """
    from automation.progress import step_lines

    environment = open_environment(env, local=local)
    if not environment.on_local_cloud and not yes:
        show_run("Preview", environment, environment.preview, is_preview=True)
        confirm(f"Deploy '{env}' to AWS?")
    changes = show_run("Deploying", environment, environment.up)
    if as_json:
        show_json(
            {
                "changes": dict(changes.counts),
                "seconds": round(changes.seconds, 1),
                "steps": {replica: dict(times) for replica, times in changes.steps.items()},
                "outputs": dict(changes.outputs),
            }
        )
        return
    for line in step_lines(changes.steps):
        say(line)
    say(_summary(changes))
    _show_endpoints(changes.outputs)


def preview(env: EnvironmentName, local: LocalFlag = False, as_json: JsonFlag = False) -> None:  # noqa: FBT002
    """Show what `up` would change; change nothing.

    Example: edge preview prod
    """
    environment = open_environment(env, local=local)
    changes = show_run("Preview", environment, environment.preview, is_preview=True)
    if as_json:
        show_json({"changes": dict(changes.counts), "seconds": round(changes.seconds, 1)})
        return
    say(_summary(changes, would=True))


def destroy(env: EnvironmentName, local: LocalFlag = False, as_json: JsonFlag = False, yes: YesFlag = False) -> None:  # noqa: FBT002
    """Remove everything that an environment deployed.

    Example: edge destroy local
    """
    environment = open_environment(env, local=local)
    if not environment.on_local_cloud and not yes:
        confirm(f"Destroy '{env}' on AWS? Its sites stop serving.")
    changes = show_run("Destroying", environment, environment.destroy)
    if as_json:
        show_json({"changes": dict(changes.counts), "seconds": round(changes.seconds, 1)})
        return
    say(_summary(changes))
    if environment.on_local_cloud:
        say("The local cloud itself still runs: edge cloud stop")


def outputs(env: EnvironmentName, local: LocalFlag = False, as_json: JsonFlag = False) -> None:  # noqa: FBT002
    """Print what is deployed: endpoint URLs, addresses, names.

    Example: edge outputs local --json
    """
    values = open_environment(env, local=local).outputs()
    if as_json:
        show_json(values)
    else:
        _show_endpoints(values)


def show_run(title: str, environment: "Environment", run: "Callable[..., Changes]", *, is_preview: bool = False) -> "Changes":
    """Runs the engine and shows its progress, and where it runs."""
    from automation.progress import ProgressLines

    where = "the local cloud (simulated AWS)" if environment.on_local_cloud else "AWS"
    say(f"{title}: '{environment.name}' on {where}")
    with ProgressLines(say, is_preview=is_preview) as progress:
        changes = run(on_event=progress.on_event)
    if environment.name != "local":
        for stand_in in environment.stand_ins:
            say(f"  stand-in  {stand_in}")
    return changes


def _summary(changes: "Changes", *, would: bool = False) -> str:
    counted = ", ".join(f"{count} {operation}" for operation, count in sorted(changes.counts.items()))
    if not changes.changed:
        return f"No changes: {counted or 'nothing there'} ({changes.seconds:.1f} s)."
    return f"{'Would change' if would else 'Done'}: {counted} ({changes.seconds:.1f} s)."


def _show_endpoints(values: Any) -> None:
    """Endpoint URLs, and a command that shows one of them stream."""
    if values.get("service_url"):
        show(f"service   {values['service_url']}")
    endpoints: dict[str, str | None] = values.get("endpoint_urls", {})
    routing: dict[str, Any] = values.get("routing") or {}
    for zone, url in endpoints.items():
        show(f"endpoint  {zone:<18} {url or 'does not serve'}{'  (drained)' if zone in routing.get('drained', []) else ''}")
    if url := next(filter(None, endpoints.values()), None):
        show("\nTry one:")
        show(
            f"  curl -N {url}/generate_stream -H 'Content-Type: application/json' \\\n"
            '    -d \'{"inputs": "What is the edge?", "parameters": {"max_new_tokens": 20}}\''
        )
