"""Events of a run as an iterator, for who prefers a loop to a callback."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, cast

from automation.engine.events import Event, OnEvent

Result = TypeVar("Result")


class Run(Generic[Result]):
    """Runs an operation in a thread of its own: `Run(environment.up)`. Iterating gives its events, `result` what it returns.

    Leaving the loop early does not stop the run: `environment.interrupt()` does. The interpreter does not end before the run.
    """

    def __init__(self, operation: Callable[[OnEvent], Result]) -> None:
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, args=[operation])
        self._thread.start()

    def __iter__(self) -> Iterator[Event]:
        """Events as they come, until the run has ended, well or badly; `result` tells which."""
        while (event := self._events.get()) is not None:
            yield event
        # For whoever iterates again.
        self._events.put(None)

    def result(self) -> Result:
        """What the operation returned, once it has ended; what it raised is raised here."""
        self._thread.join()
        if self._error:
            raise self._error
        return cast("Result", self._result)

    def _work(self, operation: Callable[[OnEvent], Result]) -> None:
        try:
            self._result = operation(self._events.put)
        except BaseException as error:  # raised again by `result`
            self._error = error
        finally:
            self._events.put(None)
