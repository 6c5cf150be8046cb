"""Audit depth 3: an act that needed approval bears one that holds; whatever a coerced operator leaves out is found."""

import itertools
import json

import msgspec
import pytest

from approval_world import ASKING, HOUR_US, PEOPLE, RULE, an_act, approved, enrolled, key_of
from audited_log import FARAWAY, ORIGIN, START_US, TOKYO, AuditedLog
from sekisho.app.audit import AuditAsked, Auditor
from sekisho.assurance.approvals import ApprovedActs
from sekisho.catalog.interfaces import ApprovalRule
from sekisho.identity.acts import CONTENT_FORGET, EVERYTHING, PERSON_ENROL, STOP_LIFT, told
from sekisho.identity.approvals import (
    APPROVER,
    Approval,
    Wanted,
    approval_of_record,
    combined,
    require_approval,
    signed,
    with_signature,
)
from sekisho.identity.persons import carried_body, enrolled_body, retired_body
from support_decide import catalogue

LIFT = {"kind": "provider", "name": "tokyo"}
ENROL_RULE = ApprovalRule(act=PERSON_ENROL, approvers=PEOPLE, needed=1)
FORGET_RULE = ApprovalRule(act=CONTENT_FORGET, approvers=PEOPLE, needed=1)
MINUTES_US = 60_000_000


def governed_by(*rules):
    return msgspec.structs.replace(catalogue(TOKYO, FARAWAY), approvals=rules)


class Governed(AuditedLog):
    """A log whose first snapshot demands nothing, under which persons are enrolled; then one that governs."""

    def __init__(self, root, *rules, people=PEOPLE):
        super().__init__(root)
        self.free = self.snapshot.digest
        self.activate(self.free)
        for person in people:
            self.enrol(person)
        self.clock.time_us += 2 * MINUTES_US
        self.govern(*rules)

    def govern(self, *rules):
        self.rules = rules
        self.activate(self.install(governed_by(*rules)))
        self.clock.time_us += 2 * MINUTES_US

    def act(self, body, **more):
        """An act's entry, of a body or its bytes; its index."""
        body = json.loads(body) if isinstance(body, bytes) else body
        self.write(self.envelope("change", body, **more), self.control)
        return self.control.seq - 1

    def enrol(self, person, record=None, number=0, **more):
        (key,) = enrolled(person, number=number)
        return self.act(enrolled_body(key, record), **more)

    def retire(self, person, **more):
        return self.act(retired_body(*enrolled(person)), **more)

    def asked(self, kind=STOP_LIFT, parameters=LIFT, **changes):
        now_us = self.clock.now_us()
        given = {"origin": ORIGIN, "asked_at": now_us, "valid_until": now_us + HOUR_US, "parameters": parameters}
        return an_act(act=kind, id=self.ids.new(now_us), **{**given, **changes})

    def record(self, approval, persons=None, **changes):
        """What the register would have written of an approval, but for `changes`."""
        act, rule = approval.act, next(rule for rule in self.rules if rule.act == approval.act.act)
        wanted = Wanted(act.act, act.parameters, act.origin)
        found = require_approval(
            wanted, [approval], [rule], persons or enrolled(*PEOPLE), now_us=act.asked_at + 1_000_000
        )
        return {**found.record(self.snapshot.digest), **changes}

    def lifted(self, **changes):
        """A lifting that two others approved."""
        return self.record(approved("s-002", "s-003", act=self.asked()), **changes)


@pytest.fixture
def log(tmp_path):
    return Governed(tmp_path / "site", RULE, ENROL_RULE, FORGET_RULE)


def audit(log, **options):
    log.publish()
    log.close()
    return Auditor(log.clock).audit(AuditAsked(str(log.root), depth=3, **options))


def codes(report):
    return [(one.kind.code, one.index) for one in report.findings.sorted()]


def found_in(log, record, body=LIFT, act=STOP_LIFT, **more):
    """The one finding that an act with an approval leads to, as (code, detail)."""
    index = log.act(told(act, body, record), **more)
    (finding,) = audit(log).findings.sorted()
    assert (finding.index, bool(finding.id)) == (index, True)
    return finding.kind.code, finding.detail


def test_acts_that_were_approved_hold(log):
    log.act(told(STOP_LIFT, LIFT, log.lifted()))
    enrolment = {"key": enrolled("s-009")[0].key, "person": "s-009"}
    log.enrol("s-009", log.record(approved("s-002", act=log.asked(PERSON_ENROL, enrolment))))
    for entry, parameter in ((log.arrival(), None), (None, EVERYTHING)):
        parameters = {"entry": entry or parameter, "organisation": "default"}
        record = log.record(approved("s-003", act=log.asked(CONTENT_FORGET, parameters)))
        log.act({"act": CONTENT_FORGET, "approval": record, "entry": entry, "organisation": "default"})
    log.act({"act": "stop.set", **LIFT})  # nothing demands anything of that
    report = audit(log)
    assert codes(report) == []
    assert (report.counts["acts_under_approval"], report.counts["acts_left_out"]) == (4, 0)
    assert report.depth == 3


@pytest.mark.parametrize(
    ("act", "parameters"),
    [
        (STOP_LIFT, LIFT),
        (PERSON_ENROL, {"key": "ab" * 32, "person": "s-009"}),
        (CONTENT_FORGET, {"entry": None, "organisation": "default"}),
    ],
)
def test_an_act_without_the_approval_that_was_demanded_is_found(log, act, parameters):
    index = log.act({"act": act, **parameters})
    report = audit(log)
    assert codes(report) == [("approval_missing", index)]
    (finding,) = report.findings.kept
    assert f"{act}, under {log.snapshot.digest[:16]}" in finding.detail
    assert "of s-001, s-002" in finding.detail


def test_what_was_done_before_the_rules_or_after_them_needs_nothing(tmp_path):
    log = Governed(tmp_path / "site", RULE)
    log.clock.time_us, ruled_us = START_US + MINUTES_US, log.clock.time_us
    log.act({"act": STOP_LIFT, **LIFT})
    log.clock.time_us = ruled_us
    missing = log.act({"act": STOP_LIFT, **LIFT})
    log.activate(log.free)
    log.clock.time_us += 2 * MINUTES_US
    log.act({"act": STOP_LIFT, **LIFT})
    assert codes(audit(log)) == [("approval_missing", missing)]


def test_an_act_about_when_the_rules_changed_may_have_been_done_under_either(tmp_path):
    log = Governed(tmp_path / "site")
    log.activate(log.install(governed_by(RULE)))
    log.clock.time_us += 1_000_000
    log.act({"act": STOP_LIFT, **LIFT})
    log.clock.time_us += 2 * MINUTES_US
    missing = log.act({"act": STOP_LIFT, **LIFT})
    assert codes(audit(log)) == [("approval_missing", missing)]


def test_before_the_first_activation_what_it_replaced_was_in_force(tmp_path):
    log = AuditedLog(tmp_path / "site", governed_by(RULE))
    first = log.snapshot.digest
    log.write(log.envelope("change", {"act": STOP_LIFT, **LIFT}), log.control)
    log.clock.time_us += 2 * MINUTES_US
    second = log.install(governed_by())
    body = {"act": "snapshot.activate", "before": first, "snapshot": second}
    log.write(log.envelope("change", body, "control"), log.control)
    assert codes(audit(log)) == [("approval_missing", 0)]


def test_where_the_log_does_not_tell_the_rules_nothing_is_said_to_be_right(tmp_path):
    log = AuditedLog(tmp_path / "site", governed_by(RULE))
    for _ in range(2):
        log.write(log.envelope("change", {"act": STOP_LIFT, **LIFT}), log.control)
    report = audit(log)
    assert codes(report) == [("rules_unknown", 0)]
    assert report.left_out == 2


def test_a_snapshot_that_is_not_there_leaves_its_acts_out(log, tmp_path):
    log.act(told(STOP_LIFT, LIFT, log.lifted()))
    log.act({"act": STOP_LIFT, **LIFT})
    (log.root / "snapshots" / f"{log.snapshot.digest}.json").unlink()
    report = audit(log)
    assert [code for code, _ in codes(report)] == ["snapshot_missing"]
    assert report.counts["acts_left_out"] == 2


# What a forged approval lacks


def test_an_approval_by_too_few_is_found(log):
    record = log.lifted()
    record["signatures"] = [one for one in record["signatures"] if one["key"] != enrolled("s-003")[0].key]
    code, detail = found_in(log, record)
    assert (code, "1 of the 2" in detail) == ("approval_invalid", True)


def test_the_asker_does_not_count_whatever_he_signs_with(log):
    log.enrol(ASKING, log.record(approved("s-002", act=log.asked(PERSON_ENROL, key_number(ASKING, 1)))), 1)
    record = log.lifted()
    record["signatures"] = signatures_of(record, "s-002", (ASKING, 1))
    code, detail = found_in(log, record)
    assert (code, "1 of the 2" in detail) == ("approval_invalid", True)


def signatures_of(record, person, other):
    """The approval's act, approved by a person and with one more key: (person, number)."""
    act = approval_of_record(record).act
    more = with_signature(Approval(act, ()), signed(act, APPROVER, key_of(*other)))
    return json.loads(combined([approved(person, act=act), more]).encode())["signatures"]


def key_number(person, number):
    return {"key": enrolled(person, number=number)[0].key, "person": person}


def test_one_person_with_two_keys_counts_once(log):
    log.enrol("s-002", log.record(approved("s-003", act=log.asked(PERSON_ENROL, key_number("s-002", 1)))), 1)
    record = log.lifted()
    record["signatures"] = signatures_of(record, "s-002", ("s-002", 1))
    code, detail = found_in(log, record)
    assert (code, "1 of the 2" in detail) == ("approval_invalid", True)


def test_keys_that_this_log_did_not_enrol_do_not_count(tmp_path):
    log = Governed(tmp_path / "site", RULE, people=PEOPLE[:2])
    code, detail = found_in(log, log.lifted())
    assert (code, "1 of the 2" in detail) == ("approval_invalid", True)


def test_who_did_not_sign_the_asking_did_not_ask(log):
    act = log.asked()
    record = log.lifted()
    record["act"] = act.as_object()
    both = combined([approved("s-002", "s-003", act=act)])
    rows = json.loads(both.encode())["signatures"]
    record["signatures"] = [one for one in rows if one["as"] == "approver"]
    assert len(record["signatures"]) == 2
    code, detail = found_in(log, record)
    assert (code, "did not sign the asking" in detail) == ("approval_invalid", True)


def test_persons_who_were_retired_by_then_do_not_count_and_later_retirement_changes_nothing(log):
    log.act(told(STOP_LIFT, LIFT, log.lifted()))
    log.retire("s-003")
    later = log.act(told(STOP_LIFT, LIFT, log.lifted()))
    assert codes(audit(log)) == [("approval_invalid", later)]


def test_a_retirement_counts_from_its_time_wherever_it_stands(log):
    record = log.lifted()
    retired_us = log.clock.now_us()
    invalid = log.act(told(STOP_LIFT, LIFT, record))
    log.retire("s-003", at=retired_us)
    assert ("approval_invalid", invalid) in codes(audit(log))


def test_persons_who_were_enrolled_afterwards_only_do_not_count(tmp_path):
    log = Governed(tmp_path / "site", RULE, people=PEOPLE[:2])
    invalid = log.act(told(STOP_LIFT, LIFT, log.lifted()))
    log.clock.time_us += MINUTES_US
    log.enrol("s-003")
    log.act(told(STOP_LIFT, LIFT, log.lifted()))
    assert codes(audit(log)) == [("approval_invalid", invalid)]


def test_an_enrolment_that_was_relayed_later_counts_from_its_time(tmp_path):
    log = Governed(tmp_path / "site", RULE, people=PEOPLE[:2])
    enrolled_us = log.clock.now_us()
    log.act(told(STOP_LIFT, LIFT, log.lifted()))
    log.enrol("s-003", at=enrolled_us)
    assert codes(audit(log)) == []


def test_an_enrolment_that_stands_before_counts_though_the_clock_was_set_back_since(tmp_path):
    log = Governed(tmp_path / "site", RULE, people=PEOPLE[:2])
    log.enrol("s-003", at=log.clock.now_us() + MINUTES_US)
    log.act(told(STOP_LIFT, LIFT, log.lifted()))
    assert "approval_invalid" not in audit(log).findings.counts


def test_a_key_that_a_restoration_carried_over_counts_and_is_named(tmp_path):
    log = Governed(tmp_path / "site", RULE, people=PEOPLE[:2])
    log.act({"act": "ledger.restore", "origin_before": "bank.example/tokyo/node-0", "root": "00" * 32, "size": 7})
    carried = log.act(carried_body(*enrolled("s-003")))
    log.act(told(STOP_LIFT, LIFT, log.lifted()))
    report = audit(log)
    assert codes(report) == [("person_carried", carried)]
    assert "s-003" in report.findings.kept[0].detail


@pytest.mark.parametrize("later_us", [None, MINUTES_US])
def test_a_key_that_no_restoration_carried_over_does_not_count(tmp_path, later_us):
    log = Governed(tmp_path / "site", RULE, people=PEOPLE[:2])
    if later_us is not None:
        log.act({"act": "ledger.restore", "origin_before": "bank.example/tokyo/node-0", "root": "00" * 32, "size": 7})
        log.clock.time_us += later_us
    carried = log.act(carried_body(*enrolled("s-003")))
    invalid = log.act(told(STOP_LIFT, LIFT, log.lifted()))
    assert codes(audit(log)) == [("approval_invalid", invalid), ("person_carried", carried)]


def test_a_key_belongs_to_whom_it_was_enrolled_for_first(log):
    (key,) = enrolled("s-003")
    other = log.act(told(PERSON_ENROL, {"key": key.key, "person": ASKING}, None))
    log.act(told(STOP_LIFT, LIFT, log.lifted()))
    assert codes(audit(log)) == [("approval_missing", other)]


def test_a_key_for_which_anybody_can_sign_is_nobodys(tmp_path):
    log = Governed(tmp_path / "site", ENROL_RULE)
    zero = "00" * 32
    log.act(told(PERSON_ENROL, {"key": zero, "person": "s-009"}, None), at=START_US + 1)
    seen = ApprovedActs(None, None, None, ORIGIN, tmp_path / "spool")
    for key, known in ((zero, False), (enrolled("s-009")[0].key, True)):
        seen.see(0, log.envelope("change", {"act": PERSON_ENROL, "key": key, "person": "s-009"}))
        assert (key in seen._enrolled) is known


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"origin": "bank.example/osaka/node-1"}, "another installation"),
        ({"asked_at": START_US, "valid_until": START_US + 1_000}, "over"),
        ({"asked_at": START_US + 100 * HOUR_US, "valid_until": START_US + 101 * HOUR_US}, "in the future"),
        ({"asked_at": START_US, "valid_until": START_US + 1_000 * HOUR_US}, "longer than 24 hours"),
        ({"parameters": {"kind": "provider", "name": "osaka"}}, "another act"),
    ],
)
def test_an_approval_for_something_else_is_found(log, changes, words):
    act = log.asked(**changes)
    record = {
        "act": act.as_object(),
        "needed": 2,
        "signatures": json.loads(approved("s-002", "s-003", act=act).encode())["signatures"],
        "snapshot": log.snapshot.digest,
    }
    code, detail = found_in(log, record)
    assert (code, words in detail) == ("approval_invalid", True), detail


def test_an_approval_that_approves_another_kind_of_act_is_found(log):
    parameters = {"entry": EVERYTHING, "organisation": "default"}
    record = log.record(approved("s-002", act=log.asked(CONTENT_FORGET, parameters)))
    code, detail = found_in(log, record)
    assert (code, "another act" in detail) == ("approval_invalid", True)


def test_one_approval_for_two_acts_is_found(log):
    record = log.lifted()
    first = log.act(told(STOP_LIFT, LIFT, record))
    second = log.act(told(STOP_LIFT, LIFT, record))
    report = audit(log)
    assert codes(report) == [("approval_used_again", second)]
    assert report.findings.kept[0].detail == f"entry {first} bears it too"
    assert report.findings.kept[0].id is not None


def test_rules_that_were_not_in_force_demand_nothing(log):
    """A weaker rule of before, named by the entry."""
    weak = Governed(log.root.parent / "weak", ApprovalRule(act=STOP_LIFT, approvers=PEOPLE, needed=1))
    digest = log.install(governed_by(*weak.rules))
    record = log.record(approved("s-002", "s-003", act=log.asked()), snapshot=digest)
    code, detail = found_in(log, record)
    assert (code, "was not in force" in detail) == ("approval_invalid", True)


def test_an_approval_of_what_nothing_demands_is_found(tmp_path):
    log = Governed(tmp_path / "site", RULE)
    record = log.lifted()
    log.govern()
    code, detail = found_in(log, record | {"snapshot": log.snapshot.digest})
    assert (code, "nothing demands" in detail) == ("approval_invalid", True)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(needed=1),
        lambda record: record.update(needed=True),
        lambda record: record.update(snapshot=None),
        lambda record: record.update(more=1),
        lambda record: record.pop("signatures"),
        lambda record: record["signatures"].reverse(),
        lambda record: record["signatures"][0].update(signature=record["signatures"][1]["signature"]),
        lambda record: record["act"].update(valid_until=record["act"]["valid_until"] + 1),
        lambda record: record["act"].update(act="something.else"),
    ],
)
def test_an_approval_that_was_changed_is_found(log, change):
    record = log.lifted()
    change(record)
    assert found_in(log, record)[0] == "approval_invalid"


@pytest.mark.parametrize("record", [None, [], "approved", 1])
def test_what_is_no_approval_is_found(log, record):
    index = log.act({"act": STOP_LIFT, **LIFT, "approval": record})
    assert codes(audit(log)) == [("approval_invalid", index)]


@pytest.mark.parametrize("body", [{"act": STOP_LIFT}, {"act": STOP_LIFT, "kind": 1, "name": "x"}, {"act": ["x"]}, {}])
def test_an_entry_that_does_not_tell_what_was_done_is_not_what_was_approved(log, body):
    index = log.act({**body, "approval": log.lifted()})
    assert codes(audit(log)) == [("approval_invalid", index)]


def test_acts_wait_on_disk_however_many_there_are(log, tmp_path):
    seen = ApprovedActs(None, None, None, ORIGIN, tmp_path / "spool")
    envelope = log.envelope("change", {"act": STOP_LIFT, **LIFT, "approval": log.lifted()})
    for index in range(200):
        seen.see(index, envelope)
    assert (tmp_path / "spool" / "acts").stat().st_size > 64 * 1024
    assert len(seen._buffer) < 64 * 1024
    assert [done.leaf for done in itertools.islice(seen._set_aside(), 300)] == list(range(200))
