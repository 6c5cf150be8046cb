"""Invariants over random text with valid identifiers in it."""

import functools

from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.inspection.checks import is_payment_card
from sekisho.inspection.normalise import SEPARATOR, fold, fold_with_offsets, folding_table
from sekisho.inspection.profiles.jp.checks import is_my_number
from sekisho.inspection.rules import compile_inspector, rules_bytes

SPAN_LABELS = {"jp.my_number", "phone", "email", "payment_card", "secret.api_key", "secret.private_key"}
NOISE = st.text(st.sampled_from("あア漢字ー、。（）abcZ 0１９-－.@\n\u200b\ufe0f😀\u3000\\u\x1e\x00_/+:"), max_size=30)


@functools.cache
def inspector():
    return compile_inspector(rules_bytes(("jp",)))


@st.composite
def my_numbers(draw):
    head = "".join(draw(st.lists(st.sampled_from("0123456789"), min_size=11, max_size=11)))
    number = next(head + digit for digit in "0123456789" if is_my_number((head + digit).encode()))
    return f"{number[:4]}-{number[4:8]}-{number[8:]}"


@st.composite
def cards(draw):
    head = "4" + "".join(draw(st.lists(st.sampled_from("0123456789"), min_size=14, max_size=14)))
    number = next(head + digit for digit in "0123456789" if is_payment_card((head + digit).encode()))
    return draw(st.sampled_from([number, " ".join(number[i : i + 4] for i in range(0, 16, 4))]))


VALUES = st.one_of(
    my_numbers(),
    cards(),
    st.from_regex(r"\A0[789]0-[0-9]{4}-[0-9]{4}\Z"),
    st.from_regex(r"\A[a-z]{3,8}@[a-z]{3,8}\.jp\Z"),
    st.from_regex(r"\Aghp_[A-Za-z0-9]{30}a1B2c3\Z"),
)
FULL_WIDTH = str.maketrans("0123456789-@", "０１２３４５６７８９－＠")
WIDTHS = st.sampled_from([lambda value: value, lambda value: value.translate(FULL_WIDTH)])


@settings(max_examples=150, deadline=None)
@given(NOISE, VALUES, NOISE, WIDTHS)
def test_the_span_is_the_value_in_the_original_text(before, value, after, widen):
    written = widen(value)
    text = f"{before}「{written}」{after}"
    start = len(before) + 1
    assert any(span.start <= start and span.end >= start + len(written) for span in inspector().spans(text)), (
        text,
        inspector().spans(text),
    )


BODIES = st.recursive(
    st.one_of(NOISE, st.tuples(NOISE, VALUES, NOISE).map("「".join), st.integers(), st.floats(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NOISE, inner, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(BODIES)
def test_nothing_labelled_is_left_in_a_redacted_body_and_redacting_again_changes_nothing(body):
    inspection = inspector().inspect(body)
    if not inspection.redactable:
        return
    redaction = inspector().redact(body)
    assert not SPAN_LABELS & set(redaction.labels)
    if inspection.labels:
        assert redaction.body != body
        assert inspector().redact(redaction.body) == redaction


@settings(max_examples=200, deadline=None)
@given(st.lists(NOISE.map(lambda text: text.replace(SEPARATOR, "")), max_size=4))
def test_folding_joined_texts_is_joining_folded_texts(texts):
    table = folding_table()
    joined = fold(SEPARATOR.join(texts), table)
    assert joined == SEPARATOR.join(fold(text, table) for text in texts)
    for text in texts:
        folded, offsets = fold_with_offsets(text, table)
        assert folded == fold(text, table)
        assert len(offsets) == len(folded) + 1
        assert offsets == sorted(offsets)
        assert offsets[-1] == len(text)


ODD = st.text(st.sampled_from("⒏⑴⑫㍿ﬁ❽8０\u3099\u0336\u200b😀𝟘\U000e0041-。 あ"), max_size=6)


def with_full_stop(value):
    """A last digit that is one character with a full stop, like ⒏."""
    return f"{value[:-1]}{chr(0x2488 + int(value[-1]) - 1)}" if value[-1] in "123456789" else value


@settings(max_examples=150, deadline=None)
@given(ODD, VALUES, ODD, st.one_of(WIDTHS, st.just(with_full_stop)))
def test_redaction_removes_the_value_and_leaves_all_else_as_it_was(before, value, after, widen):
    written = widen(value)
    body = {"a": f"{before}「{written}」{after}"}
    redacted = inspector().redact(body).body["a"]
    assert redacted.startswith(f"{before}「[")
    assert redacted.endswith(f"]」{after}")
    assert written not in redacted
