"""The scripts that converge a host, under a real bash with stand-ins for what a GPU host has.

Twice is as once, secrets go, and a failure says where, why and what to look at.
"""

import ast
import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from remote_host import SCRIPTS, Host

from components.host_steps import install_scripts

IMAGE, MODEL, REVISION, TOKEN = "acme/tgi:1", "org/model", "abc123", "hf_secretsecret"
PLENTY_SECONDS = "30"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.end()


MINIMUM_DRIVER = "535"
PREPARE = ("prepare-host", PLENTY_SECONDS, MINIMUM_DRIVER)
PULL = ("pull-image", IMAGE, "10240", PLENTY_SECONDS)
FETCH = ("fetch-weights", IMAGE, MODEL, REVISION, PLENTY_SECONDS)


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


def test_a_hosts_own_python_reads_every_program() -> None:
    """Amazon Linux 2023 has 3.9; those that run in the server's image have a newer one."""
    for program in SCRIPTS.glob("*.py"):
        ast.parse(program.read_text(), feature_version=(3, 9))


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
    (host.remote,) = (host.home / "releases").iterdir()
    assert sorted(path.name for path in host.remote.iterdir()) == sorted(
        path.name for path in SCRIPTS.iterdir() if path.is_file()
    )
    host.run(*PREPARE)


def test_nothing_is_written_elsewhere(host: Host) -> None:
    before = {path for path in host.folder.rglob("*") if host.home not in path.parents}
    for step in (PREPARE, PULL, FETCH):
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


LINE_THAT_HANGS = 65536
"""On one of so many bytes the official command plugin hangs for ever."""


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
    for step in (PREPARE, PULL, FETCH):
        out, err = host.run(*step, stdin="\n")
        assert out.endswith("\n")
        assert "\r" not in out + err
        assert all(len(line) < 300 for line in (out + err).splitlines())
