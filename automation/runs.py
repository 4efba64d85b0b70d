"""Runs: what changes an environment, or looks at it, through a run of the engine: alone, logged, watched, explained.

Leaves out everything that needs no run (engine/deployed.py) and what happens on hosts (sites/).
"""

import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from pulumi import automation
from pulumi.automation import errors as engine_errors

from automation.account.orphans import deployment_id
from automation.account.prices import price_change
from automation.engine import local
from automation.engine.advice import after_bytes, after_failure, after_interruption, is_about_bytes, recovery
from automation.engine.command import EngineCommand, EngineKilledError, Stack
from automation.engine.deployed import Deployed, config_of
from automation.engine.events import Event, Interrupted, LaunchWaits, OnEvent, SiteProgress
from automation.engine.kills import after_a_kill, after_the_engines_kill
from automation.engine.locks import only_run
from automation.engine.outputs import told_outputs
from automation.engine.processes import end_all, end_run, marked
from automation.engine.redaction import Redactor, config_secrets, environment_secrets
from automation.engine.results import Changes, Drift, Inventory, Plan, inventory_of
from automation.engine.run import Run
from automation.engine.run_log import RunLog
from automation.engine.state_files import StateFile, require_room
from automation.engine.stored_secrets import set_secrets
from automation.engine.watching import RunWatch
from automation.errors import (
    DeploymentFailedError,
    EdgeError,
    EnvironmentBusyError,
    InterruptedRunError,
    ProtectedError,
    SiteFailure,
    UsageError,
)
from automation.up import ROUTING_TARGETS, Up, UpOptions, set_mode, tell_host_turns, what_changes
from components.release import newer_deployment_problem
from components.rollout import Mode

if TYPE_CHECKING:
    from automation.account.orphans import Thing
    from automation.account.sweep import Swept

# A killed engine makes the SDK warn, from a thread of its own, of its broken event stream.
warnings.filterwarnings("ignore", "Error in event stream")

_DRAINED = "edge-inference:drained"
_ID_TARGET = "**::deployment"
Say = Callable[[str], None]


class Runs:
    """The runs of one environment."""

    def __init__(self, deployed: Deployed) -> None:
        self._deployed = deployed
        self._running: EngineCommand | None = None
        self._has_told_namesakes = False

    def plan(self, on_event: OnEvent | None = None) -> Plan:
        """What `up` would change, resource by resource, and what that costs; changes nothing."""
        with self._run("plan", on_event, may_start=True) as run:
            self._tell_namesakes(run.stack)
            tell_host_turns(run)
            run.stack.preview(**run.listening)
            config, rollout = what_changes(run, has_credentials=not self._deployed.on_local_cloud)
        watch = run.watch
        price = price_change(inventory_of(run.stack.deployment).instances, list(watch.instances.values()))
        changes = _changes(run, {})
        return Plan(**vars(changes), price=price, rollout=rollout, config=config)

    def up(self, on_event: OnEvent | None = None, options: UpOptions | None = None) -> Changes:
        """Deploys: afterwards every replica of the config serves. DeploymentFailedError names what does not; one site that
        fails does not keep others from being made, but those that served and wait for it are not touched. What is gone, stopped
        or dead is mended though nothing has changed. Hosts that are stopped or replaced go one after another.
        """
        with self._run("up", on_event, may_start=True) as run:
            self._deployed.refuse_foreign_account(run.stack)
            self._tell_namesakes(run.stack)
            self._forget_pending(run)
            outputs = Up(self._deployed, run, options or UpOptions()).deploy()
        return _changes(run, outputs)

    def refresh(self, on_event: OnEvent | None = None) -> Changes:
        """Reads back what is really there into the state; creations that were cut off are forgotten, and told by `say`.

        What AWS has of the environment beside its state is listed, and not touched: `sweep` removes it.
        """
        with self._run("refresh", on_event, may_start=False) as run:
            self._deployed.refuse_foreign_account(run.stack)
            self._tell_pending(run.stack)
            run.stack.refresh(clear_pending_creates=True, **run.listening)
            outputs = told_outputs(run.stack.read_outputs(), run.stack.exported(), self._deployed.endpoint_url)
            found = self._look_for_orphans(run)
        return replace(_changes(run, outputs), orphans=found)

    def drift(self, on_event: OnEvent | None = None) -> Drift:
        """Where AWS is not as the state says, and what others added inside our own; changes nothing, there or in the state."""
        from automation.sites.foreign import find_foreign

        with self._run("drift", on_event, may_start=False) as run:
            self._deployed.refuse_foreign_account(run.stack)
            run.stack.preview_refresh(**run.listening)
            foreign = find_foreign(run.stack.deployment, self._deployed.aws_client)
        return Drift(tuple(run.watch.resources), run.watch.seconds, run.log.path, foreign)

    def destroy(self, on_event: OnEvent | None = None) -> Changes:
        """Removes everything that the environment deployed; on the local cloud also the stack itself.

        ProtectedError where it is protected, ForeignAccountError where the credentials are of another account than the one that
        it is deployed in: nothing is changed then. OrphansError where AWS has something of it afterwards.
        """
        with self._run("destroy", on_event, may_start=False) as run:
            self._deployed.refuse_foreign_account(run.stack)
            self._refuse_protected(run.stack)
            # The deployment's id goes last: without it nobody could tell what was left.
            run.stack.destroy_but(_ID_TARGET, **run.listening)
            has_id = deployment_id(run.stack.deployment) is not None
            if has_id:
                why = "what the state knew is removed, but not all that AWS has"
                self._deployed.leftovers.refuse(self._deployed.find_orphans(run.stack), why, "destroy")
            if has_id and not self._deployed.on_local_cloud:
                run.stack.destroy(on_output=run.log.write, on_error=run.log.write, color="never")
            if self._deployed.on_local_cloud:
                # Forced: a create that was killed half-way stays in the state until then.
                run.stack.workspace.remove_stack(self._deployed.name, force=True)
                if state := self._deployed.state_file():
                    state.forget()
        return _changes(run, {})

    def plan_destroy(self) -> Inventory:
        """What `destroy` would remove; ProtectedError and ForeignAccountError as `destroy` itself."""
        stack = self._deployed.open(may_start=False)
        self._deployed.refuse_foreign_account(stack)
        self._refuse_protected(stack)
        return inventory_of(stack.deployment)

    def sweep(self, chosen: "Sequence[Thing]") -> "Swept":
        """Removes those of `chosen` (what `orphans` found) that still are in no state; what a run makes meanwhile is not of them.

        EnvironmentBusyError while a run is at work, here or on another machine.
        """
        from automation.account.sweep import sweep

        with self._run("sweep", None, may_start=False) as run:
            self._deployed.refuse_foreign_account(run.stack)
            # Needs the state's lock, so that it fails while another machine's run is at work; changes nothing.
            run.stack.refresh(target=[_ID_TARGET], clear_pending_creates=True, **run.listening)
            keys = {each.key for each in chosen}
            return sweep(
                [each for each in self._deployed.find_orphans(run.stack) if each.key in keys],
                self._deployed.aws_client,
                self._deployed.say,
            )

    def interrupt(self) -> None:
        """Asks the run that is at work to stop, from any thread. Once: the steps at work are finished, no other is begun.
        Twice: they are cut off. The run then raises InterruptedRunError. Without a run: nothing.
        """
        running = self._running
        if running:
            running.interrupt()

    def unprotect(self, zone: str | None = None) -> tuple[str, ...]:
        """Takes the protection off everything, or off a zone's resources, until the next `up`; the names of what had it."""
        with only_run(self._deployed.logs, self._deployed.name, "unprotect"):
            stack = self._deployed.open(may_start=False)
            self._deployed.refuse_foreign_account(stack)
            prefix = f"{zone}-" if zone else ""
            if not any(name.startswith(prefix) for name in _named_urns(stack.deployment).values()):
                zones = ", ".join(inventory_of(stack.deployment).sites) or "none"
                raise UsageError(f"'{self._deployed.name}' has nothing in zone '{zone}'\n  -> its zones are {zones}")
            protected = _named_urns(stack.deployment, protected=True)
            chosen = {urn: name for urn, name in protected.items() if name.startswith(prefix)}
            if chosen:
                with self._deployed.engine_trouble("unprotecting"):
                    stack.ask("state", "unprotect", *chosen, "--yes", "--stack", self._deployed.name)
        return tuple(chosen.values())

    def cancel(self) -> None:
        """Removes the lock that a killed run left on the state; EnvironmentBusyError where a run of this machine is at work."""
        with only_run(self._deployed.logs, self._deployed.name, "cancel"):
            if left := end_run(self._deployed.mark):
                self._deployed.say(
                    f"An earlier run, whose `edge` was killed, had left {len(left)} processes at work: they are ended."
                )
            self._restore(self._deployed.state_file())
            stack = self._deployed.open(may_start=False)
            with self._deployed.engine_trouble("cancelling"):
                stack.ask("cancel", "--yes", "--stack", self._deployed.name)

    def store_drained(self, zones: Sequence[str]) -> None:
        """Stores in the config which sites are to get no users; changes no records."""
        self._refuse_listed_drained()
        with only_run(self._deployed.logs, self._deployed.name, "storing the drained sites"):
            self._store_drained(self._deployed.open(may_start=False), zones)

    def reroute(self, drained: Sequence[str], on_event: OnEvent | None = None) -> Changes:
        """Stores which sites get no users, and brings health checks and records, and nothing else, up to the config."""
        self._refuse_listed_drained()
        with self._run("drain", on_event, may_start=False) as run:
            self._deployed.refuse_foreign_account(run.stack)
            self._store_drained(run.stack, drained)
            # Hosts that the config changes are none of this run's.
            set_mode(run, Mode.HOSTS_IN_TURN)
            run.stack.up(continue_on_error=True, target=ROUTING_TARGETS, **run.listening)
            outputs = run.watch.outputs or run.stack.read_outputs()
        return _changes(run, told_outputs(outputs, {}, self._deployed.endpoint_url))

    def store_secrets(self, values: Mapping[str, str]) -> None:
        """Stores secret config values, encrypted by the stack's secrets provider."""
        with only_run(self._deployed.logs, self._deployed.name, "storing secrets"):
            stack = self._deployed.open(may_start=True)
            set_secrets(stack, values)

    @contextmanager
    def _run(self, operation: str, on_event: OnEvent | None, *, may_start: bool) -> Generator[Run]:
        """One run: alone, logged, watched; what goes wrong in it becomes an EdgeError that names the log.

        What deploys (`may_start`) is refused for what its stack file alone shows, before anything is started.
        """
        if may_start:
            self._deployed.require_sound_file()
        state = self._deployed.state_file()
        require_room(state, self._deployed.logs)
        with only_run(self._deployed.logs, self._deployed.name, operation), ThreadPoolExecutor(1) as pool:
            self._refuse_headless_run(operation)
            self._running = command = self._deployed.command(self._deployed.mark)
            try:
                is_restored = self._restore(state)
                stack = self._deployed.open(may_start=may_start, command=command)
                if problem := newer_deployment_problem(stack.deployment):
                    raise EdgeError(problem)
                # Asked for while the engine starts; the first word of its output waits for it.
                redactor = pool.submit(self._redactor, stack)
                redact: Callable[[str], str] = lambda text: redactor.result()(text)  # noqa: E731, PLW0108 - not before it is asked
                with RunLog(self._deployed.logs, self._deployed.name, operation, redact) as log:
                    watch = RunWatch(
                        _logged(log, on_event),
                        replicas=self._deployed.planned_replicas(),
                        redact=redact,
                        interrupt=command.interrupt,
                        arguments=self._deployed.arguments,
                    )
                    command.on_interrupt = watch.interrupted
                    watch.tell_what_stands(stack.deployment)
                    with self._explained(operation, stack, watch, log), watch, state.kept() if state else nullcontext():
                        yield Run(stack, watch, log, is_restored)
                    log.write(f"{operation} ended well: {watch.counts}")
            finally:
                self._running = None

    def _restore(self, state: StateFile | None) -> bool:
        told = state.restore() if state else None
        if told:
            self._deployed.say(told)
        return told is not None

    @contextmanager
    def _explained(self, operation: str, stack: Stack, watch: RunWatch, log: RunLog) -> Generator[None]:
        try:
            yield
        except EdgeError as error:
            raise self._noted(
                error if not isinstance(error, InterruptedRunError) else self._interruption(operation, error, watch), log
            ) from error
        except engine_errors.ConcurrentUpdateError as error:
            raise self._noted(self._busy(operation), log) from error
        except engine_errors.CommandError as error:
            stages = watch.failed_stages()
            sites = {zone: SiteFailure(stage, tuple(watch.reasons.get(zone, ()))) for zone, stage in stages.items()}
            texts = self._texts(operation, error, watch) + self._bytes(error, watch, stack)
            texts += self._deployed.leftovers.advice(
                "\n".join([str(error), *watch.errors]), lambda: self._deployed.find_orphans(stack)
            )
            raise self._noted(DeploymentFailedError(operation, texts, sites), log) from error

    def _texts(self, operation: str, error: engine_errors.CommandError, watch: RunWatch) -> list[str]:
        if isinstance(error, EngineKilledError):
            return [after_the_engines_kill(self._deployed.commands, operation)]
        told = after_a_kill(self._deployed.commands, operation, str(error), watch.errors)
        return told or after_failure(self._deployed.commands, str(error), watch.errors, has_changed=watch.changed)

    def _bytes(self, error: engine_errors.CommandError, watch: RunWatch, stack: Stack) -> list[str]:
        """Which config values are no text, where the engine fails over one; it does not say."""
        if not is_about_bytes("\n".join([str(error), *watch.errors])):
            return []
        with suppress(engine_errors.CommandError):
            # As the engine's own JSON shows them.
            if keys := [key for key, value in config_of(stack).values.items() if "\ufffd" in value]:
                return [after_bytes(self._deployed.commands, keys)]
        return []

    def _noted(self, error: EdgeError, log: RunLog) -> EdgeError:
        error.log = log.path
        log.write(f"error: {error}")
        return error

    def _interruption(self, operation: str, error: InterruptedRunError, watch: RunWatch) -> InterruptedRunError:
        text = after_interruption(self._deployed.commands, operation, error.times, watch.at_work, watch.broken_off)
        return InterruptedRunError(error.times, text)

    def _busy(self, operation: str) -> EnvironmentBusyError:
        return EnvironmentBusyError(
            f"another run is at work on '{self._deployed.name}', or was killed: the state is locked\n"
            f"Wait for it; if it was killed:\n{recovery(self._deployed.commands, operation)}"
        )

    def _refuse_headless_run(self, operation: str) -> None:
        """A run whose `edge` was killed may still be at work; what is left of it without an engine is of no use."""
        engines = [each.pid for each in marked(self._deployed.mark) if each.is_engine]
        if engines:
            raise EnvironmentBusyError(
                f"an earlier run on '{self._deployed.name}' is at work: its `edge` was killed, "
                f"its engine (process {engines[0]}) not\n"
                f"Wait for it, or end it:\n{recovery(self._deployed.commands, operation)}"
            )
        end_all(self._deployed.mark)

    def _redactor(self, stack: Stack) -> Redactor:
        """What keeps this stack's secrets out of texts."""
        try:
            # With a command of its own: a Ctrl-C must not leave us without it.
            secrets = tuple(config_secrets(stack.with_command(self._deployed.command()).config()))
        except engine_errors.CommandError:
            # The engine cannot decrypt them either, so it cannot show them, and it says why.
            secrets = ()
        return Redactor([*secrets, *(() if self._deployed.on_local_cloud else environment_secrets())])

    def _refuse_protected(self, stack: Stack) -> None:
        protected = inventory_of(stack.deployment).protected
        if protected:
            shown = ", ".join(protected[:3]) + (f" and {len(protected) - 3} more" if len(protected) > 3 else "")  # noqa: PLR2004
            raise ProtectedError(
                f"'{self._deployed.name}' is protected ({shown}); nothing was changed\n"
                f"  -> {self._deployed.commands.edge('unprotect')}   # then: {self._deployed.commands.edge('destroy')}"
            )

    def _tell_pending(self, stack: Stack) -> bool:
        pending = inventory_of(stack.deployment).pending
        if pending:
            self._deployed.say(
                f"An earlier run was killed while it made {', '.join(pending)}. If AWS made it all the same, the state does not "
                "know it."
            )
        return bool(pending)

    def _tell_namesakes(self, stack: Stack) -> None:
        """Says of a state that holds nothing what AWS has with the environment's name. Once: `edge up` plans first."""
        if self._has_told_namesakes:
            return
        leftovers = self._deployed.leftovers
        try:
            lines = leftovers.namesake_words(leftovers.namesakes(stack.deployment, self._deployed.file_config()))
        except EdgeError as error:
            lines = [str(error)]
        for line in lines:
            self._deployed.say(line)
        self._has_told_namesakes = bool(lines)

    def _forget_pending(self, run: Run) -> None:
        """Takes creates that were killed half-way out of the state, and says so. OrphansError where AWS made them all the same:
        they would be made once more.
        """
        if self._tell_pending(run.stack) or run.is_restored:
            run.stack.refresh(clear_pending_creates=True, on_output=run.log.write, on_error=run.log.write, color="never")
            # A reservation of capacity is given back by the run itself.
            found = [each for each in self._look_for_orphans(run, quietly=True) if each.kind != "capacity reservation"]
            self._deployed.leftovers.refuse(found, "the killed run left what this one would make again", "up")

    def _look_for_orphans(self, run: Run, *, quietly: bool = False) -> "tuple[Thing, ...]":
        """As `_orphans`; none also where nobody can tell, which is said."""
        try:
            found = self._deployed.find_orphans(run.stack)
        except EdgeError as error:
            self._deployed.say(str(error))
            return ()
        for line in () if quietly else self._deployed.leftovers.words(found):
            self._deployed.say(line)
        return found

    def _refuse_listed_drained(self) -> None:
        if self._deployed.on_local_cloud and local.lists_drained(self._deployed.stack_file):
            raise UsageError(
                f"{self._deployed.stack_file.name} lists drained sites itself, and a local run changes no tracked file\n"
                f"  -> change {_DRAINED} there, then {self._deployed.commands.edge('up')}"
            )

    def _store_drained(self, stack: Stack, zones: Sequence[str]) -> None:
        with self._deployed.engine_trouble("storing the drained sites"):
            stack.remove_config(_DRAINED)
            for number, zone in enumerate(zones):
                stack.set_config(f"{_DRAINED}[{number}]", automation.ConfigValue(zone), path=True)


def _changes(run: Run, outputs: Mapping[str, Any]) -> Changes:
    watch = run.watch
    return Changes(
        watch.counts,
        watch.seconds,
        outputs,
        steps=watch.step_times.by_replica(),
        resources=tuple(watch.resources),
        log=run.log.path,
    )


def _logged(log: RunLog, on_event: OnEvent | None) -> OnEvent:
    """Hands events on; those that are not the engine's own words stand in the log too."""

    def taken(event: Event) -> None:
        if isinstance(event, SiteProgress):
            log.write(f"site {event.zone}: {event.stage} {event.state}")
        elif isinstance(event, LaunchWaits):
            log.write(event.text)
        elif isinstance(event, Interrupted):
            log.write(f"interrupted, {event.times}; at work: {', '.join(event.at_work) or 'nothing'}")
        if on_event:
            on_event(event)

    return taken


def _named_urns(deployment: Mapping[str, Any], *, protected: bool = False) -> dict[str, str]:
    """The names of a deployment's resources by URN."""
    resources = cast("list[dict[str, Any]]", deployment.get("resources") or [])
    urns = [str(each["urn"]) for each in resources if each.get("protect") or not protected]
    return {urn: urn.rpartition("::")[2] for urn in urns}
