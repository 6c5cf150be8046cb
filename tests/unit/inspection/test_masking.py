"""Masking a text in pieces comes to the same as masking it whole, and that to what the inspector finds in it."""

import functools
import itertools
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_inspection_properties import NOISE, VALUES, WIDTHS

from sekisho.inspection.errors import HeldTooMuch, RulesError
from sekisho.inspection.masking import HOLD_MAX, SENTENCE_MAX, Masking
from sekisho.inspection.rule_data import RuleData
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
            "一二三四",
            "八",
            "ОЗ",
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
    return compile_inspector(rules_bytes(("jp",)))


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


class Polite:
    """Finds a name where its sentence is polite to the end, so that a sentence's end decides on its beginning."""

    def find(self, text):
        return [match.span() for match in re.finditer("田中|鈴木", text)] if "さん" in text else []


@functools.cache
def with_names():
    scanner, table = inspector()._scanner, inspector()._table
    return Masking(scanner, {*EVERY, "person.name"}, table, {"person.name": (Polite(),)})


NAMED = st.sampled_from(["田中", "鈴木", "さん", "。", "\n", "！", "は", PEM, "長い" * SENTENCE_MAX])
SENTENCES = st.lists(st.one_of(BITS, NAMED), max_size=12)


@settings(max_examples=200, deadline=None)
@given(SENTENCES, st.lists(st.integers(0, 500), max_size=12))
def test_values_that_sentences_tell_are_masked_alike_too(texts, points):
    text, expected, found = "".join(texts), Counter(), Counter()
    once = with_names().whole(text, expected)
    cuts = sorted({0, len(text), *(point % (len(text) + 1) for point in points)})
    masked = with_names().text(found)
    assert "".join([masked.feed(text[a:b]) for a, b in itertools.pairwise(cuts)]) + masked.end() == once
    assert found == expected


def test_a_name_is_held_to_the_end_of_its_sentence():
    found = Counter()
    masked = with_names().text(found)
    assert masked.feed("はい。田中と鈴木") == "はい。"
    assert masked.feed("さんです。次") == "[person.name]と[person.name]さんです。"
    assert masked.end() == "次"
    assert found == {"person.name": 2}


def test_a_label_that_nothing_finds_cant_be_masked():
    with pytest.raises(RulesError, match=r"nothing finds person\.name"):
        inspector().masking(frozenset({"email", "person.name"}))
    assert inspector().masking(frozenset({"opaque"})).whole("taro@example.jp", Counter()) == "taro@example.jp"


@pytest.mark.parametrize(
    ("pieces", "held"),
    [
        (["これは普通の文です。"], 0),
        (["番号は1234-", "5678-", "9018"], 14),
        (["番号は1234-5678-9018", "。"], 0),
        (["mail taro@example.co"], 15),
        (["mail taro@example.co", " now "], 0),
        (["123456789018 "], 13),  # it wants a word, which may still come
        (["123456789018 は個人番号です。"], 0),
        (["123456789018 " + "あ" * 25], 0),  # and now it can't
        (["\\u00"], 4),
    ],
)
def test_only_what_may_still_become_a_value_is_held(pieces, held):
    masked = inspector().masking(frozenset({"email", "jp.my_number"})).text(Counter())
    for piece in pieces:
        masked.feed(piece)
    assert masked.held == held


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("123456789018 " + "あ" * 30, None),  # no word comes near enough
        ("123456789018 は個人番号です", "[jp.my_number] は個人番号です"),
        (f"{PEM}\u200b\u200bx", "[secret.private_key]x"),  # what is invisible after a value goes with it
        ("個人番号 1234ー5678ー9018。", "個人番号 [jp.my_number]。"),  # each mark beside a digit that is there, or gone
        ("個人番号 1234" + "\u200b" * 80 + "ー5678－9018。", "個人番号 [jp.my_number]。"),
        ("0\u3000ーaaa@aaa.jp", "0\u3000[email]"),  # the long vowel mark is a dash here: two marks after a digit
        ("電話（03）1234-5678", "電話[phone]"),
        ("x （９０", None),
        ("1234\u200b-\u200b5678-9018\u200b。", "[jp.my_number]。"),
        ("\\u0031234-5678-9018。", "[jp.my_number]。"),
        ("taro@example.co.jp.", "[email]."),
        ("askghp_" + "0a1B2c3D" * 5, None),  # a word that ends like a key begins
        ("api key: " + "0a1B2c3D" * 5 + "、", "api key: [secret.api_key]、"),
        # A mark is no context, and what is not quite one is: brackets around a word hide no number.
        ("4111 1111 1111 18１1[email#個人番号]", "[jp.my_number] 18１1[email#個人番号]"),
        ("[jp.my_number#個人番号]123456789018 ", "[jp.my_number#個人番号][jp.my_number] "),
        ("123456789018 [jp.my_number#１] ", None),
        ("123456789018 [jp.my_number] ", None),
        ("123456789018 [jp.my_number#] ", "[jp.my_number] [jp.my_number#] "),
        ("[jp.my_number#123456789018] ", None),  # a number in a mark, the word before it
        ("[jp.my_number#123456789018 ] ", "[jp.my_number#[jp.my_number] ] "),
    ],
)
def test_what_stands_around_a_value_counts_wherever_the_text_is_cut(text, expected):
    assert whole(text)[0] == by_spans(text) == (text if expected is None else expected)
    for size in (1, 2, 3, 5):
        assert in_pieces(text, range(0, len(text), size))[0] == (text if expected is None else expected)


def test_what_never_ends_is_refused_and_what_is_long_enough_is_not():
    masked = inspector().masking(EVERY).text(Counter())
    long = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQ0a" * 2_000
    assert masked.feed(long) == ""
    assert masked.feed("\n-----END PRIVATE KEY-----\n。") + masked.end() == "[secret.private_key]\n。"
    endless = inspector().masking(EVERY).text(Counter())
    endless.feed("-----BEGIN PRIVATE KEY-----")
    for _ in range(HOLD_MAX // 32 - 1):
        endless.feed("A" * 32)
    with pytest.raises(HeldTooMuch, match="never ends"):
        endless.feed("A" * 32)


def test_a_page_of_nothing_but_values_is_masked_whole():
    text = "".join(f"u{number}@ex.jp, " for number in range(5_000))
    masked, found = whole(text)
    assert masked == "[email], " * 5_000
    assert found == {"email": 5_000}


def test_hidden_characters_in_plenty_are_held_and_refused():
    masked = inspector().masking(EVERY).text(Counter())
    assert masked.feed("個人番号") == "個人番号"
    assert masked.feed("\u200b" * 1_000 + "123456789018") == ""
    assert masked.feed("。") + masked.end() == "\u200b" * 1_000 + "[jp.my_number]。"
    with pytest.raises(HeldTooMuch):
        inspector().masking(EVERY).text(Counter()).feed("\u200b" * (HOLD_MAX + 1))


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 500), max_size=12))
def test_in_pieces_is_as_whole(texts, points):
    check(texts, points)


@pytest.mark.long
@settings(max_examples=10_000, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 500), max_size=12))
def test_in_pieces_is_as_whole_many_times(texts, points):
    check(texts, points)


ALL_TEXTS = (
    "社員番号は EMP-12345 です。注文番号 EMP-99999 です。",
    "東京都千代田区霞が関3丁目1-1 に送る。〒100-8916",
    "postgres://user:S3cretPassw0rd@db.example.com/x",
    "Server=db;Database=x;Password=Zx81kk9;",
    "①②③④⑤⑥⑦⑧⑨⑩⑪⑫ 個人番号 123456789018",
    "カ\u3099キ 個人番号: 一二三四-五六七八-九〇一八",
)


@functools.cache
def with_own_rule():
    own = RuleData(label="acme.employee", anchor="EMP-[0-9]{4,6}", context=["社員"], unless=["注文番号"])
    made = compile_inspector(rules_bytes(("jp",), [own]))
    return made, made.masking(frozenset(made.labels()) - {"egress.tool", "egress.url", "opaque"})


@pytest.mark.parametrize("text", [*ALL_TEXTS, "。".join(ALL_TEXTS)])
def test_every_rule_that_ships_and_an_own_one_mask_in_pieces_as_in_whole(text):
    made, masking = with_own_rule()
    once = masking.whole(text, Counter())
    assert "[" in once
    assert len(made.spans(text)) == once.count("[")
    for size in (1, 2, 7):
        masked = masking.text(Counter())
        pieces = [masked.feed(text[at : at + size]) for at in range(0, len(text), size)]
        assert "".join(pieces) + masked.end() == once
