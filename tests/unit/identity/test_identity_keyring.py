import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.identity.api_keys import text_digest
from sekisho.identity.errors import AuthenticationError, KeyMissing, KeyRevoked, KeyUnknown
from sekisho.identity.interfaces import ApiKey, KeyChanges, Principal
from sekisho.identity.keyring import PRESENTED_BYTES_MAX, Keyring


def a_key(key_id="k1", *, text=None, revoked_at=None, sequence=1):
    text = text or f"sk-{key_id}"
    principal = Principal(f"key-{key_id}", "default", ("caller",), None, None)
    return ApiKey(key_id, text_digest(text.encode()), "app", principal, 1, revoked_at, sequence)


def keyring_with(*keys):
    keyring = Keyring()
    keyring.apply(KeyChanges(max(key.sequence for key in keys), keys))
    return keyring


def test_either_header_names_the_principal():
    keyring = keyring_with(a_key())
    expected = a_key().principal
    assert keyring.authenticate(b"Bearer sk-k1", None) is not None
    for authorization, api_key in (
        (b"Bearer sk-k1", None),
        (b"bearer   sk-k1 ", None),
        (None, b"sk-k1"),
        (b"Bearer sk-k1", b"sk-k1"),
    ):
        assert keyring.authenticate(authorization, api_key) == expected


@pytest.mark.parametrize(
    ("authorization", "api_key", "error"),
    [
        (None, None, KeyMissing),
        (None, b"", KeyMissing),
        (b"", None, KeyMissing),
        (b"Bearer", None, KeyMissing),
        (b"Bearer ", None, KeyMissing),
        (b"Basic sk-k1", None, KeyMissing),
        (b"sk-k1", None, KeyMissing),
        (b"Basic sk-k1", b"sk-k1", KeyMissing),
        (b"Bearer sk-k", None, KeyUnknown),
        (b"Bearer sk-k11", None, KeyUnknown),
        (b"Bearer sk-k1 sk-k1", None, KeyUnknown),
        (b"Bearer sk-k1", b"sk-k2", KeyUnknown),
        (b"Bearer sk-\xff\x00", None, KeyUnknown),
        (None, b"s" * 100_000, KeyUnknown),
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(authorization, api_key, error):
    keyring = keyring_with(a_key(), a_key("k2", sequence=2))
    with pytest.raises(error) as raised:
        keyring.authenticate(authorization, api_key)
    assert isinstance(raised.value, AuthenticationError)
    assert "sk-k" not in str(raised.value)
    assert raised.value.remedy


def test_what_is_longer_than_the_bound_is_unknown_even_if_registered():
    text = "s" * (PRESENTED_BYTES_MAX + 1)
    keyring = keyring_with(a_key("long", text=text), a_key("fits", text=text[:-1], sequence=2))
    assert keyring.authenticate(None, text[:-1].encode()).id == "key-fits"
    with pytest.raises(KeyUnknown):
        keyring.authenticate(None, text.encode())


def test_an_empty_keyring_lets_nobody_in():
    with pytest.raises(KeyUnknown):
        Keyring().authenticate(b"Bearer sk-k1", None)
    assert not Keyring().is_live("key-k1")


def test_a_revoked_key_is_refused_by_name():
    keyring = keyring_with(a_key())
    assert keyring.is_live("key-k1")
    keyring.apply(KeyChanges(2, (a_key(revoked_at=5, sequence=2),)))
    assert not keyring.is_live("key-k1")
    assert keyring.sequence == 2
    with pytest.raises(KeyRevoked) as raised:
        keyring.authenticate(b"Bearer sk-k1", None)
    assert "k1" in raised.value.message


def test_rows_that_come_late_or_again_do_not_bring_a_key_back():
    keyring = keyring_with(a_key(revoked_at=5, sequence=2))
    keyring.apply(KeyChanges(1, (a_key(sequence=1),)))
    keyring.apply(KeyChanges(2, (a_key(revoked_at=5, sequence=2),)))
    assert not keyring.is_live("key-k1")
    assert (keyring.sequence, len(keyring)) == (2, 1)


def test_the_end_of_a_key_is_told_once_to_those_who_watch_it():
    keyring = keyring_with(a_key("k1"), a_key("k2", sequence=2))
    heard = []
    keyring.watch("key-k1", lambda principal: heard.append(("first", principal)))
    gone = keyring.watch("key-k1", lambda principal: heard.append(("gone", principal)))
    keyring.watch("key-k1", lambda principal: heard.append(("second", principal)))
    keyring.watch("key-k2", lambda principal: heard.append(("other", principal)))
    keyring.unwatch(gone)
    keyring.unwatch(gone)
    ended = KeyChanges(3, (a_key("k1", revoked_at=5, sequence=3),))
    keyring.apply(ended)
    keyring.apply(ended)
    assert heard == [("first", "key-k1"), ("second", "key-k1")]


def test_a_watcher_may_give_its_watch_back_while_it_is_told():
    keyring = keyring_with(a_key())
    watches = []
    watches.append(keyring.watch("key-k1", lambda _: [keyring.unwatch(watch) for watch in watches]))
    watches.append(keyring.watch("key-k1", lambda _: [keyring.unwatch(watch) for watch in watches]))
    keyring.apply(KeyChanges(2, (a_key(revoked_at=5, sequence=2),)))
    assert keyring._watches == {}


def test_no_watch_begins_on_a_key_that_has_ended():
    keyring = keyring_with(a_key(revoked_at=5))
    for principal in ("key-k1", "key-unknown"):
        with pytest.raises(KeyRevoked):
            keyring.watch(principal, lambda _: None)


def test_a_watcher_that_fails_keeps_nobody_else_from_hearing():
    keyring = keyring_with(a_key())
    heard = []

    def fails(principal):
        raise ValueError(principal)

    keyring.watch("key-k1", fails)
    keyring.watch("key-k1", heard.append)
    with pytest.raises(ExceptionGroup) as raised:
        keyring.apply(KeyChanges(2, (a_key(revoked_at=5, sequence=2),)))
    assert [type(error) for error in raised.value.exceptions] == [ValueError]
    assert heard == ["key-k1"]
    assert (keyring.sequence, keyring.is_live("key-k1")) == (2, False)


def test_watches_leave_nothing_behind():
    keyring = keyring_with(a_key())
    for watch in [keyring.watch("key-k1", lambda _: None) for _ in range(50)]:
        keyring.unwatch(watch)
    assert keyring._watches == {}


@settings(max_examples=60, deadline=None)
@given(
    acts=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=25),
    order=st.randoms(use_true_random=False),
)
def test_whatever_order_changes_arrive_in_the_last_word_on_a_key_counts(acts, order):
    truth, rows = {}, []
    for sequence, (number, revoke) in enumerate(acts, start=1):
        key_id = f"k{number}"
        ended = key_id in truth and (revoke or truth[key_id].revoked_at is not None)
        truth[key_id] = a_key(key_id, revoked_at=sequence if ended else None, sequence=sequence)
        rows.append(truth[key_id])
    order.shuffle(rows)
    keyring = Keyring()
    for row in rows:
        keyring.apply(KeyChanges(row.sequence, (row,)))
    assert keyring.sequence == len(acts)
    for key_id, key in truth.items():
        assert keyring.is_live(f"key-{key_id}") == (key.revoked_at is None)
        if key.revoked_at is None:
            assert keyring.authenticate(None, f"sk-{key_id}".encode()) == key.principal
        else:
            with pytest.raises(KeyRevoked):
                keyring.authenticate(None, f"sk-{key_id}".encode())
