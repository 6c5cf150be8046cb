"""Audit depth 2: what is missing, twice, out of order or of an impossible time is found and named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audited_log import START_US, AuditedLog
from sekisho.gateway.entries import Ended
from sekisho.kernel import canonical
from sekisho.ledger import envelope as envelopes
from sekisho.ledger import reading
from sekisho.ledger.audit import AuditOptions, audit_log, signed_checkpoint
from sekisho.ledger.completeness import Completeness
from sekisho.ledger.errors import EnvelopeInvalid
from sekisho.ledger.findings import Findings
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.spool import PARTITIONS, Spool
from sekisho.ledger.writers import STILL_COUNT
from sekisho.policy.interfaces import PrincipalInput

HOUR_US = 3_600_000_000


class Audited:
    def __init__(self, directory):
        self.log = AuditedLog(directory / "site")
        self.log.create_key()
        self.directory = directory

    def codes(self, **options):
        """What is found, as (code, index), once everything is published."""
        return [(one.kind.code, one.index) for one in self.found(**options).sorted()]

    def found(self, now_us=None):
        self.log.publish()
        self.log.close()
        findings = Findings()
        files = LogFiles(self.log.ledger)
        signed = signed_checkpoint(files, self.log.log_key.verifier, findings)
        options = AuditOptions(spool=self.directory / "spool", now_us=now_us or self.log.clock.time_us)
        self.audit = audit_log(files, signed.checkpoint, findings, options)
        return findings


@pytest.fixture
def audited(tmp_path):
    return Audited(tmp_path)


@pytest.fixture
def log(audited):
    return audited.log


def test_a_log_of_every_kind_of_request_is_complete(audited, log):
    for key in "23":
        log.create_key(key)
    log.fill(100)
    assert audited.codes() == []
    assert audited.audit.requests == 100
    assert audited.audit.kinds["decision"] > 100 > audited.audit.kinds["outcome"] > 50


def test_a_request_under_way_is_noted_and_one_without_an_end_is_an_error(audited, log):
    log.write(log.decision(log.arrival()))  # entry 1
    log.clock.time_us += HOUR_US
    log.write(log.decision(log.arrival()))  # entry 2
    log.request()
    assert audited.codes() == [("outcome_missing", 1), ("outcome_pending", 2)]


def test_an_interruption_is_an_end(audited, log):
    decision = log.decision(log.arrival())
    log.write(decision)
    ended = log.outcome(decision, Ended.INTERRUPTED, status=None, written=None) | {"actor": "publisher"}
    log.write(ended)
    log.clock.time_us += 2 * HOUR_US
    log.request()
    assert audited.codes() == []


def test_outcomes_that_do_not_belong_are_found(audited, log):
    decision = log.decision(log.arrival())
    log.write(decision)
    log.write(log.outcome(decision))
    log.write(log.outcome(decision))  # 3: a second one
    log.write(log.outcome(log.decision(log.arrival())))  # 4: of nothing
    denial = log.decision(log.arrival(), data_class="confidential", residency=("US",))
    assert denial["body"]["chosen"] is None
    log.write(denial)
    log.write(log.outcome(denial))  # 6: of a denial
    assert sorted(audited.codes()) == [("outcome_unexpected", index) for index in (3, 4, 6)]


def test_an_outcome_of_another_attempt_or_actor_is_found(audited, log):
    first, second, third = (log.decision(log.arrival()) for _ in range(3))
    other = log.outcome(first)
    other["body"]["attempt"] = 2
    early = log.outcome(third, at=third["at"] - 500_000)
    for entry in (first, other, second, log.outcome(second) | {"actor": "key-9"}, third, early):
        log.write(entry)
    found = [one for one in audited.codes() if one[0] != "id_time"]
    assert found == [("outcome_differs", 2), ("outcome_differs", 4), ("time_backwards", 6)]


def test_attempts_are_numbered_one_after_the_other(audited, log):
    log.write(missing := log.decision(log.arrival(), 2))  # 1
    log.write(log.outcome(missing))
    overlapping = log.arrival()
    log.write(first := log.decision(overlapping, 1))
    log.write(second := log.decision(overlapping, 2))  # 4: the first has not ended
    log.write(log.outcome(first))
    log.write(log.outcome(second))
    twice = log.arrival()
    log.request(twice)
    log.write(again := log.decision(twice, 1))  # 9
    log.write(log.outcome(again))
    denied = log.request(data_class="confidential", residency=("US",))
    log.write(after := log.decision(denied, 2))  # 12
    log.write(log.outcome(after))
    assert audited.codes() == [
        ("attempt_out_of_order", 1),
        ("attempt_out_of_order", 4),
        ("attempt_out_of_order", 9),
        ("decision_after_denial", 12),
    ]


def test_an_id_that_comes_twice_is_found_wherever_they_are(audited, log):
    log.write(first := log.envelope("change", {"act": "x"}), log.control)
    log.request()
    log.write(second := log.decision(log.arrival()) | {"id": first["id"]})
    log.write(log.outcome(second))
    found = audited.found()
    assert [(one.kind.code, one.index, one.id) for one in found.sorted()] == [("id_twice", 4, first["id"])]


def sees(envelopes_given, tmp_path, now_us=START_US + HOUR_US):
    """What `Completeness` finds in envelopes, in order, whoever wrote them."""
    findings = Findings()
    completeness = Completeness(findings, tmp_path / "spool", now_us)
    for index, envelope in enumerate(envelopes_given):
        completeness.see(index, envelope)
    completeness.finish()
    return [(one.kind.code, one.index) for one in findings.sorted()]


def numbered(entries, writer="w", start=0):
    return [entry | {"writer": writer, "seq": number} for number, entry in enumerate(entries, start)]


def acts(log, count):
    return [log.envelope("change", {"act": "x"}) for _ in range(count)]


def test_gaps_and_returns_in_a_writers_numbers(log, tmp_path):
    decision = log.decision(log.arrival())
    gateway = numbered([decision, log.outcome(decision)])
    gateway[1]["seq"] = 5
    control = numbered(acts(log, 3), "control")
    del control[1]
    backwards = numbered(acts(log, 2), "other")
    backwards[1]["seq"] = 0
    found = sees([*gateway, *control, *backwards], tmp_path)
    assert [one for one in found if one[0] != "key_unknown"] == [
        ("sequence_gap", 1),
        ("sequence_back", 5),
        ("sequence_gap_relay", 3),
    ]


def test_a_log_that_lost_its_beginning_shows_a_gap(log, tmp_path):
    assert sees(numbered(acts(log, 2), "control", 7), tmp_path) == [("sequence_gap_relay", 0)]


def test_times_that_go_back_stand_still_or_lie_ahead(log, tmp_path):
    decision = log.decision(log.arrival())
    back = log.outcome(decision, at=decision["at"] - 2_000_000)
    still = acts(log, STILL_COUNT)
    for entry in still:
        entry["at"] = still[-1]["at"]
    ahead = log.envelope("change", {"act": "x"}, at=START_US + 3 * HOUR_US)
    apart = log.envelope("change", {"act": "x"}, identifier=log.ids.new(START_US - 48 * HOUR_US))
    given_ = [*numbered([decision, back]), *numbered([*still, ahead, apart], "control")]
    found = sees(given_, tmp_path)
    assert [one for one in found if one[0] != "key_unknown"] == [
        ("time_backwards", 1),
        ("time_backwards", 1),  # within its process, and before what it ends
        ("clock_stood_still", 2),
        ("time_future", 2 + STILL_COUNT),
        ("id_time", 3 + STILL_COUNT),
    ]


def test_a_clock_that_was_days_ahead_shows_when_the_next_process_begins(log, tmp_path):
    """A wrong year, put right by a restart: nobody is left whose time stands still."""

    def process(writer):
        decision = log.decision(log.arrival())
        return numbered([decision, log.outcome(decision)], writer)

    log.clock.time_us += 60 * HOUR_US
    ahead = process("one")
    log.clock.time_us -= 59 * HOUR_US
    late = [log.envelope("change", {"act": "x"}, at=START_US)]  # an act that had waited in its outbox
    found = sees([*ahead, *process("two"), *numbered(late, "control")], tmp_path, START_US + 90 * HOUR_US)
    assert ("clock_jumped", 2) in found
    assert [code for code, _ in found].count("clock_jumped") == 1


def test_what_a_decision_or_outcome_must_say(log, tmp_path):
    def broken(make, **body):
        entry = json.loads(json.dumps(make))
        entry["body"] |= body
        return entry

    decision = log.decision(log.arrival())
    outcome = log.outcome(decision)
    without = {key: value for key, value in decision.items() if key != "request"}
    given_ = [
        without,
        decision | {"request": "not an id"},
        broken(decision, attempt=0),
        broken(decision, attempt=True),
        broken(decision, chosen="tokyo"),
        broken(decision, input=[]),
        broken(outcome, decision="tokyo"),
        broken(outcome, ended=None),
    ]
    ids = [log.ids.new(START_US + 1_000 + number) for number in range(len(given_))]
    given_ = [entry | {"id": identifier} for entry, identifier in zip(given_, ids, strict=True)]
    found = sees(numbered(given_), tmp_path)
    assert found == [("request_missing", 0), ("request_missing", 1), *(("body_malformed", n) for n in range(2, 8))]


def test_keys_must_have_been_created_live_and_the_same(audited, log):
    log.request()  # key-1, created
    log.write(stranger := log.decision(log.arrival()) | {"actor": "key-9"})  # 3: not the principal's
    log.write(log.outcome(stranger) | {"actor": "key-9"})
    other = log.decision(log.arrival())
    other["body"]["input"]["principal"]["organisation"] = "other"
    log.write(other)  # 5
    log.write(log.outcome(other))
    log.publish()
    log.revoke_key()  # 7
    log.publish()
    log.clock.time_us += 3_000_000
    log.request()  # 8
    found = audited.codes()
    assert sorted(found) == [("actor_differs", 3), ("key_differs", 5), ("key_revoked", 8), ("key_unknown", 3)]


def test_acts_that_reach_the_log_after_what_hangs_on_them_are_no_finding(tmp_path):
    audited = Audited(tmp_path)
    log = audited.log
    log.control.added, relayed = [], log.control.added
    log.request()
    log.publish()
    log.control.added = relayed  # control was away while the key was used
    assert audited.codes() == []
    assert audited.audit.kinds == {"change": 1, "decision": 1, "outcome": 1}


def test_a_key_that_reaches_the_log_after_its_use_must_still_be_the_same(tmp_path):
    audited = Audited(tmp_path)
    log = audited.log
    log.control.added.clear()
    log.control.seq = 0
    log.request()
    log.publish()
    log.create_key(roles=("auditor",))
    assert audited.codes() == [("key_differs", 0)]


def test_a_revocation_that_reaches_the_log_late_still_counts(audited, log):
    log.publish()
    log.revoke_key()
    log.control.added, relayed = [], log.control.added
    log.clock.time_us += 3_000_000
    log.request()
    log.publish()
    log.control.added = relayed
    assert audited.codes() == [("key_revoked", 1)]


def test_another_site_and_a_strange_actor_are_named(audited, log):
    log.write(log.envelope("change", {"act": "x"}, actor="somebody", site="osaka"), log.control)
    assert audited.codes() == [("site_differs", 1), ("actor_unknown", 1)]


def test_entries_that_are_none_are_named_and_the_rest_is_audited(audited, log):
    log.request()
    log.gateway.added.insert(1, b'{"id":"x","seq":1,"writer":"w-gateway","kind":"odd","body":{}}')
    log.gateway.added[2] = log.gateway.added[2].replace(b'"seq":1', b'"seq":2')
    assert ("entry_malformed", 2) in audited.codes()
    assert audited.audit.unreadable == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, st.booleans(), st.integers(0, 200))
def test_reading_fast_takes_and_refuses_what_reading_strictly_does(body, compact, cut):
    envelope = {
        "actor": "a", "at": 1_790_000_000_000_000, "body": {"x": body}, "id": "01a21113-e2b0-72ac-a15a-ba5ff5ee0d73",
        "kind": "k", "seq": 0, "site": "s", "v": 1, "writer": "w",
    }  # fmt: skip
    separators = (",", ":") if compact else None
    text = json.dumps(envelope, ensure_ascii=False, separators=separators, sort_keys=True)
    data = text.encode("utf-8", "surrogatepass")
    for entry in (data, data[:cut], data.replace(b"null", b"1.0"), data.replace(b"true", b"9007199254740993")):
        results = []
        for read in (envelopes.parse, reading.read):
            try:
                results.append(read(entry))
            except EnvelopeInvalid:
                results.append(None)
        assert results[0] == results[1]


def test_what_an_altered_log_tells_of_without_end_is_kept_within_bounds(audited, log, monkeypatch):
    """Keys, and entries of one request: beyond the bound they are told of, and not remembered."""
    monkeypatch.setattr("sekisho.ledger.actors.KNOWN_MAX", 2)
    monkeypatch.setattr("sekisho.ledger.completeness.EVENTS_MAX", 4)
    for key in range(2, 9):
        log.create_key(str(key))
    request = log.arrival()
    for attempt in range(1, 5):
        decision = log.decision(request, attempt)
        log.write(decision)
        log.write(log.outcome(decision))
    log.request(principal=PrincipalInput("key-8", "default", ("caller",)))
    found = audited.found().counts
    assert (found["key_unknown"], found["attempt_out_of_order"]) == (1, 4)


def test_a_spool_gives_back_what_it_was_given_in_order_by_key(tmp_path):
    spool = Spool(tmp_path / "spool", 9)
    records = [bytes([key]) + number.to_bytes(8, "big") for number in range(10_000) for key in (number % 7,)]
    for record in records:
        spool.add(record[:1], record)
    back = [list(partition) for partition in spool.partitions()]
    assert len(back) == PARTITIONS
    assert sorted(record for partition in back for record in partition) == sorted(records)
    for key in range(7):
        (of_key,) = ([r for r in partition if r[0] == key] for partition in back if any(r[0] == key for r in partition))
        assert of_key == [record for record in records if record[0] == key]
    assert list((tmp_path / "spool").iterdir()) == []


def test_canonical_entries_are_read_fast_or_not_alike():
    entry = canonical.encode({"actor": "日本"})
    with pytest.raises(EnvelopeInvalid):
        reading.read(entry)
