"""Times what the front end itself costs: help and completion, and `edge up` over plain `pulumi up` on the prod stack.

Deploys prod once on a local cloud of its own in a temporary folder, then times runs that change nothing, plain and ours in turn.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from automation import Environment
from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT
from localcloud import client

UP = """
import sys
from pathlib import Path
from automation import cli, paths
paths.LOCAL_DIRECTORY = Path(sys.argv.pop(1))
cli.main()
"""
"""`edge`, with the local cloud's folder as a further first argument."""


def seconds(command: list[str], **variables: str) -> float:
    """How long a command takes; it must end well."""
    begun = time.monotonic()
    subprocess.run(command, env={**os.environ, **variables}, cwd=PROJECT_ROOT, capture_output=True, check=True)
    return time.monotonic() - begun


def report(name: str, values: list[float]) -> None:
    """One line of figures."""
    print(f"  {name:<34} min {min(values):6.2f}   median {statistics.median(values):6.2f}   max {max(values):6.2f} s")


def start_up(repetitions: int) -> None:
    """Help and completion."""
    edge = [sys.executable, "-c", "import sys; sys.argv[0] = 'edge'; from automation.cli import main; main()"]
    words = {"_EDGE_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    cases: dict[str, tuple[list[str], dict[str, str]]] = {
        "python -c pass": ([sys.executable, "-c", "pass"], {}),
        "edge --help": ([*edge, "--help"], {}),
        "edge up --help": ([*edge, "up", "--help"], {}),
        "completion of an environment": (edge, {**words, "COMP_WORDS": "edge up "}),
        "completion of a zone": (edge, {**words, "COMP_CWORD": "3", "COMP_WORDS": "edge unprotect prod "}),
    }
    print(f"start-up, {repetitions} times each")
    for name, (command, variables) in cases.items():
        seconds(command, **variables)  # the file system's cache
        report(name, [seconds(command, **variables) for _ in range(repetitions)])


def overhead(repetitions: int) -> None:
    """`edge up` and plain `pulumi up`, in turn, on a deployed prod stack."""
    with tempfile.TemporaryDirectory(prefix="edge-front-") as name:
        directory = Path(name)
        (LOCAL_DIRECTORY / "engine").mkdir(parents=True, exist_ok=True)
        (directory / "engine").symlink_to(LOCAL_DIRECTORY / "engine")
        client.start(directory, port=0)
        try:
            environment = Environment("prod", on_local_cloud=True, directory=directory)
            environment.up()
            variables = environment.shell_variables()
            variables["PATH"] = variables["PATH"].replace("$PATH", os.environ["PATH"])
            pulumi = shutil.which("pulumi", path=variables["PATH"]) or "pulumi"
            plain_command = [
                pulumi,
                "up",
                "--yes",
                "--skip-preview",
                "--non-interactive",
                "--continue-on-error",
                "--stack",
                "prod",
            ]
            ours_command = [sys.executable, "-c", UP, name, "up", "prod", "--local"]
            plain, ours = list[float](), list[float]()
            for _ in range(repetitions):
                plain.append(seconds(plain_command, **variables))
                ours.append(seconds(ours_command))
            print(f"up that changes nothing, prod on the local cloud, {repetitions} rounds")
            report("pulumi up", plain)
            report("edge up", ours)
            report("edge up over pulumi up, by round", [mine - theirs for mine, theirs in zip(ours, plain, strict=True)])
        finally:
            client.stop(directory)


def main() -> None:
    """Runs both parts and prints the figures."""
    parser = argparse.ArgumentParser(description="What the front end costs: start-up, and `edge up` over `pulumi up`.")
    parser.add_argument("--repetitions", type=int, default=7)
    repetitions: int = parser.parse_args().repetitions
    start_up(repetitions)
    overhead(repetitions)


if __name__ == "__main__":
    main()
