"""Puts the door on the host, opens and closes it, and says whether anyone asks it."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

from common import HOME, ROOT, StepError, route53_seconds, run
from door import ASKED, CLOSED, CONFIG, PROVEN, touch
from listener import Config

_NAME = "edge-inference-door"
_UNITS = Path(f"{ROOT}/etc/systemd/system")
_ASKED_SECONDS = 300.0
"""A door that nobody has asked for so long is nobody's: checkers ask every 30 s, each of them."""
_SOCKET = """[Unit]
Description=Where Route 53's health checkers ask for this host

[Socket]
ListenStream=0.0.0.0:{port}

[Install]
WantedBy=sockets.target
"""
_SERVICE = """[Unit]
Description=Answers Route 53's health checkers for this host
StartLimitIntervalSec=0

[Service]
ExecStart={python} -B {program}
Restart=always
RestartSec=1
"""


def installed() -> Config | None:
    """What the door was last told; None where there is none."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(CONFIG.read_text(encoding="utf-8"))
    return None


def install(config: Config) -> None:
    """Have the door of this release answer; nobody's question is refused meanwhile, unless its port changes."""
    program = Path(__file__).with_name("door.py")
    wanted = {
        CONFIG: json.dumps(config),
        _UNITS / f"{_NAME}.service": _SERVICE.format(python=sys.executable, program=program),
        _UNITS / f"{_NAME}.socket": _SOCKET.format(port=config["port"]),
    }
    *_, socket_unit = wanted
    changed = {path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text}
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    if changed:
        _systemctl("daemon-reload")
    if socket_unit in changed:
        with contextlib.suppress(StepError):
            _systemctl("stop", f"{_NAME}.service", f"{_NAME}.socket")
    _systemctl("enable", "--now", f"{_NAME}.socket")
    # It begins with its first question; so it is begun anew only where it runs.
    if changed:
        _systemctl("try-restart", f"{_NAME}.service")


def close() -> None:
    """The host is unhealthy from now on, until `reopen` or a boot."""
    touch(CLOSED)


def reopen() -> None:
    """The host is as healthy as what listens."""
    with contextlib.suppress(FileNotFoundError):
        CLOSED.unlink()


def proven(*, yes: bool) -> None:
    """Note whether the server that runs has generated a token."""
    if yes:
        touch(PROVEN)
        return
    with contextlib.suppress(FileNotFoundError):
        PROVEN.unlink()


def is_asked() -> bool:
    """Whether a health checker has asked in the last minutes: only then does closing the door lead users elsewhere."""
    try:
        age = time.time() - ASKED.stat().st_mtime
    except FileNotFoundError:
        return False
    return age < route53_seconds(_ASKED_SECONDS)


def _systemctl(*arguments: str) -> None:
    status, said = run("systemctl", *arguments)
    if status != 0:
        told = f"systemctl {' '.join(arguments)}: {said[-500:]}"
        raise StepError(told, f"sudo systemctl status {_NAME}.socket {_NAME}.service; ls -l {HOME}")
