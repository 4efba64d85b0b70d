"""Environment: one environment's stack, driven over the very program that `pulumi up` runs.

Local programs only (the project folder), so that the shell, CI and Python all take the same door. Blocking: an engine run is a
process of its own, and a thread is enough to wait for it.
"""

import os
import re
import subprocess
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pulumi import automation
from pulumi.automation import errors as engine_errors
from pulumi.runtime.rpc import UNKNOWN

from automation import local
from automation.errors import DeploymentFailedError, EdgeError, EnvironmentBusyError, NothingDeployedError, UsageError
from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT, known_environments, stack_file
from automation.progress import ErrorCollector, StepTimes
from tools.provide_engine import EngineError, provide

if TYPE_CHECKING:
    from pulumi.automation.events import EngineEvent

    from automation.resolution import Resolution, Routes

# A killed engine makes the SDK warn, from a thread of its own, of its broken event stream.
warnings.filterwarnings("ignore", "Error in event stream")

_DRAINED = "edge-inference:drained"
_ROUTING_TARGETS = ["**::routing", "**::routing-*"]
"""URNs of the routing component and all that it makes (components/build.py names it), also of what is yet to be made."""
_EngineResult = automation.UpResult | automation.PreviewResult | automation.RefreshResult | automation.DestroyResult
Say = Callable[[str], None]
OnEvent = Callable[["EngineEvent"], None]


@dataclass(frozen=True)
class Changes:
    """What a run did, or would do: how many resources by operation (`create`, `update`, `same`, ...)."""

    counts: Mapping[str, int]
    seconds: float
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The stack's outputs after `up` and `refresh`: see docs/outputs.schema.json."""
    steps: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    """After `up`: seconds from the instance's launch to its first token, by replica and step (boot, docker, image, model,
    ready), of what was converged in this run."""

    @property
    def changed(self) -> int:
        """How many resources are not as they were."""
        return sum(count for operation, count in self.counts.items() if operation != "same")


class Environment:
    """An environment by name: `Environment("prod")` on AWS, `Environment("prod", on_local_cloud=True)` rehearses it.

    `Environment("local")` is always on the local cloud, which is started where it does not run. `directory` holds that cloud
    and the engine, `stack_files` the Pulumi.NAME.yaml; `say` is told what is being prepared. Methods raise EdgeError subclasses
    (errors.py), never an engine's traceback.
    """

    def __init__(
        self,
        name: str,
        *,
        on_local_cloud: bool = False,
        directory: Path = LOCAL_DIRECTORY,
        stack_files: Path = PROJECT_ROOT,
        say: Say = lambda _: None,
    ) -> None:
        self._config_file = stack_file(name, stack_files)
        if not self._config_file.exists():
            raise UsageError(
                f"there is no environment '{name}': Pulumi.{name}.yaml does not exist\n"
                f"  -> known are {', '.join(known_environments(stack_files))}"
            )
        self.name = name
        self.on_local_cloud = on_local_cloud or name == "local"
        self.stand_ins: tuple[str, ...] = ()
        """What stands in for the owner's own values, once a stack was opened on the local cloud."""
        self._directory = directory
        self.say = say

    @property
    def arguments(self) -> str:
        """How `edge` is told of it: `prod`, or `prod --local`."""
        return self.name + (" --local" if self.on_local_cloud and self.name != "local" else "")

    def up(self, on_event: OnEvent | None = None) -> Changes:
        """Deploys: afterwards every site of the config serves. DeploymentFailedError names what does not; one site that
        fails does not keep the others from being finished.
        """
        stack, times = self._open(may_start=True), StepTimes()

        def run(errors: ErrorCollector) -> automation.UpResult:
            self._forget_pending(stack)
            return stack.up(continue_on_error=True, on_event=errors.then(times.then(on_event)))

        return replace(self._run("up", run), steps=times.by_replica())

    def preview(self, on_event: OnEvent | None = None) -> Changes:
        """What `up` would change; changes nothing."""
        stack = self._open(may_start=True)
        return self._run("preview", lambda errors: stack.preview(on_event=errors.then(on_event)))

    def refresh(self, on_event: OnEvent | None = None) -> Changes:
        """Reads back what is really there into the state."""
        stack = self._open(may_start=False)
        return self._run("refresh", lambda errors: stack.refresh(on_event=errors.then(on_event)))

    def destroy(self, on_event: OnEvent | None = None) -> Changes:
        """Removes everything that the environment deployed; on the local cloud also the stack itself."""
        stack = self._open(may_start=False)
        changes = self._run("destroy", lambda errors: stack.destroy(on_event=errors.then(on_event)))
        if self.on_local_cloud:
            with _engine_trouble("removing the stack"):
                # Forced: a create that was killed half-way stays in the state until then.
                stack.workspace.remove_stack(self.name, force=True)
        return changes

    def outputs(self) -> dict[str, Any]:
        """The outputs of what is deployed, None for what a failed site does not have; NothingDeployedError where nothing is."""
        stack = self._open(may_start=False)
        with _engine_trouble("reading the outputs"):
            values = {name: _known(output.value) for name, output in stack.outputs().items()}
        if not values:
            raise self._nothing_deployed()
        return values

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

    def store_drained(self, zones: Sequence[str]) -> None:
        """Stores in the config which sites are to get no users; changes no records."""
        if self.on_local_cloud and local.lists_drained(self._config_file):
            raise UsageError(
                f"{self._config_file.name} lists drained sites itself, and a local run changes no tracked file\n"
                f"  -> change {_DRAINED} there, then {self._edge_command('up')}"
            )
        stack = self._open(may_start=False)
        with _engine_trouble("storing the drained sites"):
            stack.remove_config(_DRAINED)
            for number, zone in enumerate(zones):
                stack.set_config(f"{_DRAINED}[{number}]", automation.ConfigValue(zone), path=True)

    def reroute(self, drained: Sequence[str], on_event: OnEvent | None = None) -> Changes:
        """Stores which sites get no users, and brings health checks and records, and nothing else, up to the config."""
        self.store_drained(drained)
        stack = self._open(may_start=False)

        def run(errors: ErrorCollector) -> automation.UpResult:
            return stack.up(continue_on_error=True, target=_ROUTING_TARGETS, on_event=errors.then(on_event))

        return self._run("up", run)

    def store_secrets(self, values: Mapping[str, str]) -> None:
        """Stores secret config values, encrypted by the stack's secrets provider."""
        stack = self._open(may_start=True)
        _set_secrets(stack, values)

    def has_config(self, key: str) -> bool:
        """Whether a config value is set in the stack."""
        stack = self._open(may_start=True)
        with _engine_trouble("reading the config"):
            return key in stack.get_all_config()

    def config_value(self, key: str) -> str | None:
        """A config value, decrypted; None where it is not set."""
        stack = self._open(may_start=False)
        with _engine_trouble("reading the config"):
            found = stack.get_all_config().get(key)
        return found.value if found else None

    def port_of(self, address: str, port: int) -> int:
        """The port by which a host's port is reached: its own, but on the local cloud, which binds none below 1024."""
        if not self.on_local_cloud:
            return port
        cloud = local.require_cloud(self._directory, self._edge_command("up"))
        return int(cloud.request("GET", f"ports/{address}/{port}")["port"])

    def aws_client(self, service: str, region: str) -> Any:
        """A boto3 client of the account that the environment lives in: AWS by the usual credentials, or the local cloud."""
        import boto3  # pyright: ignore[reportMissingTypeStubs]

        if not self.on_local_cloud:
            return cast("Any", boto3).client(service, region_name=region)
        cloud = local.require_cloud(self._directory, self._edge_command("up"))
        variables = local.local_environment(self._directory, cloud)
        return cast("Any", boto3).client(
            service,
            region_name=region,
            endpoint_url=cloud.url,
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        )

    def shell_variables(self) -> dict[str, str]:
        """What a shell needs so that plain `pulumi` acts on this environment on the local cloud."""
        cloud = local.require_cloud(self._directory, self._edge_command("up"))
        stack = self._open(may_start=False, may_create=True)
        path = f"{self._engine().parent}:{PROJECT_ROOT / '.venv' / 'bin'}:$PATH"
        return {
            **local.local_environment(self._directory, cloud),
            "AWS_DEFAULT_REGION": stack.get_config("aws:region").value,
            "PULUMI_OPTION_CWD": stack.workspace.work_dir,
            "PATH": path,
        }

    def _run(self, operation: str, run: Callable[[ErrorCollector], _EngineResult]) -> Changes:
        errors, started = ErrorCollector(), time.monotonic()
        try:
            result = run(errors)
        except engine_errors.ConcurrentUpdateError as error:
            raise EnvironmentBusyError(
                f"another run is at work on '{self.name}'\n"
                f"  -> wait for it; if it was killed: {self._cancel_command()}, then run this again"
            ) from error
        except engine_errors.CommandError as error:
            texts = errors.texts or _last_words(str(error))
            was_killed = re.search(r"code: -\d+", str(error)) is not None
            if was_killed:
                texts = [f"the engine was killed\n  -> {self._cancel_command()}, then run this again"]
            elif any("failed attempts" in text or "unable to dial" in text for text in texts):
                texts.append(
                    "If an instance is gone, or was stopped, AWS's console says so: `pulumi refresh` reads it back, and the next "
                    "run makes what is missing. If it runs: access.sshCidrs must hold this machine's address."
                )
            if errors.changed and not was_killed:
                texts.append("What was finished stays. Mend the cause, then run the same command again.")
            texts += self._after_a_kill(str(error))
            raise DeploymentFailedError(operation, texts) from error
        if isinstance(result, automation.PreviewResult):
            # The SDK types the keys as OpType and delivers text.
            counts = {automation.OpType(key).value: count for key, count in result.change_summary.items()}
            return Changes(counts, time.monotonic() - started)
        outputs = {name: _known(output.value) for name, output in getattr(result, "outputs", {}).items()}
        return Changes(
            {str(key): count for key, count in (result.summary.resource_changes or {}).items()},
            time.monotonic() - started,
            outputs,
        )

    def _open(self, *, may_start: bool, may_create: bool | None = None) -> automation.Stack:
        """The stack; created where `may_create` (default: `may_start`), otherwise NothingDeployedError where there is none."""
        may_create = may_start if may_create is None else may_create
        engine = automation.PulumiCommand(str(self._engine().parent.parent))
        if not self.on_local_cloud:
            return self._select(PROJECT_ROOT, engine, {"PULUMI_SKIP_UPDATE_CHECK": "true"}, may_create=may_create)
        cloud = (
            local.start_cloud(self._directory, self.say)
            if may_start
            else local.require_cloud(self._directory, self._edge_command("up"))
        )
        local.install_plugins(self._directory)
        prepared = local.prepare_stack(self._config_file, self._directory, cloud)
        self.stand_ins = prepared.stand_ins
        variables = local.local_environment(self._directory, cloud)
        stack = self._select(prepared.folder, engine, variables, may_create=may_create)
        if prepared.secrets:
            _set_secrets(stack, prepared.secrets)
        return stack

    def _select(
        self, folder: Path, engine: automation.PulumiCommand, variables: dict[str, str], *, may_create: bool
    ) -> automation.Stack:
        options = automation.LocalWorkspaceOptions(work_dir=str(folder), pulumi_command=engine, env_vars=variables)
        workspace = automation.LocalWorkspace(**vars(options))
        try:
            with _engine_trouble("opening the stack"):
                if may_create:
                    return automation.Stack.create_or_select(self.name, workspace)
                return automation.Stack.select(self.name, workspace)
        except engine_errors.StackNotFoundError as error:
            raise self._nothing_deployed() from error

    def _nothing_deployed(self) -> NothingDeployedError:
        where = "on the local cloud" if self.on_local_cloud else "on AWS"
        return NothingDeployedError(f"'{self.name}' is not deployed {where}\n  -> {self._edge_command('up')}")

    def _edge_command(self, verb: str) -> str:
        return f"edge {verb} {self.arguments}"

    def _cancel_command(self) -> str:
        variables = f'eval "$(edge env local --stack {self.name})" && ' if self.on_local_cloud else ""
        return f"{variables}pulumi cancel --yes --stack {self.name}"

    def _after_a_kill(self, text: str) -> list[str]:
        """What to do about the remains of a run that was killed while AWS made something, or while the state was written."""
        anew = self._edge_command("destroy")
        if re.search(r"AlreadyExists|\.Duplicate", text):
            return [f"What exists already was made by a run that was killed before it was recorded\n  -> remove it, or {anew}"]
        if "failed to load checkpoint" in text:
            remedy = "edge cloud stop, then deploy again" if self.on_local_cloud else "restore the .bak file beside it"
            return [f"The state was cut off when a run was killed\n  -> {remedy}"]
        return []

    def _forget_pending(self, stack: automation.Stack) -> None:
        """Takes creates that were killed half-way out of the state, and says so: AWS may have made them all the same."""
        deployment = cast("dict[str, Any]", stack.export_stack().deployment or {})
        pending = cast("list[dict[str, Any]]", deployment.get("pending_operations") or [])
        if not pending:
            return
        names = ", ".join(str(each["resource"]["urn"]).rpartition("::")[2] for each in pending)
        self.say(
            f"An earlier run was killed while it made {names}. If AWS made it all the same, it is not in the state: look for "
            f"resources tagged edge-inference:stack={self.name}."
        )
        stack.refresh(clear_pending_creates=True)

    def _engine(self) -> Path:
        """The engine's executable, `.../bin/pulumi`."""
        try:
            return provide(self._directory / "engine", self.say).path
        except EngineError as error:
            raise EdgeError(str(error)) from error


@contextmanager
def _engine_trouble(doing: str) -> Generator[None]:
    """Turns what the engine's command line complains of into one text; a stack that is not there stays what it is."""
    try:
        yield
    except engine_errors.StackNotFoundError:
        raise
    except engine_errors.CommandError as error:
        words = "\n".join(_last_words(str(error)))
        login = "\n  -> pulumi login   # or: pulumi login s3://..., pulumi login file://..." if "login" in words else ""
        raise EdgeError(f"{doing} failed: {words}{login}") from error


def _set_secrets(stack: automation.Stack, values: Mapping[str, str]) -> None:
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


def _known(value: Any) -> Any:
    """An output as the contract has it: what the engine does not know, since its resource failed, is None."""
    if value == UNKNOWN:
        return None
    if isinstance(value, dict):
        return {key: _known(each) for key, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_known(each) for each in cast("list[Any]", value)]
    return value


def _last_words(text: str) -> list[str]:
    """The lines of an engine's failure that say something, where no event did."""
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line.startswith(("error:", "stderr: error:"))] or lines[-3:]
