"""Masking the values of some labels in a text, whole or as it comes in pieces.

A piece is let go as soon as nothing that may follow can change what is masked in it: no value may still be growing
(`open_ends`), be in want of a word beside it, or overlap one that is. However a text is cut into pieces, what comes
out is the same; a whole text is one piece. What has been let go stays in sight as left context, for words and borders.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from sekisho.inspection.errors import HeldTooMuch
from sekisho.inspection.normalise import (
    SEPARATOR,
    escape_begun,
    fold_characters,
    fold_marks,
    fold_with_offsets,
    marks_begun,
    open_marks,
)
from sekisho.inspection.open_ends import LOOK_BEHIND_MAX, OpenEnds
from sekisho.inspection.scanner import CONTEXT_AFTER_BYTES, CONTEXT_BYTES, Found, Scanner, extent, in_context, merged

# Held back of one text: the longest private key that a rule knows (`rules.TAIL_MAX`), and what may stand around it.
HOLD_MAX: Final = 24_576  # characters
PIECE_MAX: Final = 16_384  # characters looked at in one go: what a scan collects is bounded by its length
LEFT_BYTES: Final = CONTEXT_BYTES + LOOK_BEHIND_MAX  # in sight before what is held: words, and what look-behinds see
_OFTEN: Final = 8  # while more than this many times a piece is held, it waits for others: work stays linear
_SEPARATOR_BYTE: Final = SEPARATOR.encode()


class Value(NamedTuple):
    """`settled`: whatever follows, it is one; else it still wants a word beside it."""

    found: Found
    settled: bool


class Masking:
    """What is masked: the values of some labels. Belongs to one thread, as its scanner does."""

    def __init__(self, scanner: Scanner, labels: Iterable[str], table: Mapping[int, str | None]) -> None:
        """`table`: what folds texts. Raises RulesError for rules that can't be followed through pieces."""
        self.labels = frozenset(labels)
        self._scanner = scanner
        self.table = table
        self._rules = [rule for rule in scanner.rules if rule.label in self.labels]
        self._ends = OpenEnds((rule.shape.pattern, rule.anchor) for rule in self._rules)

    def text(self, found: Counter[str], *, separated: bool = False) -> "MaskedText":
        """A text that comes in pieces; values masked in it are counted in `found`, by label. `separated`: SEPARATOR
        stands between texts that are near each other, and no value reaches across it.
        """
        return MaskedText(self, found, separated=separated)

    def whole(self, text: str, found: Counter[str]) -> str:
        """A whole text, masked. Raises HeldTooMuch where there is more in it than can be looked at."""
        masked = self.text(found)
        return masked.feed(text) + masked.end()

    def open_from(self, text: bytes, start: int) -> int:
        return self._ends.leftmost(text, start)

    def values(self, text: bytes, start: int, *, is_whole: bool) -> list[Value]:
        """Those from `start` on. Raises HeldTooMuch for more places to look at than are bounded."""
        places = self._scanner.places(text)
        if places is None:
            raise HeldTooMuch("a part of the answer looks like more values than can be looked at")
        values: set[Value] = set()
        for rule, first, last in places:
            if rule.label not in self.labels or (span := extent(rule, text, first, last)) is None or span[0] < start:
                continue
            if in_context(rule, text, *span):
                values.add(Value(Found(*span, rule.label), True))
            elif not is_whole and span[1] + CONTEXT_AFTER_BYTES > len(text):
                values.add(Value(Found(*span, rule.label), False))
        return sorted(values)


class MaskedText:
    """One text. `held`: characters that came and were not let go."""

    __slots__ = ("_borrowed", "_found", "_left", "_masking", "_rest", "_separated", "_waiting")

    def __init__(self, masking: Masking, found: Counter[str], *, separated: bool) -> None:
        self._masking = masking
        self._found = found
        self._separated = separated
        self._left = _SEPARATOR_BYTE  # folded, let go
        self._borrowed = ""  # a digit and marks at its end: those after it fold as well
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
        if self._waiting * _OFTEN < len(self._rest) <= HOLD_MAX:
            return ""
        given = self._advance(is_whole=False)
        if len(self._rest) > HOLD_MAX:
            raise HeldTooMuch(f"a value in the answer is longer than {HOLD_MAX} characters, or never ends")
        return given

    def end(self) -> str:
        """The text is over: all that was held, masked."""
        return self._advance(is_whole=True) if self._rest else ""

    def _advance(self, *, is_whole: bool) -> str:
        self._waiting = 0
        seen = self._seen()
        if not is_whole:
            seen = seen[: escape_begun(seen)]
        characters = self._borrowed + fold_characters(seen, self._masking.table)
        folded = fold_marks(characters)[len(self._borrowed) :]
        changed = folded != seen
        if not is_whole:
            folded = folded[: max(0, len(folded) - open_marks(characters))]
        start = len(self._left)
        data = self._left + folded.encode()
        upto = len(data)
        if is_whole:
            data += _SEPARATOR_BYTE
        values = self._masking.values(data, start, is_whole=is_whole)
        if not is_whole:
            upto = self._settled_upto(data, start, values)
            if upto == start:
                return ""
        gone = len(data[start:upto].decode())
        given = self._let_go(data, upto, values, changed, is_whole)
        self._borrowed = marks_begun(characters[: len(self._borrowed) + gone])
        return given

    def _seen(self) -> str:
        """What is held, as it is read: where it stands alone our separator is a control character like others."""
        return self._rest if self._separated else self._rest.replace(SEPARATOR, "\x1f")

    def _settled_upto(self, data: bytes, start: int, values: list[Value]) -> int:
        upto = self._masking.open_from(data, start)
        while upto < len(data) and upto > start and data[upto] & 0xC0 == 0x80:
            upto -= 1  # to the beginning of a character
        for (first, last, _), settled in reversed(values):
            if first < upto and (not settled or upto < last):
                upto = first
        return upto

    def _let_go(self, data: bytes, upto: int, values: list[Value], changed: bool, is_whole: bool) -> str:
        start, rest = len(self._left), self._rest
        offsets = fold_with_offsets(self._seen(), self._masking.table)[1] if changed else None
        index = _Index(data, start, offsets, len(rest))
        length = len(rest) if is_whole else index.of(upto)
        pieces: list[str] = []
        position = 0
        for value in merged([value.found for value in values if value.settled and value.found.end <= upto]):
            first, last = index.of(value.start), index.of(value.end)
            pieces += (rest[position:first], self._mark(rest[first:last], value.label))
            position = last
        pieces.append(rest[position:length])
        self._rest = rest[length:]
        self._left = _last(data[:upto], LEFT_BYTES)
        return "".join(pieces)

    def _mark(self, value: str, label: str) -> str:
        """Where a value lies across texts, each part of it is masked: what stands between them is not its."""
        self._found[label] += 1
        mark = f"[{label}]"
        if not self._separated or SEPARATOR not in value:
            return mark
        return SEPARATOR.join(mark if part else "" for part in value.split(SEPARATOR))


class _Index:
    """Offsets into folded bytes to offsets into the text as it came."""

    __slots__ = ("_data", "_length", "_offsets", "_start")

    def __init__(self, data: bytes, start: int, offsets: list[int] | None, length: int) -> None:
        self._data = data
        self._start = start
        self._offsets = offsets
        self._length = length

    def of(self, place: int) -> int:
        characters = len(self._data[self._start : place].decode())
        return min(characters if self._offsets is None else self._offsets[characters], self._length)


def _last(data: bytes, size: int) -> bytes:
    """The end of `data`, from the beginning of a character on."""
    cut = max(0, len(data) - size)
    while cut < len(data) and data[cut] & 0xC0 == 0x80:
        cut += 1
    return data[cut:]
