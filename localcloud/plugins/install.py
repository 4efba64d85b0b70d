"""Installs the plugins into a PULUMI_HOME: a launcher and a version directory for each, as the engine looks for them.

The launchers name the interpreter and this checkout, so they work from wherever the engine starts them.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
from pathlib import Path

PLUGINS = {"aws": "pulumi_aws", "command": "pulumi_command"}
_CHECKOUT = Path(__file__).resolve().parents[2]


def install(pulumi_home: Path, interpreter: Path) -> None:
    """Write the launchers under `pulumi_home`, at the versions of the installed SDKs; repeating it is harmless."""
    for name, package in PLUGINS.items():
        version = importlib.metadata.version(package)
        directory = pulumi_home / "plugins" / f"resource-{name}-v{version}"
        directory.mkdir(parents=True, exist_ok=True)
        launcher = directory / f"pulumi-resource-{name}"
        text = (
            "#!/bin/sh\n"
            f"PYTHONPATH={shlex.quote(str(_CHECKOUT))} "
            f'exec {shlex.quote(str(interpreter))} -m localcloud.plugins.{name} "$@"\n'
        )
        # In bytes: an official plugin, a binary, may stand in its place.
        if launcher.exists() and launcher.read_bytes() == text.encode() and os.access(launcher, os.X_OK):
            continue
        # Renamed into place: an engine that is running must never find half a launcher.
        fresh = launcher.with_suffix(f".{os.getpid()}")
        fresh.write_text(text)
        fresh.chmod(0o755)
        fresh.replace(launcher)
