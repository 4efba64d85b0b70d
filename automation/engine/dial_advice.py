"""What to do where the command plugin did not get into a host, by the cause that it gives.

The causes are in the words of Go that pulumi-command 1.2.1 passes on. Leaves out everything that fails once it is in.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Protocol


class Commands(Protocol):
    """The commands for one environment, as a person would type them; advice.py has them."""

    @property
    def environment(self) -> str:
        """Its name."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether it is deployed on the local cloud."""
        ...

    def edge(self, verb: str) -> str:
        """`edge VERB ENV`."""
        ...


def after_dials(commands: Commands, texts: Sequence[str]) -> Iterator[str]:
    """One text for each cause that stands in the errors of a run."""
    told = "\n".join(text for text in texts if "failed attempts: " in text or "dial unix " in text)
    known = [text for cause, text in _advice(commands).items() if re.search(cause, told)]
    yield from known
    if told and not known:
        yield f"A host was not reached, for the reason above\n  -> {commands.edge('doctor')}"


def _advice(commands: Commands) -> dict[str, str]:
    anew = (
        f"{commands.edge('destroy')}, then {commands.edge('up')}"
        if commands.is_local
        else f"{commands.edge('up')} --replace-host ZONE"
    )
    gone = f"  -> it is gone, or was stopped: {commands.edge('refresh')}   # reads it back; the next run makes what is missing"
    return {
        "dial unix ": (
            "SSH_AUTH_SOCK names an SSH agent that does not answer; the command plugin needs none, but calls it\n"
            "  -> unset SSH_AUTH_SOCK   # then run this again"
        ),
        "host key mismatch": (
            "A host shows another SSH key than the one that it was made with; nothing was sent to it\n"
            f"  -> somebody changed it on the host: replace the host: {anew}\n"
            "  -> nobody did: something else answers at this address, and sshPrivateKey opens nothing there"
        ),
        "unable to authenticate": (
            "A host does not let host.loginUser in with edge-inference:sshPrivateKey\n"
            "  -> host.loginUser must be the login user of the AMI (Amazon Linux: ec2-user, Ubuntu: ubuntu)\n"
            f"  -> it is, and somebody changed the keys on the host: replace the hosts: {anew}"
        ),
        "i/o timeout|no route to host|network is unreachable": (
            "Nothing answers at a host's address\n"
            "  -> access.sshCidrs must hold this machine's address, which may have changed: curl https://checkip.amazonaws.com\n"
            f"{gone}"
        ),
        "connection refused": (
            "A machine answers at a host's address, but no SSH server does\n"
            "  -> it still boots: run this again, or raise host.connectBudgetSeconds\n"
            f"{gone}"
        ),
        "EOF|connection reset": (
            "A host, or a firewall on the way, takes connections and closes them: sshd still starts, or has its fill\n"
            f"  -> {commands.edge('up')}   # once more"
        ),
    }
