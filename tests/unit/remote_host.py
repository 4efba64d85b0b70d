"""A host's root folder under a real bash, with stand-ins for what a GPU host has: docker, systemctl, and so on.

Its docker is not the local cloud's, which does what Docker does and starts a Python for each call: here calls must fit a clock
that runs 500 times as fast, and fail when a test says so. tests/host holds the scripts to Docker itself.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TextIO

SCRIPTS = Path(__file__).parents[2] / "components" / "remote"

DOCKER = r"""
say() { printf '%s\n' "$*"; }
here="$FAKE/containers" name="${*: -1}"
mkdir -p "$here"
printf '%s\n' "$*" >>"$FAKE/docker.log"
[ -e "$FAKE/docker-down" ] && { echo "Cannot connect to the Docker daemon" >&2; exit 1; }
case "$1 ${2:-}" in
  "info --format") say 27.3.1 ;;
  "info "*) ;;
  "image inspect") [ -e "$FAKE/image" ] || [ "$3" = sha256:new ] || exit 1; say '[{"RepoDigests": ["acme/tgi@sha256:1"]}]' ;;
  "image rm") ;;
  "pull -q")
    status=$(cat "$FAKE/pull" 2>/dev/null || echo 0)
    [ "$status" = 0 ] && touch "$FAKE/image"
    [ -e "$FAKE/full" ] && echo 3 >"$FAKE/free"
    say "$3"; exit "$status" ;;
  "rm -f") shift 2; for each in "$@"; do rm -rf "${here:?}/$each"; done ;;
  "stop -t") [ -d "$here/$4" ] && echo exited >"$here/$4/state" ;;
  "start "*) [ -d "$here/$2" ] && echo running >"$here/$2/state" ;;
  "rename "*) [ -d "$here/$2" ] && [ ! -e "$here/$3" ] && mv "$here/$2" "$here/$3" ;;
  "logs "*) cat "$FAKE/server.log" 2>/dev/null || say "the server's last words" ;;
  "port "*) [ "$(cat "$here/$2/state" 2>/dev/null)" = running ] && say "80/tcp -> $(cat "$FAKE/address")" ;;
  "exec "*) [ ! -e "$FAKE/refuses-config" ] || { echo "Error: adapting config" >&2; exit 1; } ;;
  "inspect --type")
    [ -e "$here/$name" ] || { echo "No such container" >&2; exit 1; }
    case "$5" in
      *spec*) say "$(cat "$here/$name/digest") $(cat "$here/$name/state")" ;;
      *fallback*) cat "$here/$name/fallback" ;;
      "{{.Id}}") cat "$here/$name/id" ;;
      "{{.State.Running}}") [ "$(cat "$here/$name/state")" = running ] && say true || say false ;;
      *Config.Image*) say "$(cat "$here/$name/image") $(cat "$here/$name/state")" ;;
      *RestartCount*) count=$(cat "$FAKE/restarts" 2>/dev/null || echo 0); say "$count $(cat "$here/$name/id")"
        grep -qsx "$(cat "$here/$name/digest")" "$FAKE/dying" && echo $((count + 1)) >"$FAKE/restarts" || true ;;
      "$name"|"")
        label=$(sed 's/yes/, "edge-inference.fallback": "yes"/' "$here/$name/fallback")
        say "[{\"Id\": \"$(cat "$here/$name/id")\", \"Image\": \"sha256:new\", \"State\": {\"StartedAt\": \"now\"},"
        say "\"Config\": {\"Image\": \"acme/tgi:1\", \"Labels\": {\"edge-inference.engine\": \"tgi\"$label}}}]" ;;
      *) [ "$#" = 4 ] || { echo "unknown format $5" >&2; exit 1; } ;;
    esac ;;
  "run --rm")
    token=$(printf '%s\n' "$@" | grep ':/run/secrets/hugging-face-token:ro' | cut -d : -f 1)
    { stat -c '%a' "$token"; cat "$token"; } >"$FAKE/token-seen"
    echo "$token" >"$FAKE/token-path"
    [ -e "$FAKE/hang" ] && cat "$FAKE/hang"
    status=$(cat "$FAKE/weights" 2>/dev/null || echo 0)
    [ "$status" = 0 ] || echo "GatedRepoError: 403" >&2
    [ -e "$FAKE/full" ] && echo 3 >"$FAKE/free"
    exit "$status" ;;
  "run -d")
    made="$here/$4"
    [ -e "$made" ] && { echo "Conflict" >&2; exit 125; }
    mkdir "$made"
    printf '%s\n' "$@" | sed -n 's/^edge-inference.spec=//p' >"$made/digest"
    printf '%s\n' "$@" | sed -n 's/^edge-inference.fallback=//p' >"$made/fallback"
    printf '%s\n' "$@" | sed -n 's#^\(acme/tgi:.*\|caddy:.*\)$#\1#p' | head -n 1 >"$made/image"
    echo "id-of-$(cat "$made/digest")" >"$made/id"
    echo created >"$made/state"
    [ -e "$FAKE/no-gpu" ] && { echo "could not select device driver" >&2; exit 125; }
    [ -e "$FAKE/fallback-helps" ] && [ -s "$made/fallback" ] && rm -f "$FAKE/sick" "$FAKE/dying"
    echo running >"$made/state"; say 0123456789ab ;;
  *) echo "unknown docker $*" >&2; exit 99 ;;
esac
"""
STAND_INS = {
    "docker": DOCKER,
    "nvidia-smi": '[ -e "$FAKE/no-driver" ] && exit 9; echo "Tesla T4, 15360 MiB, 550.90"',
    "systemctl": 'printf "%s\\n" "$*" >>"$FAKE/systemctl.log"; [ ! -e "$FAKE/no-docker" ]',
    "cloud-init": """
        [ -e "$FAKE/hang" ] && cat "$FAKE/hang"
        echo "status: done"; exit "$(cat "$FAKE/cloud-init" 2>/dev/null || echo 0)"
    """,
    "sudo": 'exec "$@"',
    "df": 'echo Avail; cat "$FAKE/free" 2>/dev/null || echo 50000',
    # Half a second of waiting is shortened; the heartbeat's ten seconds last until a test lets them pass.
    "sleep": """
        [ "$1" = 10 ] || exec /bin/sleep 0.01
        [ -e "$FAKE/beats" ] && exec /bin/sleep 0.02
        exec /bin/sleep 60
    """,
}


class Host:
    """A host's root folder and the stand-ins' switches."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fake = folder, folder / "fake"
        self.started: list[subprocess.Popen[str]] = []
        self.home = folder / "root" / "opt" / "edge-inference"
        self.remote = self.home / "releases" / "this"
        self.remote.mkdir(parents=True)
        for script in SCRIPTS.iterdir():
            if script.is_file():
                shutil.copy(script, self.remote)
        programs = folder / "bin"
        programs.mkdir()
        self.fake.mkdir()
        for name, body in STAND_INS.items():
            (programs / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
            (programs / name).chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "EDGE_HOST_ROOT": str(folder / "root"),
            "FAKE": str(self.fake),
            "LC_ALL": "C",
        }

    def switch(self, name: str, content: str = "") -> None:
        (self.fake / name).write_text(content)

    def start(self, script: str, *arguments: str, stdin: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [self.remote / f"{script}.sh", *arguments],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        assert process.stdin
        process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None
        return process

    def run(self, script: str, *arguments: str, stdin: str = "", status: int = 0) -> tuple[str, str]:
        """Standard output and error of a script that ends with this status."""
        process = self.start(script, *arguments, stdin=stdin)
        out, err = process.communicate(timeout=60)
        assert process.returncode == status, f"{out}\n{err}"
        return out, err

    def hang(self, script: str, *arguments: str, stdin: str = "") -> tuple[subprocess.Popen[str], TextIO]:
        """A script whose slow step hangs until the returned file is closed."""
        pipe = self.fake / "hang"
        os.mkfifo(pipe)
        process = self.start(script, *arguments, stdin=stdin)
        while process.poll() is None:
            try:
                return process, os.fdopen(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK), "w")
            except OSError:  # nobody reads yet
                time.sleep(0.01)
        raise AssertionError(process.communicate())

    def end(self) -> None:
        """Ends what the scripts left running: the heartbeat's last sleep."""
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def log(self, program: str) -> list[str]:
        path = self.fake / f"{program}.log"
        return path.read_text().splitlines() if path.exists() else []

    def clear_logs(self) -> None:
        for path in self.fake.glob("*.log"):
            path.unlink()
