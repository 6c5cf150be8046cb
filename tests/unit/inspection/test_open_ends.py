"""No place is let go from which a pattern may still be read; plain text is let go at once."""

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.inspection import open_ends
from sekisho.inspection.errors import RulesError
from sekisho.inspection.open_ends import OpenEnds

NEVER = rb"\Z\Z"
PATTERNS = [
    rb"abc",
    rb"a{2,4}b",
    rb"a{70,100}b",
    rb"(?:ab|ba)+c",
    rb"a(b|c)\1d",
    rb"(?<!a)b(?=cd)c",
    rb"a(?!bc)b",
    rb"(?i:aB)c?d",
    rb"[^a]b*?c",
    rb"a.c",
    rb"\d[a-c]\w",
    rb"(?:(?!cc)[\s\S])*cc",
    rb"(?>a|ab)c++",
    rb"(a)?(?(1)b|c)d",
    rb"^a|b$",
]
TEXTS = st.text("abcd1\n", max_size=6).map(str.encode)
MORE = st.text("abcd1\n", min_size=1, max_size=3).map(str.encode)


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=150, deadline=None)
@given(text=TEXTS, more=MORE)
def test_whatever_goes_on_past_the_end_was_open(pattern, text, more):
    opened = OpenEnds([(pattern, NEVER, 0)]).leftmost(text, 0)
    shape = re.compile(pattern)
    for start in range(opened):
        now, then = shape.match(text, start), shape.match(text + more, start)
        assert (now and now.span()) == (then and then.span()), (start, opened)


@pytest.mark.parametrize(
    ("text", "opened"),
    [("", 0), ("x", 1), ("xa", 1), ("xab", 1), ("xabx", 4), ("ab a", 3), ("xxabc", 5), ("abcx", 4)],
)
def test_what_can_go_no_further_is_not_open(text, opened):
    assert OpenEnds([(rb"abc", NEVER, 0)]).leftmost(text.encode(), 0) == opened


def test_what_a_value_is_found_by_holds_the_value_alone():
    assert OpenEnds([(rb"a(?!bc)b", NEVER, 0)]).leftmost(b"xab", 0) == 1
    ends = OpenEnds([(rb"(?<![0-9])[0-9]{3}", rb"[^0-9][0-9]{3}[^0-9]", 0)])
    assert ends.leftmost("番号は".encode(), 0) == len("番号は".encode())
    assert ends.leftmost("番号は123".encode(), 0) == len("番号は".encode())
    assert ends.leftmost(b"a123 ", 0) == 5
    assert OpenEnds([(rb"[a-z]+@x", rb"@", 4)]).leftmost(b"   abcd@", 0) == 3
    assert OpenEnds([(rb"\Zabc", rb"@y", 2)]).leftmost(b"..ab@", 0) == 2  # it may begin two bytes before


def test_nothing_before_the_start_is_looked_at():
    assert OpenEnds([(rb"a+b", NEVER, 0)]).leftmost(b"aaaa", 2) == 2


@settings(max_examples=100, deadline=None)
@given(st.text("あい漢a0。", max_size=8), st.text("あい漢a0。", min_size=1, max_size=4))
def test_patterns_over_characters(text, more):
    pattern = "[あ-ん]{2}漢?[^a]|いa+"
    opened = OpenEnds([(pattern, NEVER, 0)]).leftmost(text.encode(), 0)
    for start in range(len(text)):
        if len(text[:start].encode()) < opened:
            now, then = re.compile(pattern).match(text, start), re.compile(pattern).match(text + more, start)
            assert (now and now.span()) == (then and then.span())


def test_hostile_text_fills_no_memory(monkeypatch):
    """All that is remembered is forgotten at the bound, and what comes out is the same."""
    rules = [(rf"(?:{letter}[a-z]{{0,20}})+1".encode(), NEVER, 0) for letter in string.ascii_lowercase[:8]]
    plenty = OpenEnds(rules)
    monkeypatch.setattr(open_ends, "STATES_MAX", 5)
    monkeypatch.setattr(open_ends, "ARROWS_MAX", 7)
    scarce = OpenEnds(rules)
    for number in range(300):
        text = f"{number:b}".replace("1", "abc").replace("0", "h ").encode() + b"xbyc"
        assert scarce.leftmost(text, 0) == plenty.leftmost(text, 0)
        assert len(scarce._sets) <= 6


@pytest.mark.parametrize(
    ("pattern", "says"),
    [(rb"(?<=a{200})b", "looks back"), (rb"(a", "can't be read"), (rb"(?:ab){60}" * 200, "too many")],
)
def test_what_cant_be_followed_is_refused(pattern, says, monkeypatch):
    monkeypatch.setattr(open_ends, "POSITIONS_MAX", 5_000)
    with pytest.raises(RulesError, match=says):
        OpenEnds([(pattern, NEVER, 0)])
