import base64
import hashlib
import hmac
import re

from hypothesis import given
from hypothesis import strategies as st

from sekisho.identity.interfaces import HOLDER_PREFIX, SUBJECT_PREFIX
from sekisho.identity.pseudonyms import pseudonym

KEY = bytes(range(32))
parts = st.lists(st.text(max_size=9), max_size=4)


def test_it_is_what_its_text_says():
    message = b"\0\0\0\5oidc-\0\0\0\1i\0\0\0\2\xc3\xa9"
    digest = hmac.new(KEY, message, hashlib.sha256).digest()[:20]
    assert pseudonym(SUBJECT_PREFIX, KEY, "i", "é") == "oidc-" + base64.b32encode(digest).decode().lower()


@given(parts, parts)
def test_other_parts_have_another_name(one, other):
    """However they are cut: the parts `ab`, `c` are not `a`, `bc`."""
    assert (pseudonym("oidc-", KEY, *one) == pseudonym("oidc-", KEY, *other)) == (one == other)


@given(st.lists(st.text(max_size=300), max_size=4))
def test_a_name_is_short_and_of_the_alphabet_of_principals(texts):
    assert re.fullmatch(r"oidc-[a-z2-7]{32}", pseudonym(SUBJECT_PREFIX, KEY, *texts))


def test_another_organisation_or_kind_knows_the_same_subject_by_another_name():
    assert len({pseudonym(prefix, key, "s") for prefix in (SUBJECT_PREFIX, HOLDER_PREFIX) for key in (KEY, b"k")}) == 4
