"""Heads as bytes on the wire."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from sekisho.gateway.http1.interfaces import Header

# One write never takes more than this at once, so that a high-water mark is overshot by little.
PIECE_BYTES_MAX: Final = 64 * 1024

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
_STATUS_LINES: Final = {s.value: b"HTTP/1.1 %d %b\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}
# What frames a message is written here and nowhere else: a second one would let two readers disagree.
_OURS_IN_ANSWERS: Final = frozenset({b"connection", b"content-length", b"date", b"transfer-encoding"})
_OURS_IN_REQUESTS: Final = frozenset(
    {
        b"accept-encoding", b"connection", b"content-encoding", b"content-length", b"expect", b"host", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip


def status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def answer_headers(headers: Sequence[Header]) -> bytes:
    """Header lines of an answer; raises ValueError for a header that is the server's to write, or a line break."""
    return _header_lines(headers, _OURS_IN_ANSWERS)


def request_headers(headers: Sequence[Header]) -> bytes:
    """Header lines of a request; raises ValueError for a header that is the client's to write, or a line break."""
    return _header_lines(headers, _OURS_IN_REQUESTS)


def _header_lines(headers: Sequence[Header], ours: frozenset[bytes]) -> bytes:
    if not headers:
        return b""
    for name, _ in headers:
        if name in ours:
            raise ValueError(f"the header {name!r} is written by the HTTP core itself")
    lines = b"\r\n".join(map(b": ".join, headers)) + b"\r\n"
    # A CR or LF inside a name or value, wherever it stands, makes one line more than there are headers.
    if len(lines.splitlines()) != len(headers) or b"\0" in lines:
        raise ValueError("a header holds a line break or NUL")
    return lines
