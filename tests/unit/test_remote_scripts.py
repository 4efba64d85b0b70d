"""The scripts that converge a host, under a real bash with stand-ins for what a GPU host has.

Twice is as once, secrets go, and a failure says where, why and what to look at.
"""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from components.host_steps import install_scripts

SCRIPTS = Path(__file__).parents[2] / "components" / "remote"
IMAGE, MODEL, REVISION, TOKEN = "acme/tgi:1", "org/model", "abc123", "hf_secretsecret"
PLENTY_SECONDS = "30"

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
  "stop "*) [ -d "$here/$2" ] && echo exited >"$here/$2/state" ;;
  "start "*) [ -d "$here/$2" ] && echo running >"$here/$2/state" ;;
  "rename "*) [ -d "$here/$2" ] && [ ! -e "$here/$3" ] && mv "$here/$2" "$here/$3" ;;
  "logs "*) cat "$FAKE/server.log" 2>/dev/null || say "the server's last words" ;;
  "port "*) [ -e "$here/$2" ] && say 127.0.0.1:4711 ;;
  "inspect --type")
    [ -e "$here/$name" ] || { echo "No such container" >&2; exit 1; }
    case "$5" in
      *spec*) say "$(cat "$here/$name/digest") $(cat "$here/$name/state")" ;;
      *fallback*) cat "$here/$name/fallback" ;;
      "{{.Id}}") cat "$here/$name/id" ;;
      *RestartCount*) count=$(cat "$FAKE/restarts" 2>/dev/null || echo 0); say "$count $(cat "$here/$name/id")"
        [ -e "$FAKE/dying" ] && echo $((count + 1)) >"$FAKE/restarts" || true ;;
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
    echo "id-of-$(cat "$made/digest")" >"$made/id"
    echo created >"$made/state"
    [ -e "$FAKE/no-gpu" ] && { echo "could not select device driver" >&2; exit 125; }
    [ -e "$FAKE/fallback-helps" ] && [ -s "$made/fallback" ] && rm "$FAKE/sick" "$FAKE/dying"
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
    "curl": """
        printf "%s\\n" "$*" >>"$FAKE/curl.log"
        case "$*" in *completions*) [ ! -e "$FAKE/no-token" ] ;; *) [ ! -e "$FAKE/sick" ] ;; esac
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
        self.remote = self.home / "remote"
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


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.end()


MINIMUM_DRIVER = "535"
PREPARE = ("prepare-host", PLENTY_SECONDS, MINIMUM_DRIVER)
PULL = ("pull-image", IMAGE, "10240", PLENTY_SECONDS)
FETCH = ("fetch-weights", IMAGE, MODEL, REVISION, PLENTY_SECONDS)
FACTS = '{"attention": "using attention (\\\\w+)", "prefix_caching": "prefix caching (\\\\w+)"}'
START = ("start-server", "digest1", MODEL, REVISION, "4", "-p", "8080:80", "-e", "A=b", IMAGE, "--model-id", "/model")
READY = ("wait-ready", "digest1", "80", "/health", PLENTY_SECONDS, FACTS, "no kernel image", "-e", "ATTENTION=paged")


def assert_failure(err: str, step: str, cause: str, hint: str) -> None:
    """Step and cause in one line, the hint in the next."""
    lines = err.splitlines()
    place = next(index for index, line in enumerate(lines) if line.startswith(f"{step} failed: "))
    assert cause in lines[place]
    assert lines[place + 1].startswith("  -> ")
    assert hint in lines[place + 1]


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck here")
def test_shellcheck_is_clean() -> None:
    subprocess.run(["shellcheck", "-x", *sorted(map(str, SCRIPTS.glob("*.sh")))], check=True, cwd=SCRIPTS.parents[1])


def test_every_script_ends_on_the_first_error() -> None:
    for script in SCRIPTS.glob("*.sh"):
        text = script.read_text()
        is_sourced = text.startswith("# shellcheck shell=bash") and script.name != "common.sh"
        assert is_sourced or "set -euo pipefail" in text or 'common.sh"' in text
        assert "set -x" not in text, "it would print secrets"


def test_scripts_arrive_as_they_are_run_here(host: Host) -> None:
    shutil.rmtree(host.remote)
    step, archive = install_scripts()
    subprocess.run(["bash", "-c", step.text], input=archive, text=True, env=host.environment, check=True)
    assert sorted(path.name for path in host.remote.iterdir()) == sorted(
        path.name for path in SCRIPTS.iterdir() if path.is_file()
    )
    host.run(*PREPARE)


def test_nothing_is_written_elsewhere(host: Host) -> None:
    before = {path for path in host.folder.rglob("*") if host.home not in path.parents}
    for step in (PREPARE, PULL, FETCH, START, READY):
        host.run(*step, stdin=f"{TOKEN}\n")
    after = {path for path in host.folder.rglob("*") if host.home not in path.parents and host.fake not in path.parents}
    assert after <= before


# Preparing the host


def test_prepare_starts_docker_now_and_at_every_boot(host: Host) -> None:
    out, err = host.run(*PREPARE)
    assert host.log("systemctl") == ["enable --now docker"]
    assert "Tesla T4" in out
    assert "Docker 27.3.1" in out
    assert err == ""


def test_prepare_takes_recoverable_errors_of_cloud_init(host: Host) -> None:
    host.switch("cloud-init", "2")
    host.run(*PREPARE)


def test_prepare_without_cloud_init(host: Host) -> None:
    programs = host.folder / "bin"
    (programs / "cloud-init").unlink()
    for program in (path for folder in ("/bin", "/usr/bin") for path in Path(folder).iterdir() if path.name != "cloud-init"):
        with contextlib.suppress(FileExistsError):
            (programs / program.name).symlink_to(program)
    host.environment["PATH"] = str(programs)
    host.run(*PREPARE)


@pytest.mark.parametrize(
    ("switch", "content", "budget", "cause", "hint"),
    [
        ("cloud-init", "1", PLENTY_SECONDS, "cloud-init ended with status 1", "/var/log/cloud-init-output.log"),
        ("no-driver", "", "0", "nvidia-smi does not answer within 0 s", "dmesg"),
        ("no-docker", "", PLENTY_SECONDS, "Docker cannot be started", "systemctl status docker"),
        ("docker-down", "", "1", "Docker does not answer within 1 s", "journalctl -u docker"),
    ],
)
def test_prepare_failures(  # noqa: PLR0917 # a table's columns
    host: Host, switch: str, content: str, budget: str, cause: str, hint: str
) -> None:
    host.switch(switch, content)
    _, err = host.run("prepare-host", budget, MINIMUM_DRIVER, status=1)
    assert_failure(err, "prepare-host", cause, hint)


def test_a_driver_that_is_too_old_for_the_image_is_told_before_it_is_pulled(host: Host) -> None:
    _, err = host.run("prepare-host", PLENTY_SECONDS, "999", status=1)
    assert_failure(err, "prepare-host", "the server's image wants 999 or newer", "edge-inference:host.amis")


# The image


def test_image_is_pulled_once(host: Host) -> None:
    out, _ = host.run(*PULL)
    assert f"pulled {IMAGE}" in out
    host.clear_logs()
    out, _ = host.run(*PULL)
    assert "is here already" in out
    assert host.log("docker") == [f"image inspect {IMAGE}"]


def test_full_disk_is_told_before_anything_is_pulled(host: Host) -> None:
    host.switch("free", "10239")
    _, err = host.run(*PULL, status=1)
    assert_failure(
        err, "pull-image", "no space left: the image needs at least 10240 MiB of disk, 10239 MiB are free", "volumeGib"
    )
    assert not any(line.startswith("pull") for line in host.log("docker"))
    host.switch("free", "10240")
    host.run(*PULL)


@pytest.mark.parametrize(("step", "switch"), [(PULL, "pull"), (FETCH, "weights")], ids=["image", "weights"])
def test_disk_that_fills_up_on_the_way_is_told_as_such(host: Host, step: tuple[str, ...], switch: str) -> None:
    host.switch(switch, "1")
    host.switch("full")
    _, err = host.run(*step, status=1)
    assert_failure(err, step[0], "no space left", "docker system df")


def test_weights_larger_than_the_disk_are_told(host: Host) -> None:
    """The one-shot container knows their size, and ends with errno's ENOSPC."""
    host.switch("weights", "28")
    _, err = host.run(*FETCH, status=1)
    assert_failure(err, "fetch-weights", "no space left", "volumeGib")


def test_pull_shows_no_progress_bars(host: Host) -> None:
    """They arrive as one endless line."""
    host.run(*PULL)
    assert f"pull -q {IMAGE}" in host.log("docker")


def test_pull_failure(host: Host) -> None:
    host.switch("pull", "1")
    _, err = host.run(*PULL, status=1)
    assert_failure(err, "pull-image", f"{IMAGE} was not pulled", "edge-inference:server.image")


# The weights


def weights(host: Host) -> Path:
    return host.home / "models" / f"org--model@{REVISION}"


def test_weights_are_fetched_once(host: Host) -> None:
    host.run(*FETCH, stdin=f"{TOKEN}\n")
    assert (weights(host) / ".complete").exists()
    host.clear_logs()
    out, _ = host.run(*FETCH, stdin=f"{TOKEN}\n")
    assert "is here already" in out
    assert host.log("docker") == [], "each call takes time, and there is nothing to ask"


@pytest.mark.parametrize("status", ["0", "1"])
def test_container_that_has_the_token_never_stays_behind(host: Host, status: str) -> None:
    """Nor does one of a run that was killed, as the token's file tells, stand in the way of the next."""
    left = host.home / "secrets" / "hugging-face-token"
    left.parent.mkdir()
    left.write_text("")
    host.switch("weights", status)
    host.run(*FETCH, stdin=f"{TOKEN}\n", status=int(status))
    commands = [" ".join(line.split()[:2]) for line in host.log("docker")]
    assert commands[-1] == "rm -f"
    assert "rm -f" in commands[: commands.index("run --rm")]
    assert "rm -f edge-inference-weights" in host.log("docker")


def test_token_is_in_a_root_only_file_while_it_is_needed_and_gone_after(host: Host) -> None:
    out, err = host.run(*FETCH, stdin=f"{TOKEN}\n")
    mode, token = (host.fake / "token-seen").read_text().split("\n", 1)
    assert (mode, token) == ("600", TOKEN)
    path = Path((host.fake / "token-path").read_text().strip())
    assert not path.exists()
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert TOKEN not in out + err + "\n".join(host.log("docker"))
    assert not [path for path in host.home.rglob("*") if path.is_file() and TOKEN in path.read_text()]


def test_no_token_is_an_empty_file(host: Host) -> None:
    host.run(*FETCH, stdin="\n")
    assert (host.fake / "token-seen").read_text() == "600\n"


def test_closed_standard_input_is_no_token(host: Host) -> None:
    host.run(*FETCH, stdin="")
    assert (host.fake / "token-seen").read_text() == "600\n"


def test_weights_that_fail_are_not_complete_and_leave_no_token(host: Host) -> None:
    host.switch("weights", "1")
    _, err = host.run(*FETCH, stdin=f"{TOKEN}\n", status=1)
    assert_failure(err, "fetch-weights", f"the weights of {MODEL} at {REVISION} were not fetched", "huggingFaceToken")
    assert "GatedRepoError" in err
    assert TOKEN not in err
    assert not (weights(host) / ".complete").exists()
    assert not Path((host.fake / "token-path").read_text().strip()).exists()
    host.switch("weights", "0")
    host.run(*FETCH, stdin=f"{TOKEN}\n")
    assert (weights(host) / ".complete").exists()


def test_token_of_a_killed_run_is_removed(host: Host) -> None:
    """Also where nothing could clean up: the next run does."""
    left = host.home / "secrets" / "hugging-face-token"
    left.parent.mkdir()
    left.write_text(TOKEN)
    host.run(*FETCH, stdin="\n")
    assert not left.exists()
    left.write_text(TOKEN)
    host.run(*FETCH, stdin="\n")
    assert not left.exists(), "also when the weights are here already"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_token_goes_when_the_run_is_ended(host: Host, number: signal.Signals) -> None:
    """As sshd does when the deployer's connection breaks."""
    process, pipe = host.hang(*FETCH, stdin=f"{TOKEN}\n")
    path = Path((host.fake / "token-path").read_text().strip())
    assert path.read_text() == TOKEN
    os.killpg(process.pid, number)
    with pipe:
        process.wait(timeout=30)
    assert not path.exists()
    assert not (weights(host) / ".complete").exists()


def test_weights_of_another_revision_have_a_folder_of_their_own(host: Host) -> None:
    host.run(*FETCH)
    host.run("fetch-weights", IMAGE, MODEL, "refs/pr/1", PLENTY_SECONDS)
    assert sorted(path.name for path in (host.home / "models").iterdir()) == [f"org--model@{REVISION}", "org--model@refs--pr--1"]


def test_token_is_read_from_its_file_by_the_container_only(host: Host) -> None:
    host.run(*FETCH, stdin=f"{TOKEN}\n")
    (command,) = (line for line in host.log("docker") if line.startswith("run --rm"))
    assert ":/run/secrets/hugging-face-token:ro" in command
    assert "-e HF_TOKEN_PATH=/run/secrets/hugging-face-token" in command
    assert f"--entrypoint python3 {IMAGE} /fetch_weights.py {MODEL} {REVISION} /model" in command


def test_fetching_program_hands_the_token_over(tmp_path: Path) -> None:
    """fetch_weights.py with a stand-in of huggingface_hub."""
    (tmp_path / "huggingface_hub.py").write_text(
        "import json, os\n"
        "def snapshot_download(model, **named):\n"
        "    print(json.dumps({'model': model, 'bars': os.environ['HF_HUB_DISABLE_PROGRESS_BARS'], **named}))\n"
        "    if model == 'org/gated': raise PermissionError('gated')\n"
        "class Info:\n"
        "    sha = 'c0ffee'\n"
        "    class File: rfilename, size = os.environ.get('FILE', 'model.safetensors'), int(os.environ.get('SIZE', '9'))\n"
        "    siblings = [File]\n"
        "def model_info(model, **named): return Info\n"
    )
    (tmp_path / "token").write_text("")
    environment = {"PYTHONPATH": str(tmp_path), "HF_TOKEN_PATH": str(tmp_path / "token"), "PATH": os.environ["PATH"]}
    folder = tmp_path / "weights"
    folder.mkdir()

    def fetch(model: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [shutil.which("python3") or "python3", str(SCRIPTS / "fetch_weights.py"), model, "main", str(folder)]
        return subprocess.run(command, env=environment | more, capture_output=True, text=True, check=False)

    public = json.loads(fetch(MODEL).stdout)
    assert public["token"] is False, "an empty file is no token, and a wrong one is refused"
    assert (public["revision"], public["local_dir"], public["bars"]) == ("c0ffee", str(folder), "1"), (
        "the commit that main is now"
    )
    assert (folder / ".commit").read_text() == "c0ffee"
    assert "original/*" in public["ignore_patterns"]
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert json.loads(fetch(MODEL).stdout)["token"] == TOKEN
    refused = fetch("org/gated")
    assert refused.returncode == 1
    assert refused.stderr == "PermissionError: gated\n"
    too_large = fetch(MODEL, SIZE=str(2**60))
    assert (too_large.returncode, too_large.stdout) == (errno.ENOSPC, "")
    assert f"{MODEL} takes {2**40} MiB of disk" in too_large.stderr
    assert fetch(MODEL, SIZE=str(2**60), FILE="original/model.pth").returncode == 0, "which is not fetched"


# The server


def starts(host: Host) -> list[str]:
    return [line for line in host.log("docker") if line.startswith("run -d")]


def test_server_is_left_alone_when_nothing_changed(host: Host) -> None:
    host.run(*START)
    assert len(starts(host)) == 1
    host.clear_logs()
    out, _ = host.run(*START)
    assert "already running as wanted" in out
    assert not [line for line in host.log("docker") if not line.startswith("inspect")]


SERVER = "edge-inference-server"


def containers(host: Host) -> dict[str, tuple[str, str]]:
    """Digest and state of each container, by name."""
    return {
        path.name.removeprefix(SERVER): ((path / "digest").read_text().strip(), (path / "state").read_text().strip())
        for path in (host.fake / "containers").iterdir()
    }


def changes(host: Host) -> list[str]:
    """What docker was told to change."""
    words = [line.split()[0] for line in host.log("docker")]
    return [word for word in words if word in {"run", "rm", "stop", "start", "rename"}]


def serve(host: Host, digest: str = "digest1") -> None:
    host.run("start-server", digest, *START[2:])
    host.run("wait-ready", digest, *READY[2:])


def test_server_that_never_served_is_replaced(host: Host) -> None:
    host.run(*START)
    host.clear_logs()
    host.run("start-server", "digest2", *START[2:])
    assert changes(host) == ["rm", "run"]
    assert containers(host) == {"": ("digest2", "running")}


def test_server_that_served_is_kept_until_the_next_one_does(host: Host) -> None:
    """Stopped, since one GPU has no room for two models."""
    serve(host)
    host.clear_logs()
    host.run("start-server", "digest2", *START[2:])
    assert changes(host) == ["rm", "stop", "rename", "run"]
    assert containers(host) == {"": ("digest2", "running"), "-previous": ("digest1", "exited")}
    host.run("wait-ready", "digest2", *READY[2:])
    assert containers(host) == {"": ("digest2", "running")}


@pytest.mark.parametrize("state", ["exited", "restarting", "created", "dead"])
def test_server_that_does_not_run_is_started_anew(host: Host, state: str) -> None:
    host.run(*START)
    host.clear_logs()
    (host.fake / "containers" / SERVER / "state").write_text(f"{state}\n")
    host.run(*START)
    assert len(starts(host)) == 1


def test_server_comes_back_at_every_boot_and_serves_from_the_fetched_weights(host: Host) -> None:
    host.run(*START)
    (command,) = starts(host)
    for part in ("--restart unless-stopped", "--gpus all", f"-v {weights(host)}:/model:ro", "-p 8080:80", "-e A=b"):
        assert part in command
    assert command.endswith(f"{IMAGE} --model-id /model")
    assert "token" not in command.lower()


def test_server_that_cannot_start(host: Host) -> None:
    host.switch("no-gpu")
    _, err = host.run(*START, status=1)
    assert_failure(
        err, "start-server", "container did not start; this host serves nothing now", f"docker logs --tail 50 {SERVER}-failed"
    )
    assert "could not select device driver" in err


def test_server_that_cannot_start_leaves_the_one_before_running(host: Host) -> None:
    serve(host)
    host.switch("no-gpu")
    _, err = host.run("start-server", "digest2", *START[2:], status=1)
    assert_failure(err, "start-server", "the server before it is started again", f"{SERVER}-failed")
    assert containers(host) == {"": ("digest1", "running"), "-failed": ("digest2", "exited")}


# Readiness


def test_ready_means_healthy_and_one_token(host: Host) -> None:
    host.run(*START)
    out, _ = host.run(*READY)
    assert "first token generated" in out
    assert any("http://127.0.0.1:4711/health" in line for line in host.log("curl"))
    assert any("/v1/completions" in line and '"max_tokens": 1' in line for line in host.log("curl"))


@pytest.mark.parametrize(
    ("switches", "budget", "cause"),
    [
        (["sick"], "1", "not healthy within 1 s"),
        (["sick", "dying"], PLENTY_SECONDS, "the server's container ended"),
        (["no-token"], PLENTY_SECONDS, "healthy, but no token was generated"),
    ],
)
def test_readiness_failures_show_the_servers_last_lines(host: Host, switches: list[str], budget: str, cause: str) -> None:
    host.run(*START)
    for switch in switches:
        host.switch(switch)
    _, err = host.run("wait-ready", "digest1", "80", "/health", budget, *READY[5:], status=1)
    assert "the server's last words" in err
    assert_failure(err, "wait-ready", cause, f"docker logs --tail 200 {SERVER}-failed")
    assert "this host serves nothing now" in err
    assert containers(host) == {"-failed": ("digest1", "exited")}


LINE_THAT_HANGS = 65536
"""On one of so many bytes the official command plugin hangs for ever."""


def test_a_line_of_any_length_and_any_bytes_in_the_servers_log_is_cut_and_shown_in_ascii(host: Host) -> None:
    host.run(*START)
    host.switch("no-token")
    (host.fake / "server.log").write_bytes(b"\xff\x1b[31m\xe2\x9c\x93" + b"x" * LINE_THAT_HANGS + b"\nlast\n")
    _, err = host.run(*READY, status=1)
    first, last, *_ = err.splitlines()
    assert first.startswith("??[31m???xxx")
    assert len(first) < LINE_THAT_HANGS / 10
    assert last == "last"
    assert_failure(err, "wait-ready", "no token was generated", "docker logs")


@pytest.mark.parametrize("stream", ["", " >&2"])
def test_a_long_line_of_any_other_command_is_cut_and_hides_no_status(host: Host, stream: str) -> None:
    (host.fake.parent / "bin" / "docker").write_text(
        '#!/usr/bin/env bash\n[ "$1" = run ] || exit 0\n'
        f"(head -c {LINE_THAT_HANGS} /dev/zero | tr '\\0' x; echo; echo after){stream}; exit 1\n"
    )
    out, err = host.run(*FETCH, stdin=f"{TOKEN}\n", status=1)
    lines = (err if stream else out).splitlines()
    assert max(map(len, lines)) < LINE_THAT_HANGS / 10
    assert "after" in lines
    assert_failure(err, "fetch-weights", "were not fetched", "gated model")


def test_failed_server_makes_room_for_the_one_before_and_the_next_run_tries_again(host: Host) -> None:
    """The step that starts it went well and does not run again: this one does all of it."""
    serve(host)
    host.run("start-server", "digest2", *START[2:])
    host.switch("sick")
    host.switch("dying")
    _, err = host.run("wait-ready", "digest2", *READY[2:], status=1)
    assert_failure(err, "wait-ready", "the server before it is started again", f"{SERVER}-failed")
    assert containers(host) == {"": ("digest1", "running"), "-failed": ("digest2", "exited")}
    assert json.loads((host.home / "serving.json").read_text())["container"] == "id-of-digest1"

    _, err = host.run("wait-ready", "digest2", *READY[2:], status=1)
    assert containers(host) == {"": ("digest1", "running"), "-failed": ("digest2", "exited")}
    (host.fake / "sick").unlink()
    (host.fake / "dying").unlink()
    out, _ = host.run("wait-ready", "digest2", *READY[2:])
    assert "starting the server again" in out
    assert containers(host) == {"": ("digest2", "running")}


# The fallback


def starts_in_trouble(host: Host, log: str = "RuntimeError: CUDA error: no kernel image is available\n") -> None:
    host.run(*START)
    for switch in ("sick", "dying", "fallback-helps"):
        host.switch(switch)
    host.switch("server.log", log)


def test_trouble_with_attention_starts_once_more_with_the_fallback_and_says_so(host: Host) -> None:
    starts_in_trouble(host)
    out, _ = host.run(*READY)
    assert "starting once more with -e ATTENTION=paged" in out
    assert "started with the fallback" in out
    assert "-e A=b --label edge-inference.fallback=yes -e ATTENTION=paged acme/tgi:1 --model-id" in starts(host)[-1]
    assert json.loads((host.home / "serving.json").read_text())["fallback"] is True
    host.clear_logs()
    out, _ = host.run(*START)
    assert "already running as wanted" in out
    host.run(*READY)
    assert starts(host) == []


def test_other_trouble_does_not(host: Host) -> None:
    starts_in_trouble(host, "torch.OutOfMemoryError: CUDA out of memory")
    _, err = host.run(*READY, status=1)
    assert "CUDA out of memory" in err
    assert len(starts(host)) == 1


def test_fallback_is_tried_once(host: Host) -> None:
    starts_in_trouble(host)
    (host.fake / "fallback-helps").unlink()
    _, err = host.run(*READY, status=1)
    assert len(starts(host)) == 2
    assert_failure(err, "wait-ready", "this host serves nothing now", f"{SERVER}-failed")


# The record


def test_ready_asks_little_where_nothing_changed(host: Host) -> None:
    """Docker takes a good part of the second that a converge without changes may take."""
    host.run(*START)
    host.run(*READY)
    host.clear_logs()
    host.run(*READY)
    assert [line.split()[0] for line in host.log("docker")] == ["inspect", "inspect", "port", "rm"]
    assert len(host.log("curl")) == 2


def test_what_runs_is_recorded_and_told_in_a_line(host: Host) -> None:
    host.switch("server.log", "INFO Using attention flashinfer - Prefix caching True\n")
    host.run(*FETCH)
    (weights(host) / ".commit").write_text("0123456789abcdef" * 2)
    host.run(*START)
    out, _ = host.run(*READY)
    assert f"tgi serves {MODEL} at 0123456789ab, attention flashinfer, prefix caching true\n" in out
    record = json.loads((host.home / "serving.json").read_text())
    assert record == {
        "engine": "tgi",
        "model": MODEL,
        "revision": "0123456789abcdef" * 2,
        "attention": "flashinfer",
        "prefix_caching": "true",
        "fallback": False,
        "image": IMAGE,
        "image_digest": "acme/tgi@sha256:1",
        "image_id": "sha256:new",
        "flags": ["--model-id", "/model"],
        "options": ["-p", "8080:80", "-e", "A=b"],
        "container": "id-of-digest1",
        "since": "now",
    }


def test_what_the_log_does_not_say_is_not_made_up(host: Host) -> None:
    host.run(*START)
    out, _ = host.run(*READY)
    assert f"at {REVISION}, attention not stated, prefix caching not stated" in out


def test_record_that_cannot_be_written_is_told(host: Host) -> None:
    host.run(*START)
    (host.home / "serving.json.new").mkdir()
    _, err = host.run(*READY, status=1)
    assert_failure(err, "wait-ready", "could not be recorded", "df")


def test_weights_and_image_of_before_go_when_the_new_ones_serve(host: Host) -> None:
    host.run("fetch-weights", IMAGE, "org/old", REVISION, PLENTY_SECONDS)
    host.run(*FETCH)
    (host.home / "serving.json").write_text(json.dumps({"image": "acme/old:1", "image_id": "sha256:old"}))
    host.run(*START)
    assert (host.home / "models" / f"org--old@{REVISION}").exists()
    host.run(*READY)
    assert [path.name for path in (host.home / "models").iterdir()] == [weights(host).name]
    assert "image rm acme/old:1" in host.log("docker")
    host.clear_logs()
    host.run(*READY)
    assert not any(line.startswith("image rm") for line in host.log("docker"))


def test_no_container_is_started(host: Host) -> None:
    """As after someone removed it by hand."""
    host.run(*START)
    shutil.rmtree(host.fake / "containers" / SERVER)
    host.run(*READY)
    assert containers(host) == {"": ("digest1", "running")}


# Progress


@pytest.mark.parametrize("step", [PREPARE, FETCH], ids=["cloud-init", "weights"])
def test_long_steps_tell_that_they_go_on(host: Host, step: tuple[str, ...]) -> None:
    """Also where the output of what they run is thrown away."""
    host.switch("beats")
    process, pipe = host.hang(*step)
    assert process.stdout
    with pipe:
        line = process.stdout.readline()
    assert line.startswith(f"{step[0]}: ")
    assert f"s of at most {PLENTY_SECONDS} s" in line
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_the_end_closes_the_output(host: Host) -> None:
    """Else the connection would stay open as long as the heartbeat's last sleep."""
    process = host.start(*FETCH)
    assert process.stdout
    reader = threading.Thread(target=process.stdout.read, daemon=True)
    reader.start()
    reader.join(20)
    assert not reader.is_alive(), "something still holds the output"
    assert process.wait(timeout=20) == 0


def test_step_is_given_up_after_its_budget(host: Host) -> None:
    process, pipe = host.hang("fetch-weights", IMAGE, MODEL, REVISION, "1")
    with pipe:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "given up after 1 s" in out
    assert_failure(err, "fetch-weights", "were not fetched", "huggingFaceToken")


def test_lines_are_short(host: Host) -> None:
    """A line of 64 KiB stops pulumi-command's reader."""
    for step in (PREPARE, PULL, FETCH, START, READY):
        out, err = host.run(*step, stdin="\n")
        assert out.endswith("\n")
        assert "\r" not in out + err
        assert all(len(line) < 300 for line in (out + err).splitlines())
