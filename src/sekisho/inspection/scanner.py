"""Finding values in folded text: which rules can apply at all, where their anchors are, and what confirms them.

Three steps, each bounded. One pass of hyperscan says which signs of rules and which words of context occur at all.
Where a rule's do, one more pass per label gives the places of its anchors. Each place is then confirmed by shape,
check and context. Places count up to a share of the text's length; beyond that the text is a flood, it is `opaque`,
and every label that has a place is taken to be present.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

import hyperscan

from sekisho.inspection.errors import RulesError
from sekisho.inspection.normalise import SEPARATOR, needs_folding

CONTEXT_BYTES: Final = 150  # before a value, and half as many after: about 50 Japanese letters
CONTEXT_AFTER_BYTES: Final = CONTEXT_BYTES // 2
HITS_FREE: Final = 1_000  # places of anchors in one body: a table of some hundred rows is honest
BYTES_PER_HIT: Final = 192  # beyond those: long documents pass, a flood does not
OWN_PASSES_MAX: Final = 8  # operators' rules that one text may call for: each is a pass of its own
DATABASES_MAX: Final = 1_024  # compiled sets of patterns kept: a rule set has some forty, and one for each own rule
_PIECE_BYTES: Final = 65_536
_OVERLAP_BYTES: Final = 4_608  # an operator's pattern of 1,024 characters (`own`), and what stands around it
MARGIN: Final = 24  # bytes past an anchor that a shape without a tail may look at or take
_MARK_MAX: Final = 100  # bytes of a redaction's mark; in an answer that comes in pieces no more stays in sight
_MARK: Final = re.compile(rb"\[([a-z0-9][a-z0-9._-]*)(?:#[0-9]+)?\]")
_MARK_BEGUN: Final = re.compile(rb"\[(?:[a-z0-9][a-z0-9._-]*(?:#[0-9]*)?)?\Z")  # all that may become one
_SEPARATOR_BYTE: Final = SEPARATOR.encode()
_SHOWN_MAX: Final = 200  # bytes of a pattern in a message
_CONTEXT: Final = 0  # the id of words of context, beside those of other numbers
_OTHER: Final = ""  # stands between the two in a key
_WORD: Final = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


Patterns = dict[tuple[bytes, int], int]  # (expression, hyperscan's flags) → the id that its matches have


class Rule(NamedTuple):
    """A compiled rule; see `rule_data`. A shape's group `value`, where it has one, is what is labelled.

    `head` is the anchor for `re`, and `before` what stands before it, both held to the end; `whole` is an operator's
    own pattern, in place of head and shape.
    """

    label: str
    anchor: bytes
    sign: bytes
    head: re.Pattern[bytes] | None
    before: re.Pattern[bytes] | None
    shape: re.Pattern[bytes] | None
    whole: Any
    check: Callable[[bytes], bool]
    reach: int
    lead: int
    tail: int
    context: tuple[str, ...]
    unless: tuple[str, ...]
    ignore_case: bool
    redactable: bool

    @property
    def flags(self) -> int:
        """Of the anchor. One without a shape is written over characters, others over bytes."""
        flags: int = hyperscan.HS_FLAG_CASELESS if self.ignore_case else 0
        return flags | (hyperscan.HS_FLAG_DOTALL if self.shape is not None else hyperscan.HS_FLAG_UTF8)


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


class Place(NamedTuple):
    """Where a rule may have found something: where its anchor ends (twice), or an operator's own match."""

    rule: Rule
    start: int
    end: int


class _Places(NamedTuple):
    """The anchors of one label: a database that gives their places, and the rules of each."""

    database: hyperscan.Database
    rules: tuple[tuple[Rule, ...], ...]


_NOTHING: Final = ScanResult([], False, None)
_FOLD_FIRST: Final = ScanResult([], True, None)


class Scanner:
    """Finds values in bytes. Not for several threads at once: a database brings one scratch space."""

    def __init__(self, rules: tuple[Rule, ...], databases: "Databases | None" = None) -> None:
        """Raises RulesError if hyperscan can't compile an anchor. `databases`: what was compiled before."""
        compiled = (databases or Databases()).of
        self.rules = rules
        self._labels = frozenset(rule.label.encode() for rule in rules)
        single = hyperscan.HS_FLAG_SINGLEMATCH
        patterns: Patterns = {
            (pattern.encode(), hyperscan.HS_FLAG_UTF8 | single): number
            for number, pattern in enumerate(needs_folding())
        }
        self._folding = frozenset(patterns.values())
        self._needs: list[tuple[int, int | None]] = []  # of each rule: its sign's id, its context's
        for rule in rules:
            sign = patterns.setdefault((rule.sign, rule.flags | single), len(patterns))
            context = None
            if rule.context:
                words = b"|".join(re.escape(word).encode() for word in rule.context)
                context = patterns.setdefault((words, hyperscan.HS_FLAG_CASELESS | single), len(patterns))
            self._needs.append((sign, context))
        self._presence = compiled(patterns)
        built_in = [rule for rule in rules if rule.shape is not None]
        labels = sorted({rule.label for rule in built_in})
        self._places = {label: _places_of(built_in, label, compiled) for label in labels}
        self._words = {(*rule.context, _OTHER, *rule.unless): compiled(_words(rule)) for rule in rules if rule.context}
        self._hits: list[tuple[int, int]] = []
        self._budget = 0

    def scan(self, text: bytes, *, folded: bool = False) -> ScanResult:
        """What is in `text`, which must begin and end with SEPARATOR and be valid UTF-8.

        `folded` says that it is folded already: then `fold` is never asked for.
        """
        present = self._present(text)
        if not present:
            return _NOTHING
        if not folded and not present.isdisjoint(self._folding):
            return _FOLD_FIRST
        possible = [
            rule
            for rule, (sign, context) in zip(self.rules, self._needs, strict=True)
            if sign in present and (context is None or context in present)
        ]
        return self._values(text, possible) if possible else _NOTHING

    def places(self, text: bytes, labels: frozenset[str]) -> list[Place] | None:
        """Where in folded text something of `labels` may be; None where there are too many."""
        present = self._present(text)
        if not present:
            return []
        possible = [
            rule
            for rule, (sign, _) in zip(self.rules, self._needs, strict=True)
            if rule.label in labels and sign in present
        ]
        self._budget = HITS_FREE + len(text) // BYTES_PER_HIT
        hits, _ = self._hits_of(text, {rule.label for rule in possible if rule.shape is not None})
        wanted = frozenset(map(id, possible))
        found = [Place(rule, end, end) for rules, end in hits for rule in rules if id(rule) in wanted]
        for rule in possible:
            if rule.shape is None and self._budget >= 0:
                found += self._own_places(rule, text)
        return None if self._budget < 0 else found

    def _own_places(self, rule: Rule, text: bytes) -> Iterator[Place]:
        """Of an operator's rule, wherever a match may begin: what is found hangs on nothing that stands before it."""
        text = _own_text(text)
        match = rule.whole.search(text)
        while match is not None:
            self._budget -= 1
            if self._budget < 0:
                return
            yield Place(rule, *match.span())
            start = match.start() + 1
            while start < len(text) and text[start] & 0xC0 == 0x80:
                start += 1
            match = rule.whole.search(text, start) if start < len(text) else None

    def words(self, rule: Rule, text: bytes, seen: dict[tuple[str, ...], "Words"]) -> "Words | None":
        """Where the rule's words of context stand; None for a rule that asks for none. `seen`: of this text."""
        return self._words_of(rule, text, seen) if rule.context else None

    def _present(self, text: bytes) -> set[int]:
        """Every pattern that occurs at all. In pieces, each of which sees what a pattern may match beyond its end: for
        some patterns and texts hyperscan's time is quadratic.
        """
        numbers: set[int] = set()

        def on_match(number: int, _start: int, _end: int, _flags: int, _context: object) -> None:
            numbers.add(number)

        start = 0
        while start < len(text):
            end = min(start + _PIECE_BYTES + _OVERLAP_BYTES, len(text))
            while end < len(text) and text[end] & 0xC0 == 0x80:
                end += 1  # whole characters
            self._presence.scan(text[start:end], match_event_handler=on_match)
            start = end if end == len(text) else _character_at(text, start + _PIECE_BYTES)
        return numbers

    def _values(self, text: bytes, possible: list[Rule]) -> ScanResult:
        self._budget = HITS_FREE + len(text) // BYTES_PER_HIT
        own = [rule for rule in possible if rule.shape is None]
        hits, flooded = self._hits_of(text, {rule.label for rule in possible if rule.shape is not None})
        values: set[Found] = set()
        seen: dict[tuple[str, ...], Words] = {}
        budget = self._budget
        for rule in own[:OWN_PASSES_MAX]:
            words = self._words_of(rule, text, seen) if rule.context else None
            self._budget = budget
            flooded |= self._own(text, rule, words, values)
            budget = self._budget
        flooded |= {rule.label for rule in own[OWN_PASSES_MAX:]}
        if self._budget < 0 or len(own) > OWN_PASSES_MAX:
            return ScanResult([], False, frozenset(flooded | {value.label for value in values}))
        wanted = frozenset(map(id, possible))
        for rules, end in hits:
            for rule in rules:
                if id(rule) not in wanted or (found := _confirm(rule, text, end)) is None:
                    continue
                if not rule.context or self._words_of(rule, text, seen).near(found.start, found.end):
                    values.add(found)
        return ScanResult(sorted(values), False, None)

    def _words_of(self, rule: Rule, text: bytes, seen: dict[tuple[str, ...], "Words"]) -> "Words":
        """Where the rule's words of context stand in `text`; looked for once in a scan."""
        key = (*rule.context, _OTHER, *rule.unless)
        words = seen.get(key)
        if words is None:
            self._hits.clear()
            self._budget = HITS_FREE + len(text) // BYTES_PER_HIT
            try:
                self._words[key].scan(text, match_event_handler=self._on_match)
                words = Words(text, self._hits, self._labels)
            except hyperscan.ScanTerminated:
                words = Words(text, None, self._labels)
            seen[key] = words
        return words

    def _hits_of(self, text: bytes, labels: set[str]) -> tuple[list[tuple[tuple[Rule, ...], int]], set[str]]:
        """The rules and the end of each anchor of `labels`, and the labels that have any. The budget goes below
        zero in a flood; from there on one hit of a label is enough."""
        found: list[tuple[tuple[Rule, ...], int]] = []
        with_hits: set[str] = set()
        for label in sorted(labels):
            places = self._places[label]
            self._hits.clear()
            try:
                places.database.scan(text, match_event_handler=self._on_match)
            except hyperscan.ScanTerminated:
                with_hits.add(label)
            if self._hits:
                with_hits.add(label)
                found += [(places.rules[number], end) for number, end in self._hits]
        return found, with_hits

    def _own(self, text: bytes, rule: Rule, words: "Words | None", values: set[Found]) -> set[str]:
        """Add the values of an operator's rule; its label if there were any places."""
        places: set[str] = set()
        for match in rule.whole.finditer(_own_text(text)):
            self._budget -= 1
            places.add(rule.label)
            if self._budget < 0:
                break
            first, last = match.span()
            if first == last or _within_word(text, first, last) or not rule.check(match[0]):
                continue
            if words is None or words.near(first, last):
                values.add(Found(first, last, rule.label))
        return places

    def _on_match(self, number: int, _start: int, end: int, _flags: int, _context: object) -> bool | None:
        self._budget -= 1
        if self._budget < 0:
            return True
        self._hits.append((number, end))
        return None


def _character_at(text: bytes, place: int) -> int:
    """`place`, or before it, where a character begins."""
    while text[place] & 0xC0 == 0x80:
        place -= 1
    return place


def _own_text(text: bytes) -> bytes:
    """What an operator's pattern runs over, byte by byte as long: no pattern over characters matches a byte that is in
    none, so no value reaches from one text into the next.
    """
    return text.replace(_SEPARATOR_BYTE, b"\xff")


def at_place(place: Place, text: bytes) -> Found | None:
    """The value at a place, whatever stands around it; None: there is none."""
    rule, first, last = place
    if rule.shape is not None:
        return _confirm(rule, text, last)
    if first == last or _within_word(text, first, last) or not rule.check(text[first:last]):
        return None
    return Found(first, last, rule.label)


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


def _confirm(rule: Rule, text: bytes, end: int) -> Found | None:
    """The value at the anchor that ends at `end`."""
    head = rule.head and rule.head.search(text, max(0, end - rule.reach), end)
    if head is None or rule.shape is None:
        return None
    start = head.start()
    if rule.before is not None:
        before = rule.before.search(text, max(0, start - rule.lead), start)
        match = before and rule.shape.match(text, start, end + rule.tail)
        if before is None or match is None:
            return None
        first, last = match.span("value") if "value" in rule.shape.groupindex else (before.start(), match.end())
        return Found(first, last, rule.label) if rule.check(text[first:last]) else None
    if rule.lead:
        match = rule.shape.search(text, max(0, start - rule.lead), end + (rule.tail or MARGIN))
    elif rule.tail:
        match = rule.shape.match(text, start, end + rule.tail)
    else:
        match = rule.shape.search(text, start, end + MARGIN)
    if match is None:
        return None
    first, last = match.span("value" if "value" in rule.shape.groupindex else 0)
    return Found(first, last, rule.label) if rule.check(text[first:last]) else None


def _within_word(text: bytes, first: int, last: int) -> bool:
    """Whether a longer word of ASCII letters and digits goes on before or after."""
    after = text[last : last + 1]  # nothing, where more of the text may come
    return {text[first - 1], text[first]} <= _WORD or (after != b"" and {text[last - 1], after[0]} <= _WORD)


def _within_mark(text: bytes, end: int, labels: frozenset[bytes]) -> bool:
    """Whether a word that ends at `end` stands in a redaction's mark, or a placeholder: `[label]`, `[label#1]`. What
    else stands in such brackets is no part of one: whoever writes a word there must not hide the number beside it.
    """
    start = text.rfind(b"[", max(0, end - _MARK_MAX), end)
    mark = _MARK.match(text, start, start + _MARK_MAX) if start >= 0 else None
    return mark is not None and mark.end() > end and mark[1] in labels


class Words:
    """Where words of context and of other numbers end in a text. Of too many, any place is taken to be near one."""

    def __init__(self, text: bytes, hits: list[tuple[int, int]] | None, labels: frozenset[bytes]) -> None:
        self._everywhere = hits is None
        # A redaction mark such as `[jp.my_number]` is no context for the numbers beside it.
        kept = [hit for hit in hits or () if not _within_mark(text, hit[1], labels)]
        self._ends = [end for _, end in kept]
        self._context = [number == _CONTEXT for number, _ in kept]
        begun = _MARK_BEGUN.search(text, max(0, len(text) - _MARK_MAX))
        self._mark_begun = len(text) if begun is None else begun.start()  # what follows may still make a mark of it

    def near(self, first: int, last: int) -> bool:
        """Whether the nearest word before is one of context; with no word before, whether the next behind is."""
        return self.near_so_far(first, last, len_seen=None) is True

    def near_so_far(self, first: int, last: int, *, len_seen: int | None) -> bool | None:
        """The same, of a text of which `len_seen` bytes have come (None: it is whole); None: not yet, more may come."""
        if self._everywhere:
            return True
        index = bisect_right(self._ends, first) - 1
        if index >= 0 and self._ends[index] > first - CONTEXT_BYTES:
            return self._means_context(self._ends[index], len_seen)
        behind = bisect_right(self._ends, last)
        if behind < len(self._ends) and self._ends[behind] <= last + CONTEXT_AFTER_BYTES:
            return self._means_context(self._ends[behind], len_seen)
        return False if len_seen is None or len_seen > last + CONTEXT_AFTER_BYTES else None

    def _means_context(self, end: int, len_seen: int | None) -> bool | None:
        """Of the words that end there, in whatever order: the context counts, it is the longer or as good."""
        if len_seen is not None and end > self._mark_begun:
            return None
        return any(self._context[bisect_left(self._ends, end) : bisect_right(self._ends, end)])


def _words(rule: Rule) -> Patterns:
    """Words of context, and those that mean another number, which stand by themselves."""
    context = b"|".join(re.escape(word).encode() for word in rule.context)
    patterns: Patterns = {(context, hyperscan.HS_FLAG_CASELESS): _CONTEXT}
    if rule.unless:
        others = b"|".join(re.escape(word).encode() for word in rule.unless)
        patterns[b"[^A-Za-z](?:" + others + b")", hyperscan.HS_FLAG_CASELESS] = _CONTEXT + 1
    return patterns


def _places_of(rules: Iterable[Rule], label: str, compiled: Callable[[Patterns], hyperscan.Database]) -> _Places:
    patterns: Patterns = {}
    by_anchor: list[tuple[Rule, ...]] = []
    for rule in rules:
        if rule.label == label:
            number = patterns.setdefault((rule.anchor, rule.flags), len(patterns))
            if number == len(by_anchor):
                by_anchor.append(())
            by_anchor[number] += (rule,)
    return _Places(compiled(patterns), tuple(by_anchor))


class Databases:
    """Compiled patterns, kept in their serialised form: reading that takes a thousandth of the time.

    Threads that ask for the same at the same time compile it each.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[tuple[tuple[bytes, int], int], ...], bytes] = {}

    def of(self, patterns: Patterns) -> hyperscan.Database:
        """A database of its own, with its own scratch space. Raises RulesError as `compile_patterns` does."""
        key = tuple(patterns.items())
        kept = self._kept.get(key)
        if kept is not None:
            database = hyperscan.loadb(kept, hyperscan.HS_MODE_BLOCK)
            database.scratch = hyperscan.Scratch(database)
            return database
        database = compile_patterns(patterns)
        if len(self._kept) >= DATABASES_MAX:
            self._kept.clear()  # rules have changed often
        self._kept[key] = hyperscan.dumpb(database)
        return database


def compile_patterns(patterns: Patterns) -> hyperscan.Database:
    """A database of `patterns`; raises RulesError that names one at fault."""
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    expressions, flags = [list(column) for column in zip(*patterns, strict=True)]
    try:
        database.compile(expressions=expressions, ids=list(patterns.values()), flags=flags)
    except hyperscan.error as error:
        if len(patterns) > 1:
            for pattern in patterns:
                compile_patterns({pattern: 0})
        raise RulesError(
            f"hyperscan can't compile {expressions[0][:_SHOWN_MAX].decode(errors='replace')!r}: {error}"
        ) from None
    return database
