"""The register of persons, and that an approval is used once, together with its act."""

import json
import sqlite3
import threading

import pytest

from approval_world import HOUR_US, LIFT, NOW_US, ORIGIN, PEOPLE, RULE, WANTED, an_act, approved, enrolled
from sekisho.catalog.interfaces import ApprovalRule
from sekisho.identity.acts import PERSON_ENROL
from sekisho.identity.approvals import approval_of_record
from sekisho.identity.errors import (
    ApprovalExpired,
    ApprovalInsufficient,
    ApprovalMissing,
    ApprovalNotAsked,
    ApprovalUsed,
    PersonRequestInvalid,
    RegisterUnsupported,
    StopNotSet,
)
from sekisho.identity.persons_sql import Rules, SqlPersons
from sekisho.identity.register_look import look_at_register
from sekisho.identity.sql import SqlIdentity

NOTHING = Rules((), "5" * 64, ORIGIN)
LIFTING = Rules((RULE,), "5" * 64, ORIGIN)
KEYS = {one.person: one.key for one in enrolled(*PEOPLE, "s-009")}


class Clock:
    time_us = NOW_US + 1

    def now_us(self):
        return self.time_us


@pytest.fixture
def register(tmp_path):
    register = SqlIdentity(tmp_path / "state.sqlite", Clock())
    yield register
    register.close()


@pytest.fixture
def persons(register):
    persons = SqlPersons(register, Clock())
    for person in PEOPLE:
        persons.enrol(person, "", KEYS[person], "operator", NOTHING, [])
    return persons


class LookingClock(Clock):
    """Notes, whenever it is asked, whether anybody else could write to the register meanwhile."""

    def __init__(self, path):
        self.path, self.others_could_write = path, []

    def now_us(self):
        other = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            self.others_could_write.append(True)
        except sqlite3.OperationalError:
            self.others_could_write.append(False)
        finally:
            other.close()
        return super().now_us()


def told(register, act):
    return [body for entry in register.pending(100) if (body := json.loads(entry.body))["act"] == act]


def lift(register, persons, *approvals, rules=LIFTING):
    return register.lift_stop(**LIFT, actor="operator", demand=persons.demand(WANTED, approvals, rules))


def test_an_enrolment_tells_the_ledger_the_key_and_no_name(register):
    SqlPersons(register, Clock()).enrol("s-001", "山田 太郎", KEYS["s-001"], "operator", NOTHING, [])
    (body,) = told(register, PERSON_ENROL)
    assert body == {"act": PERSON_ENROL, "key": KEYS["s-001"], "person": "s-001"}
    assert "山田".encode() not in b"".join(entry.body for entry in register.pending(100))


def test_a_name_is_erased_and_the_key_stays(register, persons, tmp_path):
    persons.enrol("s-009", "山田 太郎", KEYS["s-009"], "operator", NOTHING, [])
    assert persons.names() == {"s-009": "山田 太郎"}
    persons.erase_name("s-009", "operator")
    assert persons.names() == {}
    assert any(one.person == "s-009" and one.retired_at is None for one in persons.list_keys())
    assert told(register, "person.erase_name") == [{"act": "person.erase_name", "person": "s-009"}]
    with pytest.raises(PersonRequestInvalid, match="no name"):
        persons.erase_name("s-009", "operator")


def test_a_key_is_enrolled_once_for_ever(persons):
    with pytest.raises(PersonRequestInvalid, match="enrolled before, for s-001"):
        persons.enrol("s-002", "", KEYS["s-001"], "operator", NOTHING, [])
    persons.retire("s-001", None, "operator")
    with pytest.raises(PersonRequestInvalid, match="enrolled before"):
        persons.enrol("s-001", "", KEYS["s-001"], "operator", NOTHING, [])


def test_retiring_ends_what_is_named_and_tells_of_each(register, persons):
    second = enrolled("s-001", number=1)[0].key
    persons.enrol("s-001", "", second, "operator", NOTHING, [])
    assert [one.key for one in persons.retire("s-001", second, "operator")] == [second]
    assert [one.key for one in persons.retire("s-001", None, "operator")] == [KEYS["s-001"]]
    assert [body["key"] for body in told(register, "person.retire")] == [second, KEYS["s-001"]]
    for person, key in (("s-001", None), ("s-002", second), ("nobody", None)):
        with pytest.raises(PersonRequestInvalid, match="no such key"):
            persons.retire(person, key, "operator")


def test_lifting_needs_what_the_rule_demands(register, persons):
    register.set_stop(**LIFT, reason="", actor="operator")
    with pytest.raises(ApprovalMissing):
        lift(register, persons)
    assert len(register.list_stops()) == 1
    assert told(register, "stop.lift") == []
    lift(register, persons, approved("s-002", "s-003"))
    assert register.list_stops() == ()


def test_the_entry_of_the_act_holds_what_an_audit_needs(register, persons):
    register.set_stop(**LIFT, reason="", actor="operator")
    approval = approved("s-002", "s-003")
    lift(register, persons, approval)
    (body,) = told(register, "stop.lift")
    assert body["approval"]["snapshot"] == "5" * 64
    assert approval_of_record(body["approval"]) == approval
    keys = {signature["key"] for signature in body["approval"]["signatures"]}
    assert keys == {KEYS["s-001"], KEYS["s-002"], KEYS["s-003"]}


def test_without_a_rule_the_entry_tells_of_no_approval(register, persons):
    register.set_stop(**LIFT, reason="", actor="operator")
    lift(register, persons, rules=NOTHING)
    assert told(register, "stop.lift") == [{"act": "stop.lift", **LIFT}]


def test_an_approval_is_for_one_act(register, persons):
    approval = approved("s-002", "s-003")
    for number in range(2):
        register.set_stop(**LIFT, reason="", actor="operator")
        if number:
            with pytest.raises(ApprovalUsed):
                lift(register, persons, approval)
        else:
            lift(register, persons, approval)
    assert len(register.list_stops()) == 1
    assert persons.is_used(approval.act.id)
    lift(register, persons, approved("s-002", "s-003"))  # a new one, of the same act


def test_an_act_that_fails_uses_nothing_up(register, persons):
    approval = approved("s-002", "s-003")
    with pytest.raises(StopNotSet):
        lift(register, persons, approval)
    assert not persons.is_used(approval.act.id)
    register.set_stop(**LIFT, reason="", actor="operator")
    lift(register, persons, approval)


def test_of_two_processes_that_use_it_at_once_one_succeeds(register, persons, tmp_path):
    register.set_stop(**LIFT, reason="", actor="operator")
    approval, ready, done = approved("s-002", "s-003"), threading.Barrier(2), []

    def use():
        other = SqlIdentity(tmp_path / "state.sqlite", Clock())
        ready.wait()
        try:
            lift(other, SqlPersons(other, Clock()), approval)
            done.append("lifted")
        except (ApprovalUsed, StopNotSet) as error:
            done.append(type(error).__name__)
        finally:
            other.close()

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == ["StopNotSet", "lifted"]
    assert len(told(register, "stop.lift")) == 1


def test_who_was_retired_meanwhile_approves_nothing(register, persons):
    register.set_stop(**LIFT, reason="", actor="operator")
    approval = approved("s-002", "s-003")
    persons.retire("s-001", None, "operator")
    with pytest.raises(ApprovalNotAsked):
        lift(register, persons, approval)


def test_a_key_that_was_retired_by_a_clock_that_ran_ahead_counts_no_longer(register, persons):
    ahead = Clock()
    ahead.time_us = NOW_US + HOUR_US
    SqlPersons(register, ahead).retire("s-002", None, "operator")
    register.set_stop(**LIFT, reason="", actor="operator")
    with pytest.raises(ApprovalInsufficient):
        lift(register, persons, approved("s-002", "s-003"))


def test_enrolling_can_need_approval_itself(register, persons):
    rule = ApprovalRule(act=PERSON_ENROL, approvers=PEOPLE, needed=2)
    rules = Rules((rule,), "5" * 64, ORIGIN)
    with pytest.raises(ApprovalMissing):
        persons.enrol("s-009", "", KEYS["s-009"], "operator", rules, [])
    act = an_act(act=PERSON_ENROL, parameters={"key": KEYS["s-009"], "person": "s-009"})
    persons.enrol("s-009", "", KEYS["s-009"], "operator", rules, [approved("s-002", "s-003", act=act)])
    assert told(register, PERSON_ENROL)[-1]["approval"]["needed"] == 2


def test_an_approval_holds_for_its_time_in_the_register_too(register, persons):
    register.set_stop(**LIFT, reason="", actor="operator")
    demand = persons.demand(WANTED, [approved("s-002", "s-003")], LIFTING)
    with register.transaction(writes=True) as connection, pytest.raises(ApprovalExpired, match="over"):
        demand.meet(connection, NOW_US + HOUR_US)


def test_a_look_from_outside_sees_who_can_sign(register, persons, tmp_path):
    persons.retire("s-004", None, "operator")
    assert look_at_register(tmp_path / "state.sqlite").persons == {"s-001", "s-002", "s-003"}


def test_a_look_at_a_register_without_persons_sees_none(register, tmp_path):
    assert look_at_register(tmp_path / "state.sqlite").persons == frozenset()


def test_tables_of_a_newer_program_are_refused(register, persons, tmp_path):
    with sqlite3.connect(tmp_path / "state.sqlite") as connection:
        connection.execute("UPDATE persons_state SET schema = 9")
    connection.close()
    with pytest.raises(RegisterUnsupported, match="schema 9"):
        SqlPersons(register, Clock())


def test_times_of_acts_are_in_the_order_in_which_they_were_done(register, tmp_path):
    """Whoever waits for the register takes the time when it is his turn: an audit goes by times."""
    clock = LookingClock(tmp_path / "state.sqlite")
    persons = SqlPersons(register, clock)
    persons.enrol("s-009", "", KEYS["s-009"], "operator", NOTHING, [])
    persons.retire("s-009", None, "operator")
    assert clock.others_could_write == [False, False]
