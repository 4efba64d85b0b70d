"""`edge up`, `refresh`, `drift`, `destroy`, `outputs` and what unblocks them: from nothing to serving, and back.

Longer than others: one command after the other, each with the words that it is told in.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from automation.commands.options import (
    EnvironmentName,
    EventsFlag,
    FallbackFlag,
    JsonFlag,
    LocalFlag,
    OptionalZoneName,
    TypedEnvironmentName,
    YesFlag,
    ZoneName,
    open_environment,
)
from automation.commands.plan import tell_plan
from automation.commands.telling import described, price_lines, told, where
from automation.commands.terminal import confirm, say, show, show_json, show_json_line
from automation.errors import DRIFT_EXIT_CODE, DeploymentFailedError, EdgeError, OrphansError, UsageError

if TYPE_CHECKING:
    from automation.account.orphans import Thing
    from automation.account.prices import HourlyPrice
    from automation.engine.results import Changes
    from automation.environment import Environment


def up(  # noqa: PLR0913, PLR0917 - its options
    env: EnvironmentName,
    local: LocalFlag = False,  # noqa: FBT002
    as_json: EventsFlag = False,  # noqa: FBT002
    yes: YesFlag = False,  # noqa: FBT002
    site: Annotated[str | None, typer.Option("--site", metavar="ZONE", help="Bring only this site up to the config.")] = None,
    replace_host: Annotated[
        list[str] | None,
        typer.Option("--replace-host", metavar="ZONE[-N]", help="Replace these hosts, drained and one after another."),
    ] = None,
    all_at_once: Annotated[  # noqa: FBT002
        bool, typer.Option("--all-at-once", help="For emergencies: change all together, drain none.")
    ] = False,
    fallback: FallbackFlag = False,  # noqa: FBT002
) -> None:
    """Deploy an environment: afterwards every site serves.

    Servers and hosts that serve change one after another, so that users notice nothing (config: rollout). On a terminal a table
    shows how far each site is. Ctrl-C once finishes the steps at work and stops; twice cuts them off.

    Example: edge up local
    """
    environment = open_environment(env, local=local)
    if not environment.on_local_cloud and not yes:
        price = tell_plan(environment, say).price
        confirm(f"Deploy '{env}' to AWS, at {price.after}?")
    deploy(environment, as_json=as_json, site=site, replace_hosts=replace_host or (), all_at_once=all_at_once, fallback=fallback)


def deploy(environment: "Environment", *, as_json: bool, **options: Any) -> None:
    """Runs `up`, and tells it; `options` are its own."""
    try:
        with told("Deploying", environment, as_json=as_json, has_table=True) as on_event:
            changes = environment.up(on_event, **options)
    except DeploymentFailedError as error:
        error.summary = tuple(_sites_after(environment, error)) if error.sites else ()
        raise
    if as_json:
        show_json_line({**_result("up", changes), "steps": changes.steps, "outputs": changes.outputs})
        return
    _show_deployed(environment, changes)


def refresh(env: EnvironmentName, local: LocalFlag = False, as_json: EventsFlag = False) -> None:  # noqa: FBT002
    """Read back into the state what is really there.

    AWS is not changed.

    Example: edge refresh prod
    """
    environment = open_environment(env, local=local)
    with told("Refreshing", environment, as_json=as_json) as on_event:
        changes = environment.refresh(on_event)
    if as_json:
        from automation.account.orphans import described as things

        show_json_line({**_result("refresh", changes), "orphans": things(changes.orphans)})
        return
    show(_summary(changes))
    say(f"log: {_path(changes.log)}")


def sweep(env: TypedEnvironmentName, local: LocalFlag = False, yes: YesFlag = False) -> None:  # noqa: FBT002
    """Remove what AWS has and no state knows.

    What a killed run made before it was recorded. Only what carries the deployment's id, hangs on that, or leads to it.
    Exit code 10 where something could not be removed.

    Example: edge sweep prod
    """
    environment = open_environment(env, local=local)
    found = environment.orphans()
    if not found:
        show("AWS has nothing of this deployment beside its state.")
        return
    _sweep(environment, found, show, ask=not environment.on_local_cloud and not yes)


def drift(env: EnvironmentName, local: LocalFlag = False, as_json: JsonFlag = False) -> None:  # noqa: FBT002
    """List where AWS is not as the state says.

    Changes nothing. Exit code 7 where something differs.

    Example: edge drift prod || echo "someone was here"
    """
    environment = open_environment(env, local=local)
    if as_json:
        found = environment.drift()
        foreign = [asdict(each) for each in found.foreign]
        show_json({"drift": described(found.resources), "foreign": foreign, "seconds": round(found.seconds, 1)})
    else:
        with told("Drift", environment, is_plan=True) as on_event:
            found = environment.drift(on_event)
        for each in found.resources:
            words = "is gone" if each.operation == "delete" else f"differs: {', '.join(each.differs) or 'unknown where'}"
            show(f"{each.name}  {each.kind}  {words}")
            for name, (old, new) in each.values.items():
                show(f"    {name}: {json.dumps(old)} -> {json.dumps(new)}")
        for each in found.foreign:
            show(f"{each.inside}  holds what nobody here manages: {each.what}\n  -> {each.remove}")
        if found.resources:
            name = environment.arguments
            count = "1 resource differs" if len(found.resources) == 1 else f"{len(found.resources)} resources differ"
            show(f"{count}\n  -> edge refresh {name} && edge up {name}   # mends it")
        if not found:
            show(f"No drift: AWS is as the state says ({found.seconds:.1f} s).")
    if found:
        raise typer.Exit(DRIFT_EXIT_CODE)


def destroy(env: TypedEnvironmentName, local: LocalFlag = False, as_json: EventsFlag = False, yes: YesFlag = False) -> None:  # noqa: FBT002
    """Remove everything that an environment deployed.

    Refused while it is protected, and with another AWS account's credentials.

    Example: edge destroy local
    """
    environment = open_environment(env, local=local)
    goes = environment.plan_destroy()
    if goes.resources:
        say(f"'{env}' on {where(environment)}: {goes.resources} resources go, with them:")
        for zone, site in goes.sites.items():
            say(f"  {zone:<18} {site.instances} x {site.instance_type}")
        for line in price_lines("  stops: ", environment, goes.price):
            say(line)
    else:
        say(f"'{env}' on {where(environment)}: nothing is deployed.")
    if goes.resources and not environment.on_local_cloud and not yes:
        confirm(f"Destroy '{env}' on AWS? Its sites stop serving.")
    _sweep_before(environment, yes=yes)
    with told("Destroying", environment, as_json=as_json) as on_event:
        changes = environment.destroy(on_event)
    if as_json:
        show_json_line(_result("destroy", changes))
        return
    show(_summary(changes))
    say(f"log: {_path(changes.log)}")
    if environment.on_local_cloud:
        say("The local cloud itself still runs: edge cloud stop")


def restart(
    env: EnvironmentName,
    zone: ZoneName,
    replica: Annotated[int | None, typer.Option("--replica", metavar="N", min=1, help="One of the zone's hosts only.")] = None,
    local: LocalFlag = False,  # noqa: FBT002
) -> None:
    """Start a site's servers anew, one after another.

    Waits until each serves. Requests that run there are cut off: `edge drain` before it, and `--back` afterwards, spare them.

    Example: edge restart prod us-west-2-lax-1a
    """
    open_environment(env, local=local).restart(zone, replica)


def unprotect(env: TypedEnvironmentName, zone: OptionalZoneName = None, local: LocalFlag = False, yes: YesFlag = False) -> None:  # noqa: FBT002
    """Take the protection off, until the next `up`.

    Hosts and addresses can then be deleted or replaced.

    Example: edge unprotect prod us-west-2-hnl-1a
    """
    environment = open_environment(env, local=local)
    if not environment.on_local_cloud and not yes:
        confirm(f"Take the protection off {zone or 'everything'} in '{env}'?")
    names = environment.unprotect(zone)
    for name in names:
        show(name)
    count = "1 resource is" if len(names) == 1 else f"{len(names)} resources are"
    them = "it" if len(names) == 1 else "them"
    show(f"{count} not protected any more; the next `up` protects {them} again." if names else "Nothing was protected.")


def cancel(env: EnvironmentName, local: LocalFlag = False) -> None:  # noqa: FBT002
    """Remove the lock that a killed run left.

    A run of this machine that is at work keeps its own.

    Example: edge cancel prod
    """
    environment = open_environment(env, local=local)
    environment.cancel()
    show(f"No lock is left\n  -> edge refresh {environment.arguments}   # reads back what the killed run has made")


def outputs(env: EnvironmentName, local: LocalFlag = False, as_json: JsonFlag = False) -> None:  # noqa: FBT002
    """Print what is deployed: URLs, addresses, names.

    Example: edge outputs local --json
    """
    environment = open_environment(env, local=local)
    values = environment.outputs()
    if as_json:
        show_json(values)
    else:
        _show_endpoints(values, environment)


def _sweep_before(environment: "Environment", *, yes: bool) -> None:
    """Offers to remove what the state does not know: it can be in the way, and would be left."""
    try:
        found = environment.orphans()
    except EdgeError as error:
        say(str(error))
        return
    if found:
        try:
            _sweep(environment, found, say, ask=not environment.on_local_cloud and not yes)
        except (typer.Abort, UsageError):
            say("It stays, and `edge destroy` will not end well while it does.")


def _sweep(environment: "Environment", found: "Sequence[Thing]", tell: Callable[[str], None], *, ask: bool) -> None:
    """Lists what was found, asks, removes it."""
    from automation.account.orphans import listed

    count = "one object" if len(found) == 1 else f"{len(found)} objects"
    tell(f"AWS has {count} of '{environment.name}' that its state does not know:")
    for line in listed(found):
        tell(line)
    if ask:
        confirm(f"Remove {count} from AWS?")
    swept = environment.sweep(found)
    if swept.left:
        raise OrphansError(
            f"{len(swept.left)} of {len(found)} could not be removed; the reasons stand above\n"
            f"  -> edge sweep {environment.arguments}   # when they are mended"
        )
    tell(f"Removed: {len(swept.removed)}.")


def _show_deployed(environment: "Environment", changes: "Changes") -> None:
    from automation.commands.progress import step_lines

    for line in step_lines(changes.steps):
        say(line)
    show(_summary(changes))
    _show_endpoints(changes.outputs, environment)
    for line in price_lines("price     ", environment, _price_of(changes.outputs)):
        show(line)
    say(f"log       {_path(changes.log)}")


def _sites_after(environment: "Environment", error: DeploymentFailedError) -> Iterator[str]:
    """A line for each site after a run that failed: what serves, what failed where, and the command that goes on. Why it failed,
    the error says.
    """
    try:
        values = environment.outputs()
        answers = environment.serving(values)
    except EdgeError:
        values, answers = {}, {}
    sites: Mapping[str, Any] = values.get("sites", {})
    zones = [*sites, *(zone for zone in error.sites if zone not in sites)]
    yield f"{len(error.sites)} of {len(zones)} sites failed:"
    width = max(map(len, zones))
    for zone in zones:
        serves = zone in sites and any(answers[f"{zone}-{number}"].serves for number, _ in enumerate(sites[zone]["replicas"], 1))
        failed = [f"failed at {error.sites[zone].stage}"] if zone in error.sites else []
        as_before = ", as before" if failed else ""
        states = [*failed, *([f"serves {values['endpoint_urls'][zone]}{as_before}"] if serves else [])]
        yield f"  {zone:<{width}}  {'; '.join(states) or 'does not serve'}"
    yield f"  -> edge up {environment.arguments}   # when the cause is mended; what serves stays as it is"


def _summary(changes: "Changes") -> str:
    counted = ", ".join(f"{count} {operation}" for operation, count in sorted(changes.counts.items()))
    if not changes.changed:
        return f"No changes: {counted or 'nothing there'} ({changes.seconds:.1f} s)."
    return f"Done: {counted} ({changes.seconds:.1f} s)."


def _show_endpoints(values: Any, environment: "Environment") -> None:
    """Endpoint URLs, and the command that asks as a user does."""
    if values.get("service_url"):
        show(f"service   {values['service_url']}")
    endpoints: dict[str, str | None] = values.get("endpoint_urls", {})
    sites: Mapping[str, Any] = values.get("sites", {})
    for zone, url in endpoints.items():
        doubt = "" if _served(sites[zone]) else "   (the last run did not see it serve)"
        show(f"endpoint  {zone:<18} {f'{url}{doubt}' if url else 'has no address yet'}")
    if any(url and _served(sites[zone]) for zone, url in endpoints.items()):
        show(f'ask       edge ask {environment.arguments} "What is the edge?"')


def _served(site: Mapping[str, Any]) -> bool:
    """Whether the run saw a site's first replica serve, whose URL stands for the site's."""
    return bool(site["replicas"][0]["served"])


def _price_of(values: Mapping[str, Any]) -> "HourlyPrice":
    """What the instances of an environment's outputs cost."""
    from automation.account.prices import hourly_price

    sites: dict[str, dict[str, Any]] = values.get("sites", {})
    return hourly_price(
        (zone, site["instance_type"]) for zone, site in sites.items() for replica in site["replicas"] if replica["instance_id"]
    )


def _result(operation: str, changes: "Changes") -> dict[str, Any]:
    return {
        "event": "result",
        "operation": operation,
        "changes": dict(changes.counts),
        "seconds": round(changes.seconds, 1),
        "resources": described(changes.resources),
        "log": str(changes.log),
    }


def _path(log: Any) -> str:
    """A path as short as it can be typed from here."""
    from automation.commands.terminal import short_path

    return short_path(log)
