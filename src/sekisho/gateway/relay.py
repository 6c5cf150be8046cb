"""Relaying a streamed answer: events go on as they come, whole, with back-pressure; unchanged, unless policy has values
in them masked or put back (`rewriting`).

The stream's own end (`[DONE]`) is given to the caller only after the outcome is written. A stream that breaks never
looks complete: an error event, and no `[DONE]`. Nothing is started towards the caller before the first event, so a
stream that breaks earlier can still be tried elsewhere.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import orjson

from sekisho.gateway.attempt import Attempt
from sekisho.gateway.dialects.answers import Usage, read_usage
from sekisho.gateway.dialects.surfaces import Call
from sekisho.gateway.entries import Ended
from sekisho.gateway.errors import (
    AnswerWithheld,
    GatewayError,
    Stopped,
    UpstreamFailed,
    gateway_failed,
    key_revoked,
    upstream_fault,
    upstream_invalid,
)
from sekisho.gateway.halts import Halt
from sekisho.gateway.http1.errors import UpstreamError
from sekisho.gateway.http1.interfaces import Exchange, Header, Responder
from sekisho.gateway.rewriting.answers import AnswerRewriter
from sekisho.gateway.sse import EventSplitter, event_data
from sekisho.ledger.interfaces import StreamCommitment

_DONE: Final = b"[DONE]"
_DONE_EVENT: Final = b"data: [DONE]\n\n"
_PING: Final = b":\n\n"  # where answers are rewritten, of an event nothing goes on but its data: here it has none
_ERROR_EVENT: Final = "upstream_error_event"
_SURPLUS_BYTES_MAX: Final = 64 * 1024  # what may follow [DONE] while the upstream ends its answer

log = logging.getLogger(__name__)


class StreamRelay:
    """A BodyReceiver that feeds one caller. `done` completes when the caller has all it will get.

    If anything was given it completes normally; else with UpstreamFailed if the stream broke, with Unauthenticated
    if the caller's key was revoked, and with the halt's error if it was halted.
    """

    def __init__(
        self,
        responder: Responder,
        exchange: Exchange,
        attempt: Attempt,
        commitment: StreamCommitment,
        call: Call,
        headers: list[Header],
        answered: Callable[[], None],
        rewriter: AnswerRewriter | None = None,
    ) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._responder = responder
        self._exchange = exchange
        self._attempt = attempt
        self._keeping = attempt.keeping
        self._commitment = commitment
        self._headers = headers
        self._count_text = call.operation.text_bytes
        self._error_body = call.surface.error_body
        self._metrics = attempt.metrics
        self._answered = answered
        self._rewriter = rewriter
        self._document: dict[str, Any] = {}  # of the event that was read last
        self._splitter = EventSplitter()
        self._usage: Usage | None = None
        self._text_bytes = 0
        self._given = False
        self._closed = False
        self._surplus_bytes = 0

    # -- from the upstream

    def data(self, chunk: bytes) -> None:
        if self._closed:
            self._surplus_bytes += len(chunk)
            if self._surplus_bytes > _SURPLUS_BYTES_MAX:
                self._exchange.abort()
            return
        try:
            self._take(self._splitter.feed(chunk))
        except (UpstreamFailed, AnswerWithheld) as error:
            self._break(error, _ended(error))
            self._exchange.abort()

    def end(self) -> None:
        if self._closed:
            return
        try:
            self._take(self._splitter.end())
        except (UpstreamFailed, AnswerWithheld) as error:
            self._break(error, _ended(error))
        if not self._closed:
            self._break(UpstreamFailed("the answer ended before it was complete", code="upstream_incomplete"))

    def failed(self, error: Exception) -> None:
        if self._closed:
            return
        if not isinstance(error, UpstreamError):
            log.error("request %s: a fault of the gateway", self._attempt.request_id, exc_info=error)
            self._break(gateway_failed())
            return
        log.warning("request %s: attempt %d: %s", self._attempt.request_id, self._attempt.number, error)
        self._break(upstream_fault(error))

    # -- from our side

    def revoke(self, _principal_id: str) -> None:
        """The caller's key was revoked: end the stream at once."""
        if not self._closed:
            self._break(key_revoked(), Ended.REVOKED)
            self._exchange.abort()

    def halt(self, halt: Halt) -> None:
        """It was stopped, or outlived its rules: end the stream at once."""
        if not self._closed:
            self._break(halt.error, halt.ended)
            self._exchange.abort()

    def caller_left(self) -> None:
        """The caller is gone: abort the upstream; what was used so far is recorded."""
        if not self._closed:
            self._closed = True
            self._exchange.abort()
            self._settle(Ended.CALLER_LEFT, None)

    # -- inside

    def _take(self, events: list[bytes]) -> None:
        ready: list[bytes] = []
        for event in events:
            data = event_data(event)
            try:
                if data == _DONE:
                    self._finish(b"".join((*ready, self._end_of_events(event))))
                    return
                reports_error = data is not None and self._reads_as_error(data)
                if reports_error and not (self._given or ready):
                    raise UpstreamFailed("the deployment reported an error instead of an answer", code=_ERROR_EVENT)
                if self._rewriter is not None:
                    event = _PING if data is None else self._rewriter.event(self._document)
            except (UpstreamFailed, AnswerWithheld):
                if ready:
                    self._give(b"".join(ready))  # what came before it is good
                raise
            ready.append(event)
            if reports_error:
                # An upstream that reports an error and then says [DONE] must not look complete.
                self._metrics.faults[_ERROR_EVENT] += 1
                log.info("request %s: its stream ends with %s", self._attempt.request_id, _ERROR_EVENT)
                self._give_last(b"".join(ready), Ended.UPSTREAM_FAILED, _ERROR_EVENT)
                self._exchange.abort()
                return
            self._metrics.stream_events += 1
        if ready:
            self._give(b"".join(ready))

    def _reads_as_error(self, data: bytes) -> bool:
        """Read one event's JSON for usage and text; True if it reports an error. Raises UpstreamFailed for garbage."""
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise upstream_invalid("streamed an event that is not JSON") from None
        if type(event) is not dict:
            raise upstream_invalid("streamed an event that is not a JSON object")
        self._document = event
        if event.get("error"):
            return True
        usage = event.get("usage")
        if usage is not None:
            self._usage = read_usage(usage) or self._usage
        self._text_bytes += self._count_text(event)
        return False

    def _end_of_events(self, event: bytes) -> bytes:
        """`[DONE]`; before it, of an answer that is rewritten, what was held back."""
        return event if self._rewriter is None else self._rewriter.rest() + _DONE_EVENT

    def _give(self, piece: bytes) -> None:
        self._begin()
        self._commitment.update(piece)
        if self._keeping is not None:
            self._keeping.add(piece)
        if not self._responder.write(piece):
            self._exchange.pause()

    def _begin(self) -> None:
        if not self._given:
            self._given = True
            self._answered()
            self._responder.on_writable(self._exchange.resume)
            self._responder.start_stream(200, self._headers)

    def _finish(self, last: bytes) -> None:
        self._give_last(last, Ended.COMPLETE, None)

    def _break(self, error: GatewayError, ended: Ended = Ended.UPSTREAM_FAILED) -> None:
        """End without `[DONE]`: an error event, or `error` itself where the caller has nothing yet."""
        if not self._given:
            self._closed = True
            self._settle(ended, error.code, hold=isinstance(error, (UpstreamFailed, Stopped)))  # another may follow
            self._complete(error)
            return
        self._metrics.faults[error.code or "internal"] += 1
        log.info("request %s: its stream ends with %s: %s", self._attempt.request_id, error.code, error.message)
        self._give_last(b"data: " + self._error_body(error) + b"\n\n", ended, error.code)

    def _give_last(self, last: bytes, ended: Ended, error: str | None) -> None:
        """The last bytes of the stream, after the outcome that covers them is written."""
        self._closed = True
        self._begin()
        self._commitment.update(last)
        if self._keeping is not None:
            self._keeping.add(last)
        self._settle(ended, error)
        self._responder.write(last)
        self._responder.end()
        self._complete(None)

    def _settle(self, ended: Ended, error: str | None, *, hold: bool = False) -> None:
        self._attempt.settle(
            ended,
            error=error,
            usage=self._usage,
            answer=self._commitment.finish() if self._given else None,
            answer_text_bytes=self._text_bytes,
            hold=hold,
        )

    def _complete(self, error: GatewayError | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


def _ended(error: GatewayError) -> Ended:
    return Ended.WITHHELD if isinstance(error, AnswerWithheld) else Ended.UPSTREAM_FAILED
