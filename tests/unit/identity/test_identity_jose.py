import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer_keys import b64
from sekisho.identity.jose import base64url, json_object


@given(st.binary(max_size=200))
def test_what_was_encoded_is_read(data):
    assert base64url(b64(data).encode()) == data


@given(st.binary(max_size=40), st.integers(0, 255), st.data())
def test_no_two_texts_mean_the_same_bytes(data, byte, draw):
    text = bytearray(b64(data).encode() or b"AA")
    text[draw.draw(st.integers(0, len(text) - 1))] = byte
    try:
        read = base64url(bytes(text))
    except ValueError:
        return
    assert b64(read).encode() == bytes(text)


@pytest.mark.parametrize("text", [b"A", b"AB=", b"AA==", b"AB", b"A A", b"AA\n", b"+/", b"\xff\xff", b"AAAAA"])
def test_padding_spaces_other_alphabets_and_bits_left_over_are_refused(text):
    with pytest.raises(ValueError):
        base64url(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": 1, "a": 1}', "a key stands twice"),
        (b'{"a": {"b": 1, "b": 2}}', "a key stands twice"),
        (b'{"a": 1, "\\u0061": 2}', "a key stands twice"),
        (b'[{"a": 1}]', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a": 1} x', "not JSON in UTF-8"),
        (b'{"a": "\xff"}', "not JSON in UTF-8"),
        (b"", "not JSON in UTF-8"),
        (b'{"a": ' + b"7" * 5000 + b"}", "not JSON in UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON in UTF-8"),
    ],
)
def test_json_that_could_be_read_in_two_ways_is_refused(text, reason):
    with pytest.raises(ValueError, match=f"^{reason}$"):
        json_object(text)


@given(
    st.dictionaries(st.text(max_size=9), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
)
def test_other_objects_are_read(value):
    assert json_object(json.dumps(value).encode()) == value
