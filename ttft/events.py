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
        has_carriage_return = self._after_carriage_return or b"\r" in received
        is_fresh = not (has_carriage_return or self._rest or self._data)
        if is_fresh and received[:5] == b"data:" and received.find(b"\n") == len(received) - 2 and received[-1:] == b"\n":
            return [received[6:-2] if received[5:6] == b" " else received[5:-2]]  # one event and no more: nearly always
        if has_carriage_return:
            received = self._in_newlines(received)
        *lines, self._rest = (self._rest + received).split(b"\n")
        events: list[bytes] = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data))
                    self._data = []
            elif line[:5] == b"data:":
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line == b"data":
                self._data.append(b"")
        return events

    def _in_newlines(self, received: bytes) -> bytes:
        if self._after_carriage_return and received.startswith(b"\n"):
            received, self._after_carriage_return = received[1:], False
        if received:
            self._after_carriage_return = received.endswith(b"\r")
        return received.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
