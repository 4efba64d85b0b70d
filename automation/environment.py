"""Environment: one environment's stack, driven over the very program that `pulumi up` runs.

Local programs only (the project folder), so that the shell, CI and Python all take the same door. Blocking: an engine run is a
process of its own, and a thread is enough to wait for it. No signal handlers, no global state: safe in a notebook or a service.
"""

import json
import os
import subprocess
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from pulumi import automation
from pulumi.automation import errors as engine_errors

from automation import local
from automation.advice import Commands, after_failure, after_interruption, last_words, recovery
from automation.engine import EngineCommand, EngineKilledError, Stack
from automation.errors import (
    DeploymentFailedError,
    EdgeError,
    EnvironmentBusyError,
    ForeignAccountError,
    InterruptedRunError,
    NothingDeployedError,
    ProtectedError,
    SiteFailure,
    UsageError,
)
from automation.events import Event, Interrupted, LaunchWaits, OnEvent, SiteProgress
from automation.kills import after_a_kill, after_the_engines_kill
from automation.leftovers import Leftovers
from automation.locks import only_run
from automation.orphans import deployment_id
from automation.outputs import recorded_outputs, told_outputs
from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT, known_environments, stack_file
from automation.plugins import official_home
from automation.prices import price_change
from automation.processes import end_all, end_run, environment_mark, marked
from automation.redaction import Redactor, config_secrets, environment_secrets
from automation.results import Changes, Drift, Inventory, Plan, inventory_of
from automation.run_log import RunLog
from automation.state_files import StateFile, chosen_backend, require_room, state_file
from automation.watching import RunWatch
from components.release import newer_deployment_problem
from tools.provide_engine import EngineError, provide

if TYPE_CHECKING:
    from automation.bench import Clients, Progress
    from automation.doctor import Examination
    from automation.orphans import Thing
    from automation.resolution import Resolution, Routes
    from automation.serving import Answer
    from automation.status import Status
    from automation.sweep import Swept
    from components.settings import StackConfig
    from ttft.samples import Run
    from ttft.schedule import Plan as BenchPlan

# A killed engine makes the SDK warn, from a thread of its own, of its broken event stream.
warnings.filterwarnings("ignore", "Error in event stream")

_DRAINED = "edge-inference:drained"
_ID_TARGET = "**::deployment"
_ROUTING_TARGETS = ["**::routing", "**::routing-*", _ID_TARGET]
"""URNs of the routing component and all that it makes (components/build.py names it), also of what is yet to be made; and of
the deployment's id, which all of it is tagged with, and which a state of an older release does not have."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class _Run:
    """A run of the engine that has begun."""

    stack: Stack
    watch: RunWatch
    log: RunLog
    is_restored: bool
    """Whether the state had been cut off, and an older one was put in its place."""

    @property
    def listening(self) -> dict[str, Any]:
        """How the engine's operations tell it what happens."""
        return {"on_event": self.watch.on_engine_event, "on_output": self.log.write, "on_error": self.log.write, "color": "never"}


class Environment:
    """An environment by name: `Environment("prod")` on AWS, `Environment("prod", on_local_cloud=True)` rehearses it.

    `Environment("local")` is always on the local cloud, which is started where it does not run. `directory` holds that cloud
    and the engine, `stack_files` the Pulumi.NAME.yaml, `logs` a log for each run (default: beside the cloud, or in `.edge/logs`
    beside the stack files); `say` is told what is being prepared.

    Methods raise EdgeError subclasses (errors.py), never an engine's traceback. They may be called from any thread, also where
    an asyncio loop runs (they block it: `asyncio.to_thread`); a second run of one environment at once is refused.
    """

    def __init__(  # noqa: PLR0913 - each has its default
        self,
        name: str,
        *,
        on_local_cloud: bool = False,
        directory: Path = LOCAL_DIRECTORY,
        stack_files: Path = PROJECT_ROOT,
        logs: Path | None = None,
        say: Say = lambda _: None,
    ) -> None:
        self.stack_file = stack_file(name, stack_files)
        """Its Pulumi.NAME.yaml."""
        if not self.stack_file.is_file():
            raise UsageError(
                f"there is no environment '{name}': Pulumi.{name}.yaml does not exist\n"
                f"  -> known are {', '.join(known_environments(stack_files))}"
            )
        self.name = name
        self.on_local_cloud = on_local_cloud or name == "local"
        self.stand_ins: tuple[str, ...] = ()
        """What stands in for the owner's own values, once a stack was opened on the local cloud."""
        self.logs = logs or (directory / "logs" if self.on_local_cloud else stack_files / ".edge" / "logs")
        self._commands = Commands(name, is_rehearsal=self.on_local_cloud and name != "local")
        self._leftovers = Leftovers(self._commands, self.aws_client)
        self._directory, self.say = directory, say
        self._running: EngineCommand | None = None

    @property
    def arguments(self) -> str:
        """How `edge` is told of it: `prod`, or `prod --local`."""
        return self._commands.arguments

    def plan(self, on_event: OnEvent | None = None) -> Plan:
        """What `up` would change, resource by resource, and what that costs; changes nothing."""
        with self._run("plan", on_event, may_start=True) as run:
            run.stack.preview(**run.listening)
        watch = run.watch
        price = price_change(inventory_of(run.stack.deployment).instances, list(watch.instances.values()))
        return Plan(watch.counts, watch.seconds, resources=tuple(watch.resources), log=run.log.path, price=price)

    def up(self, on_event: OnEvent | None = None) -> Changes:
        """Deploys: afterwards every replica of the config serves. DeploymentFailedError names what does not; one site that
        fails does not keep the others from being finished. What is gone, stopped or dead is mended though nothing has changed.
        """
        with self._run("up", on_event, may_start=True) as run:
            self._refuse_foreign_account(run.stack)
            self._forget_pending(run)
            config = cache(lambda: _config_of(run.stack))
            again = self._mend(run, config)
            run.stack.up(continue_on_error=True, replace=again or None, **run.listening)
            outputs = told_outputs(run.watch.outputs or run.stack.read_outputs(), {}, self._endpoint_url)
            if outputs.get("sites"):
                from automation.closing import require_serving

                require_serving(self, outputs, config(), tuple(run.watch.resources), run.watch.warn)
        return _changes(run, outputs)

    def refresh(self, on_event: OnEvent | None = None) -> Changes:
        """Reads back what is really there into the state; creations that were cut off are forgotten, and told by `say`.

        What AWS has of the environment beside its state is listed, and not touched: `sweep` removes it.
        """
        with self._run("refresh", on_event, may_start=False) as run:
            self._refuse_foreign_account(run.stack)
            self._tell_pending(run.stack)
            run.stack.refresh(clear_pending_creates=True, **run.listening)
            outputs = told_outputs(run.stack.read_outputs(), run.stack.exported(), self._endpoint_url)
            found = self._look_for_orphans(run)
        return replace(_changes(run, outputs), orphans=found)

    def drift(self, on_event: OnEvent | None = None) -> Drift:
        """Where AWS is not as the state says, and what others added inside our own; changes nothing, there or in the state."""
        from automation.foreign import find_foreign

        with self._run("drift", on_event, may_start=False) as run:
            self._refuse_foreign_account(run.stack)
            run.stack.preview_refresh(**run.listening)
            foreign = find_foreign(run.stack.deployment, self.aws_client)
        return Drift(tuple(run.watch.resources), run.watch.seconds, run.log.path, foreign)

    def destroy(self, on_event: OnEvent | None = None) -> Changes:
        """Removes everything that the environment deployed; on the local cloud also the stack itself.

        ProtectedError where it is protected, ForeignAccountError where the credentials are of another account than the one that
        it is deployed in: nothing is changed then. OrphansError where AWS has something of it afterwards.
        """
        with self._run("destroy", on_event, may_start=False) as run:
            self._refuse_foreign_account(run.stack)
            self._refuse_protected(run.stack)
            # The deployment's id goes last: without it nobody could tell what was left.
            run.stack.destroy_but(_ID_TARGET, **run.listening)
            has_id = deployment_id(run.stack.deployment) is not None
            if has_id:
                why = "what the state knew is removed, but not all that AWS has"
                self._leftovers.refuse(self._orphans(run.stack), why, "destroy")
            if has_id and not self.on_local_cloud:
                run.stack.destroy(on_output=run.log.write, on_error=run.log.write, color="never")
            if self.on_local_cloud:
                # Forced: a create that was killed half-way stays in the state until then.
                run.stack.workspace.remove_stack(self.name, force=True)
                if state := self._state_file():
                    state.forget()
        return _changes(run, {})

    def plan_destroy(self) -> Inventory:
        """What `destroy` would remove; ProtectedError and ForeignAccountError as `destroy` itself."""
        stack = self._open(may_start=False)
        self._refuse_foreign_account(stack)
        self._refuse_protected(stack)
        return inventory_of(stack.deployment)

    def orphans(self) -> "tuple[Thing, ...]":
        """What AWS has of the environment and its state does not; changes nothing. While a run is at work, also what it makes."""
        stack = self._open(may_start=False)
        self._refuse_foreign_account(stack)
        return self._orphans(stack)

    def sweep(self, chosen: "Sequence[Thing]") -> "Swept":
        """Removes those of `chosen` (what `orphans` found) that still are in no state; what a run makes meanwhile is not of them.

        EnvironmentBusyError while a run is at work, here or on another machine.
        """
        from automation.sweep import sweep

        with self._run("sweep", None, may_start=False) as run:
            self._refuse_foreign_account(run.stack)
            # Needs the state's lock, so that it fails while another machine's run is at work; changes nothing.
            run.stack.refresh(target=[_ID_TARGET], clear_pending_creates=True, **run.listening)
            keys = {each.key for each in chosen}
            return sweep([each for each in self._orphans(run.stack) if each.key in keys], self.aws_client, self.say)

    def interrupt(self) -> None:
        """Asks the run that is at work to stop, from any thread. Once: the steps at work are finished, no other is begun.
        Twice: they are cut off. The run then raises InterruptedRunError. Without a run: nothing.
        """
        running = self._running
        if running:
            running.interrupt()

    def outputs(self) -> dict[str, Any]:
        """The outputs of what is deployed, as docs/outputs.schema.json has them; NothingDeployedError where nothing is."""
        stack = self._open(may_start=False)
        with self._engine_trouble("reading the outputs"):
            values = told_outputs(stack.read_outputs(), stack.deployment, self._endpoint_url)
        if not values:
            raise self._nothing_deployed()
        return values

    def serving(self, outputs: Mapping[str, Any] | None = None) -> "dict[str, Answer]":
        """Whether each replica serves at this moment: asked as clients ask, for health and a token."""
        from automation.serving import Asker

        return Asker(self, self.stack_config()).ask_all(outputs or self.outputs())

    def restart(self, zone: str, replica: int | None = None) -> None:
        """Starts a site's servers anew, one replica after another; returns when each has generated a token."""
        from automation.restart import restart

        restart(self, zone, replica, self.say)

    def inventory(self) -> Inventory:
        """What the state holds, without asking AWS; NothingDeployedError where there is no stack."""
        return inventory_of(self._open(may_start=False).deployment)

    def unprotect(self, zone: str | None = None) -> tuple[str, ...]:
        """Takes the protection off everything, or off a zone's resources, until the next `up`; the names of what had it."""
        with only_run(self.logs, self.name, "unprotect"):
            stack = self._open(may_start=False)
            self._refuse_foreign_account(stack)
            prefix = f"{zone}-" if zone else ""
            if not any(name.startswith(prefix) for name in _named_urns(stack.deployment).values()):
                zones = ", ".join(inventory_of(stack.deployment).sites) or "none"
                raise UsageError(f"'{self.name}' has nothing in zone '{zone}'\n  -> its zones are {zones}")
            protected = _named_urns(stack.deployment, protected=True)
            chosen = {urn: name for urn, name in protected.items() if name.startswith(prefix)}
            if chosen:
                with self._engine_trouble("unprotecting"):
                    stack.ask("state", "unprotect", *chosen, "--yes", "--stack", self.name)
        return tuple(chosen.values())

    def cancel(self) -> None:
        """Removes the lock that a killed run left on the state; EnvironmentBusyError where a run of this machine is at work."""
        with only_run(self.logs, self.name, "cancel"):
            if left := end_run(self._mark):
                self.say(f"An earlier run, whose `edge` was killed, had left {len(left)} processes at work: they are ended.")
            self._restore(self._state_file())
            stack = self._open(may_start=False)
            with self._engine_trouble("cancelling"):
                stack.ask("cancel", "--yes", "--stack", self.name)

    def planned_replicas(self) -> dict[str, int]:
        """How many instances each zone is to have, by the stack file; what is malformed there, the program judges."""
        try:
            content: Any = yaml.safe_load(self.stack_file.read_text(encoding="utf-8"))
            return {str(site["zone"]): int(site.get("replicas", 1)) for site in content["config"]["edge-inference:sites"]}
        except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
            return {}

    def routes(self) -> "Routes":
        """The records that lead users to the sites, and what the health checkers say: as Route 53 has them at this moment."""
        from automation.resolution import Routes

        outputs = self.outputs()
        region = next(iter(outputs["sites"].values()))["region"]
        return Routes(self.arguments, outputs, self.aws_client("route53", region), on_local_cloud=self.on_local_cloud)

    def resolve(self, origin: str) -> "Resolution":
        """Which site a client in a city, or at an address, gets at this moment, and why. UsageError for an unknown city."""
        from automation.resolution import locate

        client = locate(origin, self.arguments, on_local_cloud=self.on_local_cloud)
        return self.routes().resolve(client)

    def drain(self, zone: str, on_event: OnEvent | None = None) -> Changes:
        """Sends no more users to a site, and returns when none is served there any more; the site goes on running."""
        from automation.drain import take_out, wait_until_unused

        changes = take_out(self, zone, on_event)
        wait_until_unused(self, zone, self.say)
        return changes

    def undrain(self, zone: str, on_event: OnEvent | None = None) -> Changes:
        """Sends users to a drained site again; each comes back within the records' TTL."""
        from automation.drain import put_back

        return put_back(self, zone, on_event)

    def bench(
        self, plan: "BenchPlan | None" = None, clients: "Clients | None" = None, on_progress: "Progress | None" = None
    ) -> "Run":
        """Measures the time to first token of every site that serves, side by side; `ttft.summary.summarize` judges.

        `plan` says how (its targets are filled in), `clients` from where; by default over warm connections.
        """
        from automation.bench import Clients, bench, bench_plan
        from ttft.schedule import Plan

        clients = clients or Clients()
        filled = bench_plan(self, plan or Plan(targets=(), connections=("warm",)), clients)
        return bench(filled, clients, on_progress=on_progress, say=self.say)

    def store_drained(self, zones: Sequence[str]) -> None:
        """Stores in the config which sites are to get no users; changes no records."""
        self._refuse_listed_drained()
        with only_run(self.logs, self.name, "storing the drained sites"):
            self._store_drained(self._open(may_start=False), zones)

    def reroute(self, drained: Sequence[str], on_event: OnEvent | None = None) -> Changes:
        """Stores which sites get no users, and brings health checks and records, and nothing else, up to the config."""
        self._refuse_listed_drained()
        with self._run("drain", on_event, may_start=False) as run:
            self._refuse_foreign_account(run.stack)
            self._store_drained(run.stack, drained)
            run.stack.up(continue_on_error=True, target=_ROUTING_TARGETS, **run.listening)
            outputs = run.watch.outputs or run.stack.read_outputs()
        return _changes(run, told_outputs(outputs, {}, self._endpoint_url))

    def store_secrets(self, values: Mapping[str, str]) -> None:
        """Stores secret config values, encrypted by the stack's secrets provider."""
        with only_run(self.logs, self.name, "storing secrets"):
            stack = self._open(may_start=True)
            _set_secrets(stack, values)

    def has_config(self, key: str) -> bool:
        """Whether a config value is set in the stack."""
        stack = self._open(may_start=True)
        with self._engine_trouble("reading the config"):
            return key in stack.config()

    def config_value(self, key: str) -> str | None:
        """A config value, decrypted; None where it is not set."""
        stack = self._open(may_start=False)
        with self._engine_trouble("reading the config"):
            return stack.config().get(key, {}).get("value")

    def stack_config(self) -> "StackConfig":
        """The config as the program is handed it, with secrets in clear: for memory only, and not in texts. Where there is no
        stack yet, what the stack file says, of whose secrets nothing is known.
        """
        try:
            stack = self._open(may_start=False, may_create=self.on_local_cloud)
        except NothingDeployedError:
            return self.file_config()
        with self._engine_trouble("reading the config"):
            return _config_of(stack)

    def file_config(self) -> "StackConfig":
        """What the stack file says; of its secrets the names alone. UsageError where it is no stack file."""
        return self._config_in(self.stack_file)

    def _config_in(self, stack_file: Path) -> "StackConfig":
        from components.settings import StackConfig

        config = local.tracked_config(stack_file)
        secret = frozenset(key for key, value in config.items() if isinstance(value, dict) and "secure" in value)
        plain = {key: value for key, value in config.items() if key not in secret}
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in plain.items()}
        return StackConfig(self.name, texts, secret)

    def status(self) -> "Status":
        """How every site is at this moment; a dead one is part of the answer. NothingDeployedError where there are none."""
        from automation.status import status

        return status(self)

    def doctor(self) -> "Examination":
        """What keeps the environment from being deployed, or from answering; changes nothing."""
        from automation.doctor import examine

        return examine(self)

    @property
    def plugin_home(self) -> Path:
        """The PULUMI_HOME below which the engine looks for its provider plugins."""
        return self._directory / "pulumi" if self.on_local_cloud else official_home()

    def hub_endpoint(self) -> str | None:
        """The Hugging Face Hub that the program asks; None: the usual one."""
        if not self.on_local_cloud:
            return None
        cloud = local.require_cloud(self._directory, self._commands.edge("up"))
        return cloud.variables["HF_ENDPOINT"]

    def port_of(self, address: str, port: int) -> int:
        """The port by which a host's port is reached: its own, but on the local cloud, which binds none below 1024."""
        if not self.on_local_cloud:
            return port
        cloud = local.require_cloud(self._directory, self._commands.edge("up"))
        return int(cloud.request("GET", f"ports/{address}/{port}")["port"])

    def dns_port(self) -> int | None:
        """The port of the local cloud's DNS server on loopback; None on AWS."""
        if not self.on_local_cloud:
            return None
        return int(local.require_cloud(self._directory, self._commands.edge("up")).request("GET", "dns")["port"])

    def aws_client(self, service: str, region: str) -> Any:
        """A boto3 client of the account that the environment lives in: AWS by the usual credentials, or the local cloud."""
        import boto3  # pyright: ignore[reportMissingTypeStubs]

        if not self.on_local_cloud:
            return cast("Any", boto3).client(service, region_name=region)
        cloud = local.require_cloud(self._directory, self._commands.edge("up"))
        return cast("Any", boto3).client(service, region_name=region, **cloud.boto3_options)

    def shell_variables(self) -> dict[str, str]:
        """What a shell needs so that plain `pulumi` acts on this environment on the local cloud."""
        cloud = local.require_cloud(self._directory, self._commands.edge("up"))
        stack = self._open(may_start=False, may_create=True)
        path = f"{Path(self.engine[0]).parent}:{PROJECT_ROOT / '.venv' / 'bin'}:$PATH"
        return {
            **local.local_environment(self._directory, cloud),
            "AWS_DEFAULT_REGION": stack.get_config("aws:region").value,
            "PULUMI_OPTION_CWD": stack.workspace.work_dir,
            "PATH": path,
        }

    @contextmanager
    def _run(self, operation: str, on_event: OnEvent | None, *, may_start: bool) -> Generator[_Run]:
        """One run: alone, logged, watched; what goes wrong in it becomes an EdgeError that names the log."""
        state = self._state_file()
        require_room(state, self.logs)
        with only_run(self.logs, self.name, operation), ThreadPoolExecutor(1) as pool:
            self._refuse_headless_run()
            self._running = command = self._command(self._mark)
            try:
                is_restored = self._restore(state)
                stack = self._open(may_start=may_start, command=command)
                if problem := newer_deployment_problem(stack.deployment):
                    raise EdgeError(problem)
                # Asked for while the engine starts; the first word of its output waits for it.
                redactor = pool.submit(self._redactor, stack)
                redact: Callable[[str], str] = lambda text: redactor.result()(text)  # noqa: E731, PLW0108 - not before it is asked
                with RunLog(self.logs, self.name, operation, redact) as log:
                    watch = RunWatch(
                        _logged(log, on_event), replicas=self.planned_replicas(), redact=redact, interrupt=command.interrupt
                    )
                    command.on_interrupt = watch.interrupted
                    with self._explained(operation, stack, watch, log), watch, state.kept() if state else nullcontext():
                        yield _Run(stack, watch, log, is_restored)
                    log.write(f"{operation} ended well: {watch.counts}")
            finally:
                self._running = None

    def _state_file(self) -> StateFile | None:
        """Where the state is, if in a file of this machine, and its copy."""
        if self.on_local_cloud:
            world = self._directory / "world"
            return state_file(local.backend(self._directory), local.PROJECT, self.name, world / "copies")
        return state_file(chosen_backend(), local.PROJECT, self.name, self.stack_file.parent / ".edge" / "state")

    def _restore(self, state: StateFile | None) -> bool:
        told = state.restore() if state else None
        if told:
            self.say(told)
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
            texts = self._texts(operation, error, watch)
            texts += self._leftovers.advice("\n".join([str(error), *watch.errors]), lambda: self._orphans(stack))
            raise self._noted(DeploymentFailedError(operation, texts, sites), log) from error

    def _texts(self, operation: str, error: engine_errors.CommandError, watch: RunWatch) -> list[str]:
        if isinstance(error, EngineKilledError):
            return [after_the_engines_kill(self._commands, operation)]
        told = after_a_kill(self._commands, operation, str(error), watch.errors)
        return told or after_failure(self._commands, str(error), watch.errors, has_changed=watch.changed)

    def _noted(self, error: EdgeError, log: RunLog) -> EdgeError:
        error.log = log.path
        log.write(f"error: {error}")
        return error

    def _interruption(self, operation: str, error: InterruptedRunError, watch: RunWatch) -> InterruptedRunError:
        text = after_interruption(self._commands, operation, error.times, watch.at_work, watch.broken_off)
        return InterruptedRunError(error.times, text)

    def _busy(self, operation: str) -> EnvironmentBusyError:
        return EnvironmentBusyError(
            f"another run is at work on '{self.name}', or was killed: the state is locked\n"
            f"Wait for it; if it was killed:\n{recovery(self._commands, operation)}"
        )

    def _refuse_headless_run(self) -> None:
        """A run whose `edge` was killed may still be at work; what is left of it without an engine is of no use."""
        engines = [each.pid for each in marked(self._mark) if each.is_engine]
        if engines:
            raise EnvironmentBusyError(
                f"an earlier run on '{self.name}' is at work: its `edge` was killed, its engine (process {engines[0]}) not\n"
                f"Wait for it, or end it:\n{recovery(self._commands, 'up')}"
            )
        end_all(self._mark)

    def _redactor(self, stack: Stack) -> Redactor:
        """What keeps this stack's secrets out of texts."""
        try:
            # With a command of its own: a Ctrl-C must not leave us without it.
            secrets = tuple(config_secrets(Stack(self.name, _workspace_of(stack, self._command())).config()))
        except engine_errors.CommandError:
            # The engine cannot decrypt them either, so it cannot show them, and it says why.
            secrets = ()
        return Redactor([*secrets, *(() if self.on_local_cloud else environment_secrets())])

    def _refuse_foreign_account(self, stack: Stack) -> None:
        """An environment in another account looks deleted to these credentials, and would be made once more, or forgotten.

        The local cloud has one account.
        """
        account = None if self.on_local_cloud else inventory_of(stack.deployment).account
        if account and (found := self._caller()) != account:
            raise ForeignAccountError(
                f"'{self.name}' is deployed in the AWS account {account}, and these credentials are of {found}; "
                "nothing was changed\n  -> aws sts get-caller-identity   # choose the right profile: export AWS_PROFILE=..."
            )

    def _caller(self) -> str:
        """The account of the credentials at hand."""
        from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

        try:
            return str(self.aws_client("sts", "us-east-1").get_caller_identity()["Account"])
        except (BotoCoreError, ClientError) as error:
            raise EdgeError(f"AWS does not say whose credentials these are: {error}\n  -> aws sts get-caller-identity") from error

    def _refuse_protected(self, stack: Stack) -> None:
        protected = inventory_of(stack.deployment).protected
        if protected:
            shown = ", ".join(protected[:3]) + (f" and {len(protected) - 3} more" if len(protected) > 3 else "")  # noqa: PLR2004
            raise ProtectedError(
                f"'{self.name}' is protected ({shown}); nothing was changed\n"
                f"  -> {self._commands.edge('unprotect')}   # then: {self._commands.edge('destroy')}"
            )

    def _mend(self, run: _Run, config: Callable[[], "StackConfig"]) -> list[str]:
        """What is gone, stopped or dead is mended, or handed to the run: the URNs of the commands that it must do again."""
        if not inventory_of(run.stack.deployment).sites:
            return []
        from automation.repairs import mend

        return mend(
            run.stack,
            told_outputs(recorded_outputs(run.stack.deployment), run.stack.deployment, self._endpoint_url),
            self.planned_replicas(),
            config=config(),
            client=self.aws_client,
            ports=self,
            say=run.watch.warn,
            log=run.log.write,
        )

    def _tell_pending(self, stack: Stack) -> bool:
        pending = inventory_of(stack.deployment).pending
        if pending:
            self.say(
                f"An earlier run was killed while it made {', '.join(pending)}. If AWS made it all the same, the state does not "
                "know it."
            )
        return bool(pending)

    def _forget_pending(self, run: _Run) -> None:
        """Takes creates that were killed half-way out of the state, and says so. OrphansError where AWS made them all the same:
        they would be made once more.
        """
        if self._tell_pending(run.stack) or run.is_restored:
            run.stack.refresh(clear_pending_creates=True, on_output=run.log.write, on_error=run.log.write, color="never")
            self._leftovers.refuse(
                self._look_for_orphans(run, quietly=True), "the killed run left what this one would make again", "up"
            )

    def _orphans(self, stack: Stack) -> "tuple[Thing, ...]":
        """What AWS has and the state does not. EdgeError where AWS does not say, or the state has no id."""
        config = self._config_in(Path(stack.workspace.work_dir) / f"Pulumi.{self.name}.yaml")
        return self._leftovers.find(stack.exported, config, stack.deployment)

    def _look_for_orphans(self, run: _Run, *, quietly: bool = False) -> "tuple[Thing, ...]":
        """As `_orphans`; none also where nobody can tell, which is said."""
        try:
            found = self._orphans(run.stack)
        except EdgeError as error:
            self.say(str(error))
            return ()
        for line in () if quietly else self._leftovers.words(found):
            self.say(line)
        return found

    def _open(self, *, may_start: bool, may_create: bool | None = None, command: EngineCommand | None = None) -> Stack:
        """The stack; created where `may_create` (default: `may_start`), otherwise NothingDeployedError where there is none."""
        may_create = may_start if may_create is None else may_create
        engine = command or self._command()
        if (state := self._state_file()) and state.is_cut_off:
            raise EdgeError(f"the state was cut off: {state.path}\n  -> {self._commands.edge('cancel')}   # restores its copy")
        if not self.on_local_cloud:
            return self._select(PROJECT_ROOT, engine, {"PULUMI_SKIP_UPDATE_CHECK": "true"}, may_create=may_create)
        cloud = (
            local.start_cloud(self._directory, self.say)
            if may_start
            else local.require_cloud(self._directory, self._commands.edge("up"))
        )
        local.install_plugins(self._directory)
        prepared = local.prepare_stack(self.stack_file, self._directory, cloud)
        self.stand_ins = prepared.stand_ins
        variables = local.local_environment(self._directory, cloud)
        stack = self._select(prepared.folder, engine, variables, may_create=may_create)
        if prepared.secrets:
            _set_secrets(stack, prepared.secrets)
        return stack

    def _select(self, folder: Path, engine: EngineCommand, variables: dict[str, str], *, may_create: bool) -> Stack:
        options = automation.LocalWorkspaceOptions(work_dir=str(folder), pulumi_command=engine, env_vars=variables)
        try:
            with self._engine_trouble("opening the stack"):
                return Stack.open(self.name, automation.LocalWorkspace(**vars(options)), may_create=may_create)
        except engine_errors.StackNotFoundError as error:
            raise self._nothing_deployed() from error

    def _refuse_listed_drained(self) -> None:
        if self.on_local_cloud and local.lists_drained(self.stack_file):
            raise UsageError(
                f"{self.stack_file.name} lists drained sites itself, and a local run changes no tracked file\n"
                f"  -> change {_DRAINED} there, then {self._commands.edge('up')}"
            )

    def _store_drained(self, stack: Stack, zones: Sequence[str]) -> None:
        with self._engine_trouble("storing the drained sites"):
            stack.remove_config(_DRAINED)
            for number, zone in enumerate(zones):
                stack.set_config(f"{_DRAINED}[{number}]", automation.ConfigValue(zone), path=True)

    def _endpoint_url(self, address: str) -> str:
        """The endpoint's URL at an address, by the stack file."""
        from components.settings import EndpointSettings, validate

        return (validate(self.file_config()).endpoint or EndpointSettings()).url(address)

    def _nothing_deployed(self) -> NothingDeployedError:
        where = "on the local cloud" if self.on_local_cloud else "on AWS"
        return NothingDeployedError(f"'{self.name}' is not deployed {where}\n  -> {self._commands.edge('up')}")

    def _command(self, mark: str = "") -> EngineCommand:
        return EngineCommand(*self.engine, mark=mark)

    @property
    def _mark(self) -> str:
        """What the marks of this environment's runs begin with; commands that only read have none of it."""
        return environment_mark(self.logs, self.name)

    @cached_property
    def engine(self) -> tuple[Path, str]:
        """The engine's executable, `.../bin/pulumi`, and its version."""
        try:
            engine = provide(self._directory / "engine", self.say)
        except EngineError as error:
            raise EdgeError(str(error)) from error
        return engine.path, engine.version

    @contextmanager
    def _engine_trouble(self, doing: str) -> Generator[None]:
        """Turns what the engine's command line complains of into one text; a stack that is not there stays what it is."""
        try:
            yield
        except engine_errors.StackNotFoundError:
            raise
        except engine_errors.CommandError as error:
            words = "\n".join(line.removeprefix("error: ") for line in last_words(str(error)))
            login = "\n  -> pulumi login   # or: pulumi login s3://..., pulumi login file://..." if "login" in words else ""
            raise EdgeError(f"{doing} failed: {words}{login}") from error


def _changes(run: _Run, outputs: Mapping[str, Any]) -> Changes:
    watch = run.watch
    return Changes(
        watch.counts,
        watch.seconds,
        outputs,
        steps=watch.step_times.by_replica(),
        resources=tuple(watch.resources),
        log=run.log.path,
    )


def _config_of(stack: Stack) -> "StackConfig":
    """A stack's config with secrets in clear."""
    from components.settings import StackConfig

    config = stack.config()
    secret = frozenset(key for key, entry in config.items() if entry.get("secret"))
    return StackConfig(stack.name, {key: str(entry.get("value") or "") for key, entry in config.items()}, secret)


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


def _workspace_of(stack: Stack, command: EngineCommand) -> automation.LocalWorkspace:
    """A stack's workspace with a command of its own."""
    return automation.LocalWorkspace(work_dir=stack.workspace.work_dir, env_vars=stack.workspace.env_vars, pulumi_command=command)


def _set_secrets(stack: Stack, values: Mapping[str, str]) -> None:
    """Stores secrets through the engine's standard input: the SDK's own call would show them on a command line."""
    workspace = stack.workspace
    for key, value in values.items():
        stored = subprocess.run(  # noqa: S603
            [workspace.pulumi_command.command, "config", "set", key, "--secret", "--stack", stack.name, "--non-interactive"],
            cwd=workspace.work_dir,
            env={**os.environ, **workspace.env_vars},
            input=value,
            capture_output=True,
            text=True,
            check=False,
        )
        if stored.returncode:
            raise EdgeError(f"storing {key} failed: {stored.stderr.strip()}")
