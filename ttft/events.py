"""Server-sent events out of the bytes of a stream, however the network cut them.

Leaves out what no model server uses: event names, ids, retry times, the byte order mark.
"""

from __future__ import annotations


class EventParser:
    """Gives the data of each event as soon as the blank line behind it has come. Comments are skipped."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._after_carriage_return = False

    def feed(self, received: bytes) -> list[bytes]:
        """Data of the events that these bytes complete; lines of one event are joined by a newline.

        Lines end in LF, CR or CRLF, also when a CRLF arrives in two parts; `data:` stands with or without a space.
        """
        if self._after_carriage_return and received.startswith(b"\n"):
            received, self._after_carriage_return = received[1:], False
        if received:
            self._after_carriage_return = received.endswith(b"\r")
        if b"\r" in received:
            received = received.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._rest = (self._rest + received).split(b"\n")
        events: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b" ", 5) else line[5:])
            elif line == b"data":
                self._data.append(b"")
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        return events
