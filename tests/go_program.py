"""Programs in Go that tests run, each built once, as tools/NAME/go.mod pins it. Leaves out the engine (automation/provision)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT
from automation.provision.engine import Step, UnavailableError, discard_caches, find_go, go_environment, locked, run

if TYPE_CHECKING:
    from pathlib import Path

_BUILD_SECONDS = 400.0


def built(name: str, package: str) -> Path:
    """The executable NAME, built where it is not there yet; the test is skipped where it cannot be had."""
    module, folder = PROJECT_ROOT / "tools" / name, LOCAL_DIRECTORY / name
    folder.mkdir(parents=True, exist_ok=True)
    pins = (module / "go.mod").read_text()
    with locked(folder / "lock", lambda _: None):
        executable, note = folder / name, folder / "go.mod"
        if executable.exists() and note.exists() and note.read_text() == pins:
            return executable
        caches, partial = folder / "go", folder / f"{name}.incoming"
        try:
            go = find_go(caches, lambda _: None)
            # Not optimised: it is compiled in half the time, and fast enough.
            words = [go, "build", "-C", module, "-ldflags", "-s -w", "-gcflags", "all=-N -l", "-o", partial, package]
            step = Step(f"building {name}", words, folder / "build.log", go_environment(caches), limit_seconds=_BUILD_SECONDS)
            run(step, lambda _: None)
        except UnavailableError as reason:
            pytest.skip(f"no {name}: {reason}")
        partial.rename(executable)
        note.write_text(pins)
        discard_caches(folder)
        return executable
