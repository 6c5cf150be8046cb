"""Placeholders for values of one request: `[person.name#1]`, numbered per different value.

What a caller writes itself must not pass for one. So no number is used that stands after a `#` anywhere in the request,
in any writing that folding undoes: a forged placeholder never names a value.
"""

import re
from collections.abc import Iterable
from typing import Final

from sekisho.inspection.interfaces import PLACEHOLDER, PLACEHOLDER_MAX

_NUMBER: Final = re.compile(r"#\s*0*([0-9]{1,12})(?![0-9])")


class Placeholders:
    """Of one request, in memory only. `values` by placeholder."""

    def __init__(self, labels: Iterable[str], folded: Iterable[str]) -> None:
        """Placeholders stand for values of `labels` alone. `folded`: every text of the request."""
        self.values: dict[str, str] = {}
        self._labels = frozenset(labels)
        self._taken = {int(number) for text in folded for number in _NUMBER.findall(text)}
        self._given: dict[tuple[str, str], str] = {}
        self._next: dict[str, int] = {}

    def mark(self, value: str, label: str) -> str:
        """What stands for a value of a label."""
        if label not in self._labels:
            return f"[{label}]"
        value = PLACEHOLDER.sub(lambda match: self.values.get(match[0], match[0]), value)  # one may lie in another
        given = self._given.get((label, value))
        if given is None:
            number = self._next.get(label, 0) + 1
            while number in self._taken:
                number += 1
            self._next[label] = number
            given = f"[{label}#{number}]"
            if not PLACEHOLDER.fullmatch(given) or len(given) > PLACEHOLDER_MAX:
                return f"[{label}]"  # a label that a placeholder can't be made of
            self._given[label, value] = given
            self.values[given] = value
        return given
