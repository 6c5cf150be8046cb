"""Audit depth 3: acts that need approval, held against the rules and persons of the log alone."""

import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "identity"))

from approval_world import PEOPLE, an_act, approved, key_of  # identity's units lend their persons

from audited_log import FARAWAY, ORIGIN, TOKYO, AuditedLog
from sekisho.app.audit import AuditAsked, Auditor
from sekisho.assurance import approvals as module
from sekisho.assurance.snapshots_in_force import TAKEN_OVER_US
from sekisho.catalog.interfaces import ApprovalRule
from sekisho.identity.approvals import Approved
from support_decide import catalogue

ENTRY = "01a20a17-737b-78b0-8e26-14a3746e95ae"
FORGET = {"act": "content.forget", "organisation": "default"}
RULES = (
    ApprovalRule(act="content.forget", approvers=PEOPLE, needed=1),
    ApprovalRule(act="stop.lift", approvers=PEOPLE, needed=2),
)
LIFT = {"act": "stop.lift", "kind": "provider", "name": "tokyo"}


class Site:
    """A log of acts under a snapshot with rules."""

    def __init__(self, root):
        self.ruled = msgspec.structs.replace(catalogue(TOKYO, FARAWAY), approvals=RULES)
        self.log = AuditedLog(root, self.ruled)
        self.digest = self.log.snapshot.digest
        self.log.activate(self.digest)
        self.log.clock.time_us += 2 * TAKEN_OVER_US

    def act(self, body, kind="change"):
        return self.log.write(self.log.envelope(kind, body), self.log.control)

    def enrol(self, *people):
        for person in people:
            self.act({"act": "person.enrol", "key": public(person), "person": person})

    def asked(self, body, **changes):
        """The act of an entry, asked for now."""
        now_us = self.log.clock.now_us()
        parameters = {name: text for name, text in body.items() if name != "act"}
        if body["act"] == "content.forget":
            parameters["entry"] = parameters["entry"] or "everything"
        fields = {"act": body["act"], "parameters": parameters, "origin": ORIGIN, "asked_at": now_us}
        return an_act(**fields | {"valid_until": now_us + 3_600_000_000} | changes)

    def done(self, body, *people, act=None, needed=2, snapshot=None, **changes):
        """The act is done with the approval of these people; the entry."""
        approval = approved(*people, act=act or self.asked(body, **changes))
        asker = next(one for one in approval.signatures if one.capacity == "asker")
        others = tuple(one for one in approval.signatures if one is not asker)
        record = Approved(approval.act, asker, others, needed).record(snapshot or self.digest)
        return self.act({**body, "approval": record})

    def audit(self):
        self.log.publish()
        self.log.close()
        report = Auditor(self.log.clock).audit(AuditAsked(str(self.log.root), depth=3))
        return [(one.kind.code, one.detail) for one in report.findings.sorted() if one.kind.code != "actor_unknown"]


def public(person):
    return key_of(person).public_key().public_bytes_raw().hex()


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "site")
    site.enrol(*PEOPLE)
    return site


def only(found, code, words):
    assert [one for one, _ in found] == [code], found
    assert words in found[0][1]


def test_acts_that_were_approved_hold(site):
    site.done(LIFT, "s-002", "s-003")
    site.done({**FORGET, "entry": None}, "s-002", needed=1)
    site.done({**FORGET, "entry": ENTRY}, "s-004", needed=1)
    site.act({"act": "keys.forget", "organisation": "default"})  # no rule demands anything of it
    assert site.audit() == []


def test_an_act_without_the_approval_that_was_demanded_is_found(site):
    site.act(LIFT)
    only(site.audit(), "approval_missing", "stop.lift")


@pytest.mark.parametrize(
    ("people", "changes", "words"),
    [
        (("s-002",), {}, "1 of the 2"),
        (("s-002", "s-003"), {"needed": 1}, "another number"),
        (("s-002", "s-003"), {"parameters": {"kind": "provider", "name": "osaka"}}, "another act"),
        (("s-002", "s-003"), {"origin": "other.example/a/b"}, "another installation"),
        (("s-002", "s-003"), {"asked_at": 1, "valid_until": 2}, "over"),
        (("s-002", "s-003"), {"snapshot": "../keys"}, "no snapshot"),
    ],
)
def test_an_approval_that_does_not_hold_is_found(site, people, changes, words):
    site.done(LIFT, *people, **changes)
    only(site.audit(), "approval_invalid", words)


def test_a_changed_byte_of_an_approval_is_found(site):
    entry = site.done(LIFT, "s-002", "s-003")
    body = entry["body"]
    body["approval"]["act"]["asked_at"] -= 1
    site.act(body)
    only(site.audit(), "approval_invalid", "not of these bytes")


def test_an_approval_that_served_twice_is_found(site):
    act = site.asked(LIFT)
    first = site.done(LIFT, "s-002", "s-003", act=act)
    site.done(LIFT, "s-002", "s-003", act=act)
    only(site.audit(), "approval_invalid", first["id"])


def test_who_was_retired_before_does_not_count_and_after_does(site):
    site.done(LIFT, "s-002", "s-003")
    site.act({"act": "person.retire", "key": public("s-002"), "person": "s-002"})
    site.done(LIFT, "s-002", "s-003")
    only(site.audit(), "approval_invalid", "1 of the 2")


def test_persons_of_an_older_log_are_told_apart_from_a_forgery(tmp_path):
    site = Site(tmp_path / "site")
    site.done(LIFT, "s-002", "s-003")
    only(site.audit(), "approver_unknown", "stop.lift")


def test_rules_that_were_not_in_force_are_found(site):
    site.log.install(
        msgspec.structs.replace(site.ruled, approvals=(ApprovalRule(act="stop.lift", approvers=("s-002",), needed=1),))
    )
    weaker = site.log.snapshot.digest
    site.done(LIFT, "s-002", needed=1, snapshot=weaker)
    only(site.audit(), "approval_superseded", weaker[:16])


def test_what_is_demanded_is_what_was_in_force_then(site):
    """Also where the activation stands behind the act in the log, and before the first one that the log tells of."""
    site.log.install(catalogue(TOKYO, FARAWAY))  # rules that demand nothing
    at = site.log.clock.now_us()
    site.act(LIFT)
    site.log.activate(site.log.snapshot.digest, at=at)
    site.log.clock.time_us += 2 * TAKEN_OVER_US
    site.act(LIFT)
    site.log.activate(site.digest)
    site.log.clock.time_us += 2 * TAKEN_OVER_US
    site.act(LIFT)
    only(site.audit(), "approval_missing", "stop.lift")


def test_a_snapshot_that_is_not_there_is_told_once(site):
    for _ in range(2):
        site.done(LIFT, "s-002", "s-003", snapshot="0" * 64)
    found = sorted(code for code, _ in site.audit())
    assert found == ["approval_superseded", "approval_superseded", "snapshot_missing"]


def test_memory_is_bounded(site, monkeypatch):
    monkeypatch.setattr(module, "WAITING_MAX", 1)
    for _ in range(3):
        site.act(LIFT)
    assert [code for code, _ in site.audit()] == ["approval_missing"] * 3
