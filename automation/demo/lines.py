"""How a run is told where no live table can be: a line when a site serves."""

from collections.abc import Callable, Mapping
from typing import Self

from automation.engine.events import Diagnostic, Event, SiteProgress


class SiteLines:
    """Takes the events of a run; use it as a context manager, as the live table is one."""

    def __init__(self, say: Callable[[str], None], places: Mapping[str, str]) -> None:
        """`places`: what each zone's place is called."""
        self._say, self._places = say, places

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def on_event(self, event: Event) -> None:
        """Takes one event."""
        if isinstance(event, SiteProgress) and (event.stage, event.state) == ("healthy", "done"):
            self._say(f"   {event.seconds:3.0f} s  {self._places.get(event.zone, event.zone)} serves ({event.zone})")
        elif isinstance(event, Diagnostic) and event.severity == "warning":
            self._say(f"   warning: {event.text.strip()}")
