"""What an audit knows of each writer: its numbers, which must have no gap, and its time, which must not go back. Pure.

Order is promised within one write-ahead log only (that is, one process), so nothing is compared across writers.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from sekisho.ledger.audit_kinds import (
    CLOCK_JUMPED,
    CLOCK_STOOD_STILL,
    SEQUENCE_BACK,
    SEQUENCE_GAP,
    SEQUENCE_GAP_RELAY,
    TIME_BACKWARDS,
)
from sekisho.ledger.findings import Findings
from sekisho.ledger.losses import Gap, Losses
from sekisho.ledger.verify import DECISION, OUTCOME

BACKWARDS_US_MAX: Final = 1_000_000  # an outcome is stamped when it is known and written with what comes next
STILL_COUNT: Final = 64  # entries of one process with one microsecond: a process's clock never goes back, it waits
JUMP_US_MAX: Final = 24 * 3_600_000_000  # a merge that was late puts one process's hours before another's
GAPS_KEPT_MAX: Final = 1_000
WRITERS_MAX: Final = 100_000  # process starts; of more, those that wrote nothing for longest are taken as ended


class _Writer:
    __slots__ = ("at", "decides", "gaps", "last_at", "next_seq", "still", "still_first")

    def __init__(self) -> None:
        self.next_seq = 0
        self.at = 0  # the highest yet, of decisions and outcomes
        self.last_at = -1
        self.still = 1
        self.still_first: tuple[int, str] = (0, "")  # index and id of the first of them
        self.decides = False  # it is a gateway's
        self.gaps: list[Gap] = []


class Writers:
    """`see` each entry in the log's order, then `finish`. Memory grows with process starts, up to a bound.

    `losses` knows what repairs say of gaps; it is finished here.
    """

    def __init__(self, findings: Findings, losses: Losses | None = None) -> None:
        self._findings = findings
        self._losses = losses or Losses(findings)
        self._latest = 0  # of all decisions and outcomes
        self._writers: OrderedDict[str, _Writer] = OrderedDict()

    def see(self, index: int, envelope: Mapping[str, Any]) -> None:
        name, seq = envelope["writer"], envelope["seq"]
        writer = self._writers.get(name)
        if writer is None:
            writer = self._writers[name] = _Writer()
            if len(self._writers) > WRITERS_MAX:
                self._finish_one(*self._writers.popitem(last=False))
        else:
            self._writers.move_to_end(name)
        if seq != writer.next_seq:
            if seq < writer.next_seq:
                detail = f"number {seq} of {name:.80}, after {writer.next_seq - 1}"
                self._findings.add(SEQUENCE_BACK, detail, index, envelope["id"])
            elif len(writer.gaps) < GAPS_KEPT_MAX:
                writer.gaps.append(Gap(index, envelope["id"], writer.next_seq, seq))
        writer.next_seq = max(writer.next_seq, seq + 1)
        self._look_at_time(writer, index, envelope)

    def finish(self) -> None:
        for name, writer in self._writers.items():
            self._finish_one(name, writer)
        self._losses.finish()

    def _finish_one(self, name: str, writer: _Writer) -> None:
        """Say of each gap whose it is: only at the end is it known whether a writer is a gateway's, and what repairs
        say of it."""
        kind = SEQUENCE_GAP if writer.decides else SEQUENCE_GAP_RELAY
        known_until = writer.gaps[-1].end if len(writer.gaps) == GAPS_KEPT_MAX else writer.next_seq
        for gap in self._losses.explain(name, writer.gaps, known_until):
            detail = f"numbers {gap.first} to {gap.end - 1} of {name:.80} are missing"
            self._findings.add(kind, detail, gap.leaf, gap.id)
        self._say_still(name, writer)

    def _look_at_time(self, writer: _Writer, index: int, envelope: Mapping[str, Any]) -> None:
        at = envelope["at"]
        if envelope["kind"] in (DECISION, OUTCOME):  # acts wait in an outbox: theirs is when they were done
            if not writer.decides and at < self._latest - JUMP_US_MAX:
                detail = f"by {(self._latest - at) / 3_600_000_000:.1f} hours, {envelope['writer']:.80}"
                self._findings.add(CLOCK_JUMPED, detail, index, envelope["id"])
            self._latest = max(self._latest, at)
            writer.decides = True
            if at < writer.at - BACKWARDS_US_MAX:
                detail = f"by {(writer.at - at) / 1_000_000:.3f} s, in {envelope['writer']:.80}"
                self._findings.add(TIME_BACKWARDS, detail, index, envelope["id"])
            writer.at = max(writer.at, at)
        if at == writer.last_at:
            writer.still += 1
            return
        self._say_still(envelope["writer"], writer)
        writer.last_at, writer.still, writer.still_first = at, 1, (index, envelope["id"])

    def _say_still(self, name: str, writer: _Writer) -> None:
        if writer.still >= STILL_COUNT:
            detail = f"for {writer.still} entries of {name:.80}, at {writer.last_at} µs"
            self._findings.add(CLOCK_STOOD_STILL, detail, *writer.still_first)
