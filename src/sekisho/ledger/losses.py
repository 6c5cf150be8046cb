"""What repairs say was lost, held against what is missing. Pure.

A repair names, in an entry of the publisher's own, what of a writer's numbers or of the log's entries nobody can read
any more. That explains a gap, and does not mend it: what was lost stays an error, and so does a repair that names as
lost what is there, because such an entry could cover up a deletion.
"""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sekisho.ledger.audit_kinds import LOSS_FALSE, LOSS_POSSIBLE, LOSS_RECOVERED, LOSS_TOLD
from sekisho.ledger.findings import Findings

REPAIR: Final = "ledger.repair"  # the act of a repair's entry
RANGES_MAX: Final = 500  # of what is lost, in one entry: far below its bound in bytes; the count says the rest
PUBLISHER: Final = "publisher"  # the writer of a repair's entry
RANGES_KEPT_MAX: Final = 100_000  # of all repairs, about 20 MB; a gap that a later one names counts as unexplained
_NUMBER_MAX: Final = 2**63 - 1

Range = tuple[int, int]  # [first, end)


class Gap(NamedTuple):
    """Numbers [first, end) of a writer that are not in the log, and the entry that came instead."""

    leaf: int  # the entry's index
    id: str
    first: int
    end: int


class Repair(NamedTuple):
    """An entry of a repair: what it says was lost. `unnamed` more were lost, of numbers above all of `ranges`.

    `rest_from`: whether there was anything from that number on, the repair could not know.
    """

    leaf: int  # the entry's index
    id: str
    ranges: tuple[Range, ...]
    unnamed: int
    rest_from: int | None


class Losses:
    """`see` each act in the log's order; then `explain` each writer's gaps, and `finish`.

    `damaged` are the entries of the log, by index, that the checkpoint does not prove; it may grow until `finish`.
    """

    def __init__(self, findings: Findings, damaged: Sequence[Range] = (), *, kept_max: int = RANGES_KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._findings = findings
        self._damaged = damaged
        self._of_writers: dict[str, list[Repair]] = {}
        self._of_log: list[Repair] = []
        self._kept = 0
        self.told_of: set[str] = set()  # writers of which something is lost as a repair says

    def see(self, index: int, envelope: Mapping[str, Any]) -> None:
        body = envelope["body"]
        if body.get("act") != REPAIR:
            return
        writer = body.get("writer")
        repair = _read(index, envelope["id"], body)
        if envelope["writer"] != PUBLISHER:
            detail = f"{envelope['writer']!r:.80} wrote it, and repairs are the publisher's to tell of"
            self._findings.add(LOSS_FALSE, detail, index, envelope["id"])
        elif repair is None or not (writer is None or isinstance(writer, str)):
            self._findings.add(LOSS_FALSE, "what it says was lost can't be read", index, envelope["id"])
        elif self._kept + len(repair.ranges) < self._kept_max:
            self._kept += 1 + len(repair.ranges)
            (self._of_log if writer is None else self._of_writers.setdefault(writer, [])).append(repair)

    def explain(self, writer: str, gaps: Sequence[Gap], known_until: int) -> list[Gap]:
        """What of a writer's gaps no repair has named. `known_until`: no number from there on was seen."""
        repairs = self._of_writers.pop(writer, [])
        missing = [*((gap.first, gap.end) for gap in gaps if gap.first < known_until), (known_until, _NUMBER_MAX)]
        for repair in repairs:
            self._hold(writer, repair, missing)
        named = _merged(pair for repair in repairs for pair in repair.ranges)
        unexplained = [gap._replace(first=a, end=b) for gap in gaps for a, b in _without((gap.first, gap.end), named)]
        for repair in repairs:
            unexplained = self._take_unnamed(writer, repair, unexplained)
        return unexplained

    def finish(self) -> None:
        for writer in list(self._of_writers):
            self.explain(writer, (), 0)
        damaged = _merged(self._damaged)
        for repair in self._of_log:
            for pair in repair.ranges:
                for first, end in _within(pair, damaged):
                    self._tell(repair, f"entries {first} to {end - 1} of the log")
                for first, end in _without(pair, damaged):
                    detail = f"entries {first} to {end - 1} of the log are here"
                    self._findings.add(LOSS_RECOVERED, detail, repair.leaf, repair.id)

    def _hold(self, writer: str, repair: Repair, missing: Sequence[Range]) -> None:
        for pair in repair.ranges:
            for first, end in _within(pair, missing):
                self._tell(repair, f"numbers {first} to {end - 1} of {writer:.80}")
                self.told_of.add(writer)
            for first, end in _without(pair, missing):
                detail = f"numbers {first} to {end - 1} of {writer:.80} are in the log"
                self._findings.add(LOSS_FALSE, detail, repair.leaf, repair.id)
        if repair.rest_from is None:
            return
        if missing[-1][0] > repair.rest_from:
            detail = f"numbers of {writer:.80} after {repair.rest_from} are in the log"
            self._findings.add(LOSS_FALSE, detail, repair.leaf, repair.id)
        else:
            detail = f"of {writer:.80}, from number {repair.rest_from} on"
            self._findings.add(LOSS_POSSIBLE, detail, repair.leaf, repair.id)

    def _take_unnamed(self, writer: str, repair: Repair, gaps: Iterable[Gap]) -> list[Gap]:
        """A repair of more ranges than fit into its entry counts the others: above those that it names, in order."""
        left, above = repair.unnamed, repair.ranges[-1][1] if repair.ranges else 0
        rest: list[Gap] = []
        for gap in gaps:
            taken = min(left, gap.end - gap.first) if gap.first >= above else 0
            if taken:
                left -= taken
                self._tell(repair, f"numbers {gap.first} to {gap.first + taken - 1} of {writer:.80}, by their count")
            if gap.first + taken < gap.end:
                rest.append(gap._replace(first=gap.first + taken))
        return rest

    def _tell(self, repair: Repair, what: str) -> None:
        detail = f"the repair of {repair.id} says that these were lost: {what}"
        self._findings.add(LOSS_TOLD, detail, repair.leaf, repair.id)


def _read(index: int, identifier: str, body: Mapping[str, Any]) -> Repair | None:
    """None for what no repair writes."""
    lost, count, rest_from = body.get("lost"), body.get("lost_count"), body.get("rest_from")
    if not isinstance(lost, list) or len(lost) > RANGES_MAX or type(count) is not int:
        return None
    ranges: list[Range] = []
    for pair in lost:
        if not isinstance(pair, list) or len(pair) != 2 or not all(type(number) is int for number in pair):
            return None
        if not (ranges[-1][1] if ranges else 0) <= pair[0] < pair[1]:
            return None
        ranges.append((pair[0], pair[1]))
    unnamed = count - sum(end - first for first, end in ranges)
    if unnamed < 0 or (unnamed and len(ranges) < RANGES_MAX):
        return None
    if not (rest_from is None or (type(rest_from) is int and rest_from >= 0)):
        return None
    return Repair(index, identifier, tuple(ranges), unnamed, rest_from)


def _merged(ranges: Iterable[Range]) -> list[Range]:
    """The same numbers as ranges that are sorted and apart."""
    merged: list[Range] = []
    for first, end in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return merged


def _within(pair: Range, ranges: Sequence[Range]) -> list[Range]:
    """The parts of a range that lie within `ranges`, which are sorted and do not overlap."""
    first, last = pair
    start = max(0, bisect.bisect_left(ranges, (first,)) - 1)
    parts: list[Range] = []
    for number in range(start, len(ranges)):
        begin, end = ranges[number]
        if begin >= last:
            break
        if end > first:
            parts.append((max(first, begin), min(last, end)))
    return parts


def _without(pair: Range, ranges: Sequence[Range]) -> list[Range]:
    """The parts of a range that lie outside `ranges`, which are sorted and do not overlap."""
    parts: list[Range] = []
    first, last = pair
    for begin, end in _within(pair, ranges):
        if begin > first:
            parts.append((first, begin))
        first = end
    if first < last:
        parts.append((first, last))
    return parts
