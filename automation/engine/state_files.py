"""A state that lies in a file (`pulumi login file://...`): room for it, a synced copy, the way back from one that was cut off.

The engine writes the whole state after every step, and a full disk cuts off both it and its .bak. Leaves out states in buckets
and at Pulumi's service, which are written whole or not at all.
"""

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from automation.engine.plugins import official_home
from automation.errors import EdgeError

_ROOM_BYTES = 32 * 2**20
"""For logs, locks and what the engine writes beside the state."""
_ROOM_IN_STATES = 8
"""The state, its .bak, its draft, two copies in the engine's history, ours and its draft, and one to grow."""
_COPY_SECONDS = 2.0
_WRITE_SECONDS, _LOOK_SECONDS = 3.0, 0.02
"""How long an engine may take to write what it writes in place, and how often that is looked at."""


@dataclass(frozen=True)
class StateFile:
    """A stack's state and our copy of it."""

    path: Path
    copy: Path
    locks: Path
    """The folder of its locks."""

    @property
    def is_cut_off(self) -> bool:
        """Whether it, or what the engine reads with it, is there and is no whole JSON."""
        return (self.path.exists() and not _is_whole(self.path)) or bool(self._cut_off_beside())

    def stays_cut_off(self) -> bool:
        """Whether it is cut off and remains so: an engine at work writes locks and `.attrs` in place, and ends that at once."""
        deadline = time.monotonic() + _WRITE_SECONDS
        while self.is_cut_off:
            if time.monotonic() >= deadline:
                return True
            time.sleep(_LOOK_SECONDS)
        return False

    def keep(self) -> None:
        """Copies the state, onto the disk itself. OSError where there is no room; the copy before stays then."""
        with suppress(FileNotFoundError):
            content = self.path.read_bytes()
            if _parsed(content) is not None and content != _read(self.copy):
                _write_synced(self.copy, content)

    def forget(self) -> None:
        """Removes the copy: the stack is no more."""
        self.copy.unlink(missing_ok=True)

    def restore(self) -> str | None:
        """Puts the newest whole one of the engine's .bak and our copy in the place of one that was cut off; what to say of it.

        None where the state is whole. EdgeError where there is no whole one.
        """
        if not self.stays_cut_off():
            return None
        beside = self._cut_off_beside()
        for each in beside:
            each.unlink()
        if not self.path.exists() or _is_whole(self.path):
            return f"An engine that was killed had cut off {', '.join(map(str, beside))}: removed." if beside else None
        candidates = [self.path.with_name(f"{self.path.name}.bak"), self.copy]
        whole = [each for each in candidates if _is_whole(each)]
        if not whole:
            raise EdgeError(
                f"{self.path} was cut off (a killed engine, a full disk), and so were its .bak and the copy {self.copy}\n"
                f"  -> put a whole one there if you have it; an older one is better than none"
            )
        newest = max(whole, key=lambda each: each.stat().st_mtime)
        made = datetime.fromtimestamp(newest.stat().st_mtime).astimezone()
        shutil.copy2(self.path, self.path.with_name(f"{self.path.name}.cut-off"))
        _write_synced(self.path, newest.read_bytes())
        # Its checksum is of what was cut off.
        self.path.with_name(f"{self.path.name}.attrs").unlink(missing_ok=True)
        return (
            f"The state was cut off (a killed engine, a full disk). Restored, as it was at {made:%H:%M:%S}: {self.path}\n"
            "What was made after that, AWS may have and the state has not."
        )

    def _cut_off_beside(self) -> list[Path]:
        """Locks that were cut off, and the `.attrs` of any file: not written whole, and needed by nobody."""
        locks = [each for each in self.locks.rglob("*") if each.is_file()]
        notes = [self.path.with_name(f"{self.path.name}{end}") for end in (".attrs", ".bak.attrs")]
        return [each for each in {*locks, *notes} if each.exists() and not _is_whole(each)]

    @contextmanager
    def kept(self) -> Generator[None]:
        """Keeps the copy at most some seconds behind the state."""
        over = threading.Event()

        def keep_until_over() -> None:
            while not over.wait(_COPY_SECONDS):
                # A disk that has filled up: the copy that is there is what all this is for.
                with suppress(OSError):
                    self.keep()

        keeper = threading.Thread(target=keep_until_over, daemon=True)
        self.keep()
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()


def state_file(backend: str, project: str, stack: str, copies: Path) -> StateFile | None:
    """Where a backend (`file:///state`, `file://~`) has a stack's state; None where it is no folder of this machine."""
    if not backend.startswith("file://"):
        return None
    root = Path(unquote(backend.removeprefix("file://").partition("?")[0])).expanduser().resolve()
    # Without a project by engines before 3.61.
    known = [root / ".pulumi" / "stacks" / name for name in (f"{project}/{stack}.json", f"{stack}.json")]
    locks = root / ".pulumi" / "locks" / "organization" / project / stack
    # By the folder too: another one may have a stack of the same name.
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
    return StateFile(next((path for path in known if path.exists()), known[0]), copies / f"{stack}-{digest}.json", locks)


def chosen_backend() -> str:
    """The backend that the engine takes where the project names none: the environment's, else that of the last `pulumi login`."""
    if backend := os.environ.get("PULUMI_BACKEND_URL"):
        return backend
    with suppress(OSError, ValueError, AttributeError):
        credentials: Any = json.loads((official_home() / "credentials.json").read_bytes())
        return str(credentials.get("current") or "")
    return ""


def require_room(state: StateFile | None, *folders: Path) -> None:
    """EdgeError where a run would fill the disk that holds its state or its log, before it has changed anything."""
    size = state.path.stat().st_size if state and state.path.exists() else 0
    needed = _ROOM_BYTES + _ROOM_IN_STATES * size
    for folder in (*([state.path.parent, state.copy.parent] if state else []), *folders):
        there = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(there).free
        if free < needed:
            raise EdgeError(
                f"the disk of {there} is full: {free / 2**20:.0f} MiB are free, and a run needs {needed / 2**20:.0f} MiB, "
                f"or its state would be cut off; nothing was changed\n  -> make room there: df -h {there}"
            )


def full_disks(*folders: Path) -> list[Path]:
    """Which of these folders are on a disk without room."""
    known = [folder for folder in folders if folder.exists()]
    return [folder for folder in known if shutil.disk_usage(folder).free < 2**20]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _parsed(content: bytes) -> object | None:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _is_whole(path: Path) -> bool:
    return _parsed(_read(path)) is not None


def _write_synced(path: Path, content: bytes) -> None:
    """Writes a file so that after a power cut it is either the old one or the new one, whole."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.draft")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
