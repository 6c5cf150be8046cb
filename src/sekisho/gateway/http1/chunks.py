"""The chunked transfer coding (RFC 9112 section 7.1), taken apart without I/O."""

import re
from typing import Final

from sekisho.gateway.http1.errors import BodyError, BodyTooLarge

# Eight hexadecimal digits hold 4 GiB, more than any body we accept.
_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,8}")
_SIZE_AND_EXTENSION: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*+(?:;[\t -~\x80-\xff]*+)?")
_TRAILER: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+")
STRICT_LINE_BYTES_MAX: Final = 8
LENIENT_LINE_BYTES_MAX: Final = 4096  # an extension or a trailer of an upstream; nobody sends more
TRAILER_BYTES_MAX: Final = 16 * 1024

_IN_SIZE, _IN_DATA, _AFTER_DATA, _IN_TRAILER, _DONE = range(5)


class ChunkDecoder:
    """Decodes one body. `lenient` passes over extensions and trailers (section 7.1.1: unknown ones are ignored).

    From callers both are refused: a trailer could carry a header past the checks, an extension is bytes that nobody
    counts. From upstreams they are bounded and dropped.
    """

    __slots__ = ("_left", "_lenient", "_partial", "_room", "_state", "_trailer_room", "rest")

    def __init__(self, bytes_max: int, *, lenient: bool) -> None:
        self._room = bytes_max
        self._lenient = lenient
        self._state = _IN_SIZE
        self._left = 0
        self._partial = b""
        self._trailer_room = TRAILER_BYTES_MAX
        self.rest = b""  # once done: what follows the body

    @property
    def done(self) -> bool:
        return self._state == _DONE

    def feed(self, data: bytes) -> bytes:
        """The body's bytes in `data`, joined. Raises BodyError, BodyTooLarge."""
        if self._partial:
            data, self._partial = self._partial + data, b""
        pieces: list[bytes] = []
        position = self._take_whole_chunks(data, pieces) if self._state == _IN_SIZE else 0
        if position == len(data):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        while self._state != _DONE:
            if self._state == _IN_DATA:
                piece = data[position : position + self._left]
                if piece:
                    pieces.append(piece)
                    position += len(piece)
                    self._left -= len(piece)
                if self._left:
                    break
                self._state = _AFTER_DATA
            end = self._line_end(data, position)
            if end < 0:
                self._partial = data[position:]
                break
            self._take_line(data[position:end])
            position = end + 2
        else:
            self.rest = data[position:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _take_whole_chunks(self, data: bytes, pieces: list[bytes]) -> int:
        """Pass over the chunks at the beginning of `data` that are whole and plain; the position of what isn't.

        It only ever takes what the states would take in the same way: the rest, refusals included, is theirs.
        """
        position = 0
        while True:
            end = data.find(b"\r\n", position, position + STRICT_LINE_BYTES_MAX + 2)
            if end < 0 or _SIZE.fullmatch(data, position, end) is None:
                return position
            size = int(data[position:end], 16)
            after = end + 2 + size
            if not 0 < size <= self._room or data[after : after + 2] != b"\r\n":
                return position
            self._room -= size
            pieces.append(data[end + 2 : after])
            position = after + 2

    def _line_end(self, data: bytes, position: int) -> int:
        """Where the line at `position` ends (its CR), or -1 for not yet."""
        if self._state == _AFTER_DATA:  # the empty rest of the data's last line, nothing else
            closing = data[position : position + 2]
            if not b"\r\n".startswith(closing):
                raise BodyError("a chunk that is longer than it says")
            return position if len(closing) == 2 else -1
        bytes_max = LENIENT_LINE_BYTES_MAX if self._lenient else STRICT_LINE_BYTES_MAX
        end = data.find(b"\r\n", position, position + bytes_max + 2)
        if end < 0 and len(data) - position > bytes_max + 1:
            raise BodyError("a malformed chunk size, or a chunk extension")
        return end

    def _take_line(self, line: bytes) -> None:
        if self._state == _AFTER_DATA:
            self._state = _IN_SIZE  # `line` is empty: `_line_end` saw to it
        elif self._state == _IN_SIZE:
            self._begin_chunk(line)
        elif not line:
            self._state = _DONE
        else:
            self._trailer_room -= len(line)
            if not self._lenient or self._trailer_room < 0 or _TRAILER.fullmatch(line) is None:
                raise BodyError("trailers are not accepted")

    def _begin_chunk(self, line: bytes) -> None:
        match = (_SIZE_AND_EXTENSION if self._lenient else _SIZE).fullmatch(line)
        if match is None:
            raise BodyError("a malformed chunk size, or a chunk extension")
        size = int(match[1] if self._lenient else line, 16)
        self._room -= size
        if self._room < 0:
            raise BodyTooLarge("a body beyond its bound")
        self._left = size
        self._state = _IN_DATA if size else _IN_TRAILER
