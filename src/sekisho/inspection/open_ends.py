"""Where at the end of a text a value may have begun that is not over yet, so that nothing of it is let go too soon.

A pattern's *prefixes* are what can be read of it before it is over. A place in a text is open if what stands between
it and the end is a prefix of some pattern. The leftmost open place is found from the end backwards, with the positions
of all patterns in one automaton (Glushkov 1961) that is run against its arrows; where no position is left, nothing
further left can be open. So the cost is that of what is open, a few characters mostly, whatever stands before.

Prefixes are taken too widely, never too narrowly: what a look-behind demands is left out, a look-ahead may be read, a
group that is referred to may be anything it could be, and long bounded repeats have no bound. A place that is held
open for nothing costs a moment; one that is let go costs a value.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from sekisho.inspection.errors import RulesError

REPEAT_MAX: Final = 64  # copies of what is repeated; beyond, any number: no shape bounds a run of fewer than this
LOOK_BEHIND_MAX: Final = 106  # bytes that a pattern may look back: what has been let go is forgotten beyond
POSITIONS_MAX: Final = 200_000  # of all patterns together: 40 for each of 5,000 rules
STATES_MAX: Final = 4_096  # remembered; hostile text makes new ones, and then all are forgotten
ARROWS_MAX: Final = 65_536  # between them, likewise: some MB
_EVERY: Final = (1 << 256) - 1  # a set of bytes is a number with their bits
_ONE_BYTE: Final = (1 << 0x80) - 1
_GOES_ON: Final = (1 << 0xC0) - (1 << 0x80)
_LEADS: Final = (1 << 0xF5) - (1 << 0xC2)
_CATEGORIES: Final = {
    "CATEGORY_DIGIT": rb"\d",
    "CATEGORY_NOT_DIGIT": rb"\D",
    "CATEGORY_SPACE": rb"\s",
    "CATEGORY_NOT_SPACE": rb"\S",
    "CATEGORY_WORD": rb"\w",
    "CATEGORY_NOT_WORD": rb"\W",
}
_LOOKS_BACK: Final = frozenset({"AT_BEGINNING", "AT_BEGINNING_LINE", "AT_BEGINNING_STRING"})


class _Part(NamedTuple):
    """A stretch of a pattern: positions that it may begin and end with, and whether it may be empty."""

    first: int
    last: int
    empty: bool


_NOTHING: Final = _Part(0, 0, True)


class _Positions:
    """Positions of all patterns: position p reads a byte of `reads[p]`, after any position of `before[p]`."""

    def __init__(self) -> None:
        self.reads: list[int] = []
        self.before: list[int] = []
        self._groups: dict[int, Sequence[Any]] = {}

    def add(self, pattern: str | bytes) -> int:
        """The first positions of another pattern, over bytes or over characters. Raises RulesError if it can't be taken
        apart.
        """
        self._groups = {}
        self._characters = isinstance(pattern, str)
        try:
            parsed: Any = re._parser.parse(pattern)  # type: ignore[attr-defined]
        except re.error as error:
            raise RulesError(f"the pattern {pattern!r} can't be read: {error}") from None
        return self._sequence(parsed, bool(parsed.state.flags & re.IGNORECASE)).first

    def _sequence(self, nodes: Iterable[Any], fold: bool) -> _Part:
        whole = _NOTHING
        for node in nodes:
            whole = self._joined(whole, self._node(node, fold))
        return whole

    def _joined(self, left: _Part, right: _Part) -> _Part:
        self._link(left.last, right.first)
        return _Part(
            left.first | right.first if left.empty else left.first,
            left.last | right.last if right.empty else right.last,
            left.empty and right.empty,
        )

    def _link(self, before: int, after: int) -> None:
        for position in _bits(after):
            self.before[position] |= before

    def _node(self, node: Any, fold: bool) -> _Part:
        operator, value = str(node[0]), node[1]
        if operator == "FAILURE" or (operator == "AT" and str(value) in _LOOKS_BACK):
            return _NOTHING
        if operator == "AT":  # borders and ends look at what follows; `$` at a line end, and whether it is the last
            following = self._position(_EVERY)
            self._link(following.last, self._position(_EVERY).first)
            return _Part(following.first, 0, True)
        if operator in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            reads, beyond = _read_by(operator, value, fold)
            return self._character(reads, beyond) if self._characters else self._position(reads)
        if operator == "SUBPATTERN":
            number, on, off, inside = value
            self._groups[number] = inside
            return self._sequence(inside, (fold or bool(on & re.IGNORECASE)) and not off & re.IGNORECASE)
        if operator == "ATOMIC_GROUP":
            return self._sequence(value, fold)
        if operator == "BRANCH":
            return _either(self._sequence(branch, fold) for branch in value[1])
        if operator == "GROUPREF":
            return self._sequence(self._groups.get(value, ()), fold)
        if operator == "GROUPREF_EXISTS":
            return _either(self._sequence(branch or (), fold) for branch in value[1:])
        if operator in ("ASSERT", "ASSERT_NOT"):
            if value[0] < 0:
                if value[1].getwidth()[1] > LOOK_BEHIND_MAX:
                    raise RulesError(f"a pattern looks back more than {LOOK_BEHIND_MAX} bytes")
                return _NOTHING
            ahead = self._sequence(value[1], fold)
            return _Part(ahead.first, 0, True)  # what it looks at may be read, and leads nowhere
        if operator in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            return self._repeated(value[0], int(value[1]), value[2], fold)
        raise RulesError(f"a pattern has {operator}, which can't be followed in an answer that comes in pieces")

    def _repeated(self, least: int, most: int, inside: Sequence[Any], fold: bool) -> _Part:
        whole = _NOTHING
        for _ in range(min(least, REPEAT_MAX)):
            whole = self._joined(whole, self._sequence(inside, fold))
        if least > REPEAT_MAX or most - least > REPEAT_MAX:
            again = self._sequence(inside, fold)
            self._link(again.last, again.first)
            return self._joined(whole, again._replace(empty=True))
        optional = _NOTHING
        parts: list[_Part] = []
        for _ in range(most - least):
            parts.append(self._sequence(inside, fold))
        for part in reversed(parts):  # a(a(a)?)?: each only after the one before it
            optional = self._joined(part, optional)._replace(empty=True)
        return self._joined(whole, optional)

    def _character(self, reads: int, beyond: bool) -> _Part:
        """A character that has one byte, or, where it may be `beyond` those, any that has more (RFC 3629)."""
        one = self._position(reads & _ONE_BYTE)
        if not beyond:
            return one
        going_on = self._position(_GOES_ON)
        self._link(going_on.last, going_on.first)
        return _either((one, self._joined(self._position(_LEADS), going_on)))

    def _position(self, reads: int) -> _Part:
        if len(self.reads) >= POSITIONS_MAX:
            raise RulesError("the rules are too many, or repeat too much, to be followed in answers")
        bit = 1 << len(self.reads)
        self.reads.append(reads)
        self.before.append(0)
        return _Part(bit, bit, False)


class OpenEnds:
    """The open places of some rules; see the module. Belongs to one thread."""

    def __init__(self, rules: Iterable[tuple[str | bytes, str | bytes, int]]) -> None:
        """Of each rule the pattern that confirms its value, the one that finds its place, and how many bytes before
        that the value may begin: it is open while either may still be read. Raises RulesError for a pattern that can't
        be taken apart.
        """
        positions = _Positions()
        self._begins = 0  # positions that begin the shape of a value
        self._found_by = 0  # positions that begin what a value is found by, which may be before it
        self._starts: dict[int, tuple[int, int]] = {}  # of each: the bytes that the value may begin with, and the lead
        for shape, anchor, lead in rules:
            first = positions.add(shape)
            self._begins |= first
            starts = 0
            for position in _bits(first):
                starts |= positions.reads[position]
            found_by = positions.add(anchor)
            self._found_by |= found_by
            self._starts.update(dict.fromkeys(_bits(found_by), (starts, lead)))
        alike: dict[int, list[int]] = {}
        for number, reads in enumerate(positions.reads):
            alike.setdefault(reads, []).append(number)
        self._reading = [0] * 256
        for reads, numbers in alike.items():
            positions_alike = sum(1 << number for number in numbers)
            for byte in _bits(reads):
                self._reading[byte] |= positions_alike
        self._going_on = 0  # positions after which something may be read: after others it is over
        for sources in positions.before:
            self._going_on |= sources
        self._arrows(positions.before)
        self._forget()

    def _arrows(self, before: list[int]) -> None:
        """Arrows apart by kind: nearly all lead from a position to the next, or to itself, and are one shift or mask
        for all positions at once."""
        self._steps = self._loops = self._others = 0
        self._other: dict[int, int] = {}
        for number, sources in enumerate(before):
            bit = 1 << number
            if number and sources & bit >> 1:
                self._steps |= bit
                sources &= ~(bit >> 1)
            if sources & bit:
                self._loops |= bit
                sources &= ~bit
            if sources:
                self._others |= bit
                self._other[number] = sources

    def _forget(self) -> None:
        self._sets: list[int] = []
        self._numbers: dict[int, int] = {}
        self._next: dict[int, int] = {}  # state << 8 | byte → state
        self._shapes: list[bool] = []  # of each state: whether a shape may begin here
        self._values: list[tuple[int, int]] = []  # and of what values are found by: as in `_starts`, of all together

    def leftmost(self, text: bytes, start: int) -> int:
        """The leftmost open place of `text` from `start` on; its length if there is none."""
        opened = len(text)
        found: list[tuple[int, tuple[int, int]]] = []
        state = -1
        for place in range(len(text) - 1, start - 1, -1):
            key = state << 8 | text[place]
            following = self._next.get(key)
            state = self._step(state, text[place], key) if following is None else following
            if self._shapes[state]:
                opened = place
            if self._values[state][0]:
                found.append((place, self._values[state]))
            if not self._sets[state]:
                break
        for place, (begins, lead) in reversed(found):
            place = max(start, place - lead)
            while place < opened and not begins >> text[place] & 1:
                place += 1
            opened = min(opened, place)
        return opened

    def _step(self, state: int, byte: int, key: int) -> int:
        """The state before `byte`, for the one after it; -1 stands for the end of the text, where all may stand."""
        positions = self._reading[byte] & (self._sources(self._sets[state]) if state >= 0 else self._going_on)
        if len(self._sets) >= STATES_MAX or len(self._next) >= ARROWS_MAX:
            self._forget()
            key = -1
        number = self._numbers.get(positions)
        if number is None:
            number = self._numbers[positions] = len(self._sets)
            self._sets.append(positions)
            self._shapes.append(bool(positions & self._begins))
            begins = lead = 0
            for position in _bits(positions & self._found_by):
                begins, lead = begins | self._starts[position][0], max(lead, self._starts[position][1])
            self._values.append((begins, lead))
        if key >= 0 or state < 0:
            self._next[state << 8 | byte if state < 0 else key] = number
        return number

    def _sources(self, positions: int) -> int:
        sources = (positions & self._steps) >> 1 | positions & self._loops
        for number in _bits(positions & self._others):
            sources |= self._other[number]
        return sources


def _either(parts: Iterable[_Part]) -> _Part:
    first = last = 0
    empty = False
    for part in parts:
        first, last, empty = first | part.first, last | part.last, empty or part.empty
    return _Part(first, last, empty)


def _bits(number: int) -> list[int]:
    found: list[int] = []
    while number:
        low = number & -number
        found.append(low.bit_length() - 1)
        number ^= low
    return found


def _read_by(operator: str, value: Any, fold: bool) -> tuple[int, bool]:
    """The codes below 256 that one node of a pattern reads, and whether it may read others. `fold`: in either case."""
    if operator == "ANY":
        return _EVERY, True  # a line end too: too wide where DOTALL is not set
    nodes = value if operator == "IN" else [(operator.removeprefix("NOT_"), value)]
    found, beyond, negated = 0, False, operator == "NOT_LITERAL"
    for kind, item in nodes:
        if str(kind) == "NEGATE":
            negated = True
        elif str(kind) == "LITERAL":
            found |= 1 << item if item < 256 else 0
            beyond |= item > 127
        elif str(kind) == "RANGE":
            found |= ((1 << min(item[1], 255) + 1) - 1) >> item[0] << item[0] if item[0] < 256 else 0
            beyond |= item[1] > 127
        else:
            pattern = re.compile(_CATEGORIES[str(item)])
            found |= sum(1 << byte for byte in range(256) if pattern.match(bytes([byte])))
            beyond = True
    if fold:
        for byte in _bits(found & _ONE_BYTE):
            found |= 1 << ord(chr(byte).swapcase())
        beyond = True  # some letters beyond fold to these
    return (_EVERY & ~found, True) if negated else (found, beyond)
