import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.identity import api_keys
from sekisho.identity.api_keys import KeyRequest
from sekisho.identity.errors import KeyRequestInvalid
from sekisho.identity.interfaces import ApiKey, Principal
from sekisho.kernel import canonical

GOOD = KeyRequest("default", "app", ("caller",))


def test_a_text_holds_256_bits_and_is_new_each_time():
    texts = {api_keys.new_text() for _ in range(200)}
    assert len(texts) == 200
    assert all(re.fullmatch(r"sk-[A-Za-z0-9_-]{43}", text) for text in texts)
    # Every one of the 43 places varies: nothing of the text is fixed but its prefix.
    assert all(len({text[place] for text in texts}) > 8 for place in range(3, 45))


def test_the_digest_is_sha_256_of_the_text():
    assert api_keys.text_digest(b"sk-abc") == hashlib.sha256(b"sk-abc").digest()


def test_an_id_can_stand_in_a_principal_id():
    ids = {api_keys.new_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch(r"key-k[a-z2-7]{10}", api_keys.principal_id(key_id)) for key_id in ids)


def test_roles_and_residency_are_sorted_once_each():
    request = GOOD._replace(roles=("b", "a", "b"), residency=("US", "JP", "US"))
    assert api_keys.validated(request) == GOOD._replace(roles=("a", "b"), residency=("JP", "US"))
    assert api_keys.validated(api_keys.validated(request)) == api_keys.validated(request)


@pytest.mark.parametrize(
    "change",
    [
        {"organisation": ""},
        {"organisation": "Default"},
        {"organisation": "a" * 65},
        {"organisation": "-a"},
        {"organisation": "a\n"},
        {"organisation": "../etc"},
        {"name": ""},
        {"name": " app"},
        {"name": "a\x1b[31m"},
        {"name": "a\u202eb"},
        {"name": "a" * 101},
        {"roles": ()},
        {"roles": ("Caller",)},
        {"roles": tuple(f"r{n}" for n in range(17))},
        {"data_class": ""},
        {"residency": ()},
        {"residency": ("jp",)},
        {"residency": ("JPN",)},
        {"residency": ("J\u0420",)},
        {"residency": ("JP",) * 65},
    ],
)
def test_what_cannot_be_registered_is_refused_with_a_remedy_or_a_bound(change):
    api_keys.validated(GOOD)
    with pytest.raises(KeyRequestInvalid) as raised:
        api_keys.validated(GOOD._replace(**change))
    assert raised.value.remedy or "more than" in raised.value.message


def test_a_japanese_name_is_a_name():
    assert api_keys.validated(GOOD._replace(name="経理部 請求書")).name == "経理部 請求書"


@given(name=st.text(max_size=40))
def test_a_name_that_is_accepted_never_reaches_the_ledger(name):
    try:
        request = api_keys.validated(GOOD._replace(name="zz-" + name))
    except KeyRequestInvalid:
        return
    principal = Principal("key-k1", request.organisation, request.roles, None, ("JP",))
    key = ApiKey("k1", b"\0" * 32, request.name, principal, 1, None, 1)
    for body in (api_keys.created_body(key), api_keys.revoked_body(key)):
        canonical.decode(body)
        assert b"zz-" not in body
