"""A terminal of 80 columns with somebody at its keyboard: what a program shows there, and what it exits with.

Standard library only: a forked child on a pseudo-terminal, so that a test's own patches hold in it.
"""

import os
import pty
import re
import select
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CTRL_C = "\x03"


def in_a_terminal(run: Callable[[], None], *, answers: Sequence[tuple[str, str]] = (), seconds: float = 60.0) -> tuple[int, str]:
    """Runs something in a child on a terminal; its exit code, and all that was shown, colours included.

    Each of the answers is a pattern to wait for, colours left out, and the keys to press then, in order. The child is killed
    after `seconds`.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        _child(run)
    shown, waiting, from_here, end = "", list(answers), 0, time.monotonic() + seconds
    while True:
        if not select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]:
            os.kill(pid, 9)
        try:
            shown += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # its end
            break
        plain = COLOURS.sub("", shown)
        if waiting and (found := re.compile(waiting[0][0]).search(plain, from_here)):
            from_here = found.end()
            os.write(terminal, waiting.pop(0)[1].encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def _child(run: Callable[[], None]) -> NoReturn:
    """Runs on the terminal, as a program of its own would, and never comes back to pytest."""
    os.environ |= {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    os.environ.pop("NO_COLOR", None)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate(("r", "w", "w")))
    code: object = 0
    try:
        run()
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)
