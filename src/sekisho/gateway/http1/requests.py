"""The requests in a caller's bytes, one after the other, without I/O."""

from typing import Final

from sekisho.gateway.http1.chunks import ChunkDecoder
from sekisho.gateway.http1.errors import BodyError, BodyTooLarge, RequestRefused
from sekisho.gateway.http1.heads import CHUNKED, RequestHead, parse_request, refuse_early
from sekisho.gateway.http1.interfaces import ServerLimits

BETWEEN, IN_HEAD, IN_BODY = range(3)
_END_OF_HEAD: Final = b"\r\n\r\n"


class RequestReader:
    """Feed it bytes; it gives each request when it is whole. After a RequestRefused it must not be used again.

    `phase` says what it waits for. `rest` holds the bytes after a whole request: feed them again when it is answered.
    `continue_expected`: the caller waits for `100 Continue` before it sends the body.
    """

    __slots__ = ("_body", "_chunks", "_head", "_limits", "_partial", "continue_expected", "phase", "rest")

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._partial = bytearray()  # an unfinished head
        self._head: RequestHead | None = None
        self._body = bytearray()
        self._chunks: ChunkDecoder | None = None
        self.phase = BETWEEN
        self.rest = b""
        self.continue_expected = False

    @property
    def path(self) -> str:
        """What the request whose body is awaited asks for; "" while that is not known."""
        return "" if self._head is None else self._head.path

    def feed(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """A whole request (head, body), or None if more bytes are needed; raises RequestRefused."""
        if self._head is not None:
            return self._feed_body(data)
        if self._partial:
            searched = max(0, len(self._partial) - 3)
            self._partial += data
            end = self._partial.find(_END_OF_HEAD, searched)
            if end >= 0:
                data, self._partial = bytes(self._partial), bytearray()
        else:
            end = data.find(_END_OF_HEAD)
            if end < 0:
                self._partial += data
        bytes_max = self._limits.head_bytes_max
        if end < 0:
            refuse_early(self._partial)
            if len(self._partial) > bytes_max:
                raise RequestRefused(431, f"a head of more than {bytes_max} bytes")
            self.phase = IN_HEAD
            return None
        end += 4
        if end > bytes_max:
            raise RequestRefused(431, f"a head of more than {bytes_max} bytes")
        head = parse_request(data[:end], self._limits)
        if head.length == len(data) - end:  # the usual case: one request, whole, nothing after it
            self.phase = BETWEEN
            return head, data[end:]
        return self._begin_body(head, data[end:])

    def _begin_body(self, head: RequestHead, data: bytes) -> tuple[RequestHead, bytes] | None:
        self._head = head
        self.phase = IN_BODY
        if head.length == CHUNKED:
            self._chunks = ChunkDecoder(self._limits.body_bytes_max, lenient=False)
        whole = self._feed_body(data)
        self.continue_expected = whole is None and head.expects_continue and not data
        return whole

    def _feed_body(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        head = self._head
        assert head is not None  # noqa: S101 - for the type checker: both callers have set it
        if self._chunks is not None:
            self._feed_chunks(self._chunks, data)
            if not self._chunks.done:
                return None
        else:
            wanted = head.length - len(self._body)
            self._body += data[:wanted]
            if len(data) < wanted:
                return None
            self.rest = data[wanted:]
        body = bytes(self._body)
        self._head, self._chunks, self._body = None, None, bytearray()
        self.phase = BETWEEN
        self.continue_expected = False
        return head, body

    def _feed_chunks(self, chunks: ChunkDecoder, data: bytes) -> None:
        try:
            self._body += chunks.feed(data)
        except BodyTooLarge:
            raise RequestRefused(413, f"a body of more than {self._limits.body_bytes_max} bytes", self.path) from None
        except BodyError as error:
            raise RequestRefused(400, error.message, self.path) from None
        self.rest = chunks.rest
