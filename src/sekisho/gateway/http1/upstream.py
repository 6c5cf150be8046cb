"""One connection to an upstream: writes a request, reads its answer, waits idle in the pool."""

import asyncio
import ssl
import time
from typing import Any, Final, Protocol, cast

from sekisho.gateway.http1 import wire
from sekisho.gateway.http1.answers import AnswerReader
from sekisho.gateway.http1.errors import UpstreamClosed, UpstreamError, UpstreamTimeout, UpstreamTlsError
from sekisho.gateway.http1.heads import AnswerHead
from sekisho.gateway.http1.interfaces import VIA_EGRESS_PROXY, Endpoint, Peer
from sekisho.gateway.http1.tls import Contexts

WRITE_BUFFER_BYTES: Final = 256 * 1024  # of a request's body, beyond which we wait for the upstream to take some


class Taker(Protocol):
    """Whose answer it is. Exactly one of `ended` and `failed` is called, last."""

    def answered(self, head: AnswerHead) -> None: ...
    def received(self, body: bytes) -> None: ...
    def ended(self) -> None: ...
    def failed(self, error: Exception) -> None: ...


class Home(Protocol):
    """Where a connection goes when its exchange is over."""

    endpoint: Endpoint

    def put(self, connection: "UpstreamConnection") -> None: ...
    def forget(self, connection: "UpstreamConnection") -> None: ...


class UpstreamConnection(asyncio.Protocol):
    __slots__ = (
        "_cut_short",
        "_deadline",
        "_ends_at",
        "_home",
        "_idle_timeout_s",
        "_paused",
        "_reader",
        "_taker",
        "_transport",
        "_unsent",
        "_write_paused",
        "contexts",
        "idle_until",
        "keep_alive_hint",
        "peer",
    )

    def __init__(self, home: Home, contexts: Contexts) -> None:
        self._home = home
        endpoint = home.endpoint
        self._idle_timeout_s = endpoint.idle_timeout_s
        self._taker: Taker | None = None
        self._reader = AnswerReader(endpoint.head_bytes_max, endpoint.body_bytes_max, to_head=False)
        self._unsent: memoryview | None = None  # what the transport has not been given yet
        self._cut_short = False  # the request was not written to its end
        self._deadline = 0.0  # 0: none
        self._ends_at = 0.0  # of the exchange as a whole, whatever comes meanwhile; counts while there is a taker
        self._paused = False
        self._write_paused = False
        self.idle_until = 0.0  # in the pool; 0: in use
        self.keep_alive_hint = b""
        self.contexts = contexts  # made with these
        self.peer = Peer("", 0, None)

    # From the exchange.

    def usable(self) -> bool:
        return not self._transport.is_closing()

    def begin(self, taker: Taker, head: bytes, body: bytes, *, to_head: bool) -> None:
        """Write a request; the answer goes to `taker`."""
        self._taker = taker
        self._reader.again(to_head=to_head)
        now, endpoint = time.monotonic(), self._home.endpoint
        self._ends_at = now + endpoint.total_timeout_s
        if len(body) <= wire.PIECE_BYTES_MAX:
            self._transport.write(head + body)
            self._deadline = now + endpoint.first_byte_timeout_s
        else:
            self._transport.write(head)
            self._unsent = memoryview(body)
            self._write_on()

    def pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()
            if self._reader.head is not None:
                self._deadline = 0.0  # silence is ours now, not the upstream's

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
            if self._reader.head is not None:
                self._deadline = time.monotonic() + self._home.endpoint.idle_timeout_s

    def cut(self) -> None:
        """End the connection at once; nobody is told."""
        self._taker = None
        self._deadline = 0.0
        self._unsent = None
        self._transport.abort()

    def shut(self) -> None:
        """End the connection because the client closes; an exchange on it fails."""
        self._fail(UpstreamClosed("the client was closed", phase=self.phase))

    @property
    def phase(self) -> str:
        if self._reader.head is not None:
            return "body"
        return "write" if self._unsent is not None else "head"

    # From the client.

    def check(self, now: float) -> None:
        """Called every now and then: end what has taken too long."""
        if self._deadline and now > self._deadline:
            phase = self.phase
            self._fail(UpstreamTimeout(_TIMEOUTS[phase], phase=phase))
        elif self._taker is not None and now > self._ends_at:
            self._fail(UpstreamTimeout("the upstream did not come to an end", phase=self.phase))
        elif self.idle_until and now > self.idle_until:
            self._transport.abort()

    @property
    def tls(self) -> Any:
        """The SSLObject of the handshake with the upstream; None without TLS."""
        return self._transport.get_extra_info("ssl_object")

    # From the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        name = transport.get_extra_info("peername") or ("", 0)
        endpoint = self._home.endpoint
        # Without TLS of its own, an upstream behind a TLS proxy would show the proxy's certificate.
        tls = transport.get_extra_info("ssl_object") if endpoint.tls is not None else None
        certificate, version = (tls.getpeercert(True), tls.version()) if tls is not None else (None, None)
        via = None if endpoint.proxy is None else VIA_EGRESS_PROXY
        self.peer = Peer(name[0], name[1], certificate, version, via)

    def data_received(self, data: bytes) -> None:
        taker, reader = self._taker, self._reader
        if taker is None:  # nobody asked: what comes next could be taken for the next answer
            self._transport.abort()
            return
        had_head = reader.head
        try:
            body = reader.feed(data)
        except UpstreamError as error:
            self._fail(error)
            return
        if had_head is None:
            head = reader.head
            if head is None:
                return
            self._head_came(head)
            taker.answered(head)
        if body:
            try:
                taker.received(body)
            except Exception as error:  # noqa: BLE001 - it is the taker's own, and goes back to it
                if self._taker is taker:
                    self._fail(error)
                return
        if reader.complete:
            self._complete(taker)
            return
        if self._taker is taker and not self._paused:
            self._deadline = time.monotonic() + self._idle_timeout_s

    def eof_received(self) -> None:
        taker = self._taker
        if taker is None:
            return
        try:
            self._reader.end_of_stream()
        except UpstreamError as error:
            error.phase = self.phase
            self._fail(error)
            return
        self._taker = None
        self._deadline = 0.0
        taker.ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self._home.forget(self)
        if self._taker is not None:
            self._fail(self._loss(exc))

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._unsent is not None:
            self._write_on()

    def _write_on(self) -> None:
        """Give the transport what it takes, in pieces; it calls `resume_writing` when it takes more."""
        unsent = self._unsent
        while unsent is not None and not self._write_paused and not self._transport.is_closing():
            piece, unsent = unsent[: wire.PIECE_BYTES_MAX], unsent[wire.PIECE_BYTES_MAX :] or None
            self._unsent = unsent
            self._transport.write(piece)
        if self._unsent is None:
            self._expect_head()
        else:
            self._deadline = time.monotonic() + self._home.endpoint.idle_timeout_s

    def _expect_head(self) -> None:
        if self._reader.head is None:
            self._deadline = time.monotonic() + self._home.endpoint.first_byte_timeout_s

    def _head_came(self, head: AnswerHead) -> None:
        self.keep_alive_hint = head.headers.get(b"keep-alive", b"")
        if self._unsent is not None and head.status >= 300:
            # RFC 9112 section 9.3 and 9.5: an answer that comes early and is final; the rest would be sent in vain.
            self._unsent = None
            self._cut_short = True

    def _complete(self, taker: Taker) -> None:
        if self._taker is not taker:  # cut, or failed, while it took the body
            return
        self._taker = None
        self._deadline = 0.0
        head = self._reader.head
        written_out = self._unsent is None and not self._cut_short
        reusable = head is not None and head.keep_alive and not self._reader.unsolicited and written_out
        if reusable and not self._transport.is_closing():
            if self._paused:  # an idle connection must see its end coming
                self._paused = False
                self._transport.resume_reading()
            self._home.put(self)
        else:
            self._unsent = None
            self._transport.abort()
        taker.ended()

    def _fail(self, error: Exception) -> None:
        taker = self._taker
        self.cut()
        if taker is not None:
            taker.failed(error)

    def _loss(self, exc: Exception | None) -> UpstreamError:
        if isinstance(exc, ssl.SSLError):
            return UpstreamTlsError(f"the upstream ended the TLS connection: {exc}", phase=self.phase)
        hint = ""
        if self.contexts.upstream is not None and self.phase != "body":
            # TLS 1.3: the client's handshake is over before the server has looked at its certificate.
            hint = "; an upstream that demands a client certificate ends connections without one in this way"
        return UpstreamClosed(f"the connection to the upstream was lost{hint}", phase=self.phase)


_TIMEOUTS: Final = {
    "write": "the upstream takes no more of the request",
    "head": "the upstream did not answer in time",
    "body": "the upstream stopped in the middle of its answer",
}
