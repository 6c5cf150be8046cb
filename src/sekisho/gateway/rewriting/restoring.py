"""Putting values back where a text names their placeholders, as it comes in pieces."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from sekisho.inspection.interfaces import PLACEHOLDER, PLACEHOLDER_MAX, SEPARATOR

# The end of a text that may still become a placeholder.
_BEGUN: Final = re.compile(r"\[(?:[a-z0-9][a-z0-9._-]*(?:#[0-9]*)?)?\Z", re.ASCII)


class RestoredText:
    """One text. Only what is exactly a placeholder of the request is one: what a model has mangled stays as it is."""

    __slots__ = ("_found", "_held", "_separated", "_values")

    def __init__(self, values: Mapping[str, str], found: Counter[str], *, separated: bool) -> None:
        """`values` by placeholder; those put back are counted in `found`, by label. `separated`: SEPARATOR stands in
        the text for something else, so none may come in with a value.
        """
        self._values = values
        self._found = found
        self._separated = separated
        self._held = ""

    @property
    def held(self) -> int:
        return len(self._held)

    def feed(self, piece: str) -> str:
        if not self._held and "[" not in piece:
            return piece
        text = self._held + piece
        begun = _BEGUN.search(text, text.rfind("[")) if "[" in text else None
        if begun is not None and len(text) - begun.start() < PLACEHOLDER_MAX:
            self._held = text[begun.start() :]
            text = text[: begun.start()]
        else:
            self._held = ""
        return PLACEHOLDER.sub(self._value, text)

    def end(self) -> str:
        held, self._held = self._held, ""
        return held

    def _value(self, match: re.Match[str]) -> str:
        value = self._values.get(match[0])
        if value is None:
            return match[0]
        self._found[match[1]] += 1
        return value.replace(SEPARATOR, "\x1f") if self._separated else value
