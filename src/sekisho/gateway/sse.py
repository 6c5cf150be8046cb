"""Server-sent events, split into whole events without changing a byte (WHATWG HTML, section 9.2.6)."""

import re
from typing import Final

from sekisho.gateway.errors import UpstreamFailed

EVENT_BYTES_MAX: Final = 16 * 1024 * 1024  # an image in one event fits; an endless event must not fill the memory

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_LF: Final = 0x0A
_CR: Final = 0x0D


class EventSplitter:
    """Cuts a byte stream after each event. An event ends at an empty line; line ends are LF, CRLF or CR.

    Linear in the bytes fed, however they are split: each byte is copied once and looked at once.
    """

    def __init__(self, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._event_bytes_max = event_bytes_max
        self._pending = bytearray()  # what follows the last whole event
        self._line_start = 0  # in `_pending`: the line whose end has not been seen
        self._scanned = 0  # in `_pending`: no line end between `_line_start` and here

    def feed(self, chunk: bytes) -> list[bytes]:
        """Whole events, each with its terminator. Raises UpstreamFailed beyond EVENT_BYTES_MAX."""
        if not self._pending and b"\r" not in chunk and chunk.endswith(b"\n\n"):
            # What engines send: whole events, LF. An empty line on its own stays an event, so it takes the long way.
            if chunk.find(b"\n\n") == len(chunk) - 2 and chunk[0] != _LF:
                return [chunk]
            pieces = chunk[:-2].split(b"\n\n")
            if all(piece and piece[0] != _LF != piece[-1] for piece in pieces):
                return [piece + b"\n\n" for piece in pieces]
        self._pending += chunk
        return self._cut()

    def end(self) -> list[bytes]:
        """No more bytes will come: a CR that ends the data ends its line. Returns the event that this completes."""
        if self._pending[self._line_start :] != b"\r":
            return []
        event = bytes(self._pending)
        self._pending.clear()
        return [event]

    @property
    def pending(self) -> bytes:
        """Bytes of an event that has not ended."""
        return bytes(self._pending)

    def _cut(self) -> list[bytes]:
        data, events, start = self._pending, [], 0
        while True:
            line_end = _find_line_end(data, self._scanned)
            if line_end is None:
                break
            is_empty = line_end[0] == self._line_start
            self._line_start = self._scanned = line_end[1]
            if is_empty:
                events.append(bytes(data[start : self._line_start]))
                start = self._line_start
        del data[:start]
        self._line_start -= start
        # The last byte may be the CR of a CRLF that is still on its way: look at it again.
        self._scanned = max(self._line_start, len(data) - 1)
        if len(data) > self._event_bytes_max:
            raise UpstreamFailed(
                f"an event of the answer is larger than {self._event_bytes_max} bytes", code="upstream_too_large"
            )
        return events


def _find_line_end(data: bytearray, start: int) -> tuple[int, int] | None:
    """(end of the line, start of the next), or None while the line has not surely ended."""
    match = _LINE_END.search(data, start)
    if match is None or (match.end() == len(data) and data[match.start()] == _CR and match.end() - match.start() == 1):
        return None
    return match.span()


def event_data(event: bytes) -> bytes | None:
    """The event's data (its `data:` lines joined by LF), or None if it has none: a comment, a ping, an empty one.

    An event with empty data is not dispatched (WHATWG HTML, section 9.2.6).
    """
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2:
        return event[6:-2] or None  # what engines send: one line, LF
    lines = event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    values = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return b"\n".join(values) or None
