"""Cedar source taken apart: single policies with the line that each begins on.

The engine's parser says what is wrong but not where, so we cut a file at the semicolons that end its policies and
parse each by itself.
"""

import re
from dataclasses import dataclass
from typing import Final

# A string with escapes, a comment to the line's end, or the end of a policy (Cedar's lexical grammar).
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\r\n]*|;', re.DOTALL)
_CODE: Final = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\r\n]*|[()\[\]{},]|&&|\|\||[-+*.]|\bif\b', re.DOTALL)
_BRACKET: Final = 2  # what it weighs beside an operator
# Each level is a frame of the engine's parser, which overflows its stack and ends the process beyond 500 brackets or
# 1,000 operators. It takes 100 levels of operators anyway, each with a dot or two beside it.
NESTING_MAX: Final = 500
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


def nesting(text: str) -> int:
    """How deep an expression in the text may go: brackets that are open, and the operators beside each of them."""
    levels, deepest = [0], 0  # the depth reached within each bracket that is open
    for token in _CODE.finditer(text):
        symbol = token.group()
        if symbol in "([{":
            levels.append(levels[-1] + _BRACKET)
        elif symbol in ")]}":
            if len(levels) > 1:
                levels.pop()
        elif symbol == ",":
            levels[-1] = levels[-2] + _BRACKET if len(levels) > 1 else 0
        elif symbol[0] not in '"/':
            levels[-1] += 1
        deepest = max(deepest, levels[-1])
    return deepest


def _trimmed(text: str, start: int, end: int) -> PolicySource:
    """The stretch without leading blanks and comments."""
    blank = _BLANK.match(text, start, end)
    begin = blank.end() if blank is not None else start
    return PolicySource(text[begin:end].strip(), text.count("\n", 0, begin) + 1)
