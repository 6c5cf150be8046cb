"""Sealed content: it opens under its key as it was, and in no other way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.content.errors import ContentUnreadable
from sekisho.content.interfaces import Content
from sekisho.content.sealing import MAGIC, seal, unseal

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
ENTRY = "01a20a17-737b-78b0-8e26-14a3746e95ae"
CONTENT = Content(
    "default", ENTRY, "01a20a17-737b-78b0-8e26-14a3746e95af", 1_790_000_000_000_000, b"asked", b"answered"
)
SEALED = seal(CONTENT, KEY)


@given(st.binary(max_size=2_000), st.binary(max_size=2_000))
def test_what_was_sealed_opens(sent, answer):
    content = CONTENT._replace(sent=sent, answer=answer)
    assert unseal(seal(content, KEY), KEY) == content


def test_nothing_of_it_can_be_read():
    assert b"asked" not in SEALED
    assert b"answered" not in SEALED


def test_another_key_opens_nothing():
    with pytest.raises(ContentUnreadable, match="destroyed"):
        unseal(SEALED, OTHER_KEY)


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(position, change):
    data = bytearray(SEALED)
    data[position] ^= change
    with pytest.raises(ContentUnreadable):
        unseal(bytes(data), KEY)


@given(st.integers(0, len(SEALED) - 1))
def test_what_was_cut_is_refused(length):
    with pytest.raises(ContentUnreadable):
        unseal(SEALED[:length], KEY)


def test_what_was_lengthened_is_refused():
    with pytest.raises(ContentUnreadable, match="something else"):
        unseal(SEALED + b"x", KEY)


@pytest.mark.parametrize(("old", "new"), [(b"1790", b"1791"), (b"default", b"defaulu"), (b"95ae", b"95ad")])
def test_neither_end_nor_owner_nor_entry_can_be_changed(old, new):
    assert old in SEALED
    with pytest.raises(ContentUnreadable):
        unseal(SEALED.replace(old, new, 1), KEY)


def test_fields_can_not_change_places():
    same = seal(CONTENT._replace(sent=b"12345", answer=b"abcde"), KEY)
    header_end = same.index(b"\n", len(MAGIC)) + 1
    half = (len(same) - header_end) // 2
    swapped = same[:header_end] + same[header_end + half :] + same[header_end : header_end + half]
    with pytest.raises(ContentUnreadable):
        unseal(swapped, KEY)


def test_no_two_seals_share_a_nonce():
    start = SEALED.index(b"\n", len(MAGIC)) + 1
    nonces = {seal(CONTENT, KEY)[start : start + 12] for _ in range(100)}
    assert len(nonces) == 100


@pytest.mark.parametrize("data", [b"", b"x", MAGIC, MAGIC + b"{}\n", MAGIC + b"x" * 3_000, MAGIC + b'{"answer":1}\n'])
def test_what_is_no_kept_content_is_refused(data):
    with pytest.raises(ContentUnreadable):
        unseal(data, KEY)
