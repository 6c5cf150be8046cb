"""Folding text to what rules are written for, with a way back to the original offsets.

Folded: digits and letters of every width and style to ASCII (the digit-and-letter part of NFKC, UAX #15), dashes to
`-`, spaces to one kind, invisible characters away, `\\uXXXX` escapes (JSON inside a string) to what they mean.
NFKC alone leaves dashes, the long vowel mark and invisible characters as they are, and those are what people type
and what hides a number.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

SEPARATOR: Final = "\x1e"  # stands between joined strings; taken out of the strings themselves

_DASHES: Final = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\ufe58\ufe63\uff0d"
_SPACES: Final = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_BRACKETS: Final = "\uff08\uff09"
_LONG_VOWEL: Final = "\u30fc\uff70"  # ー and its half-width form: a dash only after a digit (マイナンバー must stay)
_INVISIBLE: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff"
)
_CONTROLS: Final = "\x00-\x08\x0b\x0c\x0e-\x1d\x1f\x7f"
# Blocks whose members NFKC folds to ASCII digits, letters or signs: full width, superscripts and subscripts,
# enclosed and mathematical forms (of full width, not the marks of prose).
_STYLED: Final = (
    "\u00b2\u00b3\u00b9\u2070-\u209c\u2460-\u24ff\u2776-\u2793\ufe50-\ufe6b"
    "\uff02-\uff07\uff0a\uff0b\uff0e-\uff19\uff1d\uff20-\uff3a\uff3c\uff3f-\uff5a\uff5e"
    "\U0001d400-\U0001d7ff\U0001f100-\U0001f12f\U0001fbf0-\U0001fbf9"
)
# Other scripts' decimal digits (general category Nd), which NFKC leaves alone and models read.
_DIGIT_ZEROS: Final = (
    *(0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0E50, 0x0ED0),
    *(0x0F20, 0x1040, 0x17E0, 0x1810),
)
_DIGITS: Final = "".join(f"{chr(zero)}-{chr(zero + 9)}" for zero in _DIGIT_ZEROS)
_STYLED_DIGITS: Final = (
    "\u00b2\u00b3\u00b9\u2070-\u2089\u2460-\u2473\uff10-\uff19\U0001d7ce-\U0001d7ff\U0001f100-\U0001f10a"
)

_FOLDABLE: Final = re.compile(f"[{_STYLED}{_DIGITS}{_INVISIBLE}{_CONTROLS}]+")
_ESCAPE: Final = re.compile(r"\\+u([dD][89abAB][0-9a-fA-F]{2})\\+u([dD][c-fC-F][0-9a-fA-F]{2})|\\+u([0-9a-fA-F]{4})")
_MARKS: Final = _DASHES + _SPACES + _BRACKETS
# What makes folding necessary, as a pattern for a UTF-8 aware engine: most Japanese text holds ー, full-width spaces
# and brackets, so those count only beside a digit.
_NEAR: Final = _MARKS + _LONG_VOWEL
_BESIDE_DIGITS: Final = re.compile(f"(?<=[0-9])[{_NEAR}]{{1,3}}|[{_MARKS}]{{1,3}}(?=[0-9])")
_MARK_TABLE: Final = str.maketrans(
    {**dict.fromkeys(_DASHES + _LONG_VOWEL, "-"), **dict.fromkeys(_SPACES, " "), "\uff08": "(", "\uff09": ")"}
)
_RARE: Final = "\u2090-\u209c\u2776-\u2793\ufe50-\ufe6b\U0001fbf0-\U0001fbf9"
_LETTERS: Final = "\uff21-\uff3a\uff41-\uff5a\uff20\uff0b\uff3f\u2474-\u24e9\U0001d400-\U0001d7cd\U0001f110-\U0001f12f"


def needs_folding() -> str:
    """A pattern, for a UTF-8 aware engine, that text matches wherever folding would matter to a rule."""
    always = _character_class(_CONTROLS + _INVISIBLE + _DIGITS + _STYLED_DIGITS + _LETTERS + _RARE)
    near = _character_class(_NEAR)
    return f"{always}|[0-9]{near}|{near}[0-9]|\\\\u[0-9a-fA-F]{{4}}"


def folding_table() -> Mapping[int, str | None]:
    """The table for `str.translate`: what each character folds to, None where it goes. Built once per inspector."""
    table: dict[int, str | None] = {}
    for code in _code_points(_STYLED):
        folded = unicodedata.normalize("NFKC", chr(code))
        if chr(code) not in _MARKS and folded != chr(code) and folded.isascii():
            table[code] = folded
    for zero in _DIGIT_ZEROS:
        table.update({zero + digit: str(digit) for digit in range(10)})
    table.update(dict.fromkeys(_code_points(_INVISIBLE)))
    table.update(dict.fromkeys(_code_points(_CONTROLS)))
    return table


def fold(text: str, table: Mapping[int, str | None]) -> str:
    """`text` folded. Folding joined strings equals joining folded ones: nothing here looks across SEPARATOR."""
    if "\\" in text:
        text = _ESCAPE.sub(_meaning, text)
    # Runs of what may fold, then the table: over all of a Japanese text the table is seven times slower.
    return _fold_marks(_FOLDABLE.sub(lambda run: run[0].translate(table), text))


def _fold_marks(text: str) -> str:
    """Dashes, spaces and brackets beside digits, one for one."""
    return _BESIDE_DIGITS.sub(lambda run: run[0].translate(_MARK_TABLE), text)


def fold_with_offsets(text: str, table: Mapping[int, str | None]) -> tuple[str, list[int]]:
    """`fold`, and for each offset into the result (its end included) the offset into `text`.

    Characters taken out belong to what stands before them: the span of a number includes what was hidden in it.
    """
    unescaped, origins = _unescape(text)
    pieces: list[str] = []
    offsets: list[int] = []
    for index, character in enumerate(unescaped):
        folded = table.get(ord(character), character)
        if folded:
            pieces.append(folded)
            offsets.extend([origins[index]] * len(folded))
    offsets.append(len(text))
    return _fold_marks("".join(pieces)), offsets


def _unescape(text: str) -> tuple[str, list[int]]:
    """`\\uXXXX` escapes read once; for each character of the result its offset in `text`."""
    pieces: list[str] = []
    offsets: list[int] = []
    position = 0
    for match in _ESCAPE.finditer(text):
        pieces.append(text[position : match.start()])
        offsets.extend(range(position, match.start()))
        pieces.append(_meaning(match))
        offsets.append(match.start())
        position = match.end()
    pieces.append(text[position:])
    offsets.extend(range(position, len(text)))
    return "".join(pieces), offsets


def _meaning(escape: re.Match[str]) -> str:
    """The one character that an escape, or a pair of surrogates' escapes, stands for."""
    if escape[3] is None:
        return chr(0x10000 + ((int(escape[1], 16) - 0xD800) << 10) + (int(escape[2], 16) - 0xDC00))
    character = chr(int(escape[3], 16))
    # A lone surrogate has no UTF-8, and SEPARATOR must not come from a string; neither is part of any value.
    return "\ufffd" if "\ud800" <= character <= "\udfff" or character == SEPARATOR else character


def _character_class(ranges: str) -> str:
    """`ranges` with every character written as its code point: the engine's patterns are C strings."""
    return "[" + "".join("-" if character == "-" else f"\\x{{{ord(character):x}}}" for character in ranges) + "]"


def _code_points(ranges: str) -> list[int]:
    """The code points of a character class written like a regular expression's (`a-z`, no escapes)."""
    points: list[int] = []
    index = 0
    while index < len(ranges):
        last = index + 2 if ranges[index + 1 : index + 2] == "-" and index + 2 < len(ranges) else index
        points.extend(range(ord(ranges[index]), ord(ranges[last]) + 1))
        index = last + 1
    return points
