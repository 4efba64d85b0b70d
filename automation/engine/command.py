"""The Automation API as this project uses it: fewer questions to the engine, and a Ctrl-C that goes through us.

The SDK handles no signals: engine and caller would both get a terminal's Ctrl-C, and the caller would be gone before the engine.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from pulumi import automation
from pulumi.automation import errors as engine_errors
from semver import VersionInfo

from automation.engine import processes
from automation.engine.events import CUT_OFF_SECONDS
from automation.errors import InterruptedRunError

_EXCLUDE = "PULUMI_OPTION_EXCLUDE"
OnLine = Callable[[str], Any]

_LOOK_SECONDS = 1.0
_PROGRAM = "pulumi-language-python-exec"
"""The script of the SDK that runs a program, also under the official language host."""


class EngineKilledError(engine_errors.CommandError):
    """The engine was ended by a signal."""


class EngineCommand(automation.PulumiCommand):
    """The engine's command line for one operation, which can be interrupted from any thread.

    Whatever it has started is ended with it (processes.py); `mark` is what the marks of the environment's runs begin with.
    """

    def __init__(self, executable: Path, version: str, mark: str = "") -> None:
        # Not the SDK's own, which would start the engine once more to ask for the version.
        self.command, self.version = str(executable), VersionInfo.parse(version.removeprefix("v"))
        self.interruptions = 0
        self.on_interrupt: Callable[[int], None] = lambda _: None
        self.mark = f"{mark}{uuid4()}"
        self._processes: list[subprocess.Popen[str]] = []
        self._lock = threading.Lock()

    def interrupt(self) -> None:
        """Once: the engine finishes the steps at work and begins no other. Twice: it cuts them off, and is killed where it has
        not ended after CUT_OFF_SECONDS. Three times: it is killed.
        """
        with self._lock:
            self.interruptions += 1
            times = self.interruptions
            for process in self._processes:
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGINT if times <= 2 else signal.SIGKILL)  # noqa: PLR2004
                if times == 2:  # noqa: PLR2004
                    killing = threading.Timer(CUT_OFF_SECONDS, process.kill)
                    killing.daemon = True
                    killing.start()
        self.on_interrupt(times)

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: OnLine | None = None,
        on_error: OnLine | None = None,
    ) -> automation.CommandResult:
        """As the SDK's, but a Ctrl-C interrupts and waits; InterruptedRunError where the command ends badly for it."""
        # A process group of its own: a terminal's Ctrl-C comes to us alone. Still in the terminal's session, so that closing the
        # terminal is heard of. No standard input: nobody is asked anything.
        with self._lock:
            if self.interruptions:
                raise InterruptedRunError(self.interruptions)
            process = subprocess.Popen(  # noqa: S603
                [self.command, "--non-interactive", *args],
                cwd=cwd,
                env=self._environment(additional_env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                process_group=0,
            )
            self._processes.append(process)
        out, err = _Lines(process.stdout, on_output), _Lines(process.stderr, on_error)
        with _watched(self.mark):
            self._wait(process, out, err)
        result = automation.CommandResult(stdout=out.text, stderr=err.text, code=process.returncode)
        if result.code and self.interruptions:
            raise InterruptedRunError(self.interruptions)
        if result.code < 0:
            raise EngineKilledError(result)
        if result.code:
            raise engine_errors.create_command_error(result)
        return result

    def _wait(self, process: subprocess.Popen[str], *lines: "_Lines") -> None:
        # Before its output is read to the end: what it has left may hold that open.
        waiting = [process.wait, lambda: processes.end_all(self.mark), *(each.join for each in lines)]
        while waiting:
            try:
                waiting[0]()
                waiting.pop(0)
            except KeyboardInterrupt:
                self.interrupt()
        with self._lock:
            self._processes.remove(process)

    def _environment(self, additional: Mapping[str, str]) -> dict[str, str]:
        """As the SDK's, but beside the engine, this Python too goes before what is on PATH: it has what the program needs."""
        beside = [str(Path(self.command).parent), str(Path(sys.executable).parent)]
        path = os.pathsep.join([*beside, os.environ.get("PATH", os.defpath)])
        # The official command plugin calls a named SSH agent at every step, and fails where that is gone; none is needed.
        own = {"PULUMI_AUTOMATION_API": "true", "PATH": path, processes.MARK: self.mark, "SSH_AUTH_SOCK": ""}
        return {**os.environ, **additional, **own}


@contextmanager
def _watched(mark: str) -> Generator[None]:
    """Ends a program whose language host was killed: the engine would wait for it, and for nothing, for half an hour.

    Our own host takes its program with it; the official one does not.
    """
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_SECONDS):
            for process in processes.without_engine(processes.marked(mark)):
                if any(_PROGRAM in word for word in process.words):
                    processes.end(process, signal.SIGKILL)

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


class _Lines(threading.Thread):
    """Reads a stream of the engine to its end."""

    def __init__(self, stream: IO[str] | None, on_line: OnLine | None) -> None:
        super().__init__(daemon=True)
        self._stream, self._on_line = stream, on_line
        self._lines: list[str] = []
        self.start()

    def run(self) -> None:
        for line in self._stream or ():
            self._lines.append(line.rstrip())
            if self._on_line:
                self._on_line(line.rstrip())

    @property
    def text(self) -> str:
        return "\n".join(self._lines)


class Stack(automation.Stack):
    """A stack that is never "selected" (that would change the person's own `pulumi`), and asks the engine no more than needed."""

    def __init__(self, name: str, workspace: automation.LocalWorkspace) -> None:
        # Not the SDK's own, which selects or creates.
        self.name, self.workspace = name, workspace
        self.deployment: dict[str, Any] = {}
        """The state as it was when the stack was opened, secrets encrypted."""

    def open(self, *, may_create: bool) -> None:
        """Reads its state; StackNotFoundError where it is not there and may not be made."""
        try:
            self.deployment = self.exported()
        except engine_errors.StackNotFoundError:
            if not may_create:
                raise
            self.ask("stack", "init", self.name, "--no-select")

    def with_command(self, command: EngineCommand) -> "Stack":
        """The same stack, asked through another command line; at the end of one, all that was started through it is ended."""
        folder, variables = self.workspace.work_dir, self.workspace.env_vars
        return Stack(self.name, automation.LocalWorkspace(work_dir=folder, env_vars=variables, pulumi_command=command))

    def ask(self, *arguments: str) -> str:
        """What the engine prints for a command line; CommandError where it fails."""
        folder, variables = self.workspace.work_dir, self.workspace.env_vars
        return self.workspace.pulumi_command.run(list(arguments), folder, variables).stdout

    def exported(self) -> dict[str, Any]:
        """The state as it is now, secrets encrypted."""
        return json.loads(self.ask("stack", "export", "--stack", self.name)).get("deployment") or {}

    def destroy_but(self, kept: str, **listening: Any) -> None:
        """Destroys everything but what a URN's pattern names."""
        # The SDK's `destroy` does not know the command line's `--exclude`; the engine takes options from its environment too.
        before = self.workspace.env_vars
        self.workspace.env_vars = {**before, _EXCLUDE: kept}
        try:
            self.destroy(**listening)
        finally:
            self.workspace.env_vars = before

    def config(self) -> dict[str, dict[str, Any]]:
        """All config, secrets in clear."""
        return json.loads(self.ask("config", "--show-secrets", "--json", "--stack", self.name))

    def read_outputs(self) -> dict[str, Any]:
        """The outputs; none of this program's is a secret."""
        return json.loads(self.ask("stack", "output", "--json", "--stack", self.name))

    def outputs(self) -> automation.OutputMap:
        """Nothing: the SDK asks after each run, twice, and the run's events have told."""
        return {}

    def info(self, show_secrets: bool = True) -> automation.UpdateSummary:  # noqa: ARG002, FBT001, FBT002 - the SDK's signature
        """Nothing, as `outputs`: the events of a run have told all that its history would."""
        return automation.UpdateSummary("", datetime.now(UTC), "", {}, {}, "")
