"""Ways to write an identifier so that a program overlooks it and a model reads it all the same."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspection_cases import FOUND
from sekisho.inspection.normalise import fold, fold_with_offsets, folding_table

ALONE = folding_table(alone=True)
DASHES = "‐‑‒–—―−⁃─﹘﹣－·・･־᠆゠˗"
HIDDEN = (
    "\u200b\u200c\u200d\u2060\ufeff\u00ad\u202e\u2066\u2069\u200e\u200f\ufe0f\u034f\U000e0041\ufff0\U0001bca0\U0001d173"
    "\u0483\u064b\u0e38\u302a\u3099\uff9e"  # marks that nothing before them bears
)


def digits(zero):
    return lambda text: re.sub("[0-9]", lambda digit: chr(zero + int(digit[0])), text)


def between(hidden):
    return lambda text: re.sub("(?<=[0-9A-Za-z])(?=[0-9A-Za-z])", hidden, text)


def full_width(text):
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" and c.isalnum() else c for c in text)


def dashed(dash):
    return lambda text: re.sub("(?<=[0-9])-(?=[0-9])", dash, text)


def escaped(text):
    return re.sub("[0-9]", lambda digit: f"\\u{ord(digit[0]):04x}", text)


def struck(text):
    return re.sub("[0-9]", lambda digit: f"{digit[0]}\u0336", text)


EVASIONS = {
    "full width": full_width,
    "Arabic-Indic": digits(0x0660),
    "Devanagari": digits(0x0966),
    "Adlam": digits(0x1E950),
    "mathematical bold": digits(0x1D7CE),
    "segmented": digits(0x1FBF0),
    "white on black": lambda text: re.sub("[0-9]", lambda digit: "⓿❶❷❸❹❺❻❼❽❾"[int(digit[0])], text),
    "escaped": escaped,
    "struck through": struck,
    **{f"dash {dash!r}": dashed(dash) for dash in DASHES},
    **{f"hidden {hidden!r}": between(hidden) for hidden in HIDDEN},
}


def found(inspector, text, label):
    return [text[span.start : span.end] for span in inspector.spans(text) if span.label == label]


@pytest.mark.parametrize("evasion", EVASIONS.values(), ids=EVASIONS)
def test_an_evasion_changes_nothing_and_spans_stay_those_of_the_original(inspector, evasion):
    for label, text, value in FOUND:
        plain = found(inspector, text, label)
        written = found(inspector, evasion(text), label)
        assert [fold(one, ALONE) for one in written] == [fold(one, ALONE) for one in plain], (evasion(text), value)


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("phone", "電話〇三－一二三四－五六七八"),
        ("phone", "電話は○三（一二三四）五六七八"),
        ("phone", "O9О-12З4-5678".replace("O", "0")),  # Cyrillic О and З
        ("jp.my_number", "個人番号 一二三四五六七八九〇一八"),
        ("phone", "電話は零九零－一二三四－五六七八"),
        ("jp.my_number", "マイナンバー：⑫③④⑤⑥⑦⑧⑨⓪①⑧"),
        ("jp.my_number", "ﾏｲﾅﾝﾊﾞｰ 123456789018"),
        ("jp.my_number", "マイナンハ\u3099ー 123456789018"),  # decomposed, as some file systems write names
        ("jp.my_number", "個\u200b人\u200b番号123456789018"),
        ("jp.my_number", "個人番号 １２３４ー５６７８ー９０１８"),
        ("email", "ｔａｒｏ＠ｅｘａｍｐｌｅ．ｊｐ"),
        ("email", "taro\u200b@\u2060example.jp"),
        ("secret.api_key", "ghp_" + "ａ1B2c3D4e5F6" * 3),
    ],
)
def test_other_ways_to_write_it(inspector, label, text):
    assert found(inspector, text, label), inspector.spans(text)


def test_a_value_that_ends_within_what_one_character_folds_to_takes_all_of_it(inspector):
    text = "電話 090-1234-567⒏です、⑴ 090-1234-5678"
    assert found(inspector, text, "phone") == ["090-1234-567⒏", "090-1234-5678"]
    body = {"content": text}
    assert inspector.redact(body).body == {"content": "電話 [phone]です、⑴ [phone]"}


@pytest.mark.parametrize("text", ["二三日で三〇〇〇円", "ООО Ромашка", "第一三共", "〇〇を行う", "一月一日、二月二日"])
def test_letters_that_look_like_digits_are_none_by_themselves(inspector, text):
    assert inspector.spans(text) == ()


CHARACTERS = st.sampled_from("1２٣④⑫〇一ーｰ－‐ -　（あｶﾞカ\u3099a\\u\u200b\u0336О\x00.\n\U0001d7d8")


@settings(max_examples=300, deadline=None)
@given(st.lists(CHARACTERS, max_size=40).map("".join), st.lists(CHARACTERS, max_size=40).map("".join))
def test_folding_in_pieces_equals_folding_whole_where_a_line_ends(one, other):
    table = folding_table()
    assert fold(f"{one}x\n{other}", table) == fold(f"{one}x\n", table) + fold(other, table)


@settings(max_examples=30, deadline=None)
@given(st.lists(CHARACTERS, min_size=1, max_size=30).map("".join), st.integers(0, 40))
def test_long_texts_are_folded_in_pieces_alike(unit, ahead):
    table = folding_table()
    text = "x" * ahead + (unit + "z\n") * (40_000 // (len(unit) + 2))
    folded, offsets = fold_with_offsets(text, table)
    assert folded == "x" * ahead + fold(unit + "z\n", table) * (40_000 // (len(unit) + 2))
    assert offsets == sorted(offsets)
    assert len(offsets) == len(folded) + 1


@settings(max_examples=200, deadline=None)
@given(st.lists(CHARACTERS, max_size=30).map("".join))
def test_each_folded_character_comes_from_its_offset(text):
    """Doubling a text doubles its offsets, each into its own half."""
    folded, offsets = fold_with_offsets(text, ALONE)
    twice, both = fold_with_offsets(f"{text}x\n{text}", ALONE)
    last = len(fold(f"{text}x\n", ALONE))
    assert twice[last:] == folded
    assert both[last:] == [len(text) + 2 + offset for offset in offsets]
    assert both[:last] == sorted(both[:last])
