"""Text can't become markup, in whatever place."""

import re

import pytest

from sekisho.console import words as module
from sekisho.console.html import Html, join, tag
from sekisho.console.pages import time_element
from sekisho.console.words import LANGUAGES, Words, choose_language, time_text


def test_children_and_attributes_are_escaped():
    made = tag("a", "<b>", ["&", None, 7], title='"><script>', class_="x", hidden=True, disabled=False, rel=None)
    assert made == '<a title="&quot;&gt;&lt;script&gt;" class="x" hidden>&lt;b&gt;&amp;7</a>'
    assert tag("input", name="x", data_name="y") == '<input name="x" data-name="y">'


def test_only_what_was_made_here_is_markup():
    assert join(tag("b", "x"), "<b>") == "<b>x</b>&lt;b&gt;"
    assert isinstance(join("<"), Html)
    assert join(str(tag("b"))) == "&lt;b&gt;&lt;/b&gt;"


def test_both_languages_have_every_word_with_the_same_places():
    for table in (module._WORDS, module._ENDED, module._SOURCES):
        for key, pair in table.items():
            assert all(pair), key
            assert len({tuple(sorted(re.findall(r"\{\w+\}", text))) for text in pair}) == 1, key


@pytest.mark.parametrize(
    ("asked", "kept", "accepted", "language"),
    [
        ("ja", "en", "en", "ja"),
        (None, "ja", "en", "ja"),
        ("xx", None, "ja-JP,en;q=0.8", "ja"),
        (None, None, "fr,ja;q=0.5", "ja"),
        (None, "xx", "fr", "en"),
        (None, None, "", "en"),
    ],
)
def test_the_language_asked_for_comes_before_the_kept_and_the_accepted(asked, kept, accepted, language):
    assert choose_language(asked, kept, accepted) == language


def test_words_of_a_newer_version_are_shown_as_they_are():
    for language in LANGUAGES:
        assert Words(language).ended("vanished") == "vanished"
        assert Words(language).ended("complete") != "complete" or language == "en"


def test_times_beyond_the_calendar_are_numbers():
    assert time_text(0) == "1970-01-01 00:00:00 UTC"
    assert time_text(2**62).endswith("µs")
    assert "datetime" not in str(time_element(2**62))
    assert 'datetime="1970-01-01T00:00:00Z"' in str(time_element(0))
