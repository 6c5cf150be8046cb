from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel.patterns import pattern_matches, patterns_overlap

texts = st.text("ab.", max_size=6)
patterns = st.tuples(texts, st.booleans(), texts).map(lambda parts: parts[0] + "*" * parts[1] + parts[2])


def test_a_star_stands_for_one_or_more_characters():
    assert pattern_matches("a*", "ab")
    assert pattern_matches("*a", "ba")
    assert pattern_matches("a*a", "aba")
    assert not any(pattern_matches("a*a", text) for text in ("a", "aa", "ab", "baba", ""))
    assert not pattern_matches("ab*ba", "aba"), "head and tail may not share letters"


def test_a_star_stands_for_none_of_what_it_never_is():
    assert pattern_matches("*.a", "b.a", never=".*")
    assert not pattern_matches("*.a", "b.b.a", never=".*")
    assert not pattern_matches("*.a", "*.a", never=".*"), "a wildcard certificate is nobody"


@given(texts, texts)
def test_without_a_star_only_the_text_itself_fits(pattern, text):
    assert pattern_matches(pattern, text) == (pattern == text)


@given(patterns, patterns, texts)
def test_what_fits_both_is_foretold(one, other, text):
    if pattern_matches(one, text) and pattern_matches(other, text):
        assert patterns_overlap(one, other)
        assert patterns_overlap(other, one)


@given(patterns, patterns)
def test_an_overlap_has_a_witness(one, other):
    if not patterns_overlap(one, other):
        return
    heads, tails = ([pattern.partition("*")[part] for pattern in (one, other)] for part in (0, 2))
    long = max(heads, key=len) + "ab" + max(tails, key=len)
    witnesses = {one, other, long}
    assert any(pattern_matches(one, text) and pattern_matches(other, text) for text in witnesses)
