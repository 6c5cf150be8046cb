"""Cedar source taken apart: single policies with the line that each begins on.

The engine's parser says what is wrong but not where, so we cut a file at the semicolons that end its policies and
parse each by itself.
"""

import re
from dataclasses import dataclass
from typing import Final

# A string with escapes, a comment to the line's end, or the end of a policy (Cedar's lexical grammar).
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\r\n]*|;', re.DOTALL)
_OPERATOR: Final = re.compile(r"&&|\|\||\bif\b|[.(\[{+*-]")
OPERATORS_MAX: Final = 500  # of one policy: at 900 levels Cedar's parser ends the process, at 100 it refuses
_BLANK: Final = re.compile(r"(?:\s+|//[^\r\n]*)*")


@dataclass(frozen=True, slots=True)
class PolicySource:
    """One policy's text, and the line of its file (from 1) on which it begins."""

    text: str
    line: int


def split_policies(text: str) -> tuple[PolicySource, ...]:
    """The policies in `text`, in order. What follows the last semicolon is one too, unless it is only comments."""
    found: list[PolicySource] = []
    start = 0
    for token in _TOKEN.finditer(text):
        if token.group() == ";":
            found.append(_trimmed(text, start, token.end()))
            start = token.end()
    rest = _trimmed(text, start, len(text))
    if rest.text:
        found.append(rest)
    return tuple(found)


def is_overgrown(text: str) -> bool:
    """Whether one policy holds so many operators and brackets that Cedar's parser must not be given it."""
    return len(_OPERATOR.findall(_TOKEN.sub(" ", text))) > OPERATORS_MAX


def _trimmed(text: str, start: int, end: int) -> PolicySource:
    """The stretch without leading blanks and comments."""
    blank = _BLANK.match(text, start, end)
    begin = blank.end() if blank is not None else start
    return PolicySource(text[begin:end].strip(), text.count("\n", 0, begin) + 1)
