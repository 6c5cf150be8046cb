"""One caller's connection: its requests one after the other, and the answer to each."""

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final, Protocol, cast

from sekisho.gateway.http1 import wire
from sekisho.gateway.http1.errors import RequestRefused
from sekisho.gateway.http1.heads import RequestHead
from sekisho.gateway.http1.interfaces import Header, InboundRequest, Peer, ServerLimits
from sekisho.gateway.http1.requests import BETWEEN, IN_BODY, IN_HEAD, RequestReader

# After a refusal we go on reading for a moment and throw it away: closing a socket with unread bytes resets it, and
# a reset can overtake the answer (RFC 9112 section 9.6).
LINGER_S: Final = 2.0
LINGER_BYTES_MAX: Final = 64 * 1024 * 1024
# Beyond the stall bound a body must come at least this fast, or one byte every 29 s would hold a connection for years.
BODY_BYTES_PER_S_MIN: Final = 1024
RETRY_AFTER_S: Final = 1  # told to a caller that finds every connection taken

_BODYLESS: Final = frozenset({204, 304})
_CLOSING: Final = b"connection: close\r\n\r\n"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Counters:
    """What the server has seen since it started; plain integers to be read at any time."""

    __slots__ = ("accepted", "callers_left", "connections_refused", "requests", "requests_refused", "timeouts")

    def __init__(self) -> None:
        self.accepted = 0
        self.connections_refused = 0
        self.requests = 0
        self.requests_refused = 0
        self.timeouts = 0
        self.callers_left = 0  # before their answer was complete


class Host(Protocol):
    """What a connection needs of its server."""

    limits: ServerLimits
    counters: Counters
    draining: bool
    date_line: bytes
    now: Callable[[], float]  # monotonic seconds

    def admit(self, connection: "CallerConnection") -> bool: ...
    def forget(self, connection: "CallerConnection") -> None: ...
    def handle(self, request: InboundRequest, answer: "Answer") -> "asyncio.Task[None]": ...
    def cancel(self, answer: "Answer", task: "asyncio.Task[None]") -> None: ...
    def refusal(self, status: int, message: str, path: str) -> tuple[Sequence[Header], bytes]: ...


class Answer:
    """The Responder of one request; see `interfaces.Responder`."""

    __slots__ = ("_bodyless", "_close", "_connection", "_head", "_until_close", "started", "writable_callback")

    def __init__(self, connection: "CallerConnection", head: RequestHead) -> None:
        self._connection: CallerConnection | None = connection  # None: complete, cut, or the caller left
        self._head = head
        self._close = not head.keep_alive
        self._bodyless = head.method == "HEAD"
        self._until_close = False
        self.started = False
        self.writable_callback: Callable[[], None] | None = None

    @property
    def path(self) -> str:
        return self._head.path

    @property
    def over(self) -> bool:
        """Nothing more can be written: the answer is complete or cut, or the caller left."""
        return self._connection is None

    def respond(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        connection = self._connection
        if connection is None or self.started:
            self._begin_late()
            return
        lines = wire.answer_headers(headers)  # if it raises, nothing was written: the server can still say 500
        self.started = True
        close = self._close = self._close or connection.host.draining
        length = b"" if status == 204 else b"content-length: %d\r\n" % len(body)  # RFC 9110 section 8.6
        if self._bodyless or status in _BODYLESS:
            body = b""
        small = body if len(body) <= wire.PIECE_BYTES_MAX else b""
        ending = _CLOSING if close else b"\r\n"
        connection.give(b"".join((wire.status_line(status), lines, connection.host.date_line, length, ending, small)))
        if len(small) < len(body):
            connection.give_pieces(body)
        self._connection = self.writable_callback = None
        connection.answered(close=close)

    def start_stream(self, status: int, headers: Sequence[Header]) -> None:
        connection = self._connection
        if connection is None or self.started:
            self._begin_late()
            return
        lines = wire.answer_headers(headers)
        self.started = True
        self._bodyless = self._bodyless or status in _BODYLESS
        if self._head.http_1_0:  # RFC 9112 section 6.1: no transfer codings towards 1.0; the end of the stream ends it
            self._until_close = True
            framing = b""
        else:
            framing = b"" if status in _BODYLESS else b"transfer-encoding: chunked\r\n"
        self._close = self._close or connection.host.draining
        ending = _CLOSING if self._close else b"\r\n"
        connection.give(wire.status_line(status) + lines + connection.host.date_line + framing + ending)

    def write(self, data: bytes) -> bool:
        connection = self._connection
        if connection is None or self._bodyless or not data:
            return connection is None or not connection.writing_paused
        if not self.started:
            raise RuntimeError("write before start_stream")
        if self._until_close:
            connection.give_pieces(data)
        elif len(data) <= wire.PIECE_BYTES_MAX:
            connection.give(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            connection.give(b"%x\r\n" % len(data))
            connection.give_pieces(data)
            connection.give(b"\r\n")
        return not connection.writing_paused

    def on_writable(self, callback: Callable[[], None]) -> None:
        self.writable_callback = callback

    def end(self) -> None:
        connection = self._connection
        if connection is None:
            return
        if not self.started:
            raise RuntimeError("end before start_stream")
        if not self._until_close and not self._bodyless:
            connection.give(wire.LAST_CHUNK)
        self._finish(connection)

    def abort(self) -> None:
        connection = self._connection
        if connection is None:
            return
        self.detach()
        # What was written is still delivered (an error event, say), but not the last chunk. Without chunks a clean
        # end of the connection would read as the end of the answer, so that one is reset.
        connection.cut(reset=self._until_close)

    def detach(self) -> None:
        """Nothing of this answer reaches the caller from now on."""
        self._connection = None
        self.writable_callback = None

    def _begin_late(self) -> None:
        """A head for an answer that is over, which is a no-op, or that has begun already."""
        if self.started and self._connection is not None:
            raise RuntimeError("this request has its answer already")
        self.started = True

    def _finish(self, connection: "CallerConnection") -> None:
        self.detach()
        connection.answered(close=self._close)


class CallerConnection(asyncio.Protocol):
    """The protocol of one connection. States: reading a request, answering one, lingering after a refusal.

    Reading is never paused: with it paused, uvloop would not see the caller leave.
    """

    __slots__ = (
        "_answer",
        "_given",
        "_last_byte",
        "_lingered",
        "_lingering",
        "_peer",
        "_phase_since",
        "_reader",
        "_received",
        "_stalled_since",
        "_surplus",
        "_taken",
        "_task",
        "_transport",
        "host",
        "writing_paused",
    )

    def __init__(self, host: Host) -> None:
        self.host = host
        self.writing_paused = False
        self._reader = RequestReader(host.limits)
        self._answer: Answer | None = None
        self._task: asyncio.Task[None] | None = None
        self._surplus = b""
        self._lingering = False
        self._lingered = 0
        self._phase_since = self._last_byte = host.now()
        self._received = 0  # bytes of the body being read
        self._given = 0  # bytes handed to the transport
        self._taken = -1  # of these, how many had left when last looked at; -1: not watching
        self._stalled_since = 0.0

    # From the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it
        self._transport.set_write_buffer_limits(high=self.host.limits.write_buffer_bytes)
        tls = transport.get_extra_info("ssl_object")
        name = transport.get_extra_info("peername") or ("", 0)
        self._peer = Peer(name[0], name[1], tls.getpeercert(True) if tls is not None else None)
        if not self.host.admit(self):
            self._refuse(503, "every connection is taken", extra=b"retry-after: %d\r\n" % RETRY_AFTER_S)

    def data_received(self, data: bytes) -> None:
        if self._answer is not None:
            self._surplus += data
            if len(self._surplus) > self.host.limits.surplus_bytes_max:
                self._leave()
        elif self._lingering:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES_MAX:
                self._transport.abort()
        elif not self._transport.is_closing():
            self._read(data)

    def eof_received(self) -> None:
        """A caller that closes its half has left: there is no other sign of one that closes its connection."""
        if self._answer is not None:
            self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose_answer()
        self.host.forget(self)

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self._answer is not None and self._answer.writable_callback is not None:
            self._answer.writable_callback()

    # From the answer.

    def give(self, data: bytes | memoryview) -> None:
        """Hand bytes to the transport; a no-op once it is closing."""
        if not self._transport.is_closing():
            self._given += len(data)
            self._transport.write(data)

    def give_pieces(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), wire.PIECE_BYTES_MAX):
            self.give(view[start : start + wire.PIECE_BYTES_MAX])

    def answered(self, *, close: bool) -> None:
        """The answer is whole: on to the next request, or to the end."""
        self._answer = self._task = None
        surplus = self._surplus
        if close or self.host.draining:
            self._surplus = b""
            if surplus:
                self._linger()
            else:
                self._transport.close()
            return
        self._phase_since = self.host.now()
        if surplus:
            self._surplus = b""
            self._read(surplus)

    def cut(self, *, reset: bool) -> None:
        """End the connection without a clean end of the answer; `reset`: so that the caller's reads fail."""
        self._answer = self._task = None  # whoever cuts goes on with its own work and is not cancelled
        if reset:
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()
        else:
            self._transport.close()

    # From the server.

    def write_buffer_bytes(self) -> int:
        """What waits in this process for the caller to take it."""
        return self._transport.get_write_buffer_size()

    def close_if_idle(self) -> None:
        if self._answer is None and self._reader.phase == BETWEEN and not self._lingering:
            self._transport.close()

    def abort(self) -> None:
        self._leave()

    def check(self, now: float) -> None:
        """Called every now and then: end what has taken too long."""
        if self._write_stalled(now):
            self.host.counters.timeouts += 1
            self._leave()
        elif self._answer is not None:
            return
        elif self._lingering:
            if now - self._phase_since > LINGER_S:
                self._transport.abort()
        else:
            self._check_reading(now)

    def _check_reading(self, now: float) -> None:
        limits, phase = self.host.limits, self._reader.phase
        waited = now - self._phase_since
        if phase == BETWEEN:
            if waited > limits.idle_timeout_s:
                self._transport.close()
        elif phase == IN_HEAD:
            if waited > limits.head_timeout_s:
                self._time_out("the request's head did not come in time")
        elif now - self._last_byte > limits.body_stall_timeout_s:
            self._time_out("the request's body stalled")
        elif waited > limits.body_stall_timeout_s + self._received / BODY_BYTES_PER_S_MIN:
            self._time_out("the request's body came too slowly")

    def _time_out(self, message: str) -> None:
        self.host.counters.timeouts += 1
        self._refuse(408, message, self._reader.path)

    def _write_stalled(self, now: float) -> bool:
        waiting = self._transport.get_write_buffer_size()
        if not waiting:
            self._taken = -1
            return False
        taken = self._given - waiting
        if self._taken < 0 or taken > self._taken:
            self._taken, self._stalled_since = taken, now
        return now - self._stalled_since > self.host.limits.write_stall_timeout_s

    def _read(self, data: bytes) -> None:
        reader = self._reader
        before = reader.phase
        try:
            whole = reader.feed(data)
        except RequestRefused as refusal:
            self._refuse(refusal.status, refusal.message, refusal.path)
            return
        if whole is None:
            self._wait_for_more(before, len(data))
            return
        if reader.rest:
            self._surplus, reader.rest = reader.rest, b""
            if len(self._surplus) > self.host.limits.surplus_bytes_max:
                self._transport.abort()
                return
        head, body = whole
        answer = self._answer = Answer(self, head)
        self.host.counters.requests += 1
        request = InboundRequest(head.method, head.path, head.query, head.headers, body, self._peer)
        self._task = self.host.handle(request, answer)

    def _wait_for_more(self, before: int, size: int) -> None:
        reader = self._reader
        self._last_byte = self.host.now()
        if reader.phase != before:
            self._phase_since = self._last_byte
            self._received = 0
        if reader.phase == IN_BODY:
            self._received += size
        if reader.continue_expected:
            reader.continue_expected = False
            self.give(wire.CONTINUE)

    def _refuse(self, status: int, message: str, path: str = "", *, extra: bytes = b"") -> None:
        self.host.counters.requests_refused += 1
        headers, body = self.host.refusal(status, message, path)
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.give(
            b"%b%bcontent-length: %d\r\n%b%bconnection: close\r\n\r\n%b"
            % (wire.status_line(status), lines, len(body), self.host.date_line, extra, body)
        )
        self._linger()

    def _linger(self) -> None:
        self._lingering = True
        self._phase_since = self.host.now()
        if self._transport.is_closing():
            return
        self._reader = RequestReader(self.host.limits)  # lets go of what it held
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # TLS has no half-close
            self._transport.close()

    def _leave(self) -> None:
        """Drop the connection and cancel what runs for it."""
        self._lose_answer()
        self._transport.abort()

    def _lose_answer(self) -> None:
        answer, task = self._answer, self._task
        self._answer = self._task = None
        self._surplus = b""
        if answer is not None:
            self.host.counters.callers_left += 1
            answer.detach()
            if task is not None:
                self.host.cancel(answer, task)
