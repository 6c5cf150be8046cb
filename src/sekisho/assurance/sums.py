"""Depth 4 of an audit, where the provider only tells sums: calls and tokens for each stretch of time and deployment.

A sum names no call, and nobody knows by which of its moments the provider puts a call into a stretch. So each stretch
bounds what the provider may have counted in it:

1. *At least* the attempts that it must know (see `attempts`) and that lie within the stretch with both decision and
   outcome, though clocks differ by the tolerance. *At most* all that it may know and that touch the stretch so widened;
   what ended more than ANSWER_US_MAX after it was decided was only found then to have ended.
2. More calls than that are calls without a receipt; fewer, and the provider lacks some. Each call of `sekisho providers
   test` may be there, up to TEST_CALLS_MAX for each act.
3. Tokens: the same bounds, of upstream's own counts, less or more by the token tolerance. An upper bound counts for the
   most only. With an attempt in the stretch whose tokens are our own estimate there is no most.
4. What one stretch's borders leave open, all of a deployment's stretches that lie in the log's time do not: their total
   is held to the same bounds.
5. Only time that both cover is compared: the provider's is from its first stretch's begin to its last one's end, and
   what it does not list in between is none. A stretch that reaches beyond the log's time has no most.
6. A deployment goes by its declared name or by what the provider calls it (`upstream_model`). Without a column for it
   the provider's stretches are of all its deployments together. What the provider does not list it does not know of. An
   attempt whose snapshot is not there may be in any.
"""

import bisect
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from sekisho.assurance.attempts import BOUND, COUNTED, MAY, MUST, NONE, OTHER, TEST, Attempt, OurAttempts
from sekisho.assurance.errors import UsageUnreadable
from sekisho.assurance.interfaces import Tolerances, UsageWindow
from sekisho.assurance.kinds import EGRESS_UNRECEIPTED, MISSING_AT_PROVIDER, NOTHING_COMPARED, TOKENS_DIFFER
from sekisho.assurance.rulebook import RuleBook
from sekisho.kernel.clock import utc
from sekisho.kernel.ids import unpacked
from sekisho.ledger.findings import Findings, Kind

TEST_CALLS_MAX: Final = 8  # of one `providers test` of one deployment: a few, some again with another parameter
TESTS_MAX: Final = 100_000  # acts of it that are remembered; an operator does a few a week
ANSWER_US_MAX: Final = 24 * 3_600_000_000  # recovery may say days later that something was interrupted
DEPLOYMENTS_MAX: Final = 1_000  # that the provider tells apart
STRETCHES_MAX: Final = 1_000_000  # with those that are not listed: about 1 GB is the most that they take
_CALLS, _PROMPT, _COMPLETION = range(3)
_TOKENS: Final = ((_PROMPT, "prompt"), (_COMPLETION, "completion"))


@dataclass(slots=True)
class SumTotals:
    """What was compared. `outside` counts stretches that reach beyond the log's time."""

    attempts: int = 0
    calls: int = 0
    stretches: int = 0
    outside: int = 0
    tests: int = 0


class _Named(NamedTuple):
    """An attempt that stands for all of a stretch in a finding."""

    inside: bool  # it must be in the stretch
    leaf: int
    id: bytes
    request: bytes


@dataclass(slots=True)
class _Stretch:
    """What the provider counted, and what it may have. Counts are (calls, prompt, completion); None: it doesn't say."""

    start: int
    end: int
    theirs: tuple[int | None, int | None, int | None]
    least: list[int] = field(default_factory=lambda: [0, 0, 0])
    most: list[int] = field(default_factory=lambda: [0, 0, 0])
    open_tokens: int = 0  # attempts whose tokens nobody counted
    attempts: int = 0  # that may be in it
    named: _Named | None = None

    def add(self, request: bytes, attempt: Attempt, *, inside: bool) -> None:
        """An attempt that may be in it; `inside`: it must be."""
        counted = attempt.source in (COUNTED, BOUND) and NONE not in (attempt.prompt, attempt.completion)
        self.attempts += 1
        self.open_tokens += not counted
        self._count(self.most, attempt, tokens=counted)
        if inside:
            self._count(self.least, attempt, tokens=counted and attempt.source == COUNTED)
        named = _Named(inside, attempt.leaf, attempt.id, request)
        if self.named is None or (not named.inside, named.leaf) < (not self.named.inside, self.named.leaf):
            self.named = named

    def _count(self, counts: list[int], attempt: Attempt, *, tokens: bool) -> None:
        counts[_CALLS] += 1
        if tokens:
            counts[_PROMPT] += attempt.prompt
            counts[_COMPLETION] += attempt.completion


class _Line:
    """One deployment's stretches in order, none overlapping."""

    def __init__(self, name: str | None, stretches: list[_Stretch]) -> None:
        self.name = name
        self.stretches = stretches
        self._starts = [one.start for one in stretches]
        self._ends = [one.end for one in stretches]
        self.whole: _Stretch | None = None  # all of them that lie in the log's time

    def touched(self, first_us: int, last_us: int) -> list[_Stretch]:
        """The stretches that hold an instant from `first_us` to `last_us`."""
        found = self.stretches[bisect.bisect_right(self._ends, first_us) : bisect.bisect_right(self._starts, last_us)]
        whole = self.whole
        if whole is not None and whole.start <= last_us and first_us < whole.end:
            found.append(whole)
        return found


class SumReconciliation:
    """`see` each entry in the log's order, then `finish`. `directory` must not exist; it is the caller's to remove.

    Raises UsageUnreadable for stretches that overlap without being the same.
    """

    def __init__(
        self,
        findings: Findings,
        book: RuleBook,
        provider: str,
        sums: Iterable[UsageWindow],
        tolerances: Tolerances,
        directory: Path,
    ) -> None:
        self._findings = findings
        self._provider = provider
        self._tolerances = tolerances
        self._ours = OurAttempts(book, provider, directory)
        self._tests: list[tuple[int, str]] = []  # at, deployment
        self._lines, self._period = _lines(sums)
        self.totals = SumTotals()

    def see(self, index: int, envelope: Mapping[str, Any]) -> None:
        self._ours.see(index, envelope)
        body = envelope["body"]
        if body.get("act") == TEST and body.get("provider") == self._provider and len(self._tests) < TESTS_MAX:
            self._tests.append((envelope["at"], str(body.get("deployment"))))

    def finish(self) -> None:
        clock_us, began = self._tolerances.clock_us, self._ours.first_at
        covered = None if began is None else (began - clock_us, self._ours.last_at + clock_us)
        deployments = self._ours.deployments
        for line in self._lines.values():
            line.whole = _whole(line.stretches, covered)
        for attempts in self._ours.partitions():
            for request, several in attempts.items():
                for attempt in several:
                    if attempt.fate in (MUST, MAY):
                        self._count(request, attempt, deployments)
        upstream_models = dict(deployments)
        for at, name in self._tests:
            self._count_test(at, self._listed(name, upstream_models.get(name, "")))
        for line in self._lines.values():
            self._compare_line(line, covered)
        if self.totals.outside == self.totals.stretches:
            self._findings.add(NOTHING_COMPARED, f"{self.totals.stretches} sums, none of them within the log's time")

    def _listed(self, name: str, upstream_model: str) -> _Line | None:
        """The provider's line of a deployment, if it lists one."""
        labels = (None, name, upstream_model)
        return next((self._lines[label] for label in labels if label in self._lines), None)

    def _lines_of(self, number: int, deployments: list[tuple[str, str]]) -> list[_Line]:
        if number == OTHER:
            return list(self._lines.values())
        name, upstream_model = deployments[number]
        line = self._listed(name, upstream_model)
        if line is None:
            line = self._lines[name] = _unlisted(name, self._period)
        return [line]

    def _count(self, request: bytes, attempt: Attempt, deployments: list[tuple[str, str]]) -> None:
        self.totals.attempts += 1
        clock_us = self._tolerances.clock_us
        known_us = self._ours.last_at if attempt.ended is None else attempt.ended
        ended = min(max(known_us, attempt.began), attempt.began + ANSWER_US_MAX)
        first_us, last_us = attempt.began - clock_us, ended + clock_us
        for line in self._lines_of(attempt.deployment, deployments):
            for stretch in line.touched(first_us, last_us):
                inside = attempt.fate == MUST and stretch.start <= first_us and last_us < stretch.end
                stretch.add(request, attempt, inside=inside)

    def _count_test(self, at: int, line: _Line | None) -> None:
        """Where nothing tells how the provider calls the deployment, the test may be in any line."""
        self.totals.tests += 1
        clock_us = self._tolerances.clock_us
        for one in self._lines.values() if line is None else (line,):
            for stretch in one.touched(at - clock_us, at + clock_us):
                stretch.most[_CALLS] += TEST_CALLS_MAX
                stretch.open_tokens += 1

    # Comparing

    def _compare_line(self, line: _Line, covered: tuple[int, int] | None) -> None:
        told: set[Kind] = set()
        for stretch in line.stretches:
            self.totals.stretches += 1
            self.totals.calls += stretch.theirs[_CALLS] or 0
            within = _lies_in(stretch, covered)
            self.totals.outside += not within
            told |= self._compare(line, stretch, within, frozenset())
        if line.whole is not None:
            self._compare(line, line.whole, True, frozenset(told))

    def _compare(self, line: _Line, stretch: _Stretch, within: bool, told: frozenset[Kind]) -> set[Kind]:
        """Tell what differs, but for what was `told` of a part of it; returns the kinds that differ."""
        found: set[Kind] = set()

        def tell(kind: Kind, detail: str) -> None:
            found.add(kind)
            if kind not in told:
                self._tell(kind, line, stretch, detail)

        calls, least, most = stretch.theirs[_CALLS], stretch.least, stretch.most
        if calls is not None and within and calls > most[_CALLS]:
            tell(EGRESS_UNRECEIPTED, f"{calls} calls, the ledger has at most {most[_CALLS]}")
        if calls is not None and calls < least[_CALLS]:
            tell(MISSING_AT_PROVIDER, f"{calls} calls, the ledger has at least {least[_CALLS]}")
        permille, each = self._tolerances.tokens_permille, self._tolerances.tokens * max(1, stretch.attempts)
        for which, name in _TOKENS:
            theirs = stretch.theirs[which]
            if theirs is None or (found | told) & {EGRESS_UNRECEIPTED, MISSING_AT_PROVIDER}:
                continue  # other calls have other tokens
            if theirs < least[which] - max(each, least[which] * permille // 1000):
                tell(TOKENS_DIFFER, f"{theirs} {name} tokens, the ledger has at least {least[which]}")
            elif (
                within and not stretch.open_tokens and theirs > most[which] + max(each, most[which] * permille // 1000)
            ):
                # With no call of ours in it, tokens are the sign of one that went past the ledger.
                kind = TOKENS_DIFFER if stretch.attempts or calls is not None else EGRESS_UNRECEIPTED
                tell(kind, f"{theirs} {name} tokens, the ledger has at most {most[which]}")
        return found

    def _tell(self, kind: Kind, line: _Line, stretch: _Stretch, detail: str) -> None:
        of = "" if line.name is None else f", {line.name[:80]!r}"
        named = stretch.named
        self._findings.add(
            kind,
            f"{_time(stretch.start)} to {_time(stretch.end)}{of}: {detail}",
            None if named is None else named.leaf,
            None if named is None else unpacked(named.id),
            None if named is None else unpacked(named.request),
        )


def _lines(sums: Iterable[UsageWindow]) -> tuple[dict[str | None, _Line], tuple[int, int]]:
    """The stretches of each deployment, those that are not listed put in, and the whole time that they are of."""
    listed: dict[str | None, list[UsageWindow]] = {}
    for one in sums:
        listed.setdefault(one.deployment, []).append(one)
    if None in listed and len(listed) > 1:
        raise UsageUnreadable(
            "some sums name a deployment and some do not",
            remedy="Fill the column in, or pass it over: --usage-column deployment=",
        )
    if len(listed) > DEPLOYMENTS_MAX:
        remedy = "Which column is meant? --usage-column deployment=NAME, or nothing behind the = to pass it over"
        raise UsageUnreadable(f"more than {DEPLOYMENTS_MAX} deployments", remedy=remedy)
    every = list(itertools.chain.from_iterable(listed.values()))
    if not every:
        return {}, (0, 0)
    period = min(one.start for one in every), max(one.end for one in every)
    lines: dict[str | None, _Line] = {}
    room = STRETCHES_MAX
    for name, windows in listed.items():
        lines[name] = _Line(name, _filled(name, sorted(windows), period))
        room -= len(lines[name].stretches)
        if room < 0:
            raise UsageUnreadable(f"more than {STRETCHES_MAX} stretches of time", remedy="Audit a part of them")
    return lines, period


def _filled(name: str | None, windows: list[UsageWindow], period: tuple[int, int]) -> list[_Stretch]:
    """Stretches from the period's begin to its end without a hole. What a provider does not list, it counted nought."""
    said = [any(window[place] is not None for window in windows) for place in (3, 4, 5)]
    nought = (0 if said[0] else None, 0 if said[1] else None, 0 if said[2] else None)
    stretches: list[_Stretch] = []
    until = period[0]
    for window in windows:
        if window.start < until:
            raise UsageUnreadable(
                f"the sums of {'all deployments' if name is None else name!r:.100} from {_time(window.start)} overlap",
                remedy="Stretches of time follow each other; those that are the same are added up",
            )
        if window.start > until:
            stretches.append(_Stretch(until, window.start, nought))
        stretches.append(_Stretch(window.start, window.end, (window.calls, window.prompt, window.completion)))
        until = window.end
    if until < period[1]:
        stretches.append(_Stretch(until, period[1], nought))
    return stretches


def _unlisted(name: str, period: tuple[int, int]) -> _Line:
    """Of a deployment that the provider does not list: it knows of no call there."""
    stretches = [_Stretch(*period, (0, None, None))] if period[0] < period[1] else []
    return _Line(name, stretches)


def _whole(stretches: list[_Stretch], covered: tuple[int, int] | None) -> _Stretch | None:
    within = [one for one in stretches if _lies_in(one, covered)]
    if len(within) < 2:
        return None
    calls, prompt, completion = (_total(one.theirs[which] for one in within) for which in range(3))
    return _Stretch(within[0].start, within[-1].end, (calls, prompt, completion))


def _total(counts: Iterable[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def _lies_in(stretch: _Stretch, covered: tuple[int, int] | None) -> bool:
    return covered is not None and covered[0] <= stretch.start and stretch.end <= covered[1]


def _time(at_us: int) -> str:
    return utc(at_us) or f"{at_us} µs"
