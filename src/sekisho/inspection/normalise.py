"""Folding text to what rules are written for, with a way back to the original offsets.

Folded: digits and letters of every width, style and script's decimal digits to ASCII (the digit-and-letter part of
NFKC, UAX #15), half-width kana to full width, dashes to `-`, spaces to one kind, characters that only look like or
are read as digits where they stand beside some, combining marks on letters and digits and everything invisible away,
`\\uXXXX` escapes (JSON inside a string) to what they mean. NFKC alone leaves dashes, the long vowel mark and invisible
characters as they are, and those are what people type and what hides a number.

All of it is a few passes over an array of code points, so that a text in which every character folds costs what any
other does.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy
import numpy.typing

SEPARATOR: Final = "\x1e"  # stands between joined strings; taken out of the strings themselves

Codes = numpy.typing.NDArray[numpy.uint32]
Offsets = numpy.typing.NDArray[numpy.intp]

# Dashes of every script, and the dots at mid height that stand for them; not the wave dash, which means a range.
_DASHES: Final = (
    "\u00b7\u02d7\u058a\u05be\u1400\u1806\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u2500\u2501\u2e17\u2e1a\u2e3a\u2e3b"
    "\u2e40\u2e5d\u30a0\u30fb\ufe31\ufe32\ufe58\ufe63\uff0d\U00010ead"
)
_SPACES: Final = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_BRACKETS: Final = "\uff08\uff09"
_LONG_VOWEL: Final = "\u30fc"  # a dash only after a digit: words end in it, and stand before digits
# Without a width: what is to be ignored by default (DerivedCoreProperties), and the empty Braille cell. Besides them
# every format character, and every mark that is drawn on what stands before it (strokes, enclosures, accents); kana's
# sound marks go where there is no kana before them.
_INVISIBLE: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
_DRAWN_ON: Final = frozenset({"Mn", "Me", "Cf"})
_CONTROLS: Final = "\x00-\x08\x0b\x0c\x0e-\x1d\x1f\x7f-\x9f"
# Blocks whose members NFKC folds to ASCII digits, letters or signs: full width, superscripts and subscripts,
# enclosed and mathematical forms (of full width, not the marks of prose).
_STYLED: Final = (
    "\u00b2\u00b3\u00b9\u2070-\u209c\u2460-\u24ff\u2776-\u2793\ufe50-\ufe6b"
    "\uff02-\uff07\uff0a\uff0b\uff0e-\uff19\uff1d\uff20-\uff3a\uff3c\uff3f-\uff5a\uff5e"
    "\U0001d400-\U0001d7ff\U0001f100-\U0001f12f"
)
_HALF_KANA: Final = "\uff65-\uff9d"
_SOUND_MARKS: Final = {"\uff9e": "\u3099", "\uff9f": "\u309a"}
# Read or drawn as a digit, and too common elsewhere to be one by itself: only beside digits, or one another.
_NUMERALS: Final = "\u3007\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d"
_LIKE_DIGITS: Final = {
    **dict(zip(_NUMERALS, "0123456789", strict=True)),
    **dict.fromkeys("\u96f6\u25cb\u25ef\u041e\u043e\u039f\u03bf\u0555\u0585", "0"),
    **dict.fromkeys("\u0406\u0456\u0399\u03b9\u04c0\u04cf\u01c0\u2223", "1"),
    **dict.fromkeys("\u0417\u0437\u04e0\u04e1\u01b7\u0292", "3"),
    **dict.fromkeys("\u0427\u0447", "4"),
    **dict.fromkeys("\u0431", "6"),
}
_CODE_POINTS: Final = 0x110000
_PLANES_END: Final = 0x20000  # beyond the supplementary multilingual plane only ideographs, tags and private use
_DROPPED: Final = 0xFFFF_FFFF
_LONGER: Final = _CODE_POINTS  # codes from here on stand for folded forms of several characters
_MARKS_MAX: Final = 3  # dashes, spaces or brackets in a row beside a digit that are part of how a number is written
_BACKSLASHES_MAX: Final = 15  # before an escape: JSON written into JSON four times over
DIGIT, _MARK, _VOWEL, _LIKE = 1, 2, 4, 8  # kinds of characters, as bits

_ESCAPED: Final = re.compile(r"\\u[0-9a-fA-F]{4}")
_ESCAPE_BEGINS: Final = re.compile(r"(?<!\\)\\+u(?![dD][c-fC-F])")  # not the low half of a pair
_PIECE: Final = 16_384  # characters folded at a time: arrays that stay in the cache, and little memory for 32 MiB
_CUT_BACK: Final = 64  # characters before the end of a piece in which an escape, or a pair of them, may have begun


class FoldingTable(NamedTuple):
    """Arrays by code point. `codes`: what a character folds to; `kinds`: which neighbours matter to it; `voiced`:
    what kana becomes with the sound mark behind it; `longer`: folded forms of several characters, zero-padded.
    """

    codes: Codes
    kinds: numpy.typing.NDArray[numpy.uint8]
    marks: Codes
    voiced: dict[int, Codes]
    longer: Codes
    hexadecimal: numpy.typing.NDArray[numpy.uint8]


@functools.cache
def folding_table(*, alone: bool = False) -> FoldingTable:
    """The table. `alone`: for one text by itself, in which SEPARATOR means nothing and goes."""
    codes = numpy.arange(_CODE_POINTS, dtype=numpy.uint32)
    longer: list[str] = []
    for code, folded in _folded_forms().items():
        if len(folded) == 1:
            codes[code] = ord(folded)
        else:
            codes[code] = _LONGER + len(longer)
            longer.append(folded)
    codes[sorted(_dropped())] = _DROPPED
    if alone:
        codes[ord(SEPARATOR)] = _DROPPED
    kinds = numpy.zeros(_CODE_POINTS, dtype=numpy.uint8)
    kinds[ord("0") : ord("9") + 1] = DIGIT
    kinds[[ord(mark) for mark in _DASHES + _SPACES + _BRACKETS]] = _MARK
    kinds[ord(_LONG_VOWEL)] = _VOWEL
    kinds[[ord(character) for character in _LIKE_DIGITS]] = _LIKE
    marks = numpy.arange(_CODE_POINTS, dtype=numpy.uint32)
    for characters, mark in ((_DASHES + _LONG_VOWEL, "-"), (_SPACES, " "), ("\uff08", "("), ("\uff09", ")")):
        marks[[ord(character) for character in characters]] = ord(mark)
    for character, digit in _LIKE_DIGITS.items():
        marks[ord(character)] = ord(digit)
    width = max(map(len, longer))
    padded = numpy.zeros((len(longer), width), dtype=numpy.uint32)
    for row, folded in enumerate(longer):
        padded[row, : len(folded)] = [ord(character) for character in folded]
    hexadecimal = numpy.full(128, 255, dtype=numpy.uint8)
    for digit in "0123456789abcdefABCDEF":
        hexadecimal[ord(digit)] = int(digit, 16)
    return FoldingTable(codes, kinds, marks, _voiced(), padded, hexadecimal)


def needs_folding() -> tuple[str, ...]:
    """Patterns, for a UTF-8 aware engine, one of which text matches wherever folding would matter to a rule.

    Most Japanese text holds long vowel marks, full-width spaces and brackets, so those count only beside a digit.
    """
    alone = _folded_forms().keys() | _dropped()
    # Written out, because the engine finds hundreds of literals five times as fast as two classes side by side.
    marks = "".join((_DASHES, _SPACES, _BRACKETS, _LONG_VOWEL, *_LIKE_DIGITS))
    behind = "|".join(f"{digit}{mark}" for digit in "0123456789" for mark in marks)
    before = "|".join(f"{mark}{digit}" for digit in "0123456789" for mark in marks)
    numerals = _character_class({ord(character) for character in _NUMERALS})
    sound = _character_class({ord(mark) for mark in _SOUND_MARKS.values()})
    single = _character_class({code for code in alone if code >= 0x80})
    controls = _character_class({code for code in alone if code < 0x80})
    return single, sound, behind, before, f"{numerals}{{3}}", controls, "\\\\u[0-9a-fA-F]{4}"


def fold(text: str, table: FoldingTable) -> str:
    """`text` folded. Folding joined strings equals joining folded ones: nothing here looks across SEPARATOR."""
    return "".join(_string(codes) for codes, _ in _folded(text, table))


def fold_with_offsets(text: str, table: FoldingTable) -> tuple[str, list[int]]:
    """`fold`, and for each offset into the result (its end included) the offset into `text`.

    Characters taken out belong to what stands before them: the span of a number includes what was hidden in it.
    """
    pieces: list[str] = []
    offsets: list[int] = []
    for codes, origins in _folded(text, table):
        pieces.append(_string(codes))
        offsets += origins.tolist()
    return "".join(pieces), [*offsets, len(text)]


def _folded(text: str, table: FoldingTable) -> Iterator[tuple[Codes, Offsets]]:
    """The folded code points, and of each the offset in `text` that it comes from, in pieces.

    A piece is finished with as much of its neighbours as can matter to it, so that no cut shows.
    """
    margin = _MARKS_MAX + 1
    before: Codes = numpy.zeros(0, dtype=numpy.uint32)
    pieces = _with_room(text, table, margin)
    codes, offsets = next(pieces)
    for following, origins in pieces:
        yield (
            _beside_digits(numpy.concatenate((before, codes, following[:margin])), table, len(before), margin),
            offsets,
        )
        before, codes, offsets = codes[-margin:], following, origins
    yield _beside_digits(numpy.concatenate((before, codes)), table, len(before), 0), offsets


def _with_room(text: str, table: FoldingTable, size: int) -> Iterator[tuple[Codes, Offsets]]:
    """Pieces folded by what each character is by itself; all but the first and last hold at least `size` of them, and
    none begins with a sound mark."""
    kept: list[tuple[Codes, Offsets]] = []
    for start, piece in _pieces(text):
        codes, offsets = _alone(start, piece, table)
        if kept and len(codes) >= size and int(codes[0]) not in table.voiced:
            yield _with_sounds(*_joined(kept), table)
            kept = []
        kept.append((codes, offsets))
    yield _with_sounds(*_joined(kept), table)


def _joined(pieces: list[tuple[Codes, Offsets]]) -> tuple[Codes, Offsets]:
    if len(pieces) == 1:
        return pieces[0]
    return numpy.concatenate([codes for codes, _ in pieces]), numpy.concatenate([offsets for _, offsets in pieces])


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """`text` in pieces with their starts, no escape cut in two."""
    start = 0
    while len(text) - start > _PIECE:
        end = start + _PIECE
        if "\\" in text[end - _CUT_BACK : end]:
            for match in _ESCAPE_BEGINS.finditer(text, end - _CUT_BACK, end + 2):
                end = match.start()
        yield start, text[start:end]
        start = end
    yield start, text[start:]


def _alone(start: int, text: str, table: FoldingTable) -> tuple[Codes, Offsets]:
    """A piece folded by what each character is by itself, with the offsets in the whole, which it begins at `start`."""
    codes: Codes = numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=numpy.uint32)
    offsets: Offsets = numpy.arange(start, start + len(codes), dtype=numpy.intp)
    if "\\u" in text and _ESCAPED.search(text):
        codes, offsets = _without(*_unescaped(codes, table), offsets)
    codes = table.codes[codes]
    codes, offsets = _without(codes, codes == _DROPPED, offsets)
    if codes.max(initial=0) >= _LONGER:
        codes, offsets = _expanded(codes, table, offsets)
    return codes, offsets


def _string(codes: Codes) -> str:
    return codes.tobytes().decode("utf-32-le")


def _without(codes: Codes, drop: Any, offsets: Offsets) -> tuple[Codes, Offsets]:
    if not drop.any():
        return codes, offsets
    keep = ~drop
    return codes[keep], offsets[keep]


def _unescaped(codes: Codes, table: FoldingTable) -> tuple[Codes, Any]:
    """Escapes read once: the array with each escape's meaning at its first backslash, and what is to be dropped."""
    drop = numpy.zeros(len(codes), dtype=bool)
    starts = numpy.flatnonzero((codes[:-5] == ord("\\")) & (codes[1:-4] == ord("u")))
    digits = [table.hexadecimal[numpy.minimum(codes[starts + place], 127)] for place in range(2, 6)]
    right = numpy.maximum.reduce(digits) < 16
    starts = starts[right]
    values = numpy.zeros(len(starts), dtype=numpy.uint32)
    for digit in digits:
        values = (values << 4) | digit[right]
    codes = codes.copy()
    for place in range(1, 6):
        drop[starts + place] = True
    high = (values >= 0xD800) & (values < 0xDC00)
    low = (values >= 0xDC00) & (values < 0xE000)
    backslashes = _backslashes_before(codes, starts)
    # A pair: the low half's first backslash follows the high half's last digit.
    pair = numpy.zeros(len(starts), dtype=bool)
    pair[:-1] = high[:-1] & low[1:] & (starts[1:] - backslashes[1:] == starts[:-1] + 6)
    second = numpy.roll(pair, 1)
    if len(second):
        second[0] = False
    values[pair] = 0x10000 + ((values[pair] - 0xD800) << 10) + (values[second] - 0xDC00)
    # A lone surrogate has no UTF-8, and SEPARATOR must not come from a string; neither is part of any value.
    values[((high | low) & ~pair) | (values == ord(SEPARATOR))] = 0xFFFD
    codes[starts] = values
    drop[starts[second]] = True
    for distance in range(1, int(backslashes.max(initial=0)) + 1):
        drop[starts[backslashes >= distance] - distance] = True
    # What was dropped stands behind the character that it belongs to: give the first backslash the meaning.
    firsts = starts - backslashes
    codes[firsts] = codes[starts]
    drop[starts[backslashes > 0]] = True
    drop[firsts[~second]] = False
    return codes, drop


def _backslashes_before(codes: Codes, starts: Offsets) -> Offsets:
    """How many backslashes stand before each of `starts`, up to the bound."""
    counts = numpy.zeros(len(starts), dtype=numpy.intp)
    going = numpy.ones(len(starts), dtype=bool)
    for distance in range(1, _BACKSLASHES_MAX + 1):
        place = starts - distance
        going &= (place >= 0) & (codes[numpy.maximum(place, 0)] == ord("\\"))
        if not going.any():
            break
        counts += going
    return counts


def _expanded(codes: Codes, table: FoldingTable, offsets: Offsets) -> tuple[Codes, Offsets]:
    """Forms of several characters (`⑫`) written out."""
    places = numpy.flatnonzero(codes >= _LONGER)
    rows = table.longer[codes[places] - _LONGER]
    counts = numpy.ones(len(codes), dtype=numpy.intp)
    counts[places] = (rows != 0).sum(axis=1)
    firsts = (numpy.cumsum(counts) - counts)[places]
    expanded = numpy.repeat(codes, counts)
    for column in range(rows.shape[1]):
        there = rows[:, column] != 0
        expanded[firsts[there] + column] = rows[there, column]
    return expanded, numpy.repeat(offsets, counts)


def _with_sounds(codes: Codes, offsets: Offsets, table: FoldingTable) -> tuple[Codes, Offsets]:
    """Kana and the sound mark behind it as one letter (UAX #15, composition)."""
    if codes.max(initial=0) < min(table.voiced):
        return codes, offsets
    for mark, voiced in table.voiced.items():
        places = numpy.flatnonzero(codes[1:] == mark)
        letters = voiced[numpy.minimum(codes[places], len(voiced) - 1)]
        places, letters = places[letters != 0], letters[letters != 0]
        if len(places):
            codes = codes.copy()
            codes[places] = letters
            drop = numpy.zeros(len(codes), dtype=bool)
            drop[places + 1] = True
            codes, offsets = _without(codes, drop, offsets)
        codes, offsets = _without(codes, codes == mark, offsets)  # drawn on what bears none
    return codes, offsets


def _beside_digits(codes: Codes, table: FoldingTable, before: int, after: int) -> Codes:
    """Dashes, spaces and brackets beside digits, and what looks like a digit beside digits, one for one; without the
    first `before` and the last `after`, which are there to be seen only."""
    inner = slice(before, len(codes) - after)
    kinds = table.kinds[codes]
    if not (kinds & (_MARK | _VOWEL | _LIKE)).any():
        return codes[inner]
    digits = kinds & (DIGIT | _LIKE) != 0
    near = numpy.zeros(len(codes), dtype=bool)
    near[1:] = digits[:-1]
    near[:-1] |= digits[1:]
    folds = (kinds == _LIKE) & near
    digits = (kinds == DIGIT) | folds
    behind = ahead = digits
    for _ in range(_MARKS_MAX):
        behind = _then(behind) & (kinds & (_MARK | _VOWEL) != 0)
        ahead = _then(ahead[::-1])[::-1] & (kinds == _MARK)
        folds |= behind | ahead
    return numpy.where(folds, table.marks[codes], codes)[inner]


def _then(flags: Any) -> Any:
    """The flags one place on."""
    moved = numpy.zeros(len(flags), dtype=bool)
    moved[1:] = flags[:-1]
    return moved


@functools.cache
def _dropped() -> frozenset[int]:
    """Code points that fold to nothing."""
    drawn_on = {code for code in range(0x80, _PLANES_END) if unicodedata.category(chr(code)) in _DRAWN_ON}
    return frozenset(drawn_on - {0x3099, 0x309A} | set(_code_points(_INVISIBLE + _CONTROLS)))


@functools.cache
def _folded_forms() -> dict[int, str]:
    """What each character folds to whatever stands beside it."""
    forms: dict[int, str] = {}
    marks = _DASHES + _SPACES + _BRACKETS
    for code in _code_points(_STYLED):
        folded = unicodedata.normalize("NFKC", chr(code))
        if chr(code) not in marks and folded != chr(code) and folded.isascii():
            forms[code] = folded
        elif (number := unicodedata.numeric(chr(code), None)) is not None:  # white on black, in two circles
            forms[code] = str(int(number))
    for code in _code_points(_HALF_KANA):
        forms[code] = unicodedata.normalize("NFKC", chr(code))
    forms |= {ord(half): full for half, full in _SOUND_MARKS.items()}
    for code in range(0x80, _PLANES_END):
        digit = unicodedata.digit(chr(code), None)
        if digit is not None:
            forms[code] = str(digit)
    return forms


def _voiced() -> dict[int, Codes]:
    """By sound mark: the kana that it makes of each kana (U+3041 to U+30FF), 0 where it makes none."""
    tables: dict[int, Codes] = {}
    for mark in (0x3099, 0x309A):
        table = numpy.zeros(0x3101, dtype=numpy.uint32)
        for code in range(0x3041, 0x3100):
            composed = unicodedata.normalize("NFC", chr(code) + chr(mark))
            if len(composed) == 1:
                table[code] = ord(composed)
        tables[mark] = table
    return tables


def _character_class(codes: set[int]) -> str:
    """A class of `codes` written as ranges of code points: the engine's patterns are C strings."""
    pieces: list[str] = []
    ordered = sorted(codes)
    first = last = ordered[0]
    for code in [*ordered[1:], _CODE_POINTS + 1]:
        if code != last + 1:
            pieces.append(f"\\x{{{first:x}}}" + (f"-\\x{{{last:x}}}" if last > first else ""))
            first = code
        last = code
    return "[" + "".join(pieces) + "]"


def _code_points(ranges: str) -> list[int]:
    """The code points of a character class written like a regular expression's (`a-z`, no escapes)."""
    points: list[int] = []
    index = 0
    while index < len(ranges):
        last = index + 2 if ranges[index + 1 : index + 2] == "-" and index + 2 < len(ranges) else index
        points.extend(range(ord(ranges[index]), ord(ranges[last]) + 1))
        index = last + 1
    return points
