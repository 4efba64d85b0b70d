"""Command texts: they change exactly when a step must run again, and hold no secret."""

import base64
import hashlib
import io
import json
import shlex
import string
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from component_helpers import HOST_KEY_SECRET, MODEL, TOKEN, deployer_key, serving_spec
from hypothesis import given
from hypothesis import strategies as st

from components import host_steps
from components.host_steps import Rollout, ServingSpec, dial_attempts, install_scripts, scripts_archive, serving_steps
from components.models import ModelFacts

INSTANCE = "i-0123456789abcdef0"
NAMES = ["prepare", "image", "weights", "proxy", "ready"]


def texts(spec: ServingSpec) -> dict[str, str]:
    return {step.name: step.on_instance(INSTANCE) for step in serving_steps(spec)}


def changed(one: ServingSpec, other: ServingSpec) -> list[str]:
    before, after = texts(one), texts(other)
    return [name for name in NAMES if before[name] != after[name]]


def words(text: str) -> list[str]:
    """What a shell makes of the last line of a text."""
    return shlex.split(text.splitlines()[-1])


def transaction_of(spec: ServingSpec) -> dict[str, Any]:
    """What the last step is told, as the shell hands it over."""
    return json.loads(words(texts(spec)["ready"])[-1])


def test_steps_stand_in_order() -> None:
    assert [step.name for step in serving_steps(serving_spec())] == NAMES


def test_same_spec_same_texts() -> None:
    assert changed(serving_spec(), serving_spec()) == []


@pytest.mark.parametrize(
    ("sections", "steps"),
    [
        ({"endpoint": {"port": 9090}}, ["ready"]),
        ({"server": {"maxInputTokens": 100}}, ["ready"]),
        ({"server": {"prefixCaching": False}}, ["ready"]),
        ({"server": {"extraArguments": ["--trust-remote-code"]}}, ["ready"]),
        ({"server": {"model": "org/model"}}, ["weights", "ready"]),
        ({"server": {"image": "mine/tgi:1"}}, ["image", "weights", "ready"]),
        ({"server": {"engine": "vllm"}}, ["prepare", "image", "weights", "ready"]),
        ({"host": {"bootBudgetSeconds": 99}}, ["prepare"]),
        ({"host": {"imageBudgetSeconds": 99}}, ["image"]),
        ({"host": {"weightsBudgetSeconds": 99}}, ["weights"]),
        ({"host": {"readyBudgetSeconds": 99}}, ["ready"]),
        ({"host": {"connectBudgetSeconds": 99}}, []),
        ({"host": {"loginUser": "ubuntu"}}, []),
        ({"access": {"clientCidrs": ["8.8.8.8/32"], "sshCidrs": ["8.8.8.8/32"]}}, []),
        ({"routing": {"policy": "none"}}, []),
        ({"tags": {"team": "edge"}}, []),
        ({"sites": [{"zone": "us-east-1a", "replicas": 3}]}, []),
        ({"server": {"modelParameters": 5}}, []),
    ],
    ids=str,
)  # fmt: skip
def test_texts_change_exactly_where_work_must_be_redone(sections: dict[str, Any], steps: list[str]) -> None:
    assert changed(serving_spec(), serving_spec(**sections)) == steps


def test_another_revision_fetches_and_restarts() -> None:
    other = serving_spec(ModelFacts(MODEL.parameters, MODEL.gated, "another", MODEL.source))
    assert changed(serving_spec(), other) == ["weights", "ready"]


def test_branch_main_where_nothing_is_pinned() -> None:
    assert "main" in words(texts(serving_spec(ModelFacts(None, None, None, "")))["weights"])


def test_instance_is_in_every_text() -> None:
    """A new instance behind the same address has nothing yet."""
    for step in [*serving_steps(serving_spec()), install_scripts()[0]]:
        assert INSTANCE in step.on_instance(INSTANCE)
        assert step.on_instance(INSTANCE) != step.on_instance("i-0other")


def test_instance_is_only_a_comment() -> None:
    for step in serving_steps(serving_spec()):
        text = step.on_instance(INSTANCE, "", "ssh-ed25519 AAAA")
        assert text.splitlines()[:2] == [f"# on {INSTANCE}", "# host key ssh-ed25519 AAAA"]


def test_no_secret_in_any_text() -> None:
    step, stdin = install_scripts()
    shown = "\n".join([*texts(serving_spec()).values(), step.on_instance(INSTANCE), base64.b64decode(stdin).decode()])
    for secret in (TOKEN, HOST_KEY_SECRET, *deployer_key().splitlines()[1:-1]):
        assert secret not in shown


def test_changed_scripts_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, archive_before = texts(serving_spec()), install_scripts()
    for path in Path(host_steps.__file__).parent.joinpath("remote").iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "common.sh").write_text("# changed\n")
    monkeypatch.setattr(host_steps, "_REMOTE_SCRIPTS", tmp_path)
    scripts_archive.cache_clear()
    try:
        after, archive_after = texts(serving_spec()), install_scripts()
    finally:
        scripts_archive.cache_clear()
    assert all(before[name] != after[name] for name in NAMES)
    assert archive_before[0].text != archive_after[0].text


def test_archive_is_deterministic_and_holds_every_script() -> None:
    first = scripts_archive()
    scripts_archive.cache_clear()
    assert scripts_archive() == first
    remote = Path(host_steps.__file__).parent / "remote"
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == sorted(
            path.name for path in remote.iterdir() if path.suffix in {".sh", ".py"}
        )
        for member in members:
            assert (member.mode, member.mtime, member.uid, member.gid) == (0o755, 0, 0, 0)
            content = archive.extractfile(member)
            assert content
            assert content.read() == (remote / member.name).read_bytes()


def test_scripts_are_named_by_their_digest() -> None:
    assert hashlib.sha256(scripts_archive()).hexdigest()[:16] in install_scripts()[0].text


def test_install_unpacks_the_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very text, under a real shell."""
    (tmp_path / "bin").mkdir()
    sudo = tmp_path / "bin" / "sudo"
    sudo.write_text('#!/bin/sh\nexec "$@"\n')
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("EDGE_HOST_ROOT", str(tmp_path / "root of the host"))
    step, stdin = install_scripts()
    for _ in range(2):
        done = subprocess.run(
            ["bash", "-c", step.on_instance(INSTANCE)], input=stdin, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    (folder,) = (tmp_path / "root of the host" / "opt" / "edge-inference" / "releases").iterdir()
    script = folder / "serve.sh"
    assert script.stat().st_mode & 0o777 == 0o755


def test_words_are_quoted_for_the_shell() -> None:
    """Whatever the settings let through, a shell reads the same words."""
    image = "registry.acme.dev:5000/a/b@sha256:" + "0" * 64
    spec = serving_spec(server={"image": image, "extraArguments": ["--x=%s,{}@".replace("{}", "y"), "a+b"]})
    assert image in words(texts(spec)["image"])
    assert transaction_of(spec)["arguments"][-2:] == ["--x=%s,y@", "a+b"]


@given(st.text(string.printable.strip() + " äµ", min_size=1, max_size=30))
def test_any_revision_stays_one_word(revision: str) -> None:
    spec = serving_spec(ModelFacts(None, None, revision, ""))
    assert revision in words(texts(spec)["weights"])
    assert transaction_of(spec)["weights"] == f"meta-llama/Llama-3.2-3B-Instruct@{revision}".replace("/", "--")


def test_every_text_is_a_program_that_bash_can_read() -> None:
    for text in [*texts(serving_spec()).values(), install_scripts()[0].on_instance(INSTANCE)]:
        subprocess.run(["bash", "-n", "-c", text], check=True)


def official_wait(attempts: int) -> float:
    """Seconds between the first and the last of so many refused dials, in pulumi-command 1.2.1: pauses from 0.1 s, each 1.5 times
    the one before, at most 5 s (anchors 3: 10 tries 11 s, 30 tries 111 s, 60 tries 261 s, 120 tries 561 s)."""
    return sum(min(0.1 * 1.5**number, 5.0) for number in range(attempts - 1))


@pytest.mark.parametrize(("attempts", "seconds"), [(10, 8), (30, 106), (60, 256), (120, 556)])
def test_the_official_backoff_as_measured(attempts: int, seconds: int) -> None:
    """Guards the formula of this test; anchors count the pause after the last dial too."""
    assert official_wait(attempts) == pytest.approx(seconds, abs=4)


def test_ready_asks_what_the_engine_states_and_has_its_fallback() -> None:
    told = transaction_of(serving_spec())
    assert set(told["facts"]) == {"dtype", "attention", "prefix_caching"}
    assert "no kernel image" in told["trouble"]
    assert told["fallback"] == ["-e", "ATTENTION=paged", "-e", "PREFIX_CACHING=0"]
    assert transaction_of(serving_spec(server={"engine": "vllm"}))["trouble"] == "", "vLLM has no fallback"


def test_what_serves_under_the_release_before_is_known_again() -> None:
    """The digest of 6788d8e for this very spec, computed there: another one would restart every server at an upgrade."""
    assert transaction_of(serving_spec())["digest"] == "8fbfc3b84e287078"


def test_ready_drains_by_the_checks_that_there_are() -> None:
    spec = replace(serving_spec(), rollout=Rollout(drain_seconds=7, max_ttft_ms=90, max_slowdown=1.5))
    assert transaction_of(spec)["rollout"] == {
        "is_alone": False,
        "notice_seconds": 100,
        "ttl_seconds": 60,
        "drain_seconds": 7,
        "max_ttft_ms": 90.0,
        "max_slowdown": 1.5,
    }


@given(st.integers(1, 3600))
def test_dials_cover_the_budget_and_hardly_more(budget: int) -> None:
    attempts = dial_attempts(budget)
    assert official_wait(attempts) >= budget
    assert official_wait(attempts - 1) < budget
