"""The language host's own decisions; what it does with a real engine is in tests/engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import language_pb2 as pb

from automation.paths import PROJECT_ROOT
from automation.provision import language_host
from automation.provision.language_host import LanguageHost, Processes, SetupError


def program(root: Path, **options: str) -> pb.ProgramInfo:
    """Return what the engine says about a program and its runtime options."""
    struct = Struct()
    struct.update(options)
    return pb.ProgramInfo(root_directory=str(root), program_directory=str(root), entry_point=".", options=struct)


def put_environment(directory: Path) -> Path:
    """Write what looks like a virtual environment and return its Python."""
    python = directory / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (directory / "pyvenv.cfg").touch()
    return python


def test_without_the_option_the_hosts_own_python_runs_the_program(tmp_path: Path) -> None:
    assert language_host.interpreter(program(tmp_path)) == Path(sys.executable)


def test_the_virtualenv_option_is_relative_to_the_project(tmp_path: Path) -> None:
    python = put_environment(tmp_path / "envs" / "one")
    assert language_host.interpreter(program(tmp_path, virtualenv="envs/one", toolchain="pip")) == python


def test_a_plugin_without_the_option_uses_its_folder_venv(tmp_path: Path) -> None:
    python = put_environment(tmp_path / "venv")
    assert language_host.interpreter(program(tmp_path), language_host.PLUGIN_ENVIRONMENT) == python


def test_a_missing_virtual_environment_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"gone is not a virtual environment.*`pulumi install`"):
        language_host.interpreter(program(tmp_path, virtualenv="gone"))


def test_another_toolchain_is_refused_not_ignored(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"toolchain .* is 'uv'"):
        language_host.interpreter(program(tmp_path, toolchain="uv"))


def test_the_programs_environment_puts_its_own_commands_first(tmp_path: Path) -> None:
    python = put_environment(tmp_path / "venv")
    environment = language_host.program_environment(python, {"PATH": "/usr/bin", "PYTHONHOME": "/other", "A": "b"})
    assert environment == {"PATH": f"{python.parent}:/usr/bin", "VIRTUAL_ENV": str(tmp_path / "venv"), "A": "b"}


def test_run_arguments_leave_out_what_is_empty() -> None:
    request = pb.RunRequest(
        project="edge",
        stack="dev",
        pwd="/p",  # noqa: S106 - a folder
        dryRun=True,
        parallel=8,
        monitor_address="m:1",
        args=["more"],
        info=pb.ProgramInfo(root_directory="/p", entry_point="."),
    )
    expected = "--monitor m:1 --engine e:2 --project edge --root_directory /p --stack dev --pwd /p"
    expected += " --dry_run true --parallel 8 . more"
    assert language_host.run_arguments(request, "e:2") == expected.split()


def test_finish_ends_a_process_with_all_that_it_started(tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    reader = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    processes = Processes()
    script = f"exec 3>{held}; echo started >&3; sleep 60 & wait"
    process = processes.start(["sh", "-c", script], str(tmp_path), dict(os.environ))
    os.set_blocking(reader, True)
    with os.fdopen(reader, "rb") as held_file:
        while not held_file.readline():
            pass
        processes.finish_all()
        assert held_file.read() == b""  # its end comes only when nobody holds it any more
    assert process.returncode


def test_a_program_is_interrupted_once_and_may_clean_up(tmp_path: Path) -> None:
    """As by the official host: KeyboardInterrupt, which a program can catch, and no second one while it does."""
    processes = Processes()
    read, write = os.pipe()
    go_on = tmp_path / "go-on"
    os.mkfifo(go_on)
    script = tmp_path / "program.py"
    script.write_text(
        "import time\ntry:\n    print('ready', flush=True)\n    time.sleep(60)\n"
        f"except KeyboardInterrupt:\n    print('cleaning', flush=True)\n    print(open({str(go_on)!r}).read(), flush=True)\n"
    )
    process = processes.start([sys.executable, script], str(tmp_path), dict(os.environ), write)
    os.close(write)
    with os.fdopen(read, "rb") as output:
        assert output.readline() == b"ready\n"
        processes.interrupt(process)
        assert output.readline() == b"cleaning\n"
        processes.interrupt(process)
        go_on.write_text("clean")
        assert processes.finish(process) == 0
        assert output.readline() == b"clean\n"


def test_finish_ends_a_process_that_ignores_being_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_host, "STOP_SECONDS", 0.1)
    processes = Processes()
    read, write = os.pipe()
    script = "trap '' INT; echo ready; while :; do sleep 60; done"
    process = processes.start(["sh", "-c", script], str(tmp_path), dict(os.environ), write)
    os.close(write)
    with os.fdopen(read, "rb") as output:
        assert output.readline() == b"ready\n"
        assert processes.finish(process) == -9


def test_what_a_host_has_started_ends_when_the_host_is_killed(tmp_path: Path) -> None:
    """The pipe's end comes only when nobody holds it any more."""
    host = f"""
import os
from automation.provision.language_host import Processes
Processes().start(["sh", "-c", "echo started; exec sleep 600"], {str(tmp_path)!r}, os.environ).wait()
"""
    with subprocess.Popen([sys.executable, "-c", host], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        process.kill()
        assert process.stdout.read() == ""


class Context:
    """Stands in for gRPC's context."""

    def add_callback(self, _: object) -> None:
        """Nothing is cancelled here."""


def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LanguageHost:
    """A host whose own Python, asked for a virtual environment, makes what looks like one."""
    fake = tmp_path / "fake-python"
    fake.write_text(
        f'#!/bin/sh\n[ "$2" = venv ] || exec {sys.executable} "$@"\n'
        f'mkdir -p "$3/bin" && ln -s {sys.executable} "$3/bin/python" && touch "$3/pyvenv.cfg"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setattr(language_host.sys, "executable", str(fake))
    return LanguageHost(tmp_path / "exec", "127.0.0.1:1")


@pytest.mark.parametrize("is_empty_folder", [False, True])
def test_a_missing_virtual_environment_is_made_when_the_engine_asks_for_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_empty_folder: bool
) -> None:
    """As the official host does: before a preview too, and without a word."""
    if is_empty_folder:
        (tmp_path / "new").mkdir()
    request = pb.GetRequiredPackagesRequest(info=program(tmp_path, virtualenv="new"))
    host(monkeypatch, tmp_path).GetRequiredPackages(request, cast("Any", Context()))
    assert (tmp_path / "new" / "bin" / "python").exists()


def test_what_is_installed_is_told_without_what_others_need_unless_asked(tmp_path: Path) -> None:
    served = LanguageHost(tmp_path / "exec", "127.0.0.1:1")

    def names(*, transitive: bool) -> set[str]:
        request = pb.GetProgramDependenciesRequest(info=program(tmp_path), transitiveDependencies=transitive)
        return {each.name for each in served.GetProgramDependencies(request, cast("Any", Context())).dependencies}

    assert "pulumi" in names(transitive=True)
    assert "edge_inference" in {name.replace("-", "_") for name in names(transitive=False)}
    assert "pulumi" not in names(transitive=False), "pulumi_aws needs it"


def test_about_names_pip_as_the_official_host_does(tmp_path: Path) -> None:
    about = LanguageHost(tmp_path / "exec", "127.0.0.1:1").About(pb.AboutRequest(info=program(tmp_path)), cast("Any", Context()))
    assert about.executable == sys.executable
    assert about.metadata.keys() == {"toolchain", "toolchainVersion", "typechecker"}
