import importlib.metadata
import subprocess
import sys
from pathlib import Path

from localcloud.plugins.install import install


def test_launchers_are_where_the_engine_looks_and_start_from_anywhere(tmp_path: Path) -> None:
    home = tmp_path / "a home"
    install(home, Path(sys.executable))
    launchers = sorted(home.rglob("pulumi-resource-*"))
    assert [launcher.relative_to(home).as_posix() for launcher in launchers] == [
        f"plugins/resource-aws-v{importlib.metadata.version('pulumi_aws')}/pulumi-resource-aws",
        f"plugins/resource-command-v{importlib.metadata.version('pulumi_command')}/pulumi-resource-command",
    ]
    for launcher in launchers:
        ran = subprocess.run([launcher], cwd="/", env={}, capture_output=True, text=True, check=False)
        assert ran.stderr.startswith("This is a Pulumi provider plugin"), ran.stderr


def test_installing_again_changes_nothing_and_mends_what_was_changed(tmp_path: Path) -> None:
    install(tmp_path, Path(sys.executable))
    first, second = sorted(tmp_path.rglob("pulumi-resource-*"))
    before = first.stat()
    second.write_bytes(b"\x7fELF\xff")  # the official one
    install(tmp_path, Path(sys.executable))
    assert first.stat().st_ino == before.st_ino
    assert "localcloud.plugins.command" in second.read_text()
    assert len(list(tmp_path.rglob("*"))) == 5, "nothing half-written is left"
