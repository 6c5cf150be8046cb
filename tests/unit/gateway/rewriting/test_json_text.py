"""A tool call's arguments stay JSON, however they are written and cut, and whatever is rewritten in them."""

import functools
import itertools
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.gateway.rewriting.json_text import BARE_MAX, JsonText, TooLongBetween
from sekisho.gateway.rewriting.restoring import RestoredText
from sekisho.inspection.rules import compile_inspector, rules_bytes

LABELS = frozenset({"jp.my_number", "email", "payment_card"})
NUMBER = "123456789018"


@functools.cache
def masking():
    return compile_inspector(rules_bytes(("jp",))).masking(LABELS)


class AsItIs:
    """A Text that changes nothing."""

    held = 0

    def feed(self, piece):
        return piece

    def end(self):
        return ""


def rewritten(text, points=(), make=lambda separated: AsItIs()):
    json_text = JsonText(lambda *, separated: make(separated))
    cuts = sorted({0, len(text), *(point % (len(text) + 1) for point in points)})
    return "".join(json_text.feed(text[a:b]) for a, b in itertools.pairwise(cuts)) + json_text.end()


def masked(text, points=()):
    return rewritten(text, points, lambda separated: masking().text(Counter(), separated=separated))


def restored(text, values, points=()):
    return rewritten(text, points, lambda separated: RestoredText(values, Counter(), separated=separated))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
DOCUMENTS = st.one_of(st.lists(JSON, max_size=3), st.dictionaries(st.text(max_size=5), JSON, max_size=3))
WAYS = st.fixed_dictionaries({"ensure_ascii": st.booleans(), "indent": st.sampled_from([None, 2])})


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS, WAYS, st.lists(st.integers(0, 300), max_size=20))
def test_what_is_not_rewritten_means_the_same(document, way, points):
    text = json.dumps(document, **way)
    # A lone surrogate has no UTF-8 and our separator passes as its neighbour: nothing that JSON texts are about.
    expected = json.loads(text.replace("\\u001e", "\\u001f").replace("\x1e", "\x1f"))
    assert json.loads(rewritten(text, points)) == expected
    assert rewritten(text, points) == rewritten(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"to":"taro@example.jp"}', '{"to":"[email]"}'),
        ('{"to":"taro\\u0040example\\u002ejp"}', '{"to":"[email]"}'),
        ('{"to": "taro@example.jp", "n": 1}', '{"to": "[email]", "n": 1}'),
        ('{"my_number":123456789018}', '{"my_number":"[jp.my_number]"}'),
        ('{"my_number" : 123456789018 }', '{"my_number" : "[jp.my_number]" }'),
        ('{"個人番号":["123456789018"]}', '{"個人番号":["[jp.my_number]"]}'),
        ('{"taro@example.jp":1}', '{"[email]":1}'),
        ('{"a":"4111","b":"1111","c":"1111 1111"}', '{"a":"4111","b":"1111","c":"1111 1111"}'),
        ('{"q":"say \\"taro@example.jp\\"\\n"}', '{"q":"say \\"[email]\\"\\n"}'),
        ('{"t":"\\ud83d\\ude00 taro@example.jp"}', '{"t":"😀 [email]"}'),
        ('{"t":"\\udc00 \\ud800x taro@example.jp"}', '{"t":"\ufffd \ufffdx [email]"}'),
        ('{"t":"\\ud800\\ud83d\\ude00\\q"}', '{"t":"\ufffd😀q"}'),
        ("mail taro@example.jp now", "mail [email] now"),
        ('"taro@example.jp"', '"[email]"'),
        ("", ""),
        ("  ", "  "),
        (' {"a":1} ', ' {"a":1} '),
        ('{"to":"taro@example.jp', '{"to":"[email]'),
        ('{"n":4111 1111 1111 1111}', '{"n":"[payment_card]"}'),
        ('{"to":"a\\', '{"to":"a\\'),
    ],
)
def test_values_are_masked_and_json_stays_json(text, expected):
    assert masked(text) == expected
    for size in (1, 2, 3, 7):
        assert masked(text, range(0, len(text), size)) == expected


def test_values_are_put_back_as_json_writes_them():
    values = {"[person.name#1]": 'Hanako "H." O\\Brien\n\x1e', "[person.name#2]": "田中"}
    text = '{"who":"[person.name#1]","also":["[person.name#2]さん","[person.name#3]"],"raw":[person.name#1]}'
    for points in ((), range(len(text)), range(0, len(text), 5)):
        found = restored(text.replace(',"raw":[person.name#1]', ""), values, points)
        assert json.loads(found) == {
            "who": 'Hanako "H." O\\Brien\n\x1f',
            "also": ["田中さん", "[person.name#3]"],
        }
        assert restored(text, values, points).endswith(',"raw":[person.name#1]}')  # no string: mangled, so it stays


def test_an_escaped_placeholder_is_one():
    assert restored('{"who":"\\u005bperson.name#1]"}', {"[person.name#1]": "田中"}) == '{"who":"田中"}'


def test_what_never_comes_to_one_of_jsons_own_characters_is_bounded():
    json_text = JsonText(lambda *, separated: AsItIs())
    json_text.feed("[" + "1" * BARE_MAX)
    with pytest.raises(TooLongBetween):
        json_text.feed("1")
