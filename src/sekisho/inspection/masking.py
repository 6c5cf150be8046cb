"""Masking the values of some labels in a text, whole or as it comes in pieces.

A piece is let go as soon as nothing that may follow can change what is masked in it: no value may still be growing
(`open_ends`), be in want of a word beside it, overlap one that is, or stand in a sentence that is not over where
sentences are what is looked at. However a text is cut into pieces, what comes out is the same; a whole text is one
piece. What has been let go stays in sight as left context, for words and borders.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from sekisho.inspection.body import FIXED_KEYS
from sekisho.inspection.errors import HeldTooMuch, RulesError
from sekisho.inspection.fold_pieces import PieceFolding, folding_neighbours
from sekisho.inspection.interfaces import OPAQUE
from sekisho.inspection.normalise import SEPARATOR, FoldingTable, fold
from sekisho.inspection.open_ends import LOOK_BEHIND_MAX, OpenEnds
from sekisho.inspection.scanner import CONTEXT_BYTES, MARGIN, Found, Rule, Scanner, Words, at_place, merged

# Held back of one text: the longest private key that a rule knows (`rules.TAIL_MAX`), and what may stand around it.
HOLD_MAX: Final = 24_576  # characters
PIECE_MAX: Final = 2_048  # characters looked at in one go: a page of nothing but values is no flood
SENTENCE_MAX: Final = 1_000  # characters; a longer one is looked at in pieces of this size
FIELDS_MAX: Final = 1_024  # names of fields remembered: the same in every answer
_SENTENCE_ENDS: Final = frozenset("\n。！？" + SEPARATOR)
_AT_ONCE: Final = 512  # characters; while more are held …
_OFTEN: Final = 8  # … a piece waits for others until they are an eighth of it: so work stays linear
_SEPARATOR_BYTE: Final = SEPARATOR.encode()


class SentenceFinder(Protocol):
    """Finds values by reading sentences, as morphological analysis does. Belongs to one thread."""

    def find(self, text: str) -> Iterable[tuple[int, int]]:
        """Of one sentence of folded text, offsets of characters, end exclusive."""
        ...


class Value(NamedTuple):
    """`settled`: whatever follows, it is one; else it still wants a word beside it."""

    found: Found
    settled: bool


class Masking:
    """What is masked: the values of some labels. Belongs to one thread, as its scanner does."""

    def __init__(
        self,
        scanner: Scanner,
        labels: Iterable[str],
        table: FoldingTable,
        finders: Mapping[str, tuple[SentenceFinder, ...]] | None = None,
    ) -> None:
        """`table`: what folds texts. `finders` by the label that they find.

        Raises RulesError for labels that nothing finds, and for rules that can't be followed through pieces.
        """
        self.labels = frozenset(labels)
        self.table = table
        self.neighbours = folding_neighbours(table)
        self.finders = {label: found for label, found in (finders or {}).items() if label in self.labels}
        self._scanner = scanner
        rules = [rule for rule in scanner.rules if rule.label in self.labels]
        unknown = self.labels - {rule.label for rule in rules} - self.finders.keys() - {OPAQUE}
        if unknown:
            raise RulesError(f"nothing finds {', '.join(sorted(unknown))} in answers, so it can't be masked there")
        self._ends = OpenEnds(map(_open_while, rules))
        words = [len(word.encode()) for rule in rules for word in (*rule.context, *rule.unless)]
        self._before: dict[tuple[str, ...], bytes] = {(): _SEPARATOR_BYTE}  # what the names of fields come to
        # In sight before what is held: words, and what look-behinds see.
        self.left_bytes = CONTEXT_BYTES + max(words, default=0) + LOOK_BEHIND_MAX

    def text(self, found: Counter[str], *, separated: bool = False, fields: tuple[str, ...] = ()) -> "MaskedText":
        """A text that comes in pieces; values masked in it are counted in `found`, by label. `separated`: SEPARATOR
        stands between texts that are near each other, and no value reaches across it. `fields`: the names of those
        that hold it, which are read before it as they are in requests.
        """
        before = self._before.get(fields)
        if before is None:
            named = [name.replace(SEPARATOR, "\x1f") for name in fields if name not in FIXED_KEYS]
            before = _last(fold(SEPARATOR.join(("", *named, "")), self.table).encode(), self.left_bytes)
            if len(self._before) < FIELDS_MAX and sum(map(len, fields)) <= self.left_bytes:
                self._before[fields] = before
        return MaskedText(self, found, before, separated=separated)

    def whole(self, text: str, found: Counter[str], *, fields: tuple[str, ...] = ()) -> str:
        """A whole text, masked. Raises HeldTooMuch where there is more in it than can be looked at."""
        masked = self.text(found, fields=fields)
        last = max(0, len(text) - PIECE_MAX)
        return (masked.feed(text[:last]) if last else "") + masked.end(text[last:])

    def open_from(self, text: bytes, start: int) -> int:
        """Where from `start` on a value may have begun that is not over."""
        return self._ends.leftmost(text, start)

    def values(self, text: bytes, start: int, *, is_whole: bool) -> list[Value]:
        """Those that rules find from `start` on. Raises HeldTooMuch for more places to look at than are bounded."""
        places = self._scanner.places(text, self.labels)
        if places is None:
            raise HeldTooMuch("a part of the answer looks like more values than can be looked at")
        values: set[Value] = set()
        seen: dict[tuple[str, ...], Words] = {}
        for place in places:
            if place.end + (place.rule.tail or MARGIN) <= start:
                continue  # ends before: it has been let go, and stands in sight only
            found = at_place(place, text)
            if found is None or found.start < start:
                continue
            words = self._scanner.words(place.rule, text, seen)
            near = words is None or words.near_so_far(found.start, found.end, len_seen=None if is_whole else len(text))
            if near is not False:
                values.add(Value(found, near is True))
        return sorted(value for value in values if value.settled or not _is_covered(value.found, values))

    def in_sentences(self, text: bytes, start: int) -> list[Value]:
        """Those that finders find in the sentences of `text` from `start` on."""
        values: list[Value] = []
        for sentence in _sentences(text[start:].decode()):
            for label, finders in self.finders.items():
                for first, last in (span for finder in finders for span in finder.find(sentence)):
                    place = start + len(sentence[:first].encode())
                    values.append(Value(Found(place, place + len(sentence[first:last].encode()), label), True))
            start += len(sentence.encode())
        return values


class MaskedText:
    """One text. See `interfaces.MaskedText`."""

    __slots__ = ("_folding", "_found", "_left", "_masking", "_rest", "_separated", "_waiting")

    def __init__(self, masking: Masking, found: Counter[str], before: bytes, *, separated: bool) -> None:
        """`before`: what stands before it, folded; it ends with SEPARATOR."""
        self._masking = masking
        self._found = found
        self._separated = separated
        self._folding = PieceFolding(masking.table, masking.neighbours)
        self._left = before  # folded, let go
        self._rest = ""  # as it came, held
        self._waiting = 0  # of it, not yet looked at

    @property
    def held(self) -> int:
        return len(self._rest)

    def feed(self, piece: str) -> str:
        """What can be let go, masked. Raises HeldTooMuch beyond HOLD_MAX: then nothing of this text may follow."""
        if len(piece) > PIECE_MAX:
            return "".join([self.feed(piece[at : at + PIECE_MAX]) for at in range(0, len(piece), PIECE_MAX)])
        self._rest += piece
        self._waiting += len(piece)
        if _AT_ONCE < len(self._rest) <= HOLD_MAX and self._waiting * _OFTEN < len(self._rest):
            return ""
        given = self._advance(is_whole=False)
        if len(self._rest) > HOLD_MAX:
            raise HeldTooMuch(f"a value in the answer is longer than {HOLD_MAX} characters, or never ends")
        return given

    def end(self, piece: str = "") -> str:
        """The text is over with this piece: all that was held, masked."""
        self._rest += piece
        return self._advance(is_whole=True) if self._rest else ""

    def _advance(self, *, is_whole: bool) -> str:
        self._waiting = 0
        # Where a text stands alone, our separator in it is a control character like others.
        seen = self._rest if self._separated else self._rest.replace(SEPARATOR, "\x1f")
        folded = self._folding.of(seen, is_whole=is_whole)
        start = len(self._left)
        data = self._left + folded.encode()
        upto = len(data)
        if is_whole:
            data += _SEPARATOR_BYTE
        masking = self._masking
        values = masking.values(data, start, is_whole=is_whole)
        if not is_whole:
            upto = _settled_upto(data, start, values, masking.open_from(data, start))
        if masking.finders:
            if not is_whole:
                upto = _sentences_upto(data, start, values, upto)
            values = sorted(values + masking.in_sentences(data[:upto], start))
        if not is_whole:
            upto = self._uncut(data, start, values, upto)
        if upto == start and not is_whole:
            return ""
        done = merged([value.found for value in values if value.settled and value.found.end <= upto])
        given: list[str] = []
        position = 0
        for value in done:
            first, last = (self._folding.offset(len(data[start:at].decode())) for at in (value.start, value.end))
            given += (self._rest[position:first], self._mark(self._rest[first:last], value.label))
            position = last
        length = len(seen) if is_whole else self._folding.let_go(len(data[start:upto].decode()))
        given.append(self._rest[position:length])
        self._rest = self._rest[length:]
        self._left = _last(data[:upto], masking.left_bytes)
        return "".join(given)

    def _uncut(self, data: bytes, start: int, values: list[Value], upto: int) -> int:
        """`upto`, or less where that would cut what one character folds to in two."""
        while True:
            count = self._folding.uncut(len(data[start:upto].decode()))
            uncut = start + len(data[start:].decode()[:count].encode())
            if uncut == upto:
                return upto
            upto = _without_cutting(values, uncut, len(data))

    def _mark(self, value: str, label: str) -> str:
        """Where a value lies across texts, each part of it is masked: what stands between them is not its."""
        self._found[label] += 1
        mark = f"[{label}]"
        if not self._separated or SEPARATOR not in value:
            return mark
        return SEPARATOR.join(mark if part else "" for part in value.split(SEPARATOR))


def _open_while(rule: Rule) -> tuple[str | bytes, str | bytes, int]:
    """What of a rule `OpenEnds` follows: an operator's pattern is over characters, others over bytes."""
    if rule.shape is None:
        pattern = ("(?i)" if rule.ignore_case else "") + rule.anchor.decode()
        return pattern, pattern, 0
    shape = rule.shape.pattern
    if rule.before is not None:
        shape = b"(?:%b)%b" % (rule.before.pattern.removesuffix(b"\\Z"), shape)
    return shape, rule.anchor, rule.lead


def _is_covered(found: Found, values: Iterable[Value]) -> bool:
    """Whether a settled value makes it all the same whether this is one."""
    return any(
        settled
        and start <= found.start
        and found.end <= end
        and (label == found.label or end - start > found.end - found.start)
        for (start, end, label), settled in values
    )


def _settled_upto(data: bytes, start: int, values: list[Value], opened: int) -> int:
    """How far nothing is open, unsettled, or cut in two."""
    while start < opened < len(data) and data[opened] & 0xC0 == 0x80:
        opened -= 1  # to the beginning of a character
    # What is invisible after a value goes with it: one that ends here waits for what follows.
    return _without_cutting(values, opened, len(data))


def _without_cutting(values: list[Value], upto: int, end: int) -> int:
    for (first, last, _), settled in reversed(values):
        if first < upto and (not settled or upto < last or last == end):
            upto = first
    return upto


def _sentences_upto(data: bytes, start: int, values: list[Value], upto: int) -> int:
    """The end of the last sentence that is over by then, and in no value: none is looked at in two halves."""
    ends = [start]
    for sentence in _sentences(data[start:upto].decode()):
        if len(sentence) == SENTENCE_MAX or sentence[-1] in _SENTENCE_ENDS:
            ends.append(ends[-1] + len(sentence.encode()))
    while _without_cutting(values, ends[-1], len(data)) != ends[-1]:
        ends.pop()
    return ends[-1]


def _sentences(text: str) -> Iterable[str]:
    start = 0
    for place, character in enumerate(text):
        if character in _SENTENCE_ENDS or place - start + 1 == SENTENCE_MAX:
            yield text[start : place + 1]
            start = place + 1
    if start < len(text):
        yield text[start:]


def _last(data: bytes, size: int) -> bytes:
    """The end of `data`, from the beginning of a character on."""
    cut = max(0, len(data) - size)
    while cut < len(data) and data[cut] & 0xC0 == 0x80:
        cut += 1
    return data[cut:]
