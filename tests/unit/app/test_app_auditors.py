"""Who reads the log's entries: a live key with the role auditor, told to the ledger before it reads, once a minute."""

import json

import pytest

from sekisho.app.auditors import COVERED_US, LogAuditors
from sekisho.console.errors import NotAllowed
from sekisho.identity.errors import KeyMissing, KeyRevoked, KeyUnknown
from sekisho.identity.sql import SqlIdentity


class Clock:
    time_us = 1_790_000_000_000_000

    def now_us(self):
        return self.time_us


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def register(tmp_path, clock):
    register = SqlIdentity(tmp_path / "state.sqlite", clock)
    yield register
    register.close()


@pytest.fixture
def auditors(register, clock):
    return LogAuditors(register, clock, lambda: 77)


def told(register):
    return [(entry.kind, entry.actor, json.loads(entry.body)) for entry in register.pending(100)]


def key(register, *roles):
    made, text = register.create_key("default", "a key", roles, None, None, "operator")
    return made, f"Bearer {text}"


def test_an_auditors_key_is_admitted_and_told_once_a_minute(register, auditors, clock):
    made, bearer = key(register, "auditor")
    for _ in range(5):
        auditors.admit(bearer)
    accesses = [entry for entry in told(register) if entry[0] == "access"]
    until = clock.time_us + COVERED_US
    body = {"act": "ledger.read", "key": made.id, "size": 77, "until": until}
    assert accesses == [("access", f"key-{made.id}", body)]
    clock.time_us = until
    auditors.admit(bearer)
    assert [entry[2]["until"] for entry in told(register) if entry[0] == "access"] == [until, until + COVERED_US]


def test_every_key_is_told_by_itself(register, auditors):
    for _ in range(2):
        auditors.admit(key(register, "auditor", "caller")[1])
    assert len({actor for kind, actor, _ in told(register) if kind == "access"}) == 2


@pytest.mark.parametrize(
    ("given", "error"), [(None, KeyMissing), ("", KeyMissing), ("Bearer sk-no", KeyUnknown), ("Bearer é", KeyUnknown)]
)
def test_without_a_known_key_nobody_is_admitted(register, auditors, given, error):
    with pytest.raises(error):
        auditors.admit(given)
    assert told(register) == []


def test_a_callers_key_is_no_auditors(register, auditors):
    with pytest.raises(NotAllowed, match="may not read"):
        auditors.admit(key(register, "caller")[1])


def test_a_revoked_key_reads_nothing_more_even_within_its_minute(register, auditors):
    made, bearer = key(register, "auditor")
    auditors.admit(bearer)
    register.revoke_key(made.id, "operator")
    with pytest.raises(KeyRevoked):
        auditors.admit(bearer)
