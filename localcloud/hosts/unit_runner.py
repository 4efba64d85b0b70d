"""unit_runner.py DESCRIPTOR PROGRAM ARGUMENT...: becomes a unit's process, with its socket as descriptor 3 as systemd hands it.

Dies with the local cloud. Run with `python -S -E`, by itself.
"""

import ctypes
import os
import signal
import sys

_SET_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG
_FIRST_SOCKET = 3

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    descriptor, *program = sys.argv[1:]
    if int(descriptor) >= 0:
        os.dup2(int(descriptor), _FIRST_SOCKET, inheritable=True)
        os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    os.execvp(program[0], program)  # noqa: S606
