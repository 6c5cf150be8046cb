import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel.canonical import INTEGER_MAX, decode, encode
from sekisho.kernel.errors import CanonicalError

ascii_keys = st.text(st.characters(max_codepoint=127), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-INTEGER_MAX, INTEGER_MAX) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ascii_keys, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_is_encoded_decodes_to_itself(value: object) -> None:
    assert decode(encode(value)) == value


@given(values)
def test_orjson_writes_the_same_bytes_for_canonical_values(value: object) -> None:
    orjson = pytest.importorskip("orjson")
    assert orjson.dumps(value, option=orjson.OPT_SORT_KEYS) == encode(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"b":1,"a":2}',
        '{"a":1,"a":1}',
        '{"a": 1}',
        '{"a":1}\n',
        '"\\u0041"',
        "1.0",
        "1e3",
        "-0",
        "NaN",
        "01",
        f"{2**53}",
        '"\\ud800"',
        "[" * 100 + "]" * 100,
        "",
    ],
)
def test_any_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(CanonicalError):
        decode(text.encode())


@pytest.mark.parametrize("value", [1.5, {"é": 1}, {1: 2}, b"x", 2**53, "\ud800", {"a": {1, 2}}])
def test_values_without_a_canonical_form_are_refused(value: object) -> None:
    with pytest.raises(CanonicalError):
        encode(value)


def test_escapes_are_those_of_rfc_8785() -> None:
    assert encode('\x00\x1f\b\t\n\f\r"\\/\x7f€') == '"\\u0000\\u001f\\b\\t\\n\\f\\r\\"\\\\/\x7f€"'.encode()
    assert json.loads(encode("\x1f")) == "\x1f"
