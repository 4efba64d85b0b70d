"""Deployed: what is known of an environment without a run: its place, engine, stack, config, outputs, and clients of its account.

Reads only; local stacks are prepared on the way. Leaves out runs (automation/runs.py) and the front (automation/environment.py).
"""

import json
import re
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pulumi import automation
from pulumi.automation import errors as engine_errors

from automation.engine import local
from automation.engine.advice import Commands, last_words
from automation.engine.command import EngineCommand, Stack
from automation.engine.leftovers import Leftovers
from automation.engine.outputs import in_order, recorded_outputs, told_outputs
from automation.engine.plugins import official_home
from automation.engine.processes import environment_mark
from automation.engine.results import Inventory, inventory_of
from automation.engine.stack_file import StackFile, holds_secret, look, project_defaults, read
from automation.engine.state_files import StateFile, chosen_backend, state_file
from automation.engine.stored_secrets import set_secrets
from automation.errors import (
    EdgeError,
    ForeignAccountError,
    NothingDeployedError,
    UsageError,
)
from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT, is_project, known_environments, stack_file, typed_pulumi
from automation.provision.engine import EngineError, provide
from components.problems import ConfigurationError

if TYPE_CHECKING:
    from automation.account.orphans import Thing
    from components.problems import Problem
    from components.settings import SiteSettings, StackConfig

Say = Callable[[str], None]
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
"""What the engine takes as a stack's name."""


class Deployed:
    """An environment's place, on AWS or on the local cloud; what all rooms of automation need of it.

    `name`, `directory`, `stack_files`, `logs` and `say` are as Environment takes them.
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
        if not is_project(PROJECT_ROOT):
            raise UsageError(f"there is no project in {PROJECT_ROOT}\n  -> edge init   # begins one in the current folder")
        self.stack_file = stack_file(name, stack_files)
        """Its Pulumi.NAME.yaml."""
        if not _NAME.fullmatch(name) or not self.stack_file.is_file():
            shown = name[:100]
            raise UsageError(
                f"there is no environment '{shown}': Pulumi.{shown}.yaml does not exist\n"
                f"  -> known are {', '.join(known_environments(stack_files))}"
            )
        self.name = name
        self.on_local_cloud = on_local_cloud or name == "local"
        self.stand_ins: tuple[str, ...] = ()
        """What stands in for the owner's own values, once a stack was opened on the local cloud."""
        self.logs = logs or (directory / "logs" if self.on_local_cloud else stack_files / ".edge" / "logs")
        self.commands = Commands(name, is_rehearsal=self.on_local_cloud and name != "local")
        self.leftovers = Leftovers(self.commands, self.aws_client)
        self.directory, self.say = directory, say
        self._clients: dict[tuple[str, ...], Any] = {}
        self._making_a_client = threading.Lock()

    @property
    def arguments(self) -> str:
        """How `edge` is told of it: `prod`, or `prod --local`."""
        return self.commands.arguments

    def outputs(self) -> dict[str, Any]:
        """The outputs of what is deployed, as docs/outputs.schema.json has them; NothingDeployedError where nothing is."""
        stack = self.open(may_start=False)
        with self.engine_trouble("reading the outputs"):
            values = told_outputs(stack.read_outputs(), stack.deployment, self.endpoint_url)
        if not values:
            raise self.nothing_deployed()
        return in_order(values, self.planned_replicas())

    def outputs_and_config(self) -> "tuple[dict[str, Any], StackConfig]":
        """Both, each by a process of the engine, at once; neither waits for a run that is at work."""
        stack, lacking = self._unopened(may_start=False)
        with ThreadPoolExecutor(1) as pool:
            reading = None if lacking else pool.submit(self.config_in_stack, stack.with_command(self.command()))
            self._read_state(stack, lacking, may_create=False)
            values = told_outputs(recorded_outputs(stack.deployment), stack.deployment, self.endpoint_url)
            if not values:
                raise self.nothing_deployed()
            config = reading.result() if reading else self.config_in_stack(stack)
        return in_order(values, self.planned_replicas()), config

    def inventory(self) -> Inventory:
        """What the state holds, without asking AWS; NothingDeployedError where there is no stack."""
        return inventory_of(self.open(may_start=False).deployment)

    def orphans(self) -> "tuple[Thing, ...]":
        """What AWS has of the environment and its state does not; changes nothing. While a run is at work, also what it makes."""
        stack = self.open(may_start=False)
        self.refuse_foreign_account(stack)
        return self.find_orphans(stack)

    def namesakes(self) -> "tuple[Thing, ...]":
        """What AWS has with the environment's name while its state holds nothing: nobody can tell whose it is."""
        try:
            deployment = self.open(may_start=False).deployment
        except NothingDeployedError:
            deployment = dict[str, Any]()
        return self.leftovers.namesakes(deployment, self.file_config())

    def config_value(self, key: str) -> str | None:
        """A config value, decrypted; None where it is not set."""
        stack = self.open(may_start=False)
        with self.engine_trouble("reading the config"):
            return stack.config().get(key, {}).get("value")

    def has_config(self, key: str) -> bool:
        """Whether a config value is set in the stack."""
        stack = self.open(may_start=True)
        with self.engine_trouble("reading the config"):
            return key in stack.config()

    def stack_config(self) -> "StackConfig":
        """The config as the program is handed it, with secrets in clear: for memory only, and not in texts. Where there is no
        stack yet, what the stack file says, of whose secrets nothing is known.
        """
        try:
            stack = self.open(may_start=False, may_create=self.on_local_cloud)
        except NothingDeployedError:
            return self.file_config()
        return self.config_in_stack(stack)

    def config_in_stack(self, stack: Stack) -> "StackConfig":
        """The config of an open stack, secrets in clear."""
        with self.engine_trouble("reading the config"):
            return config_of(stack)

    def file_values(self) -> dict[str, Any]:
        """The config in the stack file by full keys; what is encrypted stays so. UsageError where it is no stack file."""
        return read(self.stack_file).config

    def file_config(self) -> "StackConfig":
        """What the stack file says; of its secrets the names alone. UsageError where it is no stack file."""
        return self.config_in(self.stack_file)

    def config_in(self, stack_file: Path) -> "StackConfig":
        """What a stack file says, the tracked one or a local run's own copy."""
        return told_config(self.name, read(stack_file).config)

    def require_sound_file(self) -> None:
        """UsageError with everything that the stack file alone shows to be wrong. Asks nobody and starts nothing."""
        if problems := self.problems_in(look(self.stack_file)):
            raise UsageError(str(ConfigurationError(self.name, problems, self.arguments)))

    def problems_in(self, found: StackFile) -> "list[Problem]":
        """Everything that a stack file alone shows to be wrong, as it is deployed here: on AWS, or on the local cloud."""
        from components.preflight import crowded
        from components.settings import validate

        config, made = {**project_defaults(), **found.config}, frozenset[str]()
        if self.on_local_cloud:
            rehearsed = local.rehearsal(self.name, config)
            config, made = rehearsed.config, frozenset(rehearsed.makers) - rehearsed.config.keys()
        validated = validate(told_config(self.name, config, made))
        # Where values come from elsewhere too, nobody can say here what is missing.
        return [*found.problems, *(() if found.has_other_sources else validated.problems), *crowded(validated)]

    def planned_replicas(self) -> dict[str, int]:
        """How many instances each zone is to have, by the stack file; what is malformed there, the program judges."""
        try:
            return {site.zone: site.replicas for site in planned_sites(self.stack_file, self.name)}
        except UsageError:
            return {}

    @property
    def plugin_home(self) -> Path:
        """The PULUMI_HOME below which the engine looks for its provider plugins."""
        return self.directory / "pulumi" if self.on_local_cloud else official_home()

    def hub_endpoint(self) -> str | None:
        """The Hugging Face Hub that the program asks; None: the usual one."""
        if not self.on_local_cloud:
            return None
        cloud = local.require_cloud(self.directory, self.commands.edge("up"))
        return cloud.variables["HF_ENDPOINT"]

    def port_of(self, address: str, port: int) -> int:
        """The port by which a host's port is reached: its own, but on the local cloud, which binds none below 1024."""
        if not self.on_local_cloud:
            return port
        cloud = local.require_cloud(self.directory, self.commands.edge("up"))
        return int(cloud.request("GET", f"ports/{address}/{port}")["port"])

    def route53_speed(self) -> float:
        """How much faster than AWS's the clock of health checkers and resolvers goes: 1 but for tests on the local cloud."""
        if not self.on_local_cloud:
            return 1.0
        cloud = local.require_cloud(self.directory, self.commands.edge("up"))
        return float(cloud.request("GET", "health-checkers")["speed"])

    def dns_port(self) -> int | None:
        """The port of the local cloud's DNS server on loopback; None on AWS."""
        if not self.on_local_cloud:
            return None
        return int(local.require_cloud(self.directory, self.commands.edge("up")).request("GET", "dns")["port"])

    def aws_client(self, service: str, region: str) -> Any:
        """A boto3 client of the account that the environment lives in: AWS by the usual credentials, or the local cloud.

        Made once: that takes longer than most questions. boto3 itself cannot make two at a time.
        """
        import boto3  # pyright: ignore[reportMissingTypeStubs]

        options: dict[str, str] = {}
        if self.on_local_cloud:
            options = local.require_cloud(self.directory, self.commands.edge("up")).boto3_options
        which = (service, region, *options.values())
        with self._making_a_client:
            if which not in self._clients:
                self._clients[which] = cast("Any", boto3).client(service, region_name=region, **options)
            return self._clients[which]

    def shell_variables(self) -> dict[str, str]:
        """What a shell needs so that plain `pulumi` acts on this environment on the local cloud."""
        cloud = local.require_cloud(self.directory, self.commands.edge("up"))
        stack = self.open(may_start=False, may_create=True)
        path = f"{Path(self.engine[0]).parent}:{Path(sys.executable).parent}:$PATH"
        return {
            **local.local_environment(self.directory, cloud),
            "AWS_DEFAULT_REGION": stack.get_config("aws:region").value,
            "PULUMI_OPTION_CWD": stack.workspace.work_dir,
            "PATH": path,
        }

    def find_orphans(self, stack: Stack) -> "tuple[Thing, ...]":
        """What AWS has and the state does not. EdgeError where AWS does not say, or the state has no id."""
        config = self.config_in(Path(stack.workspace.work_dir) / f"Pulumi.{self.name}.yaml")
        return self.leftovers.find(stack.exported, config, stack.deployment)

    def refuse_foreign_account(self, stack: Stack) -> None:
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

    def state_file(self) -> StateFile | None:
        """Where the state is, if in a file of this machine, and its copy."""
        if self.on_local_cloud:
            world = self.directory / "world"
            return state_file(local.backend(self.directory), local.PROJECT, self.name, world / "copies")
        return state_file(chosen_backend(), local.PROJECT, self.name, self.stack_file.parent / ".edge" / "state")

    def open(self, *, may_start: bool, may_create: bool | None = None, command: EngineCommand | None = None) -> Stack:
        """The stack; created where `may_create` (default: `may_start`), otherwise NothingDeployedError where there is none."""
        stack, lacking = self._unopened(may_start=may_start, command=command)
        self._read_state(stack, lacking, may_create=may_start if may_create is None else may_create)
        return stack

    def _unopened(self, *, may_start: bool, command: EngineCommand | None = None) -> tuple[Stack, dict[str, str]]:
        """The stack, of which nothing was read yet, and the secrets that are to be stored in it first."""
        engine = command or self.command()
        if (state := self.state_file()) and state.stays_cut_off():
            raise EdgeError(f"the state was cut off: {state.path}\n  -> {self.commands.edge('cancel')}   # restores its copy")
        if not self.on_local_cloud:
            return _stack(self.name, PROJECT_ROOT, engine, {"PULUMI_SKIP_UPDATE_CHECK": "true"}), {}
        cloud = (
            local.start_cloud(self.directory, self.say)
            if may_start
            else local.require_cloud(self.directory, self.commands.edge("up"))
        )
        local.install_plugins(self.directory)
        prepared = local.prepare_stack(self.stack_file, self.directory, cloud)
        self.stand_ins = prepared.stand_ins
        for key in prepared.taken_back:
            self.say(
                f"{key} was changed in the local cloud's own copy of {self.stack_file.name} and taken back: the file counts\n"
                f"  -> edge config {self.arguments} {key.removeprefix(f'{local.PROJECT}:')} VALUE"
            )
        variables = local.local_environment(self.directory, cloud)
        return _stack(self.name, prepared.folder, engine, variables), prepared.secrets

    def _read_state(self, stack: Stack, lacking: Mapping[str, str], *, may_create: bool) -> None:
        try:
            with self.engine_trouble("opening the stack"):
                stack.open(may_create=may_create)
        except engine_errors.StackNotFoundError as error:
            raise self.nothing_deployed() from error
        if lacking:
            set_secrets(stack, lacking)

    def endpoint_url(self, address: str) -> str:
        """The endpoint's URL at an address, by the stack file."""
        from components.settings import EndpointSettings, validate

        return (validate(self.file_config()).endpoint or EndpointSettings()).url(address)

    def nothing_deployed(self) -> NothingDeployedError:
        """The error of who asks for what is not deployed."""
        where = "on the local cloud" if self.on_local_cloud else "on AWS"
        return NothingDeployedError(f"'{self.name}' is not deployed {where}\n  -> {self.commands.edge('up')}")

    def command(self, mark: str = "") -> EngineCommand:
        """A command line of the engine; `mark` is put in the environment of all that it starts."""
        return EngineCommand(*self.engine, mark=mark)

    @property
    def mark(self) -> str:
        """What the marks of this environment's runs begin with; commands that only read have none of it."""
        return environment_mark(self.logs, self.name)

    @cached_property
    def engine(self) -> tuple[Path, str]:
        """The engine's executable, `.../bin/pulumi`, and its version."""
        try:
            engine = provide(self.directory / "engine", self.say)
        except EngineError as error:
            raise EdgeError(str(error)) from error
        return engine.path, engine.version

    @contextmanager
    def engine_trouble(self, doing: str) -> Generator[None]:
        """Turns what the engine's command line complains of into one text; a stack that is not there stays what it is."""
        try:
            yield
        except engine_errors.StackNotFoundError:
            raise
        except engine_errors.CommandError as error:
            words = "\n".join(line.removeprefix("error: ") for line in last_words(str(error)))
            login = f"\n  -> {typed_pulumi()} login   # or: login s3://..., login file://..." if "login" in words else ""
            raise EdgeError(f"{doing} failed: {words}{login}") from error


def _stack(name: str, folder: Path, engine: EngineCommand, variables: dict[str, str]) -> Stack:
    return Stack(name, automation.LocalWorkspace(work_dir=str(folder), pulumi_command=engine, env_vars=variables))


def planned_sites(stack_file: Path, name: str) -> "list[SiteSettings]":
    """The sites that a stack file asks for; UsageError where it does not, or not well."""
    from pydantic import ValidationError

    from components.settings import PROJECT, SiteSettings

    try:
        return [SiteSettings.model_validate(site) for site in read(stack_file).config[f"{PROJECT}:sites"]]
    except (UsageError, KeyError, TypeError, ValidationError) as error:
        where = f"{stack_file.name} does not say which sites it wants, or not well"
        raise UsageError(f"{where}\n  -> edge doctor {name}") from error


def told_config(name: str, config: Mapping[str, Any], made: frozenset[str] = frozenset()) -> "StackConfig":
    """A stack file's config as the program would be told it; of what is encrypted, and of what is yet `made`, the names alone."""
    from components.settings import SECRET_KEYS, StackConfig

    # A secret of which a part stands in clear is in clear.
    sealed = {key for key, value in config.items() if local.is_secret(value) or (key not in SECRET_KEYS and holds_secret(value))}
    plain = {key: value for key, value in config.items() if key not in sealed}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in plain.items()}
    return StackConfig(name, texts, frozenset(sealed | made))


def config_of(stack: Stack) -> "StackConfig":
    """A stack's config with secrets in clear."""
    from components.settings import StackConfig

    config = stack.config()
    secret = frozenset(key for key, entry in config.items() if entry.get("secret"))
    return StackConfig(stack.name, {key: str(entry.get("value") or "") for key, entry in config.items()}, secret)
