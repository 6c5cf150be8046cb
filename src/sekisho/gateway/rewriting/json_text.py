"""A JSON document that comes as a text in pieces (a tool call's arguments), rewritten so that it stays one.

What is rewritten is what it means, not how it is written: strings without their escapes, and a separator for each
character between them. On the way out strings are written again, and what is no string stays as it was, or becomes a
string where something in it was rewritten (`123456789018` → `"[jp.my_number]"`).
"""

import re
from collections import deque
from typing import Final, NamedTuple, Protocol

import orjson

from sekisho.inspection.interfaces import SEPARATOR

BARE_MAX: Final = 4_096  # characters between two of JSON's own; numbers and white space are shorter
_IN_STRING: Final = re.compile(r'[^"\\]+')
_BARE: Final = re.compile(r'[^{}\[\]:,"]+')
_ESCAPES: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_UNICODE: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
_REPLACEMENT: Final = "\ufffd"
_OPENING: Final = "{["


class Text(Protocol):
    """A text that comes in pieces: what goes on of each, and of what was held at its end."""

    @property
    def held(self) -> int: ...
    def feed(self, piece: str) -> str: ...
    def end(self) -> str: ...


class MakeText(Protocol):
    def __call__(self, *, separated: bool) -> Text: ...


class TooLongBetween(Exception):
    """More stands between two of JSON's own characters than is held back."""


class _Mark(NamedTuple):
    """One of JSON's own characters, and what stood before it if that was no string."""

    written: str
    bare: str | None
    opens_string: bool


class JsonText:
    """A `Text` that is JSON if it begins as an object or a list does; else the text is rewritten as it is."""

    def __init__(self, make: MakeText) -> None:
        self._make = make
        self._text: Text | None = None
        self._plain = False
        self._begun = ""  # white space before anything else
        self._escape = ""  # an escape that is not whole
        self._in_string = False
        self._bare = ""  # as it came, since the last of JSON's own characters
        self._marks: deque[_Mark] = deque()  # those on their way through the text
        self._writing_string = False
        self._written = ""  # what came out since the last of them, outside strings

    @property
    def held(self) -> int:
        return len(self._begun) + (0 if self._text is None else self._text.held) + len(self._written)

    def feed(self, piece: str) -> str:
        """Raises TooLongBetween, and what the text raises."""
        if self._text is None:
            self._begun += piece
            start = self._begun.lstrip()
            if not start and len(self._begun) <= BARE_MAX:
                return ""
            self._plain = start[:1] not in _OPENING
            self._text = self._make(separated=not self._plain)
            piece, self._begun = self._begun, ""
        if self._plain:
            return self._text.feed(piece)
        return self._write(self._text.feed(self._read(piece)))

    def end(self) -> str:
        if self._text is None:
            begun, self._begun = self._begun, ""
            return begun
        if self._plain:
            return self._text.end()
        left = self._write(self._text.end())
        if self._writing_string:
            return left + self._escape
        return left + _unless_rewritten(self._written, self._bare)

    def _read(self, piece: str) -> str:
        """What the text gets of a piece."""
        pieces: list[str] = []
        text, self._escape = self._escape + piece, ""
        place = 0
        while place < len(text):
            run = (_IN_STRING if self._in_string else _BARE).match(text, place)
            if run is not None:
                place = run.end()
                pieces.append(run[0].replace(SEPARATOR, "\x1f"))
                if not self._in_string:
                    self._bare += run[0]
                    if len(self._bare) > BARE_MAX:
                        raise TooLongBetween(f"{BARE_MAX} characters of JSON without any of its own")
                continue
            if text[place] == "\\" and self._in_string:
                meaning, length = _escaped(text, place)
                if not length:
                    self._escape = text[place:]
                    break
                pieces.append(meaning)
                place += length
                continue
            self._mark(text[place])
            pieces.append(SEPARATOR)
            place += 1
        return "".join(pieces)

    def _mark(self, character: str) -> None:
        if self._in_string:
            self._marks.append(_Mark(character, None, False))
            self._in_string = False
            return
        self._in_string = character == '"'
        self._marks.append(_Mark(character, self._bare, self._in_string))
        self._bare = ""

    def _write(self, text: str) -> str:
        """What goes on of what came out of the text."""
        pieces: list[str] = []
        for number, part in enumerate(text.split(SEPARATOR)):
            if number:
                mark = self._marks.popleft()
                if mark.bare is not None:
                    pieces.append(_unless_rewritten(self._written, mark.bare))
                    self._written = ""
                pieces.append(mark.written)
                self._writing_string = mark.opens_string
            if self._writing_string:
                pieces.append(_in_string(part))
            else:
                self._written += part
        return "".join(pieces)


def _escaped(text: str, place: int) -> tuple[str, int]:
    """What the escape at `place` means, and its length; 0 if it may go on beyond the end of `text`."""
    kind = text[place + 1 : place + 2]
    if kind != "u":
        # JSON has no other escapes: one that is none is read as the character itself.
        return _ESCAPES.get(kind, kind).replace(SEPARATOR, "\x1f"), 2 if kind else 0
    match = _UNICODE.match(text, place)
    if match is None:
        return ("\\u", 2) if len(text) - place >= 6 or not _may_go_on(text[place + 2 :]) else ("", 0)
    code = int(match[1], 16)
    if not 0xD800 <= code <= 0xDFFF:
        return chr(code).replace(SEPARATOR, "\x1f"), 6
    if code >= 0xDC00:
        return _REPLACEMENT, 6  # the second half of a pair without the first
    second = _UNICODE.match(text, place + 6)
    if second is not None:
        low = int(second[1], 16)
        if 0xDC00 <= low <= 0xDFFF:
            return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)), 12
        return _REPLACEMENT, 6
    rest = text[place + 6 : place + 12]
    goes_on = len(rest) < 6 and ("\\u".startswith(rest) or (rest.startswith("\\u") and _may_go_on(rest[2:])))
    return ("", 0) if goes_on else (_REPLACEMENT, 6)


def _may_go_on(digits: str) -> bool:
    return len(digits) < 4 and all(digit in "0123456789abcdefABCDEF" for digit in digits)


def _in_string(text: str) -> str:
    return orjson.dumps(text).decode()[1:-1] if text else ""


def _unless_rewritten(text: str, original: str) -> str:
    """What stood outside strings: as it was, or as a string where something of it was rewritten."""
    if text == original.replace(SEPARATOR, "\x1f"):
        return original
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    return f'{text[:start]}"{_in_string(text[start:end])}"{text[end:]}'
