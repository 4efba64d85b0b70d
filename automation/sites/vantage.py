"""Measuring from where users are: `ttft` is carried to a host over SSH, run there, and leaves nothing behind.

Uses the machine's own `ssh`, with its agent and config: edge keeps no keys of other people's hosts. The host needs Python and a
shell; requests and what it needs travel along. Leaves out everything that is judged or shown: raw samples come back.
"""

import inspect
import subprocess
import tempfile
import zipapp
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from typing import IO, TYPE_CHECKING

import ttft
from automation.errors import EdgeError

if TYPE_CHECKING:
    from ttft.samples import Run
    from ttft.schedule import Plan

_CARRIED = ("requests", "urllib3", "certifi", "idna")
"""What the measuring part of ttft needs besides the standard library, all of it plain Python."""
_MINIMUM = (3, 10)
"""The oldest Python that these run on, by their own metadata."""
_REMOTE = """
set -eu
umask 077
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
head -c {size} >"$folder/ttft.pyz"
for python in python3 python3.13 python3.12 python3.11 python3.10; do
  if "$python" -c 'import sys; sys.exit(sys.version_info < {minimum})' 2>/dev/null; then
    "$python" "$folder/ttft.pyz"
    exit
  fi
done
echo "no Python {wanted} or newer" >&2
exit 64
"""


def measure_from(host: str, plan: "Plan", say: Callable[[str], None]) -> "Run":
    """Runs a plan on a host (as `ssh` takes it, such as ubuntu@ADDRESS); progress lines go to `say`. The plan, with its API key,
    travels on standard input. EdgeError where the host cannot be reached or cannot measure.
    """
    from ttft.files import read_raw
    from ttft.vantage import plan_to_json

    carried = _archive()
    script = _REMOTE.format(size=len(carried), minimum=_MINIMUM, wanted=".".join(map(str, _MINIMUM)))
    # `--`: a host that begins with a dash is no option.
    command = ["ssh", "-o", "BatchMode=yes", "-T", "--", host, script]
    with tempfile.TemporaryFile("w+b") as sent, tempfile.TemporaryFile("w+", encoding="utf-8") as raw:
        sent.write(carried + plan_to_json(plan).encode())
        sent.seek(0)
        said = _run(command, sent, raw, lambda line: say(f"  {host}: {line}"))
        raw.seek(0)
        lines = raw.readlines()
    if not lines:
        raise EdgeError(f"nothing was measured from {host}: {said}\n  -> try it by hand: ssh {host} python3 --version")
    return read_raw(lines, f"what {host} sent")


def _run(command: list[str], sent: IO[bytes], raw: IO[str], on_line: Callable[[str], None]) -> str:
    """Runs ssh; its last line on standard error."""
    try:
        process = subprocess.Popen(command, stdin=sent, stdout=raw, stderr=subprocess.PIPE, text=True)  # noqa: S603
    except FileNotFoundError as error:
        raise EdgeError("there is no `ssh` on this machine, and --via needs it") from error
    last = "it said nothing"
    with process:
        assert process.stderr is not None  # noqa: S101 - asked for above
        for line in process.stderr:
            last = line.strip() or last
            on_line(line.rstrip())
    return last


@cache
def _archive() -> bytes:
    """One file that Python runs: ttft and what it needs."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        copytree(Path(inspect.getfile(ttft)).parent, tree / "ttft", ignore=ignore_patterns("__pycache__", "*.jinja"))
        for package in _CARRIED:
            for file in metadata.files(package) or []:
                target = tree / file
                if file.suffix in {".py", ".pem"} or file.name == "METADATA":
                    target.parent.mkdir(parents=True, exist_ok=True)
                    copy(file.locate(), target)
        archive = Path(folder) / "ttft.pyz"
        zipapp.create_archive(tree, archive, main="ttft.vantage:main", compressed=True)
        return archive.read_bytes()
