"""Which wave of a rollout is at work, in one line, from a run's events.

Pure. Knows of a replica that nothing changes there only when its turn comes.
"""

from automation.commands.terminal import counted
from automation.engine.events import Event, ResourceDone, ResourceFailed, ResourceStarted, RolloutOrder

_LAST_STEP, _COMMAND = "-ready", "Command"
_MOST_NAMES = 2


class Waves:
    """The waves of a run; none until it has told their order."""

    def __init__(self) -> None:
        self._waves: list[list[str]] = []
        self._replicas = self._done = 0
        self._at_work: list[str] = []

    def take(self, event: Event) -> str | None:
        """Takes one event; a line where it changes what is the case."""
        if isinstance(event, RolloutOrder):
            self._waves, self._replicas = [list(wave) for wave in event.waves], event.replicas
        if not isinstance(event, ResourceStarted) or event.resource.kind != _COMMAND:
            return None
        key = event.resource.name.removesuffix(_LAST_STEP)
        if key == event.resource.name or not any(key in wave for wave in self._waves):
            return None
        if isinstance(event, ResourceDone):
            return self._end(key, is_change=event.operation == "update")
        if isinstance(event, ResourceFailed):
            return self._fail(key)
        if event.operation == "update" and event.is_real:
            self._at_work.append(key)
            return self._line()
        return None

    def _end(self, key: str, *, is_change: bool) -> str | None:
        if not is_change:
            self._waves = [rest for wave in self._waves if (rest := [each for each in wave if each != key])]
            return None
        self._at_work.remove(key)
        self._done += 1
        if self._at_work:
            return self._line()
        return (
            f"all waves are over: {counted(self._done, 'replica')} changed" if self._done == sum(map(len, self._waves)) else None
        )

    def _fail(self, key: str) -> str:
        number, later = self._number(key), sum(map(len, self._waves[self._number(key) :]))
        self._at_work = [each for each in self._at_work if each != key]
        untouched = f"; the {counted(later, 'replica')} of the waves after it stay as they are" if later else ""
        return f"wave {number} of {len(self._waves)}: {key} failed{untouched}"

    def _line(self) -> str:
        names, more = ", ".join(self._at_work[:_MOST_NAMES]), len(self._at_work) - _MOST_NAMES
        are = "is" if len(self._at_work) == 1 else "are"
        who = f"{names}{f' and {more} more' if more > 0 else ''} {are} being changed"
        share = f"{len(self._at_work)} of {counted(self._replicas, 'replica')}"
        return f"wave {self._number(self._at_work[0])} of {len(self._waves)}: {who} ({share}), {self._done} done"

    def _number(self, key: str) -> int:
        return next(number for number, wave in enumerate(self._waves, 1) if key in wave)
