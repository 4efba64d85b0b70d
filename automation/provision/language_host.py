"""The part of Pulumi that runs Python programs, for engines built from source: `pulumi-language-python`.

An official install has its own and it is then used; engine.py puts this one beside a built engine, where the
module of the official one cannot be had. Left out on purpose: code generation (`pulumi package add`, `pulumi convert`,
`pulumi new`), the debugger, the toolchains uv and poetry, tracing.
"""

# ruff: noqa: N802, ARG001, ARG002 - names and arguments are the protocol's

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import grpc
from google.protobuf.empty_pb2 import Empty
from grpc import ServicerContext, StatusCode
from pulumi.runtime.proto import language_pb2 as pb
from pulumi.runtime.proto import plugin_pb2
from pulumi.runtime.proto.language_pb2_grpc import LanguageRuntimeServicer, add_LanguageRuntimeServicer_to_server

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from types import FrameType

    from google.protobuf.message import Message

# The exec script's exit code for "the user has seen a message already" (PYTHON_PROCESS_EXITED_AFTER_… in it).
MESSAGE_SHOWN = 32
# A plugin that is run through RunPlugin holds its thread as long as it lives.
THREADS = 64
# As in the official host, a plugin (policy pack, component package) is never run in the surrounding Python.
PLUGIN_ENVIRONMENT = "venv"
# As the official host: a program is interrupted as by Ctrl-C, and killed if it does not end within this time.
STOP_SECONDS = 5.0
PARENT_POLL_SECONDS = 0.5
# The engine's own limit.
MAX_MESSAGE_BYTES = 400 * 1024 * 1024

# Runs in the program's own interpreter, which need not be the one of this host.
PROBE = """
import importlib.metadata, json, pathlib, platform, sys
print(json.dumps({
    "executable": sys.executable,
    "version": platform.python_version(),
    "pip": next((d.version for d in importlib.metadata.distributions(name="pip")), ""),
    "plugins": [json.loads(p.read_text()) for d in sys.path for p in pathlib.Path(d).glob("*/pulumi-plugin.json")],
}))
"""

# Becomes the command, but is killed with this host (Linux): a program whose host was killed would wait for half an hour, and the
# engine with it. Not in preexec_fn, which is unsafe beside threads.
TIED = """
import ctypes, os, signal, sys
host = int(sys.argv[1])
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != host:
        sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


class SetupError(Exception):
    """A mistake in the project's set-up that its owner can mend; the text says how."""


Response = TypeVar("Response", pb.RunPluginResponse, pb.InstallDependenciesResponse)


def virtual_environment(info: pb.ProgramInfo, default: str = "") -> Path | None:
    """Return the directory of `runtime.options.virtualenv`, which is relative to the project, or None without one."""
    options = dict(info.options.items())
    toolchain = options.get("toolchain", "pip")
    if toolchain != "pip":
        raise SetupError(
            f"runtime.options.toolchain of the Pulumi project is {toolchain!r}, but the engine was built from source "
            "and its language host knows only pip: remove the option, or install Pulumi's official release."
        )
    virtualenv = options.get("virtualenv") or default
    return Path(info.root_directory, str(virtualenv)) if virtualenv else None


def interpreter(info: pb.ProgramInfo, default_environment: str = "") -> Path:
    """Return the Python that runs the program: its virtual environment's, else the one that runs this host."""
    environment = virtual_environment(info, default_environment)
    if environment is None:
        return Path(sys.executable)
    python = environment / "bin" / "python"
    if not python.exists():
        raise SetupError(
            f"{environment} is not a virtual environment, but runtime.options.virtualenv of {info.root_directory} "
            "names it (or, for a plugin, leaves it to be): run `pulumi install` there to create it."
        )
    return python


def program_environment(python: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with the interpreter's own commands first on PATH."""
    directory = python.parent
    merged = {**environment, "PATH": f"{directory}{os.pathsep}{environment.get('PATH', os.defpath)}"}
    if (directory.parent / "pyvenv.cfg").exists():
        merged["VIRTUAL_ENV"] = str(directory.parent)
    merged.pop("PYTHONHOME", None)
    return merged


def run_arguments(request: pb.RunRequest, engine_address: str) -> list[str]:
    """Return the exec script's arguments for a run."""
    named = {
        "monitor": request.monitor_address,
        "engine": engine_address,
        "project": request.project,
        "root_directory": request.info.root_directory,
        "stack": request.stack,
        "pwd": request.pwd,
        "dry_run": "true" if request.dryRun else "false",
        "parallel": str(request.parallel),
        "organization": request.organization,
    }
    arguments = [word for name, value in named.items() if value for word in (f"--{name}", value)]
    return [*arguments, request.info.entry_point or ".", *request.args]


class Processes:
    """The processes that this host has started and that must not outlive it."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._interrupted: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def start(
        self, command: Sequence[str | Path], cwd: str, environment: Mapping[str, str], output: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own, which alone is interrupted with it.

        It lives no longer than the thread that calls this, so wait for it in the same.
        """
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", TIED, str(os.getpid()), *command],
            cwd=cwd or None,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
        self._running.add(process)
        return process

    def interrupt(self, process: subprocess.Popen[bytes]) -> None:
        """Interrupt the process, if it still runs, and all that it started, as Ctrl-C would. Once: it may be cleaning up."""
        with self._lock:
            if process.poll() is not None or process in self._interrupted:
                return
            self._interrupted.add(process)
        _send(process, signal.SIGINT)

    def finish(self, process: subprocess.Popen[bytes]) -> int:
        """End the process if it still runs, with all that it started, and return its exit status."""
        self.interrupt(process)
        if process in self._interrupted:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            # Also where it has ended: what a shell starts in the background ignores interrupts.
            _send(process, signal.SIGKILL)
        self._running.discard(process)
        return process.wait()

    def finish_all(self) -> None:
        """End every process that is still running."""
        running = list(self._running)
        for process in running:
            self.interrupt(process)
        for process in running:
            self.finish(process)


def _send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


class LanguageHost(LanguageRuntimeServicer):
    """The engine's LanguageRuntime service for Python."""

    def __init__(self, exec_script: Path, engine_address: str) -> None:
        """Serve the engine at engine_address; exec_script is the SDK's own script that runs a program."""
        self._exec_script = exec_script
        self._engine_address = engine_address
        self._cancelled = False
        self.processes = Processes()

    def GetPluginInfo(self, request: Message, context: ServicerContext) -> plugin_pb2.PluginInfo:
        """Return no version: the engine takes this host as it is."""
        return plugin_pb2.PluginInfo()

    def Run(self, request: pb.RunRequest, context: ServicerContext) -> pb.RunResponse:
        """Run the program to its end; what it prints goes to the engine through the inherited streams."""
        python = self._interpreter(request.info, context)
        environment = {
            **program_environment(python, os.environ),
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        command = [python, "-u", self._exec_script, *run_arguments(request, self._engine_address)]
        process = self.processes.start(command, request.pwd, environment)
        context.add_callback(lambda: self.processes.interrupt(process))
        process.wait()
        status = self.processes.finish(process)
        if status == MESSAGE_SHOWN or self._cancelled:
            return pb.RunResponse(bail=True)
        # Of a program that a signal ended, the official host knows no more than -1.
        return pb.RunResponse(error=f"program exited with non-zero exit code: {max(status, -1)}" if status else "")

    def RunPlugin(self, request: pb.RunPluginRequest, context: ServicerContext) -> Iterator[pb.RunPluginResponse]:
        """Run a policy pack or a component package, streaming what it prints, until it ends or is cancelled."""
        with user_errors(context):
            python = interpreter(request.info, PLUGIN_ENVIRONMENT)
        directory = request.info.program_directory
        if request.kind == "analyzer":
            command = [python, "-u", "-m", "pulumi.policy", *request.args, directory]
        else:
            command = [python, "-u", directory, *request.args]
        environment = program_environment(python, dict(entry.split("=", 1) for entry in request.env))
        status = yield from self._stream(pb.RunPluginResponse, command, request.pwd, environment, context)
        yield pb.RunPluginResponse(exitcode=status)

    def InstallDependencies(
        self, request: pb.InstallDependenciesRequest, context: ServicerContext
    ) -> Iterator[pb.InstallDependenciesResponse]:
        """Create the virtual environment if there is none yet and install requirements.txt into it."""
        yield from self._install(request.info, PLUGIN_ENVIRONMENT if request.is_plugin else "", context)

    def _install(
        self, info: pb.ProgramInfo, default_environment: str, context: ServicerContext
    ) -> Iterator[pb.InstallDependenciesResponse]:
        directory = info.program_directory
        commands: list[list[str | Path]] = []
        with user_errors(context):
            environment = virtual_environment(info, default_environment)
        python = environment / "bin" / "python" if environment else Path(sys.executable)
        if environment and not python.exists():
            commands.append([sys.executable, "-m", "venv", environment])
        if Path(directory, "requirements.txt").exists():
            commands.append([python, "-m", "pip", "install", "-r", "requirements.txt"])
        for command in commands:
            status = yield from self._stream(
                pb.InstallDependenciesResponse, command, directory, program_environment(python, os.environ), context
            )
            if status:
                context.abort(StatusCode.UNKNOWN, f"`{' '.join(map(str, command))}` failed with exit code {status}")

    def About(self, request: pb.AboutRequest, context: ServicerContext) -> pb.AboutResponse:
        """Return the program's interpreter, its version, and what the official host says of pip."""
        facts = self._probe(request.info, context)
        return pb.AboutResponse(
            executable=facts["executable"],
            version=facts["version"],
            metadata={"toolchain": "Auto", "toolchainVersion": facts["pip"], "typechecker": "None"},
        )

    def GetProgramDependencies(
        self, request: pb.GetProgramDependenciesRequest, context: ServicerContext
    ) -> pb.GetProgramDependenciesResponse:
        """Return the distributions installed in the program's environment, those that another one needs only where asked for."""
        python = self._interpreter(request.info, context)
        which = [] if request.transitiveDependencies else ["--not-required"]
        listed = subprocess.check_output(
            [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check", *which],
            cwd=request.info.program_directory,
        )
        return pb.GetProgramDependenciesResponse(
            dependencies=[pb.DependencyInfo(name=each["name"], version=each["version"]) for each in json.loads(listed)]
        )

    def GetRequiredPackages(
        self, request: pb.GetRequiredPackagesRequest, context: ServicerContext
    ) -> pb.GetRequiredPackagesResponse:
        """Return the provider plugins that the installed Pulumi packages name in their pulumi-plugin.json.

        The engine asks this first, before a preview too. As the official host does, a virtual environment that is not there, or
        empty, is made then and without a word; one that is there is left alone, whatever it holds.
        """
        with user_errors(context):
            environment = virtual_environment(request.info)
        if environment and not (environment.is_dir() and any(environment.iterdir())):
            for _ in self._install(request.info, "", context):
                pass
        plugins = self._probe(request.info, context)["plugins"]
        return pb.GetRequiredPackagesResponse(
            packages=[
                plugin_pb2.PackageDependency(
                    name=plugin["name"],
                    kind="resource",
                    version=plugin.get("version", ""),
                    server=plugin.get("server", ""),
                )
                for plugin in plugins
                if plugin.get("resource")
            ]
        )

    def Cancel(self, request: Message, context: ServicerContext) -> Empty:
        """End what runs; a run ended this way reports no error of its own."""
        self._cancelled = True
        self.processes.finish_all()
        return Empty()

    def refuse(self, request: Message, context: ServicerContext) -> NoReturn:
        """Refuse what this host leaves out."""
        context.abort(
            StatusCode.UNIMPLEMENTED,
            "the Python language host of an engine built from source cannot generate code; "
            "install Pulumi's official release for this command",
        )

    Template = RuntimeOptionsPrompts = Pack = Link = refuse
    GenerateProgram = GenerateProject = GeneratePackage = refuse

    def _interpreter(self, info: pb.ProgramInfo, context: ServicerContext) -> Path:
        with user_errors(context):
            return interpreter(info)

    def _probe(self, info: pb.ProgramInfo, context: ServicerContext) -> dict[str, Any]:
        python = self._interpreter(info, context)
        return json.loads(subprocess.check_output([python, "-c", PROBE], cwd=info.program_directory))

    def _stream(
        self,
        response: type[Response],
        command: Sequence[str | Path],
        cwd: str,
        environment: Mapping[str, str],
        context: ServicerContext,
    ) -> Generator[Response, None, int]:
        """Run a command, yield what it prints as it comes, and return its exit status."""
        process = self.processes.start(command, cwd, environment, subprocess.PIPE)
        context.add_callback(lambda: self.processes.interrupt(process))
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(cast("IO[bytes]", process.stdout), selectors.EVENT_READ, "stdout")
                selector.register(cast("IO[bytes]", process.stderr), selectors.EVENT_READ, "stderr")
                while selector.get_map():
                    for key, _ in selector.select():
                        data = os.read(key.fd, 65536)
                        if data:
                            yield response(stdout=data) if key.data == "stdout" else response(stderr=data)
                        else:
                            selector.unregister(key.fileobj)
            process.wait()
        finally:
            status = self.processes.finish(process)
        return status


@contextlib.contextmanager
def user_errors(context: ServicerContext) -> Generator[None]:
    """Hand a SetupError to the engine as its text alone."""
    try:
        yield
    except SetupError as error:
        context.abort(StatusCode.FAILED_PRECONDITION, str(error))


def stop(number: int, frame: FrameType | None) -> NoReturn:
    """End the main thread; main() then ends everything else."""
    sys.exit(0)


def main() -> None:
    """Serve until the engine interrupts this process or is gone: `language_host.py EXEC_SCRIPT [FLAG...] ENGINE`."""
    engine = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    host = LanguageHost(Path(sys.argv[1]), sys.argv[-1])
    server = grpc.server(ThreadPoolExecutor(THREADS), options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)])
    add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    try:
        # A killed engine tells nobody; without this look its hosts would live on.
        while os.getppid() == engine:
            time.sleep(PARENT_POLL_SECONDS)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        host.processes.finish_all()
        server.stop(None)


if __name__ == "__main__":
    main()
