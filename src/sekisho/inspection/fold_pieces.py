"""Folding a text that comes in pieces, with what `normalise` does to whole ones.

What a character folds to depends on a few neighbours at most: an escape's own characters, marks and digits beside it.
So a little of what has gone is folded again before what comes, and at the end what may still become something else
waits for what follows.
"""

import re
from bisect import bisect_left
from typing import Final, NamedTuple

import numpy

from sekisho.inspection.normalise import DIGIT, SEPARATOR, FoldingTable, fold_with_offsets

NEIGHBOURS_MAX: Final = 8  # folded characters that one may depend on, to either side: three marks, a digit, and room
_BEFORE_MAX: Final = 64  # characters kept of what has gone, before it is looked at which of them count

# An escape that may go on at the end, or be the first half of a pair.
_ESCAPE_BEGUN: Final = re.compile(
    r"(?<!\\)\\+(?:u(?:[0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(?:\\+(?:u[0-9a-fA-F]{0,3})?)?))?\Z"
)


class FoldingNeighbours(NamedTuple):
    """`active`: characters without which a text folds to itself, but for those that fold `beside` a digit, which do too
    where no `pair` of them is: others stand beside these. `opening`: those at the end of a folded text that what
    follows may still make others of.
    """

    active: frozenset[str]
    beside: frozenset[str]
    pair: re.Pattern[str]
    opening: frozenset[str]


def folding_neighbours(table: FoldingTable) -> FoldingNeighbours:
    """Of a folding table. Made once: it goes through all of it."""
    changed = numpy.flatnonzero(table.codes != numpy.arange(len(table.codes)))
    # Of digits only others' folding depends, and they are no news.
    beside = numpy.flatnonzero(table.kinds > DIGIT)
    voiced = {code for letters in table.voiced.values() for code in numpy.flatnonzero(letters).tolist()}
    read_as = table.marks[beside]
    digits = {
        *numpy.flatnonzero(table.kinds == DIGIT).tolist(),
        *beside[(read_as >= ord("0")) & (read_as <= ord("9"))].tolist(),
    }
    active = {*changed.tolist(), *table.voiced, ord("\\"), ord(SEPARATOR)}
    any_digit, any_beside = (f"[{re.escape(''.join(map(chr, codes)))}]" for codes in (digits, beside.tolist()))
    return FoldingNeighbours(
        frozenset(map(chr, active)),
        frozenset(map(chr, beside.tolist())),
        re.compile(f"{any_digit}{any_beside}|{any_beside}{any_digit}"),
        frozenset(map(chr, {*beside.tolist(), *voiced})),
    )


class PieceFolding:
    """Of one text. `of` the rest of it, then `let_go` of what need not come again."""

    __slots__ = ("_before", "_first", "_neighbours", "_offsets", "_table", "_text")

    def __init__(self, table: FoldingTable, neighbours: FoldingNeighbours) -> None:
        self._table = table
        self._neighbours = neighbours
        self._before = ""  # the end of what has gone, as it came
        self._text = ""
        self._first = 0  # of the folded `_before` and `_text`, where `_text` begins
        self._offsets: list[int] | None = None

    def of(self, text: str, *, is_whole: bool) -> str:
        """`text` folded, as far as that is certain; all of it if nothing follows."""
        self._text = text
        if self._folds_to_itself(text):
            self._offsets, folded = None, text
        else:
            end = _ESCAPE_BEGUN.search(text) if not is_whole and "\\" in text else None
            text = text if end is None else text[: end.start()]
            folded, self._offsets = fold_with_offsets(self._before + text, self._table)
            self._first = bisect_left(self._offsets, len(self._before))
            folded = folded[self._first :]
        return folded if is_whole else folded[: len(folded) - self._open(folded)]

    def _folds_to_itself(self, text: str) -> bool:
        """Without looking closer: prose has long vowel marks and brackets, and few of them beside digits."""
        there = self._neighbours
        if not there.active.isdisjoint(text):
            return False
        if there.beside.isdisjoint(text):
            return True
        before = self._before[-NEIGHBOURS_MAX:]
        return there.active.isdisjoint(before) and there.pair.search(before + text) is None

    def offset(self, count: int) -> int:
        """Where in the text its first `count` folded characters end, with what is invisible after them."""
        if self._offsets is None:
            return count
        return self._offsets[self._first + count] - len(self._before)

    def uncut(self, count: int) -> int:
        """`count` folded characters, or fewer where they would end within what one character folds to."""
        if self._offsets is not None:
            place = self._first + count
            while count and place < len(self._offsets) and self._offsets[place] == self._offsets[place - 1]:
                count, place = count - 1, place - 1
        return count

    def let_go(self, count: int) -> int:
        """The first `count` characters of what `of` gave last won't come again; how many of the text they are."""
        length = self.offset(count)
        gone = self._before + self._text[:length]
        if self._offsets is not None:
            gone = gone[self._offsets[max(0, self._first + count - NEIGHBOURS_MAX)] :]
        elif len(gone) > _BEFORE_MAX:
            offsets = fold_with_offsets(gone, self._table)[1]
            gone = gone[offsets[max(0, len(offsets) - 1 - NEIGHBOURS_MAX)] :]
        self._before = gone
        return length

    def _open(self, folded: str) -> int:
        """Characters at the end that may still become others."""
        opening, count = self._neighbours.opening, 0
        while count < min(NEIGHBOURS_MAX, len(folded)) and folded[-1 - count] in opening:
            count += 1
        return count
