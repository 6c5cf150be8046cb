"""Approvals: what counts, and that nothing else does."""

import base64
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from approval_world import (
    APPROVERS,
    ASKING,
    HOUR_US,
    NOW_US,
    ORIGIN,
    PEOPLE,
    RULE,
    WANTED,
    an_act,
    approved,
    asked,
    enrolled,
    key_of,
)
from sekisho.catalog.interfaces import APPROVABLE_ACTS, ApprovalRule
from sekisho.identity import acts
from sekisho.identity.acts import ENGLISH, JAPANESE, Act, describe_act, read_act
from sekisho.identity.approvals import (
    APPROVER,
    ASKER,
    FILE_BYTES_MAX,
    SKEW_US,
    Approval,
    Signature,
    Wanted,
    approval_of_record,
    combined,
    read_approval,
    require_approval,
    signed,
    with_signature,
)
from sekisho.identity.errors import (
    ApprovalBadSignature,
    ApprovalError,
    ApprovalExpired,
    ApprovalForAnother,
    ApprovalInsufficient,
    ApprovalMalformed,
    ApprovalMissing,
    ApprovalNotAsked,
    ApprovalRefused,
)


def demand(*approvals, wanted=WANTED, rule=RULE, persons=None, now_us=NOW_US + 1):
    persons = enrolled(*PEOPLE) if persons is None else persons
    return require_approval(wanted, approvals, [rule] if rule else [], persons, now_us=now_us)


def test_enough_persons_approve():
    found = demand(approved("s-002", "s-003"))
    assert len(found.approvals) == found.needed == 2
    assert found.asker.capacity == ASKER


def test_without_a_rule_nothing_is_demanded():
    assert demand(rule=None) is None
    assert demand(rule=ApprovalRule(act="person.enrol", approvers=("s-002",), needed=1)) is None


def test_an_approval_that_nothing_demands_is_not_taken_for_one():
    with pytest.raises(ApprovalForAnother, match="nothing demands"):
        demand(approved("s-002", "s-003"), rule=None)


def test_what_is_missing_is_said_with_how_to_ask():
    with pytest.raises(ApprovalMissing, match="2 of s-001, s-002") as raised:
        demand()
    assert "approvals ask stop.lift kind=provider name=tokyo" in raised.value.remedy


def test_one_short_is_refused():
    with pytest.raises(ApprovalInsufficient, match="1 of the 2"):
        demand(approved("s-002"))


def test_the_askers_own_approval_does_not_count():
    act = an_act()
    approval = with_signature(approved("s-002", act=act), signed(act, APPROVER, key_of(ASKING, 1)))
    persons = enrolled(*PEOPLE) + enrolled(ASKING, number=1)
    with pytest.raises(ApprovalInsufficient):
        demand(approval, persons=persons)


def test_two_keys_of_one_person_count_once():
    act = an_act()
    approval = with_signature(approved("s-002", act=act), signed(act, APPROVER, key_of("s-002", 1)))
    persons = enrolled(*PEOPLE) + enrolled("s-002", number=1)
    with pytest.raises(ApprovalInsufficient):
        demand(approval, persons=persons)
    assert demand(with_signature(approval, signed(act, APPROVER, key_of("s-003"))), persons=persons)


def test_a_key_signs_once():
    with pytest.raises(ApprovalRefused, match="signed already"):
        with_signature(approved("s-002"), signed(asked().act, APPROVER, key_of("s-002")))


def test_copies_that_different_persons_signed_count_together():
    act = an_act()
    copies = [approved("s-002", act=act), approved("s-003", act=act), approved("s-003", act=act)]
    assert len(demand(*copies).approvals) == 2


def test_copies_of_different_acts_do_not_count_together():
    with pytest.raises(ApprovalForAnother, match="different acts"):
        demand(approved("s-002"), approved("s-003"))


def test_nobody_asks_in_anothers_name():
    """Else one person could ask as another, and approve what they asked for themselves."""
    forged = Approval(an_act(), ())
    forged = with_signature(forged, signed(forged.act, ASKER, key_of("s-002")))
    for person in ("s-003", "s-004"):
        forged = with_signature(forged, signed(forged.act, APPROVER, key_of(person)))
    with pytest.raises(ApprovalNotAsked):
        demand(forged)


def test_an_act_that_nobody_signed_for_asking_is_refused():
    act = an_act()
    approval = Approval(act, ())
    for person in APPROVERS:
        approval = with_signature(approval, signed(act, APPROVER, key_of(person)))
    with pytest.raises(ApprovalNotAsked):
        demand(approval)


def test_a_stranger_and_a_person_the_rule_does_not_name_count_for_nothing():
    rule = ApprovalRule(act="stop.lift", approvers=("s-002", "s-003"), needed=2)
    with pytest.raises(ApprovalInsufficient):
        demand(approved("s-002", "s-004", "stranger"), rule=rule)
    assert demand(approved("s-002", "s-003", "s-004", "stranger"), rule=rule).needed == 2


@pytest.mark.parametrize("person", ["s-002", ASKING])
def test_a_retired_key_counts_no_longer(person):
    others = [one for one in PEOPLE if one != person]
    approval = approved("s-002", "s-003")
    assert demand(approval, persons=enrolled(*others) + enrolled(person, retired_at=NOW_US + 2))
    with pytest.raises((ApprovalInsufficient, ApprovalNotAsked)):
        demand(approval, persons=enrolled(*others) + enrolled(person, retired_at=NOW_US + 1))


def test_an_approval_holds_until_its_end_and_not_longer():
    approval = approved("s-002", "s-003")
    assert demand(approval, now_us=NOW_US + HOUR_US - 1)
    with pytest.raises(ApprovalExpired, match="over"):
        demand(approval, now_us=NOW_US + HOUR_US)


def test_what_was_asked_for_in_the_future_is_refused():
    approval = approved("s-002", "s-003")
    assert demand(approval, now_us=NOW_US - SKEW_US)
    with pytest.raises(ApprovalExpired, match="future"):
        demand(approval, now_us=NOW_US - SKEW_US - 1)


def test_nobody_approves_for_longer_than_the_rule_allows():
    rule = ApprovalRule(act="stop.lift", approvers=PEOPLE, needed=1, valid_hours=2)
    for hours, extra, good in ((2, 0, True), (2, 1, False)):
        approval = approved("s-002", act=an_act(valid_until=NOW_US + hours * HOUR_US + extra))
        if good:
            assert demand(approval, rule=rule)
        else:
            with pytest.raises(ApprovalExpired, match="longer than 2 hours"):
                demand(approval, rule=rule)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted("stop.lift", {"kind": "provider", "name": "osaka"}, ORIGIN),
        Wanted("stop.lift", {"kind": "deployment", "name": "tokyo"}, ORIGIN),
        Wanted("stop.lift", {"kind": "provider", "name": "tokyo"}, "sekisho-ffffffff.internal/local/4e5f6a7b"),
    ],
)
def test_an_approval_is_for_its_act_and_its_installation_only(wanted):
    with pytest.raises(ApprovalForAnother):
        demand(approved("s-002", "s-003"), wanted=wanted)


def test_an_approval_of_another_kind_of_act_is_refused():
    key = enrolled("s-009")[0].key
    other = an_act(act="person.enrol", parameters={"key": key, "person": "s-009"})
    with pytest.raises(ApprovalForAnother, match=r"person\.enrol"):
        demand(approved("s-002", "s-003", act=other))


@given(
    signers=st.sets(st.sampled_from((*PEOPLE, "stranger"))),
    named=st.sets(st.sampled_from(PEOPLE), min_size=1),
    retired=st.sets(st.sampled_from(PEOPLE)),
    needed=st.integers(1, 4),
)
def test_who_counts_is_who_signed_is_named_is_enrolled_and_did_not_ask(signers, named, retired, needed):
    act = an_act()
    approval = asked(act)
    for person in sorted(signers - {ASKING}):
        approval = with_signature(approval, signed(act, APPROVER, key_of(person)))
    if ASKING in signers:
        approval = with_signature(approval, signed(act, APPROVER, key_of(ASKING, 1)))
    persons = enrolled(*(set(PEOPLE) - retired)) + enrolled(*retired, retired_at=NOW_US) + enrolled(ASKING, number=1)
    rule = ApprovalRule(act="stop.lift", approvers=tuple(sorted(named)), needed=needed)
    counting = (signers & named) - retired - {ASKING}
    try:
        found = demand(approval, rule=rule, persons=persons)
    except ApprovalNotAsked:
        assert ASKING in retired
    except ApprovalInsufficient:
        assert ASKING not in retired
        assert len(counting) < needed
    else:
        assert len(found.approvals) == len(counting) >= needed


# -- bytes

FILE = approved("s-002", "s-003").encode()


def test_a_file_reads_as_it_was_written():
    assert read_approval(FILE).encode() == FILE


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_any_changed_byte_of_a_file_is_refused(position, change):
    changed = bytearray(FILE)
    changed[position] ^= change
    with pytest.raises(ApprovalError):
        demand(read_approval(bytes(changed)), now_us=NOW_US + 1)


@given(st.integers(0, len(FILE) - 1))
def test_a_file_that_was_cut_is_refused(length):
    with pytest.raises(ApprovalMalformed):
        read_approval(FILE[:length])


@given(st.data())
def test_any_changed_field_is_refused_though_the_file_is_well_formed(data):
    value = json.loads(FILE)
    fields = {**value["act"], **value["act"]["parameters"]}
    name = data.draw(st.sampled_from(sorted(fields.keys() - {"act", "parameters"})))
    changed = data.draw(
        {
            "asked_at": st.integers(0, NOW_US),
            "valid_until": st.integers(NOW_US + 1, NOW_US + 24 * HOUR_US),
            "asked_by": st.sampled_from(APPROVERS),
            "kind": st.sampled_from(("deployment", "organisation", "provider")),
        }.get(name, st.text("0123456789abcdef", min_size=1, max_size=64))
    )
    assume(changed != fields[name])
    place = value["act"]["parameters"] if name in value["act"]["parameters"] else value["act"]
    place[name] = changed
    with pytest.raises((ApprovalBadSignature, ApprovalMalformed)):
        read_approval(json.dumps(value, separators=(",", ":"), sort_keys=True).encode())


def test_a_signature_of_one_capacity_is_none_of_the_other():
    act = an_act()
    as_asker = signed(act, ASKER, key_of("s-002"))
    with pytest.raises(ApprovalBadSignature):
        with_signature(asked(act), as_asker._replace(capacity=APPROVER))


def test_a_signature_of_another_act_is_none_of_this():
    with pytest.raises(ApprovalBadSignature):
        with_signature(asked(), signed(an_act(), APPROVER, key_of("s-002")))


@pytest.mark.parametrize("signature", ["", "====", "AAAA", base64.b64encode(bytes(63)).decode(), "ü"])
def test_what_is_no_signature_is_refused(signature):
    with pytest.raises(ApprovalMalformed):
        with_signature(asked(), Signature(APPROVER, key_of("s-002").public_key().public_bytes_raw().hex(), signature))


def test_a_file_that_is_too_large_is_refused_before_it_is_read():
    with pytest.raises(ApprovalMalformed, match="larger"):
        read_approval(b" " * (FILE_BYTES_MAX + 1))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "sekisho.approval/2"},
        {"more": 1},
        {"signatures": {}},
        {"signatures": [1]},
        {"signatures": [{"as": "witness", "key": "0" * 64, "signature": ""}]},
        {"act": []},
    ],
)
def test_what_is_no_approval_is_refused(change):
    with pytest.raises(ApprovalMalformed):
        read_approval(json.dumps(json.loads(FILE) | change, separators=(",", ":"), sort_keys=True).encode())


def test_what_an_entry_records_can_be_checked_again():
    """As an audit does: with the keys that entries enrolled, and the rule of the snapshot named."""
    found = demand(approved("s-002", "s-003", "stranger"))
    record = json.loads(json.dumps(found.record("5" * 64)))
    assert record["snapshot"] == "5" * 64
    assert len(record["signatures"]) == 3  # who counted, and the asker; the stranger's is nobody's business
    assert demand(approval_of_record(record)).approvals == found.approvals
    record["act"]["parameters"]["name"] = "osaka"
    with pytest.raises(ApprovalBadSignature):
        approval_of_record(record)
    with pytest.raises(ApprovalMalformed):
        approval_of_record({"act": {}})


def test_combining_is_indifferent_to_order():
    act = an_act()
    one, other = approved("s-002", act=act), approved("s-003", act=act)
    assert combined([one, other]) == combined([other, one])


# -- acts in words


def test_every_act_that_can_need_approval_has_words():
    assert set(APPROVABLE_ACTS) == set(acts.KINDS)


@pytest.mark.parametrize("language", [ENGLISH, JAPANESE])
@pytest.mark.parametrize(
    "act",
    [
        an_act(),
        an_act(act="person.enrol", parameters={"key": "ab" * 32, "person": "s-009"}),
        an_act(act="content.forget", parameters={"entry": "everything", "organisation": "claims"}),
    ],
    ids=lambda act: act.act,
)
def test_the_words_say_everything_that_is_signed(act, language):
    words = describe_act(act.encode(), language)
    shown = [act.act, act.asked_by, act.origin, act.id, *act.parameters.values()]
    for text in shown:
        if (language, text) != (JAPANESE, "provider"):
            assert text in words
    assert "2026-09-21T" in words


@given(st.integers(NOW_US, NOW_US + 1000), st.integers(NOW_US + 1001, NOW_US + 2000))
def test_acts_that_differ_read_differently(asked_at, valid_until):
    one, other = an_act(id=an_act().id), an_act(asked_at=asked_at, valid_until=valid_until)
    same = Act(**{**other.as_object(), "id": one.id})
    assume(same != one)
    for language in (ENGLISH, JAPANESE):
        lines = [describe_act(act.encode(), language).splitlines()[:-1] for act in (one, same)]
        assert lines[0] != lines[1]


@pytest.mark.parametrize(
    "change",
    [
        {"act": "everything"},
        {"act": None},
        {"parameters": {"kind": "provider"}},
        {"parameters": {"kind": "provider", "name": "tokyo", "more": "x"}},
        {"parameters": {"kind": "anything", "name": "tokyo"}},
        {"parameters": {"kind": "provider", "name": "tokyo\nact: nothing"}},
        {"parameters": {"kind": "provider", "name": "tоkyo"}},  # a Cyrillic letter
        {"parameters": {"kind": "provider", "name": 1}},
        {"asked_by": "Someone Else"},
        {"origin": "else where"},
        {"id": "1"},
        {"asked_at": -1},
        {"valid_until": 10**18},
        {"asked_at": True},
        {"asked_at": NOW_US + HOUR_US},
    ],
)
def test_what_can_not_be_shown_is_not_signed(change):
    with pytest.raises(ApprovalMalformed):
        read_act(an_act().as_object() | change)


def test_words_are_of_canonical_bytes_only():
    with pytest.raises(ApprovalMalformed, match="canonical"):
        describe_act(b" " + an_act().encode())
