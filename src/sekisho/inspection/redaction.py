"""The inspector: body to labels, and body to the body without its labelled values."""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from sekisho.inspection.body import DEPTH_MAX, BodyText
from sekisho.inspection.interfaces import (
    EGRESS_TOOL,
    EGRESS_URL,
    OPAQUE,
    PERSON_NAME,
    BodyInspection,
    BodyRedaction,
    Location,
    ReversibleRedaction,
    Span,
)
from sekisho.inspection.locate import (
    PARTS,
    STRUCTURE,
    TEXT,
    WHOLE,
    BodyPlaces,
    locate_text,
    path_text,
    sorted_locations,
)
from sekisho.inspection.masking import Masking
from sekisho.inspection.normalise import SEPARATOR, fold, fold_with_offsets, folding_table
from sekisho.inspection.placeholders import Placeholders
from sekisho.inspection.profiles.profile import NameFinder
from sekisho.inspection.scanner import Found, Scanner, ScanResult, merged

LARGE_BYTES: Final = 256 * 1024  # inspecting more would hold up every other request for milliseconds
LARGE_WITH_NAMES_BYTES: Final = 8 * 1024  # names take a hundred times as long
EXCERPT_BEFORE: Final = 24  # characters shown before a mark: enough to find the place again
EXCERPT_MAX: Final = 120  # characters of an excerpt
EXCERPT_MARKS_MAX: Final = 8
MASKINGS_MAX: Final = 16  # different sets of labels that policies have masked; one is a few MB and takes 50 ms to make
ROUNDS_MAX: Final = 4  # taking a value out can bring others into reach; what is left after these is reported
COMPARED_MAX: Final = (
    100_000  # values that run on over parts, times others: beyond, what can't be told is not redactable
)
Mark = Callable[[str, str], str]  # (value, label) → what stands in its place
_CLEAN: Final = BodyInspection((), True)
_SEPARATOR_BYTE: Final = SEPARATOR.encode()


class JsonInspector:
    """An `Inspector` over a compiled rule set. Belongs to one thread."""

    def __init__(self, scanner: Scanner, rules: bytes, name_finders: tuple[NameFinder, ...] = ()) -> None:
        self.rules_digest = hashlib.sha256(rules).hexdigest()
        self._scanner = scanner
        self._name_finders = name_finders
        self.large_bytes = LARGE_WITH_NAMES_BYTES if name_finders else LARGE_BYTES
        self._refused = frozenset(rule.label for rule in scanner.rules if not rule.redactable)
        labels = {rule.label for rule in scanner.rules} | ({PERSON_NAME} if name_finders else set())
        self._labels = tuple(sorted(labels | {OPAQUE, EGRESS_TOOL, EGRESS_URL}))
        self._table = folding_table()
        self._table_of_one = folding_table(alone=True)
        self._maskings: dict[frozenset[str], Masking] = {}

    def labels(self) -> tuple[str, ...]:
        return self._labels

    def inspect(self, body: Any) -> BodyInspection:
        text = BodyText(body)
        scanned = _ScannedTexts(self, text.texts)
        if not scanned.values and scanned.flooded is None:
            return BodyInspection(tuple(sorted(text.labels)), False) if text.labels else _CLEAN
        labels = text.labels | {value.label for value in scanned.values}
        redactable = not text.labels and labels.isdisjoint(self._refused)
        if scanned.flooded is not None:
            labels |= scanned.flooded | {OPAQUE}
            redactable = False
        return BodyInspection(tuple(sorted(labels)), redactable and _is_redactable(text, scanned))

    def redact(self, body: Any) -> BodyRedaction:
        copy = self._redacted(body, _mark)
        return BodyRedaction(copy, self.inspect(copy).labels)

    def redact_reversibly(self, body: Any, labels: frozenset[str]) -> ReversibleRedaction:
        folded = (fold(text, self._table) for text in BodyText(body).texts)
        placeholders = Placeholders(labels, folded)
        copy = self._redacted(body, placeholders.mark)
        return ReversibleRedaction(copy, self.inspect(copy).labels, placeholders.values)

    def _redacted(self, body: Any, mark: Mark) -> Any:
        copy, more = self._without_values(_copy(body, 0), mark)
        for _ in range(ROUNDS_MAX - 1):
            if not more:
                break
            copy, more = self._without_values(copy, mark)
        return copy

    def masking(self, labels: frozenset[str]) -> Masking:
        found = self._maskings.get(labels)
        if found is None:
            names = {PERSON_NAME: self._name_finders} if self._name_finders else None
            found = Masking(self._scanner, labels, self._table, names)
            if len(self._maskings) >= MASKINGS_MAX:
                del self._maskings[next(iter(self._maskings))]
            self._maskings[labels] = found
        return found

    def has_masking(self, labels: frozenset[str]) -> bool:
        return labels in self._maskings

    def spans(self, text: str) -> tuple[Span, ...]:
        """The labelled stretches of one text, merged where they overlap, in order."""
        return _ScannedTexts(self, [text]).spans_of(0)

    def locate(self, body: Any) -> tuple[Location, ...]:
        text = BodyText(body)
        scanned = _ScannedTexts(self, text.texts)
        places = BodyPlaces(body)
        values: dict[int, set[str]] = {}
        for value in scanned.values:
            values.setdefault(scanned.index_of(value), set()).add(value.label)
        hidden = {text.texts[index]: sorted(labels) for index, labels in values.items()}

        def shown(key: str) -> str:
            return "".join(f"[{label}]" for label in hidden[key]) if key in hidden else self._excerpt(key, ())

        found = {Location(path_text(path, shown), label, STRUCTURE, "") for label, path in places.structural}
        split = [text.texts[index] for index in values if index in text.joined]  # values that lie across parts
        for index, labels in values.items():
            kind, path = locate_text(text, places, index)
            excerpt = self._excerpt(text.texts[index], scanned.spans_of(index)) if kind in (TEXT, PARTS) else ""
            if kind == TEXT and any(text.texts[index] in joined for joined in split):
                excerpt = _marks(scanned.spans_of(index))  # what stands around them may be half of such a value
            found |= {Location(path_text(path, shown), label, kind, excerpt) for label in labels}
        if scanned.flooded is not None:
            found |= {Location("$", label, WHOLE, "") for label in scanned.flooded | {OPAQUE}}
        return sorted_locations(found)

    def _excerpt(self, text: str, spans: tuple[Span, ...]) -> str:
        """The text around its first marks, cut short; only the marks where something would still be readable."""
        marked = _marked(text, spans)
        if self.inspect(marked).labels:
            return _marks(spans)
        start = max(0, (spans[0].start if spans else 0) - EXCERPT_BEFORE)
        cut = marked[start : start + EXCERPT_MAX]
        return f"{'…' if start else ''}{cut}{'…' if start + EXCERPT_MAX < len(marked) else ''}"

    def _without_values(self, body: Any, mark: Mark) -> tuple[Any, bool]:
        """Replace, in place, what is found; the body, and whether there was anything to replace."""
        text = BodyText(body)
        scanned = _ScannedTexts(self, text.texts)
        replaced = False
        for index in scanned.by_text():
            place = text.places[index]
            if place is not None:
                container, key = place
                container[key] = _marked(text.texts[index], scanned.spans_of(index), mark)
                replaced = True
        return text.root[0], replaced


class _ScannedTexts:
    """Texts joined and scanned in one pass; finds its way from a value back to its text and offsets."""

    __slots__ = ("_by_text", "_data", "_folded", "_inspector", "_starts", "_texts", "flooded", "values")

    def __init__(self, inspector: JsonInspector, texts: list[str]) -> None:
        self._inspector = inspector
        self._texts = texts
        self._starts: list[int] | None = None
        self._by_text: dict[int, list[Found]] | None = None
        joined = SEPARATOR + SEPARATOR.join(texts) + SEPARATOR
        self._folded = joined.count(SEPARATOR) > max(len(texts), 1) + 1
        if self._folded:  # somebody wrote our separator into a text
            joined = SEPARATOR + SEPARATOR.join([text.replace(SEPARATOR, "") for text in texts]) + SEPARATOR
        result = ScanResult([], True, None)
        if not self._folded:
            self._data = joined.encode()
            result = inspector._scanner.scan(self._data)
        if result.fold:
            self._folded = True
            self._data = fold(joined, inspector._table).encode()
            result = inspector._scanner.scan(self._data, folded=True)
        self.values = result.values
        self.flooded = result.flooded
        if inspector._name_finders:
            if self.flooded is None:
                self.values = sorted({*self.values, *self._names()})
            else:  # nobody looked for them
                self.flooded |= {PERSON_NAME}

    def _names(self) -> Iterator[Found]:
        """Personal names, in the texts as they were scanned; no name runs over SEPARATOR."""
        joined = self._data.decode()
        for finder in self._inspector._name_finders:
            characters = position = 0
            for first, last in finder.find(joined):
                position += len(joined[characters:first].encode())
                length = len(joined[first:last].encode())
                yield Found(position, position + length, PERSON_NAME)
                characters, position = last, position + length

    def index_of(self, value: Found) -> int:
        """The index of the text that holds `value`."""
        if self._starts is None:
            lengths = [len(segment) + 1 for segment in self._data.split(_SEPARATOR_BYTE)[1:-1]]
            self._starts = list(accumulate(lengths, initial=1))
        return bisect_right(self._starts, value.start) - 1

    def bytes_of(self, value: Found) -> bytes:
        return self._data[value.start : value.end]

    def by_text(self) -> dict[int, list[Found]]:
        """The values of each text that holds any, by its index, which grows."""
        if self._by_text is None:
            self._by_text = {}
            for value in sorted(self.values):
                self._by_text.setdefault(self.index_of(value), []).append(value)
        return self._by_text

    def spans_of(self, index: int) -> tuple[Span, ...]:
        """The labelled stretches of one text, as offsets into the original."""
        values = self.by_text().get(index)
        if not values or self._starts is None:
            return ()
        first = self._starts[index]
        text = self._texts[index]
        offsets: Sequence[int] = range(len(text) + 1)
        if self._folded:
            offsets = fold_with_offsets(text, self._inspector._table_of_one)[1]
        spans: list[Span] = []
        place, end = first, 0  # in bytes and in characters of what it folds to: how far it has been read
        position = 0  # in the original: the end of the last span
        for value in merged(values):
            start = end + len(self._data[place : value.start].decode())
            place, end = value.end, start + len(self.bytes_of(value).decode())
            stop = end
            while stop + 1 < len(offsets) and offsets[stop] == offsets[stop - 1]:
                stop += 1  # a value that ends within what one character folds to takes all of it
            begin = max(position, offsets[start])
            position = offsets[stop]
            spans.append(Span(begin, position, value.label))
        return tuple(spans)


def _is_redactable(text: BodyText, scanned: _ScannedTexts) -> bool:
    """Whether every value stands in a text that can be replaced.

    A value found in joined parts is no obstacle if it only repeats, or runs on from, one found in a part.
    """
    in_texts: set[tuple[str, bytes]] = set()
    in_joined: list[Found] = []
    for value in scanned.values:
        index = scanned.index_of(value)
        if text.places[index] is not None:
            in_texts.add((value.label, scanned.bytes_of(value)))
        elif index in text.joined:
            in_joined.append(value)
        else:
            return False
    running_on = {(value.label, scanned.bytes_of(value)) for value in in_joined} - in_texts
    if len(running_on) * len(in_texts) > COMPARED_MAX:
        return False
    return all(any(label == kind and part in whole for label, part in in_texts) for kind, whole in running_on)


def _marks(spans: tuple[Span, ...]) -> str:
    return " … ".join(f"[{span.label}]" for span in spans[:EXCERPT_MARKS_MAX]) or "[…]"


def _mark(_value: str, label: str) -> str:
    return f"[{label}]"


def _marked(text: str, spans: tuple[Span, ...], mark: Mark = _mark) -> str:
    pieces: list[str] = []
    position = 0
    for span in spans:
        pieces += (text[position : span.start], mark(text[span.start : span.end], span.label))
        position = span.end
    pieces.append(text[position:])
    return "".join(pieces)


def _copy(value: Any, depth: int) -> Any:
    """A copy as deep as inspection reads; what lies deeper is `opaque` and not changed."""
    if depth > DEPTH_MAX + 1:
        return value
    if type(value) is dict:
        return {key: _copy(item, depth + 1) for key, item in value.items()}
    if type(value) is list:
        return [_copy(item, depth + 1) for item in value]
    return value
