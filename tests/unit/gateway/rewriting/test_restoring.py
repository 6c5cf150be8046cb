"""Values come back for exactly their placeholders, wherever a text is cut; anything else stays as it is."""

from collections import Counter

import pytest

from sekisho.gateway.rewriting.restoring import RestoredText
from sekisho.inspection.interfaces import PLACEHOLDER_MAX

VALUES = {"[email#1]": "taro@example.jp", "[email#12]": "[email#1]", "[person.name#1]": "田中"}
TEXTS = [
    ("to [email#1].", "to taro@example.jp."),
    ("[[email#1]]", "[taro@example.jp]"),
    ("[email#1][person.name#1]", "taro@example.jp田中"),
    ("[email#12]", "[email#1]"),  # what was put back is not looked at again
    ("[email#2] [email#01] [Email#1] [email #1] [email#1 ] (email#1) [email#1", None),
    ("［email#1］", None),
    ("[", None),
    ("[email#", None),
    ("[" + "a" * 300, None),
    ("[email#" + "1" * 300 + "]", None),
]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_exactly_placeholders_become_values(text, expected, size):
    restored = RestoredText(VALUES, Counter(), separated=False)
    pieces = [restored.feed(text[start : start + size]) for start in range(0, len(text), size)]
    assert "".join(pieces) + restored.end() == (text if expected is None else expected)


def test_only_what_may_become_one_is_held():
    restored = RestoredText(VALUES, Counter(), separated=False)
    for piece, held in (("text [", 1), ("email", 6), ("#", 7), ("1", 8), ("]", 0), (" [no, ", 0), ("[" + "x" * 200, 0)):
        restored.feed(piece)
        assert restored.held == held
        assert held < PLACEHOLDER_MAX


def test_they_are_counted_by_label():
    found = Counter()
    restored = RestoredText(VALUES, found, separated=False)
    restored.feed("[email#1] [email#12] [person.name#1] [email#3]")
    assert found == {"email": 2, "person.name": 1}
