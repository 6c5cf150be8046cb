"""Depth 4 of an audit: the ledger held against each call that a provider knows of. Memory is flat with both.

Calls are matched by `x-request-id`, which is the request's id. The rules:

1. Which attempts must be known to the provider, and which may be: see `attempts`.
2. Calls of one id beyond the attempts that may be known are calls without a receipt; so are calls of an id that the
   ledger does not have. Calls that `sekisho providers test` made have the id of the entry that announced them.
3. Fewer calls than attempts that must be known: the provider lacks some.
4. Only the time that both cover is compared: from the first to the last entry, and from the provider's first to its
   last call, each widened by the clock tolerance. What lies outside is counted.
5. Times: the call lies between decision and outcome, widened by the clock tolerance.
6. Tokens: where the ledger has upstream's own count, the provider's may differ by the token tolerance. Where an
   interrupted attempt has an upper bound, the provider's may not exceed it. Our own estimates are not compared.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from sekisho.assurance.attempts import (
    COUNT_MAX,
    COUNTED,
    ESTIMATED,
    MAY,
    MUST,
    NONE,
    TEST,
    Attempt,
    OurAttempts,
)
from sekisho.assurance.interfaces import Tolerances, UsageRecord
from sekisho.assurance.kinds import (
    EGRESS_UNRECEIPTED,
    MISSING_AT_PROVIDER,
    NOTHING_COMPARED,
    TIME_DIFFERS,
    TOKENS_DIFFER,
)
from sekisho.assurance.rulebook import RuleBook
from sekisho.kernel.ids import is_uuid7, packed, unpacked
from sekisho.ledger.findings import Findings, Kind
from sekisho.ledger.spool import Spool

TESTS_MAX: Final = 100_000  # acts of `providers test` that are remembered; an operator does a few a week

_THEIRS: Final = struct.Struct(">16sQqqq")  # request, place, at, prompt, completion


class Call(NamedTuple):
    """A call, as the provider has it."""

    place: int
    at: int
    prompt: int
    completion: int


@dataclass(slots=True)
class Totals:
    """What was compared: calls on both sides, and the tokens of matched ones where both count them."""

    attempts: int = 0
    calls: int = 0
    matched: int = 0
    tests: int = 0
    outside: int = 0
    tokens_ledger: int = 0
    tokens_provider: int = 0


class Reconciliation:
    """`see` each entry in the log's order, then `finish`. `directory` must not exist; it is the caller's to remove.

    `calls` is read once, in `finish`; what it raises travels.
    """

    def __init__(
        self,
        findings: Findings,
        book: RuleBook,
        provider: str,
        calls: Iterable[UsageRecord],
        tolerances: Tolerances,
        directory: Path,
    ) -> None:
        self._findings = findings
        self._provider = provider
        self._calls = calls
        self._tolerances = tolerances
        directory.mkdir(mode=0o700)
        self._ours = OurAttempts(book, provider, directory / "ledger")
        self._theirs = Spool(directory / "provider", _THEIRS.size)
        self._tests: set[str] = set()
        self._period = (0, 0)  # the provider's
        self.totals = Totals()

    def see(self, index: int, envelope: Mapping[str, Any]) -> None:
        self._ours.see(index, envelope)
        body = envelope["body"]
        if body.get("act") == TEST and body.get("provider") == self._provider and len(self._tests) < TESTS_MAX:
            self._tests.add(envelope["id"])

    def finish(self) -> None:
        self._read_calls()
        for attempts, theirs in zip(self._ours.partitions(), self._theirs.partitions(), strict=True):
            calls: dict[bytes, list[Call]] = {}
            for record in theirs:
                request, *rest = _THEIRS.unpack(record)
                calls.setdefault(request, []).append(Call(*rest))
            for request in attempts.keys() | calls.keys():
                self._compare(request, attempts.get(request, []), calls.get(request, []))

    def _read_calls(self) -> None:
        first: int | None = None
        last = 0
        began, ended = self._ours.first_at, self._ours.last_at
        clock_us = self._tolerances.clock_us
        for call in self._calls:
            first = call.at if first is None else min(first, call.at)
            last = max(last, call.at)
            self.totals.calls += 1
            if call.request in self._tests:
                self.totals.tests += 1
            elif began is None or not began - clock_us <= call.at <= ended + clock_us:
                self.totals.outside += 1
            elif not is_uuid7(call.request):
                self._tell(EGRESS_UNRECEIPTED, f"call {call.place}, id {call.request[:80]!r}", None, None)
            else:
                key = packed(call.request)
                prompt, completion = (NONE if n is None else min(n, COUNT_MAX) for n in (call.prompt, call.completion))
                self._theirs.add(key, _THEIRS.pack(key, call.place, call.at, prompt, completion))
        if self.totals.calls == self.totals.outside:
            self._tell(NOTHING_COMPARED, f"{self.totals.calls} calls, none of them in the log's time", None, None)
        self._period = (0, -1) if first is None else (first - clock_us, last + clock_us)

    # Comparing

    def _compare(self, request: bytes, attempts: list[Attempt], calls: list[Call]) -> None:
        calls.sort(key=lambda call: call.at)
        must = [one for one in attempts if one.fate == MUST]
        may = [one for one in attempts if one.fate == MAY]
        self.totals.attempts += len(must) + len(may)
        for call in calls[len(must) + len(may) :]:
            known = f"the ledger has {len(must) + len(may)} of it" if attempts else "the ledger has none"
            detail = f"call {call.place}, id {unpacked(request)}: {known}"
            self._tell(EGRESS_UNRECEIPTED, detail, attempts[0] if attempts else None, request)
        # Those that must be known come first, where there are too few for all.
        paired = sorted([*must, *may][: len(calls)], key=lambda one: one.began)
        for attempt, call in zip(paired, calls, strict=False):
            self._compare_one(request, attempt, call)
        for attempt in must[len(calls) :]:
            if self._period[0] <= attempt.began and (attempt.ended or attempt.began) <= self._period[1]:
                self._tell(MISSING_AT_PROVIDER, f"{self._provider} has {len(calls)} of it", attempt, request)
            else:
                self.totals.outside += 1

    def _compare_one(self, request: bytes, attempt: Attempt, call: Call) -> None:
        self.totals.matched += 1
        clock_us = self._tolerances.clock_us
        ended = self._ours.last_at if attempt.ended is None else attempt.ended
        early_us, late_us = attempt.began - clock_us - call.at, call.at - ended - clock_us
        if early_us > 0 or late_us > 0:
            apart = f"{(max(early_us, late_us) + clock_us) / 1_000_000:.0f} s {'before' if early_us > 0 else 'after'}"
            self._tell(TIME_DIFFERS, f"call {call.place} is {apart} the attempt", attempt, request)
        for name, ours, theirs in (
            ("prompt", attempt.prompt, call.prompt),
            ("completion", attempt.completion, call.completion),
        ):
            if NONE in (ours, theirs) or attempt.source == ESTIMATED:
                continue
            self.totals.tokens_ledger += ours
            self.totals.tokens_provider += theirs
            allowed = max(self._tolerances.tokens, ours * self._tolerances.tokens_permille // 1000)
            if theirs > ours + allowed or (attempt.source == COUNTED and theirs < ours - allowed):
                detail = f"call {call.place}: {theirs} {name} tokens, the ledger has {ours}"
                self._tell(TOKENS_DIFFER, detail, attempt, request)

    def _tell(self, kind: Kind, detail: str, attempt: Attempt | None, request: bytes | None) -> None:
        self._findings.add(
            kind,
            detail,
            None if attempt is None else attempt.leaf,
            None if attempt is None else unpacked(attempt.id),
            None if request is None else unpacked(request),
        )
