"""Runs a whole day of an environment on the local cloud, from init to destroy, and writes docs/explanation/a-day.md as it ran.

`.venv/bin/python tools/write_a_day.py [FILE]`: some minutes, in a folder of its own. Output is cut in the middle where it is
long, and otherwise as it was. What others do in the story (a zone without stock, an instance that is ended) is done to the local
cloud. Leaves out judging: the engine's tests hold these commands.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import boto3  # pyright: ignore[reportMissingTypeStubs]

from automation.paths import PROJECT_ROOT
from localcloud import client

PAGE = PROJECT_ROOT / "docs" / "explanation" / "a-day.md"
HEAD, TAIL = 14, 16
"""How many lines of a long output are shown."""


@dataclass
class Scene:
    """A heading, what happens, and the lines that are typed."""

    title: str
    words: str
    lines: tuple[str, ...]
    before: Callable[[Path], None] = lambda _: None
    codes: tuple[int, ...] = (0,)
    """The exit codes that are expected of its lines; the last counts for all that follow."""


def cloud(folder: Path) -> client.CloudStatus:
    """The local cloud that the story is played on."""
    found = client.status(folder / ".localcloud")
    if found is None:
        raise SystemExit("the local cloud does not run")
    return found


def sell_out(folder: Path) -> None:
    """Los Angeles has no g4dn.2xlarge."""
    cloud(folder).request("PUT", "faults", {"no_capacity_zones": ["us-west-2-lax-1a/g4dn.2xlarge"]})


def end_an_instance(folder: Path) -> None:
    """Somebody ends the instance of Honolulu, in the console."""
    ec2 = cast("Any", boto3).client("ec2", region_name="us-west-2", **cloud(folder).boto3_options)
    found = ec2.describe_instances(Filters=[{"Name": "tag:edge-inference:replica", "Values": ["us-west-2-hnl-1a-1"]}])
    ec2.terminate_instances(InstanceIds=[each["InstanceId"] for part in found["Reservations"] for each in part["Instances"]])


DAY = (
    Scene(
        "Begin",
        "A folder, and in it a project with one environment, `local`, which is on the local cloud. It is the only one, and need "
        "not be named afterwards.",
        ("edge init", "edge config sites '[{zone: us-west-2a}, {zone: us-west-2-hnl-1a}]'"),
    ),
    Scene("Deploy", "Two sites: the parent Region, and Honolulu.", ("edge up",)),
    Scene(
        "Use it",
        "As users in two cities do: each gets the site that Route 53 gives that city.",
        ('edge ask --from Portland "What is the edge?"', 'edge ask --from Honolulu "What is the edge?"', "edge status"),
    ),
    Scene(
        "Change the config",
        "Judged before it is stored; the plan says what it means for users; one replica after another is changed.",
        ("edge config server.maxTotalTokens 4096", "edge plan", "edge up"),
    ),
    Scene(
        "A change that is bad",
        "The engine does not know this argument. The first replica tries it, and gets its server of before back; no other is "
        "touched.",
        (
            "edge config server.extraArguments '[--no-such-argument]'",
            "edge up",
            "edge status",
            "edge config server.extraArguments --unset",
            "edge up",
        ),
        codes=(0, 6, 0),
    ),
    Scene(
        "A zone without capacity",
        "A third site, in Los Angeles, which has no `g4dn.2xlarge` left on this day.",
        (
            "edge config 'sites[2]' '{zone: us-west-2-lax-1a, instanceTypes: [g4dn.2xlarge, g4dn.xlarge]}'",
            "edge up",
            "edge up --fallback",
        ),
        before=sell_out,
        codes=(0, 11, 0),
    ),
    Scene(
        "A host that is gone",
        "Somebody ends Honolulu's instance in the console. Route 53's checkers notice; its users go elsewhere meanwhile.",
        ("edge status", 'edge ask --from Honolulu "Still there?"', "edge up", "edge logs -n 1"),
        before=end_an_instance,
        codes=(1, 0),
    ),
    Scene("The end", "Everything goes, and nothing is left.", ("edge destroy local --yes", "edge list")),
)

INTRODUCTION = """\
# A day of an environment

From `edge init` to `edge destroy`, as it ran on the local cloud: **AWS, network, GPUs and model server are simulated**; prices
are AWS's list prices. `tools/write_a_day.py` runs it and writes this page: output is cut where a line says so, and otherwise as
it was.
"""


def typed(line: str, folder: Path) -> tuple[int, list[str]]:
    """What a shell in the folder makes of a line: its exit code, and what both streams told, in order."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(  # noqa: S603 - lines of this file
        ["bash", "-c", f"{line} 2>&1"],  # noqa: S607
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.replace(str(folder), "~/day").splitlines()


def shown(number: int, line: str, code: int, output: list[str]) -> str:
    """A line and its output, as a page shows them; the mark is that of tests/documented.py."""
    if len(output) > HEAD + TAIL + 1:
        output = [*output[:HEAD], f"[{len(output) - HEAD - TAIL} lines cut here]", *output[-TAIL:]]
    ended = [f"[exit code {code}]"] if code else []
    mark = f"<!-- test: a-day-{number}, not run: tools/write_a_day.py has -->"
    return "\n".join([mark, "```console", f"$ {line}", *output, *ended, "```"])


def play(folder: Path) -> str:
    """The page."""
    (folder / ".localcloud").mkdir()
    (folder / ".localcloud" / "engine").symlink_to(PROJECT_ROOT / ".localcloud" / "engine")
    parts = [INTRODUCTION]
    for scene in DAY:
        parts.append(f"## {scene.title}\n\n{scene.words}\n")
        scene.before(folder)
        for number, line in enumerate(scene.lines):
            code, output = typed(line, folder)
            print(f"$ {line}   [{code}]", flush=True)
            if code != (expected := scene.codes[min(number, len(scene.codes) - 1)]):
                print("\n".join(output))
                raise SystemExit(f"`{line}` ended with {code}, not {expected}")
            parts.append(shown(len(parts), line, code, output) + "\n")
    return "\n".join(parts)


def main() -> None:
    """Plays the day, and writes it down."""
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    with tempfile.TemporaryDirectory(prefix="day-") as name:
        folder = Path(name)
        try:
            text = play(folder)
        finally:
            client.stop(folder / ".localcloud")
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
