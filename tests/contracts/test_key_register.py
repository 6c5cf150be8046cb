"""What every register of API keys promises, whatever database it stands on.

An adapter joins by a line in ADAPTERS: its name, and a function that opens the same register each time it is called
with the same directory.
"""

import json

import pytest

from sekisho.identity.api_keys import text_digest
from sekisho.identity.errors import KeyNotRegistered, KeyRequestInvalid, StopNotSet
from sekisho.identity.interfaces import Principal
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.ids import is_uuid7


class SteppingClock:
    def __init__(self):
        self.now = 1_700_000_000_000_000

    def now_us(self):
        self.now += 1_000
        return self.now


def open_sqlite(directory):
    return SqlIdentity(directory / "state.sqlite", SteppingClock())


ADAPTERS = {"sqlite": open_sqlite}


class NothingDemanded:
    """No rule puts the act under approval."""

    def meet(self, connection, now_us):
        return None


@pytest.fixture(params=sorted(ADAPTERS))
def open_register(request, tmp_path):
    opened = []

    def open_one():
        opened.append(ADAPTERS[request.param](tmp_path))
        return opened[-1]

    yield open_one
    for register in opened:
        register.close()


@pytest.fixture
def register(open_register):
    return open_register()


def create(register, name="app", **asked):
    asked = {"organisation": "default", "roles": ("caller",), "data_class": None, "residency": None} | asked
    return register.create_key(name=name, actor="operator", **asked)


def test_a_new_register_is_empty(register):
    assert register.changes_since(0) == (0, (), ())
    assert register.pending(10) == ()
    assert register.list_keys() == ()


def test_a_created_key_is_a_change_and_only_its_digest_is_kept(register):
    key, text = create(register, roles=("ops", "caller", "ops"), data_class="internal", residency=("US", "JP"))
    assert text_digest(text.encode()) == key.digest
    assert key.principal == Principal(f"key-{key.id}", "default", ("caller", "ops"), "internal", ("JP", "US"))
    assert key.revoked_at is None
    assert register.changes_since(0) == (key.sequence, (key,), ())
    assert register.list_keys() == (key,)


def test_changes_come_once_in_order_and_end_at_the_number_given(register):
    keys = [create(register)[0] for _ in range(3)]
    first = register.changes_since(keys[0].sequence)
    assert first.keys == tuple(keys[1:])
    assert register.changes_since(first.sequence) == (first.sequence, (), ())
    ended = register.revoke_key(keys[0].id, "operator")
    assert register.changes_since(first.sequence) == (ended.sequence, (ended,), ())
    assert [key.id for key in register.changes_since(0).keys] == [keys[1].id, keys[2].id, keys[0].id]


def test_revoking_twice_changes_and_tells_once(register):
    key, _ = create(register)
    ended = register.revoke_key(key.id, "operator")
    assert ended.revoked_at > key.created_at
    assert register.revoke_key(key.id, "operator") == ended
    assert register.changes_since(0).sequence == ended.sequence
    assert len(register.pending(10)) == 2


def test_revoking_what_is_not_there_changes_nothing(register):
    create(register)
    before = register.changes_since(0)
    with pytest.raises(KeyNotRegistered):
        register.revoke_key("knosuchkey", "operator")
    assert register.changes_since(0) == before
    assert len(register.pending(10)) == 1


def test_an_invalid_request_changes_nothing(register):
    for asked in (
        {"organisation": "Bad Org"},
        {"name": ""},
        {"roles": ()},
        {"data_class": "Secret!"},
        {"residency": ()},
        {"residency": ("Japan",)},
    ):
        with pytest.raises(KeyRequestInvalid):
            create(register, **asked)
    with pytest.raises(KeyRequestInvalid):
        register.create_key("default", "app", ("caller",), None, None, "Taro Yamada")
    assert register.changes_since(0) == (0, (), ())
    assert register.pending(10) == ()


def test_each_act_is_told_in_order_without_free_text(register):
    key, text = create(register, name="山田太郎の鍵", data_class="internal", residency=("JP",))
    register.revoke_key(key.id, "operator")
    created, revoked = register.pending(10)
    assert (created.kind, created.actor, revoked.kind, revoked.actor) == ("change", "operator") * 2
    assert (created.at, is_uuid7(created.id), created.id != revoked.id) == (key.created_at, True, True)
    assert json.loads(created.body) == {
        "act": "key.create",
        "class": "internal",
        "key": key.id,
        "organisation": "default",
        "residency": ["JP"],
        "roles": ["caller"],
    }
    assert json.loads(revoked.body) == {"act": "key.revoke", "key": key.id, "organisation": "default"}
    told = created.body + revoked.body
    assert "山田".encode() not in told
    assert text.encode() not in told
    assert key.digest.hex().encode() not in told


def test_what_was_relayed_is_pending_no_more(register):
    for _ in range(5):
        create(register)
    first, second, *_ = register.pending(5)
    assert register.pending(2) == (first, second)
    register.relayed((second.id, "not-an-entry"))
    register.relayed((second.id,))
    register.relayed(())
    assert register.pending(2)[0] == first
    assert second not in register.pending(10)
    assert len(register.pending(10)) == 4
    assert register.pending(0) == ()


def test_another_process_sees_what_was_committed(register, open_register):
    other = open_register()
    key, _ = create(register)
    assert other.changes_since(0) == (key.sequence, (key,), ())
    ended = other.revoke_key(key.id, "operator")
    assert register.changes_since(key.sequence) == (ended.sequence, (ended,), ())
    assert [entry.id for entry in register.pending(10)] == [entry.id for entry in other.pending(10)]


def test_a_register_opened_again_goes_on_where_it_was(open_register):
    first = open_register()
    key, _ = create(first)
    first.close()
    second = open_register()
    assert second.list_keys() == (key,)
    assert create(second)[0].sequence > key.sequence


def test_a_stop_is_a_change_until_it_is_lifted_and_then_once_more(register):
    first = register.set_stop("deployment", "tokyo", "wrong region", "operator")
    assert register.set_stop("deployment", "tokyo", "again", "operator") == first  # what is stopped stays as it is
    register.set_stop("provider", "tokyo", "", "operator")
    changes = register.changes_since(0)
    assert [(one.kind, one.name, one.lifted_at) for one in changes.stops] == [
        ("deployment", "tokyo", None), ("provider", "tokyo", None)
    ]  # fmt: skip
    assert register.changes_since(changes.sequence).stops == ()
    register.lift_stop("deployment", "tokyo", "operator", NothingDemanded())
    (lifted,) = register.changes_since(changes.sequence).stops
    assert (lifted.kind, lifted.name, lifted.lifted_at is not None) == ("deployment", "tokyo", True)
    assert [(one.kind, one.name) for one in register.list_stops()] == [("provider", "tokyo")]
    with pytest.raises(StopNotSet):
        register.lift_stop("deployment", "tokyo", "operator", NothingDemanded())
    assert [json.loads(entry.body) for entry in register.pending(10)] == [
        {"act": "stop.set", "kind": "deployment", "name": "tokyo"},
        {"act": "stop.set", "kind": "provider", "name": "tokyo"},
        {"act": "stop.lift", "kind": "deployment", "name": "tokyo"},
    ]
