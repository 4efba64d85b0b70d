"""A state in a file is copied, found cut off, and brought back; a disk without room is found before anything is changed."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from automation.engine import state_files
from automation.engine.run_log import RunLog
from automation.engine.state_files import StateFile, chosen_backend, full_disks, require_room, state_file
from automation.errors import EdgeError


@pytest.fixture(autouse=True)
def nobody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cut off stays so: nothing is waited for."""
    monkeypatch.setattr(state_files, "_WRITE_SECONDS", 0.0)


def state(tmp_path: Path, *, resources: int = 3) -> StateFile:
    found = state_file(f"file://{tmp_path / 'backend'}", "edge-inference", "prod", tmp_path / "copies")
    assert found
    found.path.parent.mkdir(parents=True, exist_ok=True)
    found.path.write_text(described(resources))
    return found


def described(resources: int) -> str:
    return json.dumps({"checkpoint": {"latest": {"resources": [{"urn": f"x::{number}"} for number in range(resources)]}}})


def cut_off(path: Path, before: str) -> None:
    path.write_text(before[: len(before) // 2])


def test_a_whole_state_is_left_alone(tmp_path: Path) -> None:
    found = state(tmp_path)
    found.keep()
    assert found.restore() is None
    assert found.path.read_text() == described(3)


@pytest.mark.parametrize("left", ["", described(4)[:40]])
def test_a_state_that_was_cut_off_comes_back_from_its_copy(tmp_path: Path, left: str) -> None:
    found = state(tmp_path)
    found.keep()
    assert found.copy.stat().st_mode & 0o777 == 0o600
    found.path.write_text(left)
    found.path.with_name("prod.json.bak").write_text(left)
    told = found.restore()
    assert told
    assert "cut off" in told
    assert str(found.path) in told
    assert found.path.read_text() == described(3)
    assert found.path.with_name("prod.json.cut-off").read_text() == left


def test_the_newest_whole_one_is_taken(tmp_path: Path) -> None:
    found = state(tmp_path)
    found.keep()
    bak = found.path.with_name("prod.json.bak")
    bak.write_text(described(4))
    later = found.copy.stat().st_mtime + 5
    os.utime(bak, (later, later))
    cut_off(found.path, described(5))
    assert found.restore()
    assert found.path.read_text() == described(4)


def test_what_the_engine_keeps_beside_it_is_removed_where_it_was_cut_off(tmp_path: Path) -> None:
    """An engine that is killed while it writes leaves an empty .attrs: then every command fails with `EOF`."""
    found = state(tmp_path)
    found.locks.mkdir(parents=True)
    lock, whole = found.locks / "1.json", found.locks / "2.json"
    lock.touch()
    whole.write_text("{}")
    notes = found.path.with_name("prod.json.attrs")
    notes.touch()
    assert found.is_cut_off
    told = found.restore()
    assert told
    assert str(notes) in told
    assert (lock.exists(), whole.exists(), notes.exists()) == (False, True, False)
    assert found.path.read_text() == described(3)
    assert not found.is_cut_off


def test_what_an_engine_at_work_is_writing_is_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It empties an .attrs before it fills it: whoever looks between the two is to look again."""
    found = state(tmp_path)
    notes = found.path.with_name("prod.json.bak.attrs")
    notes.touch()
    monkeypatch.setattr(state_files, "_WRITE_SECONDS", 60.0)

    def goes_on(_: float) -> None:
        notes.write_text("{}")

    monkeypatch.setattr(state_files.time, "sleep", goes_on)
    assert found.is_cut_off
    assert not found.stays_cut_off()


def test_what_nobody_goes_on_writing_stays_cut_off(tmp_path: Path) -> None:
    found = state(tmp_path)
    found.path.with_name("prod.json.attrs").touch()
    assert found.stays_cut_off()


def test_without_a_whole_one_nothing_is_touched(tmp_path: Path) -> None:
    found = state(tmp_path)
    cut_off(found.path, described(3))
    before = found.path.read_text()
    with pytest.raises(EdgeError, match=r"was cut off(.|\n)*-> "):
        found.restore()
    assert found.path.read_text() == before


def test_a_cut_off_state_is_never_the_copy(tmp_path: Path) -> None:
    found = state(tmp_path)
    found.keep()
    cut_off(found.path, described(4))
    found.keep()
    assert found.copy.read_text() == described(3)


def test_the_copy_follows_while_a_run_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_files, "_COPY_SECONDS", 0.01)
    found = state(tmp_path)
    with found.kept():
        found.path.write_text(described(9))
        while found.copy.read_text() != described(9):
            pass


def test_a_failed_copy_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = state(tmp_path)
    found.keep()
    found.path.write_text(described(4))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        found.keep()
    assert found.copy.read_text() == described(3)
    assert [each.name for each in found.copy.parent.iterdir()] == [found.copy.name]


@pytest.mark.parametrize("backend", ["s3://bucket", "https://api.pulumi.com", ""])
def test_states_elsewhere_are_not_ours_to_keep(tmp_path: Path, backend: str) -> None:
    assert state_file(backend, "edge-inference", "prod", tmp_path) is None


def test_the_backend_is_the_one_that_the_engine_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    assert chosen_backend() == ""
    (tmp_path / "credentials.json").write_text('{"current": "file://~"}')
    assert chosen_backend() == "file://~"
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    assert chosen_backend() == "s3://bucket"


def test_a_run_does_not_begin_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = state(tmp_path)
    require_room(found, tmp_path / "logs" / "none yet")

    def usage(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=20 * 2**20)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(EdgeError, match=rf"{tmp_path}.* 20 MiB are free, and a run needs 32 MiB(.|\n)*-> .*df -h {tmp_path}"):
        require_room(found, tmp_path)
    assert full_disks(tmp_path, tmp_path / "gone") == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's device that is always full")
def test_a_log_on_a_full_disk_ends_no_run(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full, RunLog(tmp_path, "prod", "up", str) as log:
        log._file = full  # pyright: ignore[reportPrivateUsage]
        log.write("words of the engine")
