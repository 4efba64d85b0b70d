"""Writes down what a host serves, tells it in a line, frees the disk of what served before."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from common import HOME, docker, say, try_docker
from containers import RECORD, SERVER, Spec, record

WANTED, IMAGE_WANTED = HOME / "models.wanted", HOME / "image.wanted"
"""The folder of weights and the image that were fetched last: perhaps for a change that waits for its turn."""
_OF_RELEASES_BEFORE = ("remote", "server-arguments")


def described(spec: Spec, first_token_ms: dict[str, float | None]) -> dict[str, Any]:
    """What the server's container serves: by its own description, its image's, the weights' folder, its last start's log."""
    container: dict[str, Any] = json.loads(docker("inspect", "--type", "container", SERVER))[0]
    image: dict[str, Any] = json.loads(docker("image", "inspect", container["Image"]))[0]
    log = try_docker("logs", "--since", container["State"]["StartedAt"], SERVER)
    found = {fact: re.search(pattern, log, re.IGNORECASE) for fact, pattern in spec["facts"].items()}
    model, _, revision = spec["weights"].partition("@")
    commit = HOME / "models" / spec["weights"] / ".commit"
    return {
        "engine": container["Config"]["Labels"]["edge-inference.engine"],
        "model": model.replace("--", "/", 1),
        "revision": commit.read_text(encoding="utf-8") if commit.exists() else revision,
        **{fact: match[1].lower() if match else None for fact, match in found.items()},
        "fallback": "edge-inference.fallback" in container["Config"]["Labels"],
        "image": container["Config"]["Image"],
        "image_digest": (image.get("RepoDigests") or [None])[0],
        "image_id": container["Image"],
        "flags": spec["arguments"],
        "options": spec["options"],
        "container": container["Id"],
        "since": container["State"]["StartedAt"],
        "first_token_ms": first_token_ms,
    }


def write(spec: Spec, first_token_ms: dict[str, float | None]) -> None:
    """Record and tell what serves now; then remove the weights and the image of what served before."""
    before, now = record(), described(spec, first_token_ms)
    draft = Path(f"{RECORD}.new")
    draft.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
    draft.replace(RECORD)
    told = [f"{fact.replace('_', ' ')} {now[fact] or 'not stated'}" for fact in spec["facts"]]
    fallback = ["started with the fallback"] if now["fallback"] else []
    say(", ".join([f"{now['engine']} serves {now['model']} at {now['revision'][:12]}", *told, *fallback]))
    _free_disk(spec, before, now)


def _free_disk(spec: Spec, before: dict[str, Any], now: dict[str, Any]) -> None:
    """The disk has no room for many models."""
    kept = {spec["weights"], _read(WANTED)}
    for other in (HOME / "models").glob("*"):
        if other.name not in kept:
            shutil.rmtree(other)
    if before.get("image_id") not in {None, now["image_id"]} and before["image"] != _read(IMAGE_WANTED):
        try_docker("image", "rm", before["image"])


def _read(mark: Path) -> str:
    return mark.read_text(encoding="utf-8").strip() if mark.exists() else ""


def forget_releases(current: Path) -> None:
    """Remove the scripts that were brought here before; nothing runs from them any more."""
    brought = current.stat().st_mtime
    for other in current.parent.glob("*"):
        if other.name != current.name and other.stat().st_mtime < brought:
            shutil.rmtree(other, ignore_errors=True)
    for name in _OF_RELEASES_BEFORE:
        left = HOME / name
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        elif left.exists():
            left.unlink()
