"""What `up` does within its run: hosts that are stopped or replaced go in turns, the engine does the rest, all must serve.

One run of the engine where no host goes; else one for everything but them, and one for each turn. Leaves out the run's own frame
(runs.py) and how a host leaves and comes back (sites/host_turns.py).
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pulumi.automation import errors as engine_errors

from automation.engine.deployed import Deployed
from automation.engine.outputs import recorded_outputs, told_outputs
from automation.engine.results import inventory_of
from automation.engine.run import Run
from automation.errors import UsageError
from components.host_changes import OF_A_REGION, replaces
from components.rollout import MODE_VARIABLE, Mode
from components.settings import Settings, validate

if TYPE_CHECKING:
    from automation.engine.config_plan import ConfigPlan
    from automation.engine.rollout import RolloutPlan
    from automation.sites.host_turns import Departures, Turn
    from automation.sites.serving import Replica

ROUTING_TARGETS = ["**::routing", "**::routing-*", "**::deployment"]
"""URNs of the routing component and all that it makes (components/build.py names it), also of what is yet to be made; and of
the deployment's id, which all of it is tagged with, and which a state of an older release does not have."""


@dataclass(frozen=True)
class UpOptions:
    """What one `up` is asked beside the config."""

    site: str | None = None
    """The zone of the only site that is brought up to the config; None: all."""
    replace_hosts: tuple[str, ...] = ()
    """`ZONE` or `ZONE-N` of hosts that are replaced though nothing in the config says so."""
    all_at_once: bool = False
    """Whether nothing waits for anything, and nobody is led elsewhere before."""


class Up:
    """One `up`; made within its run."""

    def __init__(self, deployed: Deployed, run: Run, options: UpOptions) -> None:
        self._deployed, self._run, self._options = deployed, run, options
        self._has_sites = bool(inventory_of(run.stack.deployment).sites)
        self._stays: Sequence[str] = ()
        """URNs of what the config has no more and that nothing touches yet."""

    @property
    def _deployment(self) -> Mapping[str, Any]:
        """The state as it was before the engine began, without what was found to be gone."""
        return self._run.stack.deployment

    def deploy(self) -> Mapping[str, Any]:
        """Everything; the outputs. DeploymentFailedError where a replica does not serve in the end."""
        settings: Settings | None = None
        self._refuse_unknown_site()
        set_mode(self._run, Mode.ALL_AT_ONCE if self._options.all_at_once else Mode.HOSTS_IN_TURN)
        try:
            if not self._has_sites:
                with suppress(engine_errors.CommandError):  # which the run that follows tells with its causes
                    settings = validate(self._run.config).settings
                with self._capacity(settings):
                    return self._engine()
            settings = validate(self._run.config).settings
            if settings:
                self._refuse_protected(settings)
            again = self._mend()
            if settings is None:
                # What is malformed, the program judges.
                return self._engine(again)
            self._tell_order(settings)
            with self._capacity(settings):
                if self._options.all_at_once:
                    return self._all_at_once(settings, again)
                return self._in_turns(settings, again)
        finally:
            set_mode(self._run, Mode.PLAIN)

    def _capacity(self, settings: Settings | None) -> AbstractContextManager[None]:
        """Keeps GPUs for hosts that are launched; what is malformed launches none."""
        from automation.sites.capacity import kept

        return kept(self._deployed, self._run, settings, self._options.site) if settings else nullcontext()

    def _in_turns(self, settings: Settings, again: Sequence[str]) -> Mapping[str, Any]:
        from automation.sites.host_turns import host_turns
        from automation.sites.removals import Removals, removals

        asked, site = self._asked_for(), self._options.site
        turns = host_turns(self._deployment, settings, asked, but=_replicas_of(again), site=site)
        self._tell_together(settings)
        departures = self._departures(settings)
        removed = removals(self._deployment, settings) if settings.is_routed and not site else Removals({}, {}, ())
        self._stays = removed.resources
        try:
            departures.leave(removed.first)
            outputs = self._engine(again, later=turns)
            for number, turn in enumerate(turns, 1):
                departures.leave(turn.hosts)
                outputs = self._engine([*turn.instances, *turn.steps], later=turns[number:])
                departures.are_back(turn.hosts, self._routes(outputs) if settings.is_routed else None)
            if removed.last:
                self._stays = ()
                departures = self._departures(settings, self._run.stack.exported())
                departures.leave(removed.last)
                outputs = self._engine()
        except BaseException:
            departures.come_back()
            raise
        return outputs

    def _tell_together(self, settings: Settings) -> None:
        from automation.sites.host_turns import changed_hosts

        changes = changed_hosts(self._deployment, settings)
        if together := {key: why for key, why in changes.items() if why.startswith(OF_A_REGION)}:
            whose = ", ".join(together)
            self._run.watch.warn(
                f"not protected: {next(iter(together.values()))} replaces all hosts of its Region together: {whose}"
            )

    def _all_at_once(self, settings: Settings, again: Sequence[str]) -> Mapping[str, Any]:
        from automation.sites.host_turns import host_turns

        turns = host_turns(self._deployment, settings, self._asked_for(), site=self._options.site)
        departures = self._departures(settings)
        departures.mark_at_once(yes=True)
        try:
            return self._engine([*again, *(urn for turn in turns for urn in (*turn.instances, *turn.steps))])
        finally:
            departures.mark_at_once(yes=False)

    def _tell_order(self, settings: Settings) -> None:
        from automation.sites.rollout_plan import waves_in

        waves = waves_in(self._deployment, settings)
        self._run.watch.tell_order(waves, sum(site.replicas for site in settings.sites))

    def _engine(self, again: Sequence[str] = (), *, later: "Sequence[Turn]" = ()) -> Mapping[str, Any]:
        """One run of the engine, but for the hosts that come later; then every other replica must serve. The outputs."""
        from automation.sites.closing import require_serving

        run = self._run
        left_out = [*(urn for turn in later for urn in turn.resources), *self._stays, *self._other_sites()]
        run.watch.next_part()
        run.stack.up(continue_on_error=True, replace=[*again] or None, exclude=left_out or None, **run.listening)
        outputs = told_outputs(run.watch.outputs or run.stack.read_outputs(), {}, self._deployed.endpoint_url)
        waiting = {key for turn in later for key in turn.hosts}
        site = self._options.site

        def answers_for(replica: "Replica") -> bool:
            return replica.key not in waiting and site in {None, replica.zone}

        if outputs.get("sites"):
            changes = tuple(run.watch.resources)
            require_serving(self._deployed, outputs, self._run.config, changes, run.watch.warn, answers_for=answers_for)
        return outputs

    def _other_sites(self) -> list[str]:
        """URNs of all that belongs to other sites than the chosen one, deployed or not."""
        if self._options.site is None:
            return []
        zones = {*inventory_of(self._deployment).sites, *self._deployed.planned_replicas()} - {self._options.site}
        return [pattern for zone in sorted(zones) for pattern in (f"**::{zone}", f"**::{zone}-*")]

    def _asked_for(self) -> list[str]:
        from automation.sites.host_turns import chosen_hosts

        return chosen_hosts(self._deployment, self._options.replace_hosts)

    def _departures(self, settings: Settings, deployment: Mapping[str, Any] | None = None) -> "Departures":
        from automation.sites.host_keys import keys_before
        from automation.sites.host_turns import Departures

        stack, config, warn = self._run.stack, self._run.config, self._run.watch.warn
        known = deployment or stack.deployment
        return Departures(self._deployed, config, settings, known, warn, keys=keys_before(stack, settings))

    def _routes(self, outputs: Mapping[str, Any]) -> Any:
        """What asks Route 53 how it sees the sites."""
        from automation.sites.resolution import Routes

        region = next(iter(outputs["sites"].values()))["region"]
        client, local = self._deployed.aws_client("route53", region), self._deployed.on_local_cloud
        return lambda: Routes(self._deployed.arguments, outputs, client, on_local_cloud=local)

    def _mend(self) -> list[str]:
        """What is gone, stopped or dead is mended, or handed to the engine: the URNs of the commands that it must do again."""
        from automation.sites.repairs import mend

        run = self._run
        planned = self._deployed.planned_replicas()
        chosen = {zone: number for zone, number in planned.items() if self._options.site in {None, zone}}
        return mend(
            run.stack,
            told_outputs(recorded_outputs(self._deployment), self._deployment, self._deployed.endpoint_url),
            chosen,
            config=self._run.config,
            client=self._deployed.aws_client,
            ports=self._deployed,
            say=run.watch.warn,
            log=run.log.write,
        )

    def _refuse_unknown_site(self) -> None:
        """A site that is not in the config; and one beside others that are not there yet, whose records the engine would miss."""
        site, zones = self._options.site, self._deployed.planned_replicas()
        if site is None or not zones:
            return
        if site not in zones:
            raise UsageError(f"`sites` has none in '{site}'\n  -> its zones are {', '.join(zones)}")
        there = inventory_of(self._deployment).sites
        missing = [zone for zone, count in zones.items() if zone != site and (zone not in there or there[zone].instances < count)]
        if missing:
            edge = self._deployed.commands.edge("up")
            raise UsageError(f"not all of {', '.join(missing)} is deployed, so that no site can be brought up alone\n  -> {edge}")

    def _refuse_protected(self, settings: Settings) -> None:
        from automation.sites.host_turns import changed_hosts, refuse_protected, removed_hosts

        removed = () if self._options.site else removed_hosts(self._deployment, settings)
        replaced = [key for key, why in changed_hosts(self._deployment, settings).items() if replaces(why)]
        going = dict.fromkeys([*self._asked_for(), *replaced, *removed])
        chosen = [key for key in going if self._options.site in {None, key.rpartition("-")[0]}]
        refuse_protected(self._deployed.commands, self._deployment, chosen)


def tell_host_turns(run: Run) -> None:
    """Before a plan: says which hosts `up` stops or replaces, one turn after another."""
    from automation.sites.host_turns import host_turns

    set_mode(run, Mode.HOSTS_IN_TURN)
    settings = validate(run.config).settings if inventory_of(run.stack.deployment).sites else None
    for turn in host_turns(run.stack.deployment, settings) if settings else ():
        told = ", ".join(f"{key} ({reason})" for key, reason in turn.hosts.items())
        run.watch.warn(f"is drained, then stopped or replaced, in its turn: {told}")


def what_changes(run: Run, *, has_credentials: bool) -> "tuple[ConfigPlan, RolloutPlan | None]":
    """After a preview: what differs in the config's terms, and what it means for users where servers change."""
    from automation.account.credentials import credentials_expire
    from automation.engine.config_plan import ConfigPlan
    from automation.sites.config_plan import plan_config
    from automation.sites.rollout_plan import changed_steps, plan_rollout

    changes, deployment = run.watch.resources, run.stack.deployment
    settings = validate(run.config).settings
    if settings is None:
        # The program has judged it: nobody comes here with what is malformed.
        return ConfigPlan(is_first=not inventory_of(deployment).sites, changes=()), None
    config = plan_config(changes, deployment, settings)
    if not changed_steps(changes):
        return config, None
    expire = credentials_expire() if has_credentials else None
    return config, plan_rollout(changes, deployment, settings, datetime.now(UTC), expire)


def set_mode(run: Run, mode: Mode) -> None:
    """Tells the program what it need not do, or say of it."""
    workspace = run.stack.workspace
    workspace.env_vars = {**workspace.env_vars, MODE_VARIABLE: mode.value}


def _replicas_of(urns: Sequence[str]) -> set[str]:
    """The replicas whose steps these are."""
    return {urn.rpartition("::")[2].rpartition("-")[0] for urn in urns}
