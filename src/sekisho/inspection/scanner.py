"""One pass of hyperscan over folded text, and the confirmation of what it points at.

Cost is bounded: anchors of one rule count up to a share of the text's length; beyond it the text is a flood, it is
`opaque`, and every label whose anchor occurs anywhere in it is taken to be present.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

import hyperscan

from sekisho.inspection.errors import RulesError
from sekisho.inspection.normalise import needs_folding

CONTEXT_BYTES: Final = 150  # before a value, and half as many after: about 50 Japanese letters
CONTEXT_AFTER_BYTES: Final = CONTEXT_BYTES // 2
HITS_FREE: Final = 500  # per rule: a table of some hundred rows is honest
BYTES_PER_HIT: Final = 64  # beyond those, per rule: long documents pass, a flood does not
MARGIN: Final = 24  # bytes past an anchor that a shape without a tail may look at or take
_FOLD: Final = 0  # the id of the pattern that asks for folding


class Rule(NamedTuple):
    """A compiled rule; see `rules`. A shape's group `value`, where it has one, is what is labelled."""

    label: str
    anchor: bytes
    shape: re.Pattern[bytes]
    check: Callable[[bytes], bool]
    tail: int
    context: re.Pattern[bytes] | None


class Found(NamedTuple):
    """A confirmed value: byte offsets into the scanned text, end exclusive."""

    start: int
    end: int
    label: str


class ScanResult(NamedTuple):
    """`values` in order of their starts. With `fold`, fold the text and scan again. `flooded` names the labels that
    must be assumed present because there were too many anchors to look at; None: no flood.
    """

    values: list[Found]
    fold: bool
    flooded: frozenset[str] | None


_NOTHING: Final = ScanResult([], False, None)
_FOLD_FIRST: Final = ScanResult([], True, None)


class Scanner:
    """Finds values in bytes. Not for several threads at once: a database brings one scratch space."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        """Raises RulesError if hyperscan can't compile an anchor."""
        self.rules = rules
        expressions = [needs_folding().encode(), *(rule.anchor for rule in rules)]
        fold_flags = hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_SINGLEMATCH
        self._database = _compile(
            expressions, [fold_flags] + [hyperscan.HS_FLAG_SOM_LEFTMOST | hyperscan.HS_FLAG_DOTALL] * len(rules)
        )
        self._presence = _compile(
            expressions, [fold_flags] + [hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_DOTALL] * len(rules)
        )
        self._hits: list[tuple[int, int, int]] = []
        self._budget: list[int] = []

    def scan(self, text: bytes, *, folded: bool = False) -> ScanResult:
        """What is in `text`, which must begin and end with SEPARATOR and be valid UTF-8.

        `folded` says that it is folded already: then `fold` is never asked for.
        """
        hits = self._hits
        hits.clear()
        self._budget = [HITS_FREE + len(text) // BYTES_PER_HIT] * (len(self.rules) + 1)
        flood = self._run(text)
        if not hits:
            return _NOTHING
        if not folded and (flood or any(hit[0] == _FOLD for hit in hits)) and self._wants_folding(text, hits):
            return _FOLD_FIRST
        if flood:
            return ScanResult([], False, self._present(text))
        values: set[Found] = set()
        for number, start, end in hits:
            if number != _FOLD and (found := self._confirm(text, number, start, end)) is not None:
                values.add(found)
        return ScanResult(sorted(values), False, None)

    def places(self, text: bytes) -> list[tuple[Rule, int, int]] | None:
        """Where an anchor of which rule stands in folded text; None where there are too many."""
        self._hits.clear()
        self._budget = [HITS_FREE + len(text) // BYTES_PER_HIT] * (len(self.rules) + 1)
        if self._run(text):
            return None
        return [(self.rules[number - 1], start, end) for number, start, end in self._hits if number != _FOLD]

    def _run(self, text: bytes) -> bool:
        """Collect anchors; True if there were too many and the scan stopped."""
        try:
            self._database.scan(text, match_event_handler=self._on_match)
        except hyperscan.ScanTerminated:
            return True
        return False

    def _on_match(self, number: int, start: int, end: int, _flags: int, _context: object) -> bool | None:
        budget = self._budget
        budget[number] -= 1
        if budget[number] < 0:
            return True
        self._hits.append((number, start, end))
        return None

    def _wants_folding(self, text: bytes, hits: list[tuple[int, int, int]]) -> bool:
        return any(hit[0] == _FOLD for hit in hits) or _FOLD in self._numbers_present(text)

    def _present(self, text: bytes) -> frozenset[str]:
        return frozenset(self.rules[number - 1].label for number in self._numbers_present(text) if number != _FOLD)

    def _numbers_present(self, text: bytes) -> set[int]:
        """Every pattern that occurs at all, each reported once: linear whatever the text."""
        numbers: set[int] = set()

        def on_match(number: int, _start: int, _end: int, _flags: int, _context: object) -> None:
            numbers.add(number)

        self._presence.scan(text, match_event_handler=on_match)
        return numbers

    def _confirm(self, text: bytes, number: int, start: int, end: int) -> Found | None:
        rule = self.rules[number - 1]
        found = extent(rule, text, start, end)
        if found is None or not in_context(rule, text, *found, is_whole=True):
            return None
        return Found(*found, rule.label)


def extent(rule: Rule, text: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Where the value is whose anchor stands at `start` to `end`, whatever stands around it; None: there is none."""
    if rule.tail:
        match = rule.shape.match(text, start, end + rule.tail)
    else:
        match = rule.shape.search(text, start, end + MARGIN)
    if match is None:
        return None
    group = "value" if "value" in rule.shape.groupindex else 0
    return match.span(group) if rule.check(match[group]) else None


def latest_start(rule: Rule, start: int, end: int) -> int:
    """No value whose anchor stands at `start` to `end` begins after this."""
    if not rule.tail:
        return end + MARGIN
    return end + rule.tail if "value" in rule.shape.groupindex else start


def in_context(rule: Rule, text: bytes, first: int, last: int, *, is_whole: bool) -> bool | None:
    """Whether the rule's words, where it has any, stand near enough. None: not yet, and more of the text may come."""
    if rule.context is None or rule.context.search(text, max(0, first - CONTEXT_BYTES), first):
        return True
    end = last + CONTEXT_AFTER_BYTES
    if rule.context.search(text, last, end):
        return True
    return False if is_whole or end <= len(text) else None


def merged(values: list[Found]) -> list[Found]:
    """Overlapping values as one, under the label of the longest, or of the first of equals."""
    found: list[Found] = []
    longest = 0
    for value in sorted(values, key=lambda one: (one.start, -one.end, one.label)):
        length = value.end - value.start
        if found and value.start < found[-1].end:
            last = found[-1]
            label = value.label if length > longest else last.label
            found[-1] = Found(last.start, max(last.end, value.end), label)
            longest = max(longest, length)
        else:
            found.append(value)
            longest = length
    return found


def _compile(expressions: list[bytes], flags: list[int]) -> hyperscan.Database:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    try:
        database.compile(expressions=expressions, ids=list(range(len(expressions))), flags=flags)
    except hyperscan.error as error:
        if len(expressions) > 1:
            for expression, flag in zip(expressions, flags, strict=True):
                _compile([expression], [flag])  # names the one at fault
        raise RulesError(f"hyperscan can't compile {expressions[0].decode()!r}: {error}") from None
    return database
