"""Leaves out the tracebacks of KeyboardInterrupt among a program's words.

The official language host ends a program by SIGINT where the run has failed or was stopped, and Python says so at length. Other
tracebacks pass: they are bugs, and their owner needs them.
"""

_BEGIN, _END = "Traceback (most recent call last):", "KeyboardInterrupt"
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")


class InterruptTracebacks:
    """Takes a program's lines one after another; holds a traceback back until it is known of what."""

    def __init__(self) -> None:
        self._held: list[str] = []
        self._left_out = False

    def passed(self, line: str) -> list[str]:
        """The lines that may be shown now."""
        if self._held or line.startswith(_BEGIN):
            self._held.append(line)
            is_over = len(self._held) > 1 and not line.startswith((" ", "\t"))
            if not is_over:
                return []
            self._left_out, held = line.startswith(_END), self.rest()
            return [] if self._left_out else held
        chained = self._left_out and line.startswith(_CHAINED)
        self._left_out = False
        return [] if chained else [line]

    def rest(self) -> list[str]:
        """What is held back still: nothing comes that would end it."""
        held, self._held = self._held, []
        return held
