"""Whether the SSH agent that this machine's environment names answers: the command plugin calls it at every step.

pulumi-command 1.2.1 (connection.go) does so although a private key is given, and fails where nobody answers. `edge` starts the
engine without an agent; plain `pulumi` has the shell's.
"""

import os
import socket

from components.problems import Problem

_VARIABLE = "SSH_AUTH_SOCK"


def agent_problem() -> Problem | None:
    """The problem of an agent that is named and does not answer."""
    path = os.environ.get(_VARIABLE)
    if not path:
        return None
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.connect(path)
    except OSError as error:
        reason = (
            f"{(error.strerror or str(error)).lower()}: this shell's SSH agent is gone, and the command plugin calls it before "
            "each step, so every host would fail after it was paid for"
        )
        return Problem(_VARIABLE, path, reason, f"unset {_VARIABLE}   # then run this again; no agent is needed")
    return None
