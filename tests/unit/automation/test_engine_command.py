"""The engine's command line as this project starts it: Ctrl-C goes through us, and nothing else reaches the engine."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from pulumi.automation import errors as engine_errors

from automation.engine import command as engine_module
from automation.engine import processes
from automation.engine.command import EngineCommand, EngineKilledError
from automation.engine.locks import only_run
from automation.errors import EnvironmentBusyError, InterruptedRunError
from automation.paths import PROJECT_ROOT


def engine(folder: Path, program: str) -> EngineCommand:
    """A stand-in for the engine."""
    path = folder / "pulumi"
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(program)}")
    path.chmod(0o755)
    return EngineCommand(path, "v3.230.0")


STEPS = """
import signal, sys
asked = 0
def ask(*_):
    global asked
    asked += 1
    print("asked", asked, flush=True)
    if asked == 2: sys.exit(8)
signal.signal(signal.SIGINT, ask)
print("working", flush=True)
while asked < NEEDED: signal.pause()
sys.exit(1)
"""


def test_output_comes_line_by_line_and_is_kept(tmp_path: Path) -> None:
    seen: list[str] = []
    command = engine(tmp_path, "import sys, os; print(sys.argv[1:], os.environ['A']); print('b', file=sys.stderr)")
    result = command.run(["up", "--yes"], str(tmp_path), {"A": "x"}, seen.append, seen.append)
    assert result.stdout == "['--non-interactive', 'up', '--yes'] x"
    assert sorted(seen) == ["['--non-interactive', 'up', '--yes'] x", "b"]


def test_the_engine_has_no_ssh_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official command plugin calls one that is named, and fails where it is gone."""
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent.123"))
    command = engine(tmp_path, "import os; print(repr(os.environ['SSH_AUTH_SOCK']))")
    assert command.run(["up"], str(tmp_path), {}).stdout == "''"


def test_failures_are_the_sdks_own(tmp_path: Path) -> None:
    locked = "import sys; sys.exit('error: the stack is currently locked by 1 lock(s)')"
    with pytest.raises(engine_errors.ConcurrentUpdateError):
        engine(tmp_path, locked).run(["up"], str(tmp_path), {})


def test_nobody_is_asked_anything(tmp_path: Path) -> None:
    assert engine(tmp_path, "import sys; print(repr(sys.stdin.read()))").run(["x"], str(tmp_path), {}).stdout == "''"


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_command_is_waited_for(tmp_path: Path, times: int) -> None:
    command = engine(tmp_path, STEPS.replace("NEEDED", str(times)))
    told: list[int] = []
    command.on_interrupt = told.append
    seen: list[str] = []
    heard = threading.Semaphore(0)

    def on_line(line: str) -> None:
        seen.append(line)
        heard.release()

    def interrupt() -> None:
        for _ in range(times):
            heard.acquire()
            command.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(InterruptedRunError) as raised:
        command.run(["up"], str(tmp_path), {}, on_line)
    thread.join()
    assert raised.value.times == times
    assert seen == ["working", *(f"asked {number}" for number in range(1, times + 1))]
    assert told == list(range(1, times + 1))


def test_an_interrupted_command_that_ends_well_has_ended_well(tmp_path: Path) -> None:
    command = engine(tmp_path, STEPS.replace("NEEDED", "1").replace("sys.exit(1)", "sys.exit(0)"))
    assert command.run(["up"], str(tmp_path), {}, lambda line: command.interrupt() if line == "working" else None).code == 0


def test_nothing_begins_after_an_interruption(tmp_path: Path) -> None:
    command = engine(tmp_path, "open('ran', 'w')")
    command.interrupt()
    with pytest.raises(InterruptedRunError):
        command.run(["up"], str(tmp_path), {})
    assert not (tmp_path / "ran").exists()


def test_a_terminals_ctrl_c_reaches_the_engine_once_and_through_us(tmp_path: Path) -> None:
    """The signal goes to the whole foreground group; the engine has a group of its own."""
    engine(tmp_path, STEPS.replace("NEEDED", "1"))
    program = f"""
from pathlib import Path
from automation.engine import command as engine_module
from automation.engine import processes
from automation.engine.command import EngineCommand, EngineKilledError
from automation.errors import InterruptedRunError
def show(line): print(line, flush=True)
try:
    EngineCommand(Path({str(tmp_path / "pulumi")!r}), "3.230.0").run(["up"], {str(tmp_path)!r}, {{}}, show)
except InterruptedRunError as error:
    print("interrupted", error.times)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout
    assert process.stdout.readline() == "working\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.read().splitlines() == ["asked 1", "interrupted 1"]
    process.wait()
    process.stdout.close()


def test_a_second_run_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    with only_run(tmp_path, "prod", "up"):
        refused = pytest.raises(EnvironmentBusyError, match=rf"at work on 'prod': up, process {os.getpid()}, since ")
        with refused, only_run(tmp_path, "prod", "destroy"):
            pass
        with only_run(tmp_path, "dev", "up"):
            pass
    with only_run(tmp_path, "prod", "destroy"):
        pass


LEAVES = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; print('left', flush=True); time.sleep(600)", "PROGRAM"], process_group=0)
WHAT_THEN
"""


def test_what_a_killed_engine_leaves_is_ended_and_holds_nothing_up(tmp_path: Path) -> None:
    program = LEAVES.replace("WHAT_THEN", "import signal; signal.pause()")
    command = engine(tmp_path, program)
    bystander = subprocess.Popen(["sleep", "60"], env={**os.environ, processes.MARK: "of another run"})
    try:
        with pytest.raises(EngineKilledError):
            command.run(["up"], str(tmp_path), {}, lambda _: os.kill(engine_of(command), signal.SIGKILL))
        assert processes.marked(command.mark) == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def engine_of(command: EngineCommand) -> int:
    return command._processes[0].pid  # pyright: ignore[reportPrivateUsage]


DEAF = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("deaf", flush=True)
while True: signal.pause()
"""


@pytest.mark.parametrize(("times", "patience_seconds"), [(2, 0.1), (3, 600)])
def test_an_engine_that_does_not_listen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, patience_seconds: float
) -> None:
    monkeypatch.setattr(engine_module, "CUT_OFF_SECONDS", patience_seconds)
    command = engine(tmp_path, DEAF)
    with pytest.raises(InterruptedRunError) as raised:
        command.run(["up"], str(tmp_path), {}, lambda _: [command.interrupt() for _ in range(times)])
    assert raised.value.times == times


def test_a_program_whose_language_host_was_killed_is_ended(tmp_path: Path) -> None:
    """The engine waits for the program, whose parent is gone: the front end notices."""
    program = "[sys.executable, '-c', 'import time; time.sleep(600)', 'pulumi-language-python-exec']"
    host = f"import subprocess, sys; subprocess.Popen({program}, stdout=int(sys.argv[1]))"
    stand_in = f"""
import os, subprocess, sys
read, write = os.pipe()
subprocess.run([sys.executable, "-c", {host!r}, str(write)], pass_fds=[write])
os.close(write)
print("waits", flush=True)
os.read(read, 1)
"""
    assert engine(tmp_path, stand_in).run(["up"], str(tmp_path), {}).stdout == "waits"
