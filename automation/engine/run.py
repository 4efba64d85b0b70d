"""Run: a run of the engine that has begun, as those who take part in it share it."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from automation.engine.command import Stack
from automation.engine.deployed import config_of
from automation.engine.run_log import RunLog
from automation.engine.watching import RunWatch

if TYPE_CHECKING:
    from components.settings import StackConfig


@dataclass(frozen=True)
class Run:
    """A run of the engine that has begun."""

    stack: Stack
    watch: RunWatch
    log: RunLog
    is_restored: bool
    """Whether the state had been cut off, and an older one was put in its place."""

    @cached_property
    def config(self) -> "StackConfig":
        """The stack's config as the run finds it, with secrets in clear; the engine is asked once."""
        return config_of(self.stack)

    @property
    def listening(self) -> dict[str, Any]:
        """How the engine's operations tell it what happens."""
        return {"on_event": self.watch.on_engine_event, "on_output": self.log.write, "on_error": self.log.write, "color": "never"}
