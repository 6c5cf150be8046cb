"""Masking a text in pieces comes to the same as masking it whole, and that to what the inspector finds in it."""

import functools
import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_inspection_properties import NOISE, VALUES, WIDTHS

from sekisho.inspection.rules import compile_inspector, rules_bytes

EVERY = frozenset({"jp.my_number", "phone", "email", "payment_card", "secret.api_key", "secret.private_key"})
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----"
# Beginnings, ends and neighbours of values, and what stands near them and changes their meaning.
BITS = st.sampled_from(
    [
        *(
            "個人番号",
            "マイナンバーは",
            "my_number: ",
            "電話 ",
            "tel",
            "api key = ",
            "Bearer ",
            "eyJhbGciOi",
            "sk-",
            "ghp_",
        ),
        *("123456789018", "1234-5678-9018", "1234 5678", "9018", "090", "-1234", "+81 ", "(03", "4111 1111 1111 1111"),
        *("taro", "@", "example", ".co", ".jp", ".", ",", "。", " ", "\n", "-", "ー", "－", "（", "）", "\u3000"),
        *(
            "\\u0031",
            "\\u00",
            "\\",
            "u0031",
            "\\ud83d",
            "\\ude00",
            "\\\\u0032",
            "\u200b",
            "\x1e",
            "\x00",
            "１２",
            "０９０",
        ),
        *(
            "a" * 40,
            "0a1B2c3D" * 5,
            "\\n",
            '"',
            "'",
            ":",
            "-----BEGIN PRIVATE KEY-----",
            "-----END PRIVATE KEY-----",
            PEM,
        ),
    ]
)
TEXTS = st.lists(st.one_of(BITS, NOISE, VALUES, st.tuples(VALUES, WIDTHS).map(lambda it: it[1](it[0]))), max_size=12)


@functools.cache
def inspector():
    return compile_inspector(rules_bytes())


def whole(text, labels=EVERY):
    found = Counter()
    return inspector().masking(labels).whole(text, found), found


def in_pieces(text, points, labels=EVERY):
    found = Counter()
    masked = inspector().masking(labels).text(found)
    cuts = sorted({0, len(text), *(point % (len(text) + 1) for point in points)})
    return "".join([masked.feed(text[a:b]) for a, b in itertools.pairwise(cuts)]) + masked.end(), found


def by_spans(text):
    """What the inspector's own spans come to. A zero-width space first has it fold the whole text, as masking does."""
    pieces, position = [], 1
    for span in inspector().spans("\u200b" + text.replace("\x1e", "\x1f")):
        pieces += (text[position - 1 : span.start - 1], f"[{span.label}]")
        position = span.end
    return "".join((*pieces, text[position - 1 :]))


def check(texts, points):
    text = "".join(texts)
    once = whole(text)
    assert once[0] == by_spans(text)
    assert in_pieces(text, points) == once
    assert in_pieces(text, range(len(text))) == once


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 500), max_size=12))
def test_in_pieces_is_as_whole(texts, points):
    check(texts, points)


@pytest.mark.long
@settings(max_examples=10_000, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 500), max_size=12))
def test_in_pieces_is_as_whole_many_times(texts, points):
    check(texts, points)
