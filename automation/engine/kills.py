"""Which process of a run was killed, or which disk was full, by what the engine said, and the commands that go on from there.

The engine never says so itself: it tells of broken connections. Leaves out who killed it; mostly the system, for want of memory.
"""

import re
from collections.abc import Sequence

from automation.engine.advice import Commands, recovery

_PROGRAM = re.compile(r"program exited with non-zero exit code: -\d+")
_PLUGIN = re.compile(r"Detected that \S*/pulumi-resource-(\w+) exited prematurely")
_BROKEN = re.compile(r"error reading from server: |connection error: desc = |rpc error: code = Unavailable")
_FULL = re.compile(r"(/\S+): no space left on device")
_DONE = "the steps at work were finished, no other was begun, the state is whole"
_BY_WHOM = "by hand, or by the system for want of memory"


def after_a_kill(commands: Commands, operation: str, engines_text: str, errors: Sequence[str]) -> list[str] | None:
    """What is said after a run in which a process was killed that the engine had started, or its disk was full; else None.

    `engines_text` is all that the engine printed, `errors` what its events told, with the name of the resource before each.
    """
    if found := _FULL.search(engines_text):
        others = [text for text in errors if not _FULL.search(text)]
        what = f"the disk of {found[1]} is full: the state could not be written, and may be cut off"
        return [
            *others,
            f"{what}\nAWS may have made what it does not know. Make room there, then:\n{recovery(commands, operation)}",
        ]
    told = [text for text in errors if not _BROKEN.search(text) and not _PLUGIN.search(text) and not _PROGRAM.search(text)]
    if found := _PLUGIN.search(engines_text):
        cut_off = [text.partition(": ")[0] for text in errors if _BROKEN.search(text) and not _BROKEN.match(text)]
        meant = f" ({', '.join(cut_off)})" if cut_off else ""
        what = f"the plugin `{found[1]}` was killed ({_BY_WHOM}), or broke down: its last words, if any, are in the log"
        return [*told, f"{what}\nAWS may have made what it was at work on{meant}\n{recovery(commands, operation)}"]
    if _PROGRAM.search(engines_text):
        return [*told, f"the program was killed ({_BY_WHOM}): {_DONE}\n  -> {commands.again(operation)}   # goes on from here"]
    if any(_BROKEN.match(text) for text in errors):
        what = "the language host, the part of Pulumi that runs the program, was killed"
        return [*told, f"{what} ({_BY_WHOM}): {_DONE}\n  -> {commands.again(operation)}   # goes on from here"]
    return None


def after_the_engines_kill(commands: Commands, operation: str) -> str:
    """What is said after a run whose engine was killed."""
    what = "the engine was killed, and what it had started was ended with it"
    return f"{what}\nAWS may have made what the state does not know\n{recovery(commands, operation)}"
