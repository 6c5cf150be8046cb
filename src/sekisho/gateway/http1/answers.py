"""An upstream's answer from its bytes, without I/O."""

from typing import Final

from sekisho.gateway.http1.chunks import ChunkDecoder
from sekisho.gateway.http1.errors import BodyError, BodyTooLarge, UpstreamClosed, UpstreamInvalid, UpstreamTooLarge
from sekisho.gateway.http1.heads import BARE_LINE_FEED, CHUNKED, UNTIL_EOF, AnswerHead, parse_answer

# RFC 9110 section 15.2 allows any number of interim answers; more than a few are a way to keep us busy.
INTERIM_MAX: Final = 16
_END_OF_HEAD: Final = b"\r\n\r\n"


class AnswerReader:
    """Reads one answer. `head` is set once it is whole, `complete` once the body is.

    `unsolicited`: bytes came after the end, so nothing more on this connection can be trusted.
    """

    __slots__ = (
        "_body_bytes_max",
        "_chunks",
        "_head_bytes_max",
        "_interim",
        "_left",
        "_partial",
        "_to_head",
        "complete",
        "head",
        "unsolicited",
    )

    def __init__(self, head_bytes_max: int, body_bytes_max: int, *, to_head: bool) -> None:
        self._head_bytes_max = head_bytes_max
        self._body_bytes_max = body_bytes_max
        self._to_head = to_head
        self._partial = bytearray()
        self._interim = 0
        self._left = 0
        self._chunks: ChunkDecoder | None = None
        self.head: AnswerHead | None = None
        self.complete = False
        self.unsolicited = False

    def feed(self, data: bytes) -> bytes:
        """The body's bytes in `data`. Raises UpstreamInvalid, UpstreamTooLarge."""
        if self.head is not None and self._chunks is not None and not self.complete:
            return self._feed_chunks(self._chunks, data)
        while self.head is None:
            rest = self._feed_head(data)
            if rest is None:
                return b""
            data = rest
        return self._feed_body(data) if not self.complete else self._after_end(data)

    def end_of_stream(self) -> None:
        """The upstream will send no more: a clean end for bodies without a length, else UpstreamClosed."""
        if self.complete:
            return
        if self.head is None:
            raise UpstreamClosed("the upstream closed the connection before it answered", phase="head")
        if self.head.length != UNTIL_EOF:
            raise UpstreamClosed("the upstream closed the connection in the middle of its answer", phase="body")
        self.complete = True

    def _feed_head(self, data: bytes) -> bytes | None:
        """What follows a head (interim or not), or None for a head not yet whole."""
        searched = max(0, len(self._partial) - 3)
        if self._partial:
            self._partial += data
            end = self._partial.find(_END_OF_HEAD, searched)
        else:
            end = data.find(_END_OF_HEAD)
            if end < 0:
                self._partial += data
        if end + 4 > self._head_bytes_max or (end < 0 and len(self._partial) > self._head_bytes_max):
            raise UpstreamTooLarge(f"the answer's head is longer than {self._head_bytes_max} bytes", phase="head")
        if end < 0:
            # What can't become a head any more is told at once: nobody waits for the end of a line that never comes.
            if not b"HTTP/1.".startswith(self._partial[:7]) or BARE_LINE_FEED.search(self._partial, searched):
                raise UpstreamInvalid("the answer is not HTTP/1.1", phase="head")
            return None
        if self._partial:
            data, self._partial = bytes(self._partial), bytearray()
        head = parse_answer(data[: end + 4], to_head=self._to_head)
        if head.status >= 200:
            self._begin_body(head)
        else:
            self._pass_interim(head.status)
        return data[end + 4 :]

    def again(self, *, to_head: bool) -> None:
        """Read another answer after a complete one."""
        self._to_head = to_head
        self._interim = 0
        self._chunks = None
        self.head = None
        self.complete = False

    def _pass_interim(self, status: int) -> None:
        self._interim += 1
        if status == 101 or self._interim > INTERIM_MAX:
            raise UpstreamInvalid("the upstream switches protocols, or never comes to its answer", phase="head")

    def _begin_body(self, head: AnswerHead) -> None:
        bytes_max = self._body_bytes_max
        if head.length > bytes_max:
            raise UpstreamTooLarge(f"the answer is longer than {bytes_max} bytes", phase="body")
        self.head = head
        self._left = head.length if head.length >= 0 else bytes_max
        self.complete = head.length == 0
        if head.length == CHUNKED:
            self._chunks = ChunkDecoder(bytes_max, lenient=True)

    def _feed_body(self, data: bytes) -> bytes:
        if self._chunks is not None:
            return self._feed_chunks(self._chunks, data)
        left = self._left
        self._left = left - len(data)
        if self._left > 0:
            return data
        if self.head is not None and self.head.length == UNTIL_EOF:
            if self._left < 0:
                raise UpstreamTooLarge(f"the answer is longer than {self._body_bytes_max} bytes", phase="body")
            return data
        self.complete = True
        if self._left == 0:
            return data
        self.unsolicited = True
        return data[:left]

    def _feed_chunks(self, chunks: ChunkDecoder, data: bytes) -> bytes:
        try:
            body = chunks.feed(data)
        except BodyTooLarge:
            raise UpstreamTooLarge(f"the answer is longer than {self._body_bytes_max} bytes", phase="body") from None
        except BodyError as error:
            raise UpstreamInvalid(f"the answer's body: {error.message}", phase="body") from None
        if chunks.done:
            self.complete = True
            self.unsolicited = bool(chunks.rest)
        return body

    def _after_end(self, data: bytes) -> bytes:
        if data:
            self.unsolicited = True
        return b""
