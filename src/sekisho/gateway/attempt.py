"""One attempt at a deployment: its decision entry, and the one outcome that must follow it."""

from sekisho.gateway.dialects.answers import Usage, estimate_tokens
from sekisho.gateway.entries import OUTCOME, Commitment, Ended, OutcomeRecord, outcome_body
from sekisho.gateway.errors import GatewayError, Stopped
from sekisho.gateway.halts import Halt, Passage
from sekisho.gateway.http1.interfaces import Exchange
from sekisho.gateway.keeping import Keeping
from sekisho.gateway.metrics import Metrics
from sekisho.gateway.rewriting.answers import AnswerRewriter
from sekisho.gateway.rewriting.treatment import Treatment
from sekisho.kernel.clock import Clock
from sekisho.kernel.ids import IdSource
from sekisho.ledger.interfaces import EntryDraft, EntryWriter, Reservation


class Recorder:
    """What every attempt of a worker writes its outcome with."""

    __slots__ = ("clock", "ids", "metrics", "writer")

    def __init__(self, writer: EntryWriter, clock: Clock, ids: IdSource, metrics: Metrics) -> None:
        self.writer = writer
        self.clock = clock
        self.ids = ids
        self.metrics = metrics


class Attempt:
    """Made as soon as the decision is appended; `settle` writes the outcome, the first call counts.

    The outcome's room in the write-ahead log was reserved with the decision, so it can always be written.
    While another attempt may follow, the outcome is held and then written with that attempt's decision: a merge that
    took the one without the other would show the request as ended.
    """

    __slots__ = (
        "_held",
        "_recorder",
        "_reservation",
        "_sent_bytes",
        "_settled",
        "actor",
        "decision_id",
        "exchange",
        "first_byte_us",
        "halt",
        "keeping",
        "number",
        "outcome_id",
        "passage",
        "request_id",
        "rewriter",
        "started_us",
        "status",
        "treated",
    )

    def __init__(
        self, recorder: Recorder, decision: EntryDraft, number: int, sent_bytes: int, reservation: Reservation
    ) -> None:
        self._recorder = recorder
        self._reservation = reservation
        self._sent_bytes = sent_bytes
        self._settled = False
        self._held: tuple[OutcomeRecord, int] | None = None  # and when it was known
        self.decision_id = decision.id
        self.outcome_id = recorder.ids.new(decision.at)  # now, so that the answer's salt can hang on it
        self.request_id = decision.request
        self.actor = decision.actor
        self.number = number
        self.started_us = decision.at
        self.exchange: Exchange | None = None
        self.first_byte_us: int | None = None
        self.status: int | None = None
        self.halt: Halt | None = None  # why it was ended from outside
        self.keeping: Keeping | None = None  # where a policy lets content be kept
        self.rewriter: AnswerRewriter | None = None  # from when the answer goes through it
        self.treated: Treatment  # what policy has done to the answer
        self.passage: Passage  # from when it may be sending on

    def cut(self, halt: Halt) -> None:
        """End it from outside: what it waits for fails, and whoever waits finds the reason in `halt`."""
        self.halt = halt
        if self.exchange is not None:
            self.exchange.abort()

    def halted(self, halt: Halt) -> GatewayError:
        """Settle it as ended from outside before anything was given to the caller; what the caller is told."""
        self.settle(halt.ended, error=halt.error.code, hold=isinstance(halt.error, Stopped))
        return halt.error

    @property
    def metrics(self) -> Metrics:
        return self._recorder.metrics

    def first_byte(self) -> int:
        """Note that the answer began; microseconds since the decision."""
        self.first_byte_us = self._since(self._recorder.clock.now_us())
        return self.first_byte_us

    def _since(self, now_us: int) -> int:
        """Since the decision; not below zero where a clock that had jumped ahead was set right in between."""
        return max(0, now_us - self.started_us)

    def settle(
        self,
        ended: Ended,
        *,
        error: str | None = None,
        usage: Usage | None = None,
        answer: Commitment | None = None,
        answer_text_bytes: int = 0,
        hold: bool = False,
    ) -> None:
        """Write the outcome. When this returns, it survives the end of this process; with `hold`, `write_held` does it.

        Without usage from upstream the count is ours, over the bytes sent and the text relayed.
        """
        if self._settled:
            return
        self._settled = True
        exchange = self.exchange
        written = exchange is not None and exchange.written
        if usage is None and written:
            usage = Usage(estimate_tokens(self._sent_bytes), estimate_tokens(answer_text_bytes), "estimated")
        recorder = self._recorder
        now_us = recorder.clock.now_us()
        record = OutcomeRecord(
            decision=self.decision_id,
            attempt=self.number,
            ended=ended,
            error=error,
            status=self.status,
            peer=exchange.peer if exchange is not None else None,
            written=written,
            first_byte_us=self.first_byte_us,
            total_us=max(self._since(now_us), self.first_byte_us or 0),
            usage=usage,
            answer=answer,
            rewritten=None if self.rewriter is None else self.rewriter.counts(),
        )
        recorder.metrics.attempts[ended.value] += 1
        if error is not None:
            recorder.metrics.attempt_errors[error] += 1
        self._held = record, now_us
        if not hold:
            self.write_held()

    async def write_held_batched(self) -> None:
        """Write what is held, if anything, in one write with what other attempts write in this turn of the loop."""
        draft = self._take_held()
        if draft is None:
            return
        try:
            written = self._recorder.writer.append_batched(draft, self._reservation)
        finally:
            self._reservation.release()
        await written

    def write_held(self, *, followed_by: str | None = None) -> None:
        """Write what is held, if anything: now; or, naming the decision that it is `followed_by`, in one frame with it:
        that decision must be appended in the same turn.
        """
        draft = self._take_held(followed_by)
        if draft is None:
            return
        writer = self._recorder.writer
        try:
            if followed_by is not None:
                writer.append(draft, self._reservation)
            else:
                writer.append_written(draft, self._reservation)
        finally:
            self._reservation.release()

    def _take_held(self, followed_by: str | None = None) -> EntryDraft | None:
        if self._held is None:
            return None
        (record, now_us), self._held = self._held, None
        body = outcome_body(record if followed_by is None else record._replace(followed_by=followed_by))
        return EntryDraft(OUTCOME, self.outcome_id, now_us, self.actor, body, self.request_id)
