"""Destroying a commitment key: what is demanded is met first, and no entry says what was not done."""

import json

import pytest

from sekisho.app import commitment_keys
from sekisho.app.commitment_keys import forget_organisation, renew_organisation
from sekisho.app.keys import OrganisationKeys
from sekisho.identity.errors import ApprovalMissing
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import UsageError
from sekisho.settings import DataDirectory

KEY = "keys/organisations/bank.key"


class Demand:
    def __init__(self, result):
        self.result = result

    def meet(self, connection, now_us):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def demanded(tmp_path, monkeypatch):
    """Lets a test say what the rules demand; the directory has the key of one organisation."""
    directory = DataDirectory(tmp_path)
    directory.organisation_keys.mkdir(parents=True)
    OrganisationKeys(directory.organisation_keys).ensure(["bank"])

    def demand(result):
        monkeypatch.setattr(commitment_keys, "demand_of", lambda *_: Demand(result))

    return demand


def told(root):
    register = SqlIdentity(DataDirectory(root).state, SystemClock())
    try:
        return [json.loads(entry.body) for entry in register.pending(100)]
    finally:
        register.close()


def test_the_entries_tell_of_the_approval(tmp_path, demanded):
    demanded({"needed": 1})
    forget_organisation(tmp_path, "bank", "operator", [])
    assert not (tmp_path / KEY).exists()
    renew_organisation(tmp_path, "bank", "operator")
    assert (tmp_path / KEY).exists()
    assert told(tmp_path) == [
        {"act": "keys.forget", "approval": {"needed": 1}, "organisation": "bank"},
        {"act": "keys.renew", "organisation": "bank"},
    ]


def test_without_what_is_demanded_nothing_is_destroyed(tmp_path, demanded):
    demanded(ApprovalMissing("keys.forget needs the approval of others"))
    before = (tmp_path / KEY).read_bytes()
    with pytest.raises(ApprovalMissing):
        forget_organisation(tmp_path, "bank", "operator", [])
    assert (tmp_path / KEY).read_bytes() == before
    assert told(tmp_path) == []


def test_a_key_that_could_not_be_destroyed_is_not_said_to_be(tmp_path, demanded, monkeypatch):
    demanded(None)

    def fails(self, organisation):
        raise OSError("the disk failed")

    with monkeypatch.context() as patch:
        patch.setattr(OrganisationKeys, "forget", fails)
        with pytest.raises(OSError, match="the disk failed"):
            forget_organisation(tmp_path, "bank", "operator", [])
    assert told(tmp_path) == []
    forget_organisation(tmp_path, "bank", "operator", [])
    assert told(tmp_path) == [{"act": "keys.forget", "organisation": "bank"}]


def test_a_name_without_a_key_is_refused_before_anybody_is_asked_to_approve(tmp_path, demanded):
    demanded(ApprovalMissing("never asked"))
    with pytest.raises(UsageError, match="no organisation 'banc'"):
        forget_organisation(tmp_path, "banc", "operator", [])
