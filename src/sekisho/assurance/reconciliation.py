"""Depth 4 of an audit: the ledger held against what a provider knows of our calls. Memory is flat with both.

Calls are matched by `x-request-id`, which is the request's id. The rules:

1. An attempt *must* be known to the provider if its outcome is `complete` with status 200. It *may* be, if a byte
   left, or nobody knows whether one did (`interrupted`). Otherwise it must not.
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

from sekisho.assurance.interfaces import Tolerances, UsageRecord
from sekisho.assurance.kinds import EGRESS_UNRECEIPTED, MISSING_AT_PROVIDER, TIME_DIFFERS, TOKENS_DIFFER
from sekisho.assurance.rulebook import RuleBook
from sekisho.kernel.ids import is_uuid7, packed, unpacked
from sekisho.ledger.findings import Findings, Kind
from sekisho.ledger.spool import Spool
from sekisho.snapshot.interfaces import SnapshotError

DECISION: Final = "decision"
OUTCOME: Final = "outcome"
TEST: Final = "provider.test"
_NONE: Final = -1
_COUNT_MAX: Final = 2**62

# what, request, decision's id, index, at, prompt, completion, source and fate
_OURS: Final = struct.Struct(">B16s16sQqqqBB")
_THEIRS: Final = struct.Struct(">16sQqqq")  # request, place, at, prompt, completion
_DECIDED, _PERHAPS, _ENDED = range(3)  # perhaps: without its snapshot, nobody knows whose deployment it was
_MUST, _MAY, _NOT = range(3)
_COUNTED, _BOUND, _ESTIMATED = range(3)


class Attempt(NamedTuple):
    """An attempt at the provider, as the ledger has it."""

    leaf: int
    id: bytes
    began: int
    certain: bool = True  # that it was this provider's
    ended: int | None = None
    prompt: int = _NONE
    completion: int = _NONE
    source: int = _ESTIMATED
    fate: int = _MAY  # without an outcome nobody knows


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
        self._book = book
        self._provider = provider
        self._calls = calls
        self._tolerances = tolerances
        directory.mkdir(mode=0o700)
        self._ours = Spool(directory / "ledger", _OURS.size)
        self._theirs = Spool(directory / "provider", _THEIRS.size)
        self._tests: set[str] = set()
        self._first_at: int | None = None
        self._last_at = 0
        self._period = (0, 0)  # the provider's
        self.totals = Totals()

    def see(self, index: int, envelope: Mapping[str, Any]) -> None:
        at, kind, body = envelope["at"], envelope["kind"], envelope["body"]
        self._first_at = at if self._first_at is None else min(self._first_at, at)
        self._last_at = max(self._last_at, at)
        request = envelope.get("request")
        if body.get("act") == TEST and body.get("provider") == self._provider:
            self._tests.add(envelope["id"])
        elif not isinstance(request, str) or not is_uuid7(request):
            return
        elif kind == DECISION:
            what = self._is_of_provider(body)
            if what is not None:
                self._set_aside(what, request, envelope["id"], index, at)
        elif kind == OUTCOME and isinstance(body.get("decision"), str) and is_uuid7(body["decision"]):
            self._set_aside(_ENDED, request, body["decision"], index, at, body)

    def finish(self) -> None:
        self._read_calls()
        for ours, theirs in zip(self._ours.partitions(), self._theirs.partitions(), strict=True):
            attempts = _attempts(ours)
            calls: dict[bytes, list[Call]] = {}
            for record in theirs:
                request, *rest = _THEIRS.unpack(record)
                calls.setdefault(request, []).append(Call(*rest))
            for request in attempts.keys() | calls.keys():
                self._compare(request, attempts.get(request, []), calls.get(request, []))

    # Setting aside

    def _is_of_provider(self, body: Mapping[str, Any]) -> int | None:
        chosen, asked = body.get("chosen"), body.get("input")
        if not isinstance(chosen, dict) or not isinstance(asked, dict):
            return None
        try:
            providers = self._book.rules(str(asked.get("snapshot"))).providers
        except SnapshotError:
            return _PERHAPS
        return _DECIDED if providers.get(str(chosen.get("deployment"))) == self._provider else None

    def _set_aside(
        self, what: int, request: str, decision: str, index: int, at: int, body: Mapping[str, Any] | None = None
    ) -> None:
        key = packed(request)
        prompt, completion, source = _usage({} if body is None else body)
        fate = _MAY if body is None else _fate(body)
        record = _OURS.pack(what, key, packed(decision), index, at, prompt, completion, source, fate)
        self._ours.add(key, record)

    def _read_calls(self) -> None:
        first: int | None = None
        last = 0
        clock_us = self._tolerances.clock_us
        for call in self._calls:
            first = call.at if first is None else min(first, call.at)
            last = max(last, call.at)
            self.totals.calls += 1
            if call.request in self._tests:
                self.totals.tests += 1
            elif self._first_at is None or not self._first_at - clock_us <= call.at <= self._last_at + clock_us:
                self.totals.outside += 1
            elif not is_uuid7(call.request):
                self._tell(EGRESS_UNRECEIPTED, f"call {call.place}, id {call.request[:80]!r}", None, None)
            else:
                key = packed(call.request)
                prompt, completion = (
                    _NONE if n is None else min(n, _COUNT_MAX) for n in (call.prompt, call.completion)
                )
                self._theirs.add(key, _THEIRS.pack(key, call.place, call.at, prompt, completion))
        self._period = (0, -1) if first is None else (first - clock_us, last + clock_us)

    # Comparing

    def _compare(self, request: bytes, attempts: list[Attempt], calls: list[Call]) -> None:
        calls.sort(key=lambda call: call.at)
        must = [one for one in attempts if one.fate == _MUST]
        may = [one for one in attempts if one.fate == _MAY]
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
        ended = self._last_at if attempt.ended is None else attempt.ended
        early_us, late_us = attempt.began - clock_us - call.at, call.at - ended - clock_us
        if early_us > 0 or late_us > 0:
            apart = f"{(max(early_us, late_us) + clock_us) / 1_000_000:.0f} s {'before' if early_us > 0 else 'after'}"
            self._tell(TIME_DIFFERS, f"call {call.place} is {apart} the attempt", attempt, request)
        for name, ours, theirs in (
            ("prompt", attempt.prompt, call.prompt),
            ("completion", attempt.completion, call.completion),
        ):
            if _NONE in (ours, theirs) or attempt.source == _ESTIMATED:
                continue
            self.totals.tokens_ledger += ours
            self.totals.tokens_provider += theirs
            allowed = max(self._tolerances.tokens, ours * self._tolerances.tokens_permille // 1000)
            if theirs > ours + allowed or (attempt.source == _COUNTED and theirs < ours - allowed):
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


def _attempts(records: Iterable[bytes]) -> dict[bytes, list[Attempt]]:
    """Attempts at the provider by request; outcomes of other providers' fall away."""
    found: dict[bytes, dict[bytes, Attempt]] = {}
    for record in records:
        what, request, decision, leaf, at, prompt, completion, source, fate = _OURS.unpack(record)
        attempts = found.get(request, {}) if what == _ENDED else found.setdefault(request, {})
        if what != _ENDED:
            attempts[decision] = Attempt(leaf, decision, at, certain=what == _DECIDED)
        elif decision in attempts:
            known = attempts[decision]
            fate = fate if known.certain or fate == _NOT else _MAY
            attempts[decision] = known._replace(
                ended=at, prompt=prompt, completion=completion, source=source, fate=fate
            )
    return {request: list(attempts.values()) for request, attempts in found.items()}


def _fate(body: Mapping[str, Any]) -> int:
    if body.get("ended") == "complete" and body.get("status") == 200:
        return _MUST
    return _NOT if body.get("written") is False else _MAY


def _usage(body: Mapping[str, Any]) -> tuple[int, int, int]:
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return _NONE, _NONE, _ESTIMATED
    source = {"upstream": _COUNTED, "upper_bound": _BOUND}.get(str(usage.get("source")), _ESTIMATED)
    prompt, completion = (
        value if type(value) is int and 0 <= value <= _COUNT_MAX else _NONE
        for value in (usage.get("prompt"), usage.get("completion"))
    )
    return prompt, completion, source
