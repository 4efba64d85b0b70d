"""How much whoever connects may cost: places for connections, which are never all taken by people who say nothing.

Left out on purpose: bandwidth, and a fair share of time between those who are let in.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

_MOST_DESCRIPTORS = 65536
_MOST_CONNECTIONS = 8192
_RESERVED = 512
"""File descriptors for all but connections to hosts: files, commands on hosts, health checks, the API."""
_DESCRIPTORS_OF_A_CONNECTION = 3
"""At the doorway, from there to the service, and at the service."""


def raise_descriptor_limit() -> None:
    """Take as many file descriptors as this process may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@dataclass(frozen=True)
class Room:
    """How many connections there is room for at once: in all, to one port of a site, and there from one source."""

    in_all: int
    of_port: int
    of_source: int


def room_with(descriptors: int) -> Room:
    """The room that a number of file descriptors makes."""
    in_all = (descriptors - min(_RESERVED, descriptors // 4)) // _DESCRIPTORS_OF_A_CONNECTION
    in_all = min(in_all, _MOST_CONNECTIONS)
    return Room(in_all, in_all // 4, in_all // 16)


@cache
def room() -> Room:
    """The room in this process."""
    return room_with(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


class Places:
    """Places for connections. One is silent until it has said something that counts.

    Where all are taken, in all or for one source, the silent connection that came first gives way; where none is silent, the
    new one is refused. So those who only connect keep nobody out. Not for several threads.
    """

    def __init__(self, in_all: int, of_source: int | None = None, within: Places | None = None) -> None:
        """`within`: larger places, of which each connection takes one too."""
        self.in_all, self.of_source = in_all, of_source or in_all
        self._within = within
        self._sources: dict[Hashable, str] = {}
        self._counts: dict[str, int] = {}
        self._silent: dict[Hashable, Callable[[], object]] = {}

    @property
    def taken(self) -> int:
        """How many are taken."""
        return len(self._sources)

    def enter(self, connection: Hashable, source: str, drop: Callable[[], object]) -> bool:
        """Take a place, unless it is refused. `drop` is called if the connection has to give way: it then leaves, now or soon."""
        if self._counts.get(source, 0) >= self.of_source:
            made = self._make_room(each for each in self._silent if self._sources[each] == source)
        else:
            made = self.taken < self.in_all or self._make_room(iter(self._silent))
        if not made or (self._within and not self._within.enter(connection, source, drop)):
            return False
        self._sources[connection] = source
        self._counts[source] = self._counts.get(source, 0) + 1
        self._silent[connection] = drop
        return True

    def spoke(self, connection: Hashable) -> None:
        """The connection keeps its place from now on."""
        self._silent.pop(connection, None)
        if self._within:
            self._within.spoke(connection)

    def leave(self, connection: Hashable) -> None:
        """Give a place back; harmless where there is none."""
        source = self._sources.pop(connection, None)
        if source is None:
            return
        self._silent.pop(connection, None)
        self._counts[source] -= 1
        if not self._counts[source]:
            del self._counts[source]
        if self._within:
            self._within.leave(connection)

    def _make_room(self, silent: Iterator[Hashable]) -> bool:
        first = next(silent, None)
        if first is None:
            return False
        drop = self._silent[first]
        self.leave(first)
        drop()
        return True
