"""Run: a run of the engine that has begun, as those who take part in it share it."""

from dataclasses import dataclass
from typing import Any

from automation.engine.command import Stack
from automation.engine.run_log import RunLog
from automation.engine.watching import RunWatch


@dataclass(frozen=True)
class Run:
    """A run of the engine that has begun."""

    stack: Stack
    watch: RunWatch
    log: RunLog
    is_restored: bool
    """Whether the state had been cut off, and an older one was put in its place."""

    @property
    def listening(self) -> dict[str, Any]:
        """How the engine's operations tell it what happens."""
        return {"on_event": self.watch.on_engine_event, "on_output": self.log.write, "on_error": self.log.write, "color": "never"}
