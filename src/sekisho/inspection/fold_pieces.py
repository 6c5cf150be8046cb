"""Folding a text that comes in pieces: what folds as it does whatever follows, and what must stand before the rest.

Two things in `normalise` look at neighbours: an escape at what it is not yet whole without, and marks at digits.
"""

import re
from collections.abc import Mapping
from typing import Final

from sekisho.inspection.normalise import MARKS, MARKS_MAX, NEAR, fold_characters, fold_marks, fold_with_offsets

# An escape that may go on at the end, or be the first half of a pair.
_ESCAPE_BEGUN: Final = re.compile(
    r"(?<!\\)\\+(?:u(?:[0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(?:\\+(?:u[0-9a-fA-F]{0,3})?)?))?\Z"
)
_MARKS_BEGUN: Final = re.compile(f"[0-9][{NEAR}]*\\Z")
_OPEN_MARKS: Final = frozenset(MARKS)


class PieceFolding:
    """Of one text. `of` the rest of it, then `let_go` of what need not come again."""

    __slots__ = ("_before", "_changed", "_characters", "_table")

    def __init__(self, table: Mapping[int, str | None]) -> None:
        self._table = table
        self._before = ""  # a digit and marks at the end of what has gone: those after it fold as well
        self._characters = ""
        self._changed = False

    def of(self, text: str, *, is_whole: bool) -> str:
        """`text` folded, as far as that is certain; all of it if nothing follows."""
        if not is_whole and "\\" in text and (begun := _ESCAPE_BEGUN.search(text)):
            text = text[: begun.start()]
        self._characters = self._before + fold_characters(text, self._table)
        folded = fold_marks(self._characters)[len(self._before) :]
        self._changed = folded != text
        return folded if is_whole else folded[: max(0, len(folded) - self._open_marks())]

    def offsets(self, text: str) -> list[int] | None:
        """For each character of `of(text)`, its end included, the offset into `text`; None where all are the same."""
        return fold_with_offsets(text, self._table)[1] if self._changed else None  # nearly always none has changed

    def let_go(self, count: int) -> None:
        """The first `count` characters of what `of` gave last won't come again."""
        gone = self._characters[: len(self._before) + count]
        begun = _MARKS_BEGUN.search(gone[-MARKS_MAX:])
        self._before = begun[0] if begun else ""

    def _open_marks(self) -> int:
        """Marks at the end that a digit may still come after, and so make others of."""
        characters, count = self._characters, 0
        while count < min(MARKS_MAX, len(characters)) and characters[-1 - count] in _OPEN_MARKS:
            count += 1
        return count
