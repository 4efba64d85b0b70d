"""The Python language host with a real engine: programs, their errors, their interpreter, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from pulumi import automation
from support import OFFICIAL_PARTS

pytestmark = pytest.mark.engine

WAIT_SECONDS = 60


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the folder of a Pulumi project without a program yet."""
    (tmp_path / "state").mkdir()
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "Pulumi.yaml").write_text("name: trial\nruntime: python\n")
    return directory


@pytest.fixture
def environment(pulumi_binary: Path, project: Path) -> dict[str, str]:
    """Return the environment of plain `pulumi` commands in the project."""
    return {
        **os.environ,
        "PATH": f"{pulumi_binary.parent}{os.pathsep}{os.environ['PATH']}",
        "PULUMI_HOME": str(project.parent / "home"),
        "PULUMI_BACKEND_URL": f"file://{project.parent / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "x",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }


@pytest.fixture
def pulumi(pulumi_binary: Path, project: Path, environment: dict[str, str]) -> list[str | Path]:
    """Return the command line of `pulumi` on a stack that exists."""
    subprocess.run([pulumi_binary, "stack", "init", "dev"], cwd=project, env=environment, check=True, capture_output=True)
    return [pulumi_binary, "--non-interactive", "--color=never"]


def test_a_program_runs_with_config_and_outputs_through_the_automation_api(
    pulumi_binary: Path, project: Path, environment: dict[str, str]
) -> None:
    (project / "__main__.py").write_text(
        "import pulumi\nconfig = pulumi.Config()\n"
        "pulumi.export('plain', config.require('plain'))\npulumi.export('secret', config.require_secret('secret'))\n"
    )
    stack = automation.create_stack(
        "dev",
        work_dir=str(project),
        opts=automation.LocalWorkspaceOptions(
            env_vars=environment, pulumi_command=automation.PulumiCommand(root=str(pulumi_binary.parent.parent))
        ),
    )
    stack.set_config("plain", automation.ConfigValue("word"))
    stack.set_config("secret", automation.ConfigValue("hidden", secret=True))
    assert stack.preview().change_summary == {"create": 1}
    outputs = stack.up().outputs
    assert (outputs["plain"].value, outputs["plain"].secret) == ("word", False)
    assert (outputs["secret"].value, outputs["secret"].secret) == ("hidden", True)
    assert stack.destroy().summary.result == "succeeded"


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("raise pulumi.RunError('settings are wrong')", 2),  # as with the official host: its text, and the exit code
        ("pulumi.log.error('settings are wrong')\nraise SystemExit(32)", 1),
    ],
)
def test_a_users_mistake_is_shown_without_a_traceback(
    project: Path, environment: dict[str, str], pulumi: list[str | Path], ending: str, expected: int
) -> None:
    (project / "__main__.py").write_text(f"import pulumi\n{ending}\n")
    result = subprocess.run(
        [*pulumi, "preview", "-s", "dev"], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode
    diagnostics = result.stdout.partition("Diagnostics:")[2]
    assert "error: settings are wrong" in diagnostics
    assert diagnostics.count("error: ") == expected
    assert "Traceback" not in result.stdout + result.stderr


def test_a_bug_shows_the_programs_own_lines(project: Path, environment: dict[str, str], pulumi: list[str | Path]) -> None:
    (project / "__main__.py").write_text("def divide():\n    return 1 / 0\n\ndivide()\n")
    result = subprocess.run(
        [*pulumi, "preview", "-s", "dev"], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert "ZeroDivisionError" in result.stdout
    assert "language_host.py" not in result.stdout


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_an_engine_that_is_interrupted_or_killed_leaves_no_program_behind(
    project: Path, environment: dict[str, str], pulumi: list[str | Path], ending: signal.Signals
) -> None:
    held = project / "held"
    os.mkfifo(held)
    (project / "__main__.py").write_text(
        f"import os, time\nheld = open({str(held)!r}, 'w')\ntry:\n    held.write(str(os.getppid()) + '\\n')\n    held.flush()\n"
        f"    time.sleep({WAIT_SECONDS})\nexcept KeyboardInterrupt:\n    held.write('interrupted')\n"
    )
    engine = subprocess.Popen(
        [*pulumi, "preview", "-s", "dev"],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with held.open() as held_file:
        host = int(held_file.readline())
        engine.send_signal(ending)
        output, _ = engine.communicate(timeout=WAIT_SECONDS)
        # The end comes only when the program is gone. As the official host does, ours interrupts it, which it may catch.
        assert held_file.read() == "interrupted"
    if OFFICIAL_PARTS:
        # That host shows the interruption's traceback (`edge` leaves it out), and notices only within 5 minutes that its engine
        # was killed.
        return
    assert "Traceback" not in output
    deadline = time.monotonic() + WAIT_SECONDS
    while Path("/proc", str(host)).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
