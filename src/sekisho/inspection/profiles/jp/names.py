"""Personal names by morphological analysis (Sudachi): what the dictionary knows as family and given names.

A heuristic with known limits: names are found in Japanese script only. A family name alone counts only before an
honorific, because most family names are words of the language and names of places too.
"""

import functools
import importlib
import importlib.util
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sekisho.inspection.errors import RulesError
from sekisho.inspection.normalise import SEPARATOR
from sekisho.inspection.profiles.profile import NameFinder

# Characters analysed at a time. Sudachi takes 65,535 bytes after a normalisation of its own (NFKC), in which one
# character may come to 33 (U+FDFA).
PIECE_MAX: Final = 1_900
_PERSON: Final = "人名"
_FAMILY: Final = "姓"
_HONORIFICS: Final = frozenset(
    {"さん", "さま", "様", "氏", "君", "くん", "ちゃん", "殿", "先生", "教授", "医師", "弁護士"}
)
_BETWEEN: Final = frozenset({" ", "\u3000", "・"})
_ENDS: Final = "\n。、！？,\t" + SEPARATOR


def make_names() -> NameFinder:
    """Raises RulesError without SudachiPy or a dictionary."""
    missing = [name for name in ("sudachipy", "sudachidict_core") if importlib.util.find_spec(name) is None]
    if missing:
        raise RulesError(
            f"person.name is asked for, and {' and '.join(missing)} can't be found",
            remedy="Install them: pip install 'sekisho[names]'; or remove what asks for person.name",
        )
    sudachi: Any = importlib.import_module("sudachipy")  # only where it is asked for: its dictionary has 200 MB
    return SudachiNames(_dictionary().tokenizer(mode=sudachi.SplitMode.C))


@functools.cache
def _dictionary() -> Any:
    """Read once in a process, 1 s and 75 MB: every snapshot has two finders, and the dictionary never changes."""
    sudachi: Any = importlib.import_module("sudachipy")
    try:
        return sudachi.Dictionary(dict="core")
    except sudachi.errors.SudachiError as error:
        raise RulesError(
            f"person.name is asked for, and Sudachi can't read its dictionary: {error}",
            remedy="Install both again: pip install --force-reinstall 'sekisho[names]'",
        ) from None


class SudachiNames:
    """A `NameFinder` over a tokenizer of Sudachi."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def find(self, text: str) -> Iterable[tuple[int, int]]:
        for start, piece in _pieces(text):
            if not piece.isascii():
                for first, last in self._in_piece(piece):
                    yield start + first, start + last

    def _in_piece(self, piece: str) -> Iterator[tuple[int, int]]:
        """Runs of name tokens that hold two names of a person, or one before an honorific."""
        run: list[tuple[int, int, str]] = []
        gap = 0
        for token in self._tokenizer.tokenize(piece):
            kind = token.part_of_speech()
            if kind[2] == _PERSON:
                run.append((token.begin(), token.end(), kind[3]))
                gap = 0
            elif run and gap == 0 and token.surface() in _BETWEEN:
                gap = 1
            else:
                if run and _is_name(run, token.surface()):
                    yield run[0][0], run[-1][1]
                run, gap = [], 0
        if run and _is_name(run, ""):
            yield run[0][0], run[-1][1]


def _is_name(run: list[tuple[int, int, str]], following: str) -> bool:
    """Two family names in a row are more often companies or places; foreign names bear neither mark."""
    return (len(run) > 1 and any(part != _FAMILY for _, _, part in run)) or following in _HONORIFICS


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """`text` in pieces that end with a sentence where there is one, with their starts."""
    start = 0
    while start < len(text):
        end = min(start + PIECE_MAX, len(text))
        if end < len(text):
            cut = max(text.rfind(mark, start + PIECE_MAX // 2, end) for mark in _ENDS)
            end = cut + 1 if cut > 0 else end
        yield start, text[start:end]
        start = end
